"""Frames and envelopes: build them, seal them, index them.

One ZeroMQ message part is one frame: a 40-byte header and then envelopes, each an 80-byte header,
a name, a meta map and a body, without padding.  `docs/wire.md` has the tables.  A batch is sealed
and indexed by one call into `meshcode.native`; the bodies are never decoded here.

Measured on two busy cores, 512 envelopes of 154 bytes: index 0.35 µs a row in C and 1.3 µs pure,
named rows included; `pick` of seven columns a third of that; `seal_frame` 0.10 and 0.60 µs an
envelope; `draft` 0.5 µs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn
from zlib import crc32

from meshcode import native
from meshcode.errors import BadData, BadFrame, TooLarge
from meshcode.ids import ID_BYTES, NO_ID
from meshcode.limits import (
    BODY_BYTES_MAX,
    FRAME_BYTES_GOAL,
    FRAME_BYTES_MAX,
    FRAME_ENVELOPES_MAX,
    META_BYTES_MAX,
    NAME_BYTES_MAX,
)
from meshcode.native.layout import (
    CRC_STARTS,
    ENVELOPE_HEADER_BYTES,
    ENVELOPE_MAGIC,
    ENVELOPE_VERSION,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    FRAME_VERSION,
    Column,
    Fault,
    FaultCode,
    Row,
)

__all__ = [
    "FrameHead",
    "Row",
    "index",
    "pick",
    "row_at",
    "Column",
    "envelope",
    "envelopes_of",
    "with_body",
    "with_first",
    "draft",
    "frame",
    "cuts",
    "seal_frame",
    "check_envelope",
    "name_of",
    "name_bytes",
    "AT_FLAGS",
    "AT_CODE",
    "AT_ARGC",
    "AT_ID",
    "AT_FLOW",
    "AT_PARENT",
    "AT_ATTEMPT",
    "ENVELOPE_HEADER_BYTES",
    "FRAME_HEADER_BYTES",
]

ARGC_NOT_TOLD = 255

# Where these are in an envelope that was checked, for who needs no row of it: `envelope[AT_ID]`.
AT_FLAGS, AT_CODE, AT_ARGC, _AT_NAME_SIZE = 12, 13, 14, 15
AT_ID, AT_FLOW, AT_PARENT = slice(16, 32), slice(32, 48), slice(48, 64)
AT_ATTEMPT = slice(64, 68)  # Little endian.

_ENVELOPE_REST = struct.Struct("<IBBBB16s16s16sIIQ")  # The envelope header from its size on.
_U32 = struct.Struct("<I")
_STARTS = [ENVELOPE_MAGIC + bytes([ENVELOPE_VERSION, kind]) for kind in range(256)]
_UNSEALED = bytes(4)
_BYTES = [bytes((byte,)) for byte in range(256)]


class FrameHead(NamedTuple):
    """The header of an indexed frame."""

    count: int  # type: ignore[assignment]  # Envelopes; hides tuple.count.
    size: int  # Bytes of the whole frame, the header included.
    sender_boot: int
    receiver_boot: int
    sequence: int  # Counts the frames of one session from 1; 0 = not counted.


def index(frame: bytes | bytearray | memoryview) -> tuple[FrameHead, list[Row]]:
    """Check a whole frame and tell where everything in it is.

    Bounds, magics, versions, sizes and all checksums are checked; kinds, flags, names and the
    bytes of meta and body are not: they belong to the reader of each kind.

    Args:
        frame: one link message part, any bytes at all.

    Returns:
        The header, and one row per envelope in order.

    Raises:
        BadFrame: the first thing wrong, with its offset and both numbers.  Use nothing of it.
    """
    try:
        rows = native.index(frame)
    except Fault as fault:
        _raise_bad_frame(fault, "frame", len(frame))
    return _head(frame), rows


def pick(
    frame: bytes | bytearray | memoryview, columns: bytes
) -> tuple[FrameHead, list[Any], bytes, bytes]:
    """The same checks, and of each envelope only what is asked for: for batches of calls.

    Args:
        columns: numbers of `Column`.

    Returns:
        The header; a tuple with these columns for each envelope; the kinds of all, one byte each;
        their flags, one byte each.

    Raises:
        BadFrame: as `index`.
    """
    try:
        rows, kinds, flags = native.pick(frame, columns)
    except Fault as fault:
        _raise_bad_frame(fault, "frame", len(frame))
    return _head(frame), rows, kinds, flags


def row_at(frame: bytes, start: int, end: int) -> tuple[Row, bytes]:
    """All of one envelope of a frame that was checked: its row, and the bytes that it is a row of.

    Args:
        start: its first byte, as Column.START; `end` as Column.END.
    """
    data = frame[start:end]
    return check_envelope(data), data


def _head(frame: bytes | bytearray | memoryview) -> FrameHead:
    _, _, _, _, count, size, sender_boot, receiver_boot, sequence, _, _ = FRAME_HEADER.unpack_from(
        frame
    )
    return FrameHead(count, size, sender_boot, receiver_boot, sequence)


def check_envelope(data: bytes | bytearray | memoryview) -> Row:
    """Check one envelope that stands alone, for instance one read back from the log.

    Raises:
        BadFrame: the first thing wrong, with its offset and both numbers.
    """
    try:
        return native.check(data)
    except Fault as fault:
        _raise_bad_frame(fault, "envelope", len(data))


def name_of(frame: bytes, row: Row) -> str:
    """The name in an envelope as text.

    Raises:
        BadFrame: the name is not UTF-8.
    """
    try:
        return frame[row.name_at : row.meta_at].decode()
    except UnicodeDecodeError as error:
        raise BadFrame(
            f"the envelope at offset {row.start} has a name that is not UTF-8: byte "
            f"{error.start} of {row.meta_at - row.name_at} is 0x{error.object[error.start]:02x}; "
            "the envelope was not used",
            fault="name",
            offset=row.name_at + error.start,
        ) from None


def name_bytes(envelope: bytes) -> bytes:
    """The name in an envelope that stands alone and was checked."""
    return envelope[ENVELOPE_HEADER_BYTES : ENVELOPE_HEADER_BYTES + envelope[_AT_NAME_SIZE]]


def envelope(
    kind: int,
    *,
    id: bytes = NO_ID,
    flow: bytes = NO_ID,
    parent: bytes = NO_ID,
    name: bytes = b"",
    meta: bytes = b"",
    body: bytes = b"",
    flags: int = 0,
    code: int = 0,
    argc: int = ARGC_NOT_TOLD,
    attempt: int = 0,
    number: int = 0,
) -> bytes:
    """Build one sealed envelope.

    Args:
        kind: `wire.kinds.Kind`, 1 to 255.
        id: 16 bytes; so are flow and parent.
        name: UTF-8, at most NAME_BYTES_MAX bytes.
        meta: a packed map, or empty; at most META_BYTES_MAX bytes.
        body: at most BODY_BYTES_MAX bytes.
        argc: positional arguments, 0 to 254; 255 = not told.
        attempt: u32.
        number: u64.

    Raises:
        TooLarge: name, meta or body is over its limit.
        BadData: a field does not fit its place in the header.
    """
    head = _rest(id, flow, parent, name, meta, body, flags, code, argc, attempt, number)
    rest = b"".join((head, name, meta, body))
    return b"".join((_STARTS[kind], _U32.pack(crc32(rest, CRC_STARTS[kind])), rest))


def envelopes_of(
    kind: int,
    flow: bytes,
    parent: bytes,
    rows: list[tuple[bytes, bytes, bytes, bytes, int, int]],
) -> list[bytes]:
    """Build many sealed envelopes that have one flow and one parent, as `envelope` does one.

    Args:
        kind: `wire.kinds.Kind`, 1 to 255.
        flow: 16 bytes; so is parent.
        rows: id, name, meta, body, flags and argc of each.

    Raises:
        TooLarge, BadData: as `envelope`.
    """
    sealed = native.seal_rows(kind, flow, parent, rows)
    if sealed is not None:
        return sealed
    start, seed, found = _STARTS[kind], CRC_STARTS[kind], []
    pack, pack_check, join = _ENVELOPE_REST.pack, _U32.pack, b"".join
    if not len(flow) == len(parent) == ID_BYTES:
        _raise_bad_ids(NO_ID, flow, parent)
    for id, name, meta, body, flags, argc in rows:
        name_size, meta_size, size = len(name), len(meta), len(name) + len(meta) + len(body)
        if size <= NAME_BYTES_MAX and len(id) == ID_BYTES:  # Then each of the three fits.
            size += ENVELOPE_HEADER_BYTES
            head = pack(size, flags, 0, argc, name_size, id, flow, parent, 0, meta_size, 0)
        else:
            head = _rest(id, flow, parent, name, meta, body, flags, 0, argc, 0, 0)
        rest = join((head, name, meta, body))
        found.append(join((start, pack_check(crc32(rest, seed)), rest)))
    return found


def with_body(data: bytes, body: bytes, argc: int, flags: int = 0) -> bytes:
    """The same sealed envelope around another body.

    Args:
        data: an envelope that was checked.
        body: at most BODY_BYTES_MAX bytes.
        argc: positional arguments in the body, 0 to 255.
        flags: bits that it has besides its own.

    Raises:
        TooLarge: the body is over its limit.
    """
    meta_size = int.from_bytes(data[68:72], "little")
    body_at = ENVELOPE_HEADER_BYTES + data[15] + meta_size
    if len(body) > BODY_BYTES_MAX:
        _raise_too_large(data[15], meta_size, len(body))
    size = _U32.pack(body_at + len(body))
    kept = bytes((data[12] | flags, data[13], argc))
    rest = b"".join((size, kept, data[15:body_at], body))
    return b"".join((data[:4], _U32.pack(crc32(rest, CRC_STARTS[data[3]])), rest))


def with_first(data: bytes, body_at: int, value: bytes) -> bytes:
    """The same sealed envelope with one more value at the beginning of the list in its body.

    Args:
        data: an envelope that was checked; its argc is that of the list.
        body_at: where its body begins: with a list of at most 14.
        value: packed; the body stays within BODY_BYTES_MAX with it.
    """
    size, count = len(data) + len(value), data[body_at] + 1
    rest = b"".join((
        _U32.pack(size), data[12:14], _BYTES[data[14] + 1], data[15:body_at], _BYTES[count], value,
        data[body_at + 1 :],
    ))  # fmt: skip
    return b"".join((data[:4], _U32.pack(crc32(rest, CRC_STARTS[data[3]])), rest))


def draft(
    kind: int,
    *,
    id: bytes = NO_ID,
    flow: bytes = NO_ID,
    parent: bytes = NO_ID,
    name: bytes = b"",
    meta: bytes = b"",
    body: bytes = b"",
    flags: int = 0,
    code: int = 0,
    argc: int = ARGC_NOT_TOLD,
    attempt: int = 0,
    number: int = 0,
) -> bytes:
    """Build one envelope without its checksum, for `seal_frame`.  Arguments as for `envelope`."""
    head = _rest(id, flow, parent, name, meta, body, flags, code, argc, attempt, number)
    return b"".join((_STARTS[kind], _UNSEALED, head, name, meta, body))


def frame(
    envelopes: Sequence[bytes],
    *,
    sequence: int = 0,
    sender_boot: int = 0,
    receiver_boot: int = 0,
) -> bytes:
    """Put sealed envelopes into one frame.

    Raises:
        TooLarge: more than FRAME_ENVELOPES_MAX envelopes or FRAME_BYTES_MAX bytes.
    """
    body = b"".join(envelopes)
    head = _frame_head(len(envelopes), len(body), sequence, sender_boot, receiver_boot)
    return b"".join((head, _U32.pack(crc32(head)), body))


def cuts(
    envelopes: Sequence[bytes], count_max: int, bytes_max: int = FRAME_BYTES_GOAL
) -> list[tuple[int, int]]:
    """Where to cut what is to be sent into frames: begin and end of each part, none of them empty.

    Args:
        count_max: envelopes of a part.
        bytes_max: of a part; one envelope that has more is a part of its own.
    """
    count = len(envelopes)
    sizes = list(map(len, envelopes))
    if count <= count_max and sum(sizes) <= bytes_max:
        return [(0, count)] if count else []
    found, begin, total = [], 0, 0
    for at, size in enumerate(sizes):
        if at > begin and (at - begin >= count_max or total + size > bytes_max):
            found.append((begin, at))
            begin, total = at, 0
        total += size
    found.append((begin, count))
    return found


def seal_frame(
    drafts: Sequence[bytes],
    *,
    sequence: int = 0,
    sender_boot: int = 0,
    receiver_boot: int = 0,
) -> bytes:
    """Put drafts into one frame and write all checksums in one native call.

    Sealed envelopes may be among the drafts; their checksums are made again.

    Raises:
        TooLarge: more than FRAME_ENVELOPES_MAX envelopes or FRAME_BYTES_MAX bytes.
    """
    size = sum(map(len, drafts))
    head = _frame_head(len(drafts), size, sequence, sender_boot, receiver_boot)
    sealed = bytearray().join((head, _UNSEALED, *drafts))
    try:
        native.seal(sealed)
    except Fault as fault:
        raise AssertionError(f"seal_frame was given no drafts but other bytes: {fault}") from fault
    return bytes(sealed)


def _rest(
    id: bytes,
    flow: bytes,
    parent: bytes,
    name: bytes,
    meta: bytes,
    body: bytes,
    flags: int,
    code: int,
    argc: int,
    attempt: int,
    number: int,
) -> bytes:
    """The envelope header from its size on, checked."""
    name_size = len(name)
    meta_size = len(meta)
    body_size = len(body)
    if name_size > NAME_BYTES_MAX or meta_size > META_BYTES_MAX or body_size > BODY_BYTES_MAX:
        _raise_too_large(name_size, meta_size, body_size)
    if not len(id) == len(flow) == len(parent) == ID_BYTES:
        _raise_bad_ids(id, flow, parent)
    size = ENVELOPE_HEADER_BYTES + name_size + meta_size + body_size
    try:
        return _ENVELOPE_REST.pack(
            size, flags, code, argc, name_size, id, flow, parent, attempt, meta_size, number
        )
    except struct.error as error:
        raise BadData(
            f"a header field is out of range ({error}): flags {flags}, code {code}, argc {argc} "
            f"go to 255, attempt {attempt} to {2**32 - 1}, number {number} to {2**64 - 1}"
        ) from None


def _frame_head(
    count: int, envelopes_size: int, sequence: int, sender_boot: int, receiver_boot: int
) -> bytes:
    """The first 36 bytes of a frame: all but the checksum."""
    size = FRAME_HEADER_BYTES + envelopes_size
    if count > FRAME_ENVELOPES_MAX:
        raise TooLarge(
            f"a frame of {count} envelopes is over the limit of {FRAME_ENVELOPES_MAX}; "
            "send them in several frames",
            found=count,
            limit=FRAME_ENVELOPES_MAX,
        )
    if size > FRAME_BYTES_MAX:
        raise TooLarge(
            f"a frame of {size} bytes is over the limit of {FRAME_BYTES_MAX}; "
            "send the envelopes in several frames",
            found=size,
            limit=FRAME_BYTES_MAX,
        )
    return FRAME_HEADER.pack(
        FRAME_MAGIC, FRAME_VERSION, 0, 0, count, size, sender_boot, receiver_boot, sequence, 0, 0
    )[:36]


def _raise_too_large(name_size: int, meta_size: int, body_size: int) -> NoReturn:
    for what, size, limit, advice in (
        ("name", name_size, NAME_BYTES_MAX, "use a shorter name"),
        ("meta", meta_size, META_BYTES_MAX, "move large options into the arguments"),
        ("body", body_size, BODY_BYTES_MAX, "pass large data by reference, for instance a path"),
    ):
        if size > limit:
            raise TooLarge(
                f"the {what} has {size} bytes, the limit is {limit}; nothing was sent; {advice}",
                found=size,
                limit=limit,
            )
    raise AssertionError("called although all sizes are within their limits")


def _raise_bad_ids(call_id: bytes, flow: bytes, parent: bytes) -> NoReturn:
    for what, value in (("id", call_id), ("flow", flow), ("parent", parent)):
        if len(value) != ID_BYTES:
            raise BadData(
                f"{what} has {len(value)} bytes, an id has {ID_BYTES}; nothing was sent",
                found=len(value),
                limit=ID_BYTES,
            )
    raise AssertionError("called although all ids have their size")


# What is at the offset, and what was wanted there.  `{0}` is found, `{1}` is expected.
_TEXTS = {
    FaultCode.FRAME_SHORT: "the frame has {0} bytes, its header alone needs {1}",
    FaultCode.FRAME_LARGE: "the frame has {0} bytes, the limit is {1}",
    FaultCode.FRAME_MAGIC: "the frame's magic is 0x{0:08x}, expected 0x{1:08x} (MESH)",
    FaultCode.FRAME_VERSION: "the frame is of version {0}, this node speaks version {1}",
    FaultCode.FRAME_CRC: "the frame header's checksum is 0x{0:08x}, its bytes give 0x{1:08x}",
    FaultCode.FRAME_RESERVED: "a reserved field of the frame header is {0}, expected {1}",
    FaultCode.FRAME_SIZE: "the frame header tells {0} bytes, the message has {1}",
    FaultCode.FRAME_COUNT: "the frame header tells {0} envelopes, at most {1} fit",
    FaultCode.FRAME_TAIL: "after the last envelope {0} bytes are left, expected {1}",
    FaultCode.ENVELOPE_SHORT: "{0} bytes are left for an envelope, its header alone needs {1}",
    FaultCode.ENVELOPE_MAGIC: "the envelope's magic is 0x{0:04x}, expected 0x{1:04x} (mE)",
    FaultCode.ENVELOPE_VERSION: "the envelope is of version {0}, this node speaks version {1}",
    FaultCode.ENVELOPE_SMALL: "the envelope tells {0} bytes, its parts need at least {1}",
    FaultCode.ENVELOPE_CUT: "the envelope tells {0} bytes, {1} are left",
    FaultCode.META_LARGE: "the envelope's meta has {0} bytes, the limit is {1}",
    FaultCode.BODY_LARGE: "the envelope's body has {0} bytes, the limit is {1}",
    FaultCode.ENVELOPE_CRC: "the envelope's checksum is 0x{0:08x}, its bytes give 0x{1:08x}",
    FaultCode.ENVELOPE_TAIL: "after the envelope {0} bytes are left, expected {1}",
}
_ADVICE = {
    FaultCode.FRAME_VERSION: "install the same meshcode on both sides",
    FaultCode.ENVELOPE_VERSION: "install the same meshcode on both sides",
}


def _raise_bad_frame(fault: Fault, what: str, size: int) -> NoReturn:
    said = _TEXTS[fault.code].format(fault.found, fault.expected)
    advice = _ADVICE.get(fault.code, "send it again")
    raise BadFrame(
        f"bad {what} of {size} bytes: at offset {fault.offset} {said}; "
        f"nothing of the {what} was used; {advice}",
        fault=fault.code.name.lower(),
        offset=fault.offset,
        found=fault.found,
        expected=fault.expected,
    ) from None
