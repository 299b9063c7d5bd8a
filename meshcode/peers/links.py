"""All links of a node to its peers: what goes out, what comes in, who is there.

Our messages to a peer go by our DEALER to its ROUTER, its messages to us by its DEALER to our
ROUTER.  Who sent a message is the key that libzmq saw at the handshake, looked up in the current
member table for each message; routing ids are never trusted.  Nothing here blocks, and nothing
knows what an envelope means.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from meshcode import limits
from meshcode.errors import BadFrame, BadValue, NodeError, TooLarge
from meshcode.ids import unix_ms
from meshcode.peers import greeting, kinds, monitor, notice
from meshcode.peers.channel import Channel
from meshcode.peers.dialer import Dialer
from meshcode.peers.door import Arrived, Door
from meshcode.peers.greeting import Me
from meshcode.peers.memory import PeerMemory
from meshcode.peers.notice import Notice
from meshcode.peers.options import DOMAIN, KEY_BYTES
from meshcode.peers.peer import Peer
from meshcode.peers.refusals import Refusals
from meshcode.peers.selftest import check_door
from meshcode.peers.session import Delivery, News, Session
from meshcode.peers.zap import ZapHandler
from meshcode.wire.frame import FrameHead, Row, frame, index


class PeerLinks:
    """The links of one node to all its peers.  All methods belong to one thread.

    One for each boot: its sequences begin at 1, and peers take no lower one of the same boot.
    Poll `links()` for POLLIN (they change when `links_version` does) until `next_due_ms()`, then
    call `receive`, `tick`, `news`, and use the news before what was received.

    Args:
        public: this node's CURVE key, 32 raw bytes; so is `secret`.
        node: this node's id, 16 bytes.
        boot: how often its store was opened, from 1.
        store_id: 16 bytes, in the store.
        life: 16 random bytes, made for this boot; `past`: boots before, from `pack_lives`.
        commits: the store's newest transaction that is on disk (`Log.commits`).
        hello: plain data told to each peer; `addresses` in it is where peers may reach us.
        bind: addresses to take peers in; none = this node only connects out.
        member_of_key: the node that holds a key now, or None.  Called for each message, and on
            the ZAP handler's thread: a look-up in a table that is replaced whole.
        keys_of: the keys that a node may have now, the newest first; none when it is no member.
            One that rotated its key serves the old one until it is started again.
        memory: which store and boot each peer was heard with; keep its `pack()` when its
            `changes` have moved.
        notice_of: the signed eviction of a key, to be told to it, and where its node was.
        zap: the handler of `context`; without it one is made.

    Raises:
        NodeError: an address cannot be bound, or the self-test failed; nothing is left behind.
    """

    def __init__(
        self, context: zmq.Context[Any], public: bytes, secret: bytes, node: bytes, *,
        boot: int, store_id: bytes, life: bytes, past: bytes = b"", commits: Callable[[], int],
        hello: Mapping[str, Any], bind: list[str],
        member_of_key: Callable[[bytes], bytes | None],
        keys_of: Callable[[bytes], tuple[bytes, ...]],
        now_ms: int, memory: PeerMemory | None = None,
        notice_of: Callable[[bytes], Notice | None] = notice.of_nobody,
        zap: ZapHandler | None = None, unix_ms: Callable[[], int] = unix_ms,
    ) -> None:  # fmt: skip
        """Bind, prove that strangers are kept out, and serve."""
        assert len(public) == len(secret) == KEY_BYTES, (len(public), len(secret))
        about = greeting.pack_about(hello)
        self.me = Me(node, boot, store_id, life, commits(), about, past)
        self._commits = commits
        self.memory = PeerMemory() if memory is None else memory
        self.links_version = 0
        self.stopped = ""  # Why this node serves peers no longer.
        self._context, self._public, self._secret = context, public, secret
        self._member_of_key, self._keys_of = member_of_key, keys_of
        self._notice_of = notice_of
        self._unix_ms = unix_ms
        self._now_ms = now_ms
        self._peers: dict[bytes, Peer] = {}
        self._by_fd: dict[int, Peer] = {}
        self._spoken: set[Peer] = set()  # Sent to since answers were looked for.
        self._channels: dict[bytes, Channel] = {}  # Of forgotten peers: sequences never go back.
        self._news: deque[News] = deque(maxlen=limits.PEER_NEWS_MAX)
        self._refusals = Refusals()
        self.counts = self._refusals.counts  # Of what belongs to no peer.
        self._cut_ms: int | None = None  # When the door is restarted.
        self._cut_before_ms = 0
        self._house_ms = now_ms  # When keys, addresses and the ZAP handler are looked at.
        self._due_ms = now_ms
        self._own_zap = zap is None
        self._zap = ZapHandler(context, now_ms) if zap is None else zap
        self._zap.serve(DOMAIN, self._admit)
        self._events = select.epoll()
        self._door: Door | None = None
        try:
            self._door = Door(context, secret, bind)
            self._prove()
        except NodeError:
            self.close()
            raise

    def _prove(self) -> None:
        door = self._door
        if door is None or not door.endpoints:
            return
        endpoint = door.endpoints[0].replace("tcp://0.0.0.0:", "tcp://127.0.0.1:")
        endpoint = endpoint.replace("tcp://[::]:", "tcp://[::1]:")
        knocker = check_door(self._context, endpoint, self._public, self._public, self._secret)
        for key, address in self._zap.take_denied(DOMAIN):
            if key != knocker:
                self._deny(key, address)

    def _admit(self, key: bytes) -> str | None:
        """The ZAP policy; on the handler's thread."""
        if self._refusals.is_blocked(key) or self._member_of_key(key) is None:
            return None
        return key.hex()

    # Who there is.

    @property
    def endpoints(self) -> list[str]:
        """Where this node takes peers in, wildcard ports resolved."""
        return [] if self._door is None else list(self._door.endpoints)

    def links(self) -> list[Any]:
        """What to poll for reading: the door's link, and one descriptor for all events."""
        if self.stopped or self._door is None:
            return []
        return [self._door.link, self._events.fileno()]

    def set_addresses(self, node: bytes, addresses: list[str], *, only: bool = False) -> None:
        """Where a peer can be reached; the first is tried first, one at a time.

        Where it says itself that it is, when it greets, is tried as well, unless `only`.  A link
        that stands at one of them is left alone.  Saying the same again for a peer that is not
        connected tries at once.

        Raises:
            TooLarge: more than PEERS_MAX peers.
        """
        if node == self.me.node or self.stopped:
            return
        peer = self._peer(node)
        peer.only = only
        wanted = addresses[: limits.PEER_ADDRESSES_MAX]
        if wanted != peer.addresses:
            if not peer.stays_with(wanted, self._keys_of(node)):
                self._redial(peer, "it has other addresses")
        elif not peer.session.connected:
            self._hurry(peer)

    def forget(self, node: bytes) -> None:
        """Cut a peer off, for instance because it was evicted; it is news when it was up."""
        peer = self._peers.pop(node, None)
        if peer is not None:
            self._hang_up(peer, "it was forgotten")
            self._collect(peer)
            peer.session.channel.shut()
            self._channels[node] = peer.session.channel
            if len(self._channels) > limits.PEERS_MAX:
                del self._channels[next(iter(self._channels))]

    def _peer(self, node: bytes) -> Peer:
        peer = self._peers.get(node)
        if peer is None:
            if len(self._peers) >= limits.PEERS_MAX:
                raise TooLarge(
                    f"this node has {len(self._peers)} peers, the limit is {limits.PEERS_MAX}; "
                    f"node {node.hex()} was left out",
                    found=len(self._peers),
                    limit=limits.PEERS_MAX,
                )
            channel = self._channels.pop(node, None)
            peer = self._peers[node] = Peer(Session(self.me, node, self.memory, channel))
        return peer

    # Links out.

    def _redial(self, peer: Peer, why: str) -> None:
        self._hang_up(peer, why)
        ways = peer.ways(self._keys_of(peer.session.node))
        if not ways or self.stopped:
            return
        address, key = ways[peer.at % len(ways)]
        try:
            peer.dialer = Dialer(
                self._context, address, self._public, self._secret, key, self._now_ms
            )
        except zmq.ZMQError as error:
            self._tell_once(peer.session.node, f"its address {address} is no good: {error}")
            return
        for fd in peer.dialer.filenos():
            self._by_fd[fd] = peer
            self._events.register(fd, select.EPOLLIN)
        self._hear_events(peer)

    def _hang_up(self, peer: Peer, why: str, linger_ms: int = 0) -> None:
        dialer, peer.dialer = peer.dialer, None
        if dialer is not None:
            for fd in dialer.filenos():
                self._events.unregister(fd)
                self._by_fd.pop(fd, None)
            dialer.close(linger_ms)
        peer.unsent = None
        peer.session.link_down(why, self._now_ms)

    def _hurry(self, peer: Peer) -> None:
        """Try now instead of when libzmq's own delay is over."""
        dialer = peer.dialer
        if dialer is None or self._now_ms - dialer.since_ms >= limits.PEER_TICK_MS:
            self._redial(peer, "it was tried again")

    def _hear_events(self, peer: Peer) -> None:
        dialer, session = peer.dialer, peer.session
        if dialer is None:
            return
        for event in dialer.events.read():
            session.counts[f"link_{event}"] += 1
            if event == monitor.CONNECTED:
                dialer.connected, peer.heeded = True, False
                session.link_up(self._now_ms)
            elif event == monitor.DENIED:
                text = f"the peer at {dialer.address} does not list this node's key; see mesh nodes"
                self._tell_once(session.node, text)
            elif event == monitor.ASTRAY and not dialer.connected:
                dialer.astray = True
            elif dialer.connected:
                dialer.connected = False
                dialer.since_ms = self._now_ms
                self._hear_answers(peer)
                if dialer.server_key not in self._keys_of(session.node)[:1]:
                    peer.at, peer.key = 0, b""  # It was started again, with its new key.
                peer.unsent = None
                session.link_down("the link is gone", self._now_ms)
        self._flush(peer)

    def _hear_answers(self, peer: Peer) -> None:
        """What the peer says on our own link to it: that it refuses us, and why."""
        for data in [] if peer.dialer is None else peer.dialer.answers():
            try:
                _, rows = index(data)
                row = next(row for row in rows if row.kind == kinds.BYE)
                code, text, statement = greeting.read_bye(data[row.body_at : row.end])
            except (BadFrame, BadValue, StopIteration):
                peer.session.counts["bad_answers"] += 1
                continue
            peer.session.counts[f"answered_{code}"] += 1
            peer.session.down(f"the peer refused this node: {text}", self._now_ms)
            self._tell_once(peer.session.node, f"the peer refused this node: {text}")
            if code == "amnesia":
                self._tell(("amnesia", peer.session.node, text))
            if statement:
                self._tell(("statement", peer.session.node, statement))

    # What goes out.

    def send(self, node: bytes, envelopes: list[bytes]) -> bool:
        """Send sealed envelopes to a peer; never blocks.

        Small envelopes keep their order, and so do large ones; small ones may overtake large ones.

        Returns:
            False when nothing was taken: no session, or no room.  True is no receipt: what is not
            acknowledged by the protocol above must be sent again by it.

        Raises:
            TooLarge: an envelope is over ENVELOPE_BYTES_MAX; nothing was taken.
        """
        peer = self._peers.get(node)
        if peer is None:
            self.counts["not_sent_unknown"] += len(envelopes)
            return False
        if not peer.session.offer(envelopes):
            return False
        self._flush(peer)
        return True

    def _flush(self, peer: Peer) -> None:
        """Hand over what credit and link allow; then take the news of the session."""
        session, dialer = peer.session, peer.dialer
        peer.blocked = False
        unix_ms = self._unix_ms() if session.connected else 0
        while dialer is not None and dialer.connected:
            if peer.unsent is None:
                peer.unsent = session.next_frame(self._now_ms, unix_ms)
            if peer.unsent is None:
                break
            if not dialer.send(peer.unsent):
                session.counts["link_full"] += 1
                peer.blocked = True
                break
            peer.unsent = None
            self._spoken.add(peer)
        self._collect(peer)
        due_ms = self._due_of(peer)
        if due_ms is not None and due_ms < self._due_ms:
            self._due_ms = due_ms

    def _due_of(self, peer: Peer) -> int | None:
        return self._now_ms + limits.PEER_RETRY_MS if peer.blocked else peer.session.next_due_ms()

    # What comes in.

    def receive(self, now_ms: int) -> list[tuple[bytes, list[Row], bytes]]:
        """(node, rows, data) of what members sent; a bounded number of frames for each call."""
        self._now_ms = now_ms
        found: list[tuple[bytes, list[Row], bytes]] = []
        if self.stopped or self._door is None:
            return found
        size = 0
        touched: dict[bytes, Peer] = {}
        for _ in range(limits.TURN_EVENTS_MAX):
            if size >= limits.TURN_BYTES_MAX:
                break
            arrived = self._door.receive()
            if arrived is None:
                break
            size += sum(map(len, arrived.parts))
            peer = self._sender(arrived)
            if peer is not None:
                node, boot = peer.session.node, peer.session.channel.peer_boot
                heard = self._hear(peer, arrived)
                if node in touched and peer.session.channel.peer_boot != boot:
                    found = [item for item in found if item[0] != node]  # Of its older boot.
                touched[node] = peer
                found += [(node, rows, data) for rows, data in heard]
        for peer in touched.values():
            self._flush(peer)
        self._hear_links()
        return found

    def _hear_links(self) -> None:
        """Answers and events of the links out, after the messages: a good-bye comes first."""
        ready = {self._by_fd.get(fd) for fd, _ in self._events.poll(0)}
        spoken, self._spoken = self._spoken, set()
        for peer in ready | spoken:
            if peer is not None:
                self._hear_answers(peer)
                if peer in ready:
                    self._hear_events(peer)

    def _sender(self, arrived: Arrived) -> Peer | None:
        """The member that holds the key of this connection now, or None: the message is dropped."""
        try:
            key = bytes.fromhex(arrived.user)
        except ValueError:
            key = b""
        node = self._member_of_key(key) if len(key) == KEY_BYTES else None
        if node is None or node == self.me.node or self._refusals.is_blocked(key):
            self._stranger(key, arrived.route)
            return None
        if len(arrived.parts) > limits.PEER_PARTS_MAX:
            self._keep_out(node, key, len(arrived.parts))
            return None
        try:
            return self._peer(node)
        except TooLarge as error:
            self._tell_once(node, error.text)
            return None

    def _hear(self, peer: Peer, arrived: Arrived) -> list[Delivery]:
        session = peer.session
        found: list[Delivery] = []
        hellos = session.counts["hellos_in"]
        try:
            if len(arrived.parts) != 1:
                text = f"a message of {len(arrived.parts)} parts, expected 1"
                raise BadFrame(text, fault="parts")
            head, rows = index(arrived.parts[0])
        except BadFrame as error:
            session.bad(error.text, self._now_ms)
        else:
            found = self._take(session, head, rows, arrived)
        hello, session.knocked = session.knocked, None
        if session.counts["hellos_in"] != hellos:
            hello = session.hello
        if hello is not None:
            self._dial_back(peer, hello, bytes.fromhex(arrived.user))
        if session.bye:
            bye, session.bye = session.bye, b""
            self._answer(session.node, arrived.route, bye)
        return found

    def _dial_back(self, peer: Peer, hello: greeting.Hello, key: bytes) -> None:
        """It is there: it is sought where it says it is, with the key that it has just proved."""
        peer.told, peer.key = greeting.addresses_in(hello.about), key
        if not peer.session.connected:
            peer.try_where_told(self._keys_of(peer.session.node))
            self._hurry(peer)

    def _take(
        self, session: Session, head: FrameHead, rows: list[Row], arrived: Arrived
    ) -> list[Delivery]:
        data = arrived.parts[0]
        if rows and rows[0].kind == kinds.BYE:
            statement = notice.statement_in(data[rows[0].body_at : rows[0].end])
            if statement:  # It needs no session: whoever was evicted can have none.
                self._tell(("statement", session.node, statement))
        greets = bool(rows) and rows[0].kind == kinds.HELLO
        session.came_from = arrived.address() if greets else session.came_from
        return session.hear(head, rows, data, self._now_ms, self._unix_ms() if greets else 0)

    # Who is kept out.

    def _stranger(self, key: bytes, route: bytes) -> None:
        """A live session whose key is no member's any more: drop, tell, answer, and cut it soon."""
        self.counts["not_member"] += 1
        text = f"key {key.hex()[:16]} is no member's any more; its message was dropped"
        self._tell_once(key, text)
        self._answer(key, route, notice.bye_of(self._notice_of(key)))
        self._cut_soon()

    def _cut_soon(self) -> None:
        if self._cut_ms is None:
            soon_ms = self._now_ms + limits.DOOR_GRACE_MS
            self._cut_ms = max(soon_ms, self._cut_before_ms)
            self._due_ms = min(self._due_ms, self._cut_ms)

    def _keep_out(self, node: bytes, key: bytes, parts: int) -> None:
        """libzmq holds a whole message before it gives a part of it: such a sender must go."""
        self._refusals.block(key, self._now_ms)
        text = (
            f"a message of {parts} parts, the limit is {limits.PEER_PARTS_MAX}: its key is kept "
            f"out for {limits.PEER_BLOCK_MS // 1000} s"
        )
        peer = self._peers.get(node)
        if peer is not None:
            peer.session.refuse("parts", text, self._now_ms)
            peer.session.bye = b""
            self._collect(peer)
        self._cut_soon()

    def _answer(self, who: bytes, route: bytes, bye: bytes) -> None:
        if self._door is not None and self._refusals.may_answer(who, self._now_ms):
            self._door.answer(route, frame([bye], sender_boot=self.me.boot))

    def _deny(self, key: bytes, address: str) -> None:
        self.counts["denied"] += 1
        self._tell_once(key, f"key {key.hex()[:16]} from {address} is no member's: it was kept out")
        told = self._notice_of(key)
        if told is not None and self._refusals.may_tell(key, "evicted", self._now_ms):
            notice.send(self._context, self._public, self._secret, key, told, self.me.boot)

    def _tell_once(self, what: bytes, why: str) -> None:
        """News `refused`, unless the same was told within PEER_RETELL_MS."""
        if self._refusals.may_tell(what, why, self._now_ms):
            self._tell(("refused", what, why))

    def _tell(self, item: News) -> None:
        self.counts["news_lost"] += len(self._news) == self._news.maxlen
        self._news.append(item)

    # Time and news.

    def news(self, now_ms: int) -> list[News]:
        """What happened since the last time, oldest first; take it before what `receive` gives.

        ("up", node, hello) | ("down", node, why) | ("refused", node or key, why) |
        ("skew", node, text) | ("statement", node, bytes) | ("zap dead", this node, why) |
        ("amnesia", node, text): this node was refused by that one, and must not go on
        """
        self._now_ms = now_ms
        found = list(self._news)
        self._news.clear()
        return found

    def _collect(self, peer: Peer) -> None:
        for item in peer.session.news:
            if item[0] == "refused":
                self._tell_once(item[1], item[2])
            else:
                self._tell(item)
        peer.session.news.clear()

    def next_due_ms(self) -> int:
        """When `tick` has something to do."""
        return self._due_ms

    def tick(self, now_ms: int) -> None:
        """Do what is due by time; cheap when nothing is."""
        self._now_ms = now_ms
        if now_ms < self._due_ms or self.stopped or self._door is None:
            return
        self._due_ms = self._house_ms
        if now_ms >= self._house_ms:
            self._house_ms = self._due_ms = now_ms + limits.PEER_TICK_MS
            self._look_around()
            if self.stopped:
                return
        if self._cut_ms is not None and now_ms >= self._cut_ms:
            self._cut_ms = None
            self._cut_before_ms = now_ms + limits.DOOR_RESTART_MS
            self._door.restart(now_ms)
            self.links_version += 1
        self._door.tick(now_ms)
        if self._door.trouble:
            self._tell_once(self.me.node, self._door.trouble)
        for due_ms in (self._cut_ms, self._door.next_due_ms()):
            if due_ms is not None:
                self._due_ms = min(self._due_ms, due_ms)
        for peer in list(self._peers.values()):
            due_ms = self._due_of(peer)
            if due_ms is None:
                continue
            if due_ms <= now_ms or peer.blocked:
                peer.session.tick(now_ms)
                self._flush(peer)
            else:
                self._due_ms = min(self._due_ms, due_ms)

    def _look_around(self) -> None:
        """Once a second: is the ZAP handler alive, are keys and addresses still the right ones."""
        now_ms = self._now_ms
        self._zap.tick(now_ms)
        if not self._zap.alive(now_ms):
            self.stop("zap dead: the handler that decides who gets in does not answer")
            self._tell(("zap dead", self.me.node, self.stopped))
            return
        for key, address in self._zap.take_denied(DOMAIN):
            self._deny(key, address)
        self._refusals.tick(now_ms)
        commit = self._commits()
        for peer in self._peers.values():
            peer.session.tell_commit(commit, now_ms)
            self._look_after(peer)
            self._flush(peer)

    def _look_after(self, peer: Peer) -> None:
        """The link out goes to the key and address that are right now."""
        dialer = peer.dialer
        keys = self._keys_of(peer.session.node)
        self._hear_answers(peer)
        if not keys:
            if dialer is not None:
                self._hang_up(peer, "it is no member any more")
            peer.session.shut("it is no member any more", self._now_ms)
        elif dialer is None:
            self._redial(peer, "it was tried again")
        elif peer.is_way_over(keys):
            self._redial(peer, "it has another key or address")
        elif not dialer.connected and self._is_vain(dialer) and len(peer.ways(keys)) > 1:
            peer.at += 1
            self._redial(peer, "the next way to it is tried")

    def _is_vain(self, dialer: Dialer) -> bool:
        return dialer.astray or self._now_ms - dialer.since_ms >= limits.PEER_DIAL_MS

    def stop(self, why: str) -> None:
        """Serve nobody any more: a door without a doorkeeper must not stand open."""
        if self.stopped or self._door is None:
            return
        self.stopped = f"{why}; this node serves no peers; restart it"
        for peer in self._peers.values():
            self._hang_up(peer, self.stopped)
            self._collect(peer)
        self._door.close()
        self.links_version += 1
        self._due_ms = 2**63 - 1

    def stats(self) -> dict[bytes, dict[str, Any]]:
        """Counters and levels of each peer by node id; `counts` has what belongs to none."""
        return {
            node: {**peer.session.stats(), "address": peer.dialer.address if peer.dialer else ""}
            for node, peer in self._peers.items()
        }

    def close(self) -> None:
        """Say good-bye to whoever is there and cut all links; safe to call twice."""
        for peer in self._peers.values():
            last = peer.session.farewell("this node stops")
            if last is not None and peer.dialer is not None:
                peer.dialer.send(last)
            self._hang_up(peer, "this node stops", limits.PEER_BYE_LINGER_MS)
        self._peers.clear()
        self._zap.end(DOMAIN)
        if self._door is not None and not self._door.link.closed:
            self._door.close()
        self._door = None
        if self._own_zap:
            self._zap.stop()
        if not self._events.closed:
            self._events.close()
