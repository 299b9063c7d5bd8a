"""Waiting for what a frame from the node may have changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from meshcode.client.call import deadline_of, seconds_left
from meshcode.client.outbox import Outbox
from meshcode.client.wake import Waiter


class News:
    """Who wants to look after the next frame."""

    __slots__ = ("_outbox", "_waiting")

    def __init__(self, outbox: Outbox) -> None:
        """Nobody yet; when `outbox` is gone there will be no more frames."""
        self._outbox = outbox
        self._waiting: deque[Callable[[], object]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `condition()`, which is looked at after each frame; whether it is so."""
        deadline = deadline_of(timeout)
        while True:
            waiter = Waiter()
            self._waiting.append(waiter.set)
            # Looking after appending: news in between are seen here or wake the waiter.
            if condition():
                return True
            if self._outbox.gone:  # There will be no more news.
                return condition()
            if not waiter.wait(seconds_left(deadline)):
                return condition()

    def on_next(self, callback: Callable[[], object]) -> None:
        """Run `callback` once, in the I/O thread, after the next frame."""
        self._waiting.append(callback)

    def tell(self) -> None:
        """For the I/O thread: there was a frame."""
        waiting = self._waiting
        for _ in range(len(waiting)):
            waiting.popleft()()
