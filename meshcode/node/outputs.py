"""What calls printed here that ran for other nodes: this node may have no record of the call.

Captured output goes with the record of its call (`retention.py`).  Where there is none, because
another node owned the call and others kept it, it goes by the same rules and the time of its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.ids import unix_ms_of
from meshcode.router.effects import Op
from meshcode.store.contract import DONE, OUTPUT

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

LOOK_RECORDS = 256  # In one look: a millisecond.


class Outputs:
    """Looks through the captured output of a node, a part each time."""

    def __init__(self, loop: Loop) -> None:
        """Begin with the oldest."""
        self._loop = loop
        self._cursor: bytes | None = None  # Key after which the next look begins.

    def sweep(self, before_ms: int) -> list[Op]:
        """What deletes the output of calls that were made before, and that nobody knows here."""
        log, router = self._loop.log, self._loop.router
        batch = log.scan(OUTPUT, self._cursor, limit=LOOK_RECORDS)
        self._cursor = batch[-1][0] + b"\0" if len(batch) == LOOK_RECORDS else None
        records: list[Op] = []
        for key, _ in batch:
            id = key[:16]
            if unix_ms_of(id) >= before_ms:
                self._cursor = None  # The rest is younger.
                break
            if id in router.calls or id in router.guests or id in router.replica.by_id:
                continue
            if log.get(DONE, id) is None:
                records.append((OUTPUT, key, None))
        return records
