"""The join link of a running node: open only while an invitation is, apart from all other links.

It has a context of its own, so nothing of a stranger shares a queue, a thread or a ZAP handler with
the links between nodes.  Its own ZAP handler, domain "join", lets any key in and marks each message
with the key it came by; it is served by the caller's thread, and domain and option 93 are set, so
when nobody serves it nobody gets in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import zmq

from meshcode.errors import TrustDamaged
from meshcode.limits import (
    JOIN_ATTEMPTS_PER_MINUTE,
    JOIN_MESSAGE_BYTES_MAX,
    JOIN_MESSAGES_PER_TURN,
)
from meshcode.trust.desk import Desk, News
from meshcode.trust.identity import Identity, load_admit_key
from meshcode.trust.invites import Invites
from meshcode.trust.roster import Change, Roster
from meshcode.trust.rosterfile import RosterFile

ZAP_DOMAIN = b"join"
ZAP_ADDRESS = "inproc://zeromq.zap.01"
ENFORCE_DOMAIN = 93  # ZMQ_ZAP_ENFORCE_DOMAIN, which pyzmq has no name for.
LOOK_MS = 1_000  # How soon a new invitation is noticed.
_FRESH_LOOKS = 3  # A folder's time is coarse: after a change it is read a few times more.
_QUEUE_MAX = 64  # Messages in libzmq's hands, each way.

# The name of the option and its value, in the order in which they are set.
SETTINGS = (
    (zmq.CURVE_SERVER, 1),
    (zmq.ZAP_DOMAIN, ZAP_DOMAIN),
    (ENFORCE_DOMAIN, 1),
    (zmq.ROUTER_MANDATORY, 1),
    (zmq.MAXMSGSIZE, JOIN_MESSAGE_BYTES_MAX),
    (zmq.SNDHWM, _QUEUE_MAX),
    (zmq.RCVHWM, _QUEUE_MAX),
    (zmq.HANDSHAKE_IVL, 5_000),
    (zmq.HEARTBEAT_IVL, 5_000),
    (zmq.HEARTBEAT_TIMEOUT, 15_000),
    (zmq.BACKLOG, _QUEUE_MAX),
    (zmq.LINGER, 0),
)


class JoinDoor:
    """Lets invited nodes in; owned by the node's one thread."""

    def __init__(
        self,
        base: str | None,
        identity: Identity,
        roster: Roster,
        file: RosterFile,
        *,
        seeds: Callable[[], list[str]] | None = None,
        attempts_per_minute: int = JOIN_ATTEMPTS_PER_MINUTE,
    ) -> None:
        """Nothing listens until `handle` finds an invitation.

        Args:
            roster: the running node's own; whoever joins is merged into it.
            seeds: peer addresses for a joiner to try first; `identity.advertise` when not given.

        Raises:
            TrustDamaged: the admitting key is damaged.
        """
        self.identity = identity
        self.invites = Invites(base)
        self._base = base
        self._make_desk = partial(
            Desk, identity, roster=roster, file=file, invites=self.invites, seeds=seeds,
            attempts_per_minute=attempts_per_minute,
        )  # fmt: skip
        key = load_admit_key(base)
        # Without a key this node cannot admit, and the door stays shut until it is given one.
        self._desk = None if key is None else self._make_desk(admit_key=key)
        self.link: Any = None  # The ROUTER, while the door is open.
        self.addresses: list[str] = []  # Where it listens.
        self.dropped = 0  # Messages of more than one part, or that nobody could be answered.
        self._context: Any = None
        self._zap: Any = None
        self._next_look_ms = 0
        self._seen: tuple[int, int] | None = None
        self._fresh_looks = 0
        self._open_until_ms = 0
        self._trouble = ""

    def links(self) -> list[Any]:
        """What the node's poller must watch for input; none while the door is shut."""
        return [] if self.link is None else [self._zap, self.link]

    def next_due(self) -> int:
        """When `handle` wants to be called without input, in Unix milliseconds."""
        return self._next_look_ms

    def take_changes(self) -> list[Change]:
        """What became otherwise in the roster since the last time."""
        if self._desk is None:
            return []
        found, self._desk.changes = self._desk.changes, []
        return found

    def handle(self, now_unix_ms: int) -> list[News]:
        """Open or shut the door, and answer at most JOIN_MESSAGES_PER_TURN messages.

        Returns:
            ("joined", node, name), ("waiting", name, code), ("refused", address, why),
            ("open", addresses, ""), ("shut", addresses, why).
        """
        news: list[News] = []
        if now_unix_ms >= self._next_look_ms or self._next_look_ms - now_unix_ms > 2 * LOOK_MS:
            self._next_look_ms = now_unix_ms + LOOK_MS
            if self._desk is None:
                self._find_key(news)
            if self._desk is not None:
                self._look(now_unix_ms, news)
        if self._desk is not None and self.link is not None:
            for _ in range(JOIN_MESSAGES_PER_TURN):
                let_in = self._let_in(self._desk, now_unix_ms)
                if not (self._answer_one(self._desk, now_unix_ms, news) or let_in):
                    break
        return news

    def close(self) -> None:
        """Shut the door."""
        self._next_look_ms = 0
        self._seen = None
        if self._context is None:
            return
        for link in (self.link, self._zap):
            if link is not None:
                link.close(0)
        self._context.term()
        self._context = self.link = self._zap = None
        self.addresses = []

    # Opening and shutting.

    def _find_key(self, news: list[News]) -> None:
        """Whether `mesh node admit` has given this node a key since it was started."""
        try:
            key = load_admit_key(self._base)
        except TrustDamaged as error:
            if error.text != self._trouble:
                news.append(("shut", list(self.identity.join), error.text))
            self._trouble = error.text
            return
        if key is not None:
            self._desk = self._make_desk(admit_key=key)

    def _look(self, now_unix_ms: int, news: list[News]) -> None:
        """Whether there is an invitation; reads the files only when there is a new one."""
        try:
            found = os.stat(self.invites.folder)
            seen = (found.st_ino, found.st_mtime_ns)
        except OSError:
            seen = None
            self._open_until_ms = 0
        self._fresh_looks = _FRESH_LOOKS if seen != self._seen else max(0, self._fresh_looks - 1)
        if self._fresh_looks:
            self._seen = seen
            self._open_until_ms = self.invites.open_until(now_unix_ms)
        wanted = now_unix_ms < self._open_until_ms
        if wanted and self.link is None:
            self._open(news)
        elif not wanted and self.link is not None:
            where = self.addresses
            self.close()
            self._next_look_ms = now_unix_ms + LOOK_MS
            news.append(("shut", where, "no invitation is open"))

    def _open(self, news: list[News]) -> None:
        try:
            self._bind()
        except zmq.ZMQError as error:
            self.close()
            text = f"the join link cannot listen on {', '.join(self.identity.join)}: {error}"
            if text != self._trouble:  # Said once; it is tried again at every look.
                news.append(("shut", list(self.identity.join), text))
            self._trouble = text
            return
        self._trouble = ""
        news.append(("open", self.addresses, ""))

    def _bind(self) -> None:
        self._context = zmq.Context(1)
        self._context.setsockopt(zmq.MAX_SOCKETS, 16)
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind(ZAP_ADDRESS)
        self.link = self._context.socket(zmq.ROUTER)
        self.link.curve_publickey = self.identity.public_z85
        self.link.curve_secretkey = self.identity.secret_z85
        for option, value in SETTINGS:
            self.link.setsockopt(option, value)
        if any(address.startswith("tcp://[") for address in self.identity.join):
            self.link.setsockopt(zmq.IPV6, 1)
        for address in self.identity.join:
            self.link.bind(address)
            self.addresses.append(self.link.last_endpoint.decode().rstrip("\x00"))

    # One message each; False when there was none.

    def _let_in(self, desk: Desk, now_unix_ms: int) -> bool:
        """Answer libzmq's question about a new connection: any key may knock, in measure."""
        try:
            parts = self._zap.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return False
        version, request, domain, address, _, mechanism, key = (parts + [b""] * 7)[:7]
        good = (version, domain, mechanism) == (b"1.0", ZAP_DOMAIN, b"CURVE") and len(key) == 32
        good = good and desk.may_knock(address.decode("ascii", "replace"), now_unix_ms)
        status = [b"200", b"OK", key.hex().encode()] if good else [b"400", b"no", b""]
        self._zap.send_multipart([b"1.0", request, *status, b""])
        return True

    def _answer_one(self, desk: Desk, now_unix_ms: int, news: list[News]) -> bool:
        try:
            parts = self.link.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return False
        if len(parts) != 2 or len(parts[1].buffer) > JOIN_MESSAGE_BYTES_MAX:
            self.dropped += 1
            return True
        try:
            key = bytes.fromhex(parts[1].get("User-Id"))
            address = parts[1].get("Peer-Address")
        except zmq.ZMQError:  # Cannot be: the handler marks every connection.
            self.dropped += 1
            return True
        reply, said = desk.answer(bytes(parts[1].buffer), key, address, now_unix_ms)
        news += said
        if reply:
            try:
                self.link.send_multipart([parts[0].bytes, reply], zmq.DONTWAIT)
            except zmq.ZMQError:  # The joiner went away, or does not read; it will ask again.
                self.dropped += 1
        return True


def join_hosts(identity: Identity) -> tuple[str, ...]:
    """HOST:PORT of the join link, as a joiner elsewhere should write it.

    A join link on all interfaces is reached by the hosts that `advertise` names.
    """
    found: list[str] = []
    for address in identity.join:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        hosts = [host]
        if host in ("0.0.0.0", "*", "[::]"):
            named = [a.removeprefix("tcp://").rpartition(":")[0] for a in identity.advertise]
            hosts = named or ["127.0.0.1"]
        found += [f"{host}:{port}" for host in hosts]
    return tuple(dict.fromkeys(found))


@contextlib.contextmanager
def opened(door: JoinDoor) -> Any:
    """The door, shut at the end."""
    try:
        yield door
    finally:
        door.close()
