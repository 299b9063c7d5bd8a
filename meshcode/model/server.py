"""The model process: `python -m meshcode.model.server --db URI`.

A child of the node, and the only process that imports SQLAlchemy.  It answers requests on its
standard input and output (`pipe.py`), publishes the snapshot at start and whenever somebody else
changed the database, and ends with its input, or by itself when nobody asked for a while.
A bad request, a missing database or a damaged one is an answer, never an end.
"""

from __future__ import annotations

import argparse
import gc
import getpass
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from meshcode.errors import BadFrame, BadValue, MeshError, ModelUnavailable, TooLarge
from meshcode.ids import unix_ms
from meshcode.model.database import DB_VARIABLE, Database
from meshcode.model.pipe import ADOPT_ID, NODE_ID, READ_BYTES, MessageReader, pack_message
from meshcode.model.publish import Publisher

POLL_S = 0.5  # How soon a change that somebody else made is seen, where nobody tells of it.
LISTENING_POLL_S = 5.0  # Where the server tells: for changes by hand that it was not told of.
IDLE_S = 300.0  # Then the process ends; the node starts it again when it is asked something.


class Server:
    """Answers messages of the node; keeps the node's picture of the model fresh."""

    def __init__(self, publisher: Publisher, send: Callable[[dict[str, Any]], None]) -> None:
        """`send` writes one message to the node."""
        self.publisher = publisher
        self.send = send
        self._told = ""  # The error last sent unasked, so that it is sent once.
        self._sent: int | None = None  # Number of the snapshot that the node has; None: none.

    def start(self) -> None:
        """Send the first message: the snapshot, or why there is none."""
        self.poll()

    def poll(self) -> None:
        """Send the newer snapshot if somebody else changed the database."""
        try:
            self._refresh()
        except ModelUnavailable as exc:
            self._tell(exc)

    def handle(self, message: dict[str, Any] | BadValue) -> None:
        """Answer one message of the node."""
        if isinstance(message, BadValue):
            self._answer(b"", ok=False, error=message.to_data())
            return
        request_id = message.get("id", b"")
        try:
            data, snapshot = self._do(message)
        except MeshError as exc:
            self._answer(request_id, ok=False, error=exc.to_data())
        except Exception as exc:
            # A fault of ours.  The transaction was undone; the node needs this process alive.
            traceback.print_exc(file=sys.stderr)
            text = (
                f"the model process failed at this request: {type(exc).__name__}: {exc}; nothing"
                " was changed; the node's log has the traceback, please report it"
            )
            self._answer(request_id, ok=False, error=ModelUnavailable(text).to_data())
        else:
            self._answer(request_id, snapshot, ok=True, data=data)

    def _do(self, message: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        if message.get("do") == "known" and message.get("id") == NODE_ID:
            if self.publisher.learn(message):
                self._sent = self.publisher.number
            self._refresh()
            return None, None
        self._refresh()
        if message.get("do") == "adopt" and message.get("id") == ADOPT_ID:
            self.publisher.adopt(message, unix_ms())
            self._sent = self.publisher.number
            return None, None
        return self.publisher.request(message, unix_ms())

    def _refresh(self) -> None:
        snapshot = self.publisher.refresh(unix_ms())
        if self.publisher.problem is not None:
            self._tell(self.publisher.problem)
            return
        if self._told:
            self._told = ""
            self.send({"back": True, "number": self.publisher.number})
        if snapshot is not None:
            try:
                self._send({"number": snapshot["number"]}, snapshot)
            except TooLarge as exc:
                self._tell(exc)

    def _send(self, message: dict[str, Any], snapshot: dict[str, Any] | None) -> None:
        """Send a message, with what is new: only what was changed when the node has the rest."""
        if snapshot is not None:
            delta, has = self.publisher.delta, self._sent
            if delta is not None and delta["base"] == has:
                message["delta"] = delta
            else:
                message["snapshot"] = snapshot
            self._sent = None  # Until it is sent.
        self.send(message)
        if snapshot is not None:
            self._sent = snapshot["number"]

    def _tell(self, error: MeshError) -> None:
        if error.text != self._told:
            self._told = error.text
            self.send({"error": error.to_data(), "number": self.publisher.number})

    def _answer(
        self, request_id: Any, snapshot: dict[str, Any] | None = None, *, ok: bool, **content: Any
    ) -> None:
        number = self.publisher.number
        try:
            self._send({"id": request_id, "ok": ok, **content, "number": number}, snapshot)
        except TooLarge as exc:
            self.send({"id": request_id, "ok": False, "error": exc.to_data(), "number": number})


def serve(server: Server, input_fd: int, *, idle_s: float) -> None:
    """Read messages until the input ends or nobody asked for `idle_s` seconds (0: for ever)."""
    reader = MessageReader()
    database = server.publisher.database
    server.start()
    asked_s = polled_s = time.monotonic()
    while True:
        told_fd = database.fileno()
        poll_s = POLL_S if told_fd is None else LISTENING_POLL_S
        watched = [input_fd] if told_fd is None else [input_fd, told_fd]
        wait_s = max(0.0, polled_s + poll_s - time.monotonic())
        readable = select.select(watched, [], [], min(wait_s, idle_s or wait_s))[0]
        if input_fd in readable:
            data = os.read(input_fd, READ_BYTES)
            if not data:
                return
            asked_s = time.monotonic()
            for message in reader.feed(data):
                server.handle(message)
        # Also without a readable descriptor: an answer of the server may have brought the word.
        now_s = time.monotonic()
        if database.heard() or now_s - polled_s >= poll_s:
            polled_s = now_s
            server.poll()
        if idle_s and now_s - asked_s >= idle_s:
            return


def main(arguments: list[str] | None = None) -> int:
    """Run the model process; the exit status is 0 unless the pipe itself is broken."""
    parser = argparse.ArgumentParser(prog="python -m meshcode.model.server", description=__doc__)
    parser.add_argument("--db", default=os.environ.get(DB_VARIABLE), help="path or URI")
    parser.add_argument("--idle", type=float, default=IDLE_S, help="seconds; 0 for ever")
    options = parser.parse_args(arguments)
    if not options.db:
        parser.error(f"give --db, or {DB_VARIABLE} in the environment")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node, which closes the pipe.
    os.umask(0o077)
    gc.freeze()  # What was imported stays for good; a listing of thousands is no garbage either.
    gc.set_threshold(50_000, 20, 50)
    input_fd, output_fd = _take_pipes()

    def send(message: dict[str, Any]) -> None:
        _write_all(output_fd, pack_message(message))

    database = Database(options.db)
    try:
        serve(Server(Publisher(database, owner=_owner()), send), input_fd, idle_s=options.idle)
    except BadFrame as exc:
        print(f"model: {exc}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        pass  # The node is gone.
    finally:
        database.close()
    return 0


def _take_pipes() -> tuple[int, int]:
    """Keep the pipes for messages: a stray print goes to the log, a stray read finds nothing."""
    input_fd, output_fd = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return input_fd, output_fd


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container without a user database.
        return f"uid-{os.getuid()}"


if __name__ == "__main__":
    sys.exit(main())
