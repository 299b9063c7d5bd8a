"""Waking the I/O thread out of its poll, and callers out of their waits."""

from __future__ import annotations

import os
import time
from _thread import TIMEOUT_MAX, allocate_lock
from collections.abc import Callable


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
        return self._lock.acquire(timeout=min(max(seconds, 0.0), TIMEOUT_MAX))


class Notice:
    """Who is to be told, once, when something has happened.  For any thread.

    Whoever waits says so first and looks then, so that nothing is missed; and when the wait is over
    before something happened, takes it back.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: dict[Callable[[], object], bool] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, callback: Callable[[], object]) -> None:
        """Have `callback` run once, by the next `tell`, in the thread that tells."""
        self._waiting[callback] = True

    def drop(self, callback: Callable[[], object]) -> None:
        """Who waited goes: `callback` is not run any more, if it was not yet."""
        self._waiting.pop(callback, None)

    def tell(self) -> None:
        """Something has happened; who is added meanwhile waits for the next."""
        for callback in list(self._waiting):
            if self._waiting.pop(callback, False):  # Else another thread told it, or it is gone.
                callback()

    def wait(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait to be told once, unless `condition()`; whether it was so, or something happened."""
        waiter = Waiter()
        self.add(waiter.set)
        try:
            return condition() or waiter.wait(seconds)
        finally:
            self.drop(waiter.set)

    def wait_until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until `condition()`, which is looked at whenever it is told; whether it is so."""
        end = None if seconds is None else time.monotonic() + seconds
        while not condition():
            if not self.wait(condition, None if end is None else end - time.monotonic()):
                return condition()
        return True
