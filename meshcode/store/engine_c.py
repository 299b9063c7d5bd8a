"""The engine through our own C (native/staging.c): each thing that is done is one call.

LMDB itself is the one inside the package lmdb; the C finds its functions there.  `stage` only packs
the changes, which needs the interpreter; `commit` begins the transaction, seals, puts, deletes and
commits in a single call, without the interpreter's lock, beside the node's thread.

Importing this fails where there is no such C, or not the LMDB it knows.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from struct import iter_unpack
from typing import Any

import lmdb
import lmdb.cpython

from meshcode import native
from meshcode.native import _staging  # type: ignore[attr-defined]
from meshcode.store import record
from meshcode.store.engine import MAIN, Info, Section, Stat

_ffi = _staging.ffi
_lib = _staging.lib
_lib.mesh_begin()
_from_buffer = _ffi.from_buffer

# Options of an environment, and what a section does with its items (staging.c).
_NO_TLS, _READ_ONLY, _NO_LOCK = 0x200000, 0x20000, 0x400000
_NO_SYNC, _NO_META_SYNC = 0x10000, 0x40000
_SEAL, _RAW = 1, 2

_KEPT_BYTES_MAX = 1 << 20  # A buffer that grew larger is given back after the read.
_CODE_BAD_BATCH = -29000
_CODE_NOT_FOUND = -30798
_CODE_ERRNO_MIN = -29000  # `mesh_store_get` gives those of errno with a minus; LMDB's are below.
_ERRORS: dict[int, type[lmdb.Error]] = {
    -30799: lmdb.KeyExistsError,
    -30798: lmdb.NotFoundError,
    -30797: lmdb.PageNotFoundError,
    -30796: lmdb.CorruptedError,
    -30795: lmdb.PanicError,
    -30794: lmdb.VersionMismatchError,
    -30793: lmdb.InvalidError,
    -30792: lmdb.MapFullError,
    -30791: lmdb.DbsFullError,
    -30790: lmdb.ReadersFullError,
    -30789: lmdb.TlsFullError,
    -30788: lmdb.TxnFullError,
    -30787: lmdb.CursorFullError,
    -30786: lmdb.PageFullError,
    -30785: lmdb.MapResizedError,
    -30784: lmdb.IncompatibleError,
    -30783: lmdb.BadRslotError,
    -30782: lmdb.BadTxnError,
    -30781: lmdb.BadValsizeError,
    -30780: lmdb.BadDbiError,
    13: lmdb.ReadonlyError,
    22: lmdb.InvalidParameterError,
    11: lmdb.LockError,
    12: lmdb.MemoryError,
    28: lmdb.DiskError,
    _CODE_BAD_BATCH: lmdb.InvalidParameterError,
}


def _load() -> None:
    """Find LMDB; ImportError where it is not the one we know."""
    if not hasattr(_lib, "mesh_store_load"):
        raise ImportError("meshcode.native was built before there was staging, or without it")
    path = getattr(lmdb.cpython, "__file__", None)
    if path is None:
        raise ImportError("the package lmdb is no library of its own")
    wrong = _lib.mesh_store_load(os.fsencode(path))
    if wrong != _ffi.NULL:
        raise ImportError(f"{path}: {_ffi.string(wrong).decode()}")
    _lib.mesh_begin()  # The table of the checksum; the framing twin may not be in use.


_load()
_get = _lib.mesh_store_get


def _parts(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut data into parts of these sizes."""
    ends = list(accumulate(sizes))
    return map(data.__getitem__, map(slice, chain((0,), ends), ends))


class NativeEngine:
    """See `engine.Engine`, and `engine.OpenEngine` for the arguments.

    Raises:
        lmdb.Error: LMDB cannot open it.
    """

    stages_apart = True

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
        flags = _NO_TLS if writable else _NO_TLS | _READ_ONLY | _NO_LOCK
        flags |= (0 if sync else _NO_SYNC) | (0 if metasync else _NO_META_SYNC)
        self._info = _ffi.new("mesh_store_info *")  # Of the last call of the writing thread.
        self._read_info = _ffi.new("mesh_store_info *")  # Of a read.
        self._found = _ffi.new("mesh_store_bytes *")
        self._found_sizes = _ffi.new("mesh_store_bytes *")
        self._tables: dict[str, int] = {MAIN: 0}
        self._data = b""
        self._sizes, self._sections = array("I"), array("I")
        opened = _ffi.new("void **")
        path = os.fsencode(folder)
        code = _lib.mesh_store_open(
            path, map_bytes, tables_max, flags, 0o600, opened, self._info
        )  # fmt: skip
        if code:
            raise self._error(code, self._info, f"{folder}: ")
        self._env = opened[0]
        self.page_bytes = int(self._info.page_bytes)

    @staticmethod
    def _error(code: int, info: Any, where: str = "") -> lmdb.Error:
        reason = _ffi.string(_lib.mesh_store_error(code)).decode("utf-8", "replace")
        step = _ffi.string(info.step).decode()
        error = _ERRORS.get(code, lmdb.Error)(f"{where}{step}: {reason}")
        error.code = code  # type: ignore[misc]  # As the package itself sets it.
        return error

    def open_tables(self, names: Sequence[str], *, create: bool) -> None:
        """See `Engine.open_tables`."""
        numbers = array("I", bytes(4 * len(names)))
        text = b"".join([name.encode() + b"\0" for name in names])
        code = _lib.mesh_store_tables(
            self._env, text, len(names), create, _from_buffer(numbers), self._info
        )
        if code:
            raise self._error(code, self._info)
        self._tables.update(zip(names, numbers, strict=True))

    def info(self) -> Info:
        """See `Engine.info`."""
        info = self._info  # The writing thread's last call has left it there, and nobody else.
        return Info(int(info.map_bytes), int(info.last_page), int(info.last_commit))

    def stats(self, tables: Sequence[str]) -> list[Stat]:
        """See `Engine.stats`."""
        numbers = array("I", [self._tables[name] for name in tables])
        found = array("Q", bytes(16 * len(tables)))
        code = _lib.mesh_store_stats(
            self._env, _from_buffer(numbers), len(tables), _from_buffer(found), self._read_info
        )
        if code:
            raise self._error(code, self._read_info)
        return list(map(Stat._make, zip(found[::2], found[1::2], strict=True)))

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `Engine.get`."""
        found = self._found
        size = _get(self._env, self._tables[table], key, len(key), found, self._read_info)
        if size >= 0:
            return self._take(found)
        if size == _CODE_NOT_FOUND:
            return None
        raise self._error(size if size < _CODE_ERRNO_MIN else -size, self._read_info)

    def get_many(self, table: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Engine.get_many`."""
        found_sizes = array("q", bytes(8 * len(keys)))
        code = _lib.mesh_store_get_many(
            self._env, self._tables[table], b"".join(keys),
            _from_buffer(array("I", map(len, keys))), len(keys), _from_buffer(found_sizes),
            self._found, self._read_info,
        )  # fmt: skip
        if code:
            raise self._error(code, self._read_info)
        sizes = [size if size > 0 else 0 for size in found_sizes]
        values: list[bytes | None] = list(_parts(self._take(self._found), sizes))
        if -1 in found_sizes:
            for index, size in enumerate(found_sizes):
                if size < 0:
                    values[index] = None
        return values

    def rows(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """See `Engine.rows`."""
        data, sizes = self._read_rows(table, start, reverse, limit)
        lengths = array("Q")
        lengths.frombytes(sizes)
        parts = _parts(data, lengths)
        return list(zip(parts, parts, strict=True))  # The next two of one iterator: key and value.

    def records(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[tuple[bytes, bytes | None]]:
        """See `Engine.records`."""
        data, sizes = self._read_rows(table, start, reverse, limit)
        return native.open_rows(data, sizes, record.SEEDS[table])

    def keys(
        self, table: str, start: bytes, *, reverse: bool = False, limit: int
    ) -> list[bytes]:
        """See `Engine.keys`."""
        data, sizes = self._read_rows(table, start, reverse, limit, keys_only=True)
        lengths = array("Q")
        lengths.frombytes(sizes)
        del lengths[1::2]
        if lengths and lengths == lengths[:1] * len(lengths):  # Of most tables they are.
            return [key for (key,) in iter_unpack(f"{lengths[0]}s", data)]
        return list(_parts(data, lengths))

    def _read_rows(
        self, table: str, start: bytes, reverse: bool, limit: int, *, keys_only: bool = False
    ) -> tuple[bytes, bytes]:
        """Keys and rows in turns, and the size of each as u64; with `keys_only` rows are empty."""
        code = _lib.mesh_store_rows(
            self._env, self._tables[table], start, len(start), reverse, keys_only, limit,
            self._found, self._found_sizes, self._read_info,
        )  # fmt: skip
        if code:
            raise self._error(code, self._read_info)
        sizes = self._take(self._found_sizes)
        return self._take(self._found), sizes

    @staticmethod
    def _take(found: Any) -> bytes:
        """A copy of what a read has found."""
        if not found.size:
            return b""
        data = bytes(_ffi.buffer(found.data, found.size))
        if found.room > _KEPT_BYTES_MAX:
            _lib.mesh_store_empty(found)
        return data

    def stage(self, sections: Sequence[Section]) -> int:
        """See `Engine.stage`.  The changes are packed now, and put by `commit`."""
        data, sizes, numbers = native.flatten([
            (self._tables[table], _SEAL if is_sealed else _RAW, record.SEEDS.get(table, 0), changes)
            for table, is_sealed, changes in sections
        ])  # fmt: skip
        self._data = self._data + data if self._data else data
        self._sizes.frombytes(sizes)
        self._sections.frombytes(numbers)
        return len(data)

    def commit(self) -> None:
        """See `Engine.commit`.  Without the interpreter's lock."""
        code = _lib.mesh_store_write(
            self._env, self._data, len(self._data), _from_buffer(self._sizes),
            len(self._sizes), _from_buffer(self._sections),
            len(self._sections) // 4, self._info,
        )  # fmt: skip
        if code:
            raise self._error(code, self._info)
        self.abort()

    def abort(self) -> None:
        """See `Engine.abort`."""
        self._data = b""
        self._sizes, self._sections = array("I"), array("I")

    def resize(self, map_bytes: int) -> None:
        """See `Engine.resize`."""
        code = _lib.mesh_store_resize(self._env, map_bytes, self._info)
        if code:
            raise self._error(code, self._info)

    def drop_dead_readers(self) -> None:
        """See `Engine.drop_dead_readers`."""
        code = _lib.mesh_store_drop_dead_readers(self._env, self._info)
        if code:
            raise self._error(code, self._info)

    def close(self) -> None:
        """See `Engine.close`."""
        env, self._env = self._env, None
        self.abort()
        if env is not None:
            _lib.mesh_store_close(env)
            _lib.mesh_store_empty(self._found)
            _lib.mesh_store_empty(self._found_sizes)
