"""The newest part of what is printed without end: of a call's output, and of the workers' log."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

LINE_BYTES_MAX = 4096  # What is cut is cut behind a line, if one ends within so many bytes.
_MARK = re.compile(rb"\n\[(\d+) bytes of output left out here\]\n")  # `worker/output.py` writes it.
_CUT = re.compile(rb"\[(\d+) bytes left out here\]\n")  # In front of a file that was cut.


def mark(count: int) -> bytes:
    """The line in front of an output that tells what went before it; b"" when nothing did."""
    return b"[%d bytes of output left out here]\n" % count if count else b""


def newest(data: bytes, most: int) -> tuple[bytes, int]:
    """At most the last `most` bytes, whole lines, and how many bytes were left out before them.

    Where the worker left some out itself, the number in its line counts, and the line does not.
    """
    at = len(data) - most
    if at <= 0:
        return data, 0
    at = max(at, data.find(b"\n", at, at + LINE_BYTES_MAX) + 1)
    its_line = _MARK.match(data, at - 1)  # It begins with the end of a line.
    at = its_line.end() if its_line else at
    gone = data[:at]
    own = sum(int(found[1]) - len(found[0]) for found in _MARK.finditer(gone))
    return data[at:], len(gone) + own


def cut_file(path: Path, most: int, kept: int) -> None:
    """Leave of a file that others append to its newest `kept` bytes, once it has over `most`.

    They go on in the same file.  What they write in the moment between reading and cutting is lost.
    Its first line tells how much is left out, by all cuts together.
    """
    with contextlib.suppress(OSError):  # It is not there; or the disk fails, and others say so.
        if os.stat(path).st_size <= most:
            return
        with path.open("r+b", buffering=0) as file:
            before = _CUT.match(file.read(LINE_BYTES_MAX))
            size = file.seek(0, os.SEEK_END)
            file.seek(size - kept)
            data = file.read(kept)
            tail, cut = newest(data, kept - LINE_BYTES_MAX)
            cut += size - len(data)
            if before:  # Its line is not theirs.
                cut += int(before[1]) - len(before[0])
            file.truncate(0)
        with path.open("ab", buffering=0) as file:
            file.write(b"[%d bytes left out here]\n" % cut + tail)


__all__ = ["cut_file", "mark", "newest"]
