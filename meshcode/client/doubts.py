"""Calls that were acknowledged by a node that is gone, and that the present one does not know yet.

Another node takes them over, which takes time; until then they are asked for again and again, less
often each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf

from meshcode.client.ends import unknown_call
from meshcode.client.pending import Pending

UNKNOWN_PATIENCE_S = 30.0  # Take-over begins seconds after a death, and may need a second try.
PAUSE_S = 0.1  # Before the first repetition; it doubles up to the next.
PAUSE_S_MAX = 2.0  # What a take-over that is done may wait to be noticed.


class Doubts:
    """The ids to ask for again, and when."""

    __slots__ = ("_clock", "_ids", "_pause_s", "_until", "due", "pending")

    def __init__(self, pending: Pending, clock: Callable[[], float] = time.monotonic) -> None:
        """No patience: a node that knows no call of an id now will never know one.

        Args:
            pending: where a call that stays unknown ends.
            clock: monotonic seconds.
        """
        self.pending = pending
        self._clock = clock
        self._ids: dict[bytes, None] = {}  # In order, each once.
        self._pause_s = PAUSE_S
        self._until = -inf
        self.due = inf  # When to ask again.

    def begin(self) -> None:
        """The client has come to another node: be patient from now on."""
        self.clear()
        self._pause_s = PAUSE_S
        self._until = self._clock() + UNKNOWN_PATIENCE_S

    def clear(self) -> None:
        """All calls are being asked for anyway."""
        self._ids = {}
        self.due = inf

    def add(self, ids: Iterable[bytes]) -> None:
        """The node does not know these: ask again later, or end them when patience is over."""
        now = self._clock()
        if now >= self._until:
            patience_s = UNKNOWN_PATIENCE_S if self._until > -inf else 0.0
            for call_id in ids:
                self.pending.lose([call_id], unknown_call(call_id, patience_s))
            return
        if not self._ids:
            self.due = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        self._ids.update(dict.fromkeys(ids))

    def take(self) -> list[bytes]:
        """The ids to ask for now: those in which anyone is still interested."""
        ids = [call_id for call_id in self._ids if self.pending.handles(call_id)]
        self.clear()
        return ids
