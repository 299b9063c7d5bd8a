"""What makes the node's thread look around, for all other threads of its program."""

from __future__ import annotations

import os
import threading


class Waker:
    """A pipe that the loop polls.

    Threads that run functions of the host program may outlive the node: what they wake then is
    nobody, and not whoever got the number of the descriptor after it.
    """

    def __init__(self) -> None:
        """Nobody was woken."""
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lock = threading.RLock()  # A signal may come to the thread that has it.

    def fileno(self) -> int:
        """Readable when somebody called `wake`: call `clear`."""
        return self._read

    def wake(self) -> None:
        """Make the loop look around; from any thread or signal, after `close` too."""
        with self._lock:
            if self._write < 0:
                return
            try:
                os.write(self._write, b"w")
            except BlockingIOError:
                return  # A full pipe wakes it, too.

    def clear(self) -> None:
        """Make it unreadable again."""
        try:
            while os.read(self._read, 4_096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            ends = self._read, self._write
            self._read = self._write = -1
            for end in ends:
                os.close(end)
