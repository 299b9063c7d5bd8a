"""The twin in C, as Python calls it.  Importing it fails where it was not compiled.

What is large lets go of the interpreter's lock: checks and seals of frames from 64 KiB on, and the
write to the journal.
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
from meshcode.native import _objects  # type: ignore[attr-defined]
from meshcode.native.layout import Fault, Mold, Picked, Row

Bytes = bytes | bytearray | memoryview

_index, _pick, _scan, _seal = _objects.index, _objects.pick, _objects.scan, _objects.seal
_append = getattr(_objects, "append", None)  # Where there is fdatasync.
_prctl = getattr(_objects, "prctl", None)  # On Linux; so is the next.
_Dealer = getattr(_objects, "Dealer", None)
_new_row = tuple.__new__
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
plain_words: Callable[[int, list[Any]], bool | None] = _objects.plain_words
plain_reports: Callable[[bytes, bytes, int], bool | None] = _objects.plain_reports
_objects.begin(FRAME_BYTES_MAX, BODY_BYTES_MAX, META_BYTES_MAX, FRAME_ENVELOPES_MAX)


def index(frame: Bytes) -> list[Row]:
    """As `pure.index`."""
    found: list[tuple[Any, ...]] | tuple[int, int, int, int] = _index(frame)
    if type(found) is tuple:
        raise Fault(*found)
    # Row._make does the same in twice the time.
    return list(map(_new_row, repeat(Row), found))


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
    code = _append(handle, at, entry, end, seed)
    if code:
        raise OSError(code, os.strerror(code))


def prctl(option: int, value: int) -> None:
    """As `pure.prctl`."""
    code = _prctl(option, value)
    if code:
        raise OSError(code, os.strerror(code))


def dealer(library: str, address: str, linger_ms: int, message_bytes_max: int) -> Any:
    """As `pure.dealer`.

    Raises:
        OSError: libzmq refused the address.
    """
    try:
        return _Dealer and _Dealer(library, address, linger_ms, message_bytes_max)
    except ImportError:  # No libzmq, or another than link.c knows.
        return None


def check(envelope: Bytes) -> Row:
    """As `pure.check`."""
    found: tuple[Any, ...] = _objects.check(envelope)
    if len(found) == 4:
        raise Fault(*found)
    return _new_row(Row, found)


def seal(frame: bytearray) -> None:
    """As `pure.seal`."""
    fault = _seal(frame)
    if fault is not None:
        raise Fault(*fault)


def scan(data: Bytes, objects: int, depth_max: int) -> None:
    """As `pure.scan`; `depth_max` is at most 255."""
    fault = _scan(data, objects, depth_max)
    if fault is not None:
        raise Fault(*fault)


def crc32(data: Bytes, start: int = 0) -> int:
    """The checksum of the C twin; equal to `zlib.crc32`."""
    found: int = _objects.crc32(data, start)
    return found
