"""Clients over TCP: an encrypted link beside the ipc link, open to listed keys only.

A node of a mesh takes clients at the port two above that for its peers.  Who may enter: members
(whoever can read a member's `node.key` acts for it) and the keys in `mesh/clients.keys`; never a
key of an evicted node, wherever it is listed.  libzmq asks at the handshake, this node again for
each message, by the key that the connection proved.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from meshcode import limits, paths
from meshcode.errors import NodeError, NotAllowed
from meshcode.node import intake
from meshcode.node.clientkeys import KeyFile
from meshcode.node.sessions import Session, Sessions, refusal
from meshcode.peers import monitor, options
from meshcode.peers.door import Arrived, Door
from meshcode.peers.refusals import Refusals
from meshcode.peers.selftest import knock
from meshcode.peers.zap import ZapHandler
from meshcode.trust.identity import make_curve_pair

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

DOMAIN = b"clients"  # The ZAP domain.
PORT_STEP = 2  # From the port for peers; the join link has the one between.
LINGER_MS = 200  # For the last answers, when the node ends.
SERVER: dict[int, Any] = {
    **options.SERVER,
    zmq.ZAP_DOMAIN: DOMAIN,
    zmq.MAXMSGSIZE: limits.FRAME_BYTES_MAX,
    zmq.RCVHWM: limits.CLIENT_HWM_FRAMES,
    zmq.SNDHWM: limits.CLIENT_SEND_HWM_FRAMES,
}


class ClientPort:
    """The link, as `Sessions` sees it.  A session's name is its route and its key together.

    Routes are those that libzmq draws; a client that chooses its own is not heard.  So a route
    never passes from one key to another.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        public: bytes,
        secret: bytes,
        bind: list[str],
        zap: ZapHandler,
        allowed: frozenset[bytes],
        now_ms: int,
    ) -> None:
        """Bind, and prove that strangers are kept out; keys are 32 raw bytes.

        Args:
            allowed: must hold `public`, for the proof.

        Raises:
            NodeError: an address cannot be bound, or a stranger got in; nothing is left behind.
        """
        self.now_ms = now_ms
        self.allowed = allowed  # Replaced whole: the ZAP handler's thread reads it.
        self.sessions: dict[bytes, Session] = {}
        self.counts: Counter[str] = Counter()
        self.refusals = Refusals()
        self.cut_ms: int | None = None  # When all connections are cut, to be rid of one.
        self._cut_before_ms = 0
        self._zap = zap
        self._door = Door(context, secret, bind, SERVER, "clients")
        zap.serve(DOMAIN, self._admit)
        try:
            self._prove(context, public, secret)
        except NodeError:
            self.close()
            raise

    def _prove(self, context: zmq.Context[Any], public: bytes, secret: bytes) -> None:
        endpoint = self.endpoints[0].replace("tcp://0.0.0.0:", "tcp://127.0.0.1:")
        endpoint = endpoint.replace("tcp://[::]:", "tcp://[::1]:")
        stranger = make_curve_pair()
        for keys, wanted in ((stranger, monitor.DENIED), ((public, secret), monitor.CONNECTED)):
            found = knock(context, endpoint, public, *keys)
            if found != wanted:
                who = "an unlisted" if keys is stranger else "this node's own"
                raise NodeError(
                    f"the link for clients at {endpoint} answered {who} key with {found}, expected "
                    f"{wanted}; this node does not start; see whether it is still a member: "
                    "mesh nodes; if it is, report this",
                    endpoint=endpoint,
                )
        self._zap.take_denied(DOMAIN)  # Nobody else has knocked yet.

    def _admit(self, key: bytes) -> str | None:
        """The ZAP policy; on the handler's thread."""
        if key not in self.allowed or self.refusals.is_blocked(key):
            return None
        return key.hex()

    @property
    def endpoints(self) -> list[str]:
        """Where it is bound."""
        return self._door.endpoints

    @property
    def link(self) -> zmq.Socket[bytes]:
        """What to poll; another one after each cut."""
        return self._door.link

    @property
    def trouble(self) -> str:
        """Why nobody comes in at one of its addresses; "" = they do."""
        return self._door.trouble

    # What `Sessions` asks for.

    def key_of(self, name: bytes) -> bytes | None:
        """The key that a session's connection proved."""
        return name[-options.KEY_BYTES:]

    def receive(self) -> list[bytes] | None:
        """A message as its session's name and its one part; empty when it was refused, None when
        there is none.
        """
        arrived = self._door.receive()
        if arrived is None:
            return None
        key = _key_of(arrived)
        if key not in self.allowed or self.refusals.is_blocked(key):
            self.counts["not_allowed"] += 1
            self._turn_away(key, arrived)
            return []
        if len(arrived.route) != 5 or arrived.route[0]:
            self.counts["own_route"] += 1
            return []
        if len(arrived.parts) > limits.PEER_PARTS_MAX:  # libzmq holds them all before we see one.
            self.counts["parts"] += 1
            self.refusals.block(key, self.now_ms)
            self._turn_away(key, arrived)
            return []
        return [arrived.route + key, *arrived.parts]

    def send(self, name: bytes, data: bytes) -> None:
        """Send one frame to a session.

        Raises:
            zmq.Again: its queue is full; zmq.ZMQError otherwise: it is gone.
        """
        self._door.link.send_multipart([name[:-options.KEY_BYTES], data], zmq.NOBLOCK)

    def _turn_away(self, key: bytes, arrived: Arrived) -> None:
        if self.refusals.may_answer(key, self.now_ms):
            text = "this node does not let in the key of this client any more; ask who runs it"
            self._door.answer(arrived.route, refusal(NotAllowed(text)))
        self.cut_soon()

    # Who may stay.

    def cut_soon(self) -> None:
        """Somebody is connected who may not be: libzmq can cut only all; the others come back."""
        if self.cut_ms is None:
            self.cut_ms = max(self.now_ms + limits.DOOR_GRACE_MS, self._cut_before_ms)

    def next_due_ms(self) -> int | None:
        """When `tick` has something to do."""
        due = [at for at in (self.cut_ms, self._door.next_due_ms()) if at is not None]
        return min(due, default=None)

    def tick(self, now_ms: int) -> bool:
        """Take the time, and do what is due; true = all connections were cut."""
        self.now_ms = now_ms
        self._door.tick(now_ms)
        if self.cut_ms is None or now_ms < self.cut_ms:
            return False
        self.cut_ms = None
        self._cut_before_ms = now_ms + limits.DOOR_RESTART_MS
        self._door.restart(now_ms)
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Take nobody in any more; what libzmq holds is given `linger_ms` to leave."""
        self._zap.end(DOMAIN)
        self._door.link.close(linger_ms)


class Clients:
    """The clients of a node of a mesh that come over TCP; owned by `Mesh`.

    The ZAP handler of the node's context is here; the links to peers share it.
    """

    def __init__(self, mesh: Mesh, now_ms: int) -> None:
        """Listen.  An address that cannot be bound costs clients over TCP, not the node.

        Raises:
            NodeError: a stranger got in.
        """
        self._mesh = mesh
        self._sessions: Sessions = mesh.loop.sessions
        self._file = KeyFile(Path(paths.mesh_dir(str(mesh.loop.home))))
        self.zap = ZapHandler(mesh.loop.context, now_ms)
        self._members: dict[bytes, bytes] | None = None  # The table that `allowed` was made of.
        self._look_ms = now_ms
        self.port: ClientPort | None = None
        self._trouble = ""  # What was said of it last.
        self.addresses = [paths.clients_address(str(mesh.loop.home))]  # Told to peers in HELLO.
        identity = mesh.identity
        bind = beside(identity.bind)
        self._allow(self._file.refresh())
        if not bind:
            return
        try:
            self.port = ClientPort(
                mesh.loop.context, identity.public, identity.secret, bind, self.zap,
                self._allowed, now_ms,
            )  # fmt: skip
        except NodeError as error:
            if "address" not in error.fields:
                self.zap.stop()
                raise
            mesh.say(f"no clients over TCP: {error.text}")
            return
        reached = beside(identity.advertise)[: limits.PEER_ADDRESSES_MAX]
        self.addresses = [*reached, *self.addresses]

    def _allow(self, problems: list[str]) -> None:
        """Work out anew who may enter."""
        mesh = self._mesh
        for problem in problems:
            mesh.say(f"refused: {problem}")
        self._members = mesh.keys
        gone = {key for key in self._file.keys if mesh.roster.eviction_of_key(key) is not None}
        self._allowed = frozenset(self._members) | (self._file.keys - gone)

    def links(self) -> list[Any]:
        """What to poll; none while clients are left to wait."""
        if self.port is None or not self._mesh.loop.reading_clients:
            return []
        return [self.port.link]

    def next_due_ms(self) -> int:
        """When `turn` has something to do by time."""
        if self.port is None:
            return 2**63 - 1
        due_ms = self.port.next_due_ms()
        return self._look_ms if due_ms is None else min(due_ms, self._look_ms)

    def turn(self, now_ms: int) -> None:
        """Take what came, and see who may still be here."""
        port = self.port
        if port is None:
            return
        if self._mesh.keys is not self._members or now_ms >= self._look_ms:
            self._look(port, now_ms)
        cut = port.tick(now_ms)
        if port.trouble != self._trouble:
            self._trouble = port.trouble
            self._mesh.say(f"clients over TCP: {port.trouble or 'all addresses are bound again'}")
        if cut:
            self._close_sessions(port, frozenset())
        loop = self._mesh.loop
        if not loop.reading_clients:
            return
        intake.receive(loop, now_ms, port)

    def _look(self, port: ClientPort, now_ms: int) -> None:
        self._look_ms = now_ms + limits.CLIENT_LOOK_MS
        before, keys = self._members, self._file.keys
        problems = self._file.refresh()
        if self._mesh.keys is not before or self._file.keys != keys or problems:
            self._allow(problems)
            port.allowed = self._allowed
            if self._close_sessions(port, self._allowed):
                port.cut_soon()
        port.refusals.tick(now_ms)
        for key, address in self.zap.take_denied(DOMAIN):
            text = f"refused: client key {key.hex()[:16]} from {address} is not listed here"
            if port.refusals.may_tell(key, address, now_ms):
                self._mesh.say(text)
        if self._mesh.links is not None and self._mesh.links.stopped:
            self.shut()  # Nobody says any more who may come in.

    def _close_sessions(self, port: ClientPort, allowed: frozenset[bytes]) -> int:
        """Forget the sessions of all other keys; how many there were."""
        found = [s for name, s in port.sessions.items() if name[-options.KEY_BYTES:] not in allowed]
        for session in found:
            self._sessions.close(session)
        return len(found)

    def shut(self, linger_ms: int = 0) -> None:
        """Take no clients over TCP any more; safe to call twice."""
        port, self.port = self.port, None
        if port is not None:
            self._close_sessions(port, frozenset())
            port.close(linger_ms)

    def close(self) -> None:
        """The node ends, and its links to peers have: the last answers leave, nobody comes in."""
        self.shut(LINGER_MS)
        self.zap.stop()


def beside(addresses: list[str] | tuple[str, ...]) -> list[str]:
    """The addresses for clients of addresses for peers."""
    found = []
    for host, port in ports_of(addresses):
        if port + PORT_STEP <= 65_535:
            shown = f"[{host}]" if ":" in host else host
            found.append(f"tcp://{shown}:{port + PORT_STEP}")
    return found


def ports_of(addresses: list[str] | tuple[str, ...]) -> list[tuple[str, int]]:
    """Host and port of tcp addresses; others are left out."""
    found = []
    for one in addresses:
        host, _, port = one.removeprefix("tcp://").rpartition(":")
        if one.startswith("tcp://") and port.isdigit():
            found.append((host.strip("[]"), int(port)))
    return found


def _key_of(arrived: Arrived) -> bytes:
    try:
        return bytes.fromhex(arrived.user)
    except ValueError:
        return b""
