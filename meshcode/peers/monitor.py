"""What happened to a link's connection, as libzmq tells it: the only way to hear of it at once."""

from __future__ import annotations

import struct

import zmq

from meshcode.peers.options import Link
from meshcode.peers.ready import next_message

CONNECTED = "connected"
DISCONNECTED = "disconnected"
DENIED = "denied"  # The other side answered the handshake with no: it does not list our key.
ASTRAY = "astray"  # Somebody answered and no handshake came of it: another key than is pinned.
FAILED = "failed"  # No connection: refused or timed out.

_NAMES = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: CONNECTED,
    zmq.EVENT_DISCONNECTED: DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: DENIED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: ASTRAY,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: ASTRAY,
    zmq.EVENT_CONNECT_RETRIED: FAILED,
}
_MASK = sum(_NAMES)
_EVENT = struct.Struct("=HI")


class Monitor:
    """The events of one link; close it before the link."""

    def __init__(self, link: Link) -> None:
        """Begin to listen; call it before the link connects."""
        self._link = link
        self._events = link.get_monitor_socket(_MASK)
        self._events.setsockopt(zmq.LINGER, 0)

    def fileno(self) -> int:
        """Readable when there may be events; then read until there are none."""
        return int(self._events.getsockopt(zmq.FD))

    def poll(self, timeout_ms: int) -> bool:
        """Wait for an event; for start-up and tests only."""
        return bool(self._events.poll(timeout_ms))

    def read(self) -> list[str]:
        """What happened since the last time, oldest first."""
        found: list[str] = []
        while (event := next_message(self._events)) is not None:
            name = _NAMES.get(_EVENT.unpack(event[0])[0])
            if name is not None:
                found.append(name)
        return found

    def close(self) -> None:
        """Stop listening."""
        self._link.disable_monitor()
        self._events.close()
