"""Broadcasts while a node drains: it is not reached, and what was for it says what it waits for."""

from __future__ import annotations

from typing import Any

from meshcode.ids import NO_ID, make_ids
from meshcode.router import events, plan
from meshcode.router.envelopes import body_of
from meshcode.wire.codec import pack, pack_call, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

from .several import SINK, Member, Several
from .test_broadcasts import Crew

OPTIONS = {"broadcast": True}


def crewed(*workers: tuple[str, ...]) -> Several:
    """Nodes of which each is to have one worker."""
    net = Several(1, *workers)
    for node in net.nodes:
        node.post(events.CrewChanged({"sinks": 1}))
    net.settle(3)
    return net


def broadcast(node: Member, value: int) -> bytes:
    [id] = make_ids(1, node.net.now)
    data = envelope(
        Kind.SUBMIT, id=id, name=SINK.encode(), meta=pack(OPTIONS), body=pack_call([value]), argc=1
    )
    node.post(events.Submitted(1, value, [(id, NO_ID, NO_ID, SINK, 1, OPTIONS, data)]))
    return id


def answers(net: Several, id: bytes) -> list[Any]:
    """The nodes that answered a broadcast, as each reply has them."""
    result = plan.result_of(net.nodes[0].outcome(id))
    assert result is not None
    return [one["node"] for one in unpack(body_of(net.nodes[0].outcome(result)))]


def names(net: Several, *numbers: int) -> list[str]:
    owner = net.nodes[0]
    found = [owner.router.replica.peers.name_of(net.nodes[n].id) for n in numbers if n]
    return sorted([owner.id.hex()[:12], *found]) if 0 in numbers else sorted(found)


def test_a_node_that_drains_is_not_reached():
    net = crewed(("sinks",), ("sinks",), ("sinks",))
    net.nodes[1].post(events.Drained())
    net.settle(2)

    id = broadcast(net.nodes[0], 7)
    net.settle()

    assert answers(net, id) == names(net, 0, 2)
    assert not any(node.router.calls or node.router.guests for node in net.nodes)


def test_what_waited_for_a_node_that_drains_says_so_and_runs_when_it_is_back():
    net = crewed(("sinks",), (), ("sinks",))
    id = broadcast(net.nodes[0], 7)
    net.settle(5)
    assert net.nodes[1].router.guests, "its worker is being started"

    net.nodes[1].post(events.Drained())
    net.settle(20)

    assert not net.nodes[1].router.guests
    router = net.nodes[0].router
    [copy] = [call for call in router.calls.values() if call.line.seat is not None]
    name = router.replica.peers.name_of(net.nodes[1].id)
    assert router.parked_reason(copy.line) == (
        f"node {name} drains; it begins when that was started again, and ends when it is evicted"
    )

    net.kill(net.nodes[1])
    net.workers = (("sinks",), ("sinks",), ("sinks",))
    net.revive(net.nodes[1])
    net.nodes[1].post(events.CrewChanged({"sinks": 1}))
    net.settle()
    assert answers(net, id) == names(net, 0, 1, 2)


def test_on_one_node_it_is_parked_until_that_was_started_again():
    made = Crew(2)
    id, _ = made.call("a", broadcast=True, delay_ms=50)
    made.step(events.Drained())

    made.wait(60)

    reason = made.router.parked_reason(made.router.calls[id].line)
    assert reason == "this node drains, and no other has a worker for processor p"
