"""The framing twin in C, as Python calls it.  Importing it fails where it was not compiled.

A call through cffi lets go of the interpreter lock; each call here is one batch.
"""

from __future__ import annotations

from itertools import repeat

from meshcode.limits import (
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_ENVELOPES_MAX,
    META_BYTES_MAX,
)
from meshcode.native import _framing  # type: ignore[attr-defined]
from meshcode.native.layout import (
    ENVELOPE_HEADER_BYTES,
    PACKED_ROW,
    PACKED_ROW_BYTES,
    Fault,
    PlainRow,
    Row,
)

Bytes = bytes | bytearray | memoryview

_ffi = _framing.ffi
_lib = _framing.lib
_lib.mesh_begin()
_from_buffer = _ffi.from_buffer
_index = _lib.mesh_index
_check = _lib.mesh_check
_scan = _lib.mesh_scan
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


def index(frame: Bytes) -> list[Row]:
    """As `pure.index`."""
    # Row._make does the same in twice the time.
    return list(map(_new_row, repeat(Row), index_plain(frame)))


def index_plain(frame: Bytes) -> list[PlainRow]:
    """As `pure.index_plain`."""
    size = len(frame)
    fault = _ffi.new("mesh_fault *")
    # Room for the envelopes that the header tells, unless it lies: then C says so.
    rows_max = min(int.from_bytes(frame[8:12], "little"), FRAME_ENVELOPES_MAX)
    rows = bytearray(rows_max * PACKED_ROW_BYTES if size > rows_max * ENVELOPE_HEADER_BYTES else 0)
    rows_max = len(rows) // PACKED_ROW_BYTES
    count = _index(_pointer(frame), size, _from_buffer(rows), rows_max, _LIMITS, fault)
    if count < 0:
        raise Fault(-count, fault.offset, fault.found, fault.expected)
    return list(PACKED_ROW.iter_unpack(rows))  # Exactly `count` rows: the header was true.


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
    fault = _ffi.new("mesh_fault *")
    count = _scan(_pointer(data), len(data), objects, depth_max, fault)
    if count < 0:
        raise Fault(-count, fault.offset, fault.found, fault.expected)


def crc32(data: Bytes, start: int = 0) -> int:
    """The checksum of the C twin; equal to `zlib.crc32`."""
    return int(_lib.mesh_crc32(start, _pointer(data), len(data)))
