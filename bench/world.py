"""A real node with a no-op task, for the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.live.harness import Mesh, offering

MODULE = "bench_tasks"
CALLS_MAX = 20_000_000  # Of one worker: it is measured, not the start of its successor.
SOCKET = f"{MODULE}.nop"
TASKS = '''
def nop(value=None):
    """Return what came."""
    return value
'''


@contextmanager
def nop_node(workers: int = 1) -> Iterator[Mesh]:
    """A node that offers `bench_tasks.nop` with so many workers, ready."""
    fields = {"workers": workers, "recycle_calls": CALLS_MAX}
    with offering("bench", {f"{MODULE}.py": TASKS}, MODULE, ["nop"], **fields) as mesh:
        yield mesh
