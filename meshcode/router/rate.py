"""A token bucket in whole milliseconds: at most `count` begins per `per_ms`, evenly spread.

It holds at most one second's worth (at least one) at once, so `60/m` is one each second and not
sixty in a burst.
"""

from __future__ import annotations


class Rate:
    """How many calls of a socket may begin now."""

    __slots__ = ("burst", "count", "per_ms", "stamp")

    def __init__(self, count: int, per_ms: int) -> None:
        """`count` calls per `per_ms` milliseconds; the bucket begins full."""
        self.count = count
        self.per_ms = per_ms
        self.burst = max(1, count * 1_000 // per_ms)
        self.stamp = -(1 << 62)  # Time up to which tokens are used, in milliseconds * count.

    def allowed(self, now_ms: int) -> int:
        """How many may begin at `now_ms`."""
        oldest = (now_ms * self.count) - self.burst * self.per_ms
        return (now_ms * self.count - max(self.stamp, oldest)) // self.per_ms

    def use(self, calls: int, now_ms: int) -> None:
        """Take the tokens of `calls` that begin at `now_ms`."""
        oldest = (now_ms * self.count) - self.burst * self.per_ms
        self.stamp = max(self.stamp, oldest) + calls * self.per_ms

    def next_ms(self) -> int:
        """The first millisecond at which one more may begin."""
        return -(-(self.stamp + self.per_ms) // self.count)
