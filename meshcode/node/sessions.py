"""Client sessions: the ROUTER link that clients speak to, and what waits to be sent to each.

A session is known by libzmq's random routing id on a private ipc folder.  Whoever sends a frame
without a session is answered with WELCOME and says HELLO, so a restarted node needs no list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from meshcode import limits
from meshcode.errors import BadFrame, MeshError
from meshcode.ids import NO_ID
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import FrameHead, Row, envelope, frame, index
from meshcode.wire.kinds import Flag, Kind

SESSION_VERSION = 1
FRAME_OUTCOMES_MAX = 1024  # Envelopes per answer frame.


class Session:
    """One connected client."""

    __slots__ = ("heard_ms", "id", "lagged", "outbox", "outbox_bytes", "routing_id", "sequence")

    def __init__(self, id: int, routing_id: bytes) -> None:
        """A session that was just opened."""
        self.id = id
        self.routing_id = routing_id
        self.sequence = 0
        self.outbox: deque[bytes] = deque()  # Frames that the link did not take yet.
        self.outbox_bytes = 0
        self.lagged = False  # Frames were dropped: it will be told to ask again.
        self.heard_ms = 0


class Sessions:
    """All client sessions of a node."""

    def __init__(self, context: zmq.Context[Any], address: str, boot: int, welcome: dict[str, Any]):
        """Bind the link at `address`; `welcome` is the body of every WELCOME."""
        self.boot = boot
        self.link = context.socket(zmq.ROUTER)
        self.link.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.link.setsockopt(zmq.LINGER, 0)
        self.link.setsockopt(zmq.SNDHWM, 256)
        self.link.setsockopt(zmq.RCVHWM, 256)
        self.link.setsockopt(zmq.MAXMSGSIZE, limits.FRAME_BYTES_MAX)
        self.link.bind(address)
        self._welcome = pack(welcome)
        self._by_routing: dict[bytes, Session] = {}
        self.by_id: dict[int, Session] = {}
        self._last_id = 0
        self.backlog: set[int] = set()  # Sessions with frames in their outbox.

    def receive(
        self, frames_max: int, now_ms: int
    ) -> list[tuple[Session, FrameHead, list[Row], bytes]]:
        """Up to `frames_max` frames of open sessions; opening and answering sessions on the way.

        What is over TURN_BYTES_MAX stays in the link for the next turn.
        """
        received = []
        size = 0
        for _ in range(frames_max):
            if size >= limits.TURN_BYTES_MAX:
                break
            try:
                parts = self.link.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            if len(parts) != 2:
                self._reply_raw(parts[0], _error(BadFrame(f"{len(parts) - 1} parts, expected 1")))
                continue
            routing_id, data = parts
            size += len(data)
            try:
                head, rows = index(data)
            except MeshError as error:
                self._reply_raw(routing_id, _error(error))
                continue
            session = self._by_routing.get(routing_id)
            hello = bool(rows) and rows[0].kind == Kind.HELLO
            if session is None or hello:
                problem = hello_problem(rows[0], data) if hello else None
                if problem is not None:
                    self._reply_raw(routing_id, _error(problem))
                    continue
                session = self._open(routing_id, now_ms)
                greeting = rows[0].id if hello else NO_ID
                self.send(session, [envelope(Kind.WELCOME, id=greeting, body=self._welcome)])
                if not hello:
                    self.close(session)  # It knows another boot of this node: it must begin again.
                continue
            session.heard_ms = now_ms
            received.append((session, head, rows, data))
        return received

    def _open(self, routing_id: bytes, now_ms: int) -> Session:
        old = self._by_routing.get(routing_id)
        if old is not None:
            self.close(old)
        if len(self.by_id) >= limits.CLIENTS_MAX:  # The longest silent one is welcomed again later.
            self.close(min(self.by_id.values(), key=lambda session: session.heard_ms))
        self._last_id += 1
        session = Session(self._last_id, routing_id)
        session.heard_ms = now_ms
        self._by_routing[routing_id] = session
        self.by_id[session.id] = session
        return session

    def close(self, session: Session) -> None:
        """Forget a session; its outbox is dropped."""
        self._by_routing.pop(session.routing_id, None)
        self.by_id.pop(session.id, None)
        self.backlog.discard(session.id)

    def send(self, session: Session, envelopes: list[bytes]) -> None:
        """Send sealed envelopes in as few frames as the limits allow; never blocks."""
        start, size = 0, 0
        for at, data in enumerate(envelopes):
            too_many = at - start >= FRAME_OUTCOMES_MAX
            if at > start and (too_many or size + len(data) > limits.FRAME_BYTES_GOAL):
                self._send_frame(session, envelopes[start:at])
                start, size = at, 0
            size += len(data)
        if start < len(envelopes):
            self._send_frame(session, envelopes[start:])

    def _send_frame(self, session: Session, envelopes: list[bytes]) -> None:
        session.sequence += 1
        data = frame(envelopes, sequence=session.sequence, sender_boot=self.boot)
        if session.outbox or not self._try_send(session, data):
            if session.id not in self.by_id:
                return
            if session.outbox_bytes + len(data) > limits.CLIENT_OUTBOX_BYTES_MAX:
                session.lagged = True
                return
            session.outbox.append(data)
            session.outbox_bytes += len(data)
            self.backlog.add(session.id)

    def _try_send(self, session: Session, data: bytes) -> bool:
        try:
            self.link.send_multipart([session.routing_id, data], zmq.NOBLOCK)
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
                session.outbox_bytes -= len(session.outbox.popleft())
            if id in self.by_id and not session.outbox:
                self.backlog.discard(id)
                if session.lagged:
                    session.lagged = False
                    self._send_frame(session, [envelope(Kind.LAGGED)])

    def _reply_raw(self, routing_id: bytes, data: bytes) -> None:
        try:
            whole = frame([data], sender_boot=self.boot)
            self.link.send_multipart([routing_id, whole], zmq.NOBLOCK)
        except zmq.ZMQError:
            return  # Nobody is there to be told.

    def each(self, action: Callable[[Session], None]) -> None:
        """Do something for every open session."""
        for session in list(self.by_id.values()):
            action(session)


def hello_problem(row: Row, data: bytes) -> MeshError | None:
    """Why a HELLO cannot be welcomed, or None."""
    try:
        body = unpack(data[row.body_at : row.end])
    except MeshError as error:
        return error
    version = body.get("version") if isinstance(body, dict) else None
    if version == SESSION_VERSION:
        return None
    return BadFrame(
        f"HELLO asks for session version {version!r}, this node speaks {SESSION_VERSION}; "
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


def _error(error: MeshError) -> bytes:
    return envelope(Kind.REFUSED, body=pack(error.to_data()))
