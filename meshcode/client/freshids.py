"""Call ids for one client, made quickly: the layout of `meshcode.ids`, one random start per
millisecond instead of one per id.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count, islice

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_START_BYTES = 10  # Random, for each millisecond.
_STARTS = 64  # Read from the system at once: each time gives up the interpreter lock.


class FreshIds:
    """Makes ids that are unique everywhere and ascend within this client.

    Within one millisecond ids count up from 62 random bits; the 12 bits between are random too.
    Threads may share one maker: two that see the same new millisecond both begin at their own
    random start, so nothing is given twice.
    """

    __slots__ = ("_ms", "_numbers", "_starts")

    def __init__(self) -> None:
        self._ms = -1
        self._numbers: Iterator[int] = count()
        self._starts: Iterator[bytes] = iter(())

    def __call__(self) -> bytes:
        """One fresh id of 16 bytes; reads the clock."""
        ms = time.time_ns() // 1_000_000
        if ms > self._ms:  # When the clock is set back, ids go on ascending from where they were.
            self._begin(ms)
        return next(self._numbers).to_bytes(16, "big")

    def many(self, count: int) -> list[bytes]:
        """So many at once, all of one moment."""
        first = self()
        return [first, *(n.to_bytes(16, "big") for n in islice(self._numbers, count - 1))]

    def _begin(self, ms: int) -> None:
        start_bytes = next(self._starts, b"")
        if not start_bytes:
            data = os.urandom(_START_BYTES * (_STARTS + 1))
            starts = [data[at : at + _START_BYTES] for at in range(0, len(data), _START_BYTES)]
            start_bytes = starts.pop()
            self._starts = iter(starts)
        random = int.from_bytes(start_bytes, "big")
        # The top bit of the 62 stays 0, so that counting up never runs into the variant bits.
        rand_b = (random >> 12) & ((1 << 61) - 1)
        start = (ms << 80) | _VERSION_AND_VARIANT | ((random & 0xFFF) << 64) | rand_b
        self._numbers = count(start)
        self._ms = ms
