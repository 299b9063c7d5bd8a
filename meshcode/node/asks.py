"""Requests that have no answer yet, each by a number of this node's own.

A client chooses the id of a request, so two may be alike: of two clients, or of one.  Whatever is
kept from a request to its answer is kept by the number, which no other request has; the id is only
put on the answer.
"""

from __future__ import annotations

from meshcode.ids import ID_BYTES


class Asks:
    """The requests of one node's clients and peers that are under way."""

    def __init__(self) -> None:
        """None."""
        self._last = 0
        self._ids: dict[bytes, bytes] = {}  # By number; those of clients.

    def draw(self) -> bytes:
        """A number that no request has had since the node was started."""
        self._last += 1
        return self._last.to_bytes(ID_BYTES, "big")

    def open(self, id: bytes) -> bytes:
        """The number of a request to which its client has given this id."""
        number = self.draw()
        self._ids[number] = id
        return number

    def id_of(self, number: bytes) -> bytes:
        """The id that the client of an open request has given it."""
        return self._ids[number]

    def answered(self, number: bytes) -> bytes | None:
        """Its answer leaves: the id to put on it; None when it was answered before."""
        return self._ids.pop(number, None)
