"""Real links on 127.0.0.1: messages, credit, restarts, addresses, keys, good-byes."""

from __future__ import annotations

import os
import resource

import pytest

from meshcode import limits
from meshcode.errors import BadData, NodeError, TooLarge
from meshcode.peers.greeting import pack_about
from meshcode.peers.memory import Known
from tests.live.harness import until
from tests.peers.world import HOME, Peer, Roster, join, mesh, message, raw_keys, run, settle


def test_two_nodes_talk_both_ways_in_order():
    with mesh() as (a, b):
        bodies = [b"%d" % number for number in range(2_000)]
        for at in range(0, 2_000, 100):
            assert a.links.send(b.node, [message(body) for body in bodies[at : at + 100]])
        assert b.links.send(a.node, [message(b"back")])

        run([a, b], lambda: len(b.got) == 2_000 and a.got)

        assert b.got == [(a.node, body) for body in bodies]
        assert a.got == [(b.node, b"back")]


def test_what_is_told_of_a_peer_that_came_up():
    with mesh() as (a, b):
        hello = a.told("up", b.node)[0]

        assert (hello["name"], hello["boot"], hello["store"]) == ("n2", 1, b.store)
        assert a.memory.by_node == {b.node: Known(b.store, 1, b.links.me.life, 1)}


def test_the_largest_envelope_passes_in_chunks_and_small_ones_overtake_it():
    with mesh() as (a, b):
        large = os.urandom(limits.BODY_BYTES_MAX)

        assert a.links.send(b.node, [message(large)])
        assert a.links.send(b.node, [message(b"small")])
        run([a, b], lambda: len(b.got) == 2)

        assert b.got[0][1] == b"small"
        assert b.got[1][1] == large
        assert b.stats_of(a)["partial_bytes"] == 0


def test_a_peer_that_does_not_read_blocks_nobody_and_memory_stays_flat():
    """Over credit and queue `send` says no at once; other peers go on; then all of it arrives."""
    with mesh(3) as (a, slow, c):
        body = message(bytes(100_000))
        taken = 0
        while a.links.send(slow.node, [body]):
            taken += 1
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(20_000):
            assert not a.links.send(slow.node, [body])

        stats = a.stats_of(slow)
        assert stats["unacknowledged_bytes"] <= limits.PEER_CREDIT_BYTES
        assert stats["waiting_bytes"] <= limits.PEER_OUTBOX_BYTES_MAX
        assert stats["not_sent_full"] == 20_001
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024

        assert a.links.send(c.node, [message(b"for c")])
        run([a, c], lambda: c.got)
        assert len(slow.got) == 0
        run([a, slow], lambda: len(slow.got) == taken)


def test_a_peer_that_is_killed_and_started_again_is_down_and_up():
    with mesh() as (a, b):
        assert a.links.send(b.node, [message(b"before")])
        run([a, b], lambda: b.got)
        a.news.clear()

        b.restart()
        b.knows(a)
        run([a, b], lambda: a.told("down") and a.is_up(b) and b.is_up(a))

        assert a.told("up", b.node)[-1]["boot"] == 2
        assert a.links.send(b.node, [message(b"after")])
        run([a, b], lambda: b.got)
        assert b.got == [(a.node, b"after")]


def test_a_peer_that_leaves_says_so():
    with mesh() as (a, b):
        b.links.close()
        run([a], lambda: a.told("down") and a.stats_of(b)["byes_in"])

        assert len(a.told("down", b.node)) == 1
        assert not a.links.send(b.node, [message()])
        b.context.destroy(linger=0)
        b.start()


def test_nothing_is_sent_to_whom_nobody_knows():
    with mesh(1) as (a,):
        assert not a.links.send(b"?" * 16, [message(), message()])
        assert a.links.counts["not_sent_unknown"] == 2


def test_an_envelope_beyond_any_limit_is_the_callers_fault():
    with mesh() as (a, b), pytest.raises(TooLarge):
        a.links.send(b.node, [bytes(limits.ENVELOPE_BYTES_MAX + 1)])


def test_the_next_address_is_tried_when_one_does_not_answer():
    with mesh(joined=False) as (a, b):
        a.links.set_addresses(b.node, ["tcp://127.0.0.1:1", b.address])
        b.knows(a)
        settle([a, b])
        assert not a.is_up(b)

        a.skip(limits.PEER_DIAL_MS)

        run([a, b], lambda: a.is_up(b) and b.is_up(a))
        assert a.stats_of(b)["address"] == b.address


def test_a_peer_that_returns_is_tried_where_it_says_it_is():
    """Although another address is tried just then, for it was away for long."""
    with mesh() as (a, b):
        bad = "tcp://127.0.0.1:1"
        a.links.set_addresses(b.node, [b.address, bad])
        run([a, b], lambda: a.is_up(b) and b.is_up(a))
        b.kill()
        run([a], lambda: not a.is_up(b))
        a.skip(limits.PEER_DIAL_MS)
        run([a], lambda: a.stats_of(b)["address"] == bad)
        a.skip(limits.PEER_TICK_MS)
        before_ms = a.now_ms()

        b.boot += 1
        b.start(hello={"name": "n2", "addresses": b.bind})
        b.knows(a)

        run([a, b], lambda: a.is_up(b) and b.is_up(a))
        assert a.stats_of(b)["address"] == b.address
        assert a.now_ms() - before_ms < limits.PEER_DIAL_MS


def test_where_a_peer_says_it_is_may_lead_nowhere_and_the_others_get_their_turn():
    with mesh(joined=False) as (a, b):
        bad = "tcp://127.0.0.1:1"
        b.links.close()
        b.context.destroy(linger=0)
        b.boot += 1
        b.start(hello={"name": "n2", "addresses": [bad]})
        a.links.set_addresses(b.node, [bad, "tcp://127.0.0.1:2", b.address])
        b.knows(a)
        settle([a, b])
        assert not a.is_up(b)

        for _ in range(2):
            a.skip(limits.PEER_DIAL_MS)
            settle([a])
            b.skip(limits.PEER_HELLO_MS_MAX)  # It greets again, and is not heeded twice.
            settle([a, b])

        run([a, b], lambda: a.is_up(b) and b.is_up(a))
        assert a.stats_of(b)["address"] == b.address


def test_one_known_address_is_enough_when_the_other_tells_its_own():
    """A node that joined knows a seed; the seed learns where it is from its HELLO."""
    roster = Roster()
    b = Peer(roster, 2)
    a = Peer(roster, 1)
    try:
        a.links.close()
        a.context.destroy(linger=0)
        a.start(hello={"name": "n1", "addresses": a.bind})
        a.knows(b)

        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert b.stats_of(a)["address"] == a.address
    finally:
        a.close()
        b.close()


def test_a_bad_address_is_told_and_harms_nothing():
    with mesh() as (a, b):
        a.links.set_addresses(b"x" * 16, ["tcp://not an address"])
        a.roster.add(b"y" * 16, os.urandom(32))
        a.links.set_addresses(b"y" * 16, ["tcp://not an address"])
        settle([a, b], 2)

        assert any("is no good" in why for why in a.told("refused", b"y" * 16))
        assert a.is_up(b)


def test_a_node_dials_the_new_key_of_a_peer_that_rotated_it():
    with mesh() as (a, b):
        b.kill()
        b.public, b.secret = raw_keys()
        b.roster.add(b.node, b.public)
        b.boot += 1
        b.start()
        b.knows(a)
        a.skip(limits.PEER_TICK_MS)

        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert a.told("up", b.node)[-1]["boot"] == 2


def test_a_peer_that_rotated_its_key_is_reached_by_the_old_one_until_it_is_started_again():
    with mesh() as (a, b):
        new = raw_keys()
        b.roster.add(b.node, new[0])  # Signed and told; b itself goes on with its old key.
        a.skip(limits.PEER_TICK_MS)
        settle([a, b], 2)
        assert a.is_up(b) and not a.told("down", b.node)

        a.links.forget(b.node)  # It has to dial anew: the newest key first, then the old one.
        a.knows(b)
        settle([a, b], 2)
        a.skip(limits.PEER_DIAL_MS)
        run([a, b], lambda: a.is_up(b) and b.is_up(a))

        b.kill()
        (b.public, b.secret), b.boot = new, b.boot + 1
        b.start()
        b.knows(a)
        run([a, b], lambda: b.is_up(a) and a.told("up", b.node)[-1]["boot"] == 2)
        assert a.is_up(b)


def test_a_forgotten_peer_is_news_and_gets_nothing_more():
    with mesh() as (a, b):
        a.links.forget(b.node)
        settle([a], 1)

        assert a.told("down", b.node) == ["it was forgotten"]
        assert not a.links.send(b.node, [message()])

        join([a, b])
        assert a.links.send(b.node, [message(b"known again")])
        run([a, b], lambda: b.got)


def test_an_address_that_is_taken_is_told_and_nothing_is_left_behind():
    with mesh(2, joined=False) as (a, b):
        b.links.close()

        with pytest.raises(NodeError, match="cannot be bound"):
            b.start(bind=a.bind)
        assert b.context.closed or b.context.term() is None
        b.start()
        join([a, b])


def test_a_node_whose_own_key_is_not_listed_does_not_serve():
    with mesh(1) as (a,), pytest.raises(NodeError, match="own key"):
        a.close()
        a.start(member_of_key=lambda key: None)
    a.start()
    a.close()


def test_what_a_node_says_of_itself_is_bounded():
    with pytest.raises(BadData, match=str(limits.PEER_ABOUT_BYTES_MAX)):
        pack_about({"name": "x" * limits.PEER_ABOUT_BYTES_MAX})


def test_ten_nodes_all_have_sessions_with_all():
    with mesh(10) as peers:
        for peer in peers:
            for other in peers:
                if other is not peer:
                    assert peer.links.send(other.node, [message(peer.node)])

        run(peers, lambda: all(len(peer.got) == 9 for peer in peers))

        for peer in peers:
            assert all(node == body for node, body in peer.got)


def test_several_addresses_are_bound_and_each_works():
    roster = Roster()
    b = Peer(roster, 2)
    a = Peer(roster, 1)
    try:
        b.close()
        b.bind = [HOME, HOME]
        b.start()
        for address in b.links.endpoints:
            a.links.set_addresses(b.node, [address])
            b.knows(a)
            run([a, b], lambda: a.is_up(b) and b.is_up(a))
            assert a.stats_of(b)["address"] == address
    finally:
        a.close()
        b.close()


def test_closing_twice_leaves_no_thread_and_no_link():
    with mesh() as (a, b):
        b.links.close()
        b.links.close()

        assert b.links.links() == []
        assert until(lambda: not b.links._zap._thread.is_alive(), 5, "the handler ended")
        b.context.term()
        b.boot += 1
        b.start()
        join([a, b])
