"""Listening across nodes: what clients of peers want to hear of this node, and the other way.

A node tells its peers what its clients listen to, whole, whenever that changes (a question of the
relay, so that a listener can be told when all nodes know).  Messages (kind RELAY):

    {"q": n, "op": "feed", "want": {channel: [name] or nil}}    -> {"a": n}
    {"feed": {"n": number, "events": [packed event], "lost": {channel: count}}}
    {"feed": {"took": number}}

Of one peer at most LISTEN_MESSAGES are on their way and not yet taken: what does not fit behind
them is counted, and told with the next one.  So telemetry never holds up what else is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import MeshError
from meshcode.hearing import is_named
from meshcode.node.feedevents import CHANNELS, names_of
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshcode.node.feed import Feed
    from meshcode.node.loop import Loop

_LOST_MAX = 1 << 31  # More at once no node loses.

Wanted = dict[str, list[str] | None]  # Channel -> names; None = all.


class Taker:
    """A peer whose clients listen: what they want, and what is on its way to them."""

    __slots__ = ("events", "lost", "sent", "size", "took", "want")

    def __init__(self, want: Wanted) -> None:
        """Nothing is on its way."""
        self.want = want
        self.events: list[bytes] = []  # Not sent yet.
        self.size = 0
        self.lost: dict[str, int] = {}  # By channel.
        self.sent = 0  # Number of the last message.
        self.took = 0  # The last that the peer has taken.


class FeedPeers:
    """What this node tells its peers' listeners, and what it asks of the peers for its own."""

    def __init__(self, feed: Feed, loop: Loop) -> None:
        """Nobody wants anything yet."""
        self._feed = feed
        self._loop = loop
        self.wanting: dict[bytes, Taker] = {}
        self._said: Wanted = {}
        self._taken: dict[bytes, int] = {}  # Peer -> its last message.
        self._ticks = 0

    # What is wanted of the peers.

    def say(self, done: Callable[[], None] | None = None) -> None:
        """Tell the peers what is listened to here, if it is something else; then call `done`."""
        want = {
            channel: None if names is None or len(names) > limits.LISTEN_PEER_NAMES
            else sorted(names)
            for channel, names in self._feed.wanted().items()
        }  # fmt: skip
        mesh = self._loop.mesh
        if mesh is None or (want == self._said and done is None):
            if done is not None:
                done()
            return
        self._said = want

        def answered(_answers: object) -> None:
            if done is not None:
                done()

        mesh.relay.gather({"op": "feed", "want": want}, answered)

    def came(self, node: bytes) -> None:
        """A session with a peer is open."""
        if self._said and self._loop.mesh is not None:
            self._loop.mesh.relay.gather(
                {"op": "feed", "want": self._said}, lambda _answers: None, among=[node]
            )

    def lost(self, node: bytes) -> None:
        """A session with a peer is gone, and with it all that was on its way."""
        self._taken.pop(node, None)
        if self.wanting.pop(node, None) is not None:
            self._feed.changed()

    # What peers want of this node.

    def wanted(self, node: bytes, want: Any) -> None:
        """A peer says what its clients listen to.  What is no such thing counts as nothing."""
        found: Wanted = {}
        for channel, names in want.items() if isinstance(want, dict) else ():
            known = isinstance(channel, str) and channel in CHANNELS
            if known and (names is None or isinstance(names, list)):
                kept = names if names is None else [n for n in names if isinstance(n, str)]
                found[channel] = None if kept is None else kept[: limits.LISTEN_PEER_NAMES]
        taker = self.wanting.get(node)
        if not found:
            self.wanting.pop(node, None)
        elif taker is None:
            self.wanting[node] = Taker(found)
        else:
            taker.want = found
        self._feed.changed()

    def wants(self, channel: str) -> bool:
        """Whether any peer listens to a channel."""
        return any(channel in taker.want for taker in self.wanting.values())

    def is_named(self, channel: str, names: frozenset[str]) -> bool:
        """Whether any peer listens to one of these names on a channel."""
        return any(_is_wanted(taker, channel, names) for taker in self.wanting.values())

    def has_room(self, channel: str, names: frozenset[str]) -> bool:
        """Whether one more event has room on its way to any peer that wants it."""
        return any(
            taker.size < limits.LISTEN_PEER_BYTES - limits.LISTEN_MESSAGE_BYTES
            and _is_wanted(taker, channel, names)
            for taker in self.wanting.values()
        )

    def offer(self, event: dict[str, Any], body: bytes) -> None:
        """Give one event of this node to the peers that want it; what has no room is counted."""
        channel, names = event["channel"], names_of(event)
        for taker in self.wanting.values():
            if channel in ("queue", "stats"):
                if channel not in taker.want:
                    continue
            elif not _is_wanted(taker, channel, names):
                continue
            if taker.size + len(body) > limits.LISTEN_PEER_BYTES:
                taker.lost[channel] = taker.lost.get(channel, 0) + 1
                continue
            taker.events.append(body)
            taker.size += len(body)

    def lose(self, channel: str, names: frozenset[str]) -> None:
        """One event was not even made."""
        for taker in self.wanting.values():
            if _is_wanted(taker, channel, names):
                taker.lost[channel] = taker.lost.get(channel, 0) + 1

    def flush(self) -> None:
        """Send what waits, as far as the peers have taken what was sent before."""
        for node, taker in self.wanting.items():
            while taker.events and taker.sent - taker.took < limits.LISTEN_MESSAGES:
                self._send(node, taker)

    def _send(self, node: bytes, taker: Taker) -> None:
        part: list[bytes] = []
        size = 0
        for body in taker.events:
            if part and size + len(body) > limits.LISTEN_MESSAGE_BYTES:
                break
            part.append(body)
            size += len(body)
        taker.events = taker.events[len(part) :]
        taker.size -= size
        taker.sent += 1
        self._say(node, {"n": taker.sent, "events": part, "lost": taker.lost})
        taker.lost = {}

    def _say(self, node: bytes, message: dict[str, Any]) -> None:
        if self._loop.mesh is not None:
            data = envelope(Kind.RELAY, body=pack({"feed": message}))
            self._loop.mesh.send(node, [data])

    # What is heard.

    def heard(self, node: bytes, message: Any) -> None:
        """Take a message of a peer; what is wrong with it is dropped."""
        if not isinstance(message, dict):
            return
        took, number = message.get("took"), message.get("n")
        taker = self.wanting.get(node)
        if isinstance(took, int) and taker is not None and taker.took < took <= taker.sent:
            taker.took = took
            self.flush()
        if isinstance(number, int) and self._loop.mesh is not None:
            self._hear_events(self._loop.mesh.name_of(node), message)
            self._taken[node] = number
            self._say(node, {"took": number})

    def _hear_events(self, name: str, message: dict[str, Any]) -> None:
        events = message.get("events")
        for body in events if isinstance(events, list) else ():
            try:
                self._hear_event(name, body)
            except (MeshError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
                continue
        lost = message.get("lost")
        if isinstance(lost, dict):
            counts = {k: n for k, n in lost.items() if type(n) is int and 0 < n < _LOST_MAX}
            self._feed.lost_elsewhere(name, counts)

    def _hear_event(self, name: str, body: Any) -> None:
        event = unpack(body)
        if event["channel"] not in self._said:
            return
        if event.get("node") != name:  # A node speaks for itself only.
            event["node"] = name
            body = pack(event)
        self._feed.deliver(event, body)

    def tick(self) -> None:
        """Once a second: losses after which nothing came; now and then all is said again."""
        self._ticks += 1
        for node, taker in self.wanting.items():
            if taker.lost and not taker.events and taker.sent - taker.took < limits.LISTEN_MESSAGES:
                self._send(node, taker)
        if self._ticks % limits.LISTEN_AGAIN_TICKS == 0:  # A message may have been lost.
            for node, number in self._taken.items():
                self._say(node, {"took": number})
            if self._said and self._loop.mesh is not None:
                want = {"op": "feed", "want": self._said}
                self._loop.mesh.relay.gather(want, lambda _answers: None)


def _is_wanted(taker: Taker, channel: str, names: frozenset[str]) -> bool:
    if channel not in taker.want:
        return False
    wanted = taker.want[channel]
    return wanted is None or any(is_named(name, names) for name in wanted)
