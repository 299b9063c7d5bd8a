"""One call's whole way in one process and one thread: client, node, log, worker and back, no links.

    python -m bench.inproc [--kind plain|pipeline|funnel] [--rounds 60] [--runs 5]

Everything is the product's own code but for the links: frames go from hand to hand.  What is left
is the CPU that a call costs, by part, without waiting and without other threads, so two commits
can be compared even on a busy machine: take the least of several runs.  `bench.gate` counts the
instructions of the same.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count, repeat
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from bench import machine
from meshcode.client.call import Call
from meshcode.client.freshids import FreshIds
from meshcode.client.pending import Pending
from meshcode.client.session import ENDED
from meshcode.client.session import Session as ClientSession
from meshcode.client.socket import Socket
from meshcode.node import intake
from meshcode.node.crew import Crew, WorkerProcess
from meshcode.node.frames import Frames
from meshcode.node.keeping import Keeping
from meshcode.node.release import Release
from meshcode.node.sessions import NEW_CALL, Arrived, Session, Sessions
from meshcode.node.turn import Turns
from meshcode.router import events, feeding
from meshcode.router.core import Router
from meshcode.router.plan import FLOW
from meshcode.store.journaled import open_log
from meshcode.wire.codec import pack_call
from meshcode.wire.frame import frame, pick, seal_frame
from meshcode.wire.kinds import Kind
from meshcode.worker import loop as worker_loop
from meshcode.worker.control import ControlPage
from meshcode.worker.loop import Worker
from meshcode.worker.outbox import Outbox

_OUTCOME = int(Kind.OUTCOME)
NOW_MS = 1_700_000_000_000
SOCKET = "bench.nop"
TOGETHER = {"plain": 256, "pipeline": 200, "funnel": 1}  # In flight at once, and then no more.
STEPS = 10  # Of a pipeline.
WIDE = 255  # Calls side by side in a funnel, before the one that gets their values.
SNAPSHOT: dict[str, Any] = {
    "number": 1, "queues": {"q": {}}, "processors": {"p": {}},
    "sockets": {SOCKET: {"processor": "p", "task": "nop", "queue": "q"}},
}  # fmt: skip


def kinds() -> dict[str, tuple[str, Any, int]]:
    """By kind: the socket that is called, its argument, and how many calls one comes to."""
    none, nothing = pack_call([None]), feeding.list_head(0)
    chain: list[list[Any]] = [[SOCKET, 1, none, None, None]]
    chain += [[SOCKET, 0, nothing, number, None] for number in range(STEPS - 1)]
    beside = [[SOCKET, 1, none, None, None]] * WIDE
    last = [SOCKET, 0, nothing, [{"from": 0, "count": WIDE}], None]
    return {
        "plain": (SOCKET, None, 1),
        "pipeline": (FLOW, {"steps": chain, "result": STEPS - 1}, STEPS + 1),
        "funnel": (FLOW, {"steps": [*beside, last], "result": WIDE}, WIDE + 2),
    }


class Line:
    """A client, a node and a worker that hand each other frames."""

    def __init__(self, folder: Path) -> None:
        """Everything is up, and the worker is ready."""
        self.spent: dict[str, float] = {}  # CPU seconds by part.
        self.to_client: list[bytes] = []
        self.to_worker: list[bytes] = []
        self.to_node: list[bytes] = []
        self.client = object.__new__(ClientSession)  # Only what receiving needs.
        self.client.pending = Pending()
        begun = SimpleNamespace(ids=(), take=lambda *_: None)  # A flow's own call has begun.
        self.client._begun = cast("Any", begun)
        self.owner = cast("Any", SimpleNamespace(fresh_id=FreshIds()))
        self.worker = Worker(
            ControlPage.create(str(folder / "page")), Outbox(self.to_node.append), list,
            lambda sockets: dict.fromkeys(sockets, lambda *_: None),
        )  # fmt: skip
        self.worker.setup({SOCKET: "nop"})
        # The node stages by how long calls take: 2 us each, however slow this moment is.
        worker_loop.monotonic_ns = count(0, 2_000).__next__
        self._make_node(folder)

    def _make_node(self, folder: Path) -> None:
        self.log = open_log(folder / "data")
        self.router = Router(bytes(range(16)), 1, Random(1))
        self.router.step(events.ModelChanged(SNAPSHOT), NOW_MS)
        self.router.step(events.WorkerJoined(1, "p", 1), NOW_MS)
        self.process = WorkerProcess(1, "p", "key", None)
        crew = object.__new__(Crew)  # Without its link.
        crew.by_id, crew.boot = {1: self.process}, 1
        crew._send = self._to_worker  # type: ignore[method-assign]
        sessions = object.__new__(Sessions)
        sessions.boot, sessions.backlog = 1, set()
        port: Any = SimpleNamespace(send=lambda _, data: self.to_client.append(data))
        self.session = Session(1, b"client", port)
        sessions.by_id = {1: self.session}
        self.loop = cast("Any", SimpleNamespace(
            crew=crew, sessions=sessions, mesh=None, listeners=None, ended=self._ended,
            router=self.router,
            hosted=SimpleNamespace(is_mine=lambda _: False),
            clock=SimpleNamespace(now_ms=lambda: NOW_MS),
            feed=SimpleNamespace(wants=lambda _: False), commits=SimpleNamespace(full_ms=0),
            history=SimpleNamespace(flows=SimpleNamespace(wanted=False)), keeps_no_calls=False,
        ))  # fmt: skip
        self.loop.frames = Frames(self.loop)
        release = Release(self.loop)
        self.turns = self.loop.turns = Turns(self.router, release, release.begin)
        self.loop.step = lambda event: self.turns.step(event, NOW_MS)
        self.crew, self.keeping = crew, object.__new__(Keeping)
        self.keeping._loop, self.keeping.ran = self.loop, [0, 0]

    def _ended(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        kept = dict(zip(ids, self.log.get_many("done", ids), strict=True)) if ids else {}
        return self.turns.ended(ids, kept.get)

    def _to_worker(self, _worker: WorkerProcess, parts: list[bytes]) -> None:
        self.to_worker.append(frame(parts, sender_boot=1))

    def part(self, name: str, action: Callable[..., Any], *given: Any) -> Any:
        """Do something that counts for a part."""
        begin = time.process_time()
        found = action(*given)
        self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - begin
        return found

    def run(self, socket: Socket, argument: Any, many: int) -> None:
        """So many calls from the client and back."""
        calls, data = self.part("client", self._submit, socket, argument, many)
        self.part("node", self._take_calls, data)
        while self.to_worker or self.turns.unsynced:
            self.part("worker", self._work)
            self.part("node", self._take_outcomes)
            self.part("log", self._write)
            self.part("node", self.turns.synced)
        assert not self.router.calls, "every call has ended"
        got = self.part("client", self._take_results, [] if socket.name == FLOW else calls)
        assert got == many, (got, many)

    def _submit(self, socket: Socket, argument: Any, many: int) -> tuple[list[Call], bytes]:
        calls, drafts, *_, error = socket._prepare_many(self.owner, repeat((argument,)), many)
        assert error is None, error
        self.client.pending.follow(calls)
        return calls, seal_frame(drafts, sequence=1)

    def _take_calls(self, data: bytes) -> None:
        intake.take(self.loop, Arrived(self.session, *pick(data, NEW_CALL)))
        while self.loop.frames.count:
            intake.go_on(self.loop)
        self.turns.close()

    def _work(self) -> None:
        frames, self.to_worker[:] = list(self.to_worker), ()
        for one in frames:
            self.worker.take(one)
        self.worker.run_staged()
        self.worker.outbox.flush()

    def _take_outcomes(self) -> None:
        found: list[events.Event] = []
        for data in self.to_node:
            self.crew._take(self.process, data, NOW_MS, found, [])
        self.to_node.clear()
        for event in found:
            self.keeping.before(event)
            self.loop.step(event)
        self.turns.close()

    def _write(self) -> None:
        ops = self.turns.begin_sync()
        if ops:
            self.log.stage(ops)
            self.log.sync()

    def _take_results(self, calls: list[Call]) -> int:
        got = 0
        for data in self.to_client:
            rows = [row for row in pick(data, ENDED)[1] if row[0] == _OUTCOME]
            self.client._take(data, rows)
            got += len(rows)
        self.to_client.clear()
        for call in calls:
            assert call._outcome() is None
        return got

    def close(self) -> None:
        """Give up the log and the page."""
        self.log.close()
        self.worker.page.close()


def measure(kind: str, rounds: int, runs: int) -> list[dict[str, float]]:
    """CPU microseconds per call by part, of each run of so many rounds."""
    name, argument, each = kinds()[kind]
    socket = Socket(name)
    many = TOGETHER[kind]
    with tempfile.TemporaryDirectory(prefix="inproc-") as folder:
        line = Line(Path(folder))
        line.run(socket, argument, many)
        gc.collect()
        gc.freeze()
        found = []
        for _ in range(runs):
            line.spent = {}
            for _ in range(rounds):
                line.run(socket, argument, many)
            found.append({
                name: spent / (rounds * many * each) * 1e6 for name, spent in line.spent.items()
            })  # fmt: skip
        line.close()
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    names = list(kinds())
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=names, help="default: all")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quiet", action="store_true", help="run and print nothing")
    args = parser.parse_args(arguments)
    if not args.quiet:
        print(machine.describe())
    for kind in [args.kind] if args.kind else names:
        found = measure(kind, args.rounds, args.runs)
        if args.quiet:
            continue
        least = {name: min(one[name] for one in found) for name in found[0]}
        parts = ", ".join(f"{name} {used:.1f}" for name, used in least.items())
        print(f"{kind:10} {sum(least.values()):.1f} us CPU per call, least of each part: {parts}")


if __name__ == "__main__":
    main()
