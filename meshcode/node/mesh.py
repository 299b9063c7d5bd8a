"""A node among others: its links, who is there, the roster, the shared model, code and questions.

Everything that says or hears something of peers goes through here; the core sees only `PeerSaid`
and `PeerChanged`.  All of it runs on the node's one thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

import meshcode
from meshcode import config, limits
from meshcode.errors import MeshError
from meshcode.ids import unix_ms
from meshcode.membership import events as swim_events
from meshcode.membership.swim import Swim
from meshcode.node import amnesia, intake, meshmodel, peerwords
from meshcode.node.absences import Absences
from meshcode.node.adopter import Adopter
from meshcode.node.clientport import Clients, ports_of
from meshcode.node.discovery import Discovery
from meshcode.node.goodbyes import Goodbyes
from meshcode.node.modelshare import ModelShare
from meshcode.node.nottaken import NotTaken
from meshcode.node.relay import Relay
from meshcode.node.series import Series
from meshcode.node.whereabouts import Whereabouts
from meshcode.peers.greeting import addresses_in
from meshcode.peers.links import PeerLinks
from meshcode.peers.memory import PeerMemory
from meshcode.peers.notice import Notice
from meshcode.replica.peers import EVICTED, KNOWN
from meshcode.router import heard
from meshcode.router.copies import keeper_of
from meshcode.router.effects import Effects
from meshcode.router.events import PeerChanged, PeerReturned, PeerSaid
from meshcode.store.contract import META
from meshcode.trust.door import JoinDoor
from meshcode.trust.identity import Identity
from meshcode.trust.rosterfile import RosterFile
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from meshcode.wire.plainly import unpack_plain

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

_SWIM, _ROSTER, _MODEL = int(Kind.SWIM), int(Kind.ROSTER), int(Kind.MODEL)
_CODE, _RELAY, _ITEMS = int(Kind.CODE), int(Kind.RELAY), int(Kind.ITEMS)
ROSTER_LOOK_MS = 1_000
MEMORY_KEY = b"peers"


class Mesh:
    """The shell's side of many nodes."""

    def __init__(self, loop: Loop, identity: Identity) -> None:
        """Know the roster and the shared model; `open` binds and connects.

        Raises:
            TrustDamaged: a file of the mesh folder cannot be used.
            NodeError: peers have refused this log, because it came from a copy.
        """
        self.loop = loop
        self.identity = identity
        self.node = identity.node
        self.file = RosterFile(str(loop.home), identity.root_key)
        self.roster = self.file.load()
        amnesia.check(loop.log, self.roster.members)
        self.kept_share = Series(meshmodel.SHARE_KEY)
        kept = self.kept_share.read(loop.log)
        self.share = ModelShare(self.node, *kept, host=identity.name, unix_ms=unix_ms)
        self.adopter: Adopter | None = None
        self.links: PeerLinks | None = None
        self.clients: Clients | None = None  # Those that come over TCP.
        self.relay = Relay(self)
        self.rng = Random(os.urandom(16))
        self.swim = Swim(
            self.node, loop.log.boot, self.rng, kind=identity.kind, meta=self._meta(0)
        )
        self.where = Whereabouts(self)
        self.door = JoinDoor(
            str(loop.home), identity, self.roster, self.file, seeds=self.where.seeds
        )
        self.discovery: Discovery | None = None
        self.up: dict[bytes, dict[str, Any]] = {}  # Peers with an open session: their hello.
        self.news: deque[str] = deque(maxlen=200)  # Sentences for people, newest last.
        self.not_taken = NotTaken(self)
        self.said_goodbye = False
        self.goodbyes = Goodbyes()  # Of the others.
        self._digest = self.roster.digest
        self._backlog: dict[bytes, deque[bytes]] = {}
        self._backlog_bytes: dict[bytes, int] = {}
        self.keys: dict[bytes, bytes] = {}  # Key -> node; replaced whole: ZAP reads it too.
        self._memory_saved = 0
        self._next_look_ms = 0
        self._next_meta_ms = 0
        self._next_hello_ms = 0
        self._gather_until_ms = 0
        self._registered: list[Any] = []
        self._told: dict[bytes, tuple[str, int]] = {}
        self._absences = Absences()
        self._learn_keys()

    # Beginning and end.

    def tell_roster(self) -> None:
        """Let the core know of every member, before it recovers its calls."""
        for node in sorted(self.roster.evicted):
            self._tell_core(node, EVICTED, 0)
        for node in sorted(self.roster.members):
            if node != self.node:
                self._tell_core(node, KNOWN, 0)

    def open(self, now_ms: int) -> None:
        """Bind, prove that strangers are kept out, and begin to look for the others.

        Raises:
            NodeError: an address cannot be bound, or a stranger got in.
        """
        loop, identity = self.loop, self.identity
        packed = loop.log.get(META, MEMORY_KEY)
        memory = PeerMemory() if packed is None else PeerMemory.unpack(packed)
        life, past, record = amnesia.begin(loop.log)
        loop.turns.add(Effects(records=[record]))
        self.clients = Clients(self, now_ms)
        hello = {
            "name": identity.name, "kind": identity.kind, "version": meshcode.__version__,
            "addresses": list(identity.advertise), "clients": self.clients.addresses,
            **peerwords.ABOUT,
        }  # fmt: skip
        self.links = PeerLinks(
            loop.context, identity.public, identity.secret, self.node, boot=loop.log.boot,
            store_id=loop.log.store_id, life=life.life, past=past,
            commits=lambda: loop.log.commits, hello=hello, bind=list(identity.bind),
            member_of_key=self._node_of_key, keys_of=self._keys_of, now_ms=now_ms,
            memory=memory, notice_of=self._notice_of, zap=self.clients.zap,
        )  # fmt: skip
        self._memory_saved = memory.changes
        loop.processors.share_with(self._send_code, self.here, self.may_run, self.name_of)
        for node, member in self.roster.members.items():
            if node != self.node:
                self._run_swim(swim_events.Added(node, member.kind), now_ms)
                self.where.dial(node)
        if set(self.roster.members) - {self.node}:
            self._gather_until_ms = now_ms + limits.GATHER_MS
        if config.value("mdns"):
            self.discovery = Discovery(self.node, identity.mesh, loop.waker.wake)
            self.discovery.start(ports_of(self.links.endpoints))

    def close(self) -> None:
        """Say good-bye and cut everything."""
        self.door.close()
        if self.discovery is not None:
            self.discovery.stop()
        if self.links is not None:
            self.links.close()
        if self.clients is not None:
            self.clients.close()

    def leave(self, now_ms: int, back_in_ms: int = 0) -> None:
        """Tell the others that this node goes: for a moment, or for long."""
        event = swim_events.Leaving(back_in_ms) if back_in_ms else swim_events.Left()
        self.said_goodbye = True
        self._run_swim(event, now_ms)

    def go(self, now_ms: int) -> None:
        """The node ends in good order: unless it said more, it will be back in a minute."""
        if not self.said_goodbye and self.links is not None:
            self.leave(now_ms, limits.SWIM_LEAVING_MS_MAX)

    # Who there is.

    def here(self) -> list[bytes]:
        """Peers with an open session."""
        return list(self.up)

    def may_run(self, processor: str) -> list[bytes]:
        """Peers that may tell which commit of a processor they run; first who has workers of it.

        Right after a start all members are among them that are not known to be away.
        """
        others = self.roster.members.keys() - {self.node} - self._absences.gone
        told = [n for n in others if peerwords.tells_commits(self.up.get(n, peerwords.ABOUT))]
        works = self.loop.router.peer_workers
        return sorted(told, key=lambda n: ((n, processor) not in works, n not in self.up, n))

    def is_gathering(self, now_ms: int) -> bool:
        """Whether clients wait because this node was just started and is still alone.

        Else the first calls after each start would be kept by this node only.
        """
        if not self._gather_until_ms:
            return False
        router = self.loop.router
        alone = len(router.replica.peers.choose_voters(self.node)) == 1 and not keeper_of(router)
        if now_ms >= self._gather_until_ms or not alone:
            self._gather_until_ms = 0
        return self._gather_until_ms > 0

    def name_of(self, node: bytes) -> str:
        """What people call a node."""
        if node == self.node:
            return self.identity.name
        member = self.roster.members.get(node)
        gone = self.roster.evicted.get(node)
        return member.name if member else gone.name if gone else node.hex()[:8]

    def _keys_of(self, node: bytes) -> tuple[bytes, ...]:
        member = self.roster.members.get(node)
        if member is None:
            return ()
        old = member.old_key
        return (member.key,) if old is None or old not in self.keys else (member.key, old)

    def _node_of_key(self, key: bytes) -> bytes | None:
        return self.keys.get(key)  # Also called on the ZAP handler's thread.

    def _notice_of(self, key: bytes) -> Notice | None:
        gone = self.roster.eviction_of_key(key)
        if gone is None:
            return None
        return Notice(self.roster.pack_eviction(gone.node), self.where.of(gone.node))

    def _learn_keys(self) -> None:
        keys: dict[bytes, bytes] = {}
        now = unix_ms()
        for node, member in self.roster.members.items():
            for key in (member.key, member.old_key):
                found = None if key is None else self.roster.by_key(key, now)
                if key is not None and found is not None and found.node == node:
                    keys[key] = node
        self.keys = keys

    # The roster.

    def roster_changed(self, changes: list[tuple[str, bytes]], now_ms: int) -> None:
        """Members came, changed or were evicted: everybody concerned is told, and it is kept."""
        if not changes:
            return
        self._learn_keys()
        assert self.links is not None
        for what, node in changes:
            if node == self.node:
                if what == "evicted":
                    self.say("this node was evicted: it is no member any more; `mesh salvage` "
                             "exports what it still keeps")  # fmt: skip
                    self.loop.drain("evicted from its mesh")
                continue
            if what == "evicted":
                self.say(f"node {self.name_of(node)} is evicted")
                self._run_swim(swim_events.Evicted(node), now_ms)
                self._tell_core(node, EVICTED, 0)
                self.links.forget(node)
                self._down(node)
                continue
            member = self.roster.members[node]
            if what == "added":
                self.say(f"node {member.name} joined")
                self._tell_core(node, KNOWN, 0)
                self._run_swim(swim_events.Added(node, member.kind), now_ms)
            self.where.dial(node)
        self._digest = self.roster.digest
        self._keep_roster()

    def _keep_roster(self) -> None:
        """Write the roster down, and tell every peer that is here."""
        self.file.save(self.roster)
        body = self.roster.pack()
        for node in self.here():
            self.send(node, [envelope(_ROSTER, body=body)])

    def _tell_core(self, node: bytes, state: str, boot: int) -> None:
        if state == KNOWN and node in self._told:
            return
        self._told[node] = (state, boot)
        member = self.roster.members.get(node)
        kind, domain = (member.kind, member.domain) if member else ("core", "")
        event = PeerChanged(node, state, boot, kind, domain, self.name_of(node))
        self.loop.step(event)
        names = {other.name for id, other in self.roster.members.items() if id != self.node}
        if names != self.loop.processors.other_names:
            self.loop.processors.other_names = names
            self.loop.place_workers()  # What is declared of them is theirs.

    # The rounds.

    def register(self, poller: Any) -> None:
        """Keep the poller's links those that are open now."""
        assert self.links is not None and self.clients is not None
        wanted = [*self.links.links(), *self.door.links(), *self.clients.links()]
        if wanted == self._registered:
            return
        for link in self._registered:
            if link not in wanted:
                poller.unregister(link)
        for link in wanted:
            if link not in self._registered:
                poller.register(link, 1)
        self._registered = wanted

    def unregister(self, poller: Any) -> None:
        """Before anything is closed."""
        for link in self._registered:
            poller.unregister(link)
        self._registered = []

    def next_due_ms(self, now_ms: int) -> int:
        """When `turn` has something to do by time."""
        assert self.links is not None and self.clients is not None
        times = [self._next_look_ms, self.links.next_due_ms(), self.clients.next_due_ms()]
        due_ms = self.swim.next_due_ms()
        if due_ms is not None:
            times.append(due_ms)
        share = self.loop.processors.share
        if share is not None and (code_ms := share.next_due_ms()) is not None:
            times.append(code_ms)
        if self._backlog:
            times.append(now_ms + limits.PEER_RETRY_MS)
        if self._gather_until_ms:
            times.append(self._gather_until_ms)
        return min(times)

    def turn(self, now_ms: int) -> None:
        """Take what came, do what is due."""
        links, clients = self.links, self.clients
        assert links is not None and clients is not None
        received = links.receive(now_ms)
        for item in links.news(now_ms):
            try:
                self._hear_news(item, now_ms)
            except MeshError:
                raise  # It cannot be a node of its mesh any more.
            except Exception as error:
                self.not_taken.failed(item[1], f"what is new of a link ({item[0]})", error)
        for node, rows, data in received:
            for row in rows:
                try:
                    self._hear(node, row.kind, data[row.body_at : row.end], now_ms)
                except Exception as error:
                    self.not_taken.message(node, row.kind, error)
        clients.turn(now_ms)
        due_ms = self.swim.next_due_ms()
        if due_ms is not None and due_ms <= now_ms:
            self._run_swim(swim_events.Ticked(), now_ms)
        if now_ms >= links.next_due_ms():
            links.tick(now_ms)
        if self._backlog:
            self._flush()
        if self._door_is_due():
            self._hear_door(now_ms)
        share = self.loop.processors.share
        if share is not None and (due := share.next_due_ms()) is not None and due <= now_ms:
            share.tick(now_ms)
            self.loop.watch()
        if now_ms >= self._next_look_ms:
            self._look(now_ms)

    def _door_is_due(self) -> bool:
        return bool(self.door.links()) or self.door.next_due() <= unix_ms()

    def _hear_door(self, now_ms: int) -> None:
        for what, who, text in self.door.handle(unix_ms()):
            shown = who.hex()[:8] if isinstance(who, bytes) else who
            self.say(f"join link: {what} {shown} {text}".strip())
        self.roster_changed(self.door.take_changes(), now_ms)

    def _look(self, now_ms: int) -> None:
        """Once a second: files that commands wrote, addresses found, what is due rarely."""
        self._next_look_ms = now_ms + ROSTER_LOOK_MS
        if self.roster.digest != self._digest:  # Also when only a delegation is new.
            self._digest = self.roster.digest
            self._keep_roster()
        if self.adopter is not None:
            self.adopter.level()
            meshmodel.save(self)
        self.roster_changed(self.file.refresh(self.roster), now_ms)
        if self.discovery is not None:
            for node, addresses in self.discovery.found():
                self.where.learn(node, addresses, certain=False)
        self.relay.tick(now_ms)
        self._keep_memory()
        if self.swim.newer_self_boot > self.loop.log.boot and not self.said_goodbye:
            self.say(
                f"another process, or an older copy of this disk, has this node's identity: peers "
                f"know boot {self.swim.newer_self_boot}, this is boot {self.loop.log.boot}; this "
                "node ends; join as a new node"
            )
            self.said_goodbye = True
            self.loop.drain("another process has its identity")
        if now_ms >= self._next_meta_ms:
            self._next_meta_ms = now_ms + limits.MESH_META_MS
            self.swim.set_meta(self._meta(len(self.loop.router.calls)), now_ms)
            self.where.write_clients()
        if now_ms >= self._next_hello_ms and self.up:
            self._next_hello_ms = now_ms + limits.MODEL_HELLO_MS
            self._compare(self.rng.choice(self.here()))
            self._learn_keys()

    def _meta(self, open_calls: int) -> dict[str, Any]:
        """What all others should know of this node."""
        return {
            "name": self.identity.name, "addresses": list(self.identity.advertise),
            "version": meshcode.__version__, "open": open_calls, "draining": self._is_draining(),
        }  # fmt: skip

    def _is_draining(self) -> bool:
        router = getattr(self.loop, "router", None)  # The first meta is made before the core is.
        return router is not None and bool(router.draining)

    def _compare(self, node: bytes) -> None:
        """Let a peer see whether its model and roster are the same."""
        self.send(node, [
            envelope(_MODEL, body=pack(self.share.hello())),
            envelope(_ROSTER, id=self.roster.digest),
        ])  # fmt: skip

    def _keep_memory(self) -> None:
        assert self.links is not None
        memory = self.links.memory
        if memory.changes != self._memory_saved:
            self._memory_saved = memory.changes
            self.loop.turns.add(Effects(records=[(META, MEMORY_KEY, memory.pack())]))

    # What is heard.

    def _hear_news(self, item: tuple[Any, ...], now_ms: int) -> None:
        what, node = item[0], item[1]
        if what == "up":
            self.up[node] = item[2]
            self.where.learn(node, addresses_in(item[2]), certain=True)
            self.say(f"link to {self.name_of(node)} is up (boot {item[2]['boot']})")
            self._keep_memory()
            self.where.write_clients()
            self.relay.came(node)
            self._run_swim(swim_events.Contact(node), now_ms)
            self.loop.step(PeerReturned(node))
            self._compare(node)
        elif what == "down":
            self.say(f"link to {self.name_of(node)} is down: {item[2]}")
            self._down(node)
            self._run_swim(swim_events.Lost(node), now_ms)
        elif what == "statement":
            self._merge_roster(item[2], node, now_ms)
        elif what == "amnesia":
            amnesia.end(self, node, item[2])
        else:
            who = self.name_of(node) if len(node) == len(self.node) else node.hex()[:16]
            self.say(f"{what}: {who}: {item[2]}")

    def _down(self, node: bytes) -> None:
        self.up.pop(node, None)
        self._backlog.pop(node, None)
        self._backlog_bytes.pop(node, None)
        self.relay.lost(node)

    def _hear(self, node: bytes, kind: int, body: bytes, now_ms: int) -> None:
        if peerwords.FIRST_KIND <= kind <= peerwords.LAST_KIND:
            found = peerwords.entries_of(body)
            entries = heard.good_of(kind, found)
            if left_out := len(found) - len(entries):
                self.not_taken.entries(node, kind, left_out)
            if kind == _ITEMS:
                intake.take_items(self.loop, node, entries)
            elif entries:
                self.loop.step(PeerSaid(node, kind, entries))
        elif kind == _SWIM:
            self._run_swim(swim_events.Received(node, unpack_plain(body)), now_ms)
        elif kind == _ROSTER:
            self._hear_roster(node, body, now_ms)
        elif kind == _MODEL:
            meshmodel.hear(self, node, unpack_plain(body))
        elif kind == _CODE:
            share = self.loop.processors.share
            if share is not None and (wrong := share.received(node, unpack_plain(body), now_ms)):
                self.not_taken.count(f"code: {wrong}"[:80])
            self.loop.watch()
        elif kind == _RELAY:
            self.relay.heard(node, unpack(body))  # Answers have values of users in them.

    def _hear_roster(self, node: bytes, body: bytes, now_ms: int) -> None:
        if body:
            self._merge_roster(body, node, now_ms)
        self.send(node, [envelope(_ROSTER, body=self.roster.pack())] if not body else [])

    def _merge_roster(self, packed: bytes, node: bytes, now_ms: int) -> None:
        try:
            changes = self.roster.merge(packed)
        except MeshError as error:
            self.say(f"the roster of {self.name_of(node)} was refused: {error}")
            return
        self.roster_changed(changes, now_ms)

    def say(self, text: str) -> None:
        """A sentence for people: in the node's log file, and for `mesh doctor`."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        self.news.append(f"{stamp} {text}")
        print(f"{stamp} {text}", flush=True)

    # Membership.

    def _run_swim(self, event: swim_events.Event, now_ms: int) -> None:
        out = self.swim.step(event, now_ms)
        for node, message in out.sends:
            self.send(node, [envelope(_SWIM, body=pack(message))], drop=True)
        by = self.name_of(event.sender) if isinstance(event, swim_events.Received) else ""
        for node, state, boot, meta in out.changes:
            if state == "evicted" or node == self.node or node not in self.roster.members:
                continue
            self.goodbyes.heard(node, state, boot)
            addresses = meta.get("addresses")
            if isinstance(addresses, list):
                self.where.learn(node, addresses, certain=True)
            if not boot and state != "dead":
                continue  # Nothing was ever heard of it.
            if self._told.get(node, ("", 0)) != (state, boot):
                if said := self._absences.sentence(node, self.name_of(node), state, by):
                    self.say(said)
                self._tell_core(node, state, boot)

    def slow_disk(self, commit_ms: int, now_ms: int) -> None:
        """A commit took long: this node distrusts itself before it accuses others."""
        self._run_swim(swim_events.SelfHealth(commit_ms=commit_ms), now_ms)

    # What is said.

    def say_entries(self, said: list[tuple[bytes, int, list[Any]]]) -> None:
        """Send what the core wants to say to peers (Effects.peer)."""
        for node, envelopes in peerwords.to_envelopes(said, self.up).items():
            self.send(node, envelopes)

    def send(self, node: bytes, envelopes: list[bytes], *, drop: bool = False) -> None:
        """Send in order; what the link has no room for waits, up to a limit.

        Without a session everything is dropped: whoever sends it sends it again.
        """
        if not envelopes or node not in self.up or self.links is None:
            return
        waiting = self._backlog.get(node)
        if waiting is None:
            if self.links.send(node, envelopes) or drop:
                return
            waiting = self._backlog[node] = deque()
            self._backlog_bytes[node] = 0
        elif drop:
            return
        size = sum(map(len, envelopes))
        if self._backlog_bytes[node] + size > limits.PEER_BACKLOG_BYTES_MAX:
            self.not_taken.count("backlog full")
            return
        waiting.extend(envelopes)
        self._backlog_bytes[node] += size

    def _flush(self) -> None:
        assert self.links is not None
        for node, waiting in list(self._backlog.items()):
            while waiting and self.links.send(node, [waiting[0]]):
                self._backlog_bytes[node] -= len(waiting.popleft())
            if not waiting:
                del self._backlog[node], self._backlog_bytes[node]

    def _send_code(self, node: bytes, message: dict[str, Any]) -> bool:
        if node not in self.up or self.links is None:
            return False
        return self.links.send(node, [envelope(_CODE, body=pack(message))])

    def say_relay(self, node: bytes, message: dict[str, Any]) -> None:
        """Send one message of the relay; an answer that is too large becomes an error."""
        try:
            data = envelope(_RELAY, body=pack(message))
        except MeshError as error:
            if "a" not in message:
                self.not_taken.count(f"relay: {error.code}")
                return
            told = {"a": message["a"], "good": False, "data": error.to_data()}
            data = envelope(_RELAY, body=pack(told))
        self.send(node, [data])
