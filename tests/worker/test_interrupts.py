"""Cancels, time limits and recalls: of running, staged and unread calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.ids import make_id
from meshcode.wire.kinds import Flag, Kind, Outcome
from tests.worker.harness import MiniNode, Process

CODE = """
import os, time
caught = []
def nap(s): time.sleep(s); return s
def hold(gate):
    while not os.path.exists(gate): time.sleep(0.005)
    return "let go"
def spin():
    while True: pass
def careful():
    try:
        time.sleep(60)
    finally:
        caught.append("cleaned up")
def deaf():
    try:
        time.sleep(60)
    except BaseException:
        return "went on"
def polite():
    try:
        time.sleep(60)
    except Exception:
        return "caught as an Exception"
def seen(): return list(caught)
def add(a): return a + 1
def count():
    n = 0
    while True:
        yield n
        n += 1
        time.sleep(0.005)
"""


@pytest.fixture
def worker(shared_node: MiniNode) -> Process:
    return shared_node.fresh(CODE)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that calls of `hold` wait for; made at the end, so that no worker stays busy."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.mark.parametrize("name", ["nap", "spin", "polite"])
def test_a_running_call_is_cancelled(worker: Process, name: str):
    call_id = worker.call(f"s.{name}", *([60] if name == "nap" else []))
    worker.until_running(call_id)

    worker.cancel(call_id)

    told = worker.outcome(call_id)
    assert told.code == Outcome.CANCELLED
    assert told.value["code"] == "cancelled"
    assert told.value["text"].startswith("the call was cancelled after 0.")
    assert not told.flags & Flag.RETRY
    assert worker.result("s.add", 1) == 2


def test_a_call_over_its_time_limit_fails_and_may_be_retried(worker: Process):
    call_id = worker.call("s.spin")
    worker.until_running(call_id)
    worker.cancel(call_id, "time limit")
    told = worker.outcome(call_id)
    assert (told.code, told.value["code"]) == (Outcome.FAILED, "time_limit")
    assert told.flags & Flag.RETRY
    assert told.value["fields"]["run_us"] == told.number


def test_an_interrupted_call_can_clean_up(worker: Process):
    call_id = worker.call("s.careful")
    worker.until_running(call_id)
    worker.cancel(call_id)
    assert worker.outcome(call_id).code == Outcome.CANCELLED
    assert worker.result("s.seen") == ["cleaned up"]


@pytest.mark.parametrize("reason", ["cancel", "time limit"])
def test_code_that_ignores_the_interrupt_has_its_result_reported(worker: Process, reason: str):
    call_id = worker.call("s.deaf")
    worker.until_running(call_id)
    worker.cancel(call_id, reason)
    told = worker.outcome(call_id)
    assert (told.code, told.value) == (Outcome.DONE, "went on")


def test_a_generator_is_cancelled_between_its_items(worker: Process):
    call_id = worker.call("s.count")
    worker.node.until(lambda: len(worker.kinds(Kind.ITEM, call_id)) >= 3, "items")
    worker.cancel(call_id)
    assert worker.outcome(call_id).code == Outcome.CANCELLED
    assert worker.result("s.add", 1) == 2


def test_a_staged_call_is_cancelled_while_another_runs(worker: Process, gate: Path):
    """The running one is not disturbed, and the answer does not wait for it."""
    running, staged, other = worker.start(
        ("s.hold", (str(gate),), {}), ("s.add", (1,), {}), ("s.add", (2,), {})
    )
    worker.until_running(running)
    worker.cancel(staged)
    told = worker.outcome(staged)
    assert told.code == Outcome.CANCELLED
    assert told.value["text"] == "the call was cancelled before it began"
    assert worker.kinds(Kind.OUTCOME, running) == []
    gate.touch()
    assert worker.outcome(other).value == 3
    assert worker.outcome(running).value == "let go"
    assert len(worker.kinds(Kind.OUTCOME, staged)) == 1


def test_a_call_that_is_not_yet_read_is_cancelled(worker: Process, gate: Path):
    """It came in a frame of its own while the main thread was busy."""
    running = worker.call("s.hold", str(gate))
    worker.until_running(running)
    unread = worker.call("s.add", 1)
    worker.cancel(unread)
    assert worker.outcome(unread).code == Outcome.CANCELLED
    assert worker.kinds(Kind.OUTCOME, running) == []
    gate.touch()
    assert worker.outcome(running).code == Outcome.DONE


def test_a_cancel_before_the_call_arrives_still_counts(worker: Process):
    call_id = make_id()
    worker.cancel(call_id)
    worker.start(("s.nap", (60,), {}), ids=[call_id])
    assert worker.outcome(call_id).code == Outcome.CANCELLED


def test_many_cancels_at_once(worker: Process):
    running = worker.call("s.nap", 60)
    worker.until_running(running)
    staged = worker.start(*[("s.add", (n,), {}) for n in range(20)])
    for call_id in [*staged[5:], running]:
        assert worker.page.ask_cancel(call_id, "cancel")
    os.kill(worker.popen.pid, signal.SIGUSR1)
    for call_id in [running, *staged[5:]]:
        assert worker.outcome(call_id).code == Outcome.CANCELLED
    assert [worker.outcome(i).value for i in staged[:5]] == [1, 2, 3, 4, 5]
    assert len(worker.kinds(Kind.OUTCOME)) == 21, "every call has exactly one outcome"


def test_a_cancel_of_a_call_that_has_ended_hits_no_other(worker: Process, gate: Path):
    done = worker.call("s.add", 1)
    worker.outcome(done)
    running = worker.call("s.hold", str(gate))
    worker.until_running(running)
    staged = worker.call("s.add", 2)
    worker.cancel(done)
    worker.cancel(staged)
    assert worker.outcome(staged).code == Outcome.CANCELLED
    gate.touch()
    assert worker.outcome(running).code == Outcome.DONE
    assert len(worker.kinds(Kind.OUTCOME, done)) == 1


def test_a_cancel_nobody_claims_is_forgotten_and_wakes_nobody(worker: Process):
    """An idle worker reads a call that comes just while the flusher looks for cancelled ones."""
    for _ in range(50):
        worker.cancel(make_id())
        assert worker.result("s.add", 1) == 2
    assert not worker.node.link.poll(2_500), "nothing is said of them"
    with open(f"/proc/{worker.popen.pid}/stat") as file:
        before = file.read().rpartition(")")[2].split()[11:13]
    assert not worker.node.link.poll(500)
    with open(f"/proc/{worker.popen.pid}/stat") as file:
        after = file.read().rpartition(")")[2].split()[11:13]
    assert sum(map(int, after)) - sum(map(int, before)) <= 1, "the flusher dozes again"


def test_a_storm_of_cancels_never_breaks_the_loop(worker: Process):
    """Cancels that hit the loop at every possible instant: one outcome per call, no crash."""
    total = 0
    for _round in range(30):
        ids = worker.start(*[("s.add", (n,), {}) for n in range(100)])
        for call_id in ids[10:100:9]:
            if worker.page.ask_cancel(call_id, "cancel"):
                os.kill(worker.popen.pid, signal.SIGUSR1)
        worker.node.poll(0)
        total += len(ids)
        for call_id in ids:
            worker.outcome(call_id)
    told = worker.kinds(Kind.OUTCOME)
    assert len(told) == len({t.id for t in told}) == total
    assert {t.code for t in told} <= {Outcome.DONE, Outcome.CANCELLED}
    assert worker.stop() == 0
    assert worker.log.read_text() == ""


def test_calls_not_begun_are_given_back_when_recalled(worker: Process, gate: Path):
    adds = [("s.add", (n,), {}) for n in range(5)]
    running, *staged = worker.start(("s.hold", (str(gate),), {}), *adds)
    worker.until_running(running)
    unread = worker.call("s.add", 9)

    assert worker.recall(worker.handed) == [*staged, unread], "also what it had not read"

    gate.touch()
    assert worker.outcome(running).code == Outcome.DONE
    assert worker.result("s.add", 1) == 2
    assert [t.id for t in worker.kinds(Kind.OUTCOME) if t.id in staged] == []


def test_a_recall_waits_for_calls_that_are_still_on_their_way(worker: Process, gate: Path):
    """The signal is faster than the link; what came after it would run before what came back."""
    running, staged = worker.start(("s.hold", (str(gate),), {}), ("s.add", (1,), {}))
    worker.until_running(running)

    worker.cancel((worker.handed + 1).to_bytes(16, "little"), "recall")
    worker.node.poll(100)
    assert worker.kinds(Kind.RETURNED) == []
    late = worker.call("s.add", 2)

    worker.node.until(lambda: worker.kinds(Kind.RETURNED), "RETURNED")
    assert worker.kinds(Kind.RETURNED)[0].body == staged + late
    gate.touch()
    assert worker.outcome(running).code == Outcome.DONE
    assert [t.id for t in worker.kinds(Kind.OUTCOME)] == [running]


def test_a_recall_is_answered_although_all_calls_have_begun(worker: Process, gate: Path):
    """The node hands it nothing until then."""
    running = worker.call("s.hold", str(gate))
    worker.until_running(running)

    assert worker.recall(worker.handed) == []
    gate.touch()
    assert worker.outcome(running).code == Outcome.DONE
    assert worker.recall(worker.handed) == [], "and when it has nothing to do"
