"""Nodes with real links on 127.0.0.1, in one process: a context, keys and a clock for each.

The clock is the real one plus what a test skips, so that no test waits for a time-out.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import zmq
from zmq.utils import z85

from meshcode.peers.links import PeerLinks
from meshcode.peers.memory import PeerMemory
from meshcode.peers.notice import Notice
from meshcode.peers.options import client_link
from meshcode.wire.frame import Row, envelope

DATA = 50  # A kind that the links pass on unread.
HOME = "tcp://127.0.0.1:*"


def raw_keys() -> tuple[bytes, bytes]:
    """A fresh CURVE key pair, public and secret, 32 raw bytes each."""
    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


def clock_ms() -> int:
    """A clock that only goes forward."""
    return time.monotonic_ns() // 1_000_000


def message(body: bytes = b"", number: int = 0) -> bytes:
    """An envelope that means nothing to the links."""
    return envelope(DATA, number=number, body=body)


@dataclass
class Roster:
    """The member table all nodes of a test share; replaced whole, as the links want it."""

    nodes: dict[bytes, bytes] = field(default_factory=dict)  # key -> node
    notices: dict[bytes, Notice] = field(default_factory=dict)  # key -> eviction

    def add(self, node: bytes, key: bytes) -> None:
        """One more member."""
        self.nodes = {**self.nodes, key: node}

    def evict(self, key: bytes, statement: bytes, *addresses: str) -> None:
        """One less, that was at these addresses."""
        self.nodes = {k: n for k, n in self.nodes.items() if k != key}
        self.notices = {**self.notices, key: Notice(statement, list(addresses))}

    def member_of(self, key: bytes) -> bytes | None:
        """The node that holds a key."""
        return self.nodes.get(key)

    def notice_of(self, key: bytes) -> Notice | None:
        """The eviction of a key."""
        return self.notices.get(key)

    def keys_of(self, node: bytes) -> tuple[bytes, ...]:
        """The keys of a node, the newest first."""
        return tuple(key for key, holder in reversed(self.nodes.items()) if holder == node)


class Peer:
    """One node of a test."""

    def __init__(self, roster: Roster, number: int = 1, **options: Any) -> None:
        """Make keys, become a member, and serve."""
        self.roster = roster
        self.node = bytes([number]) * 16
        self.public, self.secret = raw_keys()
        roster.add(self.node, self.public)
        self.store = os.urandom(16)
        self.boot = 1
        self.commit = 0  # The newest transaction of its log.
        self.memory = PeerMemory()
        self.skipped_ms = 0
        self.bind = [HOME]
        self.got: list[tuple[bytes, bytes]] = []  # (node, body) of what came in.
        self.rows: list[Row] = []
        self.news: list[tuple[str, bytes, Any]] = []
        self.start(**options)

    def start(self, **options: Any) -> None:
        """Begin with a new context, as a process that was started does."""
        self.context: zmq.Context[Any] = zmq.Context()
        self.commit += 1  # Counting the boot is one.
        given: dict[str, Any] = {
            "boot": self.boot, "store_id": self.store, "life": os.urandom(16),
            "commits": lambda: self.commit, "hello": {"name": f"n{self.node[0]}"},
            "bind": self.bind, "member_of_key": self.roster.member_of,
            "keys_of": self.roster.keys_of, "memory": self.memory, "now_ms": self.now_ms(),
            "notice_of": self.roster.notice_of,
        }  # fmt: skip
        self.links = PeerLinks(
            self.context, self.public, self.secret, self.node, **{**given, **options}
        )
        self.bind = self.links.endpoints

    @property
    def address(self) -> str:
        """Where it takes peers in."""
        return self.links.endpoints[0]

    def now_ms(self) -> int:
        """Its node time."""
        return clock_ms() + self.skipped_ms

    def skip(self, ms: int) -> None:
        """Let so much of its time pass at once.

        Its ZAP handler is a real thread: an answer that is on its way has not been late so long.
        """
        zap = self.links._zap
        while zap._asked_ms is not None:
            assert zap._beat.poll(10_000), "the ZAP handler does not answer"
            zap.tick(self.now_ms())
        self.skipped_ms += ms

    def turn(self) -> None:
        """One turn of its loop, without waiting."""
        now_ms = self.now_ms()
        found = self.links.receive(now_ms)
        self.links.tick(now_ms)
        self.news += self.links.news(now_ms)
        for node, rows, data in found:
            self.got += [(node, data[row.body_at : row.end]) for row in rows]
            self.rows += rows

    def knows(self, other: Peer) -> None:
        """Tell it where another one is."""
        self.links.set_addresses(other.node, [other.address])

    def told(self, kind: str, of: bytes | None = None) -> list[Any]:
        """The third part of its news of one kind, oldest first."""
        return [what for found, who, what in self.news if found == kind and of in (None, who)]

    def stats_of(self, other: Peer) -> dict[str, Any]:
        """Its counters for another one."""
        return self.links.stats()[other.node]

    def is_up(self, other: Peer) -> bool:
        """Whether it has a session with another one."""
        found = self.links.stats().get(other.node)
        return found is not None and bool(found["up"])

    def kill(self) -> None:
        """End without a word: no good-bye leaves."""
        for peer in self.links._peers.values():
            peer.session.is_up = False
        self.close()

    def close(self) -> None:
        """End."""
        self.links.close()
        self.context.destroy(linger=0)

    def restart(self, **options: Any) -> None:
        """Killed and started again at the same addresses, in the next boot."""
        self.kill()
        self.boot += 1
        self.got, self.news = [], []
        self.start(**options)


def run(peers: list[Peer], condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Turn the loops of all nodes until `condition()` is true, waiting on their links between."""
    end = time.monotonic() + seconds
    while True:
        for peer in peers:
            peer.turn()
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {[p.links.stats() for p in peers]}"
        wait(peers)


def wait(peers: list[Peer]) -> None:
    """Until a link of one of them is readable, or 20 ms."""
    poller = zmq.Poller()
    for peer in peers:
        for link in peer.links.links():
            poller.register(link, select.POLLIN)
    due_ms = min(peer.links.next_due_ms() - peer.now_ms() for peer in peers)
    poller.poll(max(0, min(20, due_ms)))


def settle(peers: list[Peer], turns: int = 25) -> None:
    """Some turns with nothing to wait for: what was to arrive is there."""
    for _ in range(turns):
        for peer in peers:
            peer.turn()
        wait(peers)


@contextmanager
def mesh(count: int = 2, *, joined: bool = True) -> Iterator[list[Peer]]:
    """Some nodes of one roster; when joined, each has a session with each."""
    roster = Roster()
    peers: list[Peer] = []
    try:
        for number in range(1, count + 1):
            peers.append(Peer(roster, number))
        if joined:
            join(peers)
        yield peers
    finally:
        for peer in peers:
            peer.close()


def join(peers: list[Peer]) -> None:
    """Tell each where the others are, and wait for all sessions."""
    pairs = [(a, b) for a in peers for b in peers if a is not b]
    for a, b in pairs:
        a.knows(b)
    run(peers, lambda: all(a.is_up(b) for a, b in pairs))


@contextmanager
def raw_dealer(
    public: bytes, secret: bytes, server: Peer, routing_id: bytes = b""
) -> Iterator[zmq.Socket[bytes]]:
    """A link to a node by whoever holds a key, that can send what PeerLinks never would."""
    context: zmq.Context[Any] = zmq.Context()
    link = client_link(context, public, secret, server.public)
    if routing_id:
        link.setsockopt(zmq.ROUTING_ID, routing_id)
    link.setsockopt(zmq.IMMEDIATE, 0)
    link.connect(server.address)
    try:
        yield link
    finally:
        context.destroy(linger=0)
