"""Large envelopes in pieces: whole again or not at all, and never more memory than one envelope."""

from __future__ import annotations

import os
import random

import pytest

from meshcode.errors import BadFrame
from meshcode.limits import BODY_BYTES_MAX, ENVELOPE_BYTES_MAX, PEER_FRAME_BYTES_MAX
from meshcode.peers import kinds
from meshcode.peers.chunks import WHOLE_BYTES_MAX, Assembly, cut
from meshcode.wire.frame import Row, check_envelope, envelope
from tests.peers.world import message


def pieces(data: bytes, room: int, transfer: int = 1) -> list[bytes]:
    """All chunks of one envelope."""
    found, at = [], 0
    while at < len(data):
        found.append(cut(data, transfer, at, room))
        at += len(found[-1]) - 80
    return found


def feed(assembly: Assembly, chunk: bytes) -> tuple[Row, bytes] | None:
    """One chunk, as it comes out of a frame."""
    return assembly.take(check_envelope(chunk), chunk, 0)


def test_the_largest_envelope_passes_and_each_piece_fits_a_frame():
    data = message(os.urandom(BODY_BYTES_MAX))
    assembly = Assembly()

    chunks = pieces(data, WHOLE_BYTES_MAX)
    found = [feed(assembly, chunk) for chunk in chunks]

    assert max(map(len, chunks)) <= WHOLE_BYTES_MAX < PEER_FRAME_BYTES_MAX
    assert [item is None for item in found] == [True] * (len(chunks) - 1) + [False]
    assert found[-1] is not None and found[-1][1] == data
    assert assembly.held == 0


def test_pieces_of_any_size_make_the_same_whole():
    data = message(os.urandom(5000))
    for seed in range(50):
        rng = random.Random(seed)
        assembly, at, found = Assembly(), 0, None
        while at < len(data):
            chunk = cut(data, 1, at, rng.randrange(81, 1500))
            at += len(chunk) - 80
            found = feed(assembly, chunk)

        assert found is not None and found[1] == data, seed


@pytest.mark.parametrize("what", ["lost", "doubled", "swapped", "other transfer"])
def test_a_piece_that_does_not_follow_drops_the_whole(what: str):
    chunks = pieces(message(bytes(1000)), 300)
    wrong = {
        "lost": [chunks[0], chunks[2]],
        "doubled": [chunks[0], chunks[1], chunks[1]],
        "swapped": [chunks[1]],
        "other transfer": [chunks[0], pieces(message(bytes(1000)), 300, 2)[1]],
    }[what]
    assembly = Assembly()
    for chunk in wrong[:-1]:
        assert feed(assembly, chunk) is None

    with pytest.raises(BadFrame, match="chunk"):
        feed(assembly, wrong[-1])

    assert assembly.held == 0
    assert [feed(assembly, chunk) is None for chunk in chunks][-1] is False, "and it can go on"


def test_a_new_one_replaces_the_one_that_was_never_finished():
    assembly = Assembly()
    first, second = pieces(message(bytes(1000)), 300), pieces(message(b"x" * 900), 300, 2)

    feed(assembly, first[0])
    found = [feed(assembly, chunk) for chunk in second]

    assert found[-1] is not None and assembly.dropped == 1


@pytest.mark.parametrize("total", [0, 79, ENVELOPE_BYTES_MAX + 1, 2**32 - 1])
def test_nothing_is_held_for_a_size_no_envelope_has(total: int):
    assembly = Assembly()
    chunk = envelope(kinds.CHUNK, attempt=total, number=0, body=b"x")

    with pytest.raises(BadFrame, match=f"{total} bytes"):
        feed(assembly, chunk)
    assert assembly.held == 0


def test_memory_grows_by_what_came_not_by_what_was_claimed():
    assembly = Assembly()

    feed(assembly, envelope(kinds.CHUNK, attempt=ENVELOPE_BYTES_MAX, number=0, body=b"x" * 10))

    assert assembly.held == 10


def test_more_bytes_than_told_are_refused():
    assembly = Assembly()

    with pytest.raises(BadFrame, match="a chunk of 101 bytes where 100 are left"):
        feed(assembly, envelope(kinds.CHUNK, attempt=100, number=0, body=bytes(101)))


def test_a_whole_that_is_damaged_is_not_used():
    data = bytearray(message(bytes(1000)))
    data[500] ^= 1
    chunks = pieces(bytes(data), 300)
    assembly = Assembly()

    with pytest.raises(BadFrame, match="checksum"):
        for chunk in chunks:
            feed(assembly, chunk)


@pytest.mark.parametrize("kind", sorted(kinds.OF_LINKS))
def test_nothing_for_the_links_hides_in_pieces(kind: int):
    assembly = Assembly()

    with pytest.raises(BadFrame, match=f"kind {kind}"):
        for chunk in pieces(envelope(kind, body=bytes(1000)), 300):
            feed(assembly, chunk)
