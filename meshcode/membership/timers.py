"""Named timers: arming one again moves it, and what was cancelled never wakes anyone."""

from __future__ import annotations

import heapq
from typing import Any

Key = tuple[str, Any]  # What for, and of whom.


class Timers:
    """A heap whose stale entries are dropped when they come up."""

    def __init__(self) -> None:
        self._due: dict[Key, int] = {}
        self._heap: list[tuple[int, int, Key]] = []
        self._count = 0

    def arm(self, what: str, of: Any, due_ms: int) -> None:
        """Let it fire at `due_ms` and at no other time."""
        key = (what, of)
        if self._due.get(key) == due_ms:
            return
        self._due[key] = due_ms
        self._count += 1  # No two entries compare their keys.
        heapq.heappush(self._heap, (due_ms, self._count, key))
        if len(self._heap) > 64 + 4 * len(self._due):
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def cancel(self, what: str, of: Any) -> None:
        """It does not fire; cancelling what is not armed is harmless."""
        self._due.pop((what, of), None)

    def armed(self, what: str, of: Any) -> bool:
        """Whether it will fire."""
        return (what, of) in self._due

    def next_due_ms(self) -> int | None:
        """When the first one fires; None when none is armed."""
        while self._heap:
            due_ms, _, key = self._heap[0]
            if self._due.get(key) == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now_ms: int) -> Key | None:
        """Take one that is due by now, the earliest first."""
        due_ms = self.next_due_ms()
        if due_ms is None or due_ms > now_ms:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._due[key]
        return key

    def clear(self) -> None:
        """Cancel all."""
        self._due.clear()
        self._heap.clear()
