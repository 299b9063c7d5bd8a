"""Flows that began: the outcome of the call that submitted one names the step that is its result.

From then on the handles of the flow end as that step does.  Before it no step exists, so whoever
asks for one waits until it does.
"""

from __future__ import annotations

import weakref
from functools import partial

from meshcode.client.call import Call
from meshcode.client.pending import Pending
from meshcode.errors import BadFrame
from meshcode.ids import ID_BYTES
from meshcode.wire.codec import unpack
from meshcode.wire.frame import Row
from meshcode.wire.kinds import Outcome

FLOW_NAME = b"@flow"  # In the name of an outcome; that of a plain call has none.


class Begun:
    """The steps that are not watched yet: results of flows that began, and those that are early."""

    __slots__ = ("_early", "_pending", "ids")

    def __init__(self, pending: Pending) -> None:
        """None yet."""
        self._pending = pending
        self._early: dict[bytes, list[weakref.ref[Call]]] = {}  # Steps, by flow.
        self.ids: list[bytes] = []

    def follow(self, calls: list[Call]) -> list[bytes]:
        """Follow calls that were found by their ids, each once; the ids to watch for them now."""
        ids = []
        for call in calls:
            flow = call._flow_to_come()
            if flow is None:
                ids += [call._id] if self._pending.follow_found(call) else []
                continue
            is_first = flow._id not in self._early
            self._early.setdefault(flow._id, []).append(weakref.ref(call))
            if flow._is_unwatched() and self._pending.follow_found(flow):
                ids.append(flow._id)
            if is_first:
                flow._add_callback(partial(self._never, weakref.ref(flow)))
        return ids

    def _never(self, reference: weakref.ref[Call]) -> None:
        """A flow has ended; if it never began, its steps end as it did."""
        flow = reference()
        for step in self._pop_early(flow._id) if flow is not None else ():
            assert flow is not None
            step._end(flow._code, flow._body)

    def _pop_early(self, flow_id: bytes) -> list[Call]:
        found = [reference() for reference in self._early.pop(flow_id, ())]
        return [call for call in found if call is not None]

    def take(self, row: Row, frame: bytes) -> None:
        """An outcome with a name: follow the result step instead of the flow.

        Raises:
            BadFrame: it is the outcome of a flow and names no step.
        """
        body = frame[row.body_at : row.end]
        if frame[row.name_at : row.meta_at] != FLOW_NAME or row.code != Outcome.DONE:
            self._pending.end(row.id, row.code, body)
            return
        found = unpack(body)
        result = found.get("result") if isinstance(found, dict) else None
        if not isinstance(result, bytes) or len(result) != ID_BYTES:
            raise BadFrame(f"the node sent the outcome of a flow without its result: {found!r:.80}")
        for flow in self._pending.handles(row.id):
            flow._began()
        if self._pending.redirect(row.id, result):
            self.ids.append(result)
        self.ids += self.follow(self._pop_early(row.id))

    def pop(self) -> list[bytes]:
        """The ids to watch now."""
        found, self.ids = self.ids, []
        return found
