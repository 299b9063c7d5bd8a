"""What the log needs of LMDB, whichever of two twins does it (`binding.py` chooses).

Both raise `lmdb.Error` and its kinds with LMDB's code in `code`, and write the same files: what one
wrote the other opens.  Tables are named; rows are bytes as they stand in the tree, checks and all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import lmdb

ROWS_AT_ONCE = 256  # That a walk over a whole table reads in one transaction.
MAIN = ""  # The table of tables, for `stats`.


class Section(NamedTuple):
    """Changes of one table: None deletes a key, be it there or not.

    Values of a section to be sealed are put with their check behind them (`record.seal`), those of
    another as they are.  Of one key there is one change.
    """

    table: str
    is_sealed: bool
    changes: Mapping[bytes, bytes | None]


@dataclass(slots=True)
class Info:
    """An environment as a whole."""

    map_bytes: int
    last_page: int  # Number of the last page that was ever used.
    last_commit: int  # Number of the newest transaction; shown before it is on disk.


class Stat(NamedTuple):
    """One table."""

    entries: int
    pages: int


class Engine(Protocol):
    """One open environment.  One thread writes; reads may come from any, one at a time."""

    page_bytes: int
    stages_apart: bool  # `stage` may be called by another thread than `commit`.

    def open_tables(self, names: Sequence[str], *, create: bool) -> None:
        """Open tables, making those that are missing, in one commit, when `create`.

        Raises:
            lmdb.NotFoundError: one is missing and not to be made.
        """

    def info(self) -> Info:
        """How things are now."""

    def stats(self, tables: Sequence[str]) -> list[Stat]:
        """Of each table, as of one moment."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The row of a key (1 to 511 bytes), or None."""

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The row of each key (1 to 511 bytes), or None, as of one moment."""

    def rows(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Up to `limit` rows in key order from `start` on, or from an end when it is empty."""

    def records(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes | None]]:
        """The same with each value as it was before it was sealed; None where the check of the
        row is not that of a plain record.
        """

    def keys(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[bytes]:
        """The keys of the same rows; no value is looked at."""

    def stage(self, sections: Sequence[Section]) -> int:
        """Put these changes into the next transaction, and say how many bytes they have, about.

        Whether the puts are made now or by `commit` is the twin's own choice; in either case the
        sections may not change before the commit, and those of one call come before the next's.
        """

    def commit(self) -> None:
        """Make what was staged durable.  After an error `abort` is due."""

    def abort(self) -> None:
        """Forget what was staged."""

    def resize(self, map_bytes: int) -> None:
        """Give the map another size; no read may be open, and nothing be staged."""

    def drop_dead_readers(self) -> None:
        """Forget readers of processes that are no more."""

    def close(self) -> None:
        """Give up the files; what was staged is forgotten."""


class OpenEngine(Protocol):
    """How a twin is opened.

    Args:
        folder: where data.mdb and lock.mdb are, or will be.  No other environment of this process
            may have them open.
        map_bytes: size of the map.
        tables_max: tables that there may be.
        writable: False opens for reading only, without LMDB's own locks.
        sync, metasync: False for tests that must see what a missing sync does.
    """

    def __call__(
        self,
        folder: Path,
        *,
        map_bytes: int,
        tables_max: int,
        writable: bool,
        sync: bool = True,
        metasync: bool = True,
    ) -> Engine:
        """Open it."""


def write(engine: Engine, sections: Sequence[Section]) -> None:
    """Stage and commit, or leave nothing staged."""
    try:
        engine.stage(sections)
        engine.commit()
    except BaseException:
        with contextlib.suppress(lmdb.Error):
            engine.abort()
        raise


def every_row(engine: Engine, table: str) -> Iterator[tuple[bytes, bytes]]:
    """All rows of a table in key order; of several moments when there are many."""
    start = b""
    while rows := engine.rows(table, start, limit=ROWS_AT_ONCE):
        yield from rows
        start = rows[-1][0] + b"\0"
