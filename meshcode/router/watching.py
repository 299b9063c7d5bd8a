"""Clients that want to be told how calls end, besides those that submitted them."""

from __future__ import annotations


class Watchers:
    """Who wants which outcomes; each client once for a call, and none after it has left."""

    def __init__(self) -> None:
        """Nobody wants anything."""
        self.by_call: dict[bytes, list[int]] = {}  # In the order in which they asked.
        self._by_client: dict[int, dict[bytes, None]] = {}

    def add(self, id: bytes, client: int) -> None:
        """Tell this client, too, when the call ends."""
        clients = self.by_call.setdefault(id, [])
        if client not in clients:
            clients.append(client)
            self._by_client.setdefault(client, {})[id] = None

    def drop(self, id: bytes, client: int) -> None:
        """Tell this client no more; one that was not to be told is ignored."""
        clients = self.by_call.get(id)
        if clients is not None and client in clients:
            clients.remove(client)
            if not clients:
                del self.by_call[id]
            self._forget(id, client)

    def take(self, id: bytes) -> list[int]:
        """The clients that are to be told, who then wait for the call no more."""
        clients = self.by_call.pop(id, None)
        if clients is None:
            return []
        for client in clients:
            self._forget(id, client)
        return clients

    def leave(self, client: int) -> None:
        """A client is gone: it waits for nothing."""
        for id in list(self._by_client.get(client, ())):
            self.drop(id, client)

    def _forget(self, id: bytes, client: int) -> None:
        ids = self._by_client[client]
        del ids[id]
        if not ids:
            del self._by_client[client]
