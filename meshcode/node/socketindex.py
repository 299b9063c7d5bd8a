"""When the calls of a socket were made that have ended, so that a few among millions are found.

The core writes into the table `socket`, for each call that ends, the 16 milliseconds in which it
was made (`records.stretch_of`); calls of one stretch share an entry, so a busy socket has few.  A
listing of some sockets goes through the history in pieces, and leaves out what lies between a piece
and the next stretch that has a call of theirs.  A log from before there was this table gets its
entries as the other index does.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshcode.ids import ID_BYTES
from meshcode.node.historyindex import HistoryIndex
from meshcode.node.turn import Turns
from meshcode.router.effects import Op
from meshcode.router.records import socket_of, stretch_at, stretch_of, submit_of_done
from meshcode.store.contract import DONE, SOCKET, Log

SOCKETS_MAX = 32  # Of more, each looked up for itself, a listing looks at the whole history.
_STRETCH_BYTES = 6
_LAST_BITS = 0x0F  # Of the last byte: what a stretch leaves out.
_SWEPT = 64  # Sockets looked at in one sweep.
_DELETES_MAX = 256  # Entries in one sweep, or a few more.


class SocketIndex(HistoryIndex):
    """The index of one node."""

    whole = b"sockets"

    def __init__(self, turns: Turns, log: Log) -> None:
        """As of every index."""
        super().__init__(turns, log)
        self._swept = b""  # Where the next sweep begins.

    def entries(self, batch: list[tuple[bytes, bytes]]) -> list[Op]:
        """One for each socket and stretch."""
        found = {}
        for id, value in batch:
            name = socket_of(submit_of_done(value)).encode()
            if name:
                found[name + b"\0" + stretch_of(id)] = None
        return [(SOCKET, key, b"") for key in found]

    def scan(
        self, names: Iterable[bytes], start: bytes | None, *, reverse: bool, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """As `Log.scan` of the history, but not of the time before the next call of these sockets.

        Calls of others are in it, too: what comes after the call that was looked for.
        """
        stretch = self._next(names, start, reverse)
        if stretch is None:
            return []
        edge = _last_id(stretch) if reverse else stretch + bytes(ID_BYTES - _STRETCH_BYTES)
        if start is not None:
            edge = min(edge, start) if reverse else max(edge, start)
        return self._log.scan(DONE, edge, reverse=reverse, limit=limit)

    def _next(self, names: Iterable[bytes], at: bytes | None, reverse: bool) -> bytes | None:
        """The stretch of `at`, or the nearest one after it, in which these sockets have calls."""
        found = []
        for name in names:
            head = name + b"\0"
            if at is None:
                start = head + (b"\xff" if reverse else b"\0") * _STRETCH_BYTES
            else:
                start = head + stretch_of(at)
            rows = self._log.scan(SOCKET, start, reverse=reverse, limit=1)
            if rows and rows[0][0][:-_STRETCH_BYTES] == head:
                found.append(rows[0][0][-_STRETCH_BYTES:])
        if not found:
            return None
        return max(found) if reverse else min(found)

    def sweep(self, before_ms: int) -> list[Op]:
        """What deletes entries of some sockets: stretches before that time with no call left."""
        before, fresh = stretch_at(before_ms), None
        ops: list[Op] = []
        for _ in range(_SWEPT if before_ms else 0):
            [first, *_] = self._log.scan(SOCKET, self._swept or None, limit=1) or [None]
            if first is None:
                self._swept = b""
                break
            head, old = first[0][:-_STRETCH_BYTES], []
            if first[0][-_STRETCH_BYTES:] < before:
                rows = self._log.scan(SOCKET, first[0], limit=_DELETES_MAX)
                old = [key for key, _ in rows if head + before > key >= first[0]]
            if fresh is None and old:  # What ended in turns not synced may need an old stretch.
                fresh = {stretch_of(id) for id in self._turns.fresh_done()}
            for key in old:
                stretch = key[-_STRETCH_BYTES:]
                if stretch not in (fresh or ()) and not self._has_calls(stretch):
                    ops.append((SOCKET, key, None))
            is_more = len(old) == _DELETES_MAX
            self._swept = old[-1] + b"\0" if is_more else head + b"\xff" * (_STRETCH_BYTES + 1)
            if len(ops) >= _DELETES_MAX:
                break
        return ops

    def _has_calls(self, stretch: bytes) -> bool:
        rows = self._log.scan(DONE, stretch + bytes(ID_BYTES - _STRETCH_BYTES), limit=1)
        return bool(rows) and rows[0][0] <= _last_id(stretch)


def _last_id(stretch: bytes) -> bytes:
    last = stretch[:-1] + bytes([stretch[-1] | _LAST_BITS])
    return last + b"\xff" * (ID_BYTES - _STRETCH_BYTES)


__all__ = ["SOCKETS_MAX", "SocketIndex"]
