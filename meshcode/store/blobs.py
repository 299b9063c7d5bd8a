"""Blobs: large values in files of their own beside the log.

A blob is written, synced and named *before* the transaction that refers to it commits, and removed
*after* the transaction that lets go of it has.  So a file without a reference may be left over by a
crash (swept at the next open), but a reference without its file is damage.

    blobs/ab/abcdef...   the value, nothing else; named by the BLAKE2b-256 of table, key and value

Because table and key are in the name, no two records ever share a file.  Several of one batch are
written beside each other: a disk syncs four files in little more time than one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from meshcode.digest import blake2b
from meshcode.limits import BLOB_BYTES_MIN
from meshcode.store.filesystem import TEMP_SUFFIX, make_folder, sync_folder, write_whole

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

REFERENCE_BYTES = 40  # 32 bytes name, 8 bytes size, little endian.
WRITERS = 4  # Threads that write and sync, of a batch with several blobs.

T = TypeVar("T")


def refer(table: str, key: bytes, value: bytes) -> bytes:
    """The reference of a value: what stands in the log in its place."""
    return _digest(table, key, value) + len(value).to_bytes(8, "little")


def blob_bytes(reference: bytes) -> int:
    """The size of the value that a reference stands for."""
    return int.from_bytes(reference[32:REFERENCE_BYTES], "little")


def _digest(table: str, key: bytes, value: bytes) -> bytes:
    name = table.encode()
    head = len(name).to_bytes(2, "little") + len(key).to_bytes(2, "little") + name + key
    digest = blake2b(head, digest_size=32)
    digest.update(value)
    return digest.digest()


def _write(blob: tuple[Path, bytes]) -> None:
    """One file, synced before it has its name."""
    write_whole(*blob)


def _remove(path: Path) -> None:
    for each in (path, path.with_name(path.name + TEMP_SUFFIX)):
        with contextlib.suppress(OSError):
            each.unlink()


def has_large(values: Iterable[bytes | None]) -> bool:
    """Whether one of them goes into a file of its own."""
    return max(map(len, filter(None, values)), default=0) > BLOB_BYTES_MIN


class BlobFolder:
    """The blob files of one log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: set[Path] = set()  # Sub-folders whose own names are durable.
        self._threads: ThreadPoolExecutor | None = None  # They end with this object.

    def _path(self, reference: bytes) -> Path:
        name = reference[:32].hex()
        return self.folder / name[:2] / name

    def write(self, blobs: Iterable[tuple[bytes, bytes]]) -> None:
        """Make these (reference, value) durable, file and name.

        Raises:
            OSError: some may be written, none is referred to: `remove` them.
        """
        found = list(blobs)
        paths = [self._path(reference) for reference, _ in found]
        folders = dict.fromkeys(path.parent for path in paths)
        for folder in folders:
            if folder not in self._known:
                make_folder(folder)
                self._known.add(folder)
        values = [value for _, value in found]
        self._beside(_write, list(zip(paths, values, strict=True)))
        self._beside(sync_folder, list(folders))

    def _beside(self, do: Callable[[T], None], items: list[T]) -> None:
        """Do it with each, some at a time; returns, or raises the first error, when none runs."""
        if len(items) <= 1:
            for item in items:
                do(item)
            return
        if self._threads is None:
            from concurrent.futures import ThreadPoolExecutor  # Few nodes ever need it.

            self._threads = ThreadPoolExecutor(WRITERS, "meshcode-blobs")
        errors = [one.exception() for one in [self._threads.submit(do, item) for item in items]]
        for error in errors:
            if error is not None:
                raise error

    def read(self, table: str, key: bytes, reference: bytes) -> bytes | None:
        """The value, or None when the file is missing, cut, or not what was written.

        Raises:
            OSError: the disk would not say.
        """
        try:
            value = self._path(reference).read_bytes()
        except FileNotFoundError:
            return None
        return value if _digest(table, key, value) == reference[:32] else None

    def remove(self, references: Iterable[bytes]) -> None:
        """Remove files, and what is left of their writing; one that will not go is swept later."""
        self._beside(_remove, [self._path(reference) for reference in references])

    def sweep(self, standing: set[bytes]) -> tuple[int, list[bytes]]:
        """Remove all files but those of `standing` references.

        Returns:
            How many files went, and the references whose file is missing or of another size.
        """
        expected = {reference[:32].hex(): reference for reference in standing}
        swept = 0
        if self.folder.is_dir():
            for sub in os.scandir(self.folder):
                if not sub.is_dir(follow_symlinks=False):
                    continue
                for file in os.scandir(sub.path):
                    reference = expected.get(file.name)
                    if reference is None:
                        os.unlink(file.path)
                        swept += 1
                    elif file.stat().st_size == int.from_bytes(reference[32:40], "little"):
                        del expected[file.name]
        return swept, sorted(expected.values())
