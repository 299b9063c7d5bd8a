"""The session of two nodes, without links: greeting, refusals, credit, silence, random worlds."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from meshcode import limits
from meshcode.peers import greeting, kinds
from meshcode.peers.lives import Life, pack_lives
from meshcode.peers.memory import Known
from meshcode.wire.codec import pack, unpack_map
from meshcode.wire.frame import check_envelope, envelope, frame
from tests.peers.wire import UNIX_MS, Side, Wire
from tests.peers.world import message


def pair() -> Wire:
    """Two sides that are connected and have greeted."""
    wire = Wire(Side(1, 2), Side(2, 1))
    wire.connect()
    wire.settle()
    return wire


def hello_of(side: Side, head_boot: int = 1, sequence: int = 99, **changes: object) -> bytes:
    """A HELLO frame of a side with some fields replaced, or left out where they are None."""
    data = greeting.write(side.me, side.session.node, UNIX_MS)
    fields = {**unpack_map(data[check_envelope(data).body_at :]), **changes}
    body = pack({name: value for name, value in fields.items() if value is not None})
    return frame([envelope(kinds.HELLO, body=body)], sequence=sequence, sender_boot=head_boot)


def test_two_nodes_that_connect_are_up_and_know_each_other():
    wire = pair()

    for side, other in (wire.sides, wire.sides[::-1]):
        assert side.session.is_up
        kind, node, hello = side.news[0]
        assert (kind, node) == ("up", other.me.node)
        said = (hello["boot"], hello["store"], hello["name"])
        assert said == (1, other.me.store, str(other.number))
        assert side.session.window.frames == 0


def test_one_direction_alone_is_no_session():
    wire = Wire(Side(1, 2), Side(2, 1))
    wire.connect(0)
    wire.settle()

    assert not any(side.session.is_up for side in wire.sides)
    assert not wire.sides[0].session.offer([message()])

    wire.connect(1)
    wire.settle()
    assert all(side.session.is_up for side in wire.sides)


def test_a_hello_that_is_lost_is_said_again():
    wire = Wire(Side(1, 2), Side(2, 1))
    wire.connect()
    wire.send()
    for flying in wire.flying.values():
        flying.clear()

    wire.pass_time(limits.PEER_HELLO_MS_MIN)

    assert all(side.session.is_up for side in wire.sides)


def test_an_unanswered_hello_is_said_less_and_less():
    side = Side(1, 2)
    side.session.link_up(0)
    said = [at for at in range(0, 200_000, 100) if side.session.next_frame(at, UNIX_MS)]

    gaps = [b - a for a, b in pairwise(said)]
    assert gaps[:5] == [1_000, 2_000, 4_000, 8_000, 16_000]
    assert set(gaps[5:]) == {limits.PEER_HELLO_MS_MAX}


def test_messages_pass_both_ways_in_order():
    wire = pair()
    bodies = [b"%d" % number for number in range(5_000)]
    a, b = wire.sides

    assert a.session.offer([message(body) for body in bodies])
    assert b.session.offer([message(b"back")])
    wire.settle()

    assert b.got == bodies and a.got == [b"back"]


def test_a_peer_that_was_started_again_is_down_and_up_with_its_new_boot():
    wire = pair()
    a, b = wire.sides
    a.news.clear()

    b.restart()
    wire.connect(1)
    wire.settle()

    assert [item[0] for item in a.news] == ["down", "up"]
    assert "boot 1 is now 2" in a.news[0][2] and a.news[1][2]["boot"] == 2
    assert b.session.is_up


def test_what_waited_for_the_old_boot_never_reaches_the_new_one():
    wire = pair()
    a, b = wire.sides
    assert a.session.offer([message(b"old")])
    wire.send()  # On its way; the link survives, as with libzmq's queue.

    b.restart()
    wire.connect(1)
    wire.settle()
    assert a.session.offer([message(b"new")])
    wire.settle()

    assert b.got == [b"new"]
    assert b.session.stats()["dropped_unknown_session"] >= 1


def test_frames_played_again_are_dropped_and_counted():
    wire = pair()
    a, b = wire.sides
    assert a.session.offer([message(b"once")])
    wire.send()
    recorded = list(wire.flying[0])
    wire.settle()

    for data in recorded:
        b.hear(data, wire.now_ms)

    assert b.got == [b"once"]
    assert b.session.stats()["dropped_old_sequence"] == len(recorded)


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"version": 2}, "version", "version 2 of the links, this node version 1"),
        ({"version": 0}, "version", "version 0"),
        ({"node": b"x" * 16}, "wrong_sender", b"x".hex() * 16),
        ({"to": b"x" * 16}, "wrong_receiver", b"x".hex() * 16),
        ({"boot": 2, "head_boot": 3}, "wrong_boot", "boot 2 in HELLO and 3"),
        ({"store": b"x" * 16}, "amnesia", "its disk was replaced"),
        ({"life": b"x" * 16}, "amnesia", "in that boot with life"),
        (
            {"boot": 2, "head_boot": 2, "commit": 99, "past": pack_lives([Life(1, b"x" * 16, 1)])},
            "amnesia",
            "in that boot with life",
        ),
    ],
)
def test_a_greeting_that_is_wrong_is_refused_with_its_reason(changes, code: str, said: str):
    wire = pair()
    a, b = wire.sides
    b.news.clear()
    known = b.memory.pack()

    b.hear(hello_of(a, **changes), wire.now_ms)

    refused = [item for item in b.news if item[0] == "refused"]
    assert len(refused) == 1 and said in refused[0][2]
    assert b.session.stats()[f"refused_{code}"] == 1
    assert b.memory.pack() == known, "nothing was learnt from it"
    told = greeting.read_bye(b.session.bye[check_envelope(b.session.bye).body_at :])
    assert told[0] == code and said in told[1]


def test_the_newest_commit_is_told_once_and_remembered():
    wire = pair()
    a, b = wire.sides
    for commit in (7, 7, 12):
        a.session.tell_commit(commit, wire.now_ms)
        b.session.tell_commit(3, wire.now_ms)
        wire.settle()
    said = a.session.counts["frames_out"]
    for _ in range(5):
        a.session.tell_commit(12, wire.now_ms)
        wire.settle()

    assert b.memory.by_node[a.me.node].commit == 12
    assert a.memory.by_node[b.me.node].commit == 3
    assert a.session.counts["frames_out"] == said, "an idle pair says nothing"


def test_commits_ride_on_the_credit_that_is_told_anyway():
    wire = pair()
    a, b = wire.sides
    b.session.commit = 40
    assert a.session.offer([message(b"x")])

    wire.pass_time(limits.PEER_CREDIT_DELAY_MS)

    assert a.memory.by_node[b.me.node].commit == 40


def test_a_higher_boot_that_began_before_what_was_heard_is_a_copy():
    wire = pair()
    a, b = wire.sides
    a.session.tell_commit(100, wire.now_ms)
    wire.settle()

    b.hear(hello_of(a, 2, boot=2, life=b"2" * 16, commit=99), wire.now_ms)

    assert "began boot 2 at transaction 99" in b.news[-1][2]
    assert "transaction 100 was heard of it in boot 1" in b.session.refused
    b.hear(hello_of(a, 2, boot=2, life=b"2" * 16, commit=101, sequence=100), wire.now_ms)
    assert b.session.channel.is_open and b.memory.by_node[a.me.node].boot == 2


def test_a_lower_boot_is_a_restored_disk_and_is_refused():
    wire = pair()
    a, b = wire.sides
    b.memory.by_node[a.me.node] = Known(a.me.store, 7)

    b.hear(hello_of(a, 6, boot=6), wire.now_ms)

    assert "returned in boot 6, it was known in boot 7" in b.news[-1][2]
    assert not b.session.channel.is_open


@pytest.mark.parametrize(
    "name",
    ["node", "to", "store", "life", "boot", "commit", "unix_ms", "frames", "past", "about"],
)
@pytest.mark.parametrize("value", [None, "text", -1, b"short", True, {}])
def test_a_greeting_of_the_wrong_shape_is_a_bad_frame(name: str, value: object):
    """Whatever a field holds instead: counted, nothing learnt, and the session goes on."""
    wire = pair()
    a, b = wire.sides

    b.hear(hello_of(a, **{name: value}), wire.now_ms)

    assert b.session.counts["bad_frames"] == 1
    assert b.session.is_up


def test_three_bad_frames_in_a_row_close_the_session_and_a_greeting_opens_it():
    wire = pair()
    a, b = wire.sides
    for _ in range(limits.PEER_BAD_FRAMES_MAX - 1):
        b.hear(b"rubbish", wire.now_ms)
    assert a.session.offer([message(b"good")])
    wire.settle()
    assert b.session.is_up, "a good frame in between begins the count again"

    for _ in range(limits.PEER_BAD_FRAMES_MAX):
        b.hear(b"rubbish", wire.now_ms)

    assert not b.session.is_up
    assert [item[0] for item in b.news[-2:]] == ["down", "refused"]
    assert "3 bad frames in a row" in b.news[-1][2]
    assert a.session.offer([message(b"unheard")])
    wire.settle()
    assert b.got == [b"good"]
    wire.pass_time(limits.PEER_HELLO_MS_MAX)
    assert a.session.is_up and b.session.is_up


def test_clock_skew_is_told_once_and_work_goes_on():
    wire = Wire(Side(1, 2), Side(2, 1))
    wire.sides[0].skew_ms = limits.PEER_SKEW_MS + 1_000
    wire.connect()
    wire.settle()

    told = [(at, item) for at in (0, 1) for item in wire.sides[at].news if item[0] == "skew"]
    assert len(told) == 2
    assert "301 s behind" in told[0][1][2] and "301 s ahead of" in told[1][1][2]
    assert all(side.session.is_up for side in wire.sides)


def test_over_the_credit_frames_wait_and_over_the_queue_they_are_refused():
    wire = pair()
    a, _ = wire.sides
    body = message(bytes(200_000))

    taken = 0
    while a.session.offer([body]):
        taken += 1
        wire.send()

    assert a.session.window.bytes <= limits.PEER_CREDIT_BYTES
    assert a.session.outbox.bytes <= limits.PEER_OUTBOX_BYTES_MAX
    assert a.session.counts["not_sent_full"] == 1
    wire.settle(1_000)
    assert len(wire.sides[1].got) == taken


def test_credit_in_bytes_is_exact_to_the_last_one():
    """Header and CREDIT count too: a sender that forgot them would be taken for a flood."""
    for spare in (0, 39, 40, 119, 120, 121):
        wire = pair()
        a, b = wire.sides
        while a.session.window.room() > 200_000:
            assert a.session.offer([message(bytes(100_000))])
            wire.send()
        assert a.session.offer([message(bytes(a.session.window.room() - 80 - spare))])

        wire.send()
        assert a.session.window.bytes <= limits.PEER_CREDIT_BYTES, spare

        wire.settle(1_000)
        assert b.session.counts["over_credit"] == a.session.outbox.envelopes == 0, spare


def test_a_peer_that_sends_over_its_credit_is_not_listened_to():
    wire = pair()
    a, b = wire.sides
    for number in range(limits.PEER_CREDIT_FRAMES + 10):
        sequence, sender, receiver = a.session.channel.stamp()
        b.hear(
            frame([message(b"%d" % number)], sequence=sequence, sender_boot=sender,
                  receiver_boot=receiver), wire.now_ms,
        )  # fmt: skip

    assert len(b.got) == limits.PEER_CREDIT_FRAMES
    assert b.session.counts["over_credit"] == 10


def test_a_credit_for_what_was_never_sent_is_a_bad_frame():
    wire = pair()
    a, b = wire.sides
    sequence, sender, receiver = b.session.channel.stamp()

    a.hear(
        frame([envelope(kinds.CREDIT, number=10**6)], sequence=sequence, sender_boot=sender,
              receiver_boot=receiver), wire.now_ms,
    )  # fmt: skip

    assert a.session.counts["bad_frames"] == 1


def test_frames_that_were_lost_do_not_eat_the_credit_for_ever():
    wire = pair()
    a, b = wire.sides
    for number in range(limits.PEER_CREDIT_FRAMES):
        assert a.session.offer([message(b"%d" % number)])
        wire.send()
    wire.flying[0].clear()
    assert a.session.window.room() == 0

    wire.pass_time(limits.PEER_STALL_MS)

    assert a.session.window.frames == 0
    assert a.session.offer([message(b"after")])
    wire.settle()
    assert b.got == [b"after"] and a.session.is_up


def test_a_peer_that_says_nothing_when_asked_is_down_after_its_time():
    wire = pair()
    a, _ = wire.sides
    assert a.session.offer([message()])
    begun_ms = wire.now_ms
    while a.session.is_up:
        wire.send()
        for flying in wire.flying.values():
            flying.clear()
        wire.now_ms += 100
        a.session.tick(wire.now_ms)
        assert wire.now_ms - begun_ms < 60_000, "it never noticed"

    expected_ms = limits.PEER_STALL_MS + limits.PEER_SILENT_MS
    assert expected_ms <= wire.now_ms - begun_ms <= expected_ms + 200
    assert "silent" in a.session.news[-1][2]


def test_an_idle_pair_says_nothing_at_all():
    """Heartbeats are libzmq's; membership has its own probes."""
    wire = pair()
    before = [side.session.counts["frames_out"] for side in wire.sides]

    wire.pass_time(3_600_000)

    assert [side.session.counts["frames_out"] for side in wire.sides] == before
    assert all(side.session.is_up for side in wire.sides)


def test_a_large_envelope_that_stops_coming_is_dropped_and_counted():
    wire = pair()
    a, b = wire.sides
    assert a.session.offer([message(bytes(limits.BODY_BYTES_MAX))])
    wire.send()
    wire.deliver()
    assert b.session.stats()["partial_bytes"] > 0

    wire.cut(0)
    stats = a.session.stats()
    assert stats["unacknowledged_frames"] == stats["waiting_bytes"] == 0
    assert stats["dropped_down"] == 1
    wire.pass_time(limits.PEER_PARTIAL_MS)

    assert b.session.stats()["partial_bytes"] == 0
    assert b.session.stats()["dropped_chunks"] == 1


def test_a_good_bye_ends_the_session_with_its_words():
    wire = pair()
    a, b = wire.sides
    last = a.session.farewell("this node stops")
    assert last is not None

    b.hear(last, wire.now_ms)

    assert b.news[-1] == ("down", a.me.node, "the peer ended it: this node stops")


def act(wire: Wire, rng: random.Random, sent: dict[int, list[bytes]]) -> None:
    """One random thing happens."""
    at = rng.randrange(2)
    side = wire.sides[at]
    what = rng.randrange(12)
    if what < 5:
        body = b"%d:%d:%d" % (at, side.me.boot, len(sent[at]))
        body += bytes(rng.choice((0, 0, 0, 20_000, 300_000)))
        if side.session.offer([message(body)]):
            sent[at].append(body)
    elif what < 8:
        wire.send()
        wire.deliver(rng.choice((0.0, 0.0, 0.3)), rng)
    elif what == 8:
        wire.pass_time(rng.randrange(1, 5_000))
    elif what == 9:
        wire.cut(at, keep_late=rng.random() < 0.5)
        wire.connect(at)
    elif what == 10 and rng.random() < 0.3:
        wire.cut(at, keep_late=True)
        side.restart()
        wire.connect(at)
    elif wire.late:
        origin, data = wire.late.pop(rng.randrange(len(wire.late)))
        wire.sides[1 - origin].hear(data, wire.now_ms)


@pytest.mark.parametrize("base", range(0, 200, 50))
def test_in_random_worlds_nothing_is_doubled_or_comes_from_an_older_boot(base: int):
    """Loss, cuts, restarts, minutes-late frames; after they stop, both are up and all is heard."""
    for seed in range(base, base + 50):
        rng = random.Random(seed)
        wire = pair()
        sent: dict[int, list[bytes]] = {0: [], 1: []}
        for _ in range(80):
            act(wire, rng, sent)
            for at in (0, 1):
                got = [body for body in wire.sides[1 - at].got if body]
                assert len(got) == len(set(got)), seed
                boots = [int(body.split(b":")[1]) for body in got]
                assert boots == sorted(boots), f"seed {seed}: an older boot after a newer one"
                assert set(got) <= set(sent[at]), seed
        wire.pass_time(120_000)

        a, b = (side.session for side in wire.sides)
        assert a.is_up and b.is_up, seed
        assert a.window.frames == b.window.frames == 0, seed
        assert a.offer([message(b"0:9:last")]) and b.offer([message(b"1:9:last")])
        wire.pass_time(10_000)
        assert [side.got[-1] for side in wire.sides] == [b"1:9:last", b"0:9:last"], seed
        assert a.counts["over_credit"] == b.counts["over_credit"] == 0, seed
        assert a.counts["bad_frames"] == b.counts["bad_frames"] == 0, seed


def test_a_refusal_says_where_another_life_of_the_peer_was_heard():
    wire = pair()
    a, b = wire.sides
    there, here = (
        greeting.pack_about({"addresses": [f"tcp://10.0.0.{n}:4000"]}) for n in (2, 1)
    )
    b.session.came_from = "10.0.0.2"
    b.hear(hello_of(a, 2, boot=2, life=b"2" * 16, commit=9, sequence=100, about=there), 0)
    b.session.came_from = "10.0.0.1"

    b.hear(hello_of(a, 1, about=here, sequence=101), 0)

    assert "returned in boot 1, it was known in boot 2" in b.session.refused
    assert (
        "boot 2 of this node was heard from tcp://10.0.0.2:4000 (connected from 10.0.0.2), boot 1, "
        "which is refused, is at tcp://10.0.0.1:4000 (connected from 10.0.0.1)"
    ) in b.session.refused
    assert "never start the refused home again" in b.news[-1][2]


def test_a_disk_that_came_back_on_its_machine_is_nowhere_else():
    wire = pair()
    a, b = wire.sides
    b.hear(hello_of(a, 2, boot=2, life=b"2" * 16, commit=9, sequence=100), 0)

    b.hear(hello_of(a, 1, sequence=101), 0)

    assert "returned in boot 1, it was known in boot 2" in b.session.refused
    assert "was heard from" not in b.session.refused
