"""Who and what is refused on real links: strangers, the evicted, forged and broken messages."""

from __future__ import annotations

import os

import pytest
import zmq

from meshcode import limits
from meshcode.peers import greeting, kinds
from meshcode.peers.memory import PeerMemory
from meshcode.wire.frame import envelope, frame, index
from tests.live.harness import until
from tests.peers.world import Peer, join, mesh, message, raw_dealer, raw_keys, run, settle

UNIX_MS = 1_700_000_000_000


def hello_frame(node: bytes, to: bytes, store: bytes, boot: int = 1, sequence: int = 1) -> bytes:
    """A good HELLO frame of any sender."""
    me = greeting.Me(node, boot, store, os.urandom(16), boot, greeting.pack_about({"name": "raw"}))
    hello = greeting.write(me, to, UNIX_MS)
    return frame([hello], sequence=sequence, sender_boot=boot)


def test_an_unlisted_key_gets_in_nowhere_and_people_are_told_once():
    with mesh() as (a, b), raw_dealer(*raw_keys(), b) as stranger:
        stranger.send(hello_frame(b"x" * 16, b.node, os.urandom(16)))
        b.skip(limits.PEER_TICK_MS)
        run([a, b], lambda: b.links.counts["denied"])
        settle([a, b], 40)
        b.skip(limits.PEER_TICK_MS)
        settle([a, b], 2)

        told = b.told("refused")
        assert len(told) == 1 and "from 127.0.0.1 is no member's" in told[0]
        assert a.is_up(b) and not b.got


def test_when_the_zap_handler_stops_the_node_serves_nobody_and_says_so():
    with mesh() as (a, b), raw_dealer(*raw_keys(), b) as stranger:
        b.links._zap.stop()
        stranger.send(message())
        b.skip(limits.PEER_TICK_MS)
        run([a, b], lambda: b.links.stopped)

        assert "the handler that decides who gets in does not answer" in b.told("zap dead")[0]
        assert b.told("down", a.node) and b.links.links() == []
        assert not b.links.send(a.node, [message()])
        run([a, b], lambda: a.told("down", b.node))
        assert not b.got


def test_a_stolen_routing_id_or_a_forged_greeting_makes_nobody_another():
    """A member in bad faith takes a's name on every level it can: it stays who its key is."""
    with mesh(3) as (a, b, bad):
        bad.kill()
        with raw_dealer(bad.public, bad.secret, b, routing_id=a.node) as link:
            link.send(hello_frame(a.node, b.node, a.store, sequence=1000))
            run([a, b], lambda: b.told("refused", bad.node))
            link.send(frame([message(b"as a")], sequence=1001, sender_boot=1, receiver_boot=1))
            settle([a, b])

            assert f"says it is node {a.node.hex()}" in b.told("refused", bad.node)[0]
            assert b.is_up(a) and not b.told("refused", a.node)
            assert b.got == []
        bad.boot += 1
        bad.start()


def test_an_evicted_live_session_is_refused_at_once_told_why_and_cut():
    with mesh(3) as (a, b, c):
        assert a.links.send(b.node, [message(b"before")])
        run([a, b, c], lambda: b.got)

        b.roster.evict(a.public, b"signed by the root")
        assert a.links.send(b.node, [message(b"after")])
        run([a, b, c], lambda: b.told("refused"))

        assert b.got == [(a.node, b"before")]
        assert b.links.counts["not_member"] == 1
        run([a, b, c], lambda: a.told("statement"))
        assert a.told("statement", b.node) == [b"signed by the root"]
        assert not a.is_up(b)

        b.skip(limits.PEER_TICK_MS)
        run([a, b, c], lambda: b.links._door.restarts == 1 and not a.stats_of(b)["connected"])
        run([a, b, c], lambda: c.told("down", b.node) and c.is_up(b))
        assert c.links.send(b.node, [message(b"goes on")])
        run([a, b, c], lambda: (c.node, b"goes on") in b.got)
        settle([a, b, c])
        assert not a.stats_of(b)["connected"], "and it does not come back"


def test_a_silent_evicted_peer_is_dropped_by_our_side():
    with mesh() as (a, b):
        b.roster.evict(a.public, b"")
        b.skip(limits.PEER_TICK_MS)
        run([b], lambda: b.told("down", a.node))

        assert b.told("down", a.node) == ["it is no member any more"]
        assert not b.links.send(a.node, [message()])


@pytest.mark.parametrize("cut", [0, 1, 39, 40, 41, 119, 120, -1])
def test_truncated_frames_are_counted_and_harm_nothing(cut: int):
    with mesh() as (a, b):
        whole = frame([message(b"body")], sequence=500, sender_boot=1, receiver_boot=1)
        with raw_dealer(a.public, a.secret, b) as link:
            link.send(whole[:cut])
            run([a, b], lambda: b.stats_of(a).get("bad_frames"))
            link.send(whole)
            run([a, b], lambda: b.got)

        assert b.got == [(a.node, b"body")]
        assert b.is_up(a)


def test_flipped_bits_are_bad_frames_and_never_another_message():
    with mesh() as (a, b):
        with raw_dealer(a.public, a.secret, b) as link:
            for at in range(0, 124, 7):
                sound = frame([message(b"body")], sequence=500 + at, sender_boot=1, receiver_boot=1)
                broken = bytearray(sound)
                broken[at] ^= 0x10
                link.send(bytes(broken))
                link.send(sound)
            count = len(range(0, 124, 7))
            run([a, b], lambda: len(b.got) == count)

        assert b.got == [(a.node, b"body")] * count
        assert b.stats_of(a)["bad_frames"] == count


def test_three_bad_frames_in_a_row_close_the_session_with_news_and_it_heals():
    with mesh() as (a, b):
        with raw_dealer(a.public, a.secret, b) as link:
            for _ in range(limits.PEER_BAD_FRAMES_MAX):
                link.send(b"rubbish")
            run([a, b], lambda: b.told("down", a.node))

            assert "3 bad frames in a row" in b.told("refused", a.node)[0]
            assert link.poll(5_000), "the sender is told why"
            _, rows = index(link.recv())
            assert [row.kind for row in rows] == [kinds.BYE]
        a.skip(60_000)
        b.skip(60_000)
        run([a, b], lambda: b.is_up(a) and a.is_up(b), 20)


@pytest.mark.parametrize("parts", [2, limits.PEER_PARTS_MAX])
def test_a_message_of_some_parts_is_a_bad_frame(parts: int):
    with mesh() as (a, b), raw_dealer(a.public, a.secret, b) as link:
        link.send_multipart([b"x"] * parts)
        run([a, b], lambda: b.stats_of(a).get("bad_frames"))

        assert b.is_up(a)


def test_a_message_of_many_parts_costs_the_session_and_keeps_the_key_out():
    with mesh(3) as (a, b, c):
        with raw_dealer(a.public, a.secret, b) as link:
            link.send_multipart([bytes(1000)] * (limits.PEER_PARTS_MAX + 1))
            run([a, b, c], lambda: b.told("refused", a.node))
            assert "a message of 7 parts, the limit is 6" in b.told("refused", a.node)[0]
            b.skip(limits.PEER_TICK_MS)
            run([a, b, c], lambda: b.links._door.restarts == 1)
        run([a, b, c], lambda: not a.is_up(b) and not a.stats_of(b)["connected"])
        run([a, b, c], lambda: b.is_up(c) and c.is_up(b))

        b.skip(limits.PEER_BLOCK_MS)
        a.skip(limits.PEER_TICK_MS)
        settle([b], 3)
        a.knows(b)
        run([a, b, c], lambda: a.stats_of(b)["connected"])


def test_replayed_frames_on_a_second_connection_are_dropped():
    with mesh() as (a, b):
        data = frame([message(b"once")], sequence=700, sender_boot=1, receiver_boot=1)
        with raw_dealer(a.public, a.secret, b) as one, raw_dealer(a.public, a.secret, b) as two:
            one.send(data)
            run([a, b], lambda: b.got)
            two.send(data)
            run([a, b], lambda: b.stats_of(a).get("dropped_old_sequence"))

        assert b.got == [(a.node, b"once")]


@pytest.mark.parametrize(("sender", "receiver"), [(1, 2), (2, 1), (1, 0)])
def test_a_frame_of_another_boot_is_dropped_and_counted(sender: int, receiver: int):
    with mesh() as (a, b), raw_dealer(a.public, a.secret, b) as link:
        link.send(frame([message()], sequence=700, sender_boot=sender, receiver_boot=receiver))
        why = "unknown_session" if sender == 2 else "wrong_boot"
        run([a, b], lambda: b.stats_of(a).get(f"dropped_{why}"))

        assert b.got == [] and b.is_up(a)


def test_what_an_older_boot_sent_is_not_given_out_with_the_news_of_the_newer_one():
    """Both lie in the link when the node looks: news come first, so the message must go."""
    with mesh() as (a, b):
        a.kill()
        run([b], lambda: b.told("down", a.node))
        with raw_dealer(a.public, a.secret, b) as link:
            link.send(frame([message(b"old")], sequence=700, sender_boot=1, receiver_boot=1))
            link.send(hello_frame(a.node, b.node, a.store, boot=2))
            link.send(frame([message(b"new")], sequence=2, sender_boot=2, receiver_boot=1))
            assert b.links._door is not None
            arrived = []
            receive = b.links._door.receive
            run_until_three(b, arrived)
            b.links._door.receive = lambda: arrived.pop(0) if arrived else receive()
            run([b], lambda: b.got)

        assert b.got == [(a.node, b"new")]
        a.boot = 2
        a.start()


def run_until_three(b: Peer, arrived: list[object]) -> None:
    """Take what lies in the door, until it is three messages; they are then read in one turn."""

    def three() -> bool:
        assert b.links._door is not None
        found = b.links._door.receive()
        if found is not None:
            arrived.append(found)
        return len(arrived) == 3

    until(three, 5, "three messages", every=0.001)


@pytest.mark.parametrize("what", ["other store", "lower boot", "same boot", "lower commit"])
def test_a_node_that_lost_its_disk_is_refused_and_told(what: str):
    """The last two as a copy does it: taken before what the other heard, and started again."""
    with mesh() as (a, b):
        a.commit = 500
        a.skip(limits.PEER_TICK_MS)
        run([a, b], lambda: b.memory.by_node[a.node].commit == 500)
        a.kill()
        if what == "other store":
            a.store, a.boot = os.urandom(16), 2
        elif what == "lower boot":
            b.memory.by_node[a.node] = b.memory.by_node[a.node]._replace(boot=5)
            a.boot = 4
        elif what == "same boot":
            a.boot, a.commit = 1, 900
        else:
            a.boot, a.commit = 2, 499
        a.memory = PeerMemory()
        before = b.memory.pack()
        a.start()
        a.knows(b)
        run([a, b], lambda: b.told("refused", a.node))
        run([a, b], lambda: a.told("refused", b.node))

        why = b.told("refused", a.node)[0]
        assert "join it as a new node" in why and b.stats_of(a)["refused"] == why
        assert a.told("refused", b.node)[0] == f"the peer refused this node: {why}"
        assert a.told("amnesia", b.node)[0] == why
        assert not b.told("amnesia")
        assert not a.is_up(b) and not b.is_up(a)
        assert b.memory.pack() == before


def test_a_node_that_is_killed_and_comes_back_with_its_own_disk_is_welcome():
    """Each time one transaction after what was heard of it, or more: counting the boot is one."""
    with mesh() as (a, b):
        for more in (0, 1, 1000):
            a.commit += 100
            a.skip(limits.PEER_TICK_MS)
            run([a, b], lambda: b.memory.by_node[a.node].commit == a.commit)
            a.commit += more
            a.restart()
            a.knows(b)
            run([a, b], lambda: a.is_up(b) and b.is_up(a))

        assert not b.told("refused") and b.memory.by_node[a.node].boot == 4


def test_a_node_that_stopped_serving_peers_takes_and_sends_nothing():
    with mesh() as (a, b):
        a.links.stop("its disk forgot")
        run([a, b], lambda: b.told("down", a.node))

        assert a.links.links() == [] and not a.links.send(b.node, [message()])
        assert "its disk forgot" in a.told("down", b.node)[0]
        a.links.stop("said again")
        assert "its disk forgot" in a.links.stopped


def test_a_future_version_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch):
    with mesh(joined=False) as (a, b):
        with raw_dealer(a.public, a.secret, b) as link:
            with monkeypatch.context() as patch:
                patch.setattr(greeting, "PROTOCOL", 2)
                data = hello_frame(a.node, b.node, a.store)
            link.send(data)
            run([b], lambda: b.told("refused", a.node))
            assert "version 2 of the links, this node version 1" in b.told("refused", a.node)[0]
            assert link.poll(5_000)
            answer = link.recv()
        _, rows = index(answer)
        code, text, _ = greeting.read_bye(answer[rows[0].body_at : rows[0].end])
        assert code == "version" and "version 2" in text and "version 1" in text
        join([a, b])


def test_a_flood_of_a_member_over_its_credit_does_not_reach_the_node():
    """64 frames without a CREDIT in between are taken; the flood is dropped and counted."""
    with mesh() as (a, b):
        a.kill()
        run([b], lambda: b.told("down", a.node))  # From here on no CREDIT can be told.
        with raw_dealer(a.public, a.secret, b) as link:
            for number in range(10_000):
                data = frame(
                    [message(bytes(100))], sequence=1000 + number, sender_boot=1, receiver_boot=1
                )
                link.send(data)
                if number % 50 == 49:
                    b.turn()
            run([b], lambda: b.stats_of(a).get("over_credit", 0) > 9_000)

        assert len(b.got) <= limits.PEER_CREDIT_FRAMES
        a.boot += 1
        a.start()


def test_who_connects_without_curve_gets_in_nowhere():
    with mesh(1) as (b,):
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        link = context.socket(zmq.DEALER)
        link.connect(b.address)
        link.send(b"hello")
        settle([b], 20)

        assert not b.got and b.links.stats() == {}
        context.destroy(linger=0)


def test_a_greeting_in_the_middle_of_a_frame_is_a_bad_frame():
    with mesh() as (a, b), raw_dealer(a.public, a.secret, b) as link:
        data = frame(
            [message(), envelope(kinds.HELLO)], sequence=700, sender_boot=1, receiver_boot=1
        )
        link.send(data)
        run([a, b], lambda: b.stats_of(a).get("bad_frames"))

        assert b.got == [] and b.is_up(a)
