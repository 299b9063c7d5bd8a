"""`mesh/clients.keys`: the keys of clients elsewhere that a node lets in, kept by its operator.

One key a line: 40 characters of Z85, then a blank and any comment.  Empty lines and lines that
begin with `#` and a blank are comments.  A key may begin with `#` too, which no blank follows.
"""

from __future__ import annotations

import os
from pathlib import Path

from meshcode.limits import CLIENT_KEYS_BYTES_MAX, CLIENT_KEYS_MAX

FILE = "clients.keys"
KEY_CHARACTERS = 40


class KeyFile:
    """The file, looked at now and then; it takes effect without a restart."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the mesh folder; the file need not be there."""
        self.path = folder / FILE
        self.keys: frozenset[bytes] = frozenset()  # 32 raw bytes each.
        self._seen: bytes | None = None  # The content that `keys` are from; None = no file.
        self._trouble = ""

    def refresh(self) -> list[str]:
        """Take on what the file holds now; sentences about what is wrong with it, when it is new.

        A file that cannot be used lists nobody.  It is read whole each time: its time of change
        is too coarse, and it is small.
        """
        try:
            data = self._read()
        except FileNotFoundError:
            data = None
        except (OSError, ValueError) as error:
            self.keys, self._seen = frozenset(), None
            why = error.strerror if isinstance(error, OSError) else str(error)
            trouble = f"{self.path} is not used, so it lets in nobody: {why}"
            told, self._trouble = self._trouble, trouble
            return [] if told == trouble else [trouble]
        self._trouble = ""
        if data == self._seen:
            return []
        self._seen = data
        self.keys, problems = read_keys(data or b"")
        return [f"{self.path}: {problem}" for problem in problems]

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(CLIENT_KEYS_BYTES_MAX + 1)
        if mode & 0o022:
            raise ValueError(f"others may write to it (mode {mode & 0o7777:04o}); chmod 600 it")
        if len(data) > CLIENT_KEYS_BYTES_MAX:
            raise ValueError(f"it has more than {CLIENT_KEYS_BYTES_MAX:,} bytes")
        return data


def read_keys(data: bytes) -> tuple[frozenset[bytes], list[str]]:
    """The keys in a file's content, and what is wrong with lines of it; those are left out."""
    keys: dict[bytes, None] = {}
    problems = []
    for number, line in enumerate(data.split(b"\n"), 1):
        words = line.split(maxsplit=1)
        if not words or words[0] == b"#":
            continue
        key = key_of(words[0])
        if key is None:
            problems.append(
                f"line {number} lists nobody: its first word has {len(words[0])} characters and is "
                f"no key; a key is {KEY_CHARACTERS} characters of Z85"
            )
        elif len(keys) >= CLIENT_KEYS_MAX:
            problems.append(
                f"line {number} and those after it list nobody: {CLIENT_KEYS_MAX} keys are the "
                "limit"
            )
            break
        else:
            keys[key] = None
    return frozenset(keys), problems


def key_of(word: bytes) -> bytes | None:
    """The 32 bytes of a key in Z85, or None."""
    from struct import error as StructError

    from zmq.utils import z85

    if len(word) != KEY_CHARACTERS:
        return None
    try:
        return bytes(z85.decode(word))
    except (ValueError, KeyError, StructError):
        return None
