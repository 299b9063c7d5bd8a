"""The bare pump: the same links, the same log, the same bytes, and no features.

client DEALER -> ROUTER [log: put, sync] ROUTER -> DEALER worker -> ROUTER [log: put, delete, sync]
ROUTER -> DEALER client.  It cannot refuse, retry, limit, cancel, recover or say where a call is:
it is what the transport and the disk allow on this machine, so the mesh is measured against it.

For one call after another it does what the mesh does for them: the call goes on to its worker at
once, and goes to disk with its outcome, in one sync.

    python -m bench.pump [--seconds 3] [--runs 3]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zmq

from bench import machine
from meshcode import limits
from meshcode.ids import make_ids
from meshcode.node.committer import Committer
from meshcode.store.contract import DONE, OPEN
from meshcode.store.journaled import open_log
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import draft, index, seal_frame
from meshcode.wire.kinds import Flag, Kind, Outcome

BATCH = 512
SINGLES, WARM_SINGLES = 400, 50
ANSWER_MS = 30_000  # A pump that says nothing for so long has died.
SOCKET = b"bench.nop"


def link_of(context: zmq.Context[Any], kind: int) -> zmq.Socket[Any]:
    """A link without lingering, with room for the window."""
    link = context.socket(kind)
    link.setsockopt(zmq.LINGER, 0)
    link.setsockopt(zmq.SNDHWM, 4_096)
    link.setsockopt(zmq.RCVHWM, 4_096)
    return link


class Node:
    """The middle: two links and the log, with syncs pipelined as the real node has them."""

    def __init__(self, folder: Path, alone: bool) -> None:
        """Bind both links and open the log; `alone`: calls come one after another."""
        self.alone = alone
        context: zmq.Context[Any] = zmq.Context()
        self.clients = link_of(context, zmq.ROUTER)
        self.workers = link_of(context, zmq.ROUTER)
        self.clients.bind(f"ipc://{folder}/clients.ipc")
        self.workers.bind(f"ipc://{folder}/workers.ipc")
        self.committer = Committer(open_log(str(folder / "data")))
        self.worker = b""
        self.client = b""
        self.sequence = 0
        self.sequences: dict[bytes, int] = {}
        self.ops: list[Any] = []
        self.out: list[tuple[zmq.Socket[Any], list[bytes]]] = []
        self.flying: list[tuple[zmq.Socket[Any], list[bytes]]] = []

    def run(self) -> None:
        """Pump until killed."""
        self.worker = self.workers.recv_multipart()[0]
        poller = zmq.Poller()
        for what in (self.clients, self.workers, self.committer.fileno()):
            poller.register(what, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self.committer.fileno() in ready:
                error = self.committer.finish()
                assert error is None, error
                self.pass_on()
            if self.clients in ready:
                self.take(self.clients)
            if self.workers in ready:
                self.take(self.workers)
            waits = self.alone and self.sequences  # For an outcome that goes to disk with it.
            if self.ops and not waits and not self.committer.busy:
                self.flying, self.out = self.out, []
                ops, self.ops = self.ops, []
                if self.committer.start(ops):
                    self.pass_on()

    def pass_on(self) -> None:
        """Send what waited for the disk."""
        for link, parts in self.flying:
            link.send_multipart(parts)
        self.flying = []

    def take(self, link: zmq.Socket[Any]) -> None:
        """Up to a turn's share of frames: records to write, frames to pass on after the sync."""
        for _ in range(limits.TURN_EVENTS_MAX):
            try:
                sender, data = link.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            _, rows = index(data)
            if link is self.clients:
                self.client = sender
                for row in rows:
                    self.sequence += 1
                    self.sequences[row.id] = self.sequence
                    key = self.sequence.to_bytes(8, "big")
                    self.ops.append((OPEN, key, data[row.start : row.end]))
                if self.alone:
                    self.workers.send_multipart([self.worker, data])
                else:
                    self.out.append((self.workers, [self.worker, data]))
            else:
                for row in rows:
                    key = self.sequences.pop(row.id).to_bytes(8, "big")
                    self.ops.append((OPEN, key, None))
                    self.ops.append((DONE, row.id, data[row.start : row.end]))
                self.out.append((self.clients, [self.client, data]))


def work(folder: Path) -> None:
    """The worker: one OUTCOME for each SUBMIT, frame by frame."""
    link = link_of(zmq.Context(), zmq.DEALER)
    link.connect(f"ipc://{folder}/workers.ipc")
    link.send(b"ready")
    value = pack(None)
    while True:
        _, rows = index(link.recv())
        link.send(seal_frame([
            draft(Kind.OUTCOME, id=row.id, code=Outcome.DONE, body=value) for row in rows
        ]))  # fmt: skip


def rate(folder: Path, seconds: float) -> tuple[float, int]:
    """The client: calls a second with their results back, and how many."""
    link = link_of(zmq.Context(), zmq.DEALER)
    link.connect(f"ipc://{folder}/clients.ipc")
    calls, opened = 0, 0
    begin = time.perf_counter()
    while True:
        elapsed = time.perf_counter() - begin
        while opened + BATCH <= limits.WINDOW_CALLS and elapsed < seconds:
            link.send(_calls(BATCH))
            opened += BATCH
        if not opened:
            return calls / (time.perf_counter() - begin), calls
        count = _answer(link)
        calls += count
        opened -= count


def _calls(count: int) -> bytes:
    """A frame of so many calls."""
    body = pack_call([], {})
    return seal_frame([
        draft(Kind.SUBMIT, id=id, flow=id, name=SOCKET, body=body, argc=0, flags=Flag.FRESH)
        for id in make_ids(count)
    ])  # fmt: skip


def _answer(link: zmq.Socket[Any]) -> int:
    """How many outcomes came."""
    if not link.poll(ANSWER_MS):
        raise SystemExit(f"the pump has not answered for {ANSWER_MS / 1e3:g} s: see above")
    head, _ = index(link.recv())
    return head.count


def singles_ms(count: int) -> list[float]:
    """Milliseconds of calls made one after another."""
    with _pumping("alone") as (folder, _):
        link = link_of(zmq.Context(), zmq.DEALER)
        link.connect(f"ipc://{folder}/clients.ipc")
        times = []
        for _number in range(WARM_SINGLES + count):
            begin = time.perf_counter()
            link.send(_calls(1))
            assert _answer(link) == 1
            times.append((time.perf_counter() - begin) * 1e3)
        return times[WARM_SINGLES:]


@contextlib.contextmanager
def _pumping(*how: str) -> Iterator[tuple[Path, list[int]]]:
    """A pump in a folder of its own; its process ids."""
    with tempfile.TemporaryDirectory(prefix="pump-") as name:
        folder = Path(name)
        children = [
            subprocess.Popen([
                *(sys.executable, "-m", "bench.pump", "--role", role, "--folder", name),
                *(f"--{word}" for word in how),
            ])
            for role in ("node", "worker")
        ]  # fmt: skip
        try:
            yield folder, [child.pid for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait()


def one_run(seconds: float) -> tuple[float, float]:
    """Calls a second, and CPU microseconds per call over all three processes."""
    with _pumping() as (folder, children):
        rate(folder, 0.3)  # Warm: both sides are up and the log has its first pages.
        pids = [os.getpid(), *children]
        before = sum(map(machine.cpu_s, pids))
        per_second, calls = rate(folder, seconds)
        used = sum(map(machine.cpu_s, pids)) - before
    return per_second, used / calls * 1e6


def main(arguments: list[str] | None = None) -> float:
    """Command line; returns the median rate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--role", choices=["node", "worker"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.role == "node":
        Node(args.folder, args.alone).run()
    elif args.role == "worker":
        work(args.folder)
    print(machine.describe())
    results = [one_run(args.seconds) for _ in range(args.runs)]
    rates = [found[0] for found in results]
    print(f"pump       {machine.spread(rates)} durable round trips/s")
    print(f"pump cpu   {machine.spread([r[1] for r in results], '{:.1f}')} us per call, all three")
    alone = singles_ms(SINGLES)
    print(f"pump alone p50 {machine.percentile(alone, 0.5):.2f} ms, one call after another")
    return sorted(rates)[len(rates) // 2]


if __name__ == "__main__":
    main()
