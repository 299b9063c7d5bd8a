"""Which calls of the history have not ended well, so that a few among millions are found at once.

The core writes the entry of a call into the table `failed` with its `done` record.  A log from
before there was this table gets the entries of its history when its node starts, beside its work;
until then listings look at every record, as they do for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from meshcode.errors import LogDamaged
from meshcode.node.later import Job
from meshcode.node.turn import Turns
from meshcode.router.effects import Effects, Op
from meshcode.router.records import ended_well
from meshcode.store.contract import DONE, FAILED, META, Log

WHOLE = b"failed"  # In META: the table has an entry of every call of the history that needs one.
_BATCH = 256


class Index(Protocol):
    """An index that a log may lack."""

    @property
    def is_whole(self) -> bool:
        """Whether it has been filled."""


def fill(
    index: Index,
    turns: Turns,
    log: Log,
    whole: bytes,
    entries: Callable[[list[tuple[bytes, bytes]]], list[Op]],
) -> Job:
    """Write the entries of the whole history, a little at a time, and then that it is whole.

    Args:
        whole: the name in META that says so.
        entries: what some records of the history need in the index.
    """
    cursor = b""
    while not index.is_whole:
        batch = log.scan(DONE, cursor or None, limit=_BATCH)
        ops = entries(batch)
        if len(batch) < _BATCH:
            turns.add(Effects(records=[*ops, (META, whole, b"1")]))
            return
        if ops:
            turns.add(Effects(records=ops))
        cursor = batch[-1][0] + b"\0"
        yield 0


def _entries(batch: list[tuple[bytes, bytes]]) -> list[Op]:
    return [(FAILED, id, b"") for id, value in batch if not ended_well(value)]


class FailedIndex:
    """The index of one node."""

    def __init__(self, turns: Turns, log: Log) -> None:
        """Of a log without history it is whole, once that has been written."""
        self._turns = turns
        self._log = log
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Whether what the log shows of it is all there is."""
        if not self._is_whole:
            self._is_whole = self._log.get(META, WHOLE) is not None
        return self._is_whole

    def complete(self) -> Job:
        """Add what is missing: everything in a log from before there was this table."""
        return fill(self, self._turns, self._log, WHOLE, _entries)

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


__all__ = ["WHOLE", "FailedIndex", "fill"]
