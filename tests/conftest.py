"""What tests of several folders share."""

from __future__ import annotations

import _thread
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, settings

import meshcode.router.core  # noqa: F401  # First: tests plant rules into its source.

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started with `&` by a script: what the tests start would be deaf to Ctrl-C as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says what else the machine does: pytest's own time-out is enough.
settings.register_profile("meshcode", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("meshcode")

PHASE = "PYTEST_CURRENT_TEST"  # Pytest's own, which changes during a test.
ROOM_BYTES = 6 << 30  # Above all limits of Usage.level, so that only a log's own map counts.


def _end_beside(context: zmq.Context[Any]) -> None:
    """Let a context that was left open end on a thread of its own, which nothing waits for.

    A failing test leaves its links open, and its traceback holds them.  The collector that takes
    them all at once has cleared the context's weak set of its sockets before it calls the context's
    __del__: pyzmq's own closes none of them there, and waits for ever in the main thread.  Theirs
    are called next.
    """
    if not context.closed:
        _thread.start_new_thread(context.term, ())  # Takes no lock: a collector may be anywhere.


zmq.Context.__del__ = _end_beside  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def environment_restored() -> Iterator[None]:
    """A command that ran in this process has left nothing of --home or --node for later tests.

    They write to the environment for the processes that the command starts.  Before monkeypatch,
    whose undoing knows only what it changed itself.
    """
    before = dict(os.environ)
    yield
    before.pop(PHASE, None)
    for name in set(os.environ) - set(before) - {PHASE}:
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def no_client_of_another_node(environment_restored: None) -> Iterator[None]:
    """The process-wide client of a test's own node is closed: a call of a later test waits for it.

    One whose address is that of the environment stays, for a module may share a node and it.
    """
    yield
    default = sys.modules.get("meshcode.client.default")
    client = None if default is None else default._client
    if client is not None and client.session.address != os.environ.get("MESH_NODE"):
        client.close(0)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder where a sync costs nothing, if the system has one with room."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK) or shutil.disk_usage(shared).free < ROOM_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as temp:
        yield Path(temp)


@pytest.fixture(params=["c", "py"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two ways of the durable log to LMDB in turn (store/binding.py), by its name."""
    from meshcode.store import binding, engine_py

    kind: str = request.param
    if kind == "py":
        monkeypatch.setattr(binding, "open_engine", engine_py.PyEngine)
    elif binding.BINDING == "py":
        pytest.skip("the C twin was not compiled here")
    return kind
