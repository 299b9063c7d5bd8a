"""Collectors of joins among nodes, in one core: instances of them that others keep, too."""

from __future__ import annotations

from meshcode.ids import make_ids
from meshcode.replica.instance import make_key
from meshcode.router import events, joins
from meshcode.router.records import split_open
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW
from .flowing import Flows, looked_up
from .test_wiring import joining


def heard_of(made: Flows) -> tuple[bytes, tuple[bytes, ...], list[object]]:
    """Two peers, and a PREPARE of the first for a collector; key, voters, what tells of a value."""
    others = [bytes([n]) * 16 for n in (7, 8)]
    for node in others:
        made.step(events.PeerChanged(node, "alive", 1, "core", "", node.hex()))
    voters = (others[0], made.router.node, others[1])
    join = {"target": "e", "places": ["left", "right"]}
    [flow] = make_ids(1, NOW)
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


def test_a_collector_that_has_moved_and_is_forgotten_is_not_made_again():
    """The one that took its place may not have come here yet."""
    made = joining()
    key, voters, arrived = heard_of(made)
    made.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [arrived]))
    moved = [int(Outcome.MOVED), b"", [[key[:16], b"".join(voters), None]], None]
    told = [key, 1, [1, voters[0], 1], False, b"".join(voters), 0, None, moved]
    made.step(events.PeerSaid(voters[0], int(Kind.TOLD), [told]))
    for node in (voters[0], voters[2]):
        made.step(events.PeerSaid(node, int(Kind.TOLD), [[key, 2, None, False]]))
    assert key not in made.router.replica.by_key, "it is forgotten"

    effects = made.step(events.PeerSaid(voters[2], int(Kind.ARRIVED), [arrived]))
    effects = looked_up(made, effects)

    assert not [op for op in effects.records if op[0] == "open"]
    assert key not in made.router.replica.by_key
