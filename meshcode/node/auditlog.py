"""The audit log of a node: who did what, in lines of which each holds the hash of the one before.

    audit/audit.jsonl              the newest lines, 0600
    audit/audit-NUMBER.jsonl       older ones, by the number of their first line; the chain goes on

A line is JSON: `n` counts from 1, `prev` is the hash of line n - 1, `hash` that of this line
without itself.  Whoever changes, removes or puts in a line breaks the chain there.  Who cuts off
the end leaves a whole chain, so a running node is asked for its last number and hash
(`audit.tip`).  The chain begins with number 1, or where the log itself says that it does: before
the oldest file is removed, a line `audit.shortened` is written with the number and the `prev` of
the first line that stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from meshcode.digest import blake2b

FOLDER = "audit"
NEWEST = "audit.jsonl"
FIRST = "0" * 32  # What the first line has as `prev`.
FILE_BYTES_MAX = 4 * 1024 * 1024  # Then a new file begins; some 15,000 lines.
FILES_MAX = 64  # Older ones are removed, oldest first.
# What `mesh db` does to all that is declared: it asks the node before, which writes it down.
WHOLE = frozenset({"drop", "rebuild", "restore"})
# What a command does to the mesh beside the node, which is told of it by `node.may`.
BESIDE = frozenset({"init", "join", "invite", "admit", "evict", "rotate-key", "salvage"})
SHORTENED = "audit.shortened"  # The line that says where the chain begins from then on.
TEXT_MAX = 300  # Characters of one value.


class AuditBroken(ValueError):
    """The chain is not whole; the text says at which line."""


def hash_of(line: dict[str, Any]) -> str:
    """The hash of a line, over everything but itself."""
    plain = {name: value for name, value in line.items() if name != "hash"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return blake2b(text.encode(), digest_size=16, person=b"meshcode audit").hexdigest()


class AuditLog:
    """The file, written by one node."""

    def __init__(self, home: Path) -> None:
        """Go on after the last whole line; touches nothing before the first `add`."""
        self.folder = home / FOLDER
        self.number, self.hash = 0, FIRST
        self._unsynced = False
        self._descriptor: int | None = None
        self._size = 0
        self._mended = self._go_on()

    def _go_on(self) -> bool:
        """Find the end; true when a line there was cut short by a crash."""
        mended = False
        for path in reversed(files_of(self.folder)):
            lines = path.read_bytes().splitlines(keepends=True)
            cut = bool(lines) and not lines[-1].endswith(b"\n")
            whole = lines[:-1] if cut else lines
            if cut:
                mended = True
                os.truncate(path, sum(map(len, whole)))
            if whole:
                try:
                    last = json.loads(whole[-1])
                    self.number, self.hash = int(last["n"]), str(last["hash"])
                except (ValueError, KeyError, TypeError):
                    # Somebody's hand: the chain begins anew, which `verify` tells.
                    self.number, self.hash = len(whole), "unreadable"
                break
        return mended

    def add(self, at_ms: int, who: str, what: str, **more: Any) -> None:
        """Write one line.

        Args:
            at_ms: Unix milliseconds.
            who: the principal.
            what: the operation.
            more: `object`, `outcome` and whatever else; never a secret.

        Raises:
            OSError: it cannot be written; the chain is as it was.
        """
        if self._mended:
            self._mended = False
            self._write({"at_ms": at_ms, "who": "node", "what": "audit.mended",
                         "outcome": "a line that a crash cut short was removed"})  # fmt: skip
        fields = {name: _short(value) for name, value in more.items() if value is not None}
        self._write({"at_ms": at_ms, "who": _short(who), "what": _short(what), **fields})

    def _write(self, fields: dict[str, Any]) -> None:
        line, data = self._line(fields)
        if self._descriptor is not None and self._size + len(data) > FILE_BYTES_MAX:
            self._rotate(int(fields["at_ms"]))
            line, data = self._line(fields)
        self._append(line, data)

    def _line(self, fields: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The next line of the chain, and its bytes."""
        line = {"n": self.number + 1, **fields, "prev": self.hash}
        line["hash"] = hash_of(line)
        text = json.dumps(line, ensure_ascii=True, separators=(",", ":"))
        return line, text.encode() + b"\n"

    def _append(self, line: dict[str, Any], data: bytes) -> None:
        if self._descriptor is None:
            self._open()
        assert self._descriptor is not None
        if os.write(self._descriptor, data) != len(data):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(28, "the disk is full")
        self._size += len(data)
        self.number, self.hash = line["n"], line["hash"]
        self._unsynced = True

    def _open(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.folder / NEWEST, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self, at_ms: int) -> None:
        self.sync()
        assert self._descriptor is not None
        os.close(self._descriptor)
        self._descriptor = None
        newest = self.folder / NEWEST
        # A file in which somebody has written gets the last number: it comes behind the others.
        number = (_first_of(newest) or (self.number, ""))[0]
        newest.rename(self.folder / f"audit-{number:012d}.jsonl")
        files = files_of(self.folder)
        if len(files) > FILES_MAX:
            self._shorten(files[:-FILES_MAX], files[-FILES_MAX], at_ms)

    def _shorten(self, old: list[Path], kept: Path, at_ms: int) -> None:
        """Remove the oldest files, after the chain itself says, on the disk, where it begins."""
        first = _first_of(kept)
        if first is None:  # Somebody has written there: nothing is removed until it is the oldest.
            return
        self._append(*self._line({
            "at_ms": at_ms, "who": "node", "what": SHORTENED, "outcome": "older lines are removed",
            "first": first[0], "first_prev": first[1],
        }))  # fmt: skip
        self.sync()
        for path in old:
            path.unlink()

    def sync(self) -> None:
        """Put what was written on the disk; called once a second, so a power cut costs no more."""
        if self._unsynced and self._descriptor is not None:
            os.fdatasync(self._descriptor)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _first_of(path: Path) -> tuple[int, str] | None:
    """Number and `prev` of the first line of a file; None when that is no line."""
    try:
        with path.open("rb") as file:
            line = json.loads(file.readline())
        return int(line["n"]), str(line["prev"])
    except (ValueError, KeyError, TypeError):
        return None


def _short(value: Any) -> Any:
    if isinstance(value, bool | int):
        return value
    text = str(value)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 3] + "..."


def files_of(folder: Path) -> list[Path]:
    """The files of an audit log, oldest first; none when there is no log."""
    if not folder.is_dir():
        return []
    older = sorted(folder.glob("audit-*.jsonl"))
    newest = folder / NEWEST
    return [*older, newest] if newest.exists() else older


def read(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    """Every line: its file, its number in the file, its bytes without the line end."""
    for path in files_of(folder):
        with path.open("rb") as file:
            for at, data in enumerate(file, 1):
                yield path.name, at, data


def verify(folder: Path) -> tuple[int, int, str]:
    """Check the whole chain: the first number, the last, and its hash.

    Raises:
        AuditBroken: with the first line that does not belong there.
    """
    first, number, before = 0, 0, ""
    begin: tuple[str, int, Any] | None = None  # Where it begins, until the log has said why there.
    for name, at, data in read(folder):
        where = f"{name} line {at}"
        line = _whole_line(where, data)
        n, prev = int(line["n"]), line["prev"]
        if not number:
            first = n
            if n == 1 and prev != FIRST:
                raise AuditBroken(f"{where}, number 1, names a line before it: {prev}")
            begin = None if n == 1 else (where, n, prev)
        elif n != number + 1 or prev != before:
            told = f"number {n} comes after {prev}, and number {number} before it is {before}"
            raise AuditBroken(f"{where}: {told}; lines were removed, put in or put elsewhere")
        if line.get("what") == SHORTENED and begin is not None:
            told_begin = (begin[0], line.get("first"), line.get("first_prev"))
            begin = None if told_begin == begin else begin
        number, before = n, line["hash"]
    if begin is not None:
        raise AuditBroken(
            f"{begin[0]} is number {begin[1]}, and no line after it says that the log was shortened"
            " to there: the lines before it were removed by hand"
        )
    return first, number, before


def _whole_line(where: str, data: bytes) -> dict[str, Any]:
    """A line by itself: it can be read, has its end, and its own hash."""
    try:
        line = json.loads(data)
        n, own = int(line["n"]), line["hash"]
        _ = line["prev"]
    except (ValueError, KeyError, TypeError):
        raise AuditBroken(f"{where} is no line of an audit log") from None
    if not data.endswith(b"\n"):
        raise AuditBroken(f"{where} is cut short")
    if hash_of(line) != own:
        told = f"its hash is {hash_of(line)} and it says {own}"
        raise AuditBroken(f"{where}, number {n}, was changed: {told}")
    return dict(line)
