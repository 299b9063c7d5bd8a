"""The three standard streams as the command needs them, whatever it was started with.

Nothing that is written may be lost in silence: an error of stdout is told apart from every other
one (`StdoutFailed`), and all of a text is written or it fails, also with PYTHONUNBUFFERED, where
Python's own stdout writes what fits and says nothing of the rest.  A stream that was closed is
there and fails when it is used; its number must not go to the next file that is opened.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any

from meshcode.errors import BadData

_ERRORS = "backslashreplace"  # A result may hold what this terminal cannot show.

_true: list[str] = []  # What else there is to say when stdout cannot be written.


class StdoutFailed(Exception):
    """Stdout took not all that was written to it; no OSError, which files of all kinds raise."""

    def __init__(self, number: int | None) -> None:
        self.number = number  # As in errno.h.


class _Stdout(io.FileIO):
    """Stdout without a buffer; remembers that it failed, since a buffer may forget."""

    failure: Exception | None = None
    is_given_up = False  # What is still in a buffer is dropped.

    def write(self, data: Any, /) -> int:
        """Write some of it.

        Raises:
            StdoutFailed: it cannot be written, or could not be a while ago.
            BrokenPipeError: its reader went away.
        """
        if self.is_given_up:
            return len(data)
        if self.failure is None:
            try:
                written = super().write(data)
                if written is not None:
                    return written
                self.failure = StdoutFailed(errno.EAGAIN)  # A pipe that does not wait is full.
            except BrokenPipeError as error:
                self.failure = error
            except OSError as error:
                self.failure = StdoutFailed(error.errno)
        raise self.failure


def prepare() -> None:
    """Have all three streams; those that a caller put in their place are used as they are."""
    if sys.stdin is None:
        sys.stdin = open(_closed(os.O_WRONLY))  # noqa: SIM115  It lasts as long as the process.
    if sys.stdout is None:
        _replace_stdout(_closed(os.O_RDONLY), "utf-8", by_line=False)
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):
            sys.stdout.flush()
        by_line = sys.stdout.line_buffering or sys.stdout.write_through
        _replace_stdout(sys.stdout.fileno(), sys.stdout.encoding, by_line=by_line)
    if sys.stderr is None:
        sys.stderr = open(_closed(os.O_WRONLY), "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)


def _closed(flags: int) -> int:
    """A descriptor in the place of the lowest that is closed; reading one of O_WRONLY fails."""
    return os.open(os.devnull, flags)


def _replace_stdout(descriptor: int, encoding: str, *, by_line: bool) -> None:
    raw = _Stdout(descriptor, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=_ERRORS, line_buffering=by_line
    )


def finish() -> None:
    """Write what is left in the buffer.

    Raises:
        StdoutFailed: not all of what was written arrived.
        BrokenPipeError: its reader went away before that.
    """
    sys.stdout.flush()
    raw = _raw()
    if raw is not None and raw.failure is not None:
        raise raw.failure


def give_up() -> None:
    """Drop what stdout did not take; without this the interpreter complains at its end."""
    raw = _raw()
    if raw is not None:
        raw.is_given_up = True
    with suppress(OSError, ValueError):  # Python's own, and one that a caller put there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _raw() -> _Stdout | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Stdout) else None


def say(text: str) -> None:
    """One line to stderr, if somebody reads that; nothing fails when nobody does.

    What tasks and other hosts say may be in it: nothing reaches the terminal as a command.
    """
    if not text.isprintable():
        from meshcode.cli.table import told

        text = told(text)
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def holds(text: str) -> None:
    """Note what is true, and to be told if stdout turns out not to take the output."""
    _true[:] = [text]


def failure_text(error: StdoutFailed) -> str:
    """What the person reads when stdout did not take the output."""
    number = error.number or 0
    why = "it is closed" if number == errno.EBADF else os.strerror(number)
    held = _true[0] if _true else "what the command did holds"
    return f"mesh: stdout cannot be written: {why}; output is missing; {held}"


def read_stdin(limit: int, *, line: bool = False) -> bytes:
    """What comes on stdin, or its next line; at most `limit` bytes.

    Raises:
        BadData: it cannot be read.
    """
    try:
        return sys.stdin.buffer.readline(limit) if line else sys.stdin.buffer.read(limit)
    except OSError as error:
        why = "it is closed" if error.errno == errno.EBADF else error.strerror or error
        raise BadData(f"stdin cannot be read: {why}; nothing was sent") from None
