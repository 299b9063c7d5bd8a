"""A real node with a no-op task, for the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.harness import Mesh, make_repository

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
    with Mesh() as mesh:
        repository = mesh.home / "repository"
        make_repository(repository, {f"{MODULE}.py": TASKS})
        mesh.offer(
            "bench", Path(repository), MODULE, ["nop"], workers=workers, recycle_calls=CALLS_MAX
        )
        mesh.wait_ready("bench", workers)
        yield mesh
