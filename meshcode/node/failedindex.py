"""Which calls of the history have not ended well, so that a few among millions are found at once.

The core writes the entry of a call into the table `failed` with its `done` record.  A log from
before there was this table gets the entries of its history when its node starts; until then
listings look at every record, as they do for everything else.
"""

from __future__ import annotations

from meshcode.errors import LogDamaged
from meshcode.node.historyindex import HistoryIndex
from meshcode.router.effects import Op
from meshcode.router.records import ended_well
from meshcode.store.contract import DONE, FAILED


class FailedIndex(HistoryIndex):
    """The index of one node."""

    whole = b"failed"

    def entries(self, batch: list[tuple[bytes, bytes]]) -> list[Op]:
        """One for each record that needs it."""
        return [(FAILED, id, b"") for id, value in batch if not ended_well(value)]

    def scan(
        self, start: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """As `Log.scan` of the history, but only of what has not ended well.

        The value is empty where there is no record of such a call any more.
        """
        found = self._log.scan(FAILED, start, reverse=reverse, limit=limit)
        return [(id, self._record(id)) for id, _ in found]

    def _record(self, id: bytes) -> bytes:
        """Nothing where it is gone, or damaged: a scan leaves such out."""
        try:
            return self._log.get(DONE, id) or b""
        except LogDamaged:
            return b""


__all__ = ["FailedIndex"]
