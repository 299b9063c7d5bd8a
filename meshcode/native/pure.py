"""The twin without C: the same rows, faults and drafts, with `zlib.crc32` for speed.

Used where there is no compiler, or when MESHCODE_PURE is 1.  Every function here has a sister in C;
those that do their work have the same checks in the same order, and `tests/wire/test_twins.py` and
`tests/wire/test_objects.py` hold them together.  Those at the end, from `dealer` on, do none: they
say so, and the caller takes the longer way, which is in Python already.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any
from zlib import crc32

from meshcode.ids import numbered_ids  # noqa: F401 - one of the twins
from meshcode.limits import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_ENVELOPES_MAX,
    META_BYTES_MAX,
)
from meshcode.native.layout import (
    CHECK_BYTES,
    CRC_STARTS,
    DONE_HEAD,
    ENVELOPE_HEADER,
    ENVELOPE_HEADER_BYTES,
    ENVELOPE_MAGIC,
    ENVELOPE_VERSION,
    FRAME_HEADER,
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    FRAME_VERSION,
    PLAIN_RESIDUE,
    RECORD_VERSION,
    TUPLE_EXT,
    VOTE_HEAD,
    VOTE_VERSION,
    Column,
    Fault,
    FaultCode,
    Mold,
    Picked,
    Row,
)

Bytes = bytes | bytearray | memoryview

_U32 = Struct("<I")
_FRAME_MAGIC_NUMBER = int.from_bytes(FRAME_MAGIC, "little")
_ENVELOPE_MAGIC_NUMBER = int.from_bytes(ENVELOPE_MAGIC, "little")


def index(frame: Bytes) -> list[Row]:
    """Check a whole frame and return one row for each of its envelopes, in order.

    Raises:
        Fault: the first thing that is wrong, in the order of the bytes.
    """
    view = memoryview(frame)
    count = _check_frame_header(view)
    rows = []
    at = FRAME_HEADER_BYTES
    for _ in range(count):
        row = _check_envelope(view, at)
        rows.append(row)
        at = row.end
    if at != len(view):
        raise Fault(FaultCode.FRAME_TAIL, at, len(view) - at, 0)
    return rows


def pick(frame: Bytes, columns: bytes) -> Picked:
    """Check a whole frame and return of its rows only the columns asked for.

    Args:
        columns: numbers of `Column`.

    Returns:
        A tuple for each envelope; then the kinds of all, and their flags, one byte each.

    Raises:
        Fault: as `index`.
    """
    data = bytes(frame)
    rows = index(data)
    takers = [_TAKERS[column] for column in columns]
    return (
        [tuple([take(row, data) for take in takers]) for row in rows],
        bytes([row.kind for row in rows]),
        bytes([row.flags for row in rows]),
    )


def check(envelope: Bytes) -> Row:
    """Check one envelope that stands alone; the offsets of the row are into `envelope`.

    Raises:
        Fault: the first thing that is wrong, in the order of the bytes.
    """
    view = memoryview(envelope)
    row = _check_envelope(view, 0)
    if row.end != len(view):
        raise Fault(FaultCode.ENVELOPE_TAIL, row.end, len(view) - row.end, 0)
    return row


def seal(frame: bytearray) -> None:
    """Write the checksum of every envelope of `frame` and of its header, in place.

    Raises:
        Fault: the envelopes do not fill the frame.  Some checksums may have been written.
    """
    view = memoryview(frame)
    size = len(view)
    if size < FRAME_HEADER_BYTES:
        raise Fault(FaultCode.FRAME_SHORT, 0, size, FRAME_HEADER_BYTES)
    (count,) = _U32.unpack_from(view, 8)
    at = FRAME_HEADER_BYTES
    for _ in range(count):
        left = size - at
        if left < ENVELOPE_HEADER_BYTES:
            raise Fault(FaultCode.ENVELOPE_SHORT, at, left, ENVELOPE_HEADER_BYTES)
        (envelope_size,) = _U32.unpack_from(view, at + 8)
        if envelope_size < ENVELOPE_HEADER_BYTES:
            raise Fault(FaultCode.ENVELOPE_SMALL, at + 8, envelope_size, ENVELOPE_HEADER_BYTES)
        if envelope_size > left:
            raise Fault(FaultCode.ENVELOPE_CUT, at + 8, envelope_size, left)
        end = at + envelope_size
        _U32.pack_into(view, at + 4, crc32(view[at + 8 : end], crc32(view[at : at + 4])))
        at = end
    if at != size:
        raise Fault(FaultCode.FRAME_TAIL, at, size - at, 0)
    _U32.pack_into(view, 36, crc32(view[:36]))


def _check_frame_header(view: memoryview) -> int:
    size = len(view)
    if size > FRAME_BYTES_MAX:
        raise Fault(FaultCode.FRAME_LARGE, 0, size, FRAME_BYTES_MAX)
    if size < FRAME_HEADER_BYTES:
        raise Fault(FaultCode.FRAME_SHORT, 0, size, FRAME_HEADER_BYTES)
    head = FRAME_HEADER.unpack_from(view)
    magic, version, flags, reserved, count, told_size, _, _, _, reserved_2, crc = head
    if magic != FRAME_MAGIC:
        found = int.from_bytes(magic, "little")
        raise Fault(FaultCode.FRAME_MAGIC, 0, found, _FRAME_MAGIC_NUMBER)
    if version != FRAME_VERSION:
        raise Fault(FaultCode.FRAME_VERSION, 4, version, FRAME_VERSION)
    true_crc = crc32(view[:36])
    if crc != true_crc:
        raise Fault(FaultCode.FRAME_CRC, 36, crc, true_crc)
    for offset, value in ((5, flags), (6, reserved), (32, reserved_2)):
        if value:
            raise Fault(FaultCode.FRAME_RESERVED, offset, value, 0)
    if told_size != size:
        raise Fault(FaultCode.FRAME_SIZE, 12, told_size, size)
    count_max = min(FRAME_ENVELOPES_MAX, (size - FRAME_HEADER_BYTES) // ENVELOPE_HEADER_BYTES)
    if count > count_max:
        raise Fault(FaultCode.FRAME_COUNT, 8, count, count_max)
    return int(count)


def _check_envelope(view: memoryview, at: int) -> Row:
    left = len(view) - at
    if left < ENVELOPE_HEADER_BYTES:
        raise Fault(FaultCode.ENVELOPE_SHORT, at, left, ENVELOPE_HEADER_BYTES)
    (
        magic, version, kind, crc, size, flags, code, argc, name_size,
        call_id, flow, parent, attempt, meta_size, number,
    ) = ENVELOPE_HEADER.unpack_from(view, at)  # fmt: skip
    if magic != ENVELOPE_MAGIC:
        found = int.from_bytes(magic, "little")
        raise Fault(FaultCode.ENVELOPE_MAGIC, at, found, _ENVELOPE_MAGIC_NUMBER)
    if version != ENVELOPE_VERSION:
        raise Fault(FaultCode.ENVELOPE_VERSION, at + 2, version, ENVELOPE_VERSION)
    if meta_size > META_BYTES_MAX:
        raise Fault(FaultCode.META_LARGE, at + 68, meta_size, META_BYTES_MAX)
    size_min = ENVELOPE_HEADER_BYTES + name_size + meta_size
    if size < size_min:
        raise Fault(FaultCode.ENVELOPE_SMALL, at + 8, size, size_min)
    if size > left:
        raise Fault(FaultCode.ENVELOPE_CUT, at + 8, size, left)
    if size - size_min > BODY_BYTES_MAX:
        raise Fault(FaultCode.BODY_LARGE, at + 8, size - size_min, BODY_BYTES_MAX)
    end = at + size
    true_crc = crc32(view[at + 8 : end], CRC_STARTS[kind])
    if crc != true_crc:
        raise Fault(FaultCode.ENVELOPE_CRC, at + 4, crc, true_crc)
    name_at = at + ENVELOPE_HEADER_BYTES
    meta_at = name_at + name_size
    return Row(
        kind, flags, code, argc, call_id, flow, parent, attempt, number,
        at, name_at, meta_at, meta_at + meta_size, end,
    )  # fmt: skip


_TAKERS: dict[int, Callable[[Row, bytes], Any]] = {
    Column.KIND: lambda row, _: row.kind,
    Column.FLAGS: lambda row, _: row.flags,
    Column.CODE: lambda row, _: row.code,
    Column.ARGC: lambda row, _: row.argc,
    Column.ID: lambda row, _: row.id,
    Column.FLOW: lambda row, _: row.flow,
    Column.PARENT: lambda row, _: row.parent,
    Column.ATTEMPT: lambda row, _: row.attempt,
    Column.NUMBER: lambda row, _: row.number,
    Column.START: lambda row, _: row.start,
    Column.BODY_AT: lambda row, _: row.body_at,
    Column.END: lambda row, _: row.end,
    Column.NAME: lambda row, data: data[row.name_at : row.meta_at],
    Column.TEXT: lambda row, data: data[row.name_at : row.meta_at].decode(errors="replace"),
    Column.OPTIONS: lambda row, data: data[row.meta_at : row.body_at] or None,
    Column.BODY: lambda row, data: data[row.body_at : row.end],
    Column.ENVELOPE: lambda row, data: data[row.start : row.end],
}


# The shape of packed data.  One entry per first byte: what follows it.
_SCALAR, _BYTES, _ITEMS, _EXT, _BAD = range(5)


def _token_table() -> list[tuple[int, int, int]]:
    """(what, bytes of the length field or of a scalar, fixed length or items per count)."""
    table = [(_SCALAR, 0, 0)] * 256
    for byte in range(0x80, 0x90):
        table[byte] = (_ITEMS, 0, 2 * (byte & 15))
    for byte in range(0x90, 0xA0):
        table[byte] = (_ITEMS, 0, byte & 15)
    for byte in range(0xA0, 0xC0):
        table[byte] = (_BYTES, 0, byte & 31)
    table[0xC1] = (_BAD, 0, 0)
    for byte, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        table[byte] = (_BYTES, width, 0)
    for byte, width in ((0xC7, 1), (0xC8, 2), (0xC9, 4)):
        table[byte] = (_EXT, width, 0)
    for byte in range(0xCA, 0xD4):  # float 32, float 64, then uint and int of 8 to 64 bits
        width = (4, 8, 1, 2, 4, 8, 1, 2, 4, 8)[byte - 0xCA]
        table[byte] = (_SCALAR, width, 0)
    for byte in range(0xD4, 0xD9):
        table[byte] = (_EXT, 0, 1 << (byte - 0xD4))
    table[0xDC] = (_ITEMS, 2, 1)
    table[0xDD] = (_ITEMS, 4, 1)
    table[0xDE] = (_ITEMS, 2, 2)
    table[0xDF] = (_ITEMS, 4, 2)
    return table


_TOKENS = _token_table()


def scan(data: Bytes, objects: int, depth_max: int) -> None:
    """Check the shape of `objects` packed values that fill `data`, without building them.

    A list, map or tuple is one level deep; its items may be one deeper.  The declared counts are
    held against the bytes that are left, so no reader allocates more than the sender sent.

    Raises:
        Fault: cut short, deeper than `depth_max`, more items than bytes, a byte that begins no
            value, or bytes after the last value.
    """
    view = memoryview(data)
    size = len(view)
    at = 0
    pending = objects  # Values still to come, at all levels.
    levels = [objects]  # The same per level; the first is no container.
    while True:
        while levels and not levels[-1]:
            levels.pop()
        if not levels:
            break
        levels[-1] -= 1
        pending -= 1
        left = size - at
        if not left:
            raise Fault(FaultCode.DATA_CUT, at, 0, 1)
        what, width, fixed = _TOKENS[view[at]]
        head = 1 + width + (what == _EXT)
        if left < head:
            raise Fault(FaultCode.DATA_CUT, at, left, head)
        if what == _BAD:
            raise Fault(FaultCode.DATA_TYPE, at, view[at], 0)
        number = int.from_bytes(view[at + 1 : at + 1 + width], "big") if width else 0
        if what == _ITEMS:
            items = number * fixed if width else fixed
            room = max(0, left - head - pending)
            if len(levels) > depth_max:
                raise Fault(FaultCode.DATA_DEPTH, at, len(levels), depth_max)
            if items > room:
                raise Fault(FaultCode.DATA_COUNT, at, items, room)
            levels.append(items)
            pending += items
        elif what in (_BYTES, _EXT):
            length = number if width else fixed
            if length > left - head:
                raise Fault(FaultCode.DATA_CUT, at, left, head + length)
            if what == _EXT and view[at + head - 1] == TUPLE_EXT:
                levels[-1] += 1  # The payload is the list of the tuple's items: look inside.
                pending += 1
            else:
                head += length
        at += head
    if at != size:
        raise Fault(FaultCode.DATA_TAIL, at, size - at, 0)


# Drafts, and the slots of a control page.

# docs/wire.md, "Envelope": up to the checksum, the size, what lies between that and the id; what
# lies between flow and attempt; the sizes and the number.
_DRAFT_HEAD = Struct("<8sI4s16s16s16sIIQ")


def mold(whole: bytes) -> Mold:
    """What makes drafts that differ from `whole` in id, flow, body, attempt and number only.

    Args:
        whole: a draft with an empty body.
    """
    start, kept, parent, rest = whole[:8], whole[12:16], whole[48:64], whole[_DRAFT_HEAD.size :]
    size, pack, join = len(whole), _DRAFT_HEAD.pack, b"".join
    meta_size = int.from_bytes(whole[68:72], "little")

    def make(id: bytes, flow: bytes, body: bytes, attempt: int, number: int) -> bytes:
        head = pack(start, size + len(body), kept, id, flow, parent, attempt, meta_size, number)
        return join((head, rest, body))

    return make  # A function, as its names are quicker than attributes.


_SLOT = Struct("<16sIIQ")


class Slots:
    """The two call slots of a control page, as its worker writes them (worker/control.py)."""

    def __init__(self, page: Any) -> None:
        """Over a writable map; `close` lets go of it."""
        self._page = page
        self._words = memoryview(page).cast("Q")
        self._begun = self._words[2]

    def begin(self, id: bytes, attempt: int, now_ns: int) -> None:
        """A call begins: its slot is written, then the count that publishes it."""
        self._begun = begun = self._begun + 1
        _SLOT.pack_into(self._page, 64 + (begun & 1) * 32, id, attempt, 0, now_ns)
        self._words[2] = begun

    def finish(self) -> None:
        """It has its outcome."""
        self._words[3] = self._begun

    def close(self) -> None:
        """Let go of the page."""
        self._words.release()


# Batches for the log.


def pack_done(
    code: int,
    attempts: int,
    accepted_ms: int,
    started_ms: int,
    finished_ms: int,
    sequence: int,
    outcome: bytes,
    submit: bytes,
) -> bytes:
    """A `done` record without a story."""
    head = DONE_HEAD.pack(
        RECORD_VERSION, code, 0, attempts, accepted_ms, started_ms, finished_ms, sequence,
        len(outcome), len(submit),
    )  # fmt: skip
    return b"".join((head, outcome, submit))


def pack_vote(
    flags: int,
    seen: int,
    full: int,
    boot: int,
    key: bytes,
    promise: tuple[int, bytes, int],
    accepted: tuple[int, bytes, int],
    voters: tuple[bytes, ...],
    tail: bytes,
) -> bytes:
    """A `vote` record; `tail` is what follows the voters."""
    head = VOTE_HEAD.pack(
        VOTE_VERSION, flags, seen, full, len(voters), boot, key, *promise, *accepted
    )
    return b"".join((head, *voters, tail))


def group(
    ops: Sequence[tuple[str, bytes, bytes | None]], tables: tuple[str, ...], key_max: int
) -> dict[str, dict[bytes, bytes | None]] | None:
    """Table -> key -> its last change in `ops`; None: a table or the size of a key is wrong."""
    changes: dict[str, dict[bytes, bytes | None]] = {}
    for table, key, value in ops:
        changes.setdefault(table, {})[key] = value
    for table, values in changes.items():
        sizes = [len(key) for key in values]
        if table not in tables or min(sizes) < 1 or max(sizes) > key_max:
            return None
    return changes


def flatten(
    sections: Sequence[tuple[int, int, int, Mapping[bytes, bytes | None]]]
) -> tuple[bytes, bytes, bytes]:
    """Changes of tables in one piece: keys and values, u32 sizes, and u32 numbers of sections.

    Each section (table, how, seed, changes) becomes two: keys that are deleted (`how` 0), and keys
    and values in turns.  A section is told by four numbers: table, how, seed, how many changes.
    """
    data: list[bytes] = []
    numbers = array("I")
    for table, how, seed, changes in sections:
        gone = [key for key, value in changes.items() if value is None]
        data += gone
        for key, value in changes.items():
            if value is not None:
                data += (key, value)
        numbers.extend((table, 0, seed, len(gone), table, how, seed, len(changes) - len(gone)))
    return b"".join(data), array("I", map(len, data)).tobytes(), numbers.tobytes()


def open_rows(data: bytes, sizes: bytes, seed: int) -> list[tuple[bytes, bytes | None]]:
    """The rows that a read of the log has found: keys, and values without their check.

    Args:
        data: keys and stored values in turns.
        sizes: of each, as u64.
        seed: the CRC-32 of the table (`store.record.SEEDS`).

    Returns:
        None for a value whose check is not that of a plain record: a blob's, or damaged.
    """
    lengths = array("Q")
    lengths.frombytes(sizes[: len(sizes) // 16 * 16])
    rows: list[tuple[bytes, bytes | None]] = []
    at = 0
    for key_size, size in zip(lengths[::2], lengths[1::2], strict=True):
        middle, end = at + key_size, at + key_size + size
        if end > len(data):
            raise ValueError(f"row {len(rows)} is longer than what is left of the data")
        good = size >= CHECK_BYTES and crc32(memoryview(data)[at:end], seed) == PLAIN_RESIDUE
        value = data[middle : end - CHECK_BYTES] if good else None
        rows.append((data[at:middle], value))
        at = end
    return rows


def append(handle: int, at: int, entry: bytearray, end: int, seed: int) -> None:
    """Write an entry of the journal at its place and sync it, its check before.

    Args:
        handle: of the file, open for writing.
        at: where it goes.
        entry: bytes 4 to 8 become the CRC-32 (little endian) of `seed` and all behind them,
            up to `end`.
        end: where its data ends; zeros may follow.
        seed: the CRC-32 of what is checked besides.

    Raises:
        OSError: as the system says; the entry may be there or not.
    """
    entry[4:8] = crc32(memoryview(entry)[8:end], seed).to_bytes(4, "little")
    view = memoryview(entry)
    while view:
        done = os.pwrite(handle, view, at)
        at += done
        view = view[done:]
    os.fdatasync(handle)


def prctl(option: int, value: int) -> None:
    """Ask Linux for something about this process; see prctl(2).

    Raises:
        OSError: it was refused.
    """
    import ctypes  # Late: only this needs it, and the C twin does without.

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def dealer(
    library: str, address: str, linger_ms: int, message_bytes_max: int  # noqa: ARG001
) -> Any:
    """A connected DEALER of the libzmq in the file `library`, without pyzmq; None: do it with."""
    return None


# Steps of flows: without C their ids are made in `meshcode/ids.py`; their envelopes are not made
# here but in `meshcode/wire/frame.py`.


def seal_rows(
    kind: int, flow: bytes, parent: bytes, rows: Any  # noqa: ARG001
) -> list[bytes] | None:
    """Sealed envelopes of rows of id, name, meta, body, flags, argc; None: make them otherwise."""
    return None


def feed_first(submit: bytes, value: bytes) -> bytes | None:  # noqa: ARG001
    """The sealed envelope with a packed value before its arguments; None: make it otherwise."""
    return None


# Simple values and words: without C the package msgpack does it all.


def pack_simple(value: Any) -> bytes | None:  # noqa: ARG001
    """A value of simple kinds as bytes; None: pack it otherwise."""
    return None


def pack_items(values: Any) -> bytes | None:  # noqa: ARG001
    """A list of such, given as a tuple or a list; None: pack it otherwise."""
    return None


def unpack_simple(data: Any) -> Any:  # noqa: ARG001
    """The value, when it is of simple kinds, else NotImplemented."""
    return NotImplemented


def unpack_items(data: Any) -> list[Any] | None:  # noqa: ARG001
    """A list of such; None: unpack it otherwise."""
    return None


def pack_words(
    said: Sequence[tuple[bytes, int, list[Any]]],  # noqa: ARG001
    count_max: int,  # noqa: ARG001
    bytes_goal: int,  # noqa: ARG001
) -> list[tuple[bytes, int, bytes]] | None:
    """(node, kind, packed list) of entries that travel together, in order for each node; None: do
    it otherwise.
    """
    return None


def plain_reports(frame: bytes, meta: bytes, us_most: int) -> bool | None:  # noqa: ARG001
    """Whether all in a frame of a worker are plain outcomes; None: look otherwise."""
    return None


def plain_words(kind: int, entries: list[Any]) -> bool | None:  # noqa: ARG001
    """Whether all that a peer says with them is plain; None: look otherwise."""
    return None
