"""The last snapshot of the model in the node's log (`series.py`), with its changes as deltas."""

from __future__ import annotations

from typing import Any

from meshcode.model.delta import with_changes
from meshcode.node.series import Series
from meshcode.store.contract import Log, Op
from meshcode.wire.codec import pack, unpack


class KeptModel:
    """What of the model is in the log."""

    def __init__(self) -> None:
        """Nothing yet, as far as is known."""
        self._series = Series(b"snapshot")
        self._number: int | None = None  # Of what the log has.

    def read(self, log: Log) -> dict[str, Any] | None:
        """The snapshot that the log has, None for none.

        Raises:
            BadValue: it cannot be read.
        """
        whole, changes = self._series.read(log)
        if whole is None:
            return None
        snapshot: dict[str, Any] = unpack(whole)
        for packed in changes:
            delta = unpack(packed)
            snapshot = with_changes(snapshot, delta["number"], delta["changes"])
        self._number = snapshot["number"]
        return snapshot

    def records(self, snapshot: dict[str, Any], changes: list[Any] | None) -> list[Op]:
        """What to write so that the log has this snapshot, in one batch.

        Args:
            snapshot: the newest.
            changes: all that lead to it from the one that was given before; None: nobody can tell.
        """
        base, self._number = self._number, snapshot["number"]
        if changes is not None and base is not None:
            delta = {"base": base, "number": self._number, "changes": changes}
            added = self._series.add(pack(delta, "the change of the model"))
            if added is not None:
                return added
        return self._series.replace(pack(snapshot, "the model"))
