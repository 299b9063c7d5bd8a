"""Opening and closing a durable log: one owner, a fit disk, a counted boot, and what went before.

The folder:

    data.mdb, lock.mdb   the LMDB environment
    lock                 held (flock) while the log is open; holds "pid os-boot-id" until it is
                         closed in order, and is empty afterwards
    new                  there until the very first open has finished
    suspect              why a write failed; there until the log was verified
    blobs/, ballast      see blobs.py and ballast.py
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any, TypeVar
from zlib import crc32

import lmdb

from meshcode.errors import DiskFull, FolderInUse, LogDamaged, NodeError
from meshcode.store import binding, filesystem, record, trouble, verify
from meshcode.store.blobs import BlobFolder, blob_bytes
from meshcode.store.contract import TABLES
from meshcode.store.engine import Engine, Section, every_row, write

FULL_CODES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
BROKEN = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    # What a read says behind one that has met a broken page, or where the root of a table is one.
    lmdb.BadTxnError,
    lmdb.BadDbiError,
    lmdb.BadValsizeError,
    lmdb.IncompatibleError,
)
ROOM_SLACK_BYTES = 1 << 20  # A failed write with less room than it wanted plus this: disk full.

_T = TypeVar("_T")

# Of tables and records; docs/log.md.  A log of a higher one is refused.  2: there may be a journal.
FORMAT = 2
DATA_FILE = "data.mdb"
VERIFY_BYTES_MAX = 1 << 30  # A larger log is not verified at the open; it would take too long.

STORE_TABLE = "store"  # Format, id and boot counter of the store.
BLOB_TABLE = "blobs"  # Table number and key -> blob reference, for all records that have one.
ALL_TABLES = (*TABLES, STORE_TABLE, BLOB_TABLE)
_STORE_SEED = crc32(b"store\0")
_APPLIED = Struct(">QQ")
_TABLE_NUMBERS = {table: bytes([number]) for number, table in enumerate(TABLES)}

FRESH, CLEAN, KILLED = "new", "clean", "killed"
POWER, COPIED, SUSPECT = "power", "copied", "suspect"


@dataclass(slots=True)
class Opened:
    """What an open found and did."""

    store_id: bytes
    boot: int
    # How it was left: "new", "clean", "killed" (the process died, the system did not), "power" (the
    # system went down), "copied" (no lock file), "suspect" (a write had failed).
    before: str
    verified: bool = False  # All records and the structure were checked now.
    records: int = 0  # Checked and good, when verified.
    damaged: list[tuple[str, bytes]] = field(default_factory=list)
    blobs: int = 0  # References to blobs.
    blob_bytes: Counter[str] = field(default_factory=Counter)  # Of these, by table.
    swept: int = 0  # Blob files without a reference, removed.
    # The newest batch of the journal that is in the tree, and the transaction that put it there.
    applied: tuple[int, int] = (0, 0)


def blob_key(table: str, key: bytes) -> bytes:
    """The key of a record's entry in BLOB_TABLE."""
    return _TABLE_NUMBERS[table] + key


def os_boot_id() -> str:
    """A text that changes when the operating system starts; "-" when there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or "-"
    except OSError:
        return "-"


class LogFolder:
    """The folder of a log while it is open: its lock, its marks, and the way in and out."""

    def __init__(self, folder: Path, *, writable: bool, check_file_system: bool) -> None:
        self.folder = folder
        self.writable = writable
        self._engine: Engine | None = None
        self._map_bytes = 0  # What the map was to have.
        self._is_broken = False  # A read has met a broken page.
        if not writable and not (folder / DATA_FILE).exists():
            raise NodeError(f"there is no log in {folder} to read", folder=str(folder))
        there = folder
        while not there.exists():
            there = there.parent
        kind = filesystem.refuse_unfit(there) if check_file_system else filesystem.kind_of(there)
        self.volatile = kind in filesystem.VOLATILE
        filesystem.make_folder(folder)
        had_lock = (folder / "lock").exists()
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._lock, 200).decode("ascii", "replace").split()
            os.close(self._lock)
            raise _in_use(folder, owner[0] if owner else "unknown") from error
        self.before = self._how_it_was_left(had_lock)

    def _how_it_was_left(self, had_lock: bool) -> str:
        last = os.pread(self._lock, 200, 0).decode("ascii", "replace").split()
        if not (self.folder / DATA_FILE).exists() or (self.folder / "new").exists():
            return FRESH
        if (self.folder / "suspect").exists():
            return SUSPECT
        if not had_lock:
            return COPIED
        if not last:
            return CLEAN
        same = len(last) == 2 and last[1] == os_boot_id() != "-"
        return KILLED if same else POWER

    @property
    def _must_verify(self) -> bool:
        if not self.writable or self.before in (FRESH, CLEAN, KILLED):
            return False  # A process that dies leaves the files as the system sees them: whole.
        return (self.folder / DATA_FILE).stat().st_size < VERIFY_BYTES_MAX

    def open_engine(self, map_size: int, map_soft: int, options: dict[str, Any]) -> Engine:
        """Open the LMDB environment, its structure verified where that is due.

        Raises:
            LogDamaged: the structure is broken.
            NodeError: LMDB cannot open it.
        """
        data = self.folder / DATA_FILE
        if self._must_verify and (problems := verify.structure_problems(data)):
            raise _broken(self.folder, problems)
        if self.before == FRESH:
            self._start_afresh()
        size = self._map_bytes = map_size
        if data.exists():
            while size < data.stat().st_size and size < map_soft:
                size = self._map_bytes = min(2 * size, map_soft)
        try:
            engine = self._engine = binding.open_engine(
                self.folder,
                map_bytes=size,
                tables_max=len(TABLES) + 10,
                writable=self.writable,
                **options,
            )
        except lmdb.Error as error:
            raise self.failed(error) from error
        self._refuse_cut_file(engine, data)
        if self.writable:
            engine.drop_dead_readers()
        return engine

    def _refuse_cut_file(self, engine: Engine, data: Path) -> None:
        """A page read beyond the end of its file kills the process: find out before.

        The last pages may rightly be missing, when they were given up before they were written.
        """
        pages = engine.info().last_page + 1
        if data.stat().st_size < pages * engine.page_bytes:
            problems = verify.structure_problems(data)
            if problems:
                raise _broken(self.folder, problems)

    def _start_afresh(self) -> None:
        """Mark that nothing is promised yet, and clear what a broken first open left.

        A first open that was cut short may leave a file that is no log yet.  Nothing was ever
        acknowledged from it, for the open did not return; but only a file that is not sound is
        thrown away.
        """
        data = self.folder / DATA_FILE
        if data.exists() and verify.structure_problems(data):
            data.unlink()
        filesystem.write_durably(self.folder / "new", b"")

    def open_tables(self, engine: Engine) -> None:
        """Open all tables, made where they are missing.

        Raises:
            NodeError: a log opened for reading lacks a table.
            DiskFull: there is no room to make them.
        """
        if self.writable:
            self._with_room(lambda: engine.open_tables(ALL_TABLES, create=True))
            return
        try:
            engine.open_tables(ALL_TABLES, create=False)
        except lmdb.NotFoundError as error:
            raise NodeError(f"the log in {self.folder} was never opened for writing") from error

    def begin(self, engine: Engine, blobs: BlobFolder) -> Opened:
        """Verify where due, count the boot, sweep blobs; all durable when it returns.

        Raises:
            LogDamaged: the store's own record fails its checksum.
            NodeError: the log is of a newer format.
            DiskFull: there is no room to count the boot.
        """
        store = {name: self._stored(engine, name) for name in (b"format", b"id", b"boot")}
        form = int.from_bytes(store[b"format"] or b"", "big")
        if form > FORMAT:
            raise NodeError(
                f"the log in {self.folder} has format {form}, this version knows {FORMAT} and"
                " older; it is unchanged; start a newer meshcode",
                folder=str(self.folder),
            )
        boot = int.from_bytes(store[b"boot"] or b"", "big") + self.writable
        opened = Opened(store[b"id"] or os.urandom(16), boot, self.before)
        opened.applied = _APPLIED.unpack(self._stored(engine, b"applied") or bytes(_APPLIED.size))
        if self._must_verify:
            found = verify.check_records(engine, TABLES)
            opened.verified = True
            opened.records, opened.damaged = found.good, found.damaged
        if self.writable:
            self._with_room(lambda: _count_boot(engine, opened))
        self._sweep(engine, blobs, opened)
        if self.writable:
            self._with_room(self._own)
        return opened

    def _stored(self, engine: Engine, name: bytes) -> bytes | None:
        stored = engine.get(STORE_TABLE, name)
        if stored is None:
            return None
        if record.residue(_STORE_SEED, name, stored) != record.PLAIN_RESIDUE:
            raise LogDamaged(
                f"the log in {self.folder} has a damaged {name.decode()} of the store itself;"
                " it is unchanged; restore it from a copy",
                folder=str(self.folder),
                table=STORE_TABLE,
                key=name.hex(),
            )
        return stored[: -record.CHECK_BYTES]

    def _sweep(self, engine: Engine, blobs: BlobFolder, opened: Opened) -> None:
        if not self.writable:
            return  # What is only read has the references in its records; this table may be broken.
        places: dict[bytes, bytes] = {}
        for place, reference in every_row(engine, BLOB_TABLE):
            places[reference] = place
            opened.blob_bytes[TABLES[place[0]]] += blob_bytes(reference)
        opened.blobs = len(places)
        opened.swept, missing = blobs.sweep(set(places))
        for reference in missing:
            place = places[reference]
            damaged = (TABLES[place[0]], place[1:])
            if damaged not in opened.damaged:
                opened.damaged.append(damaged)

    def _own(self) -> None:
        """Write who has the log now, and clear the marks of what went before."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()} {os_boot_id()}\n".encode("ascii"), 0)
        os.fsync(self._lock)
        for mark in ("new", "suspect"):
            with contextlib.suppress(FileNotFoundError):
                (self.folder / mark).unlink()
        filesystem.sync_folder(self.folder)

    def _with_room(self, change: Callable[[], _T]) -> _T:
        """Do it; when the disk has no room, give the ballast back and do it again.

        Raises:
            DiskFull: it failed and there is little room.
            NodeError: it failed for another reason.
        """
        for last in (False, True):
            try:
                return change()
            except (lmdb.Error, OSError) as error:
                ballast = self.folder / "ballast"
                if not last and ballast.exists():
                    ballast.unlink()
                    continue
                raise self.failed(error) from error
        raise AssertionError("unreachable")

    def failed(self, error: Exception) -> NodeError:
        """The error of an open that LMDB or the operating system refused."""
        if isinstance(error, BROKEN):
            return _broken(self.folder, [str(error)])
        if errno.ENOMEM in (getattr(error, "errno", 0), getattr(error, "code", 0)):
            return trouble.no_address_space(self.folder, self._map_bytes, error)
        free, total = filesystem.disk_room(self.folder)
        return (DiskFull if says_full(error, self.folder) else NodeError)(
            f"the log in {self.folder} cannot be opened ({error}), {free:,} of {total:,} bytes of"
            " the disk are free; nothing in it was changed; make room or look at the disk, and"
            " start again",
            folder=str(self.folder),
            free=free,
        )

    def mark_suspect(self, why: str) -> None:
        """Leave a mark that makes the next open verify; best effort, the disk may be gone."""
        with contextlib.suppress(OSError):
            filesystem.write_durably(self.folder / "suspect", why.encode())

    def broken(self, error: Exception) -> NodeError:
        """The error of a read that met a page which cannot be; the next open verifies."""
        if self.writable and not self._is_broken:
            self._is_broken = True
            self.mark_suspect(f"a read met a broken page: {error}")
        return trouble.broken_tree(self.folder, error, writable=self.writable)

    def end(self, *, clean: bool) -> None:
        """Close the environment and let go of the folder."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        if clean:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
                os.fsync(self._lock)
        os.close(self._lock)


def says_full(error: Exception, folder: Path, wanted: int = 0) -> bool:
    """Whether a failed write is to be taken as "no room" rather than as a failing disk.

    Errors lie: a full disk may say "I/O error".  So the free space is measured too.

    Args:
        wanted: bytes that were to be written.
    """
    if isinstance(error, lmdb.MapFullError):
        return True
    if isinstance(error, lmdb.PanicError):
        return False  # The write of the root page failed; no room can mend that.
    code = error.errno if isinstance(error, OSError) else getattr(error, "code", 0)
    if code in FULL_CODES:
        return True
    try:
        free, _ = filesystem.disk_room(folder)
    except OSError:
        return False
    return free < wanted + ROOM_SLACK_BYTES


def failed(folder: Path, error: OSError) -> NodeError:
    """The error of an open that the operating system refused."""
    kind = DiskFull if says_full(error, folder) else NodeError
    return kind(
        f"the log in {folder} cannot be opened: {error}; what is in it is unchanged; check the"
        " folder, its owner and its disk, and start again",
        folder=str(folder),
    )


def applied_in(engine: Engine) -> tuple[int, int]:
    """The newest batch of the journal that is in the tree, and the transaction that put it in."""
    stored = engine.get(STORE_TABLE, b"applied") or bytes(_APPLIED.size)
    number, transaction = _APPLIED.unpack_from(stored)
    return number, transaction


def note_applied(engine: Engine, number: int) -> Section:
    """That the transaction to come has batch `number` of the journal, and all before it."""
    value = _APPLIED.pack(number, engine.info().last_commit + 1)
    sealed = record.seal(_STORE_SEED, b"applied", value)
    return Section(STORE_TABLE, False, {b"applied": sealed})


def _count_boot(engine: Engine, opened: Opened) -> None:
    rows = {
        b"format": FORMAT.to_bytes(4, "big"),
        b"id": opened.store_id,
        b"boot": opened.boot.to_bytes(8, "big"),
    }
    sealed = {name: record.seal(_STORE_SEED, name, value) for name, value in rows.items()}
    write(engine, [Section(STORE_TABLE, False, sealed)])


def _in_use(folder: Path, pid: str) -> FolderInUse:
    return FolderInUse(
        f"the log in {folder} is open in process {pid}; it is unharmed; stop that node first, or"
        " give this one a folder of its own",
        folder=str(folder),
        pid=pid,
    )


def _broken(folder: Path, problems: list[str]) -> LogDamaged:
    return LogDamaged(
        f"the log in {folder} has {len(problems)} or more breaks in its structure, first:"
        f" {problems[0]}; nothing was changed; keep a copy of the folder and restore the log from"
        " a sound one",
        folder=str(folder),
        problems=problems,
    )
