"""Calls a second spread over 10, 1,000 and 10,000 sockets, and what these take of memory.

    python -m bench.growth.sockets [--sockets 10,1k,10k] [--seconds 1] [--rounds 5]

One node for each number.  All sockets are of one task and one worker, so that only their number
differs; call n goes to socket n, round and round, by `submit`.  The first call of each socket is a
measurement of its own: until one has ended the node does not know how long they take.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from bench import machine
from bench.growth.figures import amount, figure, ratios, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import Meter, node_bytes, offer_nop, own_bytes
from bench.world import MODULE
from meshcode.client import Client, Socket, connect
from tests.live.harness import Mesh

if TYPE_CHECKING:
    from collections.abc import Iterator

FLIGHT = 4_000  # Calls in flight, as many as a `map` has.
STEPS = 1_000  # Sockets declared together.


def declare(client: Client, count: int) -> float:
    """Declare sockets of the no-op task, so that there are `count`; returns the seconds."""
    begin = time.perf_counter()
    fields = {"processor": "nop", "task": "nop", "queue": "q"}
    names = [f"{MODULE}.nop{number}" for number in range(1, count)]
    for at in range(0, len(names), STEPS):
        steps = [["add", "socket", name, fields] for name in names[at : at + STEPS]]
        base = client.ask("model", do="snapshot", timeout=120.0)["number"]
        client.ask("model", do="apply", fields={"base": base, "steps": steps}, timeout=120.0)
    took = time.perf_counter() - begin
    assert client.socket([f"{MODULE}.nop", *names][-1])(1) == 1
    return took


@contextmanager
def sockets_node(report: Report, count: int) -> Iterator[tuple[Mesh, Client]]:
    """A node with so many sockets, and a client."""
    with Mesh() as mesh:
        offer_nop(mesh)
        with connect(mesh.address) as client:
            before = node_bytes(mesh)
            took = declare(client, count)
            worker = own_bytes(mesh.worker_pids()[0])
            own = node_bytes(mesh)
            report.say(
                f"declared   {count:,} sockets in {took:.1f} s; node {own / 2**20:.1f} MiB of its "
                f"own, {(own - before) / count:,.0f} bytes per socket; worker "
                f"{worker / 2**20:.1f} MiB"
            )
            yield mesh, client


def spread_rate(sockets: list[Socket], seconds: float) -> float:
    """Calls a second with their results, one socket after another."""
    begin, calls = time.perf_counter(), 0
    flight: deque[tuple[int, object]] = deque()
    for socket in cycle(sockets):
        if time.perf_counter() - begin >= seconds:
            break
        flight.append((calls, socket.submit(calls)))
        calls += 1
        if len(flight) >= FLIGHT:
            _take(flight)
    while flight:
        _take(flight)
    return calls / (time.perf_counter() - begin)


def _take(flight: deque[tuple[int, object]]) -> None:
    number, call = flight.popleft()
    assert call.result(60) == number  # type: ignore[attr-defined]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--sockets", type=whole_numbers, default=[10, 1_000, 10_000])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    report = Report("sockets", args.out)
    with ExitStack() as stack:
        nodes = {c: stack.enter_context(sockets_node(report, c)) for c in args.sockets}
        sockets = {
            count: [client.socket(f"{MODULE}.nop{number or ''}") for number in range(count)]
            for count, (_, client) in nodes.items()
        }
        first: dict[str, list[float]] = {}
        for count, many in sockets.items():
            begin = time.perf_counter()
            for number, call in enumerate([socket.submit(at) for at, socket in enumerate(many)]):
                assert call.result(600) == number
            first[amount(count)] = [count / (time.perf_counter() - begin)]
        meters = {count: Meter(mesh) for count, (mesh, _) in nodes.items()}
        turns = {
            count: partial(meters[count].turn, partial(spread_rate, many, args.seconds))
            for count, many in sockets.items()
        }
        found = in_turns(turns, args.rounds)
        memory: dict[str, dict[str, list[float]]] = {"node": {}, "worker": {}, "model process": {}}
        for count, (mesh, _) in nodes.items():
            memory["node"][amount(count)] = [node_bytes(mesh) / 2**20]
            memory["worker"][amount(count)] = [own_bytes(mesh.worker_pids()[0]) / 2**20]
            memory["model process"][amount(count)] = [
                machine.resident_mib(child.pid, "RssAnon")
                for child in mesh.children()
                if "meshcode.model.server" in " ".join(child.cmdline())
            ]
    series = {"": {amount(count): values for count, values in found.items()}}
    report.show(Bars("no-op calls spread over so many sockets", "calls/s", series))
    cpu = {amount(count): meter.last(args.rounds) for count, meter in meters.items()}
    report.show(Bars("CPU of the node for each of these calls", "us", {"": cpu}))
    report.show(Bars("the first call of each socket", "calls/s", {"": first}))
    report.show(Bars("memory of its own at the end, by sockets", "MiB", memory))
    base = args.sockets[0]
    for count, parts in ratios(found, base).items():
        if count != base:
            report.say(
                f"sockets    {told(figure(parts))} of the rate of {base:,}, with {count:,}"
            )
    report.save()


if __name__ == "__main__":
    main()
