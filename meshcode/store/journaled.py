"""The log of a node: a journal before the tree of `LmdbLog`.

A sync appends the batch to a journal and waits for the disk once; the changes then lie over the
tree (`overlay.py`), where reads find them.  When a journal file is full, a thread puts all of it
into the tree in one transaction, beside the syncs to come, which go to the other file.  So what
came and went meanwhile never costs the tree anything, and what lies far apart in it is written
together.

What is wrong with a tree is told by the tree: when it has no room, or failed, or a batch is too
large to be worth writing twice, the batch goes the old way, with all that waits before it, in one
transaction of `LmdbLog.sync`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from meshcode.errors import DiskFull, NodeError
from meshcode.limits import BLOB_BYTES_MIN
from meshcode.store import journal, opening
from meshcode.store.blobs import has_large
from meshcode.store.contract import KEY_BYTES_MAX, Changes, Op, Usage, plan
from meshcode.store.filesystem import disk_room
from meshcode.store.journal import JournalFile
from meshcode.store.lmdb_log import LmdbLog
from meshcode.store.overlay import Base, Growth, Layer, Over

_ROOM_FILES = 16  # No journal is made where there is less room than so many files of it take.
# What waits for the tree goes in with what makes room when the disk is full; and one for what adds.
_BALLAST_FILES = 4


def open_log(
    folder: str | os.PathLike[str], *, boot: bool = True, **options: Any
) -> LmdbLog | JournaledLog:
    """Open the log in a folder, with a journal before it where that helps.

    What a journal has and the tree has not is put into the tree first.  No journal is used where
    the tree must be written by Python's hand (`engine_py.py`), or where there is little room.

    Args:
        folder: as for `LmdbLog`.
        boot: as for `LmdbLog`; without, what is sound is read although a batch of the journal is
            missing between others (`JournaledLog.lacking`).
        options: further ones of `LmdbLog`.

    Raises:
        LogDamaged: a batch of the journal is missing between others; nothing was changed.
        NodeError: as `LmdbLog` says.
    """
    options.setdefault("ballast_min", _BALLAST_FILES * journal.FILE_BYTES)
    tree = LmdbLog(folder, boot=boot, **options)
    try:
        return _with_journal(tree)
    except BaseException:
        tree.close()
        raise


def _with_journal(tree: LmdbLog) -> LmdbLog | JournaledLog:
    layer = Layer()
    lacking: list[int] | None = None if tree.writable else []
    for batch in journal.newer(tree.folder, tree.store_id, tree.applied, lacking):
        layer.add(batch.number, batch.changes)
    if not tree.writable:
        return JournaledLog(tree, [], layer, lacking or ()) if layer.number else tree
    if not layer.number and not tree.stages_apart:
        return tree
    try:
        # This transaction has the next number, and so has each batch to come.
        tree.stage_changes(layer.changes, max(layer.number, tree.commits) + 1)
        tree.sync()
    except DiskFull:
        # The tree gets it with the first batch for which there is room.  Until then only the files
        # have it, so they are left alone.
        return JournaledLog(tree, [], layer)
    files = _files(tree) if tree.stages_apart else []  # Only now may old ones be made anew.
    return JournaledLog(tree, files, Layer()) if files else tree


def _files(tree: LmdbLog) -> list[JournalFile]:
    """Both files, or none where they cannot be had."""
    there = all((tree.folder / name).exists() for name in journal.FILES)
    if not there and disk_room(tree.folder)[0] < _ROOM_FILES * journal.FILE_BYTES:
        return []
    found: list[JournalFile] = []
    try:
        for name in journal.FILES:
            found.append(JournalFile(tree.folder / name, tree.store_id))
    except OSError:
        for file in found:
            file.close()
        return []
    return found


class JournaledLog:
    """A journal before a tree; see `store/contract.py` for its duties, and `open_log`."""

    def __init__(
        self,
        tree: LmdbLog,
        files: Sequence[JournalFile],
        layer: Layer,
        lacking: Sequence[int] = (),
    ) -> None:
        """Both files, or none where all goes to the tree; `layer` lies over it."""
        self.tree = tree
        self.lacking = tuple(lacking)  # Batches that are missing, where it is only read.
        self._files = list(files)  # That which is written first.
        self._layers = [layer]  # The newest first; replaced, never changed.
        self._number = max(layer.number, tree.commits)  # Of the newest batch that is on disk.
        self._staged: list[Changes] = []
        self._bodies: list[tuple[bytes, bytes, bytes]] = []
        self._large = False  # A record that is staged goes into a file of its own.
        self._gives_back = False  # The next sync puts all into the tree, if that has room.
        self._mover: threading.Thread | None = None  # Puts what one file has into the tree.
        self._broken = False  # An entry may be there that was not acknowledged.

    @property
    def stages_apart(self) -> bool:
        """See `Log.stages_apart`."""
        return True

    @property
    def syncs_briefly(self) -> bool:
        """See `Log.syncs_briefly`."""
        size = journal.size_of(self._bodies)
        if self._gives_back or self._is_for_tree(size):
            return False
        return self._files[0].has_room(size) or not (self._mover and self._mover.is_alive())

    @property
    def holds_back(self) -> bool:
        """See `Log.holds_back`: what the tree has not heard of keeps its files."""
        return any(
            self.tree.has_blobs(table, list(values))
            for layer in self._layers
            for table, values in list(layer.changes.items())
        )

    def give_back(self) -> None:
        """See `Log.give_back`."""
        self._gives_back = True

    @property
    def store_id(self) -> bytes:
        """16 random bytes made with the store."""
        return self.tree.store_id

    @property
    def boot(self) -> int:
        """How often this store was opened for writing, counting from 1."""
        return self.tree.boot

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.tree.folder

    @property
    def volatile(self) -> bool:
        """Whether the folder is gone with the machine's power."""
        return self.tree.volatile

    @property
    def commits(self) -> int:
        """Number of the newest batch that is on disk.  See `Log.commits`."""
        return self._number

    # Writing: one thread.

    def stage(self, ops: Sequence[Op]) -> None:
        """Put `ops` into the next transaction.  See `Log.stage`."""
        self.tree.check_writable()
        changes = plan(ops)
        if ops:
            body = journal.body_of(changes)
            self._staged.append(changes)
            self._bodies.append(body)
            if not self._large and len(body[2]) > BLOB_BYTES_MIN:
                self._large = any(has_large(values.values()) for values in changes.values())

    def sync(self) -> None:
        """Append what was staged to the journal.  See `Log.sync`."""
        self.tree.check_writable()
        staged, self._staged = self._staged, []
        bodies, self._bodies = self._bodies, []
        if not staged:
            return
        number = self._number + 1
        for_tree, self._large = self._is_for_tree(journal.size_of(bodies)), False
        gives_back, self._gives_back = self._gives_back and not for_tree, False
        if gives_back and self._has_written_through(staged, number):
            self._number = number
            return
        entry = None if for_tree else journal.entry_of(number, bodies)
        if entry is not None and self._append(entry):
            self._layers[0].add(number, staged)
        else:
            self._pass_by(staged, number, entry)
        self._number = number

    def _has_written_through(self, staged: Sequence[Changes], number: int) -> bool:
        """Whether the tree took all; where it has no room the journal may have some."""
        try:
            self._write_through(staged, number)
        except DiskFull:
            return False
        return True

    def _pass_by(self, staged: Sequence[Changes], number: int, entry: bytearray | None) -> None:
        """Have the tree take a batch; `entry` is what the journal did not take of it.

        Raises:
            DiskFull: as `_write_through` says.
            LogSuspect: the disk failed, or will not let go of a batch for which it had no room.
        """
        try:
            self._write_through(staged, number)
        except DiskFull:
            if entry is not None and self._broken:
                self._take_back(entry)
            raise

    def _take_back(self, entry: bytearray) -> None:
        # It takes no room to write where something is written; a disk that fails at that fails.
        try:
            self._files[0].take_back(entry)
        except OSError as error:
            raise self.tree.doubt(error) from error

    def _is_for_tree(self, size: int) -> bool:
        """Whether what is staged goes past the journal; `size` as an entry of it."""
        if not self._files or self._broken or self._large:
            return True
        return size > journal.ENTRY_BYTES_MAX

    def _append(self, entry: bytearray) -> bool:
        """Write it to the journal; False when the tree must take all now.

        Raises:
            LogSuspect: the disk failed, here or in the thread that writes the tree.
        """
        if not self._files[0].has_room(len(entry)):
            self._wait_for_mover()
            if len(self._layers) > 1:
                return False  # It could not: the tree is to say why.
            self._files.reverse()
            self._files[0].at = 0
            self._layers = [Layer(), *self._layers]
            self._start_mover()
        try:
            self._files[0].append(entry)
        except OSError as error:
            if not opening.says_full(error, self.folder, len(entry)):
                raise self.tree.doubt(error) from error
            self._broken = True
            return False
        return True

    def _start_mover(self) -> None:
        mover = threading.Thread(target=self._move, name="mover", daemon=True)
        try:
            mover.start()
        except RuntimeError:  # No thread is to be had: then it is done here.
            self._move()
        else:
            self._mover = mover

    def _move(self) -> None:
        """Put the older layer into the tree."""
        newest, older = self._layers
        try:
            self.tree.stage_changes(older.changes, older.number)
            self.tree.sync()
        except NodeError:
            return  # It is in the journal still; the next one who needs the room hears why.
        self._layers = [newest]

    def _wait_for_mover(self) -> None:
        if self._mover is not None:
            self._mover.join()
            self._mover = None
            self.tree.check_writable()

    def _write_through(self, staged: Sequence[Changes], number: int) -> None:
        """Put all that waits, and this, into the tree in one transaction.

        Raises:
            DiskFull: there is no room; what waits is as safe as before, nothing of this was kept.
            LogSuspect: the disk failed.
        """
        self._wait_for_mover()
        whole = Layer()
        for layer in reversed(self._layers):
            whole.add(layer.number, [layer.changes])
        whole.add(number, staged)
        self.tree.stage_changes(whole.changes, number)
        self.tree.sync()
        self._layers = [Layer()]
        self._broken = False
        for file in self._files:
            file.at = 0  # All that is in them is in the tree.

    # Reading: any thread.

    def _view(self) -> Base:
        self.tree.check_open()
        view: Base = self.tree
        for layer in reversed(self._layers):
            view = Over(layer, view)
        return view

    def get(self, table: str, key: bytes) -> bytes | None:
        """The synced value of `key`, or None.  See `Log.get`."""
        for layer in self._layers:
            values = layer.changes.get(table)
            if values is not None and key in values:
                self.tree.check_open()
                return values[key]
        return self.tree.get(table, key)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The synced value of each key, or None.  See `Log.get_many`."""
        return self._view().get_many(table, keys)

    def keys(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[bytes]:
        """Up to `limit` keys in order from `start` on.  See `Log.keys`."""
        assert limit >= 0, limit
        start = None if start is None else start[: KEY_BYTES_MAX + 1]
        return self._view().keys(table, start, reverse=reverse, limit=limit)

    def scan(
        self, table: str, start: bytes | None = None, *, reverse: bool = False, limit: int = 1000
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` synced records in key order from `start` on.  See `Log.scan`."""
        assert limit >= 0, limit
        start = None if start is None else start[: KEY_BYTES_MAX + 1]
        return self._view().scan(table, start, reverse=reverse, limit=limit)

    def count(self, table: str) -> int:
        """How many synced records the table has."""
        return self._sum(self.tree.count, table).records

    def size(self, table: str) -> int:
        """How many bytes the records of the table take.  See `Log.size`."""
        return max(0, self._sum(self.tree.size, table).bytes) if self.count(table) else 0

    def _sum(self, of_tree: Callable[[str], int], table: str) -> Growth:
        """Records and bytes of a table, one of them counted from what the tree has."""
        while True:
            applied = self.tree.read_applied()
            records = bytes = of_tree(table)
            view: Base = self.tree
            for layer in reversed(self._layers):
                if layer.number > applied:  # Else the tree has it, and nobody has said so yet.
                    growth = layer.growth(table, view)
                    records, bytes = records + growth.records, bytes + growth.bytes
                view = Over(layer, view)
            if self.tree.read_applied() == applied:
                return Growth(records, bytes)

    def damaged(self) -> list[tuple[str, bytes]]:
        """Table and key of every record found damaged since the log was opened."""
        return self.tree.damaged()

    def usage(self) -> Usage:
        """How full it is now, what waits for the tree included."""
        waiting = sum(layer.bytes() for layer in self._layers)
        usage = self.tree.usage()
        return replace(usage, map_used=min(usage.map_used + waiting, usage.map_size))

    def close(self) -> None:
        """Give up the folder; staged and unsynced changes are dropped.

        What the journal has is put into the tree, if that is well.
        """
        self._staged, self._bodies = [], []
        try:
            self._wait_for_mover()
            if any(layer.changes for layer in self._layers):
                self._write_through([], self._number)
        except NodeError:
            pass  # The journal has it, if this process has the log: the next open takes it.
        self.tree.close()
        self._layers = [Layer()]
        files, self._files = self._files, []
        for file in files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
