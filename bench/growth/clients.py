"""All calls a second of 1, 10 and 100 clients of one node.

    python -m bench.growth.clients [--clients 1,10,100] [--seconds 2] [--rounds 5] [--processes 4]

A client is a connection with a session and an I/O thread of its own; they are spread over a few
processes, since a hundred would be a measurement of the system's scheduler.  All begin at the same
moment.  The rate is that of calls that ended in the node in the middle of a turn: what clients
count themselves ends at a whole chunk of a `map`, which of a hundred clients is much of all.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from contextlib import ExitStack
from functools import partial
from itertools import repeat
from multiprocessing.connection import Connection
from typing import Any

from bench import machine
from bench.growth.figures import amount, figure, ratios, short, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import node_bytes
from bench.world import SOCKET, nop_node
from meshcode.client import Socket, connect
from tests.live.harness import Mesh

SPAWN = multiprocessing.get_context("spawn")
READY_S = 120.0
AHEAD_S = 0.2  # From the word to begin until all begin.
EDGE_S = 1.0  # Of a turn, before what is measured and after it: a `map` begins with few in flight.


def share(total: int, parts: int) -> list[int]:
    """A total in equal parts, the first ones one larger; parts of nothing left out."""
    each, more = divmod(total, parts)
    return [each + (number < more) for number in range(parts) if each + (number < more)]


def one_client(socket: Socket, begin_s: float, end_s: float, counts: list[int], at: int) -> None:
    """Calls of one client between two moments of the monotonic clock."""
    threading.Event().wait(max(0.0, begin_s - time.monotonic()))
    calls = 0
    for _ in socket.map(repeat(None)):
        if time.monotonic() >= end_s:
            break
        calls += 1
    counts[at] = calls


def clients_of(pipe: Connection, address: str) -> None:
    """The process: connects as many as it is told, calls when told, tells how many calls ended."""
    while (wanted := pipe.recv()) is not None:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(address, timeout=30.0)) for _ in range(wanted)]
            sockets = [client.socket(SOCKET) for client in clients]
            assert all(socket(at) == at for at, socket in enumerate(sockets))
            pipe.send("ready")
            begin_s, end_s = pipe.recv()
            counts = [0] * wanted
            threads = [
                threading.Thread(target=one_client, args=(socket, begin_s, end_s, counts, at))
                for at, socket in enumerate(sockets)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        pipe.send(counts)


class Crowd:
    """Some processes with clients in them."""

    def __init__(self, address: str, processes: int) -> None:
        """Start them; they connect later."""
        self._pipes: list[Connection] = []
        self._children: list[Any] = []
        for _ in range(processes):
            ours, theirs = SPAWN.Pipe()
            child = SPAWN.Process(target=clients_of, args=(theirs, address), daemon=True)
            child.start()
            self._pipes.append(ours)
            self._children.append(child)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for child in self._children:
            child.join(30)

    def rate(self, clients: int, seconds: float, mesh: Mesh, seen: dict[int, Any]) -> float:
        """Calls a second of so many clients together."""
        parts = share(clients, len(self._pipes))
        pipes = self._pipes[: len(parts)]
        for pipe, part in zip(pipes, parts, strict=True):
            pipe.send(part)
        for pipe in pipes:
            assert pipe.poll(READY_S), f"clients did not connect within {READY_S:.0f} s"
            assert pipe.recv() == "ready"
        begin_s = time.monotonic() + AHEAD_S
        end_s = begin_s + EDGE_S + seconds + EDGE_S
        for pipe in pipes:
            pipe.send((begin_s, end_s))
        first = ended(mesh, begin_s + EDGE_S)
        last = ended(mesh, begin_s + EDGE_S + seconds)
        late_s = last[0] - end_s
        assert late_s < 0, f"the clients had ended {late_s:.1f} s before the node was asked"
        counts: list[int] = []
        for pipe in pipes:
            assert pipe.poll(READY_S + seconds), "clients did not end"
            counts += pipe.recv()
        seen[clients] = (min(counts), max(counts), node_bytes(mesh), len(parts))
        return (last[1] - first[1]) / (last[0] - first[0])


def ended(mesh: Mesh, at_s: float) -> tuple[float, int]:
    """How many calls have ended in the node soon after a moment, and when that was asked."""
    threading.Event().wait(max(0.0, at_s - time.monotonic()))
    asked_s = time.monotonic()
    done = mesh.ask("status")["done"]
    return (asked_s + time.monotonic()) / 2, done


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--clients", type=whole_numbers, default=[1, 10, 100])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=4)
    args = parser.parse_args(arguments)
    report = Report("clients", args.out)
    seen: dict[int, Any] = {}
    with nop_node() as mesh, Crowd(mesh.address, args.processes) as crowd:
        found = in_turns(
            {c: partial(crowd.rate, c, args.seconds, mesh, seen) for c in args.clients}, args.rounds
        )
        assert mesh.process is not None
        cpu = machine.cpu_s(mesh.process.pid)
    series = {"": {amount(count): values for count, values in found.items()}}
    report.show(Bars("no-op calls of so many clients together", "calls/s", series))
    for count, parts in ratios(found, args.clients[0]).items():
        least, most, own, processes = seen[count]
        report.say(
            f"clients    {count:,} in {processes} processes: {told(figure(parts))} of the rate of "
            f"{args.clients[0]:,}; of the last round the slowest had taken {least:,} results and "
            f"the quickest {most:,}; node {short(own / 2**20)} MiB of its own"
        )
    report.say(f"cpu        {cpu:.0f} s of the node in all")
    report.save()


if __name__ == "__main__":
    main()
