"""The durable log: LMDB, with checksums, blobs beside it, and the truth about failing disks.

Read docs/log.md first; the argument why nothing acknowledged is lost is there.

One thread writes (`stage`, `sync`, `close`); any thread reads.  What is done in LMDB is done by an
engine (`engine.py`), of which there are two twins.  With the one of our own C, `stage` only packs,
and `sync` puts and commits without the interpreter's lock; with the other one the puts are made in
`stage`, for it would take that lock back at each of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar, cast

import lmdb

from meshcode.errors import LogDamaged, LogSuspect, NodeError
from meshcode.limits import BALLAST_BYTES, BLOB_BYTES_MIN, DISK_NEVER_RATIO
from meshcode.store import opening, record, trouble
from meshcode.store.ballast import BALLAST_BYTES_MIN, Ballast
from meshcode.store.blobs import REFERENCE_BYTES, BlobFolder, has_large, refer
from meshcode.store.contract import KEY_BYTES_MAX, Changes, Op, Usage, key_before, plan
from meshcode.store.engine import MAIN, Section
from meshcode.store.filesystem import address_space_limit, disk_room, has_address_space
from meshcode.store.opening import BLOB_TABLE, Opened
from meshcode.store.turn import Turn

_WIDE = sys.maxsize > 2**32
MAP_SIZE = (1 << 30) if _WIDE else (256 << 20)  # At first; it doubles when nearly used up.
MAP_LIMIT = (64 << 30) if _WIDE else (256 << 20)  # Sparse: costs address space, not disk.
GROW_RATIO = 0.75
FREE_ENTRY_BYTES = 16  # A free page costs 8 bytes in the free list, which is half full at worst.
BALLAST_COMMITS = 256  # Commits between two looks at the ballast.
_Row = TypeVar("_Row")


class LmdbLog:
    """The log of one node in one folder; see `store/contract.py` for its duties.

    Args:
        folder: made (0700) when it is not there.  One process may have it open.
        boot: False opens an existing log for reading only, without counting a boot.
        map_size, map_limit: bytes of the map at first and at most; half of what `ulimit -v` gives
            is the most, too.
        ballast_bytes, ballast_min: bytes of the ballast file at most, 0 for none, and at least.
        check_file_system: False lets the log live on file systems known to break it.

    Attributes:
        volatile: the folder is on a file system that is gone with the machine's power.
        opened: what was found and done at the open (`opening.Opened`).

    Raises:
        FolderInUse: another log has the folder open.
        UnfitFileSystem: the folder is on a file system that cannot keep a log.
        LogDamaged: the structure of the file is broken; nothing was changed.
        NodeError: the log was written by a newer version, or cannot be opened at all.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        boot: bool = True,
        map_size: int = MAP_SIZE,
        map_limit: int = MAP_LIMIT,
        ballast_bytes: int = BALLAST_BYTES,
        ballast_min: int = BALLAST_BYTES_MIN,
        check_file_system: bool = True,
        **engine_options: Any,
    ) -> None:
        assert 0 < map_size <= map_limit, (map_size, map_limit)
        self.folder = Path(folder).absolute()
        self._pid = os.getpid()
        self._writable = boot
        self._gate = threading.Lock()  # Held by reads and by what must not run beside them.
        self._closed = False
        self._suspect: str = ""
        self._damaged: dict[tuple[str, bytes], None] = {}
        # Half of a limited address space is for all else that the process has.
        map_limit = min(map_limit, address_space_limit() // 2 or map_limit)
        self._map_limit = map_limit
        # The last pages are for deletes only: a map filled to the end cannot be drained.
        self._map_soft = int(map_limit * DISK_NEVER_RATIO) & ~0xFFFF
        self._map_size = min(map_size, self._map_soft)
        self._ballast = Ballast(self.folder / "ballast", ballast_bytes, ballast_min)
        self._blobs = BlobFolder(self.folder / "blobs")
        self._begun = False  # Something is staged in the engine.
        self._writer = 0  # Thread that staged last.
        self._trouble: Exception | None = None
        self._commits = 0
        self._removals = 0  # Syncs that removed blob files.
        self._turn = Turn([])

        try:
            self._open(check_file_system, engine_options)
        except OSError as error:
            raise opening.failed(self.folder, error) from error
        self.volatile = self._log_folder.volatile
        self._blob_count, self._blob_bytes = self.opened.blobs, self.opened.blob_bytes.copy()
        for place in self.opened.damaged:
            self._damaged[place] = None
        if boot:
            self._keep_ballast()

    def _open(self, check_file_system: bool, options: dict[str, Any]) -> None:
        folder = opening.LogFolder(
            self.folder, writable=self._writable, check_file_system=check_file_system
        )
        try:
            self._engine = folder.open_engine(self._map_size, self._map_soft, options)
            self._map_size = self._engine.info().map_bytes
            folder.open_tables(self._engine)
            self.opened: Opened = folder.begin(self._engine, self._blobs)
        except lmdb.Error as error:
            folder.end(clean=False)
            raise folder.failed(error) from error
        except BaseException:
            folder.end(clean=False)
            raise
        self._log_folder = folder
        self._applied = self.opened.applied
        self._note_commit()

    @property
    def stages_apart(self) -> bool:
        """See `Log.stages_apart`."""
        return self._engine.stages_apart

    syncs_briefly = False  # See `Log.syncs_briefly`.
    holds_back = False  # See `Log.holds_back`.

    def give_back(self) -> None:
        """Nothing is held back.  See `Log.give_back`."""

    @property
    def store_id(self) -> bytes:
        """16 random bytes made with the store."""
        return self.opened.store_id

    @property
    def boot(self) -> int:
        """How often this store was opened for writing, counting from 1."""
        return self.opened.boot

    @property
    def commits(self) -> int:
        """Number of the newest transaction known to be on disk.  See `Log.commits`."""
        number, then = self._applied
        return number + self._synced_txn - then

    @property
    def applied(self) -> int:
        """Number of the newest batch of a journal that is in the tree; 0 = there was none."""
        return self._applied[0]

    def read_applied(self) -> int:
        """The same as the tree says it at this moment, for who counts beside its writer."""
        with self._gate:
            self.check_open()
            with self._reading():
                return opening.applied_in(self._engine)[0]

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._writable

    # Writing: one thread.

    def stage(self, ops: Sequence[Op]) -> None:
        """Put `ops` into the next transaction.  See `Log.stage`."""
        self.check_writable()
        if ops:
            self.stage_changes(plan(ops))

    def stage_changes(self, changes: Changes, number: int = 0) -> None:
        """The same for what is planned; `number` is that of the journal's newest batch in it."""
        self.check_writable()
        self._writer = threading.get_ident()
        self._turn.changes.append(changes)
        self._turn.number = max(number, self._turn.number)
        if self._trouble is not None:
            return  # The transaction is lost already; `sync` puts everything again.
        try:
            self._put(changes)
        except lmdb.Error as error:
            self._drop()
            self._trouble = error

    def sync(self) -> None:
        """Commit what was staged.  See `Log.sync`."""
        self.check_writable()
        if not self._turn.changes:
            return
        while True:
            try:
                if self._trouble is not None:
                    last, self._trouble = self._trouble, None
                    raise last
                if not self._begun:
                    self._turn.size = 0
                    for changes in self._turn.changes:
                        self._put(changes)
                self._commit()
                break
            except (lmdb.Error, OSError) as error:
                self._drop()
                if not self._make_room(error):
                    self._refuse(error)
        if self._turn.gone:
            self._blobs.remove(self._turn.gone)
            self._removals += 1  # After it: see `get`.
        self._turn = Turn([])
        self._commits += 1
        if self._map_size > self._map_soft:
            self._resize(self._map_soft)  # The reserve was lent to one transaction of deletes.
        if self._commits % BALLAST_COMMITS == 0:
            self._keep_ballast()

    def _put(self, changes: Changes) -> None:
        """Stage what `plan` found."""
        if not self._begun:
            end = (self._engine.info().last_page + 1) * self._engine.page_bytes
            if end > GROW_RATIO * self._map_size:
                self._grow()
            self._begun = True
        sections: list[Section] = []
        for table, values in changes.items():
            if self._blob_count or self._turn.places or has_large(values.values()):
                sections += self._with_blobs(table, values)
            else:
                sections.append(Section(table, True, values))
        self._turn.size += self._engine.stage(sections)

    def _with_blobs(self, table: str, values: dict[bytes, bytes | None]) -> list[Section]:
        """The changes of a table that has large values, or may have had some under these keys.

        Blobs that the keys refer to now go once this transaction is safe.
        """
        turn, seed = self._turn, record.SEEDS[table]
        places = [opening.blob_key(table, key) for key in values]
        with self._gate:
            stored = self._engine.get_many(BLOB_TABLE, places)
        small: dict[bytes, bytes | None] = {}
        large: dict[bytes, bytes | None] = {}
        blobs: dict[bytes, bytes | None] = {}
        for place, synced, (key, value) in zip(places, stored, values.items(), strict=True):
            old = turn.places.get(place, synced)
            if old is not None:
                turn.let_go(table, old)
                blobs[place] = None
            if value is None or len(value) <= BLOB_BYTES_MIN:
                small[key] = value
                continue
            reference = refer(table, key, value)
            turn.take_on(table, reference, value)
            large[key] = record.seal_blob(seed, key, reference)
            blobs[place] = reference
        turn.places.update(blobs)
        sections = [
            Section(table, True, small),
            Section(table, False, large),
            Section(BLOB_TABLE, False, blobs),
        ]
        return [section for section in sections if section.changes]

    def _commit(self) -> None:
        turn = self._turn
        if turn.new:
            self._blobs.write(turn.new.items())
        if turn.number:
            self._engine.stage([opening.note_applied(self._engine, turn.number)])
        self._engine.commit()
        self._begun = False
        self._blob_count += turn.blobs
        self._blob_bytes.update(turn.growth)
        self._note_commit()

    def _note_commit(self) -> None:
        # Only after the commit has returned: LMDB shows the number before it is on disk.
        self._synced_txn = self._engine.info().last_commit
        if self._turn.number:
            self._applied = self._turn.number, self._synced_txn

    def _drop(self) -> None:
        """Abort the transaction; what was staged is kept in the turn."""
        self._begun = False
        with contextlib.suppress(lmdb.Error):
            self._engine.abort()
        turn = self._turn
        self._blobs.remove(reference for reference in turn.new if reference not in turn.standing)
        self._turn = Turn(turn.changes, turn.number, size=turn.size)

    # Room and failure.

    def _grow(self) -> bool:
        """Double the map if its limit allows; never inside a transaction."""
        size = min(2 * self._map_size, self._map_soft)
        return size > self._map_size and self._resize(size)

    def _resize(self, size: int) -> bool:
        """Give the map another size; False when there is no address space for it."""
        assert not self._begun
        if not has_address_space(size):
            return False
        with self._gate:  # No read may be open while the map moves.
            self._engine.resize(size)
            self._map_size = self._engine.info().map_bytes
        return True

    def _make_room(self, error: Exception) -> bool:
        """After a failed commit: True when there is room now and it should be tried again."""
        staged = [values for changes in self._turn.changes for values in changes.values()]
        if isinstance(error, lmdb.MapFullError):
            if self._grow():
                return True
            only_deletes = all(value is None for values in staged for value in values.values())
            lent = only_deletes and self._map_size < self._map_limit
            return lent and self._resize(self._map_limit)
        # The ballast is for what ends calls; a batch that only adds may not use it up.
        deletes = any(None in values.values() for values in staged)
        left = 0 if deletes else self._ballast.bytes_for_ends
        return self._is_full(error) and self._ballast.free(left)

    def _is_full(self, error: Exception) -> bool:
        return opening.says_full(error, self.folder, self._turn.size)

    def _refuse(self, error: Exception) -> NoReturn:
        """Drop what was staged and say why."""
        turn, self._turn = self._turn, Turn([])
        if isinstance(error, lmdb.MapFullError):
            if self._map_size > self._map_soft:
                self._resize(self._map_soft)
            raise trouble.map_full(self.folder, self._map_limit, turn.size) from error
        if self._is_full(error):
            raise trouble.disk_full(self.folder, turn.size, error) from error
        raise self.doubt(error) from error

    def doubt(self, error: Exception) -> LogSuspect:
        """Take no more writes, for this one failed and nobody knows what of it is on disk."""
        self._suspect = str(error) or type(error).__name__
        self._log_folder.mark_suspect(self._suspect)
        return self._suspect_error()

    def _suspect_error(self) -> LogSuspect:
        return trouble.suspect(self.folder, self._suspect)

    def _keep_ballast(self) -> None:
        if self._ballast.bytes_max:
            with contextlib.suppress(OSError, LogDamaged):  # Who reads hears of that.
                self._ballast.keep(self._map_used(), disk_room(self.folder)[0])

    def check_open(self) -> None:
        """Raise NodeError where reads would: it is closed, or this process is a fork."""
        if self._closed:
            raise NodeError(f"the log in {self.folder} is closed", folder=str(self.folder))
        if os.getpid() != self._pid:
            raise trouble.forked(self.folder, self._pid)

    def check_writable(self) -> None:
        """Raise what `stage` and `sync` would now.

        Raises:
            LogSuspect: an earlier sync failed.
            NodeError: it is closed, or opened for reading only.
        """
        self.check_open()
        if self._suspect:
            raise self._suspect_error()
        if not self._writable:
            raise NodeError(f"the log in {self.folder} was opened for reading only")

    # Reading: any thread.

    def get(self, table: str, key: bytes) -> bytes | None:
        """The synced value of `key`, or None.  See `Log.get`."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return None
        seed = record.SEEDS[table]
        last: tuple[int, bytes] | None = None
        while True:
            removals = self._removals
            with self._gate:
                self.check_open()
                with self._reading():
                    stored = self._engine.get(table, key)
            if stored is None:
                return None
            state = record.residue(seed, key, stored)
            if state == record.PLAIN_RESIDUE:
                return bytes(stored[: -record.CHECK_BYTES])
            if state != record.BLOB_RESIDUE or len(stored) != REFERENCE_BYTES + record.CHECK_BYTES:
                found, wanted = record.checks(seed, key, stored)
                raise self._damage(
                    table, key, f"checksum {found:08x} stored, {wanted:08x} computed"
                )
            value = self._read_blob(table, key, stored)
            if value is not None:
                return value
            # The record may have been deleted while we looked for its file, so look again.  Only
            # the same record twice, and no file removed since before the first, is damage.
            if last == (removals, stored):
                raise self._damage(table, key, "its blob file is missing or was changed")
            last = removals, stored

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The synced value of each key, or None.  See `Log.get_many`."""
        fit = [key for key in keys if 0 < len(key) <= KEY_BYTES_MAX]
        with self._gate:
            self.check_open()
            with self._reading():
                stored = self._engine.get_many(table, fit)
        if len(fit) < len(keys):
            found = dict(zip(fit, stored, strict=True))
            stored = [found.get(key) for key in keys]
        seed, good, residue = record.SEEDS[table], record.PLAIN_RESIDUE, record.residue
        return [  # What is a blob, or damaged, is looked at by itself.
            None if data is None else data[: -record.CHECK_BYTES]
            if residue(seed, key, data) == good else self.get(table, key)
            for key, data in zip(keys, stored, strict=True)
        ]  # fmt: skip

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """Up to `limit` keys in order from `start` on.  See `Log.keys`."""
        assert limit >= 0, limit
        start = None if start is None else start[: KEY_BYTES_MAX + 1]
        return self._page(self._engine.keys, table, start, reverse, limit)

    def scan(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` synced records in key order from `start` on.  See `Log.scan`."""
        assert limit >= 0, limit
        start = None if start is None else start[: KEY_BYTES_MAX + 1]
        found: list[tuple[bytes, bytes]] = []
        while limit > len(found):
            left = limit - len(found)
            page = self._page(self._engine.records, table, start, reverse, left)
            if not page:
                break
            self._add(table, page, found)
            last = page[-1][0]
            # All keys after `last`, in the direction of the scan; damaged ones made room for more.
            start = key_before(last) if reverse else last + b"\0"
            if start is None:
                break
        return found

    def _page(
        self, read: Callable[..., list[_Row]], table: str, start: bytes | None, reverse: bool,
        limit: int,
    ) -> list[_Row]:  # fmt: skip
        """What the engine reads, in order."""
        if reverse and start == b"":
            return []  # b"" is before all.
        with self._gate:
            self.check_open()
            with self._reading():
                return read(table, start or b"", reverse=reverse, limit=limit)

    def _add(
        self,
        table: str,
        page: list[tuple[bytes, bytes | None]],
        found: list[tuple[bytes, bytes]],
    ) -> None:
        if None not in map(itemgetter(1), page):
            found += cast("list[tuple[bytes, bytes]]", page)
            return
        for key, plain in page:
            value = plain
            if value is None:  # A blob, or damaged.
                try:
                    value = self.get(table, key)
                except LogDamaged:
                    continue
            if value is not None:
                found.append((key, value))

    def _read_blob(self, table: str, key: bytes, stored: bytes) -> bytes | None:
        try:
            return self._blobs.read(table, key, stored[:REFERENCE_BYTES])
        except OSError as error:
            raise self._damage(table, key, f"its blob file cannot be read ({error})") from error

    def _damage(self, table: str, key: bytes, why: str) -> LogDamaged:
        self._damaged[table, key] = None
        return trouble.damaged(self.folder, table, key, why)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except lmdb.PanicError as error:
            raise self._suspect_error() from error
        except opening.BROKEN as error:
            raise self._log_folder.broken(error) from error

    def count(self, table: str) -> int:
        """How many synced records the table has."""
        with self._gate:
            self.check_open()
            with self._reading():
                return self._engine.stats([table])[0].entries

    def has_blobs(self, table: str, keys: Sequence[bytes]) -> bool:
        """Whether the value of one of the keys lies in a file of its own."""
        if not self._blob_bytes[table]:
            return False
        places = [opening.blob_key(table, key) for key in keys]
        with self._gate:
            self.check_open()
            with self._reading():
                return any(self._engine.get_many(BLOB_TABLE, places))

    def size(self, table: str) -> int:
        """How many bytes the records of the table take.  See `Log.size`."""
        with self._gate:
            self.check_open()
            with self._reading():
                (stat,) = self._engine.stats([table])
        return stat.pages * self._engine.page_bytes + self._blob_bytes[table]

    def damaged(self) -> list[tuple[str, bytes]]:
        """Table and key of every record found damaged since the log was opened."""
        return list(self._damaged)

    def _map_used(self) -> int:
        """Bytes of pages that hold something, free-list pages estimated from above."""
        with self._gate:
            self.check_open()
            with self._reading():
                stats = self._engine.stats([MAIN, *opening.ALL_TABLES])
            end = self._engine.info().last_page + 1
        page_bytes = self._engine.page_bytes
        pages = 2 + sum(stat.pages for stat in stats)
        pages += (end - pages) * FREE_ENTRY_BYTES // page_bytes + 1
        return min(pages, end) * page_bytes

    def usage(self) -> Usage:
        """How full it is now."""
        used = self._map_used()
        free, total = disk_room(self.folder)
        file_bytes = (self.folder / opening.DATA_FILE).stat().st_size
        return Usage(
            map_used=used,
            map_size=self._map_size,
            map_limit=self._map_limit,
            disk_free=free,
            disk_total=total,
            reusable=max(0, file_bytes - used),
        )

    def close(self) -> None:
        """Give up the folder; staged and unsynced changes are dropped.

        Call it from the writing thread, or when that thread has ended.
        """
        if self._closed or os.getpid() != self._pid:
            return
        apart = self._engine.stages_apart  # Then no transaction is open that is a thread's own.
        mine = apart or not self._begun or self._writer == threading.get_ident()
        self._drop()
        with self._gate:
            self._closed = True
            clean = self._writable and not self._suspect and mine
            self._log_folder.end(clean=clean)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
