"""What both indexes of the history share: a log that lacks one gets it beside the node's work."""

from __future__ import annotations

from abc import ABC, abstractmethod

from meshcode.node.later import Job
from meshcode.node.turn import Turns
from meshcode.router.effects import Effects, Op
from meshcode.store.contract import DONE, META, Log

_BATCH = 256


class HistoryIndex(ABC):
    """An index of one node."""

    whole: bytes  # The name in META that says that all of the history is in it.

    def __init__(self, turns: Turns, log: Log) -> None:
        """Of a log without history it is whole, once that has been written."""
        self._turns = turns
        self._log = log
        self._is_whole = False

    @property
    def is_whole(self) -> bool:
        """Whether what the log shows of it is all there is."""
        if not self._is_whole:
            self._is_whole = self._log.get(META, self.whole) is not None
        return self._is_whole

    @abstractmethod
    def entries(self, batch: list[tuple[bytes, bytes]]) -> list[Op]:
        """What these records of the history need in it."""

    def complete(self) -> Job:
        """Add what is missing: everything in a log from before there was this index."""
        log, cursor = self._log, b""
        while not self.is_whole:
            batch = log.scan(DONE, cursor or None, limit=_BATCH)
            ops = self.entries(batch)
            if len(batch) < _BATCH:
                self._turns.add(Effects(records=[*ops, (META, self.whole, b"1")]))
                return
            if ops:
                self._turns.add(Effects(records=ops))
            cursor = batch[-1][0] + b"\0"
            yield 0


__all__ = ["HistoryIndex"]
