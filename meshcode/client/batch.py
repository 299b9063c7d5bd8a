"""Calls that were sent and wait to be acknowledged, by the frame they were in."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from meshcode.errors import MeshError
from meshcode.limits import FRAME_BYTES_GOAL
from meshcode.wire.frame import AT_FLAGS, cuts
from meshcode.wire.kinds import Flag, Level

if TYPE_CHECKING:
    from meshcode.client.call import Call

BATCH_CALLS_MAX = 512  # More in one frame gains nothing and delays the first.
_NOT_FRESH = 0xFF & ~int(Flag.FRESH)
# Flag AGAIN of docs/wire.md: another node may have the call, so this one asks its peers first.
AGAIN = 16


class Batch:
    """One frame of calls: kept whole until the node acknowledges it."""

    __slots__ = ("calls", "drafts", "size")

    def __init__(self, calls: list[Call], drafts: list[bytes], size: int) -> None:
        self.calls = calls
        self.drafts = drafts
        self.size = size  # Bytes of the drafts.

    def sent_before(self, *, elsewhere: bool) -> None:
        """Mark the calls as perhaps known, before they are sent again.

        Args:
            elsewhere: to another node than before.  The mark stays for all later sends.
        """
        mark = AGAIN if elsewhere else 0
        self.drafts = [_marked(draft, mark) for draft in self.drafts]


class Unacknowledged:
    """The batches that were sent, in their order, until the node answers for them."""

    __slots__ = ("_batches",)

    def __init__(self) -> None:
        """None yet."""
        self._batches: dict[int, Batch] = {}  # By the sequence of their frame.

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, sequence: int, batch: Batch) -> None:
        """A batch was sent in the frame of this sequence."""
        self._batches[sequence] = batch

    def pop(self, sequence: int) -> Batch | None:
        """The node has answered for a frame; its batch, unless it was sent again since."""
        return self._batches.pop(sequence, None)

    def pop_all(self) -> list[Batch]:
        """All batches, in the order in which they were sent."""
        batches = list(self._batches.values())
        self._batches.clear()
        return batches

    def send_again(self, send: Callable[[list[bytes]], int], *, elsewhere: bool) -> set[bytes]:
        """Send all of them once more, in their order.

        Args:
            send: sends one frame and gives its sequence.
            elsewhere: to another node than before.

        Returns:
            The ids of their calls.
        """
        ids: set[bytes] = set()
        for batch in self.pop_all():
            batch.sent_before(elsewhere=elsewhere)
            ids.update(call._id for call in batch.calls)
            self._batches[send(batch.drafts)] = batch
        return ids

    def end_all(self, error: MeshError) -> list[Batch]:
        """Nothing more will be heard of them: end their calls; the batches."""
        batches = self.pop_all()
        for batch in batches:
            for call in batch.calls:
                call._end_with(error)
        return batches


def split(calls: list[Call], drafts: list[bytes], size: int) -> list[Batch]:
    """Cut what was handed over, `size` bytes of drafts, into batches of the best size, in order."""
    if len(calls) <= BATCH_CALLS_MAX and size <= FRAME_BYTES_GOAL:
        return [Batch(calls, drafts, size)]
    return [
        Batch(calls[begin:end], drafts[begin:end], sum(map(len, drafts[begin:end])))
        for begin, end in cuts(drafts, BATCH_CALLS_MAX)
    ]


@lru_cache(64)
def level_text(code: int, copies: int) -> str:
    """What an ACCEPTED says is true, for people: its level, copies and voters: "quorum 2/3"."""
    name = Level(code).name.lower() if code in list(Level) else f"level {code}"
    return f"{name} {copies >> 8}/{copies & 0xFF}"


def _marked(draft: bytes, mark: int) -> bytes:
    changed = bytearray(draft)
    changed[AT_FLAGS] = changed[AT_FLAGS] & _NOT_FRESH | mark
    return bytes(changed)
