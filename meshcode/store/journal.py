"""The journal before the tree: batches of changes one behind the other, each with its checksum.

A batch is durable when its entry is: one write to one place and one fdatasync, where a commit of
the tree writes a page for each place that changes, and waits for two.  `journaled.py` uses it.

    magic       4 bytes   b"MJ01"
    check       4 bytes   CRC-32 of the store's id and all that follows, up to the end of the data
    number      8 bytes   of the batch; each has the next one
    bytes       4 bytes   of all that follows the head
    sections    4 bytes   how many
    parts       4 bytes   how many
    (nothing)   4 bytes
    sections   16 bytes   each: number of the table, 0 (keys to delete) or 1 (keys and values), 0,
                          how many changes
    sizes       4 bytes   of each part
    data                  the parts: keys, or keys and values in turns

All numbers are little endian.  An entry begins at a page of its file, and no byte of it is written
again before its file is begun anew, but for one that is taken back: its head is zeros then.  There
are two files of fixed size, and zeros are written to them when they are made, so a sync of an entry
has nothing to change but the entry.
"""

from __future__ import annotations

import errno
import os
import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from meshcode import native
from meshcode.store import trouble
from meshcode.store.contract import TABLES, Changes
from meshcode.store.filesystem import write_durably

FILES = ("journal.0", "journal.1")
FILE_BYTES = 4 * 1024 * 1024  # Also what there is to put into the tree at once, and to replay.
ENTRY_BYTES_MAX = FILE_BYTES // 2  # A larger batch costs the tree no more than the journal.
PAGE_BYTES = 4_096
HEAD = Struct("<4sIQIII4x")
CHECKED_AT = 8  # Where that begins of which the check is.

_MAGIC = b"MJ01"
_DELETE, _PUT = 0, 1
_SECTION = Struct("<IIII")
_NUMBERS = {table: number for number, table in enumerate(TABLES)}


class Batch(NamedTuple):
    """An entry that was read."""

    number: int
    changes: list[Changes]  # In order.


def _little(numbers: bytes) -> bytes:
    """Native u32 as they stand in the file, and the other way round."""
    if sys.byteorder == "little":
        return numbers
    swapped = array("I", numbers)
    swapped.byteswap()
    return swapped.tobytes()


def body_of(changes: Changes) -> tuple[bytes, bytes, bytes]:
    """Sections, sizes and data of some changes."""
    data, sizes, sections = native.flatten([
        (_NUMBERS[table], _PUT, 0, values) for table, values in changes.items()
    ])  # fmt: skip
    return _little(sections), _little(sizes), data


def size_of(bodies: Sequence[tuple[bytes, bytes, bytes]]) -> int:
    """Bytes of the entry of a batch."""
    size = HEAD.size + sum([len(part) for body in bodies for part in body])
    return size + -size % PAGE_BYTES


def entry_of(number: int, bodies: Sequence[tuple[bytes, bytes, bytes]]) -> bytearray:
    """The entry of a batch, without its check, and with zeros up to the end of its last page."""
    sections, sizes, data = zip(*bodies, strict=True)
    parts = [b"".join(sections), b"".join(sizes), *data]
    size = sum(map(len, parts))
    head = HEAD.pack(
        _MAGIC, 0, number, size, len(parts[0]) // _SECTION.size, len(parts[1]) // 4
    )  # fmt: skip
    return bytearray().join([head, *parts, bytes(-(HEAD.size + size) % PAGE_BYTES)])


class JournalFile:
    """One of the two files, open for writing."""

    def __init__(self, path: Path, store_id: bytes) -> None:
        """Open it, made and filled with zeros when it is not there.

        Raises:
            OSError: it cannot be made or opened.
        """
        if not path.exists() or path.stat().st_size != FILE_BYTES:
            write_durably(path, bytes(FILE_BYTES))
        self._seed = crc32(store_id)
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self.at = 0  # Where the next entry goes.

    def has_room(self, size: int) -> bool:
        """Whether an entry of so many bytes goes in behind what is there."""
        return self.at + size <= FILE_BYTES

    def append(self, entry: bytearray) -> None:
        """Write an entry and sync it; when that fails, it may be there or not.

        Raises:
            OSError: as the system says.
        """
        end = HEAD.size + HEAD.unpack_from(entry)[3]
        native.append(self._handle, self.at, entry, end, self._seed)
        self.at += len(entry)

    def take_back(self, entry: bytearray) -> None:
        """After an `append` that failed: see to it that the entry is not there, on disk either.

        A sync that fails says nothing of what was written before it: the entry may be in memory,
        where the next process finds it, and on the disk.  If a part of it was never written, its
        check fits nothing, and there is nothing to do.

        Raises:
            OSError: as the system says; the entry may be there or not.
        """
        end = HEAD.size + HEAD.unpack_from(entry)[3]
        if os.pread(self._handle, end, self.at) != entry[:end]:
            return
        written = os.pwrite(self._handle, bytes(HEAD.size), self.at)
        if written != HEAD.size:
            raise OSError(errno.ENOSPC, f"{written} of {HEAD.size} bytes were written")
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Close it."""
        os.close(self._handle)


def newer(
    folder: Path, store_id: bytes, applied: int, lacking: list[int] | None = None
) -> list[Batch]:
    """The batches that the tree does not have, in order; none where there is no journal.

    Args:
        folder: of the log.
        store_id: of the log.
        applied: number of the newest batch that the tree has.
        lacking: takes the numbers of those that are missing between others; None: that is an error.

    Raises:
        LogDamaged: one is missing between others, and nobody asked which.
    """
    found: list[Batch] = []
    for name in FILES:
        path = folder / name
        if path.exists():
            found += _batches(path.read_bytes(), store_id, applied)
    found.sort(key=lambda batch: batch.number)
    numbers = [batch.number for batch in found]
    missing = sorted({*range(applied + 1, max(numbers, default=0))}.difference(numbers))
    if missing and lacking is None:
        raise trouble.gap(folder, missing[0], numbers)
    if lacking is not None:
        lacking += missing
    return found


def _batches(data: bytes, store_id: bytes, applied: int = 0) -> Iterator[Batch]:
    """All sound entries of a file with higher numbers, those of its former uses too."""
    at, seed = 0, crc32(store_id)
    while at + HEAD.size <= len(data):
        head, begin = at, at + HEAD.size
        magic, check, number, size, sections, parts = HEAD.unpack_from(data, head)
        end = begin + size
        at += PAGE_BYTES
        if magic != _MAGIC or number <= applied or end > len(data):
            continue
        if crc32(data[head + CHECKED_AT : end], seed) != check:
            continue
        changes = _changes(data[begin:end], sections, parts)
        if changes is not None:
            yield Batch(number, changes)
            at = -(-end // PAGE_BYTES) * PAGE_BYTES


def _changes(body: bytes, sections: int, parts: int) -> list[Changes] | None:
    """What an entry changes; None when it is not of this form."""
    sizes_at = sections * _SECTION.size
    data_at = sizes_at + 4 * parts
    if data_at > len(body):
        return None
    sizes = array("I", _little(body[sizes_at:data_at]))
    ends = list(accumulate(sizes, initial=data_at))
    found: list[Changes] = []
    values = iter([body[begin:end] for begin, end in pairwise(ends)])
    for table, how, _, count in _SECTION.iter_unpack(body[:sizes_at]):
        if table >= len(TABLES) or how not in (_DELETE, _PUT):
            return None
        changes: dict[bytes, bytes | None] = {}
        for _ in range(count):
            key = next(values, None)
            if key is None:
                return None
            changes[key] = next(values, None) if how == _PUT else None
        found.append({TABLES[table]: changes})
    return found
