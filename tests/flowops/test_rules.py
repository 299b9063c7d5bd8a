"""Which steps are made again, whose word on a step holds, slices, and what a doctor says of it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshcode.cli.doctor_flow import judge, judge_call
from meshcode.errors import WrongState
from meshcode.node.flowbook import KEPT, PARKED, UNKNOWN, Flow, FlowBook, merge
from meshcode.node.flowretry import made_again
from meshcode.node.flowstop import Stopped, Tally
from meshcode.node.later import Later
from meshcode.router.core import Router
from meshcode.router.plan import Plan, Step, pointer
from meshcode.router.records import pack_done
from meshcode.router.states import State
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

DONE, FAILED, CANCELLED = int(State.DONE), int(State.FAILED), int(State.CANCELLED)
RUNNING, WAITING = int(State.RUNNING), int(State.WAITING)


def flow_of(*feeds: Any) -> Flow:
    """A flow by the feeds of its steps; its last step is its result."""
    steps = [Step("s", 0, b"\x90" if feed != "done" else b"i" * 16, feed, None) for feed in feeds]
    return Flow(b"f" * 16, Plan.of(steps, len(steps) - 1), b"", 0, 1, "")


@pytest.mark.parametrize(
    ("feeds", "codes", "first", "again"),
    [
        ((None, 0, 1), (DONE, FAILED, FAILED), None, {1, 2}),
        ((None, None, [0, 1]), (DONE, CANCELLED, CANCELLED), None, {1, 2}),
        ((None, 0, None, [1, 2]), (DONE, DONE, DONE, DONE), 0, {0, 1, 3}),
        ((None, 0, None, [1, 2]), (DONE, DONE, DONE, DONE), 2, {2, 3}),
        # What is open is waited for, unless it would be given the result of what failed.
        ((None, None, [0, 1]), (FAILED, RUNNING, FAILED), None, {0, 2}),
        ((None, 0, [1]), (FAILED, WAITING, FAILED), None, {0, 1, 2}),
        # What is forgotten is made again where it is needed only.
        ((None, 0, 1), (UNKNOWN, DONE, FAILED), None, {2}),
        ((None, 0, [0, 1]), (UNKNOWN, DONE, FAILED), None, {0, 2}),
        ((None, None), (UNKNOWN, FAILED), None, {0, 1}),
        ((None, [{"from": 0, "count": 1}]), (UNKNOWN, FAILED), None, {0, 1}),
        (("done", 0), (DONE, FAILED), None, {1}),
    ],
)
def test_which_steps_are_made_again(feeds: Any, codes: Any, first: int | None, again: set[int]):
    assert made_again(flow_of(*feeds), bytes(codes), first) == again


@pytest.mark.parametrize(("code", "first"), [(FAILED, None), (UNKNOWN, None), (DONE, 0)])
def test_a_step_of_an_earlier_flow_is_not_made_again(code: int, first: int | None):
    with pytest.raises(WrongState, match=r"step 0 is call .* of an earlier flow"):
        made_again(flow_of("done", 0), bytes((code, FAILED)), first)


def test_the_more_certain_word_holds():
    one = bytes((UNKNOWN, KEPT, RUNNING, KEPT, PARKED, int(State.MOVED), UNKNOWN))
    two = bytes((KEPT, RUNNING, DONE, FAILED, KEPT, RUNNING, UNKNOWN))

    assert merge(one, two) == bytes((KEPT, RUNNING, DONE, FAILED, PARKED, RUNNING, UNKNOWN))
    assert merge(two, one) == merge(one, two)
    assert merge(bytes((255,)), bytes((DONE,))) == bytes((DONE,))  # Of a newer version, or a lie.


class Node:
    """What a FlowBook needs of a loop: records of ended calls, and nothing open."""

    def __init__(self, **outcomes: bytes) -> None:
        self.records = {
            name.encode().ljust(16): pack_done(data[13], 1, 0, 0, 77, 1, data, b"", None)
            for name, data in outcomes.items()
        }
        self.history = self
        self.router = Router(b"n" * 16, 1, Random(0))

    def done_record(self, id: bytes) -> bytes | None:
        return self.records.get(id)


def ended(code: int, body: Any = None) -> bytes:
    return envelope(Kind.OUTCOME, id=b"x" * 16, code=code - 10, body=pack(body))


@pytest.mark.parametrize(
    ("outcomes", "code", "finished_ms"),
    [
        ({}, UNKNOWN, None),
        ({"a": ended(FAILED)}, FAILED, 77),
        ({"a": pointer(b"x" * 16, b"b".ljust(16), 1)}, int(State.GATHERING), None),
        ({"a": pointer(b"x" * 16, b"b".ljust(16), 1), "b": ended(FAILED)}, FAILED, 77),
        ({"a": pointer(b"x" * 16, b"b".ljust(16), 1), "b": ended(DONE)}, DONE, 77),
    ],
)
def test_a_step_whose_value_is_that_of_another_call_ends_with_it(
    outcomes: dict[str, bytes], code: int, finished_ms: int | None
):
    """It went to every socket of a queue; their results are its value."""
    book = FlowBook(Node(**outcomes))
    id = b"a".ljust(16)
    steps = book.steps(b"f" * 16, 1, [[0, id]])

    job = book.look(steps)
    with pytest.raises(StopIteration) as found:
        while True:
            next(job)

    assert found.value.value == bytes((code,))
    assert steps.codes == bytes((code if finished_ms else 0,))  # What has ended is remembered.
    assert book.finished_ms(id) == finished_ms


def test_jobs_take_turns_and_wait():
    later, seen = Later(), list[str]()

    def job(name: str, pause: int | None):
        for number in range(2):
            seen.append(f"{name}{number}")
            yield pause

    later.begin(job("a", 50))
    later.begin(job("b", None))
    assert later.next_due_ms(1_000) == 1_000

    later.run(1_000)
    assert seen == ["a0", "b0"]
    assert later.next_due_ms(1_000) == 1_050
    later.run(1_010)
    assert seen == ["a0", "b0", "b1"]
    later.run(1_050)
    assert seen[-1] == "a1"
    later.run(1_100)
    later.run(1_200)
    assert later.next_due_ms(1_200) is None


def row(state: str, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"step": 3, "id": "i", "socket": "s", "state": state, "reason": reason} | more


@pytest.mark.parametrize(
    ("call", "state", "text"),
    [
        (row("PARKED", "no worker"), "WARN", "cannot begin: no worker"),
        (row("PARKED", "gate g is closed"), "WARN", "gate g is closed"),
        (row("HELD", "its worker died"), "FAIL", "is held: its worker died"),
        (row("KEPT"), "WARN", "at a node that does not answer"),
        (row("UNKNOWN"), "FAIL", "no node that answered knows s i"),
        (row("GATHERING", waits=[[1, "UNKNOWN"], [2, "RUNNING"]]), "FAIL", "waits for step 1, "),
        (row("GATHERING", "waits with 'left' for all", socket="@join"), "WARN", "with 'left'"),
        (row("GATHERING", "no value yet for right", socket="@collect"), "WARN", "yet for right"),
        (row("GATHERING", "gate g is closed"), "WARN", "gate g is closed"),
        (row("DELAYED", "until noon"), "OK", "waits for its time"),
        (row("RUNNING", node="n2"), "OK", "runs at n2"),
    ],
)
def test_why_a_step_has_not_ended(call: dict[str, Any], state: str, text: str):
    check = judge_call(call, "step 3")

    assert check is not None
    assert (check.name, check.state) == ("step 3", state)
    assert text in check.detail
    assert check.fix or state == "OK"


def test_steps_that_wait_for_their_turn_are_not_named():
    assert judge_call(row("WAITING"), "step 3") is None
    assert judge_call(row("GATHERING", waits=[[1, "RUNNING"]]), "step 3") is None


def test_the_worst_goes_first_and_silent_nodes_are_named():
    flow = {
        "id": "f", "state": "RUNNING", "counts": {"RUNNING": 30, "HELD": 1}, "error": "",
        "silent": [{"name": "n9", "why": "no link to it is up"}],
        "rows": [*[row("RUNNING", node="n1")] * 30, row("HELD", "died")], "beside": [],
    }  # fmt: skip

    checks = list(judge(flow))

    assert [check.name for check in checks[:3]] == ["flow", "node", "step 3"]
    assert checks[2].state == "FAIL"
    assert checks[-1].detail.startswith("11 further")


def ids(*names: str) -> bytes:
    return b"".join(name.encode().ljust(16, b"-") for name in names)


def test_each_call_of_a_cancelled_flow_is_counted_once():
    """Of four that ran one ended by itself, one runs on, and two were interrupted."""
    tally = Tally()
    tally.add(Stopped(cancelled=3, interrupted=4, open=5, running=ids("a", "b", "c", "d")))
    tally.add(Stopped(interrupted=0, open=2, running=ids("d")))

    assert (tally.interrupted([ids("a"), ids("x")]), tally.last.open) == (2, 2)
    assert tally.cancelled() == 2  # Others have not agreed yet to the third.
    assert not tally.is_nothing


def test_what_ended_within_the_last_round_was_interrupted():
    tally = Tally()
    tally.add(Stopped(interrupted=1, running=ids("a")))

    assert (tally.interrupted([]), tally.cancelled(), tally.is_nothing) == (1, 0, False)


def test_a_node_of_an_older_version_tells_numbers_alone():
    both = Stopped(cancelled=1, interrupted=2).plus(Stopped(interrupted=1, running=ids("a")))
    tally = Tally()
    tally.add(both)

    assert (tally.interrupted([ids("a")]), tally.cancelled()) == (2, 1)
