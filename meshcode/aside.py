"""A file that is written whole or not at all: beside its place, then put there in one step.

Who reads it sees the old file or the new one, never half of one.  It is private, mode 0600.

A symbolic link to a file stays a link, and the file behind it is replaced.  What is no regular
file, as a device, a fifo, or what this process has open as `/dev/stdout`, is written into: a file
put in its place would take it away from all who use it.
"""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import IO, Any

_NAME_BYTES_MAX = 200  # Of a name in that of the file beside; a name may have 255.


def write(path: str | os.PathLike[str], data: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; see `Replacing`, which says what `durable` is."""
    with Replacing(path, durable=durable) as file:
        file.write(data)


class Replacing:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    Raises:
        OSError: as the system says.  A regular file at `path` is as it was; something else may
            have got a part.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        encoding: str | None = None,
        durable: bool = False,
    ) -> None:
        """Nothing is done yet.

        Args:
            path: of the file to be; its folder is there.
            encoding: of a file of text; None for bytes.
            durable: the new file is on the disk before it is in its place, and then its name; else
                a cut of the power may leave it empty.
        """
        self._path = os.fspath(path)
        self._encoding = encoding
        self._durable = durable
        self._place = ""  # Of the regular file; empty where there is something else.
        self._aside = ""  # What is beside it, as long as it is there.

    def __enter__(self) -> IO[Any]:
        self._place = _place(self._path)
        if self._place:
            folder, name = os.path.split(self._place)
            begin = os.fsdecode(os.fsencode(name)[:_NAME_BYTES_MAX])
            aside = os.path.join(folder, f".{begin}.{os.urandom(6).hex()}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(aside, flags, 0o600)
            self._aside = aside
        else:
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC
            handle = os.open(self._path, flags)
        mode = "wb" if self._encoding is None else "w"
        self._file: IO[Any] = os.fdopen(handle, mode, encoding=self._encoding)
        return self._file

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._file as file:
                if kind is None and self._place and self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            if kind is None and self._place:
                os.replace(self._aside, self._place)
                self._aside = ""
        finally:
            if self._aside:
                _remove(self._aside)
        if kind is None and self._place and self._durable:
            _sync_folder(os.path.dirname(self._place))


def _place(path: str) -> str:
    """Where a regular file is to be, behind all links; empty for what is to be written into."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return os.path.realpath(path)
    is_file = stat.S_ISREG(found.st_mode) and not _is_open_file(path)
    return os.path.realpath(path) if is_file else ""


def _is_open_file(path: str) -> bool:
    """Whether it names, by `/dev/stdout` or otherwise, what a process has open.

    Where that goes to a regular file, what else is written there must not be lost.
    """
    while os.path.islink(path):
        folder = os.path.realpath(os.path.dirname(path))
        if folder.startswith("/proc/"):
            return True
        path = os.path.join(folder, os.readlink(path))
    return False


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _sync_folder(folder: str) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # Who may write in it and not read it cannot ask for that; the file itself is safe.
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
