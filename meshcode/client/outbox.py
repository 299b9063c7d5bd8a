"""What callers hand to the I/O thread, and how much of it may be on its way.

Callers append under one lock; the I/O thread takes everything at once.  A caller that finds the
window full waits: that is the back-pressure of the whole client, so memory stays bounded however
slow the node is.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, RLock
from typing import TYPE_CHECKING, Any

from meshcode.client.wake import Notice, Wakeup
from meshcode.errors import MeshError
from meshcode.limits import WINDOW_BYTES, WINDOW_CALLS

if TYPE_CHECKING:
    from meshcode.client.call import Call


class Outbox:
    """Calls and commands on their way from any thread to the I/O thread."""

    def __init__(self) -> None:
        # Reentrant, because the garbage collector may close a dropped client at any allocation.
        self.lock = RLock()
        self._room = Condition(self.lock)
        self.room = Notice()  # The same for who must not block.
        self.wakeup = Wakeup()
        self.calls: list[Call] = []
        self.drafts: list[bytes] = []
        self.bytes = 0  # Of `drafts`.
        self.commands: list[Callable[[], object]] = []
        self.sleeping = False  # The I/O thread is in its poll, or about to be.
        self.closed: MeshError | None = None  # Why nothing is taken any more.
        self.gone = False  # The I/O thread has ended: nothing may wake it.
        # The window: submitted here and not yet acknowledged by the node.
        self.unacked_calls = 0
        self.unacked_bytes = 0
        self.window_calls = WINDOW_CALLS
        self.window_bytes = WINDOW_BYTES

    def put(self, call: Call, draft: bytes) -> None:
        """Hand over one call; waits while the window is full.

        Raises:
            MeshError: the client is closed.
        """
        size = len(draft)
        with self.lock:
            if self.closed is not None or (
                self.unacked_calls
                and (
                    self.unacked_calls >= self.window_calls
                    or self.unacked_bytes + size > self.window_bytes
                )
            ):
                self._wait_for_room(1, size)
            self.calls.append(call)
            self.drafts.append(draft)
            self.bytes += size
            self.unacked_calls += 1
            self.unacked_bytes += size
            if self.sleeping:
                self.sleeping = False
                self.wakeup.set()

    def put_many(self, calls: list[Call], drafts: list[bytes], size: int) -> None:
        """Hand over a batch of `size` bytes; waits until the whole of it fits the window.

        Raises:
            MeshError: the client is closed.
        """
        with self.lock:
            if self._is_full(len(calls), size):
                self._wait_for_room(len(calls), size)
            self._add(calls, drafts, size)

    def try_put(self, calls: list[Call], drafts: list[bytes], size: int) -> bool:
        """As `put_many`, but returns False instead of waiting.

        Raises:
            MeshError: the client is closed.
        """
        with self.lock:
            if self.closed is not None:
                raise self.closed.with_traceback(None)
            if self._is_full(len(calls), size):
                return False
            self._add(calls, drafts, size)
            return True

    def is_empty(self) -> bool:
        """Whether all calls were acknowledged, or nothing is taken any more."""
        return not self.unacked_calls or self.closed is not None

    def command(self, action: Callable[[], object]) -> None:
        """Have the I/O thread do something, after what was submitted before it was sent.

        Raises:
            MeshError: the client is closed.
        """
        with self.lock:
            if self.closed is not None:
                raise self.closed.with_traceback(None)
            self.commands.append(action)
            self._wake()

    def close(self, why: MeshError) -> None:
        """Take nothing more.  What was taken is still sent.  The first reason given stays."""
        with self.lock:
            if self.closed is None:
                self.closed = why
            self._room.notify_all()
            self._wake()

    # For the I/O thread.

    def may_sleep(self, *, sends_calls: bool) -> bool:
        """Whether there is nothing to do; from here on callers wake the thread up."""
        with self.lock:
            self.sleeping = not (self.commands or (sends_calls and self.calls))
            return self.sleeping

    def take_calls(self) -> tuple[list[Call], list[bytes], int]:
        """All calls that were handed over, their drafts, and the bytes of these."""
        with self.lock:
            taken = self.calls, self.drafts, self.bytes
            self.calls, self.drafts, self.bytes = [], [], 0
            return taken

    def take_commands(self) -> list[Callable[[], object]]:
        """All commands that were handed over."""
        with self.lock:
            taken, self.commands = self.commands, []
            return taken

    def acknowledged(self, calls: int, size: int) -> None:
        """The node has answered for these calls: there is room for others."""
        with self.lock:
            self.unacked_calls -= calls
            self.unacked_bytes -= size
            self._room.notify_all()
        self.room.tell()

    def end(self, why: MeshError) -> None:
        """The I/O thread ends: everyone who waits here is let go."""
        with self.lock:
            if self.closed is None:
                self.closed = why
            self.gone = True
            self.wakeup.close()
            self._room.notify_all()
        self.room.tell()

    def abandon(self, why: MeshError) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self.lock = RLock()
        self._room = Condition(self.lock)
        self.room = Notice()  # Who waits belongs to event loops of the parent.
        if not self.gone:
            self.end(why)

    # Under the lock.

    def _is_full(self, count: int, size: int) -> bool:
        return self.closed is not None or bool(
            self.unacked_calls  # One batch may always pass alone, however large.
            and (
                self.unacked_calls + count > self.window_calls
                or self.unacked_bytes + size > self.window_bytes
            )
        )

    def _wait_for_room(self, count: int, size: int) -> None:
        while self._is_full(count, size):
            if self.closed is not None:
                raise self.closed.with_traceback(None)
            self._room.wait()

    def _add(self, calls: list[Call], drafts: list[bytes], size: int) -> None:
        self.calls += calls
        self.drafts += drafts
        self.bytes += size
        self.unacked_calls += len(calls)
        self.unacked_bytes += size
        self._wake()

    def _wake(self) -> None:
        if self.sleeping and not self.gone:
            self.sleeping = False
            self.wakeup.set()

    def __repr__(self) -> str:
        shown: dict[str, Any] = {"unacked": self.unacked_calls, "bytes": self.unacked_bytes}
        return f"<Outbox {shown}>"
