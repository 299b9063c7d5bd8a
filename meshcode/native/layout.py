"""The bytes of a frame as both framing twins see them, and the faults both can report.

`docs/wire.md` has the same tables in prose.  A fault is a code, an offset and two numbers, never a
text: so the C twin and the pure twin say exactly the same about the same bytes, and the text is
made in one place (`meshcode/wire/frame.py` and `meshcode/wire/codec.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple
from zlib import crc32

FRAME_MAGIC = b"MESH"
FRAME_VERSION = 1
ENVELOPE_MAGIC = b"mE"
ENVELOPE_VERSION = 1

# magic, version, flags, reserved, count, size, sender_boot, receiver_boot, sequence, reserved, crc
FRAME_HEADER = Struct("<4sBBHIIIIQII")
FRAME_HEADER_BYTES = FRAME_HEADER.size
# magic, version, kind, crc, size, flags, code, argc, name_size, id, flow, parent, attempt,
# meta_size, number
ENVELOPE_HEADER = Struct("<2sBBIIBBBB16s16s16sIIQ")
ENVELOPE_HEADER_BYTES = ENVELOPE_HEADER.size
assert (FRAME_HEADER_BYTES, ENVELOPE_HEADER_BYTES) == (40, 80)

# An envelope's checksum begins with its first four bytes, of which only the kind varies.
CRC_STARTS = [crc32(ENVELOPE_MAGIC + bytes([ENVELOPE_VERSION, kind])) for kind in range(256)]

# What the C twin writes for each envelope, in the machine's own byte order and without padding.
PACKED_ROW = Struct("=BBBB16s16s16sIQIIIII")
PACKED_ROW_BYTES = PACKED_ROW.size

# Behind each value in the log is its CRC-32 (store/record.py), and the CRC-32 of any message with
# its own behind it is a constant.
CHECK_BYTES = 4
PLAIN_RESIDUE = 0x2144DF1C

# Of a `done` record (router/records.py): version, code, flags, attempts, accepted_ms, started_ms,
# finished_ms, sequence, bytes of: the outcome envelope, the submit envelope; the rest is the packed
# story (may be empty).
DONE_HEAD = Struct("<BBHIQQQQII")
RECORD_VERSION = 1

# Of a `vote` record (replica/instance.py): version, flags, seen, full, how many voters, boot, key;
# promised and accepted epoch (counter, node, boot each).  Then the voters, and its tail.
VOTE_HEAD = Struct("<BBBBBI34sI16sII16sI")
VOTE_VERSION = 2

TUPLE_EXT = 2  # The one msgpack extension whose payload is msgpack again; `scan` looks inside.


class Row(NamedTuple):
    """One envelope of an indexed frame.  The last five are offsets into the frame's buffer.

    The whole envelope is `frame[start:end]`; its name `frame[name_at:meta_at]`, its meta
    `frame[meta_at:body_at]` and its body `frame[body_at:end]`.
    """

    kind: int
    flags: int
    code: int
    argc: int  # Positional arguments; 255 = not told.
    id: bytes
    flow: bytes
    parent: bytes
    attempt: int
    number: int
    start: int
    name_at: int
    meta_at: int
    body_at: int
    end: int


class Column(IntEnum):
    """What `pick` can give of each envelope.  The numbers are the ones in `pick.c`."""

    KIND = 0
    FLAGS = 1
    CODE = 2
    ARGC = 3
    ID = 4
    FLOW = 5
    PARENT = 6
    ATTEMPT = 7
    NUMBER = 8
    START = 9  # As in `Row`; so are the next two.
    BODY_AT = 10
    END = 11
    NAME = 12
    TEXT = 13  # The name as text; what is not UTF-8 in it becomes U+FFFD.
    OPTIONS = 14  # The bytes of the meta; None where there are none.
    BODY = 15
    ENVELOPE = 16  # All bytes of it.


# Makes a draft of: id, flow, body, attempt, number.
Mold = Callable[[bytes, bytes, bytes, int, int], bytes]

# By row: the columns asked for; then one byte a row: all kinds, and all flags.
Picked = tuple[list[Any], bytes, bytes]


class FaultCode(IntEnum):
    """What is wrong with the bytes.  The numbers are the ones in `framing.c`."""

    FRAME_SHORT = 1
    FRAME_LARGE = 2
    FRAME_MAGIC = 3
    FRAME_VERSION = 4
    FRAME_CRC = 5
    FRAME_RESERVED = 6
    FRAME_SIZE = 7
    FRAME_COUNT = 8
    FRAME_TAIL = 9
    ENVELOPE_SHORT = 20
    ENVELOPE_MAGIC = 21
    ENVELOPE_VERSION = 22
    ENVELOPE_SMALL = 23
    ENVELOPE_CUT = 24
    META_LARGE = 25
    BODY_LARGE = 26
    ENVELOPE_CRC = 27
    ENVELOPE_TAIL = 28
    DATA_CUT = 40
    DATA_DEPTH = 41
    DATA_COUNT = 42
    DATA_TYPE = 43
    DATA_TAIL = 44


class Fault(Exception):
    """The bytes are wrong.  Internal to the package: callers see `BadFrame` or `BadValue`."""

    def __init__(self, code: int, offset: int, found: int, expected: int) -> None:
        super().__init__(code, offset, found, expected)
        self.code = FaultCode(code)
        self.offset = offset
        self.found = found
        self.expected = expected
