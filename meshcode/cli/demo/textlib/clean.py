"""Reading files as text, and the words in it."""

from __future__ import annotations

import os
import re

_WORD = re.compile(r"[A-Za-z]{2,}")


def read(path: str) -> str:
    """The text of a file with plain newlines; bytes that are not UTF-8 are replaced."""
    with open(path, "rb") as file:
        return file.read().decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def words(text: str) -> list[str]:
    """The words of a text in lower case."""
    return [word.lower() for word in _WORD.findall(text)]


def note(ledger: str, key: str) -> None:
    """Add one line to a file that outlives this process: the side effect that the demo counts.

    One write of a short line to a file opened to append is never mixed with another's.
    """
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{key} {os.getpid()}\n".encode())
    finally:
        os.close(handle)
