"""Throughput of no-op calls beside calls that wait: budget, within 20 % of an empty log.

    python -m bench.growth.waiting [--waiting 0,100k,1M] [--seconds 1] [--rounds 10]

One node for each number, all up at once; their turns alternate, and the ratios are of one round.
A second empty node shows how much of a ratio is chance.  What waits is in the line of another
socket, whose processor is stopped.  Also how long one call alone takes, and what a waiting call
takes of memory and disk.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench import machine
from bench.end_to_end import singles_ms
from bench.growth.figures import amount, figure, percentiles, ratios, short, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import START_S, Meter, disk_bytes, fill, node_bytes, offer_nop, rate
from bench.world import SOCKET
from meshcode.client import Socket, connect
from tests.live.harness import Mesh

BUDGET = 0.8  # Of the rate beside no waiting call.
SINGLES = 50  # In each round.
NONE, AGAIN = "0", "0 again"


@contextmanager
def waiting_node(report: Report, waiting: int) -> Iterator[Mesh]:
    """A node with so many waiting calls and the no-op task, ready."""
    mesh = Mesh()
    try:
        took = fill(mesh, waiting)
        begin = time.perf_counter()
        mesh.start(seconds=START_S)
        ready_s = time.perf_counter() - begin
        offer_nop(mesh)
        open_calls = mesh.ask("status")["calls"]["open"]
        assert open_calls == waiting, open_calls
        report.say(
            f"filled     {waiting:,} calls in {took:.1f} s; the node was ready after "
            f"{ready_s:.1f} s"
        )
        yield mesh
    finally:
        mesh.remove()


def each_alone(socket: Socket, kept: list[float], meter: Meter, seconds: float) -> float:
    """The rate of one turn; single calls one after another before it."""
    kept += singles_ms(socket, SINGLES)
    return meter.turn(lambda: rate(socket, seconds))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--waiting", type=whole_numbers, default=[0, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args(arguments)
    report = Report("waiting", args.out)
    counts = {NONE: 0, AGAIN: 0} | {amount(count): count for count in sorted(args.waiting) if count}
    with ExitStack() as stack:
        nodes = {
            name: stack.enter_context(waiting_node(report, count)) for name, count in counts.items()
        }
        _space(report, nodes, counts)
        clients = {name: stack.enter_context(connect(at.address)) for name, at in nodes.items()}
        alone: dict[str, list[float]] = {name: [] for name in counts}
        meters = {name: Meter(mesh) for name, mesh in nodes.items()}
        turns = {
            name: partial(
                each_alone, client.socket(SOCKET), alone[name], meters[name], args.seconds
            )
            for name, client in clients.items()
        }
        found = in_turns(turns, args.rounds)
        for name, mesh in nodes.items():
            assert mesh.ask("status")["calls"]["open"] == counts[name]  # They still wait.
    parts = ratios(found, NONE)
    report.show(Bars("no-op calls beside so many that wait", "calls/s", {"": found}))
    report.show(Bars(
        "the same, by that of an empty log in the same round", "ratio", {"": parts}, BUDGET,
        at_most=False,
    ))  # fmt: skip
    cpu = {name: meter.last(args.rounds) for name, meter in meters.items()}
    report.show(Bars("CPU of the node for each of these calls", "us", {"": cpu}))
    for name, values in alone.items():
        p50, p99, most = percentiles(values, (0.5, 0.99, 1))
        report.say(
            f"alone      p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {most:.1f} ms, one call beside "
            f"{name} waiting"
        )
    costs = ratios(cpu, NONE)
    for name in list(counts)[2:]:
        ratio = figure(parts[name])
        report.say(
            f"budget     {'kept' if ratio.median >= BUDGET else 'MISSED'}: {told(ratio)} of an "
            f"empty log beside {name} waiting, at least {BUDGET}; CPU of the node for each call "
            f"{told(figure(costs[name]))} times that of an empty log"
        )
    report.save()


def _space(report: Report, nodes: dict[str, Mesh], counts: dict[str, int]) -> None:
    """Say what the calls that wait take."""
    empty, none = node_bytes(nodes[NONE]), disk_bytes(nodes[NONE])
    report.say(f"empty      {empty / 2**20:.0f} MiB of its own, {none / 2**20:.1f} MiB on disk")
    memory, disk = {}, {}
    for name in list(counts)[2:]:
        mesh, count = nodes[name], counts[name]
        own, stored = node_bytes(mesh), disk_bytes(mesh)
        memory[name], disk[name] = [(own - empty) / count], [(stored - none) / count]
        assert mesh.process is not None
        whole = machine.resident_mib(mesh.process.pid)
        report.say(
            f"space      {name} waiting: {own / 2**20:.0f} MiB of its own ({whole:.0f} with pages "
            f"of the log), {short(memory[name][0])} bytes per call; {stored / 2**20:.0f} MiB on "
            f"disk, {short(disk[name][0])} bytes per call"
        )
    if memory:
        series = {"memory of the node": memory, "disk": disk}
        report.show(Bars("what a waiting call takes", "bytes per call", series))


if __name__ == "__main__":
    main()
