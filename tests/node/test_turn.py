"""The turn law: nothing is released before its records are synced, and everything in order."""

from __future__ import annotations

import tracemalloc
from random import Random

from meshcode.ids import make_ids
from meshcode.node.turn import Turns
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.events import Finished, ModelChanged, Ticked, WorkerJoined
from meshcode.router.records import outcome_of
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome
from tests.records.world import NODE
from tests.router.part import MODEL, Part


class World(Part):
    """A node with a worker, each of whose calls is a turn of its own."""

    def __init__(self) -> None:
        super().__init__(now_ms=10)
        self.step(ModelChanged(MODEL))
        self.step(WorkerJoined(1, "p"))
        self.turns.close()
        assert self.turns.begin_sync() is None  # Nothing to write: released at once.
        self.released.clear()

    def submit(self, id: bytes) -> None:
        """One fresh call in a turn of its own."""
        super().submit(id)
        self.turns.close()

    def accepted(self) -> list[int]:
        """Sequences of the frames acknowledged so far, in order."""
        return [sequence for out in self.released for _, sequence, *_ in out.accepted]


def test_nothing_is_said_before_the_sync():
    world = World()
    world.submit(make_ids(1)[0])

    ops = world.turns.begin_sync()

    assert ops is not None
    assert [table for table, _, _ in ops] == ["open"]
    assert world.released == []
    world.turns.synced()
    assert world.accepted() == [1]


def test_turns_thought_during_a_sync_wait_for_the_next():
    """They were not in the batch that is being written, so its end says nothing of them."""
    world = World()
    first, second, third = make_ids(3)
    world.submit(first)
    assert world.turns.begin_sync() is not None
    world.submit(second)
    world.submit(third)

    assert world.turns.begin_sync() is None
    world.turns.synced()
    assert world.accepted() == [1]
    ops = world.turns.begin_sync()
    assert ops is not None
    assert len(ops) == 2
    world.turns.synced()

    assert world.accepted() == [1, 2, 3]


def test_a_batch_that_found_no_room_takes_later_turns_along():
    """What ends calls makes room, so it must not wait behind a batch that only adds."""
    world = World()
    first, second = make_ids(2)
    world.submit(first)
    ops = world.turns.begin_sync()
    assert ops is not None
    world.submit(second)

    ops += world.turns.more_sync()

    assert [table for table, _, _ in ops] == ["open", "open"]
    assert world.accepted() == []
    world.turns.synced()
    assert world.accepted() == [1, 2]
    assert world.turns.unsynced == 0


def test_a_turn_without_records_still_waits_for_those_before_it():
    world = World()
    id = make_ids(1)[0]
    world.submit(id)
    world.turns.begin_sync()
    world.submit(id)  # A repeat: nothing to write, but the answer depends on the first.

    assert world.accepted() == []
    world.turns.synced()
    assert world.turns.begin_sync() is None

    assert world.accepted() == [1, 2]


def test_an_outcome_not_yet_synced_is_known_to_have_ended():
    """Else a repeated submit that comes within the commit window would run again."""
    world = World()
    id = make_ids(1)[0]
    world.submit(id)
    world.turns.begin_sync()
    world.turns.synced()
    outcome = envelope(Kind.OUTCOME, id=id, code=Outcome.DONE, attempt=1, body=pack(5))
    report = (id, 1, int(Outcome.DONE), False, 10, 9, outcome)
    world.turns.step(Finished(1, [report]), 20)

    assert world.turns.ended([id], lambda _: None) == {id: outcome}
    world.turns.close()
    world.turns.begin_sync()
    assert world.turns.ended([id], lambda _: None) == {id: outcome}
    world.turns.synced()

    records = [op for out in world.released for op in out.records if op[0] == "done"]
    assert [outcome_of(value) for _, _, value in records] == [outcome]
    assert world.turns.ended([id], lambda _: None) == {}
    assert world.turns.ended([id], lambda _: records[0][2]) == {id: outcome}


def test_a_look_at_one_call_costs_no_copy_of_all_that_ended_and_is_not_yet_synced():
    """There are many of them while the disk is slow, and a flow looks at each of its steps."""
    world = World()
    ids = make_ids(20_000)
    for at in range(0, len(ids), 5_000):  # The last turn stays open.
        world.turns.close()
        records = [("done", id, b"ended") for id in ids[at : at + 5_000]]
        world.turns.add(Effects(records=records))
        assert world.turns.done_record(ids[at], lambda _: None) == b"ended"

    tracemalloc.start()
    found = [world.turns.done_record(id, lambda _: b"in the log") for id in (*ids[::1_000], NODE)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found == [b"ended"] * 20 + [b"in the log"]
    assert peak < 10_000


def test_the_latest_record_of_a_call_counts_until_its_own_turn_is_synced():
    world = World()
    id, other = make_ids(2)

    def look() -> bytes | None:
        return world.turns.done_record(id, lambda _: None)

    world.turns.add(Effects(records=[("done", id, b"first")]))
    assert look() == b"first"
    world.turns.close()
    world.turns.begin_sync()
    world.turns.add(Effects(records=[("done", other, b"of another")]))
    assert look() == b"first"
    world.turns.add(Effects(records=[("open", id, b""), ("done", id, b"second")]))
    assert look() == b"second"
    world.turns.close()
    assert world.turns.has_fresh([id])
    world.turns.synced()

    assert look() == b"second"
    assert world.turns.fresh_done() == {other: b"of another", id: b"second"}
    world.turns.begin_sync()
    world.turns.synced()
    assert look() is None
    assert not world.turns.has_fresh([id, other])


def test_an_empty_turn_is_no_turn():
    world = World()
    world.turns.close()
    assert world.turns.unsynced == 0
    world.turns.step(Ticked(), 30)
    world.turns.close()
    assert world.turns.unsynced == 1
    assert world.turns.begin_sync() is None
    assert world.turns.unsynced == 0


# What does not wait for its own turn.

VOTE = ("vote", b"12345678", b"a vote")
PROPOSAL = (b"n" * 16, int(Kind.PROPOSE), [b"a value"])
TOLD = (7, b"an outcome that a majority has")


class Early(World):
    """The same, with calls begun early in order of their workers; turns are counted from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[int, list[bytes]]] = []
        self.turns = Turns(Router(NODE, 1, Random(1)), self.released.append, self._begin)

    def _begin(self, worker: int, batch: list) -> None:
        self.begun.append((worker, [id for id, *_ in batch]))

    def turn(self, **effects: list) -> None:
        """One that wants this."""
        self.turns.add(Effects(**effects))
        self.turns.close()

    def said(self) -> list:
        """What has left so far."""
        return [one for out in self.released for one in (*out.peer, *out.outcomes)]


def test_a_proposal_and_what_was_chosen_leave_when_their_batch_goes_to_the_log():
    world = Early()
    world.turn(records=[VOTE], early=[PROPOSAL], chosen=[TOLD], peer=[("after", 0, [])])
    world.turn(records=[VOTE], early=[PROPOSAL])
    assert world.said() == []

    assert world.turns.begin_sync() == [VOTE, VOTE]

    assert world.said() == [PROPOSAL, TOLD, PROPOSAL]
    world.turns.synced()
    assert world.said() == [PROPOSAL, TOLD, PROPOSAL, ("after", 0, [])]


def test_they_wait_for_the_batch_before():
    """This node's vote, without which there is no majority, may be there."""
    world = Early()
    world.turn(records=[VOTE])
    world.turns.begin_sync()
    world.turn(records=[VOTE], early=[PROPOSAL], chosen=[TOLD])

    assert world.turns.begin_sync() is None
    assert world.said() == []
    world.turns.synced()
    assert world.said() == []
    world.turns.begin_sync()

    assert world.said() == [PROPOSAL, TOLD]


def test_in_a_batch_that_took_later_turns_along_they_wait_for_its_end():
    world = Early()
    world.turn(records=[VOTE])
    world.turns.begin_sync()
    world.turn(records=[VOTE], early=[PROPOSAL], chosen=[TOLD])

    assert world.turns.more_sync() == [VOTE]

    assert world.said() == []
    world.turns.synced()
    assert world.said() == [PROPOSAL, TOLD]


def test_a_turn_without_records_lets_all_of_it_out():
    world = Early()
    world.turn(early=[PROPOSAL], chosen=[TOLD], outcomes=[(8, b"another")])

    assert world.turns.begin_sync() is None

    assert world.said() == [PROPOSAL, TOLD, (8, b"another")]


def test_an_outcome_does_not_come_before_the_acknowledgement_of_its_turn():
    world = Early()
    world.turn(records=[VOTE], accepted=[(7, 1, 2, 3, 3)], chosen=[TOLD])
    world.turns.begin_sync()
    assert world.said() == []

    world.turns.synced()

    assert world.accepted() == [1]
    assert world.said() == [TOLD]


def test_a_start_leaves_as_early_as_it_may_and_passes_none_at_its_worker():
    world = Early()
    at_once, later, own = [(bytes([at]) * 16, 1, at, b"") for at in (0, 1, 2)]
    world.turn(records=[VOTE])
    world.turns.begin_sync()

    world.turn(records=[VOTE], starts=[(1, [at_once]), (2, [later]), (3, [own])])
    world.turn(records=[VOTE], starts=[(1, [at_once]), (2, [at_once]), (3, [at_once])])
    assert world.begun == [(1, [at_once[0]])] * 2
    assert world.turns.has_begun

    world.turns.synced()
    world.turns.begin_sync()
    assert world.begun[2:] == [(2, [later[0]]), (2, [at_once[0]])]
    assert not world.turns.has_begun, "what began does not hold up the batch after it"
    world.turns.synced()

    assert [start for out in world.released for start in out.starts] == [
        (3, [own]), (3, [at_once])
    ]  # fmt: skip


def test_the_core_knows_the_turn_under_way():
    world = Early()
    assert world.turns.router.turn == 1
    world.turns.step(Ticked(), 1)
    world.turns.step(Ticked(), 2)
    assert world.turns.router.turn == 1
    world.turns.close()
    world.turns.close()

    world.turns.step(Ticked(), 3)

    assert world.turns.router.turn == 2
