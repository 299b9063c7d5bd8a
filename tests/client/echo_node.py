"""A peer for the client: a real process with a ROUTER link that speaks the client's protocol.

It runs no code and has no queues: the name of the socket says what becomes of a call.  What it
accepted it keeps in a file, so that it can be killed and started again.  Nodes that share the file
are a mesh: each knows what another accepted, once it has looked; it looks when a call comes with
the mark AGAIN and when it is asked to watch one, with `shy` n only from the n-th question on.

    noop      DONE, None                     never     accepted, never ends
    echo      DONE, the first argument       later     ends at "test.release"
    report    DONE, everything it was sent   mute      not even acknowledged by this process
    fail      FAILED, a ValueError           refuse    REFUSED
    @flow     see echo_flows.py
    cancel    CANCELLED                      items     ITEMs 0..n-1, then DONE with their list
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zlib
from typing import Any

import zmq
from zmq.utils import z85

from meshcode.errors import CallCancelled, QueueFull, RemoteError, UnknownSocket, WrongState
from meshcode.ids import NO_ID, text_of
from meshcode.wire.codec import pack, unpack, unpack_call
from meshcode.wire.frame import Row, draft, index, seal_frame
from meshcode.wire.kinds import Flag, Kind, Level, Outcome
from tests.client.echo_flows import Flows

NIL = pack(None)
AGAIN = 16  # Flag of docs/wire.md.


class EchoNode:
    """The state of the peer: its sessions, its calls, and what it counted."""

    def __init__(
        self, address: str, log: str, window_calls: int, echoes: bool, options: dict[str, Any]
    ) -> None:
        self.node = hashlib.blake2b(address.encode(), digest_size=16).digest()
        self.shy = int(options.get("shy", 0))  # Questions before it knows calls of others.
        self.greets = bool(options.get("greets", True))  # Whether it answers HELLO well.
        self.boot = int.from_bytes(os.urandom(3), "big") + 1
        self.echoes = echoes  # Whether WELCOME carries the id of the HELLO.
        self.window_calls = window_calls
        context = zmq.Context()
        self.link = context.socket(zmq.ROUTER)
        if "secret" in options:
            _demand_keys(context, self.link, options)
        self.link.setsockopt(zmq.LINGER, 0)
        self.link.setsockopt(zmq.SNDHWM, 0)
        self.link.bind(address)
        self.sequence = 0
        self.sessions: set[bytes] = set()
        self.ended: dict[bytes, bytes] = {}  # Outcome drafts by call.
        self.open: dict[bytes, tuple[bytes, bytes]] = {}  # Call -> who asked, draft of its outcome.
        self.streams: dict[bytes, bytes] = {}  # Request -> who asked.
        self.counts = {
            "submits": 0, "again": 0, "elsewhere": 0, "fresh_twice": 0, "frames": 0, "hellos": 0,
        }  # fmt: skip
        self.flows = Flows()
        self.deaf = False  # Drops outcomes instead of sending them.
        self.log = open(log, "a+b", buffering=0)  # noqa: SIM115  It lives as long as the process.
        self.log_read = 0  # Bytes of it that are known here.
        self._read_log()

    def _read_log(self) -> None:
        records, self.log_read = records_of(self.log, self.log_read)
        for ends, call_id, outcome in records:
            if ends:
                self.open.pop(call_id, None)
                self.ended[call_id] = outcome
            elif call_id not in self.open and call_id not in self.ended:
                self.open[call_id] = (b"", outcome)

    def _write_log(self, ends: bool, call_id: bytes, outcome: bytes) -> None:
        data = pack([ends, call_id, outcome])
        # A line of its own at both ends: what a kill tears cannot spoil what comes behind it.
        self.log.write(b"\n%08x%s\n" % (zlib.crc32(data), data.hex().encode()))

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            sender, data = self.link.recv_multipart()
            head, rows = index(data)
            self.counts["frames"] += 1
            if rows[0].kind == Kind.HELLO and not self.greets:
                error = WrongState("this release does not speak with yours")
                self.send(sender, [draft(Kind.REFUSED, body=pack(error.to_data()))])
            elif rows[0].kind == Kind.HELLO:
                self.counts["hellos"] += 1
                self.sessions.add(sender)
                self.welcome(sender, rows[0].id if self.echoes else NO_ID)
            elif sender not in self.sessions:
                self.welcome(sender, NO_ID)
            else:
                self.take(sender, head.sequence, rows, data)

    def send(self, to: bytes, drafts: list[bytes]) -> None:
        """One frame to one client."""
        while drafts:
            count = 1
            while count < min(len(drafts), 1024) and sum(map(len, drafts[:count])) < 200_000:
                count *= 2
            self.sequence += 1
            data = seal_frame(drafts[:count], sequence=self.sequence)
            self.link.send_multipart([to, data])
            drafts = drafts[count:]

    def welcome(self, to: bytes, hello: bytes) -> None:
        """Greet, or say that the sender is not known."""
        body = {
            "node": self.node, "boot": self.boot, "version": "0.1.0", "pid": os.getpid(),
            "window_calls": self.window_calls, "window_bytes": 16 * 1024 * 1024,
            "body_bytes_max": 16 * 1024 * 1024,
        }  # fmt: skip
        self.send(to, [draft(Kind.WELCOME, id=hello, body=pack(body))])

    def take(self, sender: bytes, sequence: int, rows: list[Row], data: bytes) -> None:
        """One frame of a client that is known."""
        out: list[bytes] = []
        refused: list[bytes] = []
        acknowledge = False
        for row in rows:
            if row.kind == Kind.SUBMIT:
                acknowledge = self.submit(sender, row, data, out, refused) or acknowledge
            elif row.kind == Kind.ASK:
                name = data[row.name_at : row.meta_at].decode()
                self.ask(sender, row.id, name, unpack(data[row.body_at : row.end]))
            elif row.kind == Kind.BYE:
                self.sessions.discard(sender)
        if acknowledge:
            accepted = draft(Kind.ACCEPTED, number=sequence, code=Level.LOCAL, attempt=(1 << 8) | 1)
            out = [*refused, accepted, *out]
        if out:
            self.send(sender, out)

    def submit(
        self, sender: bytes, row: Row, data: bytes, out: list[bytes], refused: list[bytes]
    ) -> bool:
        """One call; False when nothing at all is to be said about it."""
        call_id = row.id
        counts = self.counts
        counts["submits"] += 1
        fresh = bool(row.flags & Flag.FRESH)
        counts["again"] += not fresh
        if row.flags & AGAIN:
            counts["elsewhere"] += 1
            self._read_log()
        name = data[row.name_at : row.meta_at]
        if name == b"noop":
            out.append(draft(Kind.OUTCOME, id=call_id, code=Outcome.DONE, body=NIL))
            return True
        if name == b"mute":
            return not fresh and self.accept(sender, row, b"echo", data, out, refused)
        return self.accept(sender, row, name, data, out, refused)

    def accept(
        self,
        sender: bytes,
        row: Row,
        name: bytes,
        data: bytes,
        out: list[bytes],
        refused: list[bytes],
    ) -> bool:
        """What becomes of a call by the name of its socket."""
        call_id = row.id
        if call_id in self.ended or call_id in self.open:
            self.counts["fresh_twice"] += bool(row.flags & Flag.FRESH)
            if call_id in self.ended:
                out.append(self.ended[call_id])
            else:
                self.open[call_id] = (sender, self.open[call_id][1])
            return True
        args, kwargs = unpack_call(data[row.body_at : row.end], bool(row.flags & Flag.KWARGS))
        if name == b"@flow":
            outcome, ended = self.flows.begin(call_id, args[0])
            self.take_flow(call_id, ended)
        else:
            outcome = self.outcome_of(name, row, data, args, kwargs)
        if isinstance(outcome, MeshRefusal):
            refused.append(draft(Kind.REFUSED, id=call_id, body=pack(outcome.error.to_data())))
            return True
        if name in (b"never", b"later"):
            self.open[call_id] = (sender, outcome)
            self._write_log(False, call_id, outcome)
            return True
        if name == b"items":
            items = range(args[0])
            out.extend(draft(Kind.ITEM, id=call_id, number=n, body=pack(n)) for n in items)
        self.end(call_id, outcome)
        if not self.deaf:
            out.append(outcome)
        return True

    def take_flow(self, flow_id: bytes, ended: list[tuple[bytes, bytes]]) -> None:
        """A flow has begun: its steps are calls like others."""
        for step in self.flows.open_steps(flow_id):
            outcome = draft(Kind.OUTCOME, id=step, code=Outcome.DONE, body=NIL)
            self.open[step] = (b"", outcome)
            self._write_log(False, step, outcome)
        for step, outcome in ended:
            self.end(step, outcome)

    def tell(self, ended: list[tuple[bytes, bytes]]) -> None:
        """Steps have ended: whoever watches them hears of it."""
        for step, outcome in ended:
            who, _ = self.open.get(step, (b"", b""))
            self.end(step, outcome)
            if who and not self.deaf:
                self.send(who, [outcome])

    def outcome_of(
        self, name: bytes, row: Row, data: bytes, args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        """The draft of the outcome, or a refusal."""
        value: Any = args[0] if args else None
        code, error = Outcome.DONE, None
        if name == b"report":
            meta = data[row.meta_at : row.body_at]
            value = {
                "args": args, "kwargs": kwargs, "options": unpack(meta) if meta else {},
                "argc": row.argc, "flags": row.flags, "flow": row.flow, "id": row.id,
                "parent": row.parent,
            }  # fmt: skip
        elif name == b"fail":
            code = Outcome.FAILED
            fields = {"type": str(value or "ValueError"), "traceback": "Traceback: line 1, in fail"}
            error = RemoteError("boom", **fields)
        elif name == b"cancel":
            code, error = Outcome.CANCELLED, CallCancelled("cancelled by a test")
        elif name == b"refuse":
            return MeshRefusal(QueueFull("the line of refuse has 10 calls, its limit is 10"))
        elif name == b"items":
            value = list(range(args[0]))
        elif name == b"bytes":
            value = bytes(args[0])
        elif name not in (b"echo", b"later", b"never"):
            return MeshRefusal(UnknownSocket(f"there is no socket {name.decode()!r}"))
        body = pack(value) if error is None else pack(error.to_data())
        return draft(Kind.OUTCOME, id=row.id, code=code, body=body, attempt=1)

    def end(self, call_id: bytes, outcome: bytes) -> None:
        """A call has ended."""
        self.open.pop(call_id, None)
        self.ended[call_id] = outcome
        self._write_log(True, call_id, outcome)

    def ask(self, sender: bytes, request: bytes, name: str, fields: dict[str, Any]) -> None:
        """Answer one request."""
        answer = OPERATIONS.get(name)
        if answer is None:
            self.answer(sender, request, WrongState(f"no operation {name!r}"))
            return
        found = answer(self, sender, request, fields)
        if found is not SILENCE:
            self.answer(sender, request, found)

    def answer(self, to: bytes, request: bytes, value: Any) -> None:
        """Send one ANSWER, with an error when `value` is one."""
        good = not isinstance(value, Exception)
        body = pack(value) if good else pack(value.to_data())
        self.send(to, [draft(Kind.ANSWER, id=request, code=not good, flags=Flag.LAST, body=body)])

    # The operations.

    def watch(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Tell outcomes now and later."""
        unknown = []
        self.shy -= bool(fields["ids"])
        if self.shy < 0:
            self._read_log()
        for call_id in fields["ids"]:
            if call_id in self.ended:
                self.send(sender, [self.ended[call_id]])
            elif call_id in self.open:
                self.open[call_id] = (sender, self.open[call_id][1])
            else:
                unknown.append(call_id)
        return {"unknown": unknown}

    def get(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """The record of one call, by its id or the beginning of it."""
        asked = fields["id"]
        if isinstance(asked, str):
            found = [id for id in [*self.open, *self.ended] if text_of(id).startswith(asked)]
        else:
            found = [id for id in (asked,) if id in self.open or id in self.ended]
        if len(found) != 1:
            return WrongState(f"{len(found)} calls begin so")
        record = {
            "id": text_of(found[0]), "state": "DONE" if found[0] in self.ended else "RUNNING",
            "events": [{"name": "received", "ms": 1, "note": ""}],
        }  # fmt: skip
        if fields.get("output"):
            record["output"] = {"stdout": "printed", "stderr": ""}
        return record

    def cancel(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """End an open call."""
        call_id = fields["id"]
        if call_id in self.flows.machines:
            found = self.flows.cancel(call_id, fields["by"])
            if isinstance(found, list):
                self.tell(found)
            return {"cancelled": len(found)} if isinstance(found, list) else found
        if call_id not in self.open:
            return WrongState("it has ended")
        who, _ = self.open[call_id]
        error = CallCancelled(f"cancelled by {fields['by']}")
        outcome = draft(
            Kind.OUTCOME, id=call_id, code=Outcome.CANCELLED, body=pack(error.to_data())
        )
        self.end(call_id, outcome)
        self.send(who, [outcome])
        return {"state": "CANCELLED"}

    def release(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """End all open calls, as far as their clients are known."""
        count = 0
        self.flows.is_released = True
        for machine in self.flows.machines.values():
            self.tell(self.flows.advance(machine))
        for call_id, (who, outcome) in list(self.open.items()):
            self.end(call_id, outcome)
            count += 1
            if who and not self.deaf:
                self.send(who, [outcome])
        return {"released": count}

    def lag(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Say that messages were dropped, and hear again."""
        self.deaf = False
        self.send(sender, [draft(Kind.LAGGED)])
        return {}

    def make_deaf(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Drop outcomes from now on."""
        self.deaf = True
        return {}

    def reset(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Forget all calls, streams and counts."""
        self.ended.clear()
        self.open.clear()
        self.streams.clear()
        self.counts = dict.fromkeys(self.counts, 0)
        self.deaf = False
        self.flows = Flows()
        return {}

    def forget(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Forget the session of the sender, without telling it."""
        self.sessions.discard(sender)
        return SILENCE

    def refuse_frame(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Say that a frame could not be read."""
        error = WrongState("a frame could not be read")
        self.send(sender, [draft(Kind.REFUSED, body=pack(error.to_data()))])
        return {}

    def garble(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Send bytes that are no frame, and an answer that is no data."""
        self.link.send_multipart([sender, fields["bytes"]])
        self.send(sender, [draft(Kind.WELCOME, id=NO_ID, body=b"\xc1")])
        return {}

    def subscribe(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Begin a stream, with `tail` events of old."""
        self.streams[request] = sender
        self.answer(sender, request, {"subscribed": True})
        for n in range(fields.get("tail", 0)):
            self.event(request, {"old": n})
        return SILENCE

    def unsubscribe(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """End a stream."""
        return {"ended": self.streams.pop(fields["id"], None) is not None}

    def publish(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """Send events to all streams."""
        for stream in self.streams:
            for data in fields["events"]:
                self.event(stream, data, last=bool(fields.get("last")))
        return {"streams": len(self.streams)}

    def event(self, request: bytes, data: Any, *, last: bool = False) -> None:
        """One event of one stream."""
        flags = Flag.LAST if last else 0
        self.send(
            self.streams[request], [draft(Kind.EVENT, id=request, flags=flags, body=pack(data))]
        )

    def count(self, sender: bytes, request: bytes, fields: dict[str, Any]) -> Any:
        """What was counted since the process began."""
        return {**self.counts, "open": len(self.open), "ended": len(self.ended)}


def records_of(log: Any, start: int = 0) -> tuple[list[tuple[bool, bytes, bytes]], int]:
    """What a log holds from byte `start` on: whether it ends, the call, its outcome.

    Returns:
        The whole records, and the byte behind the last whole line.  A record that was torn by a
        kill was never acknowledged, and is left out.
    """
    log.seek(start)
    lines = log.read().split(b"\n")
    lines.pop()  # Not written whole yet, or nothing.
    found = []
    for line in lines:
        try:
            data = bytes.fromhex(line[8:].decode())
            good = bool(line) and int(line[:8], 16) == zlib.crc32(data)
        except ValueError:
            good = False
        if good:
            found.append(tuple(unpack(data)))
    return found, start + sum(len(line) + 1 for line in lines)


def _demand_keys(context: Any, link: Any, options: dict[str, Any]) -> None:
    """CURVE with the node's `secret`; `allow` lists the keys that get in, without it all do."""
    link.setsockopt(zmq.CURVE_SERVER, 1)
    link.setsockopt(zmq.CURVE_SECRETKEY, options["secret"].encode())
    link.setsockopt(zmq.ZAP_DOMAIN, b"clients")
    allow = options.get("allow")
    door = context.socket(zmq.REP)
    door.bind("inproc://zeromq.zap.01")

    def judge() -> None:
        while True:
            _, request, _, _, _, _, key = door.recv_multipart()
            good = allow is None or z85.encode(key).decode() in allow
            code = b"200" if good else b"400"
            door.send_multipart([b"1.0", request, code, b"", b"", b""])

    threading.Thread(target=judge, daemon=True).start()


class MeshRefusal:
    """A call that is not accepted."""

    def __init__(self, error: Exception) -> None:
        self.error = error


SILENCE = object()  # No answer, or one already given.
OPERATIONS: dict[str, Any] = {
    "status": lambda node, *_: {"boot": node.boot, "pid": os.getpid()},
    "call.watch": EchoNode.watch,
    "call.get": EchoNode.get,
    "mesh.call": EchoNode.get,
    "call.cancel": EchoNode.cancel,
    "flow.get": lambda node, sender, request, fields: node.flows.get(fields),
    "call.retry": lambda node, sender, request, fields: {"state": "WAITING", "by": fields["by"]},
    "socket.describe": lambda node, sender, request, fields: {"name": fields["name"]},
    "model": lambda node, *_: SILENCE,
    "subscribe": EchoNode.subscribe,
    "unsubscribe": EchoNode.unsubscribe,
    "test.silence": lambda node, *_: SILENCE,
    "test.release": EchoNode.release,
    "test.lag": EchoNode.lag,
    "test.deaf": EchoNode.make_deaf,
    "test.reset": EchoNode.reset,
    "test.forget": EchoNode.forget,
    "test.refuse_frame": EchoNode.refuse_frame,
    "test.garble": EchoNode.garble,
    "test.publish": EchoNode.publish,
    "test.count": EchoNode.count,
    "test.exit": lambda node, *_: os._exit(9),
}


if __name__ == "__main__":
    _, address, log, window, echoes, *more = sys.argv
    options = json.loads(more[0]) if more else {}
    EchoNode(address, log, int(window), echoes == "echoes", options).run()
