"""What a worker is asked through its control page, and what becomes of that which has no room."""

from __future__ import annotations

import pytest

from meshcode.ids import make_ids
from meshcode.limits import CANCEL_GRACE_MS
from meshcode.node.interrupts import AGAIN_MS, Interrupts
from meshcode.worker.control import (
    CANCEL_ROWS,
    REASON_CANCEL,
    REASON_RECALL,
    REASON_TIME_LIMIT,
    ControlPage,
)


@pytest.fixture
def sides(tmp_path):
    path = str(tmp_path / "page")
    node = ControlPage.create(path)
    worker = ControlPage.open(path)
    yield node, worker
    worker.close()
    node.close()


@pytest.fixture
def interrupts():
    return Interrupts()


def want(interrupts, page, ids, now_ms, reason="cancel"):
    for call in ids:
        interrupts.want(call, reason)
        interrupts.ask(page, now_ms)


def test_what_has_no_room_is_asked_when_there_is_and_its_grace_begins_then(sides, interrupts):
    page, worker = sides
    ids = make_ids(CANCEL_ROWS + 8)

    want(interrupts, page, ids, 1_000)
    assert list(interrupts.waiting) == ids[CANCEL_ROWS:]
    assert interrupts.look_due_ms() == 1_000 + AGAIN_MS

    assert worker.take_cancels() == [(call, REASON_CANCEL) for call in ids[:CANCEL_ROWS]]
    assert interrupts.ask(page, 1_500), "the worker needs its signal"
    assert worker.take_cancels() == [(call, REASON_CANCEL) for call in ids[CANCEL_ROWS:]]
    assert (interrupts.waits, interrupts.look_due_ms()) == (False, None)

    for call in ids[:CANCEL_ROWS]:
        interrupts.ended(call)
    assert interrupts.overdue_ms() == 1_500 + CANCEL_GRACE_MS
    assert not interrupts.ask(page, 1_600), "nothing is left to ask"


def test_a_call_that_ends_before_it_was_asked_is_asked_no_more(sides, interrupts):
    page, worker = sides
    ids = make_ids(CANCEL_ROWS + 2)
    want(interrupts, page, ids, 0, "time limit")

    interrupts.ended(ids[-2])
    worker.take_cancels()
    interrupts.ask(page, 10)

    assert worker.take_cancels() == [(ids[-1], REASON_TIME_LIMIT)]


def test_a_worker_that_makes_no_room_for_a_whole_grace_is_overdue(sides, interrupts):
    """Also when the calls that it was asked to end have ended: it hears nothing."""
    page, _worker = sides
    ids = make_ids(CANCEL_ROWS + 1)
    want(interrupts, page, ids[:-1], 0)
    for call in ids[:-1]:
        interrupts.ended(call)
    assert interrupts.overdue_ms() is None

    want(interrupts, page, ids[-1:], 5_000)
    interrupts.ask(page, 6_000)

    assert interrupts.overdue_ms() == 5_000 + CANCEL_GRACE_MS


def test_calls_are_asked_back_once_until_that_is_taken(sides, interrupts):
    """So a worker deaf for an hour, in native code, has room for the cancel of its call."""
    page, worker = sides
    for now_ms in range(3 * CANCEL_ROWS):
        interrupts.want_recall(5)
        interrupts.ask(page, now_ms)
    assert worker.take_cancels() == [((5).to_bytes(16, "little"), REASON_RECALL)]
    interrupts.want_recall(7)
    assert interrupts.ask(page, 1_000)
    assert worker.take_cancels() == [((7).to_bytes(16, "little"), REASON_RECALL)]


def test_a_recall_that_has_no_room_is_kept_and_kills_nobody(sides, interrupts):
    page, worker = sides
    ids = make_ids(CANCEL_ROWS)
    want(interrupts, page, ids, 0)
    interrupts.want_recall(300)
    assert not interrupts.ask(page, 1)
    for call in ids:
        interrupts.ended(call)
    assert interrupts.waits
    assert interrupts.overdue_ms() is None

    worker.take_cancels()
    assert interrupts.ask(page, 2)

    assert worker.take_cancels() == [((300).to_bytes(16, "little"), REASON_RECALL)]
