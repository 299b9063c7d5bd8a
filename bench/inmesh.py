"""A call's way through three nodes that keep it, in one process and one thread, without links.

    python -m bench.inmesh [--rounds 30] [--runs 5] [--together 256]

Core, turns, words between nodes and log are the product's own; clients and workers are hands.
What is left is the CPU that agreement costs a node, in all and by part, so two commits can be
compared on a busy machine: take the least of several runs.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from bench import machine
from meshcode.client.freshids import FreshIds
from meshcode.node import peerwords
from meshcode.node.daemon import GC_OBJECTS
from meshcode.node.turn import Turns
from meshcode.replica.peers import ALIVE
from meshcode.router import events, heard
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.records import accepted_call, sequence_key
from meshcode.store.journaled import open_log
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope, frame, index
from meshcode.wire.kinds import Kind, Outcome

NOW_MS = 1_700_000_000_000
SOCKET = "bench.nop"
SNAPSHOT: dict[str, Any] = {
    "number": 1, "queues": {"q": {}}, "processors": {"p": {}},
    "sockets": {SOCKET: {"processor": "p", "task": "nop", "queue": "q"}},
}  # fmt: skip
TOGETHER = 256  # Calls at once, and then no more until all is said of them.
NODES = [bytes([number] * 16) for number in (1, 2, 3)]


class Node:
    """Core, turns and log of one node; what it says to others waits in `frames`."""

    def __init__(self, folder: Path, number: int) -> None:
        """Nothing is known of others yet."""
        self.node = NODES[number]
        self.log = open_log(folder / str(number))
        self.router = Router(self.node, 1, Random(number))
        self.turns = Turns(self.router, self._release)
        self.frames: list[tuple[bytes, bytes]] = []
        self.staged: list[tuple[bytes, int]] = []  # Calls that its worker has.
        self.outcomes = 0
        self.accepted = 0
        self.now_ms = NOW_MS
        self.records = 0
        self.step(events.ModelChanged(SNAPSHOT))

    def step(self, event: events.Event) -> None:
        """One event."""
        self.turns.step(event, self.now_ms)

    def _release(self, effects: Effects) -> None:
        for _, assignments in effects.starts:
            self.staged += [(one[0], one[1]) for one in assignments]
        self.outcomes += len(effects.outcomes)
        self.accepted += len(effects.accepted)
        for node, envelopes in peerwords.to_envelopes(effects.peer, {}).items():
            self.frames.append((node, frame(envelopes, sequence=1, sender_boot=1)))
        if effects.reads:
            ids = [id for _, id in effects.reads]
            kept = dict(zip(ids, self.log.get_many("done", ids), strict=True))
            ended = self.turns.ended(ids, kept.get)
            keys = [sequence_key(sequence) for sequence, _ in effects.reads]
            found = []
            values = self.log.get_many("open", keys)
            for (sequence, id), value in zip(effects.reads, values, strict=True):
                accepted_ms, submit = (0, b"") if value is None else accepted_call(value)
                found.append((sequence, accepted_ms, submit, ended.get(id, b"")))
            self.step(events.Read(found))

    def work(self) -> list[events.Report]:
        """What its worker has done."""
        reports: list[events.Report] = []
        for id, attempt in self.staged:
            data = envelope(Kind.OUTCOME, id=id, code=Outcome.DONE, attempt=attempt, body=NONE)
            reports.append((id, attempt, int(Outcome.DONE), False, 2, NOW_MS, data))
        self.staged.clear()
        return reports

    def hear(self, node: bytes, data: bytes) -> None:
        """A frame of a peer."""
        for row in index(data)[1]:
            found = peerwords.entries_of(data[row.body_at : row.end])
            entries = heard.good_of(row.kind, found)
            assert entries is found, row.kind
            self.step(events.PeerSaid(node, row.kind, entries))


NONE = pack(None)


class Mesh:
    """Three nodes; calls are submitted to the first, which alone has a worker."""

    def __init__(self, folder: Path) -> None:
        """All nodes know of each other."""
        self.spent: dict[str, float] = {}
        self.ids = FreshIds()
        self.nodes = [Node(folder, number) for number in range(3)]
        self.by_id = {node.node: node for node in self.nodes}
        for node in self.nodes:
            for other in NODES:
                if other != node.node:
                    node.step(events.PeerChanged(other, ALIVE, 1))
            node.now_ms += 60_000
        self.nodes[0].step(events.WorkerJoined(1, "p", 1))
        self._settle()

    def part(self, name: str, action: Callable[..., Any], *given: Any) -> Any:
        """Do something that counts for a part."""
        begin = time.process_time()
        found = action(*given)
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - begin
        return found

    def run(self, many: int) -> None:
        """So many calls, to the last word about them."""
        home = self.nodes[0]
        body = pack_call([None])
        calls: list[events.NewCall] = []
        for _ in range(many):
            id = self.ids()
            data = envelope(Kind.SUBMIT, id=id, name=SOCKET.encode(), body=body, argc=1)
            calls.append((id, bytes(16), bytes(16), SOCKET, 1, None, data))
        before = home.outcomes
        self.part("home", home.step, events.Submitted(1, 1, calls))
        self._settle()
        assert home.outcomes - before == many, (home.outcomes - before, many)
        for node in self.nodes:
            assert not node.router.calls, len(node.router.calls)

    def _settle(self) -> None:
        """Until nobody has anything to say or to write."""
        busy = True
        while busy:
            busy = False
            for number, node in enumerate(self.nodes):
                name = "home" if number == 0 else "voters"
                if node.staged:
                    self.part(name, node.step, events.Finished(1, node.work()))
                node.turns.close()
                ops = self.part(name, node.turns.begin_sync)
                if ops:
                    node.records += len(ops)
                    self.part("log", node.log.stage, ops)
                    self.part("log", node.log.sync)
                    self.part(name, node.turns.synced)
                said, node.frames = node.frames, []
                left = node.turns.unsynced or node.turns.is_open or node.staged
                busy = busy or bool(ops or said or left)
                for to, data in said:
                    other = self.by_id[to]
                    self.part("home" if other is self.nodes[0] else "voters", other.hear,
                              node.node, data)  # fmt: skip

    def close(self) -> None:
        """Give up the logs."""
        for node in self.nodes:
            node.log.close()


def measure(rounds: int, runs: int, many: int) -> list[dict[str, float]]:
    """CPU microseconds per call by part, of each run of so many rounds."""
    with tempfile.TemporaryDirectory(prefix="inmesh-") as folder:
        mesh = Mesh(Path(folder))
        mesh.run(many)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_OBJECTS)
        found = []
        for _ in range(runs):
            mesh.spent = {}
            for _ in range(rounds):
                mesh.run(many)
            found.append({
                name: spent / (rounds * many) * 1e6 for name, spent in mesh.spent.items()
            })  # fmt: skip
        assert not any(node.router.replica.by_key for node in mesh.nodes), "all is forgotten"
        mesh.close()
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--together", type=int, default=TOGETHER)
    parser.add_argument("--quiet", action="store_true", help="run and print nothing")
    args = parser.parse_args(arguments)
    if not args.quiet:
        print(machine.describe())
    found = measure(args.rounds, args.runs, args.together)
    if args.quiet:
        return
    least = {name: min(one[name] for one in found) for name in found[0]}
    parts = ", ".join(f"{name} {used:.1f}" for name, used in least.items())
    print(f"{sum(least.values()):.1f} us CPU per call, least of each part: {parts}")


if __name__ == "__main__":
    main()
