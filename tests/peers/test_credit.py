"""Credit and the outbox: what may be on its way, what waits, what is refused."""

from __future__ import annotations

import pytest

from meshcode import limits
from meshcode.errors import TooLarge
from meshcode.peers.chunks import WHOLE_BYTES_MAX
from meshcode.peers.credit import Owed, Window
from meshcode.peers.outbox import Outbox
from tests.peers.world import message

MANY = 2**31


def test_at_the_credit_of_frames_nothing_more_may_leave():
    window = Window()
    for sequence in range(1, limits.PEER_CREDIT_FRAMES + 1):
        assert window.room() > 0
        window.sent(sequence, 100, 0, 0)

    assert window.room() == 0
    window.handled(1, 5)
    assert window.room() > 0


def test_at_the_credit_of_bytes_nothing_more_may_leave():
    window = Window()

    window.sent(1, limits.PEER_CREDIT_BYTES, 0, 0)
    assert window.room() == 0

    window.handled(1, 0)
    assert window.room() == limits.PEER_CREDIT_BYTES


def test_chunks_may_use_half_so_that_a_probe_never_waits_for_them():
    window = Window()

    window.sent(1, limits.PEER_BULK_BYTES, limits.PEER_BULK_BYTES, 0)

    assert window.bulk_room() == 0
    assert window.room() == limits.PEER_CREDIT_BYTES - limits.PEER_BULK_BYTES


def test_a_credit_covers_everything_before_it():
    """A CREDIT that was lost costs nothing: the next one says more."""
    window = Window()
    for sequence in (1, 3, 4, 9):
        window.sent(sequence, 10, 0, 0)

    window.handled(4, 0)
    assert (window.frames, window.bytes) == (1, 10)
    window.handled(2, 0)
    assert window.frames == 1


@pytest.mark.parametrize("frames", [0, 1, 64, 10**9])
@pytest.mark.parametrize("size", [0, 10**6, 10**12])
def test_what_a_peer_grants_never_stops_us_for_good_nor_passes_our_own_limit(frames, size):
    window = Window()

    window.grant(frames, size)

    assert 1 <= window.frames_max <= limits.PEER_CREDIT_FRAMES
    assert limits.PEER_FRAME_BYTES_MAX <= window.bytes_max <= limits.PEER_CREDIT_BYTES


def test_a_credit_is_due_at_half_at_once_and_late_otherwise():
    owed = Owed()
    owed.handled(10, 1000)
    assert owed.due_ms == 1000 + limits.PEER_CREDIT_DELAY_MS

    for _ in range(limits.PEER_OWED_FRAMES - 1):
        owed.handled(10, 1001)
    assert owed.due_ms == 1001

    owed.told()
    assert owed.due_ms is None


def test_who_sends_over_the_credit_is_noticed():
    owed = Owed()
    for _ in range(limits.PEER_CREDIT_FRAMES):
        assert not owed.over(10)
        owed.handled(10, 0)

    assert owed.over(10)


def test_small_ones_keep_their_order_and_overtake_large_ones():
    outbox = Outbox()
    large = message(bytes(WHOLE_BYTES_MAX))
    assert outbox.offer([large, message(b"1"), message(b"2")])

    first, bulk = outbox.take(1000, 1000, MANY)

    assert first == [message(b"1"), message(b"2")] and bulk == 0, "too little room for a chunk"
    second, bulk = outbox.take(WHOLE_BYTES_MAX, MANY, MANY)
    assert len(second) == 1 and bulk == len(second[0]) == WHOLE_BYTES_MAX


def test_a_small_one_that_waits_for_room_is_not_starved_by_chunks():
    outbox = Outbox()
    assert outbox.offer([message(bytes(WHOLE_BYTES_MAX)), message(bytes(50_000))])

    assert outbox.take(20_000, MANY, MANY) == ([], 0)


def test_an_outbox_takes_all_or_nothing():
    outbox = Outbox()
    body = message(bytes(limits.BODY_BYTES_MAX))
    fits = limits.PEER_OUTBOX_BYTES_MAX // len(body)

    assert not outbox.offer([body] * (fits + 1))
    assert (outbox.bytes, outbox.envelopes) == (0, 0)
    assert outbox.offer([body] * fits)
    assert not outbox.offer([body])
    assert outbox.envelopes == fits

    assert outbox.clear() == fits
    assert outbox.bytes == 0


def test_an_outbox_is_bounded_in_envelopes_too():
    outbox = Outbox()

    assert outbox.offer([message()] * limits.PEER_OUTBOX_ENVELOPES_MAX)
    assert not outbox.offer([message()])


def test_an_envelope_beyond_any_limit_is_the_callers_fault():
    outbox = Outbox()

    with pytest.raises(TooLarge, match=str(limits.ENVELOPE_BYTES_MAX)):
        outbox.offer([message(), bytes(limits.ENVELOPE_BYTES_MAX + 1)])
    assert outbox.envelopes == 0
