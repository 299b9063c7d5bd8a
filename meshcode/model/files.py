"""Copies of a model's database as files: whole or not there, private, and on the disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from meshcode.errors import BadData, CallerError, ObjectExists, UnknownObject
from meshcode.model.database import BUSY_MS

MAGIC = b"SQLite format 3\0"
FILE_BYTES_MAX = 1 << 30  # Of a JSON document; it is read whole, and a model has 10 MiB at most.


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which becomes `path` at the end; that is a new name.

    `aside.Replacing` is for what may be there; SQLite wants a name, too, and no open file.

    Args:
        path: the file to be.

    Raises:
        ObjectExists: there is something of that name; it is unchanged.
        CallerError: nothing can be written there.
    """
    if os.path.lexists(path):
        raise _exists(path)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        yield draft
        _sync(draft)
        try:
            os.link(draft, path)  # Which, unlike a rename, never takes the place of a file.
        except FileExistsError:
            raise _exists(path) from None
        _sync(path.parent)
    except (OSError, sqlite3.Error) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise CallerError(f"{path} cannot be written: {reason}; nothing was written") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _exists(path: Path) -> ObjectExists:
    return ObjectExists(f"{path} exists already; it is unchanged; give another name")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_sqlite(source: Path, target: Path) -> None:
    """One state of a SQLite database that others may be writing to, as one file."""
    origin = sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)
    copy = sqlite3.connect(target)
    try:
        origin.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        origin.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # So that there is no log to forget.
    finally:
        copy.close()
        origin.close()


@contextlib.contextmanager
def scratch_copy(path: Path) -> Iterator[Path]:
    """A copy of a file that may be opened and changed; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="mesh-restore-") as folder:
        copy = Path(folder) / "model.db"
        shutil.copyfile(path, copy)
        yield copy


def is_sqlite(path: Path) -> bool:
    """Whether the file begins as SQLite's do.

    Raises:
        UnknownObject: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as exc:
        raise UnknownObject(f"{path} cannot be read: {exc.strerror}; nothing was changed") from None


def read_whole(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        BadData: more than FILE_BYTES_MAX of them.
    """
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise BadData(
            f"{path} has {size} bytes, the most is {FILE_BYTES_MAX}; nothing was changed"
        )
    return path.read_bytes()
