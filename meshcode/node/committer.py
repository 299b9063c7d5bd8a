"""Who writes the log, and when: one batch after another, by the node's thread or beside it.

The node's thread hands over a batch with `start`.  While the disk is quick it syncs the batch
itself: to wake the committer and to be woken by it takes longer than such a sync, and on a busy
machine much longer (docs/decisions/0034, 0036).  Else the committer's thread does, beside it.

Where the log does not let the node's thread stage (`Log.stages_apart`), the committer stages the
batch, too, and the node's thread waits for that: the package lmdb gives up the interpreter lock at
every put, and against a busy thread that made 1,024 puts take 168 ms instead of 0.64 ms
(docs/decisions/0001).
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Final

from meshcode.errors import DiskFull
from meshcode.node import threads
from meshcode.router.effects import Op
from meshcode.store.contract import Log

SMALL_OPS: Final = 512  # A larger batch takes long to write: beside it the next can be thought.
QUICK_US: Final = 2_000  # While syncs take no longer, the node's thread makes them.
STALL_US: Final = 100_000  # After one of these that thread makes none for SHY_US.
SHY_US: Final = 60_000_000


class Committer:
    """Writes one batch after another; says on a pipe when each is on disk."""

    def __init__(self, log: Log) -> None:
        """Start the thread."""
        self._log = log
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._staged = threading.Semaphore(0)
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.busy = False
        self.error: BaseException | None = None
        self.sync_us = 100_000  # How long one takes, on the average of late; first it is to show.
        self._shy_until_us = 0  # By the monotonic clock.
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        try:
            threads.start(self._thread)
        except threads.NoThread:
            self._close_pipe()
            raise

    def fileno(self) -> int:
        """Readable when a batch was synced or failed: call `finish`."""
        return self._read_fd

    def start(self, ops: Sequence[Op]) -> bool:
        """Stage `ops` and sync them, here or beside the caller; returns when they are staged.

        Whatever goes wrong, in this thread or the other one, `finish` tells.

        Returns:
            True: they are on disk already, and `finish` has nothing to say of them.
        """
        assert not self.busy
        self.busy = True
        if not self._log.stages_apart:
            self._work.put(partial(self._stage_and_sync, ops))
            self._staged.acquire()
            return False
        try:
            self._log.stage(ops)
            at_once = len(ops) <= SMALL_OPS and self._is_quick()
            if at_once:
                self._sync()
        except BaseException as error:
            self._end(error)
            return False
        if not at_once:
            self._work.put(self._sync)
        self.busy = not at_once
        return at_once

    def _is_quick(self) -> bool:
        """Whether a sync of what is staged will hold up nobody for long, by all that is known."""
        if self.sync_us > QUICK_US or not self._log.syncs_briefly:
            return False
        return monotonic_ns() // 1_000 >= self._shy_until_us

    def finish(self) -> BaseException | None:
        """Take notice of the end of the batch: None when it is on disk, else what went wrong."""
        try:
            if not os.read(self._read_fd, 1):
                return None
        except BlockingIOError:
            return None
        assert self.busy
        self.busy = False
        error, self.error = self.error, None
        return error

    def wait(self) -> BaseException | None:
        """Block until the batch under way has ended, if any (at shutdown, and in tests)."""
        if not self.busy:
            return None
        os.set_blocking(self._read_fd, True)
        try:
            return self.finish()
        finally:
            os.set_blocking(self._read_fd, False)

    def close(self) -> None:
        """End the thread; a batch under way is finished first."""
        self._work.put(None)
        self._thread.join()
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            error = None
            try:
                work()
            except BaseException as failure:  # Nobody else would tell the node: it waits for this.
                error = failure
            self._end(error)

    def _sync(self) -> None:
        begin = monotonic_ns()
        self._log.sync()
        end = monotonic_ns()
        took_us = (end - begin) // 1_000
        self.sync_us += (took_us - self.sync_us) // 8
        if took_us >= STALL_US:  # A card that does its housekeeping will do so again.
            self._shy_until_us = end // 1_000 + SHY_US

    def _stage_and_sync(self, ops: Sequence[Op]) -> None:
        try:
            self._log.stage(ops)
        finally:
            self._staged.release()
        self._log.sync()

    def _end(self, error: BaseException | None) -> None:
        self.error = error
        os.write(self._write_fd, b"x")


def is_full(error: BaseException) -> bool:
    """Whether a failed batch may be tried again when there is room."""
    return isinstance(error, DiskFull)
