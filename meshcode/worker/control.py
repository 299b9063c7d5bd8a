"""The control page: one small shared file per worker, read and written by node and worker.

The worker says what it is doing with plain stores into a mapped page, so a no-op call pays well
under a microsecond for it, and the page outlives the worker: after `kill -9` the node still reads
which calls had begun.  The node asks for a call to end by writing its id into a ring and sending
SIGUSR1.

All words are little endian and aligned; each has exactly one writer.

    offset  bytes  writer  what
         0      8  node    magic "MESHCTL1"
         8      8  worker  pid
        16      8  worker  calls begun by the main thread
        24      8  worker  calls finished by the main thread
        32      8  worker  CLOCK_MONOTONIC ns of the last turn of its loop
        40      8  worker  resident memory, bytes
        48      8  node    cancels asked
        56      8  worker  cancels taken
        64   2x32  worker  call slots: id 16, attempt 4, zero 4, started ns 8
       128  32x24  node    cancel ring: id 16, reason 4, zero 4
      1024  64x32  worker  async table: id 16, attempt 4, live 4, started ns 8
      3072      8  worker  async calls begun
      3080      8  worker  async calls finished
      3104   31x32  worker  streams that were put aside: as the async table, rows 64 and up

A call is published by writing the slot that is not in use, then the begun count: slot n & 1 is
touched again only by call n + 2, so a reader that finds the same count before and after has read a
whole slot.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from meshcode import native
from meshcode.limits import ASYNC_CALLS_MAX

PAGE_BYTES = 4096
MAGIC = b"MESHCTL1"
REASON_CANCEL = 1  # The outcome becomes CANCELLED.
REASON_TIME_LIMIT = 2  # The outcome becomes FAILED with code time_limit.
# No call ends: the worker gives back those it has not begun.  In place of an id is how many calls
# the node has sent it so far, little endian.
REASON_RECALL = 3
REASONS = {"cancel": REASON_CANCEL, "time limit": REASON_TIME_LIMIT, "recall": REASON_RECALL}

CANCEL_ROWS = 32  # Cancels asked and not yet taken; the worker's handler takes all at once.
ASYNC_ROWS = 64  # Rows of the async table, and so the most async calls of one worker.
STREAM_ROWS = 31  # Rows behind them for streams; one without a row counts as not begun at a crash.
assert ASYNC_CALLS_MAX <= ASYNC_ROWS, "every running async call needs a row in the control page"

_SLOT = struct.Struct("<16sIIQ")
_CANCEL = struct.Struct("<16sII")
_SLOTS_AT = 64
_CANCELS_AT = 128
_ASYNC_AT = 1024
_STREAMS_AT = 3104
_PID, _BEGUN, _FINISHED, _STAMP, _RSS, _ASKED, _TAKEN = range(1, 8)  # Word numbers.
_ASYNC_BEGUN, _ASYNC_FINISHED = 384, 385


class Running(NamedTuple):
    """A call that has begun and not finished."""

    id: bytes
    attempt: int
    started_ns: int  # CLOCK_MONOTONIC: comparable between processes of one host.


def _row_at(row: int) -> int:
    return _ASYNC_AT + row * 32 if row < ASYNC_ROWS else _STREAMS_AT + (row - ASYNC_ROWS) * 32


class ControlPage:
    """Both sides of one control page.  Make it with `create` (node) or `open` (worker)."""

    def __init__(self, file: int, path: str) -> None:
        self.path = path
        try:
            self.map = mmap.mmap(file, PAGE_BYTES)
        finally:
            os.close(file)
        self.words = memoryview(self.map).cast("Q")
        self._slots = slots = native.Slots(self.map)
        # The worker's main thread begins a call: its id, attempt, and when, CLOCK_MONOTONIC ns.
        self.begin: Callable[[bytes, int, int], None] = slots.begin
        self.finish: Callable[[], None] = slots.finish  # That call has its outcome staged.

    @classmethod
    def create(cls, path: str) -> ControlPage:
        """Make the page of a worker to come; an older file at `path` is replaced.  Mode 0600."""
        temporary = f"{path}.new"
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, PAGE_BYTES)
            os.pwrite(file, MAGIC, 0)
            os.rename(temporary, path)
        except OSError:
            os.close(file)
            raise
        return cls(file, path)

    @classmethod
    def open(cls, path: str) -> ControlPage:
        """Map the page that the other side made.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is not a control page.
        """
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        head = os.pread(file, len(MAGIC), 0)
        size = os.fstat(file).st_size
        if head != MAGIC or size != PAGE_BYTES:
            os.close(file)
            raise ValueError(
                f"{path} is not a control page: it begins with {head!r} and has {size} bytes,"
                f" wanted {MAGIC!r} and {PAGE_BYTES}"
            )
        return cls(file, path)

    def close(self) -> None:
        """Unmap the page; the file stays."""
        self.words.release()
        self._slots.close()
        self.map.close()

    # The worker's side.

    def set_pid(self, pid: int) -> None:
        """Say which process this is."""
        self.words[_PID] = pid

    def begin_async(self, row: int, call_id: bytes, attempt: int, now_ns: int) -> None:
        """An async call, or a stream, begins in `row`, which the caller keeps free."""
        at = _row_at(row)
        _SLOT.pack_into(self.map, at, call_id, attempt, 0, now_ns)
        struct.pack_into("<I", self.map, at + 20, 1)
        self.words[_ASYNC_BEGUN] += 1

    def finish_async(self, row: int) -> None:
        """The async call in `row` has its outcome staged."""
        struct.pack_into("<I", self.map, _row_at(row) + 20, 0)
        self.words[_ASYNC_FINISHED] += 1

    def stamp(self, now_ns: int) -> None:
        """The worker's loop turned."""
        self.words[_STAMP] = now_ns

    def set_resident(self, size: int) -> None:
        """Say how much memory is resident, in bytes."""
        self.words[_RSS] = size

    def take_cancels(self) -> list[tuple[bytes, int]]:
        """Take all cancels asked and not taken: `(id, reason)`.  Called by the signal handler."""
        asked, taken = self.words[_ASKED], self.words[_TAKEN]
        found = []
        for number in range(taken, asked):
            call_id, reason, _zero = _CANCEL.unpack_from(
                self.map, _CANCELS_AT + number % CANCEL_ROWS * _CANCEL.size
            )
            found.append((call_id, reason))
        self.words[_TAKEN] = asked
        return found

    # The node's side.

    def ask_cancel(self, call_id: bytes, reason: str) -> bool:
        """Ask for a call to end; then send SIGUSR1.  `reason`: "cancel" or "time limit".

        Returns:
            False when the worker has not taken the last CANCEL_ROWS cancels: ask again later.
        """
        asked = self.words[_ASKED]
        if asked - self.words[_TAKEN] >= CANCEL_ROWS:
            return False
        _CANCEL.pack_into(
            self.map,
            _CANCELS_AT + asked % CANCEL_ROWS * _CANCEL.size,
            call_id,
            REASONS[reason],
            0,
        )
        self.words[_ASKED] = asked + 1
        return True

    @property
    def cancels_asked(self) -> int:
        """Cancels asked since the worker was made."""
        return self.words[_ASKED]

    @property
    def cancels_taken(self) -> int:
        """How many of these the worker has taken."""
        return self.words[_TAKEN]

    def current(self) -> Running | None:
        """The call the main thread is in, None when it is in none."""
        while True:
            begun = self.words[_BEGUN]
            if begun == self.words[_FINISHED]:
                return None
            call_id, attempt, _zero, started = _SLOT.unpack_from(
                self.map, _SLOTS_AT + (begun & 1) * 32
            )
            if self.words[_BEGUN] == begun:
                return Running(call_id, attempt, started)

    def running(self) -> list[Running]:
        """All calls begun and not finished: the main thread's and the async ones.

        Exact once the worker is dead; a snapshot while it lives.
        """
        current = self.current()
        found = [] if current is None else [current]
        for row in range(ASYNC_ROWS + STREAM_ROWS):
            call_id, attempt, live, started = _SLOT.unpack_from(self.map, _row_at(row))
            if live:
                found.append(Running(call_id, attempt, started))
        return found

    @property
    def pid(self) -> int:
        """The worker's process id; 0 until it has opened the page."""
        return self.words[_PID]

    @property
    def begun(self) -> int:
        """Calls begun since the worker started."""
        return self.words[_BEGUN] + self.words[_ASYNC_BEGUN]

    @property
    def finished(self) -> int:
        """Calls finished since the worker started."""
        return self.words[_FINISHED] + self.words[_ASYNC_FINISHED]

    @property
    def stamp_ns(self) -> int:
        """CLOCK_MONOTONIC of the last turn of the worker's loop, nanoseconds."""
        return self.words[_STAMP]

    @property
    def resident(self) -> int:
        """Resident memory of the worker in bytes, as of its last look (about once a second)."""
        return self.words[_RSS]
