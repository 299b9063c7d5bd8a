"""Flows that began: the outcome of the call that submitted one names the step that is its result.

From then on the handles of the flow end as that step does.
"""

from __future__ import annotations

from meshcode.client.pending import Pending
from meshcode.errors import BadFrame
from meshcode.ids import ID_BYTES
from meshcode.wire.codec import unpack
from meshcode.wire.frame import Row
from meshcode.wire.kinds import Outcome

FLOW_NAME = b"@flow"  # In the name of an outcome; that of a plain call has none.


class Begun:
    """The result steps of flows that began and are not watched yet."""

    __slots__ = ("_pending", "ids")

    def __init__(self, pending: Pending) -> None:
        """None yet."""
        self._pending = pending
        self.ids: list[bytes] = []

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
        if self._pending.redirect(row.id, result):
            self.ids.append(result)

    def pop(self) -> list[bytes]:
        """The ids to watch now."""
        found, self.ids = self.ids, []
        return found
