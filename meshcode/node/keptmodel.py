"""The last snapshot of the model in the node's log: whole now and then, and each change since.

    snapshot                 the whole snapshot, packed
    snapshot/0000000000001f  what leads on from it or from the change before: the number in hex

A change is packed as {"of": hash of the whole one, "base", "number", "changes"} (`model/delta.py`).
When all changes together are as large as half of the snapshot, it is written whole again.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from meshcode.model.delta import with_changes
from meshcode.store.contract import MODEL, Log, Op
from meshcode.wire.codec import pack, unpack

WHOLE = b"snapshot"
CHANGE = b"snapshot/"
CHANGES_BYTES_MIN = 64 * 1024  # So many bytes of changes are never worth a whole snapshot.
_SCAN = 4_096


class KeptModel:
    """What of the model is in the log."""

    def __init__(self) -> None:
        """Nothing yet, as far as is known."""
        self._number: int | None = None  # Of what the log has.
        self._mark = b""  # Of the whole snapshot.
        self._whole_bytes = 0
        self._keys: list[bytes] = []  # Of the changes since.
        self._bytes = 0  # Of these.

    def read(self, log: Log) -> dict[str, Any] | None:
        """The snapshot that the log has, None for none.

        Raises:
            BadValue: it cannot be read.
        """
        whole = log.get(MODEL, WHOLE)
        if whole is None:
            return None
        snapshot: dict[str, Any] = unpack(whole)
        self._begin(whole)
        for key, value in self._scan(log):
            change = unpack(value)
            self._keys.append(key)
            self._bytes += len(value)
            # A version that knew of no changes may have written the snapshot since.
            if change["of"] == self._mark and change["base"] == snapshot["number"]:
                snapshot = with_changes(snapshot, change["number"], change["changes"])
        self._number = snapshot["number"]
        return snapshot

    def records(self, snapshot: dict[str, Any], changes: list[Any] | None) -> list[Op]:
        """What to write so that the log has this snapshot, in one batch.

        Args:
            snapshot: the newest.
            changes: all that lead to it from the one that was given before; None: nobody can tell.
        """
        number = snapshot["number"]
        if changes is not None and self._number is not None:
            delta = {"of": self._mark, "base": self._number, "number": number, "changes": changes}
            value = pack(delta, "the change of the model")
            if self._bytes + len(value) <= max(self._whole_bytes // 2, CHANGES_BYTES_MIN):
                key = CHANGE + b"%016x" % number
                self._keys.append(key)
                self._bytes += len(value)
                self._number = number
                return [(MODEL, key, value)]
        whole = pack(snapshot, "the model")
        old = self._keys
        self._begin(whole)
        self._number = number
        return [(MODEL, WHOLE, whole), *((MODEL, key, None) for key in old)]

    def _begin(self, whole: bytes) -> None:
        self._mark = blake2b(whole, digest_size=8).digest()
        self._whole_bytes = len(whole)
        self._keys, self._bytes = [], 0

    @staticmethod
    def _scan(log: Log) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        start = CHANGE
        while True:
            batch = log.scan(MODEL, start, limit=_SCAN)
            found += [(key, value) for key, value in batch if key.startswith(CHANGE)]
            if len(batch) < _SCAN or not batch[-1][0].startswith(CHANGE):
                return found
            start = batch[-1][0] + b"\0"
