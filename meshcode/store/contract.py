"""The log as the rest of meshcode sees it: named tables of bytes, changed in atomic batches.

Both logs (`lmdb_log.py`, `memory_log.py`) keep these duties, and `tests/contract/test_log.py` holds
both to them.  A log knows nothing of calls; it sees bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

from meshcode import native
from meshcode.limits import (
    DISK_FULL_FREE_BYTES,
    DISK_FULL_RATIO,
    DISK_TIGHT_FREE_BYTES,
    DISK_TIGHT_RATIO,
)

# One change: table, key, value.  None deletes.  Deleting what is not there is no error.
Op = tuple[str, bytes, bytes | None]
# Table -> key -> its last change.
Changes = dict[str, dict[bytes, bytes | None]]

META = "meta"  # Names -> values: store id, boot counter, horizon, ...
OPEN = "open"  # u64 big-endian sequence -> custody header and SUBMIT envelope.  Append order.
STATE = "state"  # u64 big-endian sequence -> what changed of an open call since it was accepted.
DONE = "done"  # Call id -> outcome record.  Ids sort by the time they were made.
MODEL = "model"  # The model, whole and its changes (node/series.py); last mounts of processors.
OUTPUT = "output"  # Call id + u32 attempt -> captured stdout and stderr of that attempt.
VOTE = "vote"  # u64 big-endian sequence -> what this node promised and accepted of an instance.
FLOW = "flow"  # Flow id + call id -> nothing: calls whose ids do not lie beside their root's.
FAILED = "failed"  # Call id -> nothing: calls in `done` that ended otherwise than DONE.
SOCKET = "socket"  # Socket name, 0, 6 bytes of time -> nothing: when its calls in `done` were made.
TABLES = (META, OPEN, STATE, DONE, MODEL, OUTPUT, VOTE, FLOW, FAILED, SOCKET)

KEY_BYTES_MAX = 480  # The tree takes 511; the log puts a few bytes in front for its own tables.

# Usage.level.
GOOD = 0
TIGHT = 1  # No new calls.
FULL = 2  # Outcomes only.


class Room(NamedTuple):
    """How many bytes are left, and how many there must be for new calls to be taken."""

    left: int
    needed: int


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the log is, in bytes."""

    map_used: int  # Pages that hold something; pages freed by deletes are used again first.
    map_size: int  # The map grows by doubling, up to map_limit.
    map_limit: int
    disk_free: int
    disk_total: int
    reusable: int = 0  # Free pages inside the log's file: room even when the disk has none.

    @property
    def left(self) -> int:
        """What may be written yet: on the disk and inside the log's file."""
        return self.disk_free + self.reusable

    @property
    def for_calls(self) -> Room:
        """What is left, and from what on it is TIGHT: of the disk, or of the map if that is less.

        Nobody runs out of both at once, so it is told of the one that is nearer to its end.
        """
        disk = Room(
            self.left, min(int((1 - DISK_TIGHT_RATIO) * self.disk_total), DISK_TIGHT_FREE_BYTES)
        )
        map_ = Room(
            self.map_limit - self.map_used, int((1 - DISK_TIGHT_RATIO) * self.map_limit)
        )
        return min(disk, map_, key=lambda room: room.left - room.needed)

    @property
    def level(self) -> int:
        """GOOD, TIGHT (no new calls) or FULL (outcomes only).

        The map counts by its ratio alone; see limits.DISK_*_RATIO.  The disk counts when its ratio
        is over the same bound *and* the bytes left are few (limits.DISK_*_FREE_BYTES): 5 % of a
        large disk is plenty of room.
        """
        left = self.left
        taken = self.disk_total - left
        for level, ratio, left_min in (
            (FULL, DISK_FULL_RATIO, DISK_FULL_FREE_BYTES),
            (TIGHT, DISK_TIGHT_RATIO, DISK_TIGHT_FREE_BYTES),
        ):
            if self.map_used > ratio * self.map_limit:
                return level
            if taken > ratio * self.disk_total and left < left_min:
                return level
        return GOOD


def plan(ops: Sequence[Op]) -> Changes:
    """Table -> key -> its last change in `ops`.

    What came before the last change of a key cannot be seen by anyone, for ops are atomic.

    Raises:
        ValueError: a key is empty or over KEY_BYTES_MAX, or a table is not one of TABLES.
    """
    changes = native.group(ops, TABLES, KEY_BYTES_MAX)
    if changes is None:
        _raise_bad_op(ops)
    return changes


def _raise_bad_op(ops: Sequence[Op]) -> NoReturn:
    for table, key, _ in ops:
        if table not in TABLES:
            raise ValueError(f"no table {table!r}; there are {', '.join(TABLES)}")
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise ValueError(
                f"a key of table {table} has {len(key)} bytes, not 1 to {KEY_BYTES_MAX}"
            )
    raise TypeError("an op is a table and a key, and a value of bytes or None")


def key_before(key: bytes) -> bytes | None:
    """The last key that can come before `key`; None when none can."""
    if key[-1] == 0:
        return key[:-1] or None
    return (key[:-1] + bytes([key[-1] - 1])).ljust(KEY_BYTES_MAX, b"\xff")


def keys_from(keys: list[bytes], start: bytes | None, reverse: bool, limit: int) -> list[bytes]:
    """Up to `limit` of some sorted keys, in order from `start` on; from an end when it is None."""
    if reverse:
        end = len(keys) if start is None else bisect_right(keys, start)
        return keys[max(0, end - limit) : end][::-1]
    first = 0 if start is None else bisect_left(keys, start)
    return keys[first : first + limit]


class Log(Protocol):
    """An append-ordered, checksummed, durable key-value log.

    Writes come from one thread only, but for `stages_apart`.  Reads may come from others; each read
    is short and copies what it returns.
    """

    @property
    def stages_apart(self) -> bool:
        """Whether `stage` may be called by another thread than `sync`, while no sync is going on.

        So it is where staging only notes the changes, and all else is done by the sync.
        """

    @property
    def syncs_briefly(self) -> bool:
        """Whether to sync what is staged is one write and one wait for the disk.

        Else it may take many times as long as another of that size: a tree is written, or waited
        for.
        """

    @property
    def holds_back(self) -> bool:
        """Whether room of the disk is kept by large values that are changed or deleted already.

        It takes a look at each change that waits: some milliseconds at most.
        """

    def give_back(self) -> None:
        """Have the next sync that has something to write give that room back, its own included.

        It then takes longer.  Where there is no room for that, the sync does what it would have.
        """

    @property
    def store_id(self) -> bytes:
        """16 random bytes made with the store; with `boot` they tell a copy from the store."""

    @property
    def boot(self) -> int:
        """How often this store was opened for writing, counting from 1; durable before use."""

    @property
    def commits(self) -> int:
        """Number of the newest transaction that is known to be on disk.

        Higher after each `sync` that changed something, never lower, also over openings: a store
        that tells a lower one than before is a copy.  Any thread may ask.
        """

    def stage(self, ops: Sequence[Op]) -> None:
        """Begin the next transaction and put `ops` in it; nothing is durable or visible yet.

        Quick, and needs the interpreter's lock; where it must be called by the thread that syncs
        (see `stages_apart`), call it while no other thread wants that.
        Several calls before one `sync` join the same transaction, in order.  The sequence is not
        copied: do not change it before the `sync`.

        Raises:
            ValueError: a key is empty or over KEY_BYTES_MAX, or the table is not one of TABLES.
                Nothing of `ops` was staged; what was staged before still is.
            LogSuspect: an earlier sync failed.
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

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The synced value of each key, or None, as of one moment.

        Raises:
            LogDamaged: one of the records is there but fails its checksum.
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

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """The keys of the records that `scan` would give, and of damaged ones between them.

        Values are not looked at, so it takes a fraction of the time.
        """

    def count(self, table: str) -> int:
        """How many synced records the table has."""

    def size(self, table: str) -> int:
        """How many bytes the synced records of the table take, large values in files included.

        Of a log in a file, whole pages.
        """

    def damaged(self) -> list[tuple[str, bytes]]:
        """Table and key of every record that failed its checksum since the log was opened."""

    def usage(self) -> Usage:
        """How full it is now."""

    def close(self) -> None:
        """Give up the folder; staged and unsynced changes are dropped."""
