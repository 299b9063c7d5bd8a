"""Frames and envelopes: every field, every limit, every way to be wrong."""

from __future__ import annotations

import zlib

import pytest

from meshcode import limits
from meshcode.errors import BadData, BadFrame, TooLarge
from meshcode.ids import NO_ID, make_ids
from meshcode.wire import frame as wire
from meshcode.wire.kinds import Flag, Kind

ID, FLOW, PARENT = (bytes([n]) * 16 for n in (1, 2, 3))


def full_envelope(**changes):
    fields = {
        "id": ID, "flow": FLOW, "parent": PARENT, "name": "läden.clean".encode(),
        "meta": b"\x81\xa1a\x01", "body": b"\x91\x07", "flags": 5, "code": 3, "argc": 1,
        "attempt": 0xFFFF_FFFF, "number": 0xFFFF_FFFF_FFFF_FFFF,
    }  # fmt: skip
    return wire.envelope(Kind.SUBMIT, **(fields | changes))


def resealed(data, at, value):
    """The frame with `value` written at `at` and the checksum of the header made again."""
    changed = bytearray(data)
    changed[at : at + len(value)] = value
    changed[36:40] = zlib.crc32(changed[:36]).to_bytes(4, "little")
    return bytes(changed)


def test_what_is_read_of_an_envelope_by_its_place_is_what_its_row_has():
    data = full_envelope()
    row = wire.check_envelope(data)

    assert (data[wire.AT_ID], data[wire.AT_FLOW], data[wire.AT_PARENT]) == (ID, FLOW, PARENT)
    assert (data[wire.AT_FLAGS], data[wire.AT_CODE]) == (row.flags, row.code) == (5, 3)
    assert int.from_bytes(data[wire.AT_ATTEMPT], "little") == row.attempt
    assert wire.name_bytes(data) == data[row.name_at : row.meta_at] == "läden.clean".encode()
    other = full_envelope(attempt=7)
    assert int.from_bytes(other[wire.AT_ATTEMPT], "little") == 7


def test_every_field_of_an_envelope_comes_back(twin):
    data = wire.frame([full_envelope()], sequence=2**64 - 1, sender_boot=7, receiver_boot=2**32 - 1)

    head, (row,) = wire.index(data)

    assert head == (1, len(data), 7, 2**32 - 1, 2**64 - 1)
    assert (row.kind, row.flags, row.code, row.argc) == (Kind.SUBMIT, 5, 3, 1)
    assert (row.id, row.flow, row.parent) == (ID, FLOW, PARENT)
    assert (row.attempt, row.number) == (2**32 - 1, 2**64 - 1)
    assert (row.start, row.name_at, row.end) == (40, 120, len(data))
    assert wire.name_of(data, row) == "läden.clean"
    assert data[row.meta_at : row.body_at] == b"\x81\xa1a\x01"
    assert data[row.body_at : row.end] == b"\x91\x07"


def test_a_bare_envelope_has_the_defaults_of_the_wire_page(twin):
    _, (row,) = wire.index(wire.frame([wire.envelope(Kind.BYE)]))

    assert row[:9] == (Kind.BYE, 0, 0, 255, NO_ID, NO_ID, NO_ID, 0, 0)
    assert row[9:] == (40, 120, 120, 120, 120)


def test_a_frame_without_envelopes_is_good(twin):
    head, rows = wire.index(wire.frame([], sequence=3))

    assert (head.count, head.size, head.sequence, rows) == (0, 40, 3, [])


def test_sealing_a_batch_gives_the_same_bytes_as_sealing_each(twin):
    ids = make_ids(200)
    fields = [{"id": i, "name": b"a.b", "body": bytes([n]) * n} for n, i in enumerate(ids)]

    at_once = wire.seal_frame([wire.draft(Kind.SUBMIT, **f) for f in fields], sequence=9)
    each = wire.frame([wire.envelope(Kind.SUBMIT, **f) for f in fields], sequence=9)

    assert at_once == each
    assert [row.id for row in wire.index(at_once)[1]] == ids


def test_a_sealed_envelope_may_be_among_the_drafts(twin):
    data = wire.seal_frame([full_envelope(), wire.draft(Kind.BYE)])

    assert data[40:-80] == full_envelope()


def test_an_envelope_cut_out_of_a_frame_stands_alone(twin):
    """The log keeps the bytes of the link and checks them again when they are read back."""
    data = wire.frame([wire.envelope(Kind.BYE), full_envelope()])
    row = wire.index(data)[1][1]

    alone = wire.check_envelope(data[row.start : row.end])

    assert alone[:9] == row[:9]
    assert alone[9:] == tuple(offset - row.start for offset in row[9:])


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_indexed(twin, kind):
    data = wire.frame([full_envelope()])

    assert wire.index(kind(data)) == wire.index(data)
    assert wire.check_envelope(kind(data[40:])) == wire.check_envelope(data[40:])


def test_the_largest_envelope_and_frame_pass(twin):
    body = bytes(limits.BODY_BYTES_MAX)
    big = wire.envelope(2, name=b"n" * 255, meta=bytes(limits.META_BYTES_MAX), body=body)
    many = wire.seal_frame([wire.draft(Kind.BYE)] * limits.FRAME_ENVELOPES_MAX)

    assert wire.index(wire.frame([big]))[1][0].end == limits.ENVELOPE_BYTES_MAX + 40
    assert len(wire.index(many)[1]) == limits.FRAME_ENVELOPES_MAX


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": bytes(256)}, "the name has 256 bytes, the limit is 255"),
        ({"meta": bytes(16385)}, "the meta has 16385 bytes, the limit is 16384"),
        (
            {"body": bytes(limits.BODY_BYTES_MAX + 1)},
            "the body has 16777217 bytes, the limit is 16777216",
        ),
    ],
)
@pytest.mark.parametrize("build", [wire.envelope, wire.draft])
def test_a_part_over_its_limit_is_refused_with_both_numbers(build, fields, text):
    with pytest.raises(TooLarge, match=text) as caught:
        build(Kind.SUBMIT, **fields)

    assert caught.value.fields["found"] == caught.value.fields["limit"] + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"id": b"short"}, {"flow": bytes(17)}, {"parent": b""}, {"flags": 256}, {"code": -1},
        {"argc": 256}, {"attempt": 2**32}, {"number": 2**64}, {"number": -1},
    ],
)  # fmt: skip
def test_a_field_that_does_not_fit_is_refused_and_never_cut(fields):
    (value,) = fields.values()

    with pytest.raises(BadData, match=str(len(value) if isinstance(value, bytes) else value)):
        wire.envelope(Kind.SUBMIT, **fields)


def test_too_many_envelopes_and_too_many_bytes_for_a_frame_are_refused():
    with pytest.raises(TooLarge, match="4097 envelopes is over the limit of 4096"):
        wire.frame([wire.envelope(Kind.BYE)] * 4097)
    half = wire.envelope(Kind.SUBMIT, body=bytes(11 * 1024 * 1024))
    for build in (wire.frame, wire.seal_frame):
        with pytest.raises(TooLarge, match=f"{40 + 2 * len(half)} bytes is over the limit"):
            build([half, half])


GOOD = wire.frame([wire.envelope(Kind.SUBMIT, name=b"ab", meta=b"\x80", body=b"\x90"),
                   wire.envelope(Kind.BYE)], sequence=1)  # fmt: skip
FIRST = GOOD[40:124]

# What is wrong, the fault, its offset, found, expected.
BAD_FRAMES = {
    "empty": (b"", "frame_short", 0, 0, 40),
    "one byte": (b"M", "frame_short", 0, 1, 40),
    "header cut": (GOOD[:39], "frame_short", 0, 39, 40),
    "over the limit": (bytes(limits.FRAME_BYTES_MAX + 1), "frame_large", 0, 20971521, 20971520),
    "magic": (b"HTTP" + GOOD[4:], "frame_magic", 0, 0x50545448, 0x4853454D),
    "version": (resealed(GOOD, 4, b"\x02"), "frame_version", 4, 2, 1),
    "checksum of the header": (
        GOOD[:16] + b"\x01" + GOOD[17:],
        "frame_crc",
        36,
        int.from_bytes(GOOD[36:40], "little"),
        zlib.crc32(GOOD[:16] + b"\x01" + GOOD[17:36]),
    ),
    "flags": (resealed(GOOD, 5, b"\x80"), "frame_reserved", 5, 128, 0),
    "reserved": (resealed(GOOD, 6, b"\x00\x01"), "frame_reserved", 6, 256, 0),
    "reserved at the end": (resealed(GOOD, 32, b"\x01"), "frame_reserved", 32, 1, 0),
    "message cut": (GOOD[:-1], "frame_size", 12, 204, 203),
    "message longer": (GOOD + b"x", "frame_size", 12, 204, 205),
    "more envelopes told than fit": (resealed(GOOD, 8, b"\x03"), "frame_count", 8, 3, 2),
    "most envelopes told": (resealed(GOOD, 8, b"\xff" * 4), "frame_count", 8, 2**32 - 1, 2),
    "fewer envelopes told": (resealed(GOOD, 8, b"\x01"), "frame_tail", 124, 80, 0),
    "no envelopes told": (resealed(GOOD, 8, b"\x00"), "frame_tail", 40, 164, 0),
    "envelope header cut": (
        resealed(GOOD[:-4], 12, b"\xc8"), "envelope_short", 124, 76, 80,
    ),
    "magic of an envelope": (
        GOOD[:124] + b"mX" + GOOD[126:], "envelope_magic", 124, 0x586D, 0x456D,
    ),
    "version of an envelope": (
        GOOD[:42] + b"\x09" + GOOD[43:], "envelope_version", 42, 9, 1,
    ),
    "size below the header": (
        GOOD[:48] + b"\x4f" + GOOD[49:], "envelope_small", 48, 79, 83,
    ),
    "size below the parts": (
        GOOD[:48] + b"\x52" + GOOD[49:], "envelope_small", 48, 82, 83,
    ),
    "size above the frame": (
        GOOD[:48] + b"\xff\xff\xff\xff" + GOOD[52:], "envelope_cut", 48, 2**32 - 1, 164,
    ),
    "meta over its limit": (
        GOOD[:108] + b"\xff\xff\xff\xff" + GOOD[112:], "meta_large", 108, 2**32 - 1, 16384,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_frame_is_told_by_offset_and_both_numbers(twin, case):
    data, fault, offset, found, expected = BAD_FRAMES[case]

    with pytest.raises(BadFrame) as caught:
        wire.index(data)

    assert caught.value.fields == {
        "fault": fault, "offset": offset, "found": found, "expected": expected,
    }  # fmt: skip
    assert f"bad frame of {len(data)} bytes: at offset {offset}" in str(caught.value)
    for number in (found, expected):
        assert str(number) in str(caught.value) or f"{number:x}" in str(caught.value)


def test_a_body_over_its_limit_is_told(twin):
    """Only a peer that does not keep the limits can send it: ours refuses to build it."""
    size = limits.BODY_BYTES_MAX + 81
    data = bytearray(40 + size)
    told = (1).to_bytes(4, "little") + (40 + size).to_bytes(4, "little")
    data[:40] = resealed(GOOD[:40], 8, told)
    data[40:120] = GOOD[124:]
    data[48:52] = size.to_bytes(4, "little")

    with pytest.raises(BadFrame, match="body has 16777217 bytes, the limit is 16777216"):
        wire.index(bytes(data))


def test_every_bit_of_a_frame_is_under_a_checksum(twin):
    for bit in range(8 * len(GOOD)):
        flipped = bytearray(GOOD)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadFrame):
            wire.index(bytes(flipped))


def test_every_bit_of_an_envelope_is_under_its_checksum(twin):
    """The kind too, although it stands before the checksum."""
    for bit in range(8 * len(FIRST)):
        flipped = bytearray(FIRST)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadFrame):
            wire.check_envelope(bytes(flipped))


@pytest.mark.parametrize("size", [0, 1, 79, 83])
def test_an_envelope_that_is_cut_does_not_stand_alone(twin, size):
    with pytest.raises(BadFrame, match=f"bad envelope of {size} bytes"):
        wire.check_envelope(FIRST[:size])


def test_an_envelope_with_a_tail_does_not_stand_alone(twin):
    with pytest.raises(BadFrame, match="at offset 84 after the envelope 3 bytes are left"):
        wire.check_envelope(FIRST + b"abc")


def test_a_name_that_is_not_utf8_is_told_where_it_is_read(twin):
    data = wire.frame([wire.envelope(Kind.SUBMIT, name=b"ab\xff")])
    row = wire.index(data)[1][0]

    with pytest.raises(BadFrame, match="byte 2 of 3 is 0xff") as caught:
        wire.name_of(data, row)

    assert caught.value.fields["offset"] == 122


def test_an_unknown_kind_passes_framing(twin):
    """A new kind must be answered by its name, not by dropping the whole frame."""
    _, (row,) = wire.index(wire.frame([wire.envelope(200, flags=0xFF)]))

    assert (row.kind, row.flags) == (200, 0xFF)


def test_a_version_of_the_future_is_told_before_anything_else(twin):
    """Its header may be laid out in another way, so no other field can be trusted."""
    future = b"MESH\x02" + b"\xaa" * 60

    with pytest.raises(BadFrame, match=r"version 2, this node speaks version 1; .* install"):
        wire.index(future)


def test_the_flags_of_the_kinds_fit_the_header():
    assert max(Flag) < 256
    assert max(Kind) < 256
