"""How much more is kept of ended calls than may be, by number and by bytes.

Counting asks the log about each record that its tree does not have yet.  So it is counted anew only
when what was too much is gone, or all was looked at; nobody else forgets, so it never is less.
"""

from __future__ import annotations

from meshcode.store.contract import DONE, OUTPUT, Log


class Excess:
    """What must go of one log's history."""

    def __init__(self, log: Log) -> None:
        """Nothing is counted."""
        self._log = log
        self._each = 0  # Bytes that a record takes on average, the rest of its page included.
        self.calls = 0  # Too many; 0 or less: none.
        self.bytes = 0

    def size(self) -> int:
        """Bytes of all ended calls and what they printed."""
        return self._log.size(DONE) + self._log.size(OUTPUT)

    def count(self, calls_max: int, bytes_max: int) -> None:
        """Count what is too much, if that is not known; a limit of 0 is none."""
        if self.calls > 0 or self.bytes > 0:
            return
        calls = self._log.count(DONE)
        size = self.size() if bytes_max else 0
        self.calls = calls - calls_max if calls_max else 0
        self.bytes = size - bytes_max
        self._each = size // max(1, calls)

    def room_of(self, value: bytes) -> int:
        """The bytes that a record gives back: pages are counted, and pages are not full."""
        return max(len(value), self._each)

    def reduce(self, values: list[bytes]) -> None:
        """These records are about to go."""
        self.calls -= len(values)
        if self.bytes > 0:
            self.bytes -= sum(map(self.room_of, values))

    def count_anew(self) -> None:
        """What was counted holds no longer."""
        self.calls = self.bytes = 0


__all__ = ["Excess"]
