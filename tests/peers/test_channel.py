"""The channel fence (P11): which frames pass, by boots and sequence alone."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from meshcode.peers.channel import Channel


class Head(NamedTuple):
    """A frame header, as far as the fence reads it."""

    sender_boot: int
    receiver_boot: int
    sequence: int


def opened(boot: int = 3, peer_boot: int = 5, sequence: int = 1) -> Channel:
    """A channel that heard one HELLO."""
    channel = Channel(boot)
    assert channel.opens(Head(peer_boot, 0, sequence))
    return channel


def test_a_stamp_carries_both_boots_and_a_sequence_that_only_grows():
    channel = Channel(3)

    before = channel.stamp()
    assert channel.opens(Head(5, 0, 1))

    assert before == (1, 3, 0)
    assert channel.stamp() == (2, 3, 5)


def test_before_a_hello_nothing_passes():
    channel = Channel(3)

    assert not channel.accepts(Head(5, 3, 1))
    assert channel.why == "unknown_session"


def test_frames_pass_in_order_and_gaps_are_no_fault():
    """What libzmq lost with a connection is a gap; who needs it sends it again."""
    channel = opened()

    assert channel.accepts(Head(5, 3, 2))
    assert channel.accepts(Head(5, 3, 9))


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (Head(5, 3, 4), "old_sequence"),
        (Head(5, 3, 1), "old_sequence"),
        (Head(5, 3, 0), "old_sequence"),
        (Head(4, 3, 9), "old_boot"),
        (Head(6, 3, 9), "unknown_session"),
        (Head(5, 2, 9), "wrong_boot"),
        (Head(5, 4, 9), "wrong_boot"),
        (Head(5, 0, 9), "wrong_boot"),
    ],
)
def test_a_frame_that_does_not_belong_is_dropped_and_counted(head: Head, why: str):
    channel = opened()
    assert channel.accepts(Head(5, 3, 4))

    assert not channel.accepts(head)

    assert (channel.why, channel.refused) == (why, {why: 1})
    assert channel.last == 4
    assert channel.accepts(Head(5, 3, 5)), "one bad frame does not cost the good ones after it"


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (Head(4, 0, 99), "old_boot"),
        (Head(0, 0, 99), "old_boot"),
        (Head(5, 0, 7), "old_sequence"),
        (Head(6, 0, 0), "old_sequence"),
        (Head(6, 2, 1), "wrong_boot"),
    ],
)
def test_a_hello_that_was_recorded_or_meant_for_another_boot_opens_nothing(head: Head, why: str):
    channel = opened(sequence=7)

    assert not channel.opens(head)
    assert channel.why == why
    assert (channel.peer_boot, channel.last) == (5, 7)


def test_a_higher_boot_begins_a_new_session_and_ends_the_old_one():
    channel = opened(sequence=100)

    assert channel.opens(Head(6, 3, 1))

    assert channel.accepts(Head(6, 3, 2))
    assert not channel.accepts(Head(5, 3, 101))
    assert channel.why == "old_boot"


def test_a_shut_channel_opens_only_by_a_newer_hello():
    channel = opened(sequence=7)
    channel.shut()

    assert channel.stamp() == (1, 3, 0), "the peer must be told to greet"
    assert not channel.accepts(Head(5, 3, 8))
    assert not channel.opens(Head(5, 3, 7))
    assert channel.opens(Head(5, 3, 8))
    assert channel.accepts(Head(5, 3, 9))


def test_no_shuffle_of_recorded_frames_is_taken_twice_or_out_of_its_boot():
    """A thousand random replays of the frames of three boots: what passes is new, and in order."""
    for seed in range(1000):
        rng = random.Random(seed)
        channel = Channel(3)
        recorded = [(True, Head(boot, 0, 1)) for boot in (5, 6, 7)]
        recorded += [(False, Head(boot, 3, n)) for boot in (5, 6, 7) for n in range(2, 6)]
        passed: list[tuple[int, int]] = []
        for _ in range(60):
            greets, head = rng.choice(recorded)
            if (channel.opens if greets else channel.accepts)(head):
                passed.append((head.sender_boot, head.sequence))

        assert passed == sorted(set(passed)), seed
