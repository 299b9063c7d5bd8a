"""The engine through the Python objects of the package lmdb: works wherever that package does.

That package gives up and takes back the interpreter lock at every put: beside a busy thread each
put would wait for its turn.  So the puts are made by `stage`, while the node's thread waits
(docs/decisions/0001); `commit` gives the lock up once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from meshcode.store import record
from meshcode.store.engine import MAIN, Info, Section, Stat


class PyEngine:
    """See `engine.Engine`, and `engine.OpenEngine` for the arguments.

    Raises:
        lmdb.Error: LMDB cannot open it.
    """

    stages_apart = False  # A transaction of LMDB belongs to its thread.

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes: int,
        tables_max: int,
        writable: bool,
        sync: bool = True,
        metasync: bool = True,
    ) -> None:
        self._env = lmdb.open(
            str(folder),
            map_size=map_bytes,
            max_dbs=tables_max,
            max_spare_txns=0,
            mode=0o600,
            readonly=not writable,
            create=writable,
            lock=writable,
            sync=sync,
            metasync=metasync,
            lib_version=0,
        )
        self.page_bytes = int(self._env.stat()["psize"])
        self._tables: dict[str, Any] = {MAIN: None}
        self._txn: Any = None

    def open_tables(self, names: Sequence[str], *, create: bool) -> None:
        """See `Engine.open_tables`."""
        env = self._env
        if create:
            with env.begin(write=True) as txn:
                found = {name: env.open_db(name.encode(), txn=txn) for name in names}
        else:
            found = {name: env.open_db(name.encode(), create=False) for name in names}
        self._tables.update(found)

    def info(self) -> Info:
        """See `Engine.info`."""
        found = self._env.info()
        return Info(found["map_size"], found["last_pgno"], found["last_txnid"])

    def stats(self, tables: Sequence[str]) -> list[Stat]:
        """See `Engine.stats`."""
        with self._env.begin() as txn:
            found = [
                txn.stat(self._tables[name]) if name else self._env.stat() for name in tables
            ]
        return [
            Stat(one["entries"], one["branch_pages"] + one["leaf_pages"] + one["overflow_pages"])
            for one in found
        ]

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `Engine.get`."""
        with self._env.begin(db=self._tables[table]) as txn:
            found: bytes | None = txn.get(key)
            return found

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Engine.get_many`."""
        with self._env.begin(db=self._tables[table]) as txn:
            return [txn.get(key) for key in keys]

    def rows(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See `Engine.rows`."""
        return self._read(table, start, reverse, limit, values=True)

    def keys(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[bytes]:
        """See `Engine.keys`."""
        return self._read(table, start, reverse, limit, values=False)

    def _read(
        self, table: str, start: bytes, reverse: bool, limit: int, *, values: bool
    ) -> list[Any]:
        """Rows, or their keys alone."""
        with self._env.begin() as txn:
            cursor: Any = txn.cursor(self._tables[table])
            if not reverse:
                there = cursor.set_range(start) if start else cursor.first()
                rows = cursor.iternext(values=values)
            else:
                if start and cursor.set_range(start):
                    there = cursor.key() == start or cursor.prev()
                else:  # Nothing from `start` on, or no start: from the end.
                    there = cursor.last()
                rows = cursor.iterprev(values=values)
            return list(islice(rows, limit)) if there else []

    def records(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes | None]]:
        """See `Engine.records`."""
        seed, good = record.SEEDS[table], record.PLAIN_RESIDUE
        return [
            (key, row[: -record.CHECK_BYTES] if record.residue(seed, key, row) == good else None)
            for key, row in self.rows(table, start, reverse=reverse, limit=limit)
        ]

    def stage(self, sections: Sequence[Section]) -> int:
        """See `Engine.stage`.  The puts are made now."""
        if self._txn is None:
            self._txn = self._env.begin(write=True)
        return sum([self._put(*section) for section in sections])

    def _put(self, table: str, is_sealed: bool, changes: Mapping[bytes, bytes | None]) -> int:
        txn, database = self._txn, self._tables[table]
        cursor = txn.cursor(database)
        last = cursor.key() if cursor.last() else b""
        items: list[tuple[bytes, bytes]] = []
        for key, value in changes.items():
            if value is not None:
                items.append((key, value))
            elif key <= last:  # Else it came and went within this transaction.
                txn.delete(key, db=database)
        if items and is_sealed:
            items = record.seal_each(record.SEEDS[table], items)
        if items:
            items.sort()
            append = last < items[0][0]
            cursor.putmulti(items, dupdata=False, overwrite=True, append=append)
        cursor.close()
        return sum([len(value) for _, value in items])

    def commit(self) -> None:
        """See `Engine.commit`."""
        self._txn.commit()
        self._txn = None

    def abort(self) -> None:
        """See `Engine.abort`."""
        txn, self._txn = self._txn, None
        if txn is not None:
            txn.abort()

    def resize(self, map_bytes: int) -> None:
        """See `Engine.resize`."""
        self._env.set_mapsize(map_bytes)

    def drop_dead_readers(self) -> None:
        """See `Engine.drop_dead_readers`."""
        self._env.reader_check()

    def close(self) -> None:
        """See `Engine.close`."""
        self._env.close()
