"""The framing twin in C, as Python calls it.  Importing it fails where it was not compiled.

A call through cffi lets go of the interpreter lock; each call here is one batch.  `pick` makes an
object for each row, so it is of the other module (objects.c) and keeps the lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

from meshcode.limits import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_ENVELOPES_MAX,
    META_BYTES_MAX,
)
from meshcode.native import _framing, _objects  # type: ignore[attr-defined]
from meshcode.native.layout import (
    ENVELOPE_HEADER_BYTES,
    PACKED_ROW,
    PACKED_ROW_BYTES,
    Fault,
    Mold,
    Picked,
    Row,
)

Bytes = bytes | bytearray | memoryview

_ffi = _framing.ffi
_lib = _framing.lib
_lib.mesh_begin()
_from_buffer = _ffi.from_buffer
_index = _lib.mesh_index
_check = _lib.mesh_check
_append: Any = getattr(_lib, "mesh_append", None)  # Where there is no dlopen, nothing of staging.c.
_pick, _scan = _objects.pick, _objects.scan
_unpack_row = PACKED_ROW.unpack
_new_row = tuple.__new__


def _pointer(data: Bytes) -> object:
    # cffi hands over the bytes of a bytes object as they are; anything else needs a view of it.
    return data if type(data) is bytes else _from_buffer(data)


def _limits(envelopes_max: int) -> object:
    limits = _ffi.new("mesh_limits *")
    limits.frame_bytes_max = FRAME_BYTES_MAX
    limits.body_bytes_max = BODY_BYTES_MAX
    limits.meta_bytes_max = META_BYTES_MAX
    limits.envelopes_max = envelopes_max
    return limits


_LIMITS = _limits(FRAME_ENVELOPES_MAX)
pack_simple: Callable[[Any], bytes | None] = _objects.pack_simple
pack_items: Callable[[Any], bytes | None] = _objects.pack_items
unpack_simple: Callable[[Any], Any] = _objects.unpack_simple
unpack_items: Callable[[Any], list[Any] | None] = _objects.unpack_items
Slots = _objects.Slots
numbered_ids: Callable[[bytes, int], list[bytes]] = _objects.numbered_ids
seal_rows: Callable[[int, bytes, bytes, Any], list[bytes] | None] = _objects.seal_rows
feed_first: Callable[[bytes, bytes], bytes | None] = _objects.feed_first
pack_done: Callable[[int, int, int, int, int, int, bytes, bytes], bytes] = _objects.pack_done
pack_vote: Callable[..., bytes] = _objects.pack_vote
pack_words: Callable[[Any, int, int], list[tuple[bytes, int, bytes]] | None] = _objects.pack_words
_objects.begin(FRAME_BYTES_MAX, BODY_BYTES_MAX, META_BYTES_MAX, FRAME_ENVELOPES_MAX)


def index(frame: Bytes) -> list[Row]:
    """As `pure.index`."""
    size = len(frame)
    fault = _ffi.new("mesh_fault *")
    # Room for the envelopes that the header tells, unless it lies: then C says so.
    rows_max = min(int.from_bytes(frame[8:12], "little"), FRAME_ENVELOPES_MAX)
    rows = bytearray(rows_max * PACKED_ROW_BYTES if size > rows_max * ENVELOPE_HEADER_BYTES else 0)
    rows_max = len(rows) // PACKED_ROW_BYTES
    count = _index(_pointer(frame), size, _from_buffer(rows), rows_max, _LIMITS, fault)
    if count < 0:
        raise Fault(-count, fault.offset, fault.found, fault.expected)
    # Exactly `count` rows: the header was true.  Row._make does the same in twice the time.
    return list(map(_new_row, repeat(Row), PACKED_ROW.iter_unpack(rows)))


def pick(frame: Bytes, columns: bytes) -> Picked:
    """As `pure.pick`."""
    found: Any = _pick(frame, columns)
    if len(found) == 4:
        raise Fault(*found)
    picked: Picked = found
    return picked


def mold(whole: bytes) -> Mold:
    """As `pure.mold`."""
    made: Mold = _objects.Mold(whole).make
    return made


def group(
    ops: Sequence[tuple[str, bytes, bytes | None]], tables: tuple[str, ...], key_max: int
) -> dict[str, dict[bytes, bytes | None]] | None:
    """As `pure.group`."""
    found: dict[str, dict[bytes, bytes | None]] | None = _objects.group(
        ops if type(ops) is list else list(ops), tables, key_max
    )
    return found


def flatten(
    sections: Sequence[tuple[int, int, int, Mapping[bytes, bytes | None]]]
) -> tuple[bytes, bytes, bytes]:
    """As `pure.flatten`."""
    found: tuple[bytes, bytes, bytes] = _objects.flatten(
        sections if type(sections) is list else list(sections)
    )
    return found


def open_rows(data: bytes, sizes: bytes, seed: int) -> list[tuple[bytes, bytes | None]]:
    """As `pure.open_rows`."""
    found: list[tuple[bytes, bytes | None]] = _objects.open_rows(data, sizes, seed)
    return found


def append(handle: int, at: int, entry: bytearray, end: int, seed: int) -> None:
    """As `pure.append`."""
    code = _append(handle, at, _from_buffer(entry), len(entry), end, seed)
    if code:
        raise OSError(code, os.strerror(code))


def prctl(option: int, value: int) -> None:
    """As `pure.prctl`."""
    code = _lib.mesh_prctl(option, value)
    if code:
        raise OSError(code, os.strerror(code))


def check(envelope: Bytes) -> Row:
    """As `pure.check`."""
    fault = _ffi.new("mesh_fault *")
    row = bytearray(PACKED_ROW_BYTES)
    count = _check(_pointer(envelope), len(envelope), _from_buffer(row), _LIMITS, fault)
    if count < 0:
        raise Fault(-count, fault.offset, fault.found, fault.expected)
    return _new_row(Row, _unpack_row(row))


def seal(frame: bytearray) -> None:
    """As `pure.seal`."""
    fault = _ffi.new("mesh_fault *")
    count = _lib.mesh_seal(_from_buffer(frame), len(frame), fault)
    if count < 0:
        raise Fault(-count, fault.offset, fault.found, fault.expected)


def scan(data: Bytes, objects: int, depth_max: int) -> None:
    """As `pure.scan`; `depth_max` is at most 255."""
    fault = _scan(data, objects, depth_max)
    if fault is not None:
        raise Fault(*fault)


def crc32(data: Bytes, start: int = 0) -> int:
    """The checksum of the C twin; equal to `zlib.crc32`."""
    return int(_lib.mesh_crc32(start, _pointer(data), len(data)))
