"""Sessions here that want the outcomes of calls of which only peers know.

A session has none before a peer has said that it knows the call, and that the session's user may
see it: meanwhile another session here may be told of the same call.  What comes in between is kept,
and told then.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshcode.router.watching import Watchers


class Asked:
    """Calls that peers are asked about for one session."""

    def __init__(self, client: int, ids: Iterable[bytes]) -> None:
        """Nobody has answered."""
        self.client = client
        self.outcomes: dict[bytes, bytes | None] = dict.fromkeys(ids)  # As far as they came.


class Watches:
    """Who is to be told, who may be, and which peer will tell of what."""

    def __init__(self) -> None:
        """Nobody wants anything."""
        self._watchers = Watchers()
        self._asked: list[Asked] = []
        self._told_by: dict[bytes, set[bytes]] = {}  # Peer -> calls it will tell of.

    def ask(self, client: int, ids: Iterable[bytes]) -> Asked:
        """Peers are being asked about these calls; `answered` must follow."""
        asked = Asked(client, ids)
        self._asked.append(asked)
        return asked

    def answered(self, asked: Asked, known: set[bytes]) -> list[tuple[int, bytes]]:
        """Of these a session may hear: what it is told at once; the others it now waits for."""
        if asked not in self._asked:
            return []  # Its session has ended.
        self._asked.remove(asked)
        told = []
        for id, outcome in asked.outcomes.items():
            if id not in known:
                continue
            if outcome is None:
                self._watchers.add(id, asked.client)
            else:
                told.append((asked.client, outcome))
        return told

    def came(self, node: bytes, id: bytes, outcome: bytes) -> list[tuple[int, bytes]]:
        """A call has ended, as a peer says: who is told now."""
        self._told_by.get(node, set()).discard(id)
        for asked in self._asked:
            if id in asked.outcomes:
                asked.outcomes[id] = outcome
        return [(client, outcome) for client in self.take(id)]

    def take(self, id: bytes) -> list[int]:
        """The sessions that wait for a call, and do so no more."""
        return self._watchers.take(id)

    def knows(self, node: bytes, ids: Iterable[bytes]) -> None:
        """A peer will tell of these calls, as far as somebody waits for them."""
        waited = [id for id in ids if id in self._watchers.by_call]
        self._told_by.setdefault(node, set()).update(waited)

    def lonely(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those of these calls that somebody waits for, and of which no peer will tell."""
        told = set().union(*self._told_by.values())
        return [id for id in ids if id in self._watchers.by_call and id not in told]

    def lost(self, node: bytes) -> list[bytes]:
        """A peer is gone: the calls that it would have told of, and that somebody waits for."""
        return [id for id in self._told_by.pop(node, ()) if id in self._watchers.by_call]

    def client_left(self, client: int) -> None:
        """A session has ended: it wants nothing."""
        self._watchers.leave(client)
        self._asked = [asked for asked in self._asked if asked.client != client]
