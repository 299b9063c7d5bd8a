"""Credit: how much may be on its way to a peer, and what a peer is to be told was handled.

Acknowledgement is cumulative by sequence, so a lost CREDIT costs nothing: the next one says more.
Frames that carry only HELLO, CREDIT or BYE use no credit.  Pure.
"""

from __future__ import annotations

from collections import deque

from meshcode import limits


class Window:
    """The sender's side: frames sent and not yet told handled."""

    __slots__ = ("_sent", "bulk", "bytes", "bytes_max", "frames_max", "since_ms")

    def __init__(self) -> None:
        """Nothing is on its way; the peer has not yet said what it grants."""
        self._sent: deque[tuple[int, int, int]] = deque()  # sequence, bytes, bytes of chunks
        self.bytes = 0
        self.bulk = 0
        self.frames_max = limits.PEER_CREDIT_FRAMES
        self.bytes_max = limits.PEER_CREDIT_BYTES
        self.since_ms = 0  # Since when the oldest waits, or the newest CREDIT came.

    @property
    def frames(self) -> int:
        """Frames on their way."""
        return len(self._sent)

    def grant(self, frames: int, bytes: int) -> None:
        """What the peer grants; never more than our own limits."""
        self.frames_max = max(1, min(frames, limits.PEER_CREDIT_FRAMES))
        self.bytes_max = max(
            limits.PEER_FRAME_BYTES_MAX, min(bytes, limits.PEER_CREDIT_BYTES)
        )  # One frame must always fit, or nothing ever would.

    def room(self) -> int:
        """Bytes the next frame may have; 0 = wait."""
        if self.frames >= self.frames_max:
            return 0
        return max(0, self.bytes_max - self.bytes)

    def bulk_room(self) -> int:
        """Bytes of chunks the next frame may have."""
        return max(0, min(limits.PEER_BULK_BYTES, self.bytes_max // 2) - self.bulk)

    def sent(self, sequence: int, size: int, bulk: int, now_ms: int) -> None:
        """A frame of `size` bytes, `bulk` of them chunks, was handed to the link."""
        if not self._sent:
            self.since_ms = now_ms
        self._sent.append((sequence, size, bulk))
        self.bytes += size
        self.bulk += bulk

    def handled(self, sequence: int, now_ms: int) -> None:
        """The peer has handled, or will never handle, everything up to `sequence`."""
        while self._sent and self._sent[0][0] <= sequence:
            _, size, bulk = self._sent.popleft()
            self.bytes -= size
            self.bulk -= bulk
            self.since_ms = now_ms

    def clear(self) -> None:
        """The session is over."""
        self._sent.clear()
        self.bytes = self.bulk = 0


class Owed:
    """The receiver's side: what was handled since the peer was last told."""

    __slots__ = ("bytes", "due_ms", "frames")

    def __init__(self) -> None:
        """Nothing is owed."""
        self.frames = 0
        self.bytes = 0
        self.due_ms: int | None = None  # When the peer is told at the latest.

    def over(self, size: int) -> bool:
        """Whether one more frame of `size` bytes is beyond what this node granted."""
        if self.frames >= limits.PEER_CREDIT_FRAMES:
            return True
        return bool(self.frames) and self.bytes + size > limits.PEER_CREDIT_BYTES

    def handled(self, size: int, now_ms: int) -> None:
        """A frame of `size` bytes was handled."""
        self.frames += 1
        self.bytes += size
        if self.frames >= limits.PEER_OWED_FRAMES or self.bytes >= limits.PEER_OWED_BYTES:
            self.due_ms = now_ms
        elif self.due_ms is None:
            self.due_ms = now_ms + limits.PEER_CREDIT_DELAY_MS

    def tell_now(self, now_ms: int) -> None:
        """The peer asked: everything so far is told at once, even if nothing is owed."""
        self.frames = self.bytes = 0
        self.due_ms = now_ms

    def told(self) -> None:
        """A CREDIT was handed to the link."""
        self.frames = self.bytes = 0
        self.due_ms = None
