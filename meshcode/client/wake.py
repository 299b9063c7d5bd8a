"""Waking the I/O thread out of its poll, and a caller out of its wait."""

from __future__ import annotations

import os
from _thread import allocate_lock


class Wakeup:
    """A file descriptor that becomes readable when `set` is called.  Not safe after `close`."""

    __slots__ = ("_write", "fd")

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self.fd = self._write = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.fd, self._write = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._write, False)

    def set(self) -> None:
        """Make the descriptor readable; any number of times counts once."""
        try:
            os.write(self._write, b"\x01\0\0\0\0\0\0\0")
        except BlockingIOError:
            return  # A pipe full of wake-ups wakes too.

    def clear(self) -> None:
        """Make it unreadable again."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self.fd)
        if self._write != self.fd:
            os.close(self._write)


class Waiter:
    """One thread waits for one thing that the I/O thread will do.  Half the cost of an Event."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Let the waiting thread go on; called by one thread, mostly the I/O thread."""
        if self._lock.locked():
            self._lock.release()

    def wait(self, seconds: float | None) -> bool:
        """Wait until `set`, at most `seconds`; whether it was set.  Ctrl-C interrupts it."""
        if seconds is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(seconds, 0.0), 1e6))
