"""A client of a node made of the wire alone, for tests that must not trust the client library.

It does what docs/wire.md says and nothing more: frames out, rows in.
"""

from __future__ import annotations

import os
import time
from typing import Any

import zmq

from meshcode.errors import MeshError, from_data
from meshcode.ids import make_id
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import Row, envelope, frame, index
from meshcode.wire.kinds import Kind

Seen = tuple[Row, bytes]  # A row, and the frame its offsets are into.


class NoAnswer(AssertionError):
    """The node did not answer in time."""


class RawLink:
    """One DEALER link to a node."""

    def __init__(self, address: str) -> None:
        """Connect; nothing is sent yet."""
        self._context = zmq.Context()
        self._link = self._context.socket(zmq.DEALER)
        self._link.setsockopt(zmq.LINGER, 0)
        self._link.setsockopt(zmq.SNDHWM, 10_000)
        self._link.setsockopt(zmq.RECONNECT_IVL, 20)
        self._link.setsockopt(zmq.RECONNECT_IVL_MAX, 200)
        self._link.connect(address)
        self.sequence = 0
        self.boot = 0
        self.unread: list[Seen] = []

    def close(self) -> None:
        """Close the link."""
        self._link.close(0)
        self._context.term()

    def send(self, envelopes: list[bytes]) -> int:
        """Send one frame of sealed envelopes; returns its sequence number."""
        self.sequence += 1
        self.send_bytes(frame(envelopes, sequence=self.sequence, receiver_boot=self.boot))
        return self.sequence

    def send_bytes(self, data: bytes) -> None:
        """Send any bytes at all; when the node is away they may be lost, as on any link."""
        try:
            self._link.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self, seconds: float) -> list[Seen]:
        """Everything that has come, waiting up to `seconds` for the first frame."""
        found, self.unread = self.unread, []
        if not found and not self._link.poll(seconds * 1000):
            return []
        while True:
            try:
                data = self._link.recv(zmq.NOBLOCK)
            except zmq.Again:
                return found
            found += [(row, data) for row in index(data)[1]]

    def hello(self) -> None:
        """Ask for a session; the node answers WELCOME.

        The sequence goes on, so that a late ACCEPTED of an earlier session names no frame of this.
        """
        body = {"version": 1, "session": os.urandom(16), "pid": os.getpid()}
        self.boot = 0
        self.send([envelope(Kind.HELLO, body=pack(body))])

    def welcomed(self, row: Row, data: bytes) -> dict[str, Any]:
        """Take over what a WELCOME says."""
        told: dict[str, Any] = body_of(row, data)
        self.boot = told["boot"]
        return told

    def open(self, seconds: float = 10.0) -> dict[str, Any]:
        """Say HELLO until the node answers; returns the body of its WELCOME.

        Raises:
            NoAnswer: it did not within `seconds`.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.hello()
            for row, data in self.receive(0.5):
                if row.kind == Kind.WELCOME:
                    return self.welcomed(row, data)
        raise NoAnswer(f"no WELCOME within {seconds} s")

    def ask(self, operation: str, seconds: float = 10.0, **fields: Any) -> Any:
        """One request and its answer; what else comes meanwhile stays in `unread`.

        Raises:
            MeshError: the node's refusal, as the class it is.
            NoAnswer: nothing within `seconds`.
        """
        request = make_id()
        self.send([envelope(Kind.ASK, id=request, name=operation.encode(), body=pack(fields))])
        until = time.monotonic() + seconds
        kept: list[Seen] = []
        while (left := until - time.monotonic()) > 0:
            for row, data in self.receive(left):
                if row.kind == Kind.ANSWER and row.id == request:
                    answer = body_of(row, data)
                    kept += self.unread
                    self.unread = kept
                    if row.code:
                        raise from_data(answer)
                    return answer
                if row.kind == Kind.WELCOME:
                    raise NoAnswer("the node did not know this session; it restarted")
                kept.append((row, data))
        raise NoAnswer(f"no answer to {operation} within {seconds} s")


def body_of(row: Row, data: bytes) -> Any:
    """The decoded body of a row; None when it has none."""
    body = data[row.body_at : row.end]
    return unpack(body) if body else None


def error_of(row: Row, data: bytes) -> MeshError:
    """The error a row carries."""
    return from_data(body_of(row, data))
