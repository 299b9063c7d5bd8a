"""Listening: what happens on the nodes of a mesh, told as it happens (docs/listening.md).

Telemetry only: a slow listener loses some of it and is told how much, work loses nothing.  What a
listener may hear is asked for each event, so a right that is taken away is gone at once.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode import limits
from meshcode.errors import BadRequest, Busy, UnknownObject
from meshcode.hearing import PATTERN, is_named
from meshcode.model.delta import Key
from meshcode.nearest import nearest
from meshcode.node import feedevents
from meshcode.node.feedevents import CHANNELS, names_of
from meshcode.node.feedpeers import FeedPeers
from meshcode.node.sessions import Session
from meshcode.router.effects import Effects
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

LOST = "lost"  # The channel of an event that says how many were not told.
_ROOM_BYTES = limits.LISTEN_BYTES_MAX - limits.LISTEN_FRAME_BYTES  # Below it, one more is made.
_NAME_MAX = 2 * limits.NAME_BYTES_MAX + 1  # QUEUE.PROCESSOR.
# What of an event is told only to who may also read the call, or the object.
_PRIVATE = ("packed", "result_text", "object")


class Listener:
    """One subscription of a client of this node."""

    __slots__ = ("channel", "client", "lost", "name", "request", "waiting", "waiting_bytes")

    def __init__(self, client: int, request: bytes, channel: str, name: str | None) -> None:
        """Nothing waits for it yet."""
        self.client = client
        self.request = request
        self.channel = channel
        self.name = name
        self.lost: dict[str, int] = {}  # Events it has not got, by the node that did not tell them.
        self.waiting: list[bytes] = []  # Envelopes for the end of this round.
        self.waiting_bytes = 0


class Takers(NamedTuple):
    """Who wants the events of one socket on one channel."""

    channel: str
    socket: str
    names: frozenset[str]
    listeners: list[Listener]
    peers: bool  # Some peer does.

    @property
    def deliveries(self) -> int:
        """How often one event is told: to each client of this node; to peers, as one."""
        return len(self.listeners) + self.peers


class Feed:
    """All that is listened to at this node, by its clients and for those of its peers."""

    def __init__(self, loop: Loop) -> None:
        """Nobody listens yet."""
        self._loop = loop
        self._all: dict[tuple[int, bytes], Listener] = {}  # By client and id.
        self.peers = FeedPeers(self, loop)
        self.looks = feedevents.Looks(loop)
        self._lines = feedevents.Lines()
        self._named: dict[tuple[str, str], Takers | None] = {}  # By channel and socket.
        # By channel and the names that an event has.
        self._heard: dict[tuple[str, frozenset[str]], list[Listener]] = {}
        self._left = limits.LISTEN_EVENTS_PER_SECOND  # Deliveries until the next tick.
        self._missed: dict[tuple[str, str], int] = {}  # Not told and not yet noted, as `_named`.
        self._stats: dict[str, Any] = {}

    @property
    def node(self) -> str:
        """The name of this node in events."""
        mesh = self._loop.mesh
        return self._loop.node_id.hex() if mesh is None else mesh.identity.name

    # Who listens.

    def add(self, client: int, request: bytes, fields: Mapping[str, Any]) -> None:
        """Begin to tell a client, with EVENT envelopes of this request's id, as it gave it.

        Raises:
            BadRequest: no such channel, or a name where there is none.
            UnknownObject: nothing has this name.
            Busy: this client listens too often already.
        """
        channel, name = fields.get("channel", "task"), fields.get("name")
        if channel not in CHANNELS:
            raise BadRequest(
                f"there is no channel {channel!r}; listen to {', '.join(CHANNELS)}"
            )
        if name is not None and not (isinstance(name, str) and name):
            raise BadRequest(f"a name to listen to is text, this is {name!r}")
        if name is not None and len(name) > _NAME_MAX:
            raise BadRequest(
                f"a name to listen to has at most {_NAME_MAX} characters, this one {len(name)}"
            )
        if channel == "stats" and name is not None:
            raise BadRequest(
                f"the channel stats counts whole nodes; leave out the name {name!r}, or listen to"
                " its channel queue"
            )
        if channel in ("task", "log", "queue") and name is not None:
            self._check_name(name)
        old = self._all.get((client, request))
        mine = sum(one.client == client for one in self._all.values())
        if old is None and mine >= limits.LISTEN_PER_CLIENT:
            raise Busy(
                f"this client listens {mine} times already, which is the limit; nothing further is"
                " listened to; close one, or listen to a pattern of names"
            )
        listener = self._all[client, request] = Listener(client, request, channel, name)
        if old is not None:  # It asks again, because something was lost.
            listener.lost = old.lost
        self.changed()

    def _check_name(self, name: str) -> None:
        if PATTERN & set(name):
            return
        snapshot = self._loop.snapshot
        known = {*(snapshot.get("processors") or ()), *(snapshot.get("queues") or ())}
        for line in self._loop.router.lines.values():
            known.update(feedevents.names_of_socket(line.name, line.config))
        if name not in known:
            near = nearest(name, sorted(known))
            hint = f"; did you mean {near!r}?" if near else "; see `mesh ls sockets`"
            raise UnknownObject(
                f"no socket, processor or queue is named {name!r}, nor is it QUEUE.PROCESSOR of a"
                f" socket; nothing is listened to{hint}",
                name=name,
            )

    def remove(self, client: int, request: bytes) -> None:
        """End a subscription of a client; unknown ones are ignored."""
        if self._all.pop((client, request), None) is not None:
            self._changed()

    def leave(self, clients: Container[int]) -> None:
        """End all subscriptions of clients that are gone."""
        left = {key: one for key, one in self._all.items() if key[0] not in clients}
        if len(left) < len(self._all):
            self._all = left
            self._changed()

    def wanted(self) -> dict[str, set[str] | None]:
        """The channels that clients of this node listen to, with the names; None = of all."""
        found: dict[str, set[str] | None] = {}
        for listener in self._all.values():
            names = found.setdefault(listener.channel, set())
            if listener.name is None:
                found[listener.channel] = None
            elif names is not None:
                names.add(listener.name)
        return found

    def wants(self, channel: str) -> bool:
        """Whether anybody listens to a channel, here or at a peer."""
        if not self._all and not self.peers.wanting:
            return False
        here = any(listener.channel == channel for listener in self._all.values())
        return here or self.peers.wants(channel)

    def _changed(self) -> None:
        self.changed()
        self.peers.say()

    def changed(self) -> None:
        """Somebody else listens now, here or at a peer: begin or end what is only done for them."""
        self._note_missed()
        self._named.clear()
        self._heard.clear()
        self._stats = {}
        loop = self._loop
        loop.hear_calls()
        if self.wants("state"):
            self.looks.begin()
        else:
            self.looks.end()
        self.figures()

    def model_changed(
        self,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        keys: Iterable[Key] | None = None,
    ) -> None:
        """Another snapshot holds; each node tells its own listeners, since all hear of it."""
        self._note_missed()
        self._named.clear()
        if any(listener.channel == "state" for listener in self._all.values()):
            self._tell_with_turn(feedevents.model_events(before, after, keys))

    # What is told.

    def calls(self, effects: Effects) -> None:
        """Tell what happened to calls; the effects are those of one turn, on disk by now."""
        loop = self._loop
        records = None
        for call, socket, name, note, ms in effects.events:
            takers = self._takers("task", socket)
            if takers is None or feedevents.is_of_peer(name, note):
                continue
            if not self._has_room(takers):  # Nothing is made that nobody can take.
                self._lose(takers)
                continue
            event = feedevents.of_call(loop, call, socket, name, note, ms)
            if name == "postrun":
                if records is None:
                    records = feedevents.done_records(effects)
                event |= feedevents.outcome(loop, call, records.get(call))
            self._left -= takers.deliveries
            self.tell(event)

    def output(
        self, call: bytes, socket: str, worker: int, attempt: int, stream: str, data: bytes
    ) -> None:
        """Tell the whole lines of what a call has printed further."""
        if self._takers("log", socket) is not None:
            for text in self._lines.add((call, attempt, stream), data):
                self._tell_line(call, socket, worker, attempt, stream, text)

    def output_ended(self, call: bytes, socket: str, worker: int, attempt: int) -> None:
        """A call prints no more in this attempt: its last line may have had no end."""
        for stream in ("stdout", "stderr"):
            text = self._lines.end((call, attempt, stream))
            if text:
                self._tell_line(call, socket, worker, attempt, stream, text)

    def _tell_line(
        self, call: bytes, socket: str, worker: int, attempt: int, stream: str, text: str
    ) -> None:
        takers = self._takers("log", socket)
        if takers is None:
            return
        if not self._has_room(takers):
            self._lose(takers)
            return
        event = feedevents.of_socket(self._loop, "log", call, socket)
        event |= {
            "state": "output", "stream": stream, "text": text, "attempt": attempt,
            "worker": worker,
        }  # fmt: skip
        self._left -= takers.deliveries
        self.tell(event)

    def _takers(self, channel: str, socket: str) -> Takers | None:
        """Who wants the events of a socket; None: nobody."""
        key = (channel, socket)
        if key in self._named:
            return self._named[key]
        line = self._loop.router.lines.get(socket)
        names = feedevents.names_of_socket(socket, line.config if line else None)
        listeners = self._hearing(channel, names)
        peers = self.peers.is_named(channel, names)
        takers = Takers(channel, socket, names, listeners, peers) if listeners or peers else None
        if len(self._named) < limits.LISTEN_NAMES_MAX:
            self._named[key] = takers
        return takers

    def _hearing(self, channel: str, names: frozenset[str]) -> list[Listener]:
        """The subscriptions of a channel, in their order, that hear of something by its names."""
        found = self._heard.get((channel, names))
        if found is None:
            found = [
                listener for listener in self._all.values()
                if listener.channel == channel and is_named(listener.name, names)
            ]  # fmt: skip
            if len(self._heard) < limits.LISTEN_NAMES_MAX:
                self._heard[channel, names] = found
        return found

    def _has_room(self, takers: Takers) -> bool:
        """Whether one more event may be told now, and anybody can take it."""
        if self._left <= 0:
            return False
        sessions = self._loop.sessions.by_id
        for listener in takers.listeners:
            session = sessions.get(listener.client)
            if session and session.outbox_bytes + listener.waiting_bytes < _ROOM_BYTES:
                return True
        return takers.peers and self.peers.has_room(takers.channel, takers.names)

    def _lose(self, takers: Takers) -> None:
        """One event is not told; who misses it is worked out for many at once."""
        if takers.listeners:
            key = (takers.channel, takers.socket)
            self._missed[key] = self._missed.get(key, 0) + 1
        if takers.peers:
            self.peers.lose(takers.channel, takers.names)

    def _note_missed(self) -> None:
        """Note what was not told with the listeners that would have heard it."""
        missed, self._missed = self._missed, {}
        for (channel, socket), count in missed.items():
            takers = self._takers(channel, socket)
            for listener in takers.listeners if takers is not None else ():
                session = self._loop.sessions.by_id.get(listener.client)
                if session and self._loop.guard.may(session.who, "READ_LOG", "socket", socket):
                    listener.lost[self.node] = listener.lost.get(self.node, 0) + count

    def figures(self) -> None:
        """Tell how long the queues are, and the figures of this node when they are others."""
        loop = self._loop
        if self.wants("queue"):
            self.tell({"channel": "queue", **feedevents.queue_figures(loop)})
        if self.wants("stats"):
            stats = feedevents.stats(loop)
            if stats != self._stats:
                self._stats = stats
                self.tell({"channel": "stats", **stats})

    def look(self, now_ms: int) -> None:
        """Called each turn: is anything else with processors, workers or nodes?"""
        found = self.looks.look(now_ms)
        if found:
            self._tell_with_turn(found)

    def _tell_with_turn(self, events: list[dict[str, Any]]) -> None:
        # With the turn, so that nobody hears of a change that a power cut would undo.
        self._loop.turns.add(Effects(news=[("feed", event) for event in events]))

    def tell(self, event: dict[str, Any]) -> None:
        """Tell one event of this node to everybody who wants it."""
        if self._missed:
            self._note_missed()
        event["node"] = self.node
        event.setdefault("ms", self._loop.clock.now_ms())
        is_local = event.pop("local", False)  # All nodes know of it by themselves.
        body = pack(event)
        self.deliver(event, body)
        if self.peers.wanting and not is_local:
            self.peers.offer(event, body)

    def deliver(self, event: dict[str, Any], body: bytes) -> None:
        """Give one event, of whichever node, to the clients of this node that may hear it.

        Args:
            event: with its channel and node.
            body: the same, packed.
        """
        if event["channel"] == "queue":
            self._give_figures(event)
            return
        bare = None
        for listener in self._hearing(event["channel"], names_of(event)):
            session = self._loop.sessions.by_id.get(listener.client)
            if session is None:
                continue  # It is removed in this round.
            whole = self._sees(session, event)
            if whole is None:
                continue
            if whole:
                self._give(listener, session, body, event["node"])
            else:
                bare = bare or pack({k: v for k, v in event.items() if k not in _PRIVATE})
                self._give(listener, session, bare, event["node"])

    def _give_figures(self, event: dict[str, Any]) -> None:
        """Give each who listens to queues the figures of those that it may hear of."""
        guard = self._loop.guard
        for listener in self._all.values():
            session = self._loop.sessions.by_id.get(listener.client)
            if session is None or listener.channel != "queue":
                continue
            rows = [
                row for row in event.get("sockets") or ()
                if is_named(listener.name, names_of(row))
                and guard.may(session.who, "READ_LOG", "socket", row["socket"])
            ]  # fmt: skip
            if rows or listener.name is None:
                body = pack({**event, **feedevents.by_queue(rows)})
                self._give(listener, session, body, event["node"])

    def _sees(self, session: Session, event: dict[str, Any]) -> bool | None:
        """Whether a session may hear an event, and all of it (True) or not what is private."""
        guard, who = self._loop.guard, session.who
        if who is None or guard.fresh(who).free:
            return True
        channel = event["channel"]
        if channel == "stats":
            user = who.user
            return True if user is not None and guard.rights.allowed(user, "LS_WORKERS") else None
        if channel == "state":
            kind, name = str(event.get("kind")), str(event.get("name"))
            read = f"READ_{kind.upper()}"
            if kind == "worker":
                kind, name, read = "processor", str(event.get("processor")), "READ_PROCESSOR"
        else:
            kind, name, read = "socket", str(event.get("socket")), "READ_TASK"
        if not guard.may(who, "READ_LOG", kind, name):
            return None
        return guard.may(who, read, kind, name)

    def _give(self, listener: Listener, session: Session, body: bytes, node: str) -> None:
        size = session.outbox_bytes + listener.waiting_bytes
        if size + len(body) > limits.LISTEN_BYTES_MAX:
            listener.lost[node] = listener.lost.get(node, 0) + 1
            return
        if listener.lost:
            self._tell_lost(listener)
        self._put(listener, body)

    @staticmethod
    def _put(listener: Listener, body: bytes) -> None:
        data = envelope(Kind.EVENT, id=listener.request, body=body)
        listener.waiting.append(data)
        listener.waiting_bytes += len(data)

    def _tell_lost(self, listener: Listener) -> None:
        for node, count in listener.lost.items():
            self._put(listener, pack({"channel": LOST, "count": count, "node": node}))
        listener.lost.clear()

    def lost_elsewhere(self, node: str, counts: Mapping[str, int]) -> None:
        """A peer has not told so many events of these channels."""
        for listener in self._all.values():
            count = counts.get(listener.channel, 0)
            if count:
                listener.lost[node] = listener.lost.get(node, 0) + count

    # The rounds.

    def flush(self) -> None:
        """At the end of a round: what waits leaves, in small frames, so that few are enough to
        see that somebody does not read.
        """
        sessions = self._loop.sessions
        for listener in self._all.values():
            if not listener.waiting:
                continue
            session = sessions.by_id.get(listener.client)
            part: list[bytes] = []
            size = 0
            for data in listener.waiting if session is not None else ():
                if part and size + len(data) > limits.LISTEN_FRAME_BYTES:
                    sessions.send(session, part)
                    part, size = [], 0
                part.append(data)
                size += len(data)
            if part and session is not None:
                sessions.send(session, part)
            listener.waiting, listener.waiting_bytes = [], 0
        if self.peers.wanting:
            self.peers.flush()

    def tick(self) -> None:
        """Once a second: figures, and losses that were not told yet."""
        self._left = limits.LISTEN_EVENTS_PER_SECOND
        self._note_missed()
        if not self._all and not self.peers.wanting:
            return
        sessions = self._loop.sessions
        self.figures()
        for listener in self._all.values():
            session = sessions.by_id.get(listener.client)
            if listener.lost and session and session.outbox_bytes < limits.LISTEN_BYTES_MAX // 2:
                self._tell_lost(listener)
        self.peers.tick()

