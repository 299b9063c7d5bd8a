"""Node time: Unix milliseconds at boot, then counted by a clock that only goes forward.

CLOCK_BOOTTIME goes on in suspend and is never set, so nothing in the core sees the wall clock jump.
A node whose wall clock was set back while it was down begins at the last time its log recorded, so
node time never goes back over a restart either (docs/decisions/0003).
"""

from __future__ import annotations

import time

from meshcode.ids import unix_ms

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_ms() -> int:
    """Milliseconds since the machine started, suspend included."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


class Clock:
    """The only reader of clocks for the node's thread."""

    def __init__(self, floor_ms: int = 0) -> None:
        """Begin at the wall clock, but not before `floor_ms`, the last time on record."""
        wall_ms = unix_ms()
        self.stepped_ms = floor_ms - wall_ms if floor_ms > wall_ms else 0  # For the audit: how far.
        self.boot_ms = max(wall_ms, floor_ms)
        self._base = self.boot_ms - boottime_ms()

    def now_ms(self) -> int:
        """Node milliseconds; never goes back."""
        return self._base + time.clock_gettime_ns(_CLOCK) // 1_000_000
