"""Who writes the log, and when: one batch after another, most in a thread beside the node's.

The node's thread hands over a batch with `start`; when that returns it is staged, and its sync runs
beside the node's thread.  Where the log lets it, the node's thread stages the batch itself, as that
is only to pack it (docs/decisions/0028).  It may also sync a small batch itself while the disk is
quick: to wake the other thread and to be woken by it takes as long as such a sync, and what comes
meanwhile would wait for it in any case (docs/decisions/0034).

Where the log does not let it, the committer stages the batch and the node's thread waits: the
package lmdb gives up the interpreter lock at every put, and against a busy thread that made 1,024
puts take 168 ms instead of 0.64 ms (docs/decisions/0001).
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns
from typing import Final

from meshcode.errors import DiskFull, MeshError
from meshcode.router.effects import Op
from meshcode.store.contract import Log

SMALL_OPS: Final = 8  # What a call alone, or one step of a flow, comes to.
QUICK_US: Final = 400


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
        self.sync_us = 1_000_000  # Of late, and rather too long: one slow sync counts for many.
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable when a batch was synced or failed: call `finish`."""
        return self._read_fd

    def start(self, ops: Sequence[Op], *, may_wait: bool = False) -> bool:
        """Stage `ops` and begin to sync them; returns when they are staged.

        Args:
            ops: the batch.
            may_wait: the caller may be held up by a small batch while the disk is quick.

        Returns:
            True: they are on disk already, and `finish` has nothing to say of them.
        """
        assert not self.busy
        self.busy = True
        if not self._log.stages_apart:
            self._work.put(partial(self._stage_and_sync, ops))
            self._staged.acquire()
            return False
        at_once = may_wait and len(ops) <= SMALL_OPS and self.sync_us <= QUICK_US
        try:
            self._log.stage(ops)
            if at_once:
                self._sync()
        except (MeshError, OSError) as error:
            self._end(error)
            return False
        if not at_once:
            self._work.put(self._sync)
        self.busy = not at_once
        return at_once

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
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            error = None
            try:
                work()
            except (MeshError, OSError) as failure:
                error = failure
            self._end(error)

    def _sync(self) -> None:
        begin = monotonic_ns()
        self._log.sync()
        took_us = (monotonic_ns() - begin) // 1_000
        self.sync_us = max(took_us, self.sync_us - self.sync_us // 8)

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
