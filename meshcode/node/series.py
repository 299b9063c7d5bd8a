"""One large value in the log that changes a little at a time: whole now and then, and each change.

    model                     the value
    model/0000000000000003    hash of that value (8 bytes), what was changed since the one before

When all changes together are as large as half of the value, it is written whole again.  A version
that knows of no changes finds the value as it was when it was last whole.
"""

from __future__ import annotations

from meshcode.digest import blake2b
from meshcode.store.contract import MODEL, Log, Op

CHANGES_BYTES_MIN = 64 * 1024  # So many bytes of changes are never worth writing the whole.
_MARK_BYTES = 8
_SCAN = 4_096


class Series:
    """What the log has of one value, in table MODEL."""

    def __init__(self, key: bytes) -> None:
        """Nothing is known of it yet; `key` in letters."""
        self.key = key
        self._mark: bytes | None = None  # Of the whole value; None: it is not there.
        self._whole_bytes = 0
        self._keys: list[bytes] = []  # Of the changes.
        self._bytes = 0  # Of these.
        self._next = 0  # The number of the next one.

    def read(self, log: Log) -> tuple[bytes | None, list[bytes]]:
        """The value as it was when it was last whole, None for none, and the changes since."""
        whole = log.get(MODEL, self.key)
        if whole is None:
            return None, []
        self._begin(whole)
        changes = []
        for key, value in self._scan(log):
            self._keys.append(key)
            self._bytes += len(value)
            self._next = int(key.removeprefix(self.key + b"/"), 16) + 1
            # Else an older version has written the whole value since.
            if value[:_MARK_BYTES] == self._mark:
                changes.append(value[_MARK_BYTES:])
        return whole, changes

    def add(self, change: bytes) -> list[Op] | None:
        """What to write for one more change; None: the value is to be written whole."""
        size = len(change) + _MARK_BYTES
        if self._mark is None or self._bytes + size > max(
            self._whole_bytes // 2, CHANGES_BYTES_MIN
        ):
            return None
        key = self.key + b"/%016x" % self._next
        self._next += 1
        self._keys.append(key)
        self._bytes += size
        return [(MODEL, key, self._mark + change)]

    def replace(self, whole: bytes) -> list[Op]:
        """What to write for the whole value."""
        old = self._keys
        self._begin(whole)
        return [(MODEL, self.key, whole), *((MODEL, key, None) for key in old)]

    def _begin(self, whole: bytes) -> None:
        self._mark = blake2b(whole, digest_size=_MARK_BYTES).digest()
        self._whole_bytes = len(whole)
        self._keys, self._bytes, self._next = [], 0, 0

    def _scan(self, log: Log) -> list[tuple[bytes, bytes]]:
        start = beginning = self.key + b"/"
        found: list[tuple[bytes, bytes]] = []
        while True:
            batch = log.scan(MODEL, start, limit=_SCAN)
            found += [(key, value) for key, value in batch if key.startswith(beginning)]
            if len(batch) < _SCAN or not batch[-1][0].startswith(beginning):
                return found
            start = batch[-1][0] + b"\0"
