"""The records of the log, there and back, byte for byte."""

from __future__ import annotations

from random import Random

import pytest

from meshcode.ids import NO_ID, child_id, make_ids
from meshcode.router import records
from meshcode.router.core import Router
from meshcode.router.events import ModelChanged, Submitted
from meshcode.router.states import State
from meshcode.wire.frame import check_envelope, envelope
from meshcode.wire.kinds import Kind, Outcome

NODE = bytes(range(16))
ID = make_ids(1, 1_700_000_000_000)[0]


def submit(id: bytes = ID, name: bytes = b"a", body: bytes = b"\x91\x01") -> bytes:
    return envelope(Kind.SUBMIT, id=id, flow=id, name=name, body=body, argc=1)


def test_an_open_record_tells_who_accepted_what_and_when():
    """The custody header is the same for all calls of a boot but for its time."""
    before, after = records.custody_parts(NODE, 7)
    value = before + (1_700_000_000_123).to_bytes(8, "little") + after + submit()

    custody, found = records.split_open(value)

    assert found == submit()
    assert custody == {
        "generation": 0,
        "boot": 7,
        "epoch": 0,
        "accepted_ms": 1_700_000_000_123,
        "home": NODE,
        "owner": NODE,
        "voters": [NODE],
    }


def test_sequences_sort_as_their_keys_do():
    """The log is in append order because keys are big-endian."""
    sequences = [1, 2, 255, 256, 65_536, 1 << 40, (1 << 64) - 1]
    keys = [records.sequence_key(one) for one in sequences]

    assert keys == sorted(keys)
    assert all(len(key) == 8 for key in keys)


def test_a_state_record_comes_back():
    """All of it, also the story and who cancelled."""
    fields = {
        "state": int(State.HELD),
        "attempt": 3,
        "due_ms": 1_700_000_000_000,
        "reason": "its worker died",
        "story": [[1, "worker lost", "signal 9"], [2, "held", "…"]],
        "begun": False,
        "cancelled_by": None,
    }

    assert records.split_state(records.pack_state(fields)) == fields


@pytest.mark.parametrize("story", [None, [], [[1, "retried", "attempt 1 failed"]]])
@pytest.mark.parametrize("kept", [submit(), b""], ids=["call", "log"])
def test_a_done_record_holds_both_ends(story, kept):
    """The outcome and, unless it was only in the log, the call itself."""
    outcome = envelope(Kind.OUTCOME, id=ID, code=Outcome.DONE, attempt=2, body=b"\x2a")
    value = records.pack_done(Outcome.DONE, 2, 10, 20, 30, 99, outcome, kept, story)

    done = records.split_done(value)

    assert done == {
        "code": 1, "attempts": 2, "accepted_ms": 10, "started_ms": 20, "finished_ms": 30,
        "sequence": 99, "outcome": outcome, "submit": kept, "story": story or [],
    }  # fmt: skip
    assert records.outcome_of(value) == outcome
    assert check_envelope(done["outcome"]).attempt == 2


def test_what_the_router_writes_another_boot_reads():
    """Accepted calls come back in order, with their options, and are open again."""
    snapshot = {
        "number": 1, "queues": {}, "processors": {"p": {}},
        "sockets": {"a": {"processor": "p", "task": "t", "queue": "q"}},
    }  # fmt: skip
    first = Router(NODE, 1, Random(1))
    first.step(ModelChanged(snapshot), 1_000)
    ids = make_ids(3, 900)
    calls = [(id, id, NO_ID, "a", 1, None, submit(id)) for id in ids]
    effects = first.step(Submitted(5, 1, calls), 1_000)
    opens = [(key, value) for table, key, value in effects.records if table == "open"]

    second = Router(NODE, 2, Random(1))
    second.step(ModelChanged(snapshot), 2_000)
    recovered = second.recover(opens, [], 2_000)

    assert recovered.records == []
    assert list(second.calls) == ids
    assert [call.accepted_ms for call in second.calls.values()] == [1_000] * 3
    assert all(call.epoch == 2 for call in second.calls.values())
    assert second.next_sequence == 4
    second.check()


def test_a_state_record_without_its_call_is_swept():
    """It is a leftover; nothing refers to it."""
    router = Router(NODE, 2, Random(1))
    leftover = records.pack_state({"state": 1})

    effects = router.recover([], [(records.sequence_key(4), leftover)], 1_000)

    assert effects.records == [("state", records.sequence_key(4), None)]


def test_child_ids_are_always_the_same_and_keep_the_time():
    """Re-running a step after a crash meets its own children."""
    child = child_id(ID, b"dead-letter")

    assert child == child_id(ID, b"dead-letter")
    assert child != child_id(ID, b"retry/1/1")
    assert child[:6] == ID[:6]
    assert len(child) == 16
