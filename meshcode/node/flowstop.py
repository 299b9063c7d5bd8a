"""Ending the calls of a flow that one node owns."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from meshcode.ids import ID_BYTES, NO_ID
from meshcode.node.flowbook import beside
from meshcode.node.flowindex import is_kept
from meshcode.node.later import Job
from meshcode.router.events import CancelAsked
from meshcode.router.plan import GATHER
from meshcode.router.records import split_done
from meshcode.router.states import State
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

CANCELLED = int(Outcome.CANCELLED)
SLICE_CANCELS = 32  # Ended in one go: each is a step of the core.


class Stopped(NamedTuple):
    """What one round did."""

    cancelled: int = 0
    interrupted: int = 0
    open: int = 0  # Owned here and not ended yet: being interrupted, or agreed upon.
    kept: int = 0  # Owned by a node that does not answer, as far as this one knows.
    running: bytes = b""  # The ids of those that ran here and were told to end, now or before.

    def plus(self, other: Stopped) -> Stopped:
        """Both together: two nodes in one round."""
        counts = map(sum, zip(self[:-1], other[:-1], strict=True))
        return Stopped(*counts, self.running + other.running)


class Tally:
    """What became of the calls of a flow over all rounds, each of them counted once."""

    def __init__(self) -> None:
        self.last = Stopped()
        self._cancelled = 0
        self._untold = 0  # Interrupted at nodes of an older version, which do not say which.
        self._ran: set[bytes] = set()

    def add(self, done: Stopped) -> None:
        """Count one round."""
        running = split_ids(done.running)
        fresh = len(running.difference(self._ran))
        self.last = done
        self._cancelled += done.cancelled
        self._untold += max(done.interrupted - fresh, 0)
        self._ran |= running

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was there to end."""
        ended = self._cancelled + self._untold + len(self._ran)
        return not (ended or self.last.open or self.last.kept)

    def interrupted(self, ended: Collection[bytes]) -> int:
        """How many calls ended because they were interrupted.

        Args:
            ended: of the flow's calls those that ended by themselves.
        """
        still = split_ids(self.last.running) if self.last.open else set()
        return self._untold + len(self._ran - still - set(ended))

    def cancelled(self) -> int:
        """How many calls that did not run have ended by it."""
        agreeing = self.last.open - len(split_ids(self.last.running))  # Which were counted.
        return max(self._cancelled - max(agreeing, 0), 0)


def split_ids(ids: bytes) -> set[bytes]:
    """The ids that stand there one after another."""
    return {ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)}


def stop(
    loop: Loop, flow: bytes, root: bytes, steps: list[bytes], by: str, *, again: bool
) -> Job:
    """Cancel every call of a flow that is open here, steps or not; returns a `Stopped`.

    Args:
        loop: of this node.
        flow: the id of the flow's own call.
        root: the flow that this call names: itself, or the one that it is within.
        steps: the calls of its steps.
        by: who asked.
        again: it was asked before, so calls that are being interrupted are counted already.
    """
    calls = loop.router.calls
    # The last first: so none of them ends because one that it needs was cancelled.
    found = [id for id in reversed((flow, *steps)) if id in calls]
    others: list[bytes] = yield from beside(loop, flow, root, {flow, *steps})
    # What gathers copies of a call goes before them: else it ends with what became of them.
    found += sorted(others, key=lambda one: one in calls and calls[one].line.name != GATHER)
    cancelled = interrupted = 0
    running: list[bytes] = []
    for at, id in enumerate(found):
        call = calls.get(id)
        if call is None:
            cancelled += _was_cancelled(loop, id)  # With one before it; or it ended by itself.
            continue
        known = call.state is State.ENDING or call.interrupted == "cancel"
        if call.state is not State.ENDING:
            loop.step(CancelAsked(0, NO_ID, id, by))
        if id in calls and call.state is State.RUNNING:
            running.append(id)
            interrupted += not (known and again)
        elif not known:
            cancelled += 1
        if at % SLICE_CANCELS == SLICE_CANCELS - 1:
            yield 0
    left = sum(id in calls for id in found)
    kept = sum(id not in calls and is_kept(loop.router, id) for id in (flow, *steps))
    return Stopped(cancelled, interrupted, left, kept, b"".join(running))


def _was_cancelled(loop: Loop, id: bytes) -> bool:
    """Whether a call that is not open any more ended so; one that was moved away did not."""
    value = loop.history.done_record(id)
    return value is not None and split_done(value)["code"] == CANCELLED
