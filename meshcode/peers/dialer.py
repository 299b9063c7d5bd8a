"""One link out: a DEALER towards one address of one peer, with its events."""

from __future__ import annotations

from typing import Any

import zmq

from meshcode.peers.monitor import Monitor
from meshcode.peers.options import client_link
from meshcode.peers.ready import next_message

ANSWERS_MAX = 8  # Read at once.


class Dialer:
    """The link to one peer at one address; another address or key is another Dialer."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        public: bytes,
        secret: bytes,
        server_key: bytes,
        now_ms: int,
    ) -> None:
        """Begin to connect; the peer is only spoken to when it proves to hold `server_key`."""
        self.address = address
        self.server_key = server_key
        self.since_ms = now_ms
        self.connected = False
        self.astray = False  # Somebody answered there who does not hold `server_key`.
        self._link = client_link(context, public, secret, server_key)
        self.events = Monitor(self._link)
        self._link.connect(address)

    def filenos(self) -> tuple[int, int]:
        """Readable when there may be events or answers.

        A `send` may swallow the sign that an answer came: look for answers after it as well.
        """
        return self.events.fileno(), int(self._link.getsockopt(zmq.FD))

    def send(self, frame: bytes) -> bool:
        """Hand one frame to libzmq; false = not connected, or its queue is full."""
        try:
            self._link.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def answers(self) -> list[bytes]:
        """What the peer answered on this link: why it refuses us.  At most a few frames."""
        found: list[bytes] = []
        while len(found) < ANSWERS_MAX and (parts := next_message(self._link)) is not None:
            found.append(parts[0])
        return found

    def close(self, linger_ms: int = 0) -> None:
        """Cut the link; what libzmq holds is given `linger_ms` to leave."""
        self.events.close()
        self._link.close(linger_ms)
