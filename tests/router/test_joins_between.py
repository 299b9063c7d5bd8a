"""Collectors of joins among nodes, in one core: instances of them that others keep, too."""

from __future__ import annotations

from meshcode.ids import make_ids
from meshcode.replica.instance import make_key, moved_key
from meshcode.router import ending, events, joins
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.records import split_done, split_open
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW
from .flowing import Flows, looked_up
from .test_wiring import joining


def heard_of(
    made: Flows, flow: bytes | None = None
) -> tuple[bytes, tuple[bytes, ...], list[object]]:
    """Two peers, and a PREPARE of the first for a collector; key, voters, what tells of a value."""
    others = [bytes([n]) * 16 for n in (7, 8)]
    for node in others:
        made.step(events.PeerChanged(node, "alive", 1, "core", "", node.hex()))
    voters = (others[0], made.router.node, others[1])
    join = {"target": "e", "places": ["left", "right"]}
    flow = flow or make_ids(1, NOW)[0]
    submit = joins._collector_submit(flow, b"".join((others[0], *voters)), join, 0)
    key = make_key(submit[16:32], others[0])
    prepare = [key, b"".join(voters), 0, None, [1, others[0], 1]]
    made.step(events.PeerSaid(others[0], int(Kind.PREPARE), [prepare]))
    return key, voters, [key, b"".join(voters), submit, "left", b"a" * 16]


def test_a_collector_that_was_claimed_before_it_was_heard_of_gets_its_call_from_a_value():
    """Who made it is gone: the others knew of the claim only, and asked each other for the call."""
    made = joining()
    key, voters, arrived = heard_of(made)
    inst = made.router.replica.by_key[key]
    assert not inst.payload

    made.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [arrived]))

    assert inst.payload
    assert arrived[2] in [split_open(value)[1] for value in made.log["open"].values()]


def moved_on(
    made: Flows, flow: bytes | None = None
) -> tuple[bytes, tuple[bytes, ...], list[object]]:
    """The collector has moved to others, and all that kept it know that all know."""
    key, voters, arrived = heard_of(made, flow)
    made.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [arrived]))
    note = {"accepted_ms": NOW, "submit": arrived[2]}
    moved = [int(Outcome.MOVED), b"", [[key[:16], b"".join(voters), None]], note]
    told = [key, 1, [1, voters[0], 1], False, b"".join(voters), 0, None, moved]
    made.step(events.PeerSaid(voters[0], int(Kind.TOLD), [told]))
    for node in (voters[0], voters[2]):
        made.step(events.PeerSaid(node, int(Kind.TOLD), [[key, 2, None, False]]))
    return key, voters, arrived


def restarted(made: Flows) -> Flows:
    """The same node after a restart, which has read its votes too."""
    after = Flows()
    after.log = {table: dict(kept) for table, kept in made.log.items()}
    for node in (bytes([7]) * 16, bytes([8]) * 16):
        after.step(events.PeerChanged(node, "alive", 1, "core", "", node.hex()))
    after.router.recover(
        sorted(after.log["open"].items()), sorted(after.log["state"].items()), after.now,
        sorted(after.log["vote"].items()),
    )  # fmt: skip
    return after


def test_a_collector_that_has_moved_is_not_made_again_by_a_keeper_that_restarts():
    """The one that took its place may be with others only: they hear of the value."""
    made = joining()
    key, voters, arrived = moved_on(made)

    for node in (made, restarted(made)):
        effects = node.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [arrived]))
        passed_on = [entry for _, kind, entry in effects.peer if kind == Kind.ARRIVED]
        effects.merge(looked_up(node, effects))

        assert not [op for op in effects.records if op[0] == "open"]
        assert [entry[0][:32] + entry[0][33:] for entry in passed_on] == [key[:32] + b"\x01"]


def test_a_value_that_is_passed_on_does_not_make_a_collector_that_is_not_here():
    """A later instance comes from the one before it, with its custody: never from a value."""
    made = joining()
    key, voters, arrived = heard_of(made)
    later = [moved_key(key), *arrived[1:]]
    del made.router.replica.by_id[key[:16]]

    effects = made.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [later]))
    effects.merge(looked_up(made, effects))

    assert not [op for op in effects.records if op[0] == "open"]


def test_that_a_collector_has_moved_is_remembered_until_its_outcome_is_in_the_history():
    made = joining()
    key, _, arrived = moved_on(made)
    id, submit = key[:16], arrived[2]
    outcome = envelope(Kind.OUTCOME, id=id, code=Outcome.CANCELLED, attempt=0, body=pack({}))
    made.step(events.LookedUp([(b"", id, b"")]))
    assert key in made.router.replica.by_key, "nobody knows how it ends"

    effects = made.step(events.PeerSaid(bytes([8]) * 16, int(Kind.OUTCOME_IS), [[id, outcome]]))
    assert effects.lookups == [(b"", id)]
    looked_up(made, effects)

    done = split_done(made.log["done"][id])
    assert (done["outcome"], done["submit"], done["accepted_ms"]) == (outcome, submit, NOW)
    assert key not in made.router.replica.by_key
    assert not made.log["vote"]
    assert not made.router.replica.moved


def a_value(made: Flows, flow: bytes, key: bytes, voters: tuple[bytes, ...]) -> Call:
    """A value of the flow for argument `left`, which this node keeps alone."""
    [id] = make_ids(1, NOW)
    join = {"target": "e", "places": ["left", "right"], "place": "left"}
    meta = pack({"at": b"".join((key[16:32], *voters)), "join": join})
    body = pack_call([1])
    value = envelope(Kind.SUBMIT, id=id, flow=flow, name=b"@join", meta=meta, body=body, argc=1)
    ending.issue(made.router, id, value, made.now, Effects(), voters=made.router.alone)
    made.wait(0)
    return made.router.calls[id]


def test_what_an_answer_of_the_history_files_counts_for_the_rest_of_it():
    """A value looks for its collector, which has moved, as a peer tells how that has ended."""
    made = joining()
    [flow] = make_ids(1, NOW)
    key, voters, _ = moved_on(made, flow)
    id = key[:16]
    value = a_value(made, flow, key, voters)
    assert made.router.needed[id] == [value]
    outcome = envelope(Kind.OUTCOME, id=id, code=Outcome.CANCELLED, attempt=0, body=pack({}))
    made.router.replica.told[id] = outcome

    effects = made.step(events.LookedUp([(b"", id, b""), (b"", id, b"")]))

    assert id in made.log["done"]
    opened = [split_open(data)[1] for table, _, data in effects.records if data and table == "open"]
    assert id not in [submit[16:32] for submit in opened]
    assert joins._id(value, 1) in made.router.needed, "the value looks at the next"
