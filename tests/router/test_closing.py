"""A call that one node of a mesh keeps alone, and that its history knows already (P14)."""

from __future__ import annotations

import pytest

from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.records import pack_done, split_done
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .flowing import Flows, looked_up, said, step

PEERS = [bytes([7]) * 16, bytes([8]) * 16]


def in_a_mesh() -> Flows:
    """A node whose two peers are not there: all calls are kept here alone."""
    made = Flows()
    for peer in PEERS:
        made.step(events.PeerChanged(peer, "dead", 1, "core", "", peer.hex()))
    return made


def ended_elsewhere(made: Flows, id: bytes, value: str) -> bytes:
    """The `done` record of a call that others have ended, and of which nothing else is left."""
    outcome = envelope(Kind.OUTCOME, id=id, code=Outcome.DONE, attempt=1, body=pack(value))
    made.log["done"][id] = pack_done(Outcome.DONE, 1, 1, 1, 2, 3, outcome, b"", None)
    return outcome


def crashed(made: Flows) -> tuple[Flows, Effects]:
    """The same node after a crash."""
    after = in_a_mesh()
    after.log = {table: dict(kept) for table, kept in made.log.items()}
    opens, states = sorted(after.log["open"].items()), sorted(after.log["state"].items())
    effects = after.router.recover(opens, states, after.now, [])
    effects.merge(after.step(events.Ticked()))
    return after, effects


def test_of_what_a_client_submitted_it_is_known_already():
    made = in_a_mesh()
    id, effects = made.call("a", 1)
    (_, [(_, attempt, _, submit)]) = effects.starts[0]
    effects = made.answer(id, attempt, submit)
    assert not effects.lookups and made.outcome(id) == (Outcome.DONE, said("a", 1))


def test_after_a_crash_its_outcome_is_written_after_a_look_into_the_history():
    made = in_a_mesh()
    id, _ = made.call("a", 1)
    after, effects = crashed(made)
    (_, [(_, attempt, _, submit)]) = effects.starts[0]

    effects = after.answer(id, attempt, submit)

    assert effects.lookups == [(b"", id)] and id not in after.log["done"]
    after.settle(effects)
    assert after.outcome(id) == (Outcome.DONE, said("a", 1))
    assert not after.log["open"] and not after.router.calls and not after.router.closing


def test_what_the_history_has_stays_and_is_told():
    made = in_a_mesh()
    id, _ = made.call("a", 1)
    after, effects = crashed(made)
    known = ended_elsewhere(after, id, "theirs")
    after.step(events.Watched(1, [id]))

    after.settle(effects)

    assert split_done(after.log["done"][id])["outcome"] == known == after.told[id]
    assert not after.log["open"] and not after.router.calls and not after.router.closing


@pytest.mark.parametrize("cancelled", [False, True])
def test_steps_of_a_flow_that_were_recorded_are_not_recorded_again(cancelled):
    """The flow was given to another node before, which told how its steps ended (seed 13476)."""
    steps = [step("a", 1), step("a", feed=0)]
    made = in_a_mesh()
    id, effects = made.flow(steps)
    made.settle(effects)
    known = {one: record for one, record in made.log["done"].items() if one != id}
    again = in_a_mesh()
    again.log["done"] |= known
    again.values["a"] = "another value"
    first = next(one for one in known if split_done(known[one])["submit"][14] == 1)

    _, effects = again.flow(steps, id=id)
    if cancelled:
        effects.merge(looked_up(again, effects))
        effects.merge(again.step(events.CancelAsked(1, b"1", first, "somebody")))
    again.settle(effects)

    assert len(known) == 2 and again.log["done"] == known | {id: again.log["done"][id]}
    assert not again.log["open"] and not again.router.calls and not again.router.closing


def test_a_crash_before_the_look_costs_one_more_attempt():
    made = in_a_mesh()
    id, _ = made.call("a", 1)
    once, effects = crashed(made)
    (_, [(_, attempt, _, submit)]) = effects.starts[0]
    once.answer(id, attempt, submit)

    twice, effects = crashed(once)
    twice.settle(effects)

    assert twice.outcome(id) == (Outcome.DONE, said("a", 1))
    assert not twice.log["open"]


def test_a_node_without_a_mesh_does_not_look():
    made = Flows()
    id, effects = made.flow([step("a", 1), step("a", feed=0)])
    made.run(effects)
    assert id in made.log["done"] and len(made.log["done"]) == 3 and not made.log["open"]
