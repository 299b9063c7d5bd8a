"""Generators that stream: one item at a time, never more than the credit, beside others."""

from __future__ import annotations

import pytest

from meshcode.limits import STREAM_ITEM_BYTES_MAX, STREAM_UNIT_BYTES, STREAM_WINDOW
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Kind, Outcome
from meshcode.worker.control import STREAM_ROWS
from tests.worker.harness import MiniNode, Process

CODE = '''
import asyncio
from meshcode.worker.context import CallInterrupted, Route, current_call

closed = []

def count(n):
    try:
        for i in range(n):
            yield i
    finally:
        closed.append(n)
def large(n, size):
    for i in range(n): yield bytes(size)
def who(n):
    for i in range(n):
        print("item", i)
        yield current_call().id
def boom(n):
    yield from range(n)
    raise ValueError("no more")
def bad():
    yield 1
    yield {1}
def stubborn():
    while True:
        try:
            yield 1
        except CallInterrupted:
            yield 2
def routed():
    yield Route("x", plugs=["p"])
    yield "y"
async def acount(n):
    try:
        for i in range(n):
            yield i
    finally:
        closed.append(n)
def add(a): return a + 1
async def amore(a): return a + 1
def ended(): return closed
def plain(n):
    for i in range(n): yield i
'''
STREAMING = [
    "s.count", "s.large", "s.who", "s.boom", "s.bad", "s.stubborn", "s.routed", "s.acount",
]  # fmt: skip


@pytest.fixture
def worker(shared_node: MiniNode) -> Process:
    if not shared_node.workers or shared_node.workers[-1].spoiled:
        return shared_node.worker(CODE, streams=STREAMING)
    return shared_node.workers[-1]


def credit(worker: Process, call: bytes, units: int, attempt: int = 1) -> None:
    worker.send(frame([envelope(Kind.STREAM, id=call, attempt=attempt, number=units)]))


def items(worker: Process, call: bytes, count: int) -> list[object]:
    """Wait for so many items."""
    worker.node.until(lambda: len(worker.kinds(Kind.ITEM, call)) >= count, f"{count} items")
    found = worker.kinds(Kind.ITEM, call)
    assert [one.number for one in found] == list(range(len(found)))
    assert {one.code for one in found} == {1}
    return [one.value for one in found]


@pytest.mark.parametrize("task", ["s.count", "s.acount"])
def test_items_leave_one_by_one_and_the_outcome_counts_them(worker, task):
    call = worker.call(task, 5)

    told = worker.outcome(call)

    assert items(worker, call, 5) == [0, 1, 2, 3, 4]
    assert told.value == {"items": 5, "stream": call}
    assert unpack(told.meta)["items"] == 5
    assert unpack(told.meta)["commit"] == "c" * 40


def test_whoever_calls_can_ask_for_a_stream(worker):
    [call] = worker.start(("s.plain", (2,), {}), meta={"stream": True})
    assert worker.outcome(call).value == {"items": 2, "stream": call}

    call = worker.call("s.plain", 2)
    assert worker.outcome(call).value == [0, 1]
    assert [one.code for one in worker.kinds(Kind.ITEM, call)] == [0, 0]


@pytest.mark.parametrize("task", ["s.count", "s.acount"])
def test_without_credit_a_generator_waits_and_others_run(worker, task):
    call = worker.call(task, 1_000)
    items(worker, call, STREAM_WINDOW)

    assert worker.result("s.add", 1) == 2
    other = worker.call(task, 3)
    worker.outcome(other)
    assert len(items(worker, call, STREAM_WINDOW)) == STREAM_WINDOW
    assert call in [one.id for one in worker.page.running()]

    credit(worker, call, STREAM_WINDOW + 10)
    items(worker, call, STREAM_WINDOW + 10)
    credit(worker, call, STREAM_WINDOW + 5)  # Late, and less: it changes nothing.
    credit(worker, call, 9_999, attempt=2)  # Of another attempt.
    assert worker.result("s.add", 1) == 2
    assert len(items(worker, call, STREAM_WINDOW)) == STREAM_WINDOW + 10

    credit(worker, call, 1_000)
    items(worker, call, 1_000)
    credit(worker, call, 1_001)  # Only now it can find that there is no more.
    assert worker.outcome(call).value["items"] == 1_000
    assert items(worker, call, 1_000) == list(range(1_000))
    worker.node.until(lambda: not worker.page.running(), "nothing runs")


def test_async_generators_without_credit_leave_their_places_to_what_their_items_cause(shared_node):
    """With as many of them as may run at once nobody could consume what they wait for."""
    worker = shared_node.worker(CODE, streams=STREAMING, limits={"ASYNC_CALLS_MAX": 2})
    worker.spoiled = True
    calls = worker.start(*[("s.acount", (STREAM_WINDOW + 1,), {})] * 2)
    for call in calls:
        items(worker, call, STREAM_WINDOW)

    assert worker.result("s.amore", 1) == 2

    for call in calls:
        credit(worker, call, 9_999)
        assert worker.outcome(call).value["items"] == STREAM_WINDOW + 1
    assert worker.result("s.amore", 2) == 3
    shared_node.until(lambda: not worker.page.running(), "nothing runs")


def test_large_items_use_more_of_the_credit(worker):
    call = worker.call("s.large", 300, 7 * STREAM_UNIT_BYTES)

    assert len(items(worker, call, STREAM_WINDOW // 8)) == STREAM_WINDOW // 8

    assert worker.result("s.add", 1) == 2
    assert len(items(worker, call, STREAM_WINDOW // 8)) == STREAM_WINDOW // 8
    worker.cancel(call)
    assert worker.outcome(call).code == Outcome.CANCELLED


@pytest.mark.parametrize("task", ["s.count", "s.acount"])
def test_a_generator_that_waits_is_cancelled_and_cleans_up(worker, task):
    number = 5_000 + len(worker.told)
    call = worker.call(task, number)
    items(worker, call, STREAM_WINDOW)

    worker.cancel(call)

    assert worker.outcome(call).code == Outcome.CANCELLED
    assert number in worker.result("s.ended")


def test_one_that_catches_its_cancel_and_goes_on_ends_too(worker):
    call = worker.call("s.stubborn")
    items(worker, call, STREAM_WINDOW)

    worker.cancel(call, "time limit")

    told = worker.outcome(call)
    assert told.value["code"] == "time_limit"
    assert 2 not in items(worker, call, STREAM_WINDOW)


def test_a_stream_that_fails_has_sent_what_came_before(worker):
    told, error = worker.error("s.boom", 3)

    assert error["fields"]["type"] == "ValueError"
    assert "streaming.py" not in error["fields"]["traceback"]
    assert items(worker, told.id, 3) == [0, 1, 2]
    told, error = worker.error("s.bad")
    assert error["code"] == "bad_result"
    assert "item 1" in error["text"]
    told, error = worker.error("s.large", 1, STREAM_ITEM_BYTES_MAX + 1)
    assert error["code"] == "bad_result"
    assert error["fields"] == {
        "found": STREAM_ITEM_BYTES_MAX + 6, "limit": STREAM_ITEM_BYTES_MAX, "type": "BadResult"
    }  # fmt: skip


def test_an_item_can_choose_its_plugs(worker):
    call = worker.call("s.routed")

    assert items(worker, call, 2) == ["x", "y"]
    metas = [one.meta for one in worker.kinds(Kind.ITEM, call)]
    assert metas == [pack({"plugs": ["p"]}), b""]


def test_what_it_prints_and_asks_belongs_to_its_call(worker):
    call = worker.call("s.who", 300)
    items(worker, call, STREAM_WINDOW)
    assert worker.result("s.add", 1) == 2

    credit(worker, call, 9_999)

    worker.outcome(call)
    assert set(items(worker, call, 300)) == {call}
    assert worker.output(call).count("item") == 300


def test_more_streams_wait_than_the_control_page_has_rows(shared_node):
    worker = shared_node.worker(CODE, streams=STREAMING)
    worker.spoiled = True
    calls = [worker.call("s.count", STREAM_WINDOW + 1) for _ in range(STREAM_ROWS + 2)]
    for call in calls:
        items(worker, call, STREAM_WINDOW)

    assert worker.result("s.add", 1) == 2
    assert len(worker.page.running()) == STREAM_ROWS
    for call in calls:
        credit(worker, call, 9_999)
        assert worker.outcome(call).value["items"] == STREAM_WINDOW + 1
    shared_node.until(lambda: not worker.page.running(), "nothing runs")


@pytest.mark.parametrize("task", ["s.count", "s.acount"])
def test_a_worker_that_is_to_stop_lets_its_streams_end(shared_node, task):
    worker = shared_node.worker(CODE, streams=STREAMING)
    worker.spoiled = True
    call = worker.call(task, STREAM_WINDOW + 5)
    items(worker, call, STREAM_WINDOW)

    worker.send(frame([envelope(Kind.STOP)]))
    credit(worker, call, 9_999)

    assert worker.wait() == 0
    assert worker.outcome(call).value["items"] == STREAM_WINDOW + 5


def test_an_attempt_begun_anew_in_the_same_worker_takes_the_place_of_the_old(worker):
    call = worker.call("s.count", 400)
    items(worker, call, STREAM_WINDOW)

    worker.start(("s.count", (400,), {}), ids=[call], attempts=[2])
    worker.node.until(
        lambda: len(worker.kinds(Kind.ITEM, call)) == 2 * STREAM_WINDOW, "it begins anew"
    )
    credit(worker, call, 9_999, attempt=1)
    assert worker.result("s.add", 1) == 2
    assert len(worker.kinds(Kind.ITEM, call)) == 2 * STREAM_WINDOW
    credit(worker, call, 9_999, attempt=2)

    assert worker.outcome(call, attempt=2).value["items"] == 400


@pytest.mark.parametrize("task", ["s.count", "s.acount"])
def test_an_attempt_that_is_dropped_cleans_up_and_says_nothing(worker, task):
    number = 7_000 + len(worker.told)
    call = worker.call(task, number)
    items(worker, call, STREAM_WINDOW)

    credit(worker, call, 0)
    worker.start((task, (3,), {}), ids=[call])  # The same attempt again, as after a give-back.

    assert worker.outcome(call).value["items"] == 3
    worker.node.until(lambda: not worker.page.running(), "nothing runs")
    assert number in worker.result("s.ended")
    assert len(worker.kinds(Kind.OUTCOME, call)) == 1
