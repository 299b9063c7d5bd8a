"""The DEALER link of a client: to one node at a time, with a monitor that tells how it fares."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import zmq

from meshcode.limits import FRAME_BYTES_GOAL, FRAME_BYTES_MAX

if TYPE_CHECKING:
    from meshcode.client.keys import KeyPair
    from meshcode.client.seeds import Seed

RECONNECT_MS = 20  # First pause between attempts to connect; it doubles up to the next.
RECONNECT_MS_MAX = 500
FRAMES_WAITING = 256  # Received by libzmq and not yet read; the node keeps the others.
_SENDING_BYTES = 4 * 1024 * 1024  # In the queue of libzmq; the rest waits here, where it counts.

# Over TCP, as between nodes: a half-open connection is noticed, however idle it is.
HEARTBEAT_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 15_000
HANDSHAKE_MS = 5_000  # libzmq waits 30 s for a handshake that does not come.
RECONNECT_TCP_MS = 200  # Many clients of one node must not storm it when it comes back.
RECONNECT_TCP_MS_MAX = 2_000

POLL_MS_MAX = 1_000_000_000  # libzmq counts in 31 bits.

# News of a connection.
UP, DOWN, FAILED = "up", "down", "failed"

_EVENT_HEAD = struct.Struct("=HI")  # Event number, value.
_SUCCEEDED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
_CLOSED = int(zmq.EVENT_CLOSED)
_RETRIED = int(zmq.EVENT_CONNECT_RETRIED)
_REASONS = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): (
        "the connection was closed during the handshake: the key in the address is not that of "
        "the node, or it is no node"
    ),
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): (
        "the handshake failed: one side wants an encrypted link and the other does not, or it is "
        "no node"
    ),
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): (
        "the node refuses the key of this client: it is not listed there, or no more (in "
        "mesh/clients.keys of the node's home)"
    ),
}
_EVENTS = _SUCCEEDED | _DISCONNECTED | _CLOSED | _RETRIED | sum(_REASONS)


class Link:
    """The link of one client, and the poller that waits for it.

    Each `open` makes a new libzmq link, so that nothing of an earlier node, neither a frame nor a
    key, can reach the next.  Only one thread uses it.
    """

    def __init__(self, context: zmq.Context[Any], keys: KeyPair | None, wakeup_fd: int) -> None:
        """Nothing is connected yet; `keys` are needed for seeds with a key only."""
        self.context = context
        self._keys = keys
        self._poller = zmq.Poller()
        self._poller.register(wakeup_fd, zmq.POLLIN)
        self.dealer: zmq.Socket[bytes] | None = None
        self.monitor: zmq.Socket[bytes] | None = None
        self._flags = 0  # What of the dealer is polled for.
        self._is_tcp = False
        self._attempt = 0  # The last event, to tell why libzmq tries again.

    def open(self, seed: Seed) -> None:
        """Begin to connect to a node.

        Raises:
            zmq.ZMQError: the address cannot be used at all; nothing is open then.
        """
        self.close()
        dealer: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        self.dealer = dealer
        self._is_tcp = bool(seed.key)
        self._attempt = 0
        try:
            _set_options(dealer)
            if seed.key:
                assert self._keys is not None, "a seed with a key was given and no keys"
                _set_curve(dealer, seed.key, self._keys)
            monitor: zmq.Socket[bytes] = dealer.get_monitor_socket(_EVENTS)
            self.monitor = monitor
            dealer.connect(seed.address)
        except zmq.ZMQError:
            self._discard(0)
            raise
        self._poller.register(monitor, zmq.POLLIN)
        self._poller.register(dealer, zmq.POLLIN)
        self._flags = zmq.POLLIN

    def close(self, linger_ms: int = 0) -> None:
        """Leave the node; what was sent is given `linger_ms` to go."""
        if self.dealer is not None:
            for link in (self.dealer, self.monitor):
                with suppress(KeyError):
                    self._poller.unregister(link)
            self._discard(linger_ms)

    def _discard(self, linger_ms: int) -> None:
        assert self.dealer is not None
        self.dealer.disable_monitor()
        if self.monitor is not None:
            self.monitor.close(0)
        self.dealer.close(linger_ms)
        self.dealer = self.monitor = None

    def poll(self, timeout_ms: int | None, *, sends: bool) -> dict[Any, int]:
        """Wait for frames, news or the wake-up; with `sends` also for room to send."""
        wanted = zmq.POLLIN | zmq.POLLOUT if sends else zmq.POLLIN
        if wanted != self._flags and self.dealer is not None:
            self._poller.register(self.dealer, wanted)
            self._flags = wanted
        if timeout_ms is not None:
            timeout_ms = min(timeout_ms, POLL_MS_MAX)
        return dict(self._poller.poll(timeout_ms))

    def news(self) -> Iterator[tuple[str, str]]:
        """What happened to the connection since last time, oldest first.

        Yields:
            UP, DOWN or FAILED, and for FAILED the reason.
        """
        monitor = self.monitor
        while monitor is not None and monitor is self.monitor:
            try:
                event = monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            number, _ = _EVENT_HEAD.unpack_from(event[0])
            before, self._attempt = self._attempt, number
            if number == _SUCCEEDED:
                yield UP, ""
            elif number == _DISCONNECTED:
                yield DOWN, ""
            elif number in _REASONS:
                yield FAILED, _REASONS[number]
            elif number == _CLOSED:
                yield FAILED, self._refused()
            elif number == _RETRIED and before in (0, _RETRIED):
                yield FAILED, "its name cannot be resolved"  # libzmq did not even try.

    def _refused(self) -> str:
        if self._is_tcp:
            return "nothing listens there, or it cannot be reached"
        return "nothing listens there"


def _set_options(dealer: zmq.Socket[bytes]) -> None:
    dealer.setsockopt(zmq.IMMEDIATE, 1)  # Frames for a lost connection never reach the next one.
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    dealer.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    dealer.setsockopt(zmq.SNDHWM, _SENDING_BYTES // FRAME_BYTES_GOAL)
    dealer.setsockopt(zmq.RCVHWM, FRAMES_WAITING)


def _set_curve(dealer: zmq.Socket[bytes], key: bytes, own: KeyPair) -> None:
    dealer.setsockopt(zmq.CURVE_SERVERKEY, key)
    dealer.setsockopt(zmq.CURVE_PUBLICKEY, own.public)
    dealer.setsockopt(zmq.CURVE_SECRETKEY, own.secret)
    dealer.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    dealer.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    dealer.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    dealer.setsockopt(zmq.TCP_KEEPALIVE, 1)
    dealer.setsockopt(zmq.RECONNECT_IVL, RECONNECT_TCP_MS)
    dealer.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_TCP_MS_MAX)
