"""Ballast: a file that takes room while there is some, so that it can be given back when not.

When the disk is full, the log deletes its ballast for the first batch that deletes something: the
outcomes of calls that are already running still find room.  A batch that only adds gets what is
above three quarters of the least that it may be, once: it was thought before anybody knew that the
disk is full, and all that comes later would wait behind it.  It is made again when the disk has
plenty.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BALLAST_BYTES_MIN = 1024 * 1024
ROOM_FACTOR = 8  # The disk must have this many times the ballast free before it is made.


class Ballast:
    """The ballast file of one log.  Only the log's writer thread uses it."""

    def __init__(
        self, path: Path, bytes_max: int, bytes_min: int = BALLAST_BYTES_MIN
    ) -> None:
        self.path = path
        self.bytes_max = bytes_max
        self.bytes_min = bytes_min
        self.bytes_for_ends = 3 * bytes_min // 4  # Never given to what only adds.

    @property
    def size(self) -> int:
        """Bytes it takes now; 0 when there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def keep(self, log_bytes: int, disk_free: int) -> None:
        """Make or enlarge it when the disk has room: a quarter of the log, within its bounds.

        Failing is no error: the log goes on without ballast.
        """
        want = min(self.bytes_max, max(self.bytes_min, log_bytes // 4))
        size = self.size
        if want < 2 * size or want <= size or disk_free < ROOM_FACTOR * want:
            return
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(handle, 0, want)
            finally:
                os.close(handle)
        except (OSError, AttributeError):  # Not every system can reserve room.
            self.free()

    def free(self, left: int = 0) -> bool:
        """Give the room back, all but `left` bytes; False when there was none to give."""
        if self.size <= left:
            return False
        with contextlib.suppress(OSError):
            if left:
                os.truncate(self.path, left)
            else:
                self.path.unlink()
            return True
        return False
