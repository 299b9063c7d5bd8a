"""Client sessions: the ports that clients speak to, and what waits to be sent to each.

Every node has a port on a private ipc folder; a node of a mesh has one on TCP beside it
(`clientport.py`).  A session is known by its port and the name that the port gives it.  Whoever
sends a frame without a session is answered with WELCOME and says HELLO, so a restarted node needs
no list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import zmq

from meshcode import limits
from meshcode.errors import BadFrame, InternalError, MeshError
from meshcode.ids import NO_ID
from meshcode.node import descriptors
from meshcode.node.outboxes import Outboxes
from meshcode.peers.ready import next_message
from meshcode.wire.codec import pack
from meshcode.wire.frame import Column, FrameHead, cuts, envelope, frame, index, pick
from meshcode.wire.kinds import Flag, Kind
from meshcode.wire.plainly import unpack_plain_map

if TYPE_CHECKING:
    from meshcode.node.who import Who

SESSION_VERSION = 1
_HELLO = bytes([Kind.HELLO])
# What a call of a client is made of: the fields of `router.events.NewCall`, options still packed.
NEW_CALL = bytes([
    Column.ID, Column.FLOW, Column.PARENT, Column.TEXT, Column.ARGC, Column.OPTIONS,
    Column.ENVELOPE,
])  # fmt: skip
FRAME_OUTCOMES_MAX = 1024  # Envelopes per answer frame.


class Session:
    """One connected client."""

    __slots__ = (
        "heard_ms", "id", "lagged", "name", "outbox", "outbox_bytes", "port", "sequence", "who",
        "whose",
    )  # fmt: skip

    def __init__(self, id: int, name: bytes, port: Port | None = None) -> None:
        """A session that was just opened; without `port` it is a peer's, and nothing is sent."""
        self.id = id
        self.name = name
        self.port = port
        self.sequence = 0
        self.outbox: deque[bytes] = deque()  # Frames that the link did not take yet.
        self.outbox_bytes = 0
        self.lagged = False  # Frames were dropped: it will be told to ask again.
        self.heard_ms = 0
        self.who: Who | None = None  # None: the owner.
        self.whose = ""  # Whom its outbox counts for; kept by `Outboxes`.


class Arrived(NamedTuple):
    """A frame of an open session, checked."""

    session: Session
    head: FrameHead
    calls: list[Any]  # Of each envelope what a call would be made of (`NEW_CALL`).
    kinds: bytes  # One byte for each envelope; so are its flags.
    flags: bytes


class Port(Protocol):
    """A link that clients speak to."""

    sessions: dict[bytes, Session]  # By name; kept by `Sessions`.

    def key_of(self, name: bytes) -> bytes | None:
        """The key that a session proved, 32 bytes; None: this link has none."""

    def receive(self) -> list[bytes] | None:
        """A session's name and the parts of a message; empty when it is of no use, None when there
        is none.
        """

    def send(self, name: bytes, data: bytes) -> None:
        """Send one frame.

        Raises:
            zmq.Again: the session's queue is full; zmq.ZMQError otherwise: it is gone.
        """


class LocalPort:
    """The port of clients on this machine: a name is libzmq's random routing id."""

    def __init__(self, link: zmq.Socket[bytes]) -> None:
        """`link` is a ROUTER, bound."""
        self.link = link
        self.sessions: dict[bytes, Session] = {}

    def key_of(self, name: bytes) -> bytes | None:  # noqa: ARG002
        """See `Port`."""
        return None

    def receive(self) -> list[bytes] | None:
        """See `Port`."""
        return next_message(self.link)

    def send(self, name: bytes, data: bytes) -> None:
        """See `Port`."""
        self.link.send_multipart([name, data], zmq.NOBLOCK)


class Sessions:
    """All client sessions of a node."""

    def __init__(self, context: zmq.Context[Any], address: str, boot: int, welcome: dict[str, Any]):
        """Bind the link on this machine at `address`; `welcome` is the body of every WELCOME."""
        self.boot = boot
        self.link = context.socket(zmq.ROUTER)
        self.link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.link.setsockopt(zmq.LINGER, 0)
        self.link.setsockopt(zmq.SNDHWM, 256)
        self.link.setsockopt(zmq.RCVHWM, 256)
        self.link.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
        self.link.setsockopt(zmq.BACKLOG, descriptors.backlog())
        self.address = address
        self.link.bind(address)
        self._welcome = pack(welcome)
        self._local = LocalPort(self.link)
        self.by_id: dict[int, Session] = {}
        self._gone: set[int] = set()  # Ended, and not yet taken by `take_gone`.
        self._last_id = 0
        self.identify: Callable[[bytes | None, object], Who | None] = lambda _key, _login: None
        self.came = 0  # Bytes of all frames so far.
        self.failed: Callable[[str, str, Exception], None] = _raise  # `Faults.note`
        self.backlog: set[int] = set()  # Sessions with frames in their outbox, or that lag.
        self.outboxes = Outboxes()

    def receive(
        self, frames_max: int, now_ms: int, port: Port | None = None
    ) -> list[Arrived]:
        """Up to `frames_max` frames of open sessions; opening and answering sessions on the way.

        Without `port` those of this machine.  What is over TURN_BYTES_MAX stays in the link for
        the next turn.
        """
        if port is None:
            port = self._local
        received = []
        size = 0
        for _ in range(frames_max):
            if size >= limits.TURN_BYTES_MAX:
                break
            parts = port.receive()
            if parts is None:
                break
            if len(parts) != 2:
                if parts:
                    error = BadFrame(f"{len(parts) - 1} parts, expected 1")
                    self._reply_raw(port, parts[0], _error(error))
                continue
            name, data = parts
            size += len(data)
            self.came += len(data)
            try:
                head, rows, kinds, flags = pick(data, NEW_CALL)
                session = port.sessions.get(name)
                if session is None or kinds[:1] == _HELLO:
                    self._greet(port, name, data, kinds[:1] == _HELLO, now_ms)
                    continue
            except MeshError as problem:
                self._reply_raw(port, name, _error(problem))
                continue
            except Exception as error:  # Whoever greets so must not end the node.
                self.failed("greeting", "a client", error)
                text = f"internal error: the greeting failed at {type(error).__name__}; no session"
                self._reply_raw(port, name, _error(InternalError(f"{text} was opened")))
                continue
            session.heard_ms = now_ms
            received.append(Arrived(session, head, rows, kinds, flags))
        return received

    def _greet(self, port: Port, name: bytes, data: bytes, greets: bool, now_ms: int) -> None:
        """Open a session for a HELLO; who has none and says something else is told to begin so.

        Raises:
            MeshError: it cannot be welcomed.
        """
        hello = index(data)[1][0] if greets else None
        login = None if hello is None else read_hello(data[hello.body_at : hello.end])
        who = self.identify(port.key_of(name), login)
        session = self._open(port, name, now_ms)
        session.who = who
        greeting = hello.id if hello is not None else NO_ID
        self.send(session, [envelope(Kind.WELCOME, id=greeting, body=self._welcome)])
        if hello is None:
            self.close(session)  # It knows another boot of this node: it must begin again.

    def _open(self, port: Port, name: bytes, now_ms: int) -> Session:
        old = port.sessions.get(name)
        if old is not None:
            self.close(old)
        if len(self.by_id) >= limits.CLIENTS_MAX:  # The longest silent one is welcomed again later.
            among = port.sessions or self.by_id  # Clients elsewhere push out none of this machine.
            self.close(min(among.values(), key=lambda session: session.heard_ms))
        self._last_id += 1
        session = Session(self._last_id, name, port)
        session.heard_ms = now_ms
        port.sessions[name] = session
        self.by_id[session.id] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a session; its outbox is dropped, and `take_gone` tells of it."""
        if session.port is not None:
            session.port.sessions.pop(session.name, None)
        if self.by_id.pop(session.id, None) is not None:
            self._gone.add(session.id)
        self.backlog.discard(session.id)
        self.outboxes.drop(session)

    def take_gone(self) -> set[int]:
        """The ids of the sessions that ended since the last call, each once."""
        gone, self._gone = self._gone, set()
        return gone

    def send(self, session: Session, envelopes: list[bytes]) -> None:
        """Send sealed envelopes in as few frames as the limits allow; never blocks."""
        for begin, end in cuts(envelopes, FRAME_OUTCOMES_MAX):
            self._send_frame(session, envelopes[begin:end])

    def _send_frame(self, session: Session, envelopes: list[bytes]) -> None:
        session.sequence += 1
        data = frame(envelopes, sequence=session.sequence, sender_boot=self.boot)
        if session.outbox or not self._try_send(session, data):
            if session.id not in self.by_id:
                return
            self.outboxes.add(session, data, lambda: map(self.by_id.__getitem__, self.backlog))
            self.backlog.add(session.id)

    def _try_send(self, session: Session, data: bytes) -> bool:
        try:
            assert session.port is not None, session.id
            session.port.send(session.name, data)
        except zmq.Again:
            return False
        except zmq.ZMQError:  # EHOSTUNREACH: the client is gone.
            self.close(session)
            return False
        return True

    def flush(self) -> None:
        """Try again to send what the link did not take."""
        for id in list(self.backlog):
            session = self.by_id[id]
            while session.outbox and self._try_send(session, session.outbox[0]):
                self.outboxes.sent(session)
            if id in self.by_id and not session.outbox and self._is_level(session):
                self.backlog.discard(id)

    def _is_level(self, session: Session) -> bool:
        """Nothing waits for a session: it was told, if need be, that it has missed something."""
        if session.lagged:
            said = {"sequence": session.sequence + 1, "sender_boot": self.boot}
            if not self._try_send(session, frame([envelope(Kind.LAGGED)], **said)):
                return False
            session.sequence += 1
            session.lagged = False
        return True

    def _reply_raw(self, port: Port, name: bytes, data: bytes) -> None:
        try:
            port.send(name, frame([data], sender_boot=self.boot))
        except zmq.ZMQError:
            return  # Nobody is there to be told.

    def each(self, action: Callable[[Session], None]) -> None:
        """Do something for every open session."""
        for session in list(self.by_id.values()):
            action(session)


def read_hello(body: bytes) -> object:
    """The login in a HELLO; None when there is none.

    Raises:
        MeshError: it cannot be welcomed.
    """
    fields = unpack_plain_map(body)
    version = fields.get("version")
    if type(version) is int and version == SESSION_VERSION:
        return fields.get("login")
    raise BadFrame(
        f"HELLO asks for session version {version!r:.40}, this node speaks {SESSION_VERSION}; "
        "use a client of the same release"
    )


def answer_envelope(request: bytes, good: bool, data: Any) -> bytes:
    """A sealed ANSWER; what is no plain data or too large becomes an error answer."""
    try:
        body = pack(data)
    except MeshError as error:
        good, body = False, pack(error.to_data())
    code = 0 if good else 1
    return envelope(Kind.ANSWER, id=request, code=code, flags=Flag.LAST, body=body)


def _raise(_what: str, _whose: str, error: Exception) -> None:
    raise error


def refusal(error: MeshError) -> bytes:
    """A whole frame that tells why nothing of a client's frame was used."""
    return frame([_error(error)])


def _error(error: MeshError) -> bytes:
    return envelope(Kind.REFUSED, body=pack(error.to_data()))
