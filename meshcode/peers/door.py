"""The link in: one ROUTER that all peers (or clients) send to, bound at every address for them.

libzmq asks the ZAP handler at the handshake only, so a session that was let in goes on when its
member is evicted.  Its messages are refused one by one (`links`), and `restart` cuts it.
"""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

import zmq

from meshcode.errors import NodeError
from meshcode.peers.options import server_link
from meshcode.peers.ready import next_message

_REBIND_MS = 20  # libzmq gives an address back a moment after the link was closed.
_SEEK_MS = 1_000  # One that this machine has lost is tried again so often.


class Arrived(NamedTuple):
    """One message as it came in."""

    route: bytes  # libzmq's own name of the connection; good for an answer, never for identity.
    user: str  # The user id the ZAP handler gave at the handshake: the sender's key in hex.
    parts: list[bytes]  # Of the sender; ours have one.
    last: zmq.Frame  # Of these, as libzmq has it.

    def address(self) -> str:
        """Where the other side of the connection is: an IP address, for people."""
        return _property(self.last, "Peer-Address")


class Door:
    """The listening link, with all its addresses."""

    def __init__(
        self,
        context: zmq.Context[Any],
        secret: bytes,
        bind: list[str],
        options: dict[int, Any] | None = None,
        who: str = "peers",
    ) -> None:
        """Bind at every address; a wildcard port is chosen once and kept over restarts.

        Args:
            options: of the link; those for peers when not given.
            who: comes in here, for the text of an error.

        Raises:
            NodeError: an address cannot be bound.
        """
        self._context = context
        self._secret = secret
        self._options = options
        self._who = who
        self._rebind_ms: int | None = None
        self._unbound: list[str] = []  # Of the addresses, after a restart.
        self.trouble = ""  # Why nobody comes in at one of them; "" = libzmq takes its time at most.
        self.restarts = 0
        self.link = server_link(context, secret, options)
        self.endpoints: list[str] = []
        for address in bind:
            try:
                self.link.bind(address)
            except zmq.ZMQError as error:
                self.link.close()
                raise NodeError(
                    f"the address {address} for {who} cannot be bound: {error}; this node does not"
                    " listen there; stop what does (`ss -ltnp` shows it), or start the node with"
                    " another address, which it keeps: mesh up --bind tcp://IP:PORT; but if this"
                    " home is a copy of one whose node listens there, delete the copy: of one"
                    " identity one node may run",
                    address=address,
                ) from None
            self.endpoints.append(self.link.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0"))

    def receive(self) -> Arrived | None:
        """The next message, or None."""
        frames = next_message(self.link, frames=True)
        if frames is None:
            return None
        user = _property(frames[-1], "User-Id")
        return Arrived(frames[0].bytes, user, [frame.bytes for frame in frames[1:]], frames[-1])

    def answer(self, route: bytes, frame: bytes) -> bool:
        """Answer on the connection a message came by; false = it is gone or does not read."""
        try:
            self.link.send_multipart([route, frame], zmq.NOBLOCK)
        except zmq.ZMQError:  # EHOSTUNREACH by ROUTER_MANDATORY, or EAGAIN.
            return False
        return True

    def restart(self, now_ms: int) -> None:
        """Cut every connection; members come back within a second, others are denied."""
        self.restarts += 1
        self.link.close(0)
        self.link = server_link(self._context, self._secret, self._options)
        self._rebind_ms, self._unbound = now_ms, list(self.endpoints)
        self.tick(now_ms)

    def tick(self, now_ms: int) -> None:
        """Bind again after a restart, as soon as libzmq has given the addresses back.

        One that this machine has no more, as when a network is gone, may come back: the others
        are bound meanwhile, and `trouble` says so.
        """
        if self._rebind_ms is None or now_ms < self._rebind_ms:
            return
        wanted, self._unbound, self.trouble = self._unbound, [], ""
        for address in wanted:
            try:
                self.link.bind(address)
            except zmq.ZMQError as error:
                self._unbound.append(address)
                if error.errno != errno.EADDRINUSE:
                    self.trouble = (
                        f"the address {address} for {self._who} cannot be bound again: {error};"
                        " nobody comes in there; it is tried again each second"
                    )
        wait_ms = _SEEK_MS if self.trouble else _REBIND_MS
        self._rebind_ms = now_ms + wait_ms if self._unbound else None

    def next_due_ms(self) -> int | None:
        """When `tick` has something to do."""
        return self._rebind_ms

    def close(self) -> None:
        """Take nobody in any more."""
        self.link.close(0)


def _property(frame: zmq.Frame, name: str) -> str:
    try:
        return str(frame.get(name))
    except zmq.ZMQError:  # Never on a CURVE link with an enforced domain; then nobody it is.
        return ""
