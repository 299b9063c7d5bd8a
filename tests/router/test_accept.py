"""What is refused at the door, with which words; and what is let in."""

from __future__ import annotations

from random import Random

import pytest

from meshcode import limits
from meshcode.ids import NO_ID, make_ids
from meshcode.replica.peers import ALIVE, DEAD
from meshcode.router import heard
from meshcode.router.accept import option_problem
from meshcode.router.core import Router
from meshcode.router.events import (
    DiskChanged,
    Forgotten,
    ModelChanged,
    PeerChanged,
    RoomChanged,
    Submitted,
)
from meshcode.router.room import busy
from meshcode.router.timers import due_of
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.router.driver import Driver, begun

NOW = 1_700_000_000_000
GOOD_OPTIONS = [
    {},
    {"priority": 0},
    {"priority": 9},
    {"delay_ms": 0},
    {"delay_ms": 10 * 365 * 86_400_000},
    {"eta_ms": 0},
    {"retries": 0},
    {"retries": 1_000_000},
    {"retry_delay_ms": 0},
    {"time_limit_ms": 1},
    {"expires_ms": 1},
    {"key": "customer 7"},
    {"key": ""},
    {"by": "x" * 200},
    {"trace": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"kw": []},
    {"kw": ["a", "b"]},
    {"colour": "of a newer client"},
]
BAD_OPTIONS = [
    ({"priority": 10}, "option priority must be 0 to 9, it is 10"),
    ({"priority": -1}, "option priority must be 0 to 9, it is -1"),
    ({"priority": True}, "option priority must be a whole number, it is True"),
    ({"priority": 4.0}, "option priority must be a whole number, it is 4.0"),
    ({"priority": None}, "option priority must be a whole number, it is None"),
    ({"priority": "high"}, "option priority must be a whole number, it is 'high'"),
    ({"delay_ms": -1}, "option delay_ms must be 0 to 315360000000, it is -1"),
    ({"delay_ms": 1 << 70}, f"option delay_ms must be 0 to 315360000000, it is {1 << 70}"),
    ({"eta_ms": -5}, f"option eta_ms must be 0 to {1 << 53}, it is -5"),
    ({"retries": -1}, "option retries must be 0 to 1000000, it is -1"),
    ({"retry_delay_ms": float("nan")}, "option retry_delay_ms must be a whole number, it is nan"),
    ({"time_limit_ms": 0}, "option time_limit_ms must be 1 to 31536000000, it is 0"),
    ({"expires_ms": 0}, "option expires_ms must be 1 to 315360000000, it is 0"),
    ({"key": 7}, "option key must be text of at most 200 characters"),
    ({"key": "x" * 201}, "option key must be text of at most 200 characters"),
    ({"by": b"ann"}, "option by must be text of at most 200 characters"),
    ({"trace": ["x"]}, "option trace must be text of at most 200 characters"),
    ({"kw": "ab"}, "option kw must be a list of names"),
    ({"kw": [1]}, "option kw must be a list of names"),
    ({"kw": None}, "option kw must be a list of names"),
    ({"died": 7}, "option died must be a list of names"),
]


def router(**queue) -> Router:
    made = Router(bytes(16), 1, Random(1))
    made.step(
        ModelChanged({
            "number": 1, "processors": {"p": {}}, "queues": {"q": queue},
            "sockets": {"a": {"processor": "p", "task": "t", "queue": "q"}},
        }), NOW,
    )  # fmt: skip
    return made


def call(id: bytes, options=None, name: str = "a", argc: int = 1):
    meta = pack(options) if options else b""
    data = envelope(Kind.SUBMIT, id=id, name=name.encode(), meta=meta, argc=argc)
    return (id, id, NO_ID, name, argc, options, data)


@pytest.mark.parametrize("options", GOOD_OPTIONS, ids=str)
def test_good_options_pass(options):
    """At their bounds; what is unknown is asked for by itself."""
    assert option_problem(options) is None


def test_an_unknown_option_is_refused_of_a_client_and_taken_of_a_newer_node():
    """What was asked for would not be done; an accepted call goes on as far as it can."""
    made = router()
    id = make_ids(1, NOW)[0]

    effects = made.step(Submitted(3, 1, [call(id, {"retires": 1})]), NOW)

    [(_, _, error)] = effects.refused
    assert "no option 'retires'; did you mean 'retries'?" in error["text"]
    assert not effects.records
    assert heard.is_call(call(id, {"retires": 1})[-1], id)


@pytest.mark.parametrize(("options", "problem"), BAD_OPTIONS, ids=str)
def test_bad_options_are_told_with_both_numbers(options, problem):
    """And the call is refused whole: nothing of it is written."""
    made = router()
    id = make_ids(1, NOW)[0]

    effects = made.step(Submitted(3, 1, [call(id, options)]), NOW)

    assert option_problem(options) == problem
    assert effects.records == []
    [(client, refused, error)] = effects.refused
    assert (client, refused, error["code"]) == (3, id, "bad_request")
    assert error["text"] == f"socket a: {problem}"
    assert effects.accepted == [(3, 1, 1, 1, 1)]


def test_the_due_time_is_a_delay_from_acceptance_or_an_eta():
    """A delay goes first; no delay is no due time."""
    assert due_of(None, NOW, NOW) is None
    assert due_of({"priority": 3}, NOW, NOW) is None
    assert due_of({"delay_ms": 0}, NOW, NOW) is None
    assert due_of({"delay_ms": 250}, NOW, NOW) == NOW + 250
    assert due_of({"eta_ms": 99}, NOW, NOW) == 99
    ahead = NOW + 3_600_000  # The clock of the node that accepted it.
    assert due_of({"delay_ms": 250}, ahead, NOW) == NOW + 250


def test_one_bad_call_does_not_spoil_its_frame():
    """The rest of the frame is accepted."""
    made = router()
    good, bad, better = make_ids(3, NOW)

    effects = made.step(Submitted(1, 4, [call(good), call(bad, name="b"), call(better)]), NOW)

    assert list(made.calls) == [good, better]
    assert [id for _, id, _ in effects.refused] == [bad]
    assert len(effects.records) == 2


def test_a_call_that_overflows_twice_in_one_frame_ends_once():
    """The outcome is not in the log yet when the second of the two is read."""
    made = router(max_length=1, overflow="dead-letter")
    first, over = make_ids(2, NOW)

    effects = made.step(Submitted(1, 1, [call(first), call(over), call(over)]), NOW)

    assert [key for table, key, _ in effects.records if table == "done"] == [over]
    assert len(effects.outcomes) == 1


def test_a_limit_in_bytes_counts_the_envelope():
    """Both numbers are told."""
    ids = make_ids(2, NOW)
    size = len(call(ids[0])[6])
    made = router(max_length_bytes=2 * size - 1)

    effects = made.step(Submitted(1, 1, [call(id) for id in ids]), NOW)

    [(_, refused, error)] = effects.refused
    assert refused == ids[1]
    assert error["text"].startswith(
        f"the line of socket a would hold {2 * size} bytes, its queue q allows {2 * size - 1}"
    )


def test_a_tight_disk_takes_no_new_calls_and_says_so():
    """An open call is still acknowledged again."""
    made = router()
    known, new = make_ids(2, NOW)
    made.step(Submitted(1, 1, [call(known)]), NOW)
    made.step(DiskChanged(1), NOW)

    effects = made.step(Submitted(1, 2, [call(known), call(new)]), NOW)

    assert [(id, error["code"]) for _, id, error in effects.refused] == [(new, "busy")]
    assert effects.accepted == [(1, 2, 1, 1, 1)]


def test_a_stuck_disk_lets_nothing_begin_until_it_is_not():
    """A full disk does: an outcome makes room.  One that is stuck has as many as may wait."""
    driver = Driver()
    driver.join()
    driver.step(DiskChanged(limits.DISK_STUCK))
    driver.step(DiskChanged(0))
    (first,) = driver.submit()
    driver.run_us = 10_000_000  # Long: nothing is staged behind it.
    second, third = driver.submit(2)
    driver.step(DiskChanged(2))
    assert begun(driver.finish(first)) == [second]

    driver.step(DiskChanged(limits.DISK_STUCK))
    assert begun(driver.finish(second)) == []
    assert begun(driver.join(2)) == []

    assert begun(driver.step(DiskChanged(2))) == [third]


def test_an_id_from_before_the_horizon_cannot_be_told_from_one_that_ran():
    """What was pruned could have ended; a new id is asked for."""
    made = router()
    made.step(Forgotten(NOW), NOW)
    old, new = make_ids(1, NOW - 1)[0], make_ids(1, NOW)[0]

    effects = made.step(Submitted(1, 1, [call(old), call(new)]), NOW)

    [(_, refused, error)] = effects.refused
    assert (refused, error["code"]) == (old, "result_expired")
    assert error["text"].count("2023-11-14 22:13:") == 3, "of the id, the node and the horizon"
    assert list(made.calls) == [new]


def test_the_number_of_open_calls_has_a_bound(monkeypatch):
    """Told with both numbers."""
    monkeypatch.setattr(limits, "OPEN_CALLS_MAX", 1)
    made = router()
    first, second = make_ids(2, NOW)

    effects = made.step(Submitted(1, 1, [call(first), call(second)]), NOW)

    [(_, refused, error)] = effects.refused
    assert refused == second
    assert error["text"] == (
        "this node keeps 1 open calls and copies of calls, it has room for 1 (the setting "
        "`memory`); what it accepted is safe; try again when some have ended"
    )
    assert made.step(RoomChanged(2), NOW).refused == []
    assert not made.step(Submitted(1, 2, [call(second)]), NOW).refused


def test_who_has_no_room_since_another_node_is_away_says_which():
    """It must hear of each call that it votes on; what has ended is kept until it has."""
    made = Driver()
    here, away = bytes([201]) * 16, bytes([202]) * 16
    made.step(PeerChanged(here, ALIVE, 1))
    made.step(PeerChanged(away, DEAD, 1, "core", "", "n3"))
    made.submit()
    made.step(RoomChanged(1))

    problem = busy(made.router)

    assert problem is not None
    assert "this node keeps 2 open calls and copies of calls, it has room for 1" in problem.text
    assert "until n3 hears of it, which is away: start it, or evict it" in problem.text
