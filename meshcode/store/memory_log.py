"""The log in memory: the real twin of the durable one, for the simulator and for fast tests.

A `MemoryDisk` is what survives: a log that crashed is opened again on the same disk, with the next
boot.  Faults are asked for by name, and happen where the durable log would meet them:

    disk = MemoryDisk()
    log = MemoryLog(disk)
    log.stage(ops)
    log.crash(keep=True)        # power lost after the commit, before anyone heard of it
    log = MemoryLog(disk)       # boot 2, with `ops`
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

from meshcode.errors import DiskFull, FolderInUse, LogDamaged, LogSuspect, NodeError
from meshcode.limits import DISK_NEVER_RATIO
from meshcode.store.contract import TABLES, Op, Usage, keys_from, plan

RECORD_BYTES = 64  # What a record is taken to cost beside its key and value.
BYTES_LIMIT = 64 << 30


@dataclass(slots=True)
class _Table:
    values: dict[bytes, bytes] = field(default_factory=dict)
    keys: list[bytes] = field(default_factory=list)  # Sorted.
    size: int = 0  # Bytes of all records, as MemoryDisk.growth counts them.

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            if not self.keys or key > self.keys[-1]:
                self.keys.append(key)
            else:
                insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class MemoryDisk:
    """What is on disk: it outlives the logs opened on it, one at a time.

    Args:
        store_id: 16 bytes; random when not given (a simulation gives its own).
        bytes_limit: records above this are refused with DiskFull; may be changed at any time.
    """

    def __init__(self, *, store_id: bytes | None = None, bytes_limit: int = BYTES_LIMIT) -> None:
        self.store_id = os.urandom(16) if store_id is None else store_id
        self.bytes_limit = bytes_limit
        self.bytes_used = 0
        self.boot = 0
        self.commits = 0  # Transactions ever made on it.
        self.suspect = False
        self.owner: MemoryLog | None = None
        self.tables = {name: _Table() for name in TABLES}
        self.broken: set[tuple[str, bytes]] = set()  # Records that fail their checksum.

    def damage(self, table: str, key: bytes) -> None:
        """Let the stored record of `key` fail its checksum from now on."""
        assert key in self.tables[table].values, (table, key)
        self.broken.add((table, key))

    def commit(self, changes: dict[str, dict[bytes, bytes | None]]) -> None:
        """Make changes, all of them."""
        self.commits += 1
        for name, values in changes.items():
            table = self.tables[name]
            for key, value in values.items():
                growth = self.growth(name, key, value)
                self.bytes_used += growth
                table.size += growth
                self.broken.discard((name, key))
                if value is None:
                    table.delete(key)
                else:
                    table.put(key, value)

    def growth(self, table: str, key: bytes, value: bytes | None) -> int:
        """How many bytes this change adds; less than 0 when it frees some."""
        old = self.tables[table].values.get(key)
        before = 0 if old is None else RECORD_BYTES + len(key) + len(old)
        after = 0 if value is None else RECORD_BYTES + len(key) + len(value)
        return after - before


class MemoryLog:
    """The log of one node on a `MemoryDisk`; see `store/contract.py` for its duties.

    Args:
        boot: False opens for reading only, without counting a boot.
        gate: a `threading.Lock()` when other threads read; a simulation has one thread only.

    Raises:
        FolderInUse: another log is open on the disk.
        NodeError: opened for reading only, and never opened for writing before.
    """

    def __init__(
        self,
        disk: MemoryDisk | None = None,
        *,
        boot: bool = True,
        gate: AbstractContextManager[Any] | None = None,
    ) -> None:
        disk = MemoryDisk() if disk is None else disk
        if disk.owner is not None:
            raise FolderInUse("another log is open on this disk; close or crash it first")
        if not boot and not disk.boot:
            raise NodeError("there is no log on this disk to read")
        disk.boot += boot
        disk.suspect = disk.suspect and not boot  # Opening for writing verifies and clears it.
        disk.owner = self
        self.disk = disk
        self._boot = disk.boot
        disk.commits += boot  # Counting the boot is one too.
        self._commits = disk.commits
        self._writable = boot
        self._gate = nullcontext() if gate is None else gate
        self._closed = False
        self._suspect = False
        self._staged: dict[str, dict[bytes, bytes | None]] = {}
        self._faults: list[tuple[str, bool]] = []
        self._damaged: dict[tuple[str, bytes], None] = {}

    @property
    def stages_apart(self) -> bool:
        """See `Log.stages_apart`."""
        return True

    syncs_briefly = True  # See `Log.syncs_briefly`.
    holds_back = False  # See `Log.holds_back`.

    def give_back(self) -> None:
        """Nothing is held back.  See `Log.give_back`."""

    @property
    def store_id(self) -> bytes:
        """16 bytes made with the disk."""
        return self.disk.store_id

    @property
    def boot(self) -> int:
        """How often this disk was opened for writing, counting from 1."""
        return self._boot

    @property
    def commits(self) -> int:
        """Number of the newest transaction.  See `Log.commits`."""
        return self._commits

    # Faults.

    def crash(self, *, keep: bool = False) -> MemoryDisk:
        """Lose power now: the log is of no more use, the disk is returned.

        Args:
            keep: what was staged reached the disk whole, though no `sync` returned.  A commit is
                atomic, so there is nothing between all and nothing.
        """
        if keep and not self._closed and not self._suspect:
            self.disk.commit(self._staged)
        self._shut()
        return self.disk

    def fail_next_sync(self, kind: str = "suspect", *, keep: bool = False) -> None:
        """Let the next `sync` that has something to write fail; several calls queue up.

        Args:
            kind: "suspect" (LogSuspect) or "full" (DiskFull).
            keep: with "suspect": the batch is there after all when the disk is opened again.
        """
        assert kind in ("suspect", "full"), kind
        assert not (keep and kind == "full"), "a full disk keeps nothing of the batch"
        self._faults.append((kind, keep))

    # Writing.

    def stage(self, ops: Sequence[Op]) -> None:
        """Put `ops` into the next transaction.  See `Log.stage`."""
        self._check_writable()
        for table, values in plan(ops).items():
            mine = self._staged.get(table)
            if mine is None:
                self._staged[table] = values
            else:
                mine.update(values)

    def sync(self) -> None:
        """Commit what was staged.  See `Log.sync`."""
        self._check_writable()
        if not self._staged:
            return
        staged, self._staged = self._staged, {}
        disk = self.disk
        kind, keep = self._faults.pop(0) if self._faults else ("", False)
        if kind == "suspect":
            self._suspect = disk.suspect = True
            if keep:
                disk.commit(staged)
            raise self._suspect_error()
        growth = sum(
            disk.growth(table, key, value)
            for table, values in staged.items()
            for key, value in values.items()
        )
        puts = any(value is not None for values in staged.values() for value in values.values())
        if kind == "full" or (
            puts and disk.bytes_used + growth > DISK_NEVER_RATIO * disk.bytes_limit
        ):
            raise DiskFull(
                f"the log in memory is at its limit: it may take {disk.bytes_limit:,} bytes, has"
                f" {disk.bytes_used:,} and {growth:,} more were wanted; nothing of this batch was"
                " kept, all before it is safe; let calls finish or raise the limit",
                limit=disk.bytes_limit,
                wanted=growth,
            )
        with self._gate:
            disk.commit(staged)
        self._commits = disk.commits

    def _suspect_error(self) -> LogSuspect:
        return LogSuspect(
            "writing the log in memory failed, as asked; it takes no more writes; every earlier"
            " sync is safe, the last batch may be there or not; open the disk again"
        )

    def _check_open(self) -> None:
        if self._closed:
            raise NodeError("the log in memory is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._suspect:
            raise self._suspect_error()
        if not self._writable:
            raise NodeError("the log in memory was opened for reading only")

    # Reading.

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The synced value of each key, or None.  See `Log.get_many`."""
        return [self.get(table, key) for key in keys]

    def get(self, table: str, key: bytes) -> bytes | None:
        """The synced value of `key`, or None.  See `Log.get`."""
        self._check_open()
        with self._gate:
            value = self.disk.tables[table].values.get(key)
        if value is not None and (table, key) in self.disk.broken:
            self._damaged[table, key] = None
            raise LogDamaged(
                f"record {key.hex()} of table {table} in memory is damaged, as asked; all other"
                " records are kept",
                table=table,
                key=key.hex(),
            )
        return value

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """Up to `limit` keys in order from `start` on.  See `Log.keys`."""
        self._check_open()
        assert limit >= 0, limit
        with self._gate:
            return keys_from(self.disk.tables[table].keys, start, reverse, limit)

    def scan(
        self,
        table: str,
        start: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int = 1000,
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` synced records in key order from `start` on.  See `Log.scan`."""
        assert limit >= 0, limit
        self._check_open()
        found: list[tuple[bytes, bytes]] = []
        with self._gate:
            keys, values = self.disk.tables[table].keys, self.disk.tables[table].values
            if reverse:
                at = len(keys) if start is None else bisect_right(keys, start)
                step, end = -1, -1
                at -= 1
            else:
                at = 0 if start is None else bisect_left(keys, start)
                step, end = 1, len(keys)
            while at != end and len(found) < limit:
                key = keys[at]
                at += step
                if (table, key) in self.disk.broken:
                    self._damaged[table, key] = None
                else:
                    found.append((key, values[key]))
        return found

    def count(self, table: str) -> int:
        """How many synced records the table has."""
        self._check_open()
        return len(self.disk.tables[table].keys)

    def size(self, table: str) -> int:
        """How many bytes the records of the table take.  See `Log.size`."""
        self._check_open()
        return self.disk.tables[table].size

    def damaged(self) -> list[tuple[str, bytes]]:
        """Table and key of every record found damaged since the log was opened."""
        return list(self._damaged)

    def usage(self) -> Usage:
        """How full it is; the disk is as large as the limit."""
        self._check_open()
        limit, used = self.disk.bytes_limit, self.disk.bytes_used
        return Usage(
            map_used=used,
            map_size=limit,
            map_limit=limit,
            disk_free=max(0, limit - used),
            disk_total=limit,
        )

    def close(self) -> None:
        """Give up the disk; staged and unsynced changes are dropped."""
        self._shut()

    def _shut(self) -> None:
        self._closed = True
        self._staged = {}
        if self.disk.owner is self:
            self.disk.owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
