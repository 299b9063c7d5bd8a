"""The worker processes of a node, one of them as it is: told, deaf, dead."""

from __future__ import annotations

import os
import select
import signal
import sys
import time

import pytest
import zmq

from meshcode.node.crew import SENT_MAX, Crew
from meshcode.router.events import WorkerJoined
from meshcode.worker import lend
from tests.live.harness import until

CODE = "def f(): return 1\n"


def now_ms():
    return time.monotonic_ns() // 1_000_000


@pytest.fixture
def crew(tmp_path):
    (tmp_path / "run").mkdir()
    context = zmq.Context()
    address = f"ipc:///tmp/mesh-test-{os.getpid()}-crew"
    made = Crew(context, address, tmp_path / "run", 1, "ipc:///nowhere")
    yield made
    made.close()
    context.destroy(0)


@pytest.fixture
def worker(crew, tmp_path):
    """A worker that is ready."""
    (tmp_path / "m.py").write_text(CODE)
    mount = {
        "python": sys.executable, "import_path": [str(tmp_path)], "module": "m", "key": "k",
        "commit": "c" * 40,
    }  # fmt: skip
    config = {"lend": lend.ensure(str(tmp_path / "cache")), "sockets": {"s.f": "f"}}
    made = crew.spawn("p", mount, config, None, now_ms())
    events = []
    until(lambda: events.extend(crew.receive(10, now_ms())[0]) or events, 30, "the worker is ready")
    assert isinstance(events[0], WorkerJoined)
    return made


def is_gone(worker):
    return bool(select.select([worker.pidfd], [], [], 0)[0])


def test_a_worker_that_does_not_read_what_it_is_told_is_killed_and_says_why(crew, worker):
    """A stopped one, as by SIGSTOP, a debugger or a frozen group: nothing it is told is lost
    without a word, and its calls come back with its end.
    """
    crew.signal(worker, signal.SIGSTOP)
    many = {f"s.{'x' * 500}{number}": "f" for number in range(10)}
    for _ in range(4 * SENT_MAX):
        crew.tell_sockets(worker, many, [])
        if worker.broken:
            break

    until(lambda: is_gone(worker), 30, "it is killed")
    _, lost = crew.bury(worker.pidfd)

    assert lost.reason == f"it does not read: {SENT_MAX} messages wait for it, the most"
    assert (lost.worker, lost.blame) == (worker.id, True)
    assert crew.by_id == {}


def test_a_worker_whose_link_is_gone_is_killed(crew, worker):
    """It has one link for its life: what it is told would be lost from then on."""
    del crew._by_routing[worker.routing_id]
    worker.routing_id = b"nobody"  # As when libzmq has given up its connection.

    crew.tell_sockets(worker, {"s.g": "f"}, [])

    until(lambda: is_gone(worker), 30, "it is killed")
    assert crew.bury(worker.pidfd)[1].reason == "signal 9"


def test_what_a_worker_started_dies_while_its_number_is_still_its_own(crew, worker, monkeypatch):
    """Once it is reaped, another process may have it, with a group of its own."""
    reaped, kill = [], os.killpg
    crew.signal(worker, signal.SIGKILL)
    until(lambda: is_gone(worker), 10, "it dies")

    def watched(pid, number):
        reaped.append(worker.process.returncode)
        kill(pid, number)

    monkeypatch.setattr(os, "killpg", watched)
    crew.bury(worker.pidfd)

    assert reaped == [None]
