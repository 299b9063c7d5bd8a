"""The log as the rest of meshcode sees it: named tables of bytes, changed in atomic batches.

Both logs (`lmdb_log.py`, `memory_log.py`) keep these duties, and `tests/contract/test_log.py` holds
both to them.  A log knows nothing of calls; it sees bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# One change: table, key, value.  None deletes.  Deleting what is not there is no error.
Op = tuple[str, bytes, bytes | None]

META = "meta"  # Names -> values: store id, boot counter, horizon, ...
OPEN = "open"  # u64 big-endian sequence -> custody header and SUBMIT envelope.  Append order.
STATE = "state"  # u64 big-endian sequence -> what changed of an open call since it was accepted.
DONE = "done"  # Call id -> outcome record.  Ids sort by the time they were made.
MODEL = "model"  # b"snapshot" -> the last model snapshot; b"processor/<name>" -> its last mount.
OUTPUT = "output"  # Call id + u32 attempt -> captured stdout and stderr of that attempt.
TABLES = (META, OPEN, STATE, DONE, MODEL, OUTPUT)


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the log is, in bytes."""

    map_used: int
    map_size: int  # The map grows by doubling, up to map_limit.
    map_limit: int
    disk_free: int
    disk_total: int

    @property
    def level(self) -> int:
        """0 good, 1 tight (no new calls), 2 full (outcomes only); see limits.DISK_*_RATIO."""
        raise NotImplementedError  # replaced by the store's author


class Log(Protocol):
    """An append-ordered, checksummed, durable key-value log.

    Writes come from one thread only.  Reads may come from others; each read is short and copies
    what it returns.
    """

    @property
    def store_id(self) -> bytes:
        """16 random bytes made with the store; a copy or restored store is told by it and `boot`."""

    @property
    def boot(self) -> int:
        """How often this store was opened for writing, counting from 1; durable before use."""

    def stage(self, ops: Sequence[Op]) -> None:
        """Begin the next transaction and put `ops` in it; nothing is durable or visible yet.

        Quick, and holds the interpreter lock; call it while no other thread wants that.
        Several calls before one `sync` join the same transaction, in order.
        """

    def sync(self) -> None:
        """Make everything staged durable, then visible.  Returns only when it is on disk.

        Raises:
            LogSuspect: the write or sync failed.  The log takes no more writes; the process should
                verify and start again.  What earlier syncs wrote is safe.
            DiskFull: no room.  Nothing of this transaction is kept; the log goes on.
        """

    def get(self, table: str, key: bytes) -> bytes | None:
        """The synced value of `key`, or None.

        Raises:
            LogDamaged: the record is there but fails its checksum.
        """

    def scan(
        self,
        table: str,
        start: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int = 1000,
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` synced records in key order from `start` on (from the end when reverse).

        `start` is included.  Damaged records are left out and reported by `damaged()`.
        """

    def count(self, table: str) -> int:
        """How many synced records the table has."""

    def damaged(self) -> list[tuple[str, bytes]]:
        """Table and key of every record that failed its checksum since the log was opened."""

    def usage(self) -> Usage:
        """How full it is now."""

    def close(self) -> None:
        """Give up the folder; staged and unsynced changes are dropped."""
