"""Large envelopes in pieces that fit a frame, and whole again on the other side.

A sender has one large envelope under way at a time, so the receiver holds at most one per peer.
Nothing is allocated for what a chunk claims: the buffer grows by the bytes that arrived.  Pure.
"""

from __future__ import annotations

from meshcode.errors import BadFrame
from meshcode.ids import ID_BYTES
from meshcode.limits import ENVELOPE_BYTES_MAX, PEER_FRAME_BYTES_MAX
from meshcode.peers import kinds
from meshcode.wire.frame import (
    ENVELOPE_HEADER_BYTES,
    FRAME_HEADER_BYTES,
    Row,
    check_envelope,
    envelope,
)

# Larger envelopes are cut.  A CREDIT always has room beside the largest one that is not.
WHOLE_BYTES_MAX = PEER_FRAME_BYTES_MAX - FRAME_HEADER_BYTES - ENVELOPE_HEADER_BYTES


def cut(data: bytes, transfer: int, offset: int, room: int) -> bytes:
    """One CHUNK envelope of at most `room` bytes, with what of `data` begins at `offset`."""
    size = room - ENVELOPE_HEADER_BYTES
    assert size > 0 and 0 <= offset < len(data), (room, offset, len(data))
    return envelope(
        kinds.CHUNK,
        id=transfer.to_bytes(ID_BYTES, "big"),
        attempt=len(data),
        number=offset,
        body=data[offset : offset + size],
    )


class Assembly:
    """The large envelope of one peer that is under way, if any."""

    __slots__ = ("_data", "_id", "_total", "changed_ms", "dropped")

    def __init__(self) -> None:
        """Nothing is under way."""
        self._data = bytearray()
        self._id = b""
        self._total = 0
        self.changed_ms = 0  # When the newest chunk came; node time.
        self.dropped = 0  # Large envelopes that were begun and not finished.

    @property
    def held(self) -> int:
        """Bytes in memory; never above ENVELOPE_BYTES_MAX."""
        return len(self._data)

    def drop(self) -> None:
        """Give up what is under way; counted."""
        if self._id:
            self.dropped += 1
        self._data = bytearray()
        self._id = b""

    def take(self, row: Row, frame: bytes, now_ms: int) -> tuple[Row, bytes] | None:
        """Take one CHUNK; the whole envelope and its row when it was the last one.

        Raises:
            BadFrame: the chunk does not follow the one before it, or the whole is no envelope.
                What was under way is dropped.
        """
        size = row.end - row.body_at
        if row.number == 0:
            self.drop()
            if not ENVELOPE_HEADER_BYTES <= row.attempt <= ENVELOPE_BYTES_MAX:
                raise _bad(f"a large envelope of {row.attempt} bytes, limit {ENVELOPE_BYTES_MAX}")
            self._id, self._total = row.id, row.attempt
        elif (row.id, row.attempt, row.number) != (self._id, self._total, self.held):
            held = self.held
            self.drop()
            raise _bad(f"a chunk at offset {row.number} of {row.attempt} bytes, {held} are here")
        if not 0 < size <= self._total - self.held:
            left = self._total - self.held
            self.drop()
            raise _bad(f"a chunk of {size} bytes where {left} are left")
        self._data += memoryview(frame)[row.body_at : row.end]
        self.changed_ms = now_ms
        if self.held < self._total:
            return None
        whole = bytes(self._data)
        self._data, self._id = bytearray(), b""
        found = check_envelope(whole)
        if found.kind in kinds.OF_LINKS:
            raise _bad(f"a large envelope of kind {found.kind}, which travels whole")
        return found, whole


def _bad(what: str) -> BadFrame:
    return BadFrame(f"{what}; the large envelope was dropped; send it again", fault="chunk")
