"""Which way a peer is sought: given addresses, what it says itself, and the keys it may have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from meshcode import limits
from meshcode.cli.demo.many.stage import free_port
from tests.peers.world import Peer, mesh, raw_keys, run, settle

NOWHERE = "tcp://127.0.0.1:1"


def start_telling(peer: Peer) -> None:
    """Its next boot, after a kill, at a port of its own; it tells where it is."""
    peer.bind = [f"tcp://127.0.0.1:{free_port()}"]
    peer.boot += 1
    peer.start(hello={"name": f"n{peer.node[0]}", "addresses": peer.bind})


@contextmanager
def telling(count: int) -> Iterator[list[Peer]]:
    """Nodes of one roster that tell where they are, and know nothing of the others."""
    with mesh(count, joined=False) as peers:
        for peer in peers:
            peer.kill()
            start_telling(peer)
        yield peers


def test_a_peer_is_found_where_it_says_although_only_seeds_of_others_were_given():
    """Two nodes whose seed is a third one, which is away: one of them knows the other."""
    with telling(2) as (a, b):
        a.links.set_addresses(b.node, [NOWHERE])  # The seed, of a node that is away.
        b.links.set_addresses(a.node, [NOWHERE, a.address])
        settle([a, b], 2)
        b.skip(limits.PEER_DIAL_MS)

        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert a.stats_of(b)["address"] == b.address


def test_a_peer_that_came_to_another_address_is_found_there():
    with telling(2) as (a, b):
        a.knows(b)
        b.knows(a)
        run([a, b], lambda: a.is_up(b) and b.is_up(a))
        old = b.address
        b.kill()
        run([a], lambda: not a.is_up(b))
        a.skip(limits.PEER_TICK_MS)
        before_ms = a.now_ms()

        start_telling(b)
        b.knows(a)
        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert a.stats_of(b)["address"] == b.address != old
        assert a.now_ms() - before_ms < limits.PEER_DIAL_MS


def test_a_peer_that_is_to_be_reached_one_way_only_is_sought_nowhere_else():
    with telling(2) as (a, b):
        a.links.set_addresses(b.node, [NOWHERE], only=True)
        b.knows(a)
        run([a, b], lambda: b.stats_of(a)["connected"] and a.stats_of(b).get("hellos_in"))
        for _ in range(3):
            a.skip(limits.PEER_DIAL_MS)
            settle([a, b], 3)

        assert a.stats_of(b)["address"] == NOWHERE and not a.is_up(b)


def test_a_link_that_stands_is_not_cut_when_more_is_learned_of_where_the_peer_is():
    """For instance when its roster entry changes in the middle of a question to it."""
    with telling(2) as (a, b):
        b.knows(a)
        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        a.knows(b)
        a.links.set_addresses(b.node, [NOWHERE, b.address])
        settle([a, b], 3)
        assert not a.told("down") and a.stats_of(b)["address"] == b.address

        a.links.set_addresses(b.node, [NOWHERE], only=True)
        assert not a.is_up(b) and a.stats_of(b)["address"] == NOWHERE


def test_where_somebody_else_answers_gives_way_at_the_next_look():
    """A seed leads to a peer with another key: nothing is waited for there."""
    with mesh(3, joined=False) as (a, b, other):
        a.links.set_addresses(b.node, [other.address, other.address, b.address])
        b.knows(a)
        before_ms = a.now_ms()

        def reached() -> bool:
            a.skip(100)
            return a.is_up(b) and b.is_up(a)

        run([a, b, other], reached)

        assert a.now_ms() - before_ms < limits.PEER_DIAL_MS


def test_each_address_is_tried_with_both_keys_before_the_next_one():
    with mesh(joined=False) as (a, b):
        new, _ = raw_keys()
        b.roster.add(b.node, new)
        a.links.set_addresses(b.node, [b.address, NOWHERE])
        peer = a.links._peers[b.node]

        ways = peer.ways(a.roster.keys_of(b.node))

        assert ways == [
            (b.address, new), (b.address, b.public), (NOWHERE, new), (NOWHERE, b.public),
        ]  # fmt: skip


def test_a_peer_that_still_serves_its_old_key_is_linked_as_soon_as_it_greets():
    """A node starts after another one rotated its key: what that one proves is what it serves."""
    with mesh() as (a, b):
        new, _ = raw_keys()
        b.roster.add(b.node, new)
        a.restart()
        a.links.set_addresses(b.node, [b.address, NOWHERE, "tcp://127.0.0.1:2"])
        before_ms = a.now_ms()

        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert a.now_ms() - before_ms < 2 * limits.PEER_TICK_MS + limits.PEER_HELLO_MS_MIN


def test_the_old_key_is_tried_at_the_next_look_when_the_new_one_is_not_served_yet():
    """Also when it does not greet: its own link to us is in the middle of a long wait."""
    with mesh(joined=False) as (a, b):
        new, _ = raw_keys()
        b.roster.add(b.node, new)
        before_ms = a.now_ms()
        a.links.set_addresses(b.node, [b.address])
        run([a, b], lambda: a.stats_of(b).get("link_astray"))
        a.skip(limits.PEER_TICK_MS)

        run([a, b], lambda: a.stats_of(b)["connected"])
        assert a.now_ms() - before_ms < limits.PEER_DIAL_MS
