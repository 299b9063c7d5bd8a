"""Subscriptions: who is told of events and captured output as they happen.

Telemetry only: a slow listener loses some, never work.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from meshcode.ids import text_of
from meshcode.node.sessions import Session, Sessions
from meshcode.node.subjects import Wanted
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

OUTBOX_BYTES_MAX = 4 * 1024 * 1024  # A listener with more than this waiting misses events.


class Listeners:
    """All subscriptions of a node's clients."""

    def __init__(self, sessions: Sessions) -> None:
        """Nobody listens yet."""
        self._sessions = sessions
        # Whether a session may still hear of a socket: rights are taken away while it listens.
        self.may_hear: Callable[[Session, str], bool] = lambda _session, _socket: True
        self._all: dict[tuple[int, bytes], Wanted] = {}  # By client and the id of its request.

    def add(self, client: int, request: bytes, wanted: Wanted) -> None:
        """Begin to send EVENT envelopes with this request's id, as its client has given it."""
        self._all[client, request] = wanted

    def remove(self, client: int, request: bytes) -> None:
        """End a subscription of a client; unknown ones are ignored."""
        self._all.pop((client, request), None)

    def leave(self, clients: Container[int]) -> None:
        """End all subscriptions of clients that are gone."""
        self._all = {key: wanted for key, wanted in self._all.items() if key[0] not in clients}

    def wants(self, channel: str) -> bool:
        """Whether anyone listens to a channel."""
        if not self._all:  # Asked several times in each round.
            return False
        return any(wanted.channel in (channel, "all") for wanted in self._all.values())

    def publish(self, channel: str, call: bytes, socket: str, data: dict[str, Any]) -> None:
        """Send one event to everyone whose filter it passes."""
        body = None
        for (client, request), wanted in self._all.items():
            if not wanted.has(channel, socket, call):
                continue
            session = self._sessions.by_id.get(client)
            if session is None or session.outbox_bytes > OUTBOX_BYTES_MAX:
                continue
            if not self.may_hear(session, socket):
                continue
            if body is None:
                of_call = {"call": text_of(call), "socket": socket} if call else {}
                whole = {"channel": channel, **of_call, **data}
                body = pack(whole)
            self._sessions.send(session, [envelope(Kind.EVENT, id=request, body=body)])
