"""Calls that were sent in one frame and wait to be acknowledged together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshcode.limits import FRAME_BYTES_GOAL
from meshcode.wire.kinds import Flag

if TYPE_CHECKING:
    from meshcode.client.call import Call

BATCH_CALLS_MAX = 512  # More in one frame gains nothing and delays the first.
_FLAGS_AT = 12  # Offset of the flags byte in an envelope: docs/wire.md.
_NOT_FRESH = 0xFF & ~Flag.FRESH


class Batch:
    """One frame of calls: kept whole until the node acknowledges it."""

    __slots__ = ("calls", "drafts", "size")

    def __init__(self, calls: list[Call], drafts: list[bytes], size: int) -> None:
        self.calls = calls
        self.drafts = drafts
        self.size = size  # Bytes of the drafts.

    def sent_before(self) -> None:
        """Mark the calls as perhaps known to the node, before they are sent again."""
        self.drafts = [_without_fresh(draft) for draft in self.drafts]


def split(calls: list[Call], drafts: list[bytes], size: int) -> Iterator[Batch]:
    """Cut what was handed over into batches of the best size, in order."""
    if len(calls) <= BATCH_CALLS_MAX and size <= FRAME_BYTES_GOAL:
        yield Batch(calls, drafts, size)
        return
    start, size = 0, 0
    for at, draft in enumerate(drafts):
        if at > start and (at - start >= BATCH_CALLS_MAX or size + len(draft) > FRAME_BYTES_GOAL):
            yield Batch(calls[start:at], drafts[start:at], size)
            start, size = at, 0
        size += len(draft)
    yield Batch(calls[start:], drafts[start:], size)


def _without_fresh(draft: bytes) -> bytes:
    changed = bytearray(draft)
    changed[_FLAGS_AT] &= _NOT_FRESH
    return bytes(changed)
