"""Ending the calls of a flow that one node owns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from meshcode.ids import NO_ID
from meshcode.node.flowbook import beside, is_kept
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

    def plus(self, other: Stopped) -> Stopped:
        """Both together: two nodes in one round."""
        return Stopped(*map(sum, zip(self, other, strict=True)))


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
    for at, id in enumerate(found):
        call = calls.get(id)
        if call is None:
            cancelled += _was_cancelled(loop, id)  # With one before it; or it ended by itself.
            continue
        known = call.state is State.ENDING or call.interrupted == "cancel"
        if call.state is not State.ENDING:
            loop.step(CancelAsked(0, NO_ID, id, by))
        if id in calls and call.state is State.RUNNING:
            interrupted += not (known and again)
        elif not known:
            cancelled += 1
        if at % SLICE_CANCELS == SLICE_CANCELS - 1:
            yield 0
    left = sum(id in calls for id in found)
    kept = sum(id not in calls and is_kept(loop, id) for id in (flow, *steps))
    return Stopped(cancelled, interrupted, left, kept)


def _was_cancelled(loop: Loop, id: bytes) -> bool:
    """Whether a call that is not open any more ended so; one that was moved away did not."""
    value = loop.history.done_record(id)
    return value is not None and split_done(value)["code"] == CANCELLED
