"""One client process of a mesh campaign: it calls at a steady rate and writes down what it knows.

    python -m tests.mesh.client CONFIG.json

It speaks the wire itself, so that a fault of the client library cannot hide one of a node.  When
its node falls silent it goes to the next address: what nobody acknowledged is sent again under the
same id, what was acknowledged is asked for by id, again and again, since a node that takes over
may know it only in a while.

A file named `stop` beside the history ends the calling; it holds the names of nodes that were taken
away for good.  The process leaves with status 0 when every call it knows of has an outcome, except
those that such a node acknowledged `local`: nobody can be asked for them.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from meshcode.ids import child_id, make_id, make_ids, parse_id, text_of
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import Row, envelope
from meshcode.wire.kinds import Flag, Kind, Level, Outcome
from tests.campaign.checker import read_lines
from tests.campaign.flowplan import described, plan_of
from tests.live.rawlink import RawLink, body_of
from tests.mesh.composed import last_of
from tests.mesh.notes import Notes
from tests.mesh.reading import value_of

OPEN_MAX = 4_000  # Calls without an outcome; above it nothing new is sent.
BATCH_MAX = 128
WATCH_MAX = 1_000
TICK_S = 0.02
QUIET_S = 1.0  # Nothing heard for so long with calls open: ask whether anybody is there.
SILENT_S = 3.0  # Nothing heard for so long although asked: go to the next node.
WATCH_AGAIN_S = 5.0  # What is acknowledged and has no outcome is asked for this often.
UNACKNOWLEDGED_S = 10.0  # A node that answers and does not acknowledge: ask again, here or there.
REFUSALS_MAX = 100  # Calls refused in a row: this node takes nothing, go to the next.
AGAIN = int(getattr(Flag, "AGAIN", 0))  # On a submit that another node may have taken already.
LEVELS: dict[int, str] = {Level.LOCAL: "local", Level.QUORUM: "quorum", Level.ALL: "all"}


class Client:
    """What one process knows, and the link it uses."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Read the history of earlier lives, if there were any."""
        self.addresses: list[tuple[str, str]] = [(n, a) for n, a in config["addresses"]]
        self.at: int = config["first"]
        self.rate = config["rate"]
        self.ack = config["ack"]
        self.sockets = {"turn": config["socket"], "fold": config.get("fold", "")}
        self.chain: list[str] = config.get("chain", [])  # Sockets; a plug leads to the next.
        self.plugs: list[str] = config.get("plugs", [])
        self.composed = config.get("composed", 0)  # Of a hundred calls: flows, and chains.
        history = Path(config["history"])
        self.rng = Random(f"{config['seed']} {history.name}")
        self.stop_file = history.parent / "stop"
        self.unacknowledged: dict[bytes, Any] = {}
        self.acknowledged: dict[bytes, Any] = {}
        self.local: dict[bytes, str] = {}  # Acknowledged on one disk only: the node of that disk.
        self.sends: Counter[bytes] = Counter()
        self.by_frame: dict[int, tuple[float, list[bytes]]] = {}  # Sequence -> when sent, which.
        self._remember(history)
        self.notes = Notes(history)
        self.refusals = 0
        self.owed = 0.0  # Calls that the rate allows and that are not sent.
        self.watched_at = self.probed_at = self.heard = time.monotonic()
        self.link = RawLink(self.addresses[self.at][1])

    @property
    def node(self) -> str:
        """The name of the node it talks to."""
        return self.addresses[self.at][0]

    def _remember(self, history: Path) -> None:
        for line in read_lines(history):
            id = parse_id(line["id"])
            if line["op"] == "submit" and line["type"] == "invoke":
                self.unacknowledged[id] = line["value"]
                self.sends[id] = 1
            elif line["op"] == "submit" and line["type"] == "ok" and id in self.unacknowledged:
                self.acknowledged[id] = self.unacknowledged.pop(id)
            else:  # Refused, given up, or it has its outcome.
                self.unacknowledged.pop(id, None)
                self.acknowledged.pop(id, None)

    # Talking.

    def greet(self) -> None:
        """Open a session."""
        self.link.hello()
        self.by_frame.clear()

    def next_node(self) -> None:
        """Leave this node for the next address."""
        self.link.close()
        self.at = (self.at + 1) % len(self.addresses)
        self.link = RawLink(self.addresses[self.at][1])
        self.heard = time.monotonic()
        self.refusals = 0
        self.greet()

    def submit_new(self, count: int) -> None:
        """A batch of fresh calls: into the history, then onto the link."""
        values = {id: self._value(id) for id in make_ids(count)}
        for id, value in values.items():
            self.notes.add("submit", "invoke", text_of(id), value, level=self.ack, node=self.node)
        self.notes.write()
        self.unacknowledged |= values
        self._send(values, Flag.FRESH)

    def _value(self, id: bytes) -> Any:
        """The argument of a call, or what it is to cause (`composed.py`)."""
        value, kind = self.rng.randrange(1 << 31), self.rng.randrange(100)
        if kind < self.composed:
            return described(value, id)
        if kind < 2 * self.composed:
            return {"chain": chain_of(id, self.plugs), "first": value}
        return value

    def _send(self, calls: dict[bytes, Any], flags: int) -> None:
        options = pack({"ack": self.ack}) if self.ack else b""
        envelopes = []
        for id, value in calls.items():
            name, argument = self.sockets["turn"], value
            if isinstance(value, dict) and "plan" in value:
                name, argument = "@flow", plan_of(value, self.sockets)
            elif isinstance(value, dict):
                name, argument = self.chain[0], value["first"]
            envelopes.append(envelope(
                Kind.SUBMIT, id=id, flow=id, name=name.encode(), meta=options,
                body=pack_call([argument], {}), argc=1, flags=flags,
            ))  # fmt: skip
        self.by_frame[self.link.send(envelopes)] = (time.monotonic(), list(calls))
        self.sends.update(calls.keys())

    def ask_again(self) -> None:
        """After a WELCOME: send again what nobody acknowledged, ask for the rest."""
        todo = list(self.unacknowledged.items())
        for at in range(0, len(todo), BATCH_MAX):
            self._send(dict(todo[at : at + BATCH_MAX]), AGAIN)
        self.watch()

    def watch(self) -> None:
        """Ask for every acknowledged call that has no outcome."""
        self.watched_at = time.monotonic()
        known = list(self.acknowledged)
        for at in range(0, len(known), WATCH_MAX):
            self.ask("call.watch", ids=known[at : at + WATCH_MAX])

    def ask(self, operation: str, **fields: Any) -> None:
        """A request whose answer only shows that somebody is there."""
        body = pack(fields)
        self.link.send([envelope(Kind.ASK, id=make_id(), name=operation.encode(), body=body)])

    # Hearing.

    def hear(self) -> None:
        """Take what comes."""
        for row, data in self.link.receive(TICK_S):
            self.heard = time.monotonic()
            self._take(row, data)
        self.notes.write()

    def _take(self, row: Row, data: bytes) -> None:
        if row.kind == Kind.WELCOME:
            if self.link.boot:
                self.greet()  # It was started anew and does not know this session.
            else:
                self.link.welcomed(row, data)
                self.ask_again()
        elif row.kind == Kind.ACCEPTED:
            self._accepted(self.by_frame.pop(row.number, (0.0, []))[1], row.code)
        elif row.kind == Kind.REFUSED:
            self._refused(row, data)
        elif row.kind == Kind.OUTCOME:
            self._ended(row, data)
        elif row.kind == Kind.LAGGED:
            self.watch()

    def _accepted(self, ids: list[bytes], code: int) -> None:
        self.refusals = 0
        for id in ids:
            if id in self.unacknowledged:
                self.acknowledged[id] = self.unacknowledged.pop(id)
                level = LEVELS.get(code, str(code))
                if code == Level.LOCAL:
                    self.local[id] = self.node
                self.notes.add("submit", "ok", text_of(id), level=level, node=self.node)

    def _refused(self, row: Row, data: bytes) -> None:
        if self.unacknowledged.pop(row.id, None) is None:
            return
        # Sent more than once, another node may have taken it: then a refusal proves nothing.
        kind = "fail" if self.sends[row.id] == 1 else "info"
        why = body_of(row, data)["code"]
        self.notes.add("submit", kind, text_of(row.id), why, node=self.node)
        self.refusals += 1

    def _ended(self, row: Row, data: bytes) -> None:
        if row.id in self.unacknowledged or row.id in self.acknowledged:
            kind = "ok" if row.code == Outcome.DONE else "fail"
            value = value_of(row, data) if kind == "ok" else body_of(row, data)
            self.notes.add("result", kind, text_of(row.id), value, node=self.node)
            sent = self.unacknowledged.pop(row.id, None) or self.acknowledged.pop(row.id, None)
            local = self.local.pop(row.id, None)
            last = last_of(sent)
            if last is not None and kind == "ok":  # It waits for the end of what that causes.
                self.acknowledged[parse_id(last)] = None
                if local is not None:
                    self.local[parse_id(last)] = local

    def give_up(self, gone: set[str]) -> None:
        """Wait no more for what only a node knew that was taken away."""
        for id in [id for id, node in self.local.items() if node in gone]:
            del self.local[id]
            self.acknowledged.pop(id, None)
            self.notes.add("result", "info", text_of(id))

    # The whole.

    def run(self) -> None:
        """Work until told to stop, then until nothing is open."""
        self.greet()
        last = time.monotonic()
        while not (stopping := self.stop_file.exists()) or self.unacknowledged or self.acknowledged:
            now = time.monotonic()
            self.owed = min(self.owed + (now - last) * self.rate, BATCH_MAX)
            last = now
            opened = len(self.unacknowledged) + len(self.acknowledged)
            if not stopping and self.link.boot and opened < OPEN_MAX and self.owed >= 1:
                self.submit_new(int(self.owed))
                self.owed -= int(self.owed)
            self.hear()
            self._look_around(time.monotonic())
            if stopping and self.local:
                self.give_up(set(json.loads(self.stop_file.read_text())))

    def _look_around(self, now: float) -> None:
        """Ask, ask again, or leave."""
        if now - self.heard > SILENT_S or self.refusals > REFUSALS_MAX:
            self.next_node()
        elif self.link.boot and self.acknowledged and now - self.watched_at > WATCH_AGAIN_S:
            self.watch()
        elif now - self._oldest_sent(now) > UNACKNOWLEDGED_S:
            # It may be cut off from the others.  Elsewhere the same ids meet a node that has not
            # heard of them, while this one still tries: there must be one outcome.
            self.greet() if self.rng.random() < 0.5 else self.next_node()
        elif now - self.heard > QUIET_S and now - self.probed_at > QUIET_S:
            self.probed_at = now
            self.ask("status") if self.link.boot else self.greet()

    def _oldest_sent(self, now: float) -> float:
        """When the frame was sent that waits longest for its acknowledgement."""
        return next((sent for sent, _ in self.by_frame.values()), now)


def chain_of(id: bytes, plugs: list[str]) -> list[str]:
    """The calls that come one after the other along a chain of plugs."""
    found = []
    for plug in plugs:
        id = child_id(id, b"plug:" + plug.encode())
        found.append(text_of(id))
    return found


def main() -> None:
    """Entry point of the process."""
    Client(json.loads(Path(sys.argv[1]).read_text())).run()


if __name__ == "__main__":
    main()
