"""Frames that wait for slow clients: how many bytes of them a node keeps, of whom.

One session has a bound of its own.  Many sessions of one user together have half of what all have,
so a user whose programs do not read takes no room from the others; and where all have taken what
there is, the session with most of it gives way.  What gives way lags: its frames are dropped, and
it is told so when it reads again, and asks anew for what it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from meshcode import limits

if TYPE_CHECKING:
    from meshcode.node.sessions import Session


class Outboxes:
    """What waits to be sent, of all sessions together."""

    def __init__(self) -> None:
        """Nothing waits."""
        self.most = limits.CLIENTS_OUTBOX_BYTES_MAX
        self.bytes = 0
        self._of: dict[str, int] = {}  # By user or key, of those for whom something waits.

    def fit(self, memory: int) -> None:
        """Take so large a part of a node's memory at most, in bytes."""
        self.most = min(limits.CLIENTS_OUTBOX_BYTES_MAX, memory // limits.CLIENTS_OUTBOX_SHARE)

    def add(
        self, session: Session, data: bytes, others: Callable[[], Iterable[Session]]
    ) -> None:
        """Keep a frame; where there is no room for it the session lags.

        Args:
            session: that it is for.
            data: the frame.
            others: sessions for which something waits; those of them with most may lag instead.
        """
        if not self._has_room(session, len(data), others):
            session.lagged = True
            return
        if not session.outbox:
            session.whose = _whose(session)
        session.outbox.append(data)
        self._count(session, len(data))

    def sent(self, session: Session) -> None:
        """The first frame of a session was taken by the link."""
        self._count(session, -len(session.outbox.popleft()))

    def drop(self, session: Session) -> None:
        """Nothing waits for a session any more."""
        session.outbox.clear()
        self._count(session, -session.outbox_bytes)

    def _has_room(
        self, session: Session, size: int, others: Callable[[], Iterable[Session]]
    ) -> bool:
        if session.outbox_bytes + size > limits.CLIENT_OUTBOX_BYTES_MAX:
            return False
        whose = session.whose if session.outbox else _whose(session)
        mine = self._of.get(whose, 0)
        if whose and mine and mine + size > self.most // 2:  # One frame may be larger.
            return False
        while self.bytes and self.bytes + size > self.most:
            largest = max(others(), key=lambda one: one.outbox_bytes)
            if largest.outbox_bytes <= session.outbox_bytes + size:
                return False
            self.drop(largest)
            largest.lagged = True
        return True

    def _count(self, session: Session, size: int) -> None:
        session.outbox_bytes += size
        self.bytes += size
        left = self._of.get(session.whose, 0) + size
        if left:
            self._of[session.whose] = left
        else:
            self._of.pop(session.whose, None)


def _whose(session: Session) -> str:
    """The user or key that a session's frames count for; empty for the owner's, who has all."""
    return "" if session.who is None or session.who.member else session.who.name
