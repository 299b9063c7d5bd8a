"""Streams of several nodes: run by a peer, over losses, deaths and take-overs."""

from __future__ import annotations

import pytest

from meshcode import limits
from meshcode.router import events, replicated, streams
from meshcode.router.effects import Effects
from meshcode.router.records import split_done
from meshcode.wire.kinds import Outcome

from .several import SINK, Several

WINDOW = limits.STREAM_WINDOW


def check(net: Several, id: bytes, count: int) -> None:
    """All items are there, and each caused one call."""
    assert net.items(id, count) == list(range(count))
    assert len(net.submits()) == count, "each item has caused one call, under one id"
    assert sorted(net.used) == list(range(count))
    for node in net.up():
        assert not node.router.calls
        assert not node.router.guests
        assert not node.router.streams.tracked
        assert not node.router.streams.by_call
        assert not node.router.streams.sending
        assert not node.router.reports


@pytest.mark.parametrize("nodes", [2, 3])
def test_a_peer_runs_the_generator_and_its_owner_has_the_items(nodes):
    net = Several(1, ("sinks",), ("sources",), *[()] * (nodes - 2))
    id = net.submit(net.nodes[0], WINDOW + 200)

    net.settle()

    check(net, id, WINDOW + 200)
    assert set(net.used.values()) == {1}
    done = split_done(net.nodes[0].log["done"][id])
    assert done["code"] == Outcome.DONE


def test_a_slow_consumer_holds_up_a_generator_at_a_peer():
    net = Several(1, (), ("sources",), ())
    id = net.submit(net.nodes[0], WINDOW + 200)
    net.settle(20)

    assert net.nodes[1].running[id].next == WINDOW
    assert len(net.nodes[0].router.streams.tracked) == WINDOW
    assert not net.nodes[1].router.streams.sending[id].kept, "all were taken"

    net.workers = (("sinks",), ("sources",), ())
    net.nodes[0].post(events.WorkerJoined(1, "sinks"))
    net.settle()
    check(net, id, WINDOW + 200)


@pytest.mark.parametrize("seed", range(4))
def test_items_get_through_a_network_that_loses_and_doubles(seed):
    net = Several(seed, ("sinks",), ("sources",), (), lost=0.1)
    id = net.submit(net.nodes[0], WINDOW + 50)

    net.settle(400)
    net.lost = 0.0
    net.settle(400)

    check(net, id, WINDOW + 50)


@pytest.mark.parametrize("after", [2, 6])
def test_the_peer_that_runs_it_dies(after):
    net = Several(after, ("sinks",), ("sources",), ("sources",))
    id = net.submit(net.nodes[0], WINDOW + 80)
    for _ in range(after * 3):
        net.turn(16)
    runner = next((node for node in net.nodes[1:] if node.running), net.nodes[1])

    net.kill(runner)
    net.settle()
    net.revive(runner)
    net.settle()

    check(net, id, WINDOW + 80)
    assert set(net.used.values()) == {1}


@pytest.mark.parametrize("after", [1, 3, 5, 9])
def test_the_owner_dies_and_another_takes_over_without_making_an_item_twice(after):
    net = Several(after, ("sinks", "sources"), ("sinks", "sources"), ("sinks", "sources"))
    id = net.submit(net.nodes[0], WINDOW + 80)
    for _ in range(after * 2):
        net.turn(16)

    net.kill(net.nodes[0])
    net.settle(300)
    net.revive(net.nodes[0])
    net.settle(300)

    check(net, id, WINDOW + 80)
    assert SINK in net.snapshot["sockets"]


@pytest.mark.parametrize("after", [3, 8])
def test_all_nodes_die_and_come_back(after):
    net = Several(after, ("sinks", "sources"), ("sinks",), ("sources",))
    id = net.submit(net.nodes[0], WINDOW + 80)
    for _ in range(after * 2):
        net.turn(16)

    for node in net.nodes:
        node.up = False
    for node in net.nodes:
        net.revive(node)
    net.settle(300)

    check(net, id, WINDOW + 80)


def test_a_peer_drops_the_stream_of_an_owner_that_is_gone_and_may_begin_it_again():
    net = Several(1, (), ("sources",), ())
    id = net.submit(net.nodes[0], WINDOW + 80)
    net.settle(3)
    runner = net.nodes[1]
    assert runner.running[id].next == WINDOW

    runner.post(events.PeerChanged(net.nodes[0].id, "dead", 1))
    runner.run()
    assert runner.running == {}
    assert not runner.inbox, "nothing is reported, so nothing can be taken for the next attempt"
    assert not runner.router.streams.sending
    net.tell_all()
    net.workers = (("sinks",), ("sources",), ())
    net.nodes[0].post(events.WorkerJoined(1, "sinks"))
    net.settle()

    check(net, id, WINDOW + 80)


def test_what_has_handed_on_items_keeps_its_keepers():
    """Its items are named after them: others would make them again.  Where none is known, a first
    look asks the history and the peers, and the second goes by what they said.
    """
    net = Several(1, ("sources",), (), (), ())
    id = net.submit(net.nodes[0], WINDOW + 80)
    net.settle(5)
    router, call = net.nodes[0].router, net.nodes[0].router.calls[id]
    first = streams.item_id(id, 0)
    known = net.nodes[0].outcome(first)
    assert known

    for said, moves in ((known, False), (b"", True)):
        router.streams.firsts.clear()
        router.replica.by_id.pop(first, None)
        out = Effects()
        assert not streams.may_move(router, call, out)
        assert out.lookups == [(b"", first)]
        assert {node for node, *_ in out.peer} == {node.id for node in net.nodes[1:]}
        router.step(events.LookedUp([(b"", first, said)]), net.now)
        assert streams.may_move(router, call, out) is moves


def test_where_a_generator_that_was_put_aside_leaves_the_next_of_its_socket_begins():
    net = Several(1, ("sources",), (), ())
    first = net.submit(net.nodes[0], WINDOW + 80)
    net.settle(3)
    net.now += 1
    second = net.submit(net.nodes[0], 3)
    net.settle(3)
    router = net.nodes[0].router
    assert list(net.nodes[0].running) == [first], "the other waits behind it"

    replicated.leave(router, router.calls[first], net.now)
    effects = router.step(events.Ticked(), net.now)

    assert effects.credits == [(1, first, 1, streams.GIVE_UP)]
    assert [(worker, batch[0][0]) for worker, batch in effects.starts] == [(1, second)]
