"""One client process of the campaign: submits, writes down what it knows, and may be killed.

`python -m tests.campaign.client ADDRESS HISTORY SEED SOCKET [FLOWS]`; of a hundred calls FLOWS are
flows, whose other function is the socket `fold` beside SOCKET.  Before a frame leaves, each of its
calls is in the history.  A kill may cut a write short: then what follows was not sent either, and
the next life begins a new line.  It reads its own history first: what was sent and not acknowledged
is sent again under the same id; what was acknowledged and has no outcome is sent again or watched,
as chance wants.

A file named `stop` beside the history ends the submitting; the process leaves with status 0 when
every call it knows of has an outcome.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

from meshcode.ids import make_id, make_ids, parse_id, text_of
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import Row, envelope
from meshcode.wire.kinds import Flag, Kind, Outcome
from tests.campaign.checker import read_lines
from tests.campaign.flowplan import described, plan_of
from tests.live.rawlink import RawLink, body_of

FLOW = b"@flow"
OPEN_MAX = 2_000  # Calls without an outcome, per client.
BATCH_MAX = 256
WATCH_MAX = 1_000
REFUSED_S = 0.1  # Nothing new is sent for so long after a refusal: the node drains.
QUIET_S = 1.0  # Nothing heard for so long with calls open: ask whether anybody is there.


class Client:
    """What one process knows, and the link it uses."""

    def __init__(
        self, address: str, history: Path, seed: int, socket: str, flows: int = 0
    ) -> None:
        """Read the history of earlier lives."""
        self.flows = flows
        self.sockets = {"turn": socket, "fold": f"{socket.rpartition('.')[0]}.fold"}
        self.results: dict[bytes, bytes] = {}  # Step whose outcome is a flow's: that flow.
        self.rng = Random(f"{seed} {history.name} {os.getpid()}")
        self.socket = socket.encode()
        self.name = history.stem
        self.stop_file = history.parent / "stop"
        self.unacknowledged: dict[bytes, Any] = {}
        self.acknowledged: dict[bytes, Any] = {}
        self.by_frame: dict[int, list[bytes]] = {}
        self._remember(history)
        self.file = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self.file, b"\n")
        self.to_log: deque[dict[str, Any]] = deque()
        self.link = RawLink(address)
        self.heard = time.monotonic()
        self.quiet_until = 0.0

    def _remember(self, history: Path) -> None:
        for line in read_lines(history):
            id = parse_id(line["id"])
            if line["op"] == "submit" and line["type"] == "invoke":
                self.unacknowledged[id] = line["value"]
            elif line["op"] == "submit" and line["type"] == "ok" and id in self.unacknowledged:
                self.acknowledged[id] = self.unacknowledged.pop(id)
            else:  # Refused, or it has its outcome.
                self.unacknowledged.pop(id, None)
                self.acknowledged.pop(id, None)

    # The history.

    def note(self, op: str, kind: str, id: bytes, value: Any = None) -> None:
        """One line, written by the next `write`."""
        self.to_log.append({
            "t": time.time(), "client": self.name, "op": op, "id": text_of(id), "type": kind,
            "value": value,
        })  # fmt: skip

    def write(self) -> None:
        """Write the lines that wait."""
        if self.to_log:
            text = "".join(json.dumps(line) + "\n" for line in self.to_log)
            self.to_log.clear()
            os.write(self.file, text.encode())

    # Talking.

    def submit_new(self) -> None:
        """A batch of fresh calls: into the history, then onto the link."""
        ids = make_ids(self.rng.randint(1, BATCH_MAX))
        values: dict[bytes, Any] = {id: self.rng.randrange(1 << 31) for id in ids}
        for id, value in values.items():
            if self.rng.randrange(100) < self.flows:
                values[id] = described(value, id)
        for id, value in values.items():
            self.note("submit", "invoke", id, value)
        self.write()
        self.unacknowledged |= values
        self._send(values, Flag.FRESH)

    def _send(self, calls: dict[bytes, Any], flags: int) -> None:
        envelopes = []
        for id, value in calls.items():
            if isinstance(value, dict):
                body = pack_call([plan_of(value, self.sockets)], {})
                envelopes.append(envelope(
                    Kind.SUBMIT, id=id, flow=id, name=FLOW, body=body, argc=1, flags=flags
                ))  # fmt: skip
                continue
            envelopes.append(envelope(
                Kind.SUBMIT, id=id, flow=id, name=self.socket, meta=options_of(value),
                body=pack_call([value], {}), argc=1, flags=flags,
            ))  # fmt: skip
        sequence = self.link.send(envelopes)
        self.by_frame[sequence] = list(calls)

    def greet(self) -> None:
        """Open a session again, then ask after everything that has no outcome."""
        self.link.hello()
        self.by_frame.clear()

    def ask_again(self) -> None:
        """After a WELCOME: send what nobody acknowledged; send again or watch the rest."""
        known = list(self.acknowledged)
        again = dict(self.unacknowledged)
        if self.rng.random() < 0.5:
            again |= self.acknowledged
            known = []
        todo = list(again.items())
        for at in range(0, len(todo), BATCH_MAX):
            self._send(dict(todo[at : at + BATCH_MAX]), 0)
        for at in range(0, len(known), WATCH_MAX):
            self._watch(known[at : at + WATCH_MAX])

    def _watch(self, ids: list[bytes]) -> None:
        body = pack({"ids": ids})
        self.link.send([envelope(Kind.ASK, id=make_id(), name=b"call.watch", body=body)])

    def hear(self, seconds: float) -> None:
        """Take what comes."""
        for row, data in self.link.receive(seconds):
            self.heard = time.monotonic()
            self._take(row, data)
        self.write()

    def _take(self, row: Row, data: bytes) -> None:
        if row.kind == Kind.WELCOME:
            if self.link.welcomed(row, data)["boot"] and self.by_frame:
                self.greet()  # It does not know us: it was started anew.
            else:
                self.ask_again()
        elif row.kind == Kind.ACCEPTED:
            for id in self.by_frame.pop(row.number, ()):
                if id in self.unacknowledged:
                    self.acknowledged[id] = self.unacknowledged.pop(id)
                    self.note("submit", "ok", id)
        elif row.kind == Kind.REFUSED:
            if self.unacknowledged.pop(row.id, None) is not None:
                self.note("submit", "fail", row.id, body_of(row, data)["code"])
                self.quiet_until = time.monotonic() + REFUSED_S
        elif row.kind == Kind.OUTCOME and data[row.name_at : row.meta_at] == FLOW:
            result = body_of(row, data)["result"]  # Whose outcome is that of the flow.
            self.results[result] = row.id
            self._watch([result])
        elif row.kind == Kind.OUTCOME:
            self._take_outcome(self.results.pop(row.id, row.id), row, data)
        elif row.kind == Kind.LAGGED:
            self.ask_again()

    def _take_outcome(self, id: bytes, row: Row, data: bytes) -> None:
        if id in self.unacknowledged or id in self.acknowledged:
            kind = "ok" if row.code == Outcome.DONE else "fail"
            self.note("result", kind, id, body_of(row, data))
            self.unacknowledged.pop(id, None)
            self.acknowledged.pop(id, None)

    def run(self) -> None:
        """Work until told to stop, then until nothing is open."""
        self.greet()
        while not (stopping := self.stop_file.exists()) or self.unacknowledged or self.acknowledged:
            opened = len(self.unacknowledged) + len(self.acknowledged)
            quiet = time.monotonic() < self.quiet_until
            if not (stopping or quiet) and self.link.boot and opened < OPEN_MAX:
                self.submit_new()
            self.hear(0.02 if opened < OPEN_MAX else 0.2)
            if time.monotonic() - self.heard > QUIET_S:
                self.heard = time.monotonic()
                self.greet() if not self.link.boot else self._probe()

    def _probe(self) -> None:
        """A node that was started anew answers anything with WELCOME."""
        self.by_frame.setdefault(-1, [])  # Something is under way: that WELCOME is news.
        self.link.send([envelope(Kind.ASK, id=make_id(), name=b"status", body=pack({}))])


def options_of(value: int) -> bytes:
    """Options of a call, decided by its argument so that sending it again says the same."""
    options: dict[str, Any] = {}
    if value % 11 == 0:
        options["delay_ms"] = value % 400
    if value % 7 == 0:
        options["priority"] = value % 10
    if value % 5 == 0:
        options["key"] = f"k{value % 3}"
    return pack(options) if options else b""


def main() -> None:
    """Entry point of the process."""
    address, history, seed, socket, *flows = sys.argv[1:]
    client = Client(address, Path(history), int(seed), socket, int(flows[0]) if flows else 0)
    client.run()


if __name__ == "__main__":
    main()
