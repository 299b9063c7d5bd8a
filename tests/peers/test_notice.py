"""An evicted node that was away is told by whoever denies it, and gets nothing else."""

from __future__ import annotations

from meshcode import limits
from meshcode.peers import greeting
from meshcode.peers.notice import Notice, bye_of, statement_in
from meshcode.wire.frame import frame
from tests.peers.world import Peer, Roster, mesh, message, raw_dealer, run, settle

SIGNED = b"signed by the root"


def evicted_while_away(a: Peer, b: Peer, *addresses: str) -> None:
    """a and b were members; b was evicted while it was away, and has not heard of it."""
    b.roster = Roster(dict(a.roster.nodes))
    assert b.links.send(a.node, [message()])
    run([a], lambda: a.got)  # And with it all that b said before: nothing of a member comes later.
    a.got.clear()
    b.kill()
    a.roster.evict(b.public, SIGNED, *addresses)
    b.boot += 1
    b.start()


def test_who_was_evicted_while_it_was_away_is_told_although_it_gets_in_nowhere():
    with mesh() as (a, b):
        evicted_while_away(a, b, "tcp://no address", b.address)
        b.knows(a)

        def told() -> bool:
            a.skip(100)
            return bool(b.told("statement"))

        run([a, b], told)

        assert b.told("statement") == [SIGNED]
        assert a.links.counts["denied"] and not a.links.counts["not_member"]
        assert not b.stats_of(a)["connected"] and a.links._door.restarts == 0
        assert not a.got and not b.got


def test_it_is_told_once_a_minute_however_often_it_knocks():
    with mesh() as (a, b):
        evicted_while_away(a, b, b.address)
        b.knows(a)
        for _ in range(30):
            a.skip(limits.PEER_TICK_MS)
            b.skip(limits.PEER_DIAL_MS)
            b.knows(a)
            settle([a, b], 2)

        assert a.links.counts["denied"] >= 2
        assert len(b.told("statement")) == 1

        a.skip(limits.PEER_RETELL_MS)
        b.knows(a)
        run([a, b], lambda: len(b.told("statement")) == 2)


def test_a_stranger_that_never_was_a_member_is_told_nothing():
    with mesh() as (a, b):
        evicted_while_away(a, b, b.address)
        a.roster.notices = {}
        b.knows(a)
        a.skip(limits.PEER_TICK_MS)
        run([a, b], lambda: a.links.counts["denied"])
        settle([a, b])

        assert not b.told("statement")


def test_a_statement_that_is_none_is_passed_by():
    with mesh() as (a, b), raw_dealer(a.public, a.secret, b) as link:
        link.send(frame([greeting.bye("evicted", "no statement")], sender_boot=1))
        link.send(frame([greeting.bye("", "")[:-1] + b"x"], sender_boot=1))
        settle([a, b])

        assert not b.told("statement") and b.is_up(a)


def test_what_a_bye_says_of_an_eviction():
    assert statement_in(b"rubbish") == b""
    assert SIGNED in bye_of(Notice(SIGNED, [])) and SIGNED not in bye_of(None)
