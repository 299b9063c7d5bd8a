"""What waits for one peer: small envelopes in order, large ones in chunks behind them.

Small envelopes overtake large ones, so that a probe never waits for 16 MiB.  Within each of the two
lines the order is kept.  Bounded: `offer` takes a whole list or nothing.  Pure.
"""

from __future__ import annotations

from collections import deque

from meshcode import limits
from meshcode.errors import TooLarge
from meshcode.peers import chunks
from meshcode.wire.frame import ENVELOPE_HEADER_BYTES


class Outbox:
    """The two lines of one peer."""

    __slots__ = ("_large", "_offset", "_small", "_transfer", "bytes")

    def __init__(self) -> None:
        """Nothing waits."""
        self._small: deque[bytes] = deque()
        self._large: deque[bytes] = deque()
        self._offset = 0  # Of the first large one: what of it went out.
        self._transfer = 1  # Names the first large one.
        self.bytes = 0

    @property
    def envelopes(self) -> int:
        """Envelopes that wait, the one that is partly sent included."""
        return len(self._small) + len(self._large)

    def offer(self, envelopes: list[bytes]) -> bool:
        """Take all of them, or none and say false when they do not fit.

        Raises:
            TooLarge: one of them is larger than any envelope may be; none was taken.
        """
        size = sum(map(len, envelopes))
        for data in envelopes:
            if len(data) > limits.ENVELOPE_BYTES_MAX:
                raise TooLarge(
                    f"an envelope of {len(data)} bytes is over the limit of "
                    f"{limits.ENVELOPE_BYTES_MAX}; nothing was sent; pass large data by reference",
                    found=len(data),
                    limit=limits.ENVELOPE_BYTES_MAX,
                )
        if self.bytes + size > limits.PEER_OUTBOX_BYTES_MAX:
            return False
        if self.envelopes + len(envelopes) > limits.PEER_OUTBOX_ENVELOPES_MAX:
            return False
        for data in envelopes:
            (self._small if len(data) <= chunks.WHOLE_BYTES_MAX else self._large).append(data)
        self.bytes += size
        return True

    def clear(self) -> int:
        """Drop everything; how many envelopes that were."""
        count = self.envelopes
        self._small.clear()
        self._large.clear()
        self._offset = 0
        self._transfer += 1
        self.bytes = 0
        return count

    def take(self, room: int, bulk_room: int, count_max: int) -> tuple[list[bytes], int]:
        """The envelopes of the next frame, and how many bytes of them are chunks.

        Args:
            room: bytes for all of them.
            bulk_room: bytes for chunks.
            count_max: envelopes of one frame.
        """
        taken: list[bytes] = []
        while self._small and len(taken) < count_max and len(self._small[0]) <= room:
            data = self._small.popleft()
            room -= len(data)
            self.bytes -= len(data)
            taken.append(data)
        if not self._large or (self._small and not taken) or len(taken) >= count_max:
            return taken, 0  # A small one that waits for room is not overtaken by a chunk.
        first = self._large[0]
        left = len(first) - self._offset
        size = min(room, bulk_room) - ENVELOPE_HEADER_BYTES
        if size < min(left, limits.PEER_CHUNK_BYTES_MIN):
            return taken, 0
        chunk = chunks.cut(first, self._transfer, self._offset, size + ENVELOPE_HEADER_BYTES)
        taken.append(chunk)
        self._offset += len(chunk) - ENVELOPE_HEADER_BYTES
        self.bytes -= len(chunk) - ENVELOPE_HEADER_BYTES
        if self._offset == len(first):
            self._large.popleft()
            self._offset = 0
            self._transfer += 1
        return taken, len(chunk)
