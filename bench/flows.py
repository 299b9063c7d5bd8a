"""Flows, plugs, joins and schedules beside plain calls, with one real node and one worker.

    python -m bench.flows [--seconds 2] [--rounds 5] [--wide 100000] [--ticks 100]

Pipelines of ten no-op steps, plug chains and joins take turns with plain no-op calls, so that a
slow moment of the machine meets all; the ratios are of what ran in one round, call by call.  Then
one pipeline alone, a wide parallel with a funnel, a very wide parallel with the memory it takes,
and how late the ticks of a schedule begin.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

from bench import machine
from bench.end_to_end import map_rate, pids_of, singles_ms
from bench.world import CALLS_MAX
from meshcode.client import Client, Socket, connect, funnel, parallel, pipeline
from meshcode.errors import UnknownCall
from meshcode.router.ticking import tick_id
from tests.live.harness import Mesh, until

MODULE = "flow_tasks"
TASKS = '''
def nop(value=None):
    """Return what came."""
    return value


def count(values):
    """How many there are."""
    return len(values)


def both(left, right):
    """What a join calls."""
    return left
'''
STEPS = 10  # Of a pipeline.
FLIGHT = 200  # Pipelines in flight at once.
CHAIN = [f"{MODULE}.chain{number}" for number in range(1, 6)]
# One call of this socket is two values on their way to two arguments: with the two values, what
# puts them together and the call that gets them, five calls of the log.
JOIN_CALLS = 5
WIDE = 1_000
TICK_MS = 100  # The least interval that a schedule may have.


class Turn(NamedTuple):
    """What one kind of work did in its part of a round."""

    calls: int  # All calls that ended: steps, arrivals, collectors.
    units: int  # Pipelines, values, joins.
    seconds: float
    cpu: dict[str, float]  # CPU seconds of client, node and worker.


@contextmanager
def flow_node() -> Iterator[Mesh]:
    """A node with the tasks above, a chain of five sockets and a join."""
    with Mesh() as mesh:
        repository = mesh.repository({f"{MODULE}.py": TASKS})
        tasks = ["nop", "count", "both"]
        mesh.offer("bench", repository, MODULE, tasks, recycle_calls=CALLS_MAX)
        for name in [*CHAIN, f"{MODULE}.pair"]:
            mesh.add("socket", name, processor="bench", task="nop", queue="q")
        for number, (source, target) in enumerate(pairwise(CHAIN)):
            mesh.add("plug", f"chain{number}", source=source, target=target)
        for argument in ("left", "right"):
            mesh.add(
                "plug", argument, source=f"{MODULE}.pair", target=f"{MODULE}.both",
                argument=argument,
            )  # fmt: skip
        mesh.wait_ready("bench")
        yield mesh


def plain(client: Client, seconds: float) -> tuple[int, int]:
    """Calls by `Socket.map`."""
    _, calls = map_rate(client.socket(f"{MODULE}.nop"), seconds)
    return calls, calls


def pipelines(client: Client, seconds: float) -> tuple[int, int]:
    """Pipelines: so many in flight, and another for each that has ended."""
    nop = client.socket(f"{MODULE}.nop")
    made = pipeline([nop.p()] * STEPS)
    end, number = time.perf_counter() + seconds, FLIGHT
    flight = deque((one, made(one)) for one in range(FLIGHT))
    while flight:
        wanted, flow = flight.popleft()
        assert flow.get(60) == wanted
        if time.perf_counter() < end:
            flight.append((number, made(number)))
            number += 1
    return number * (STEPS + 1), number  # A flow is a call, too.


def along(mesh: Mesh, first: Socket, calls: int, count: int) -> tuple[int, int]:
    """Calls of a socket, until all that they cause along plugs has ended: so many calls each."""
    before = mesh.ask("status")["done"]
    assert sum(1 for _ in first.map(range(count))) == count
    wanted = before + count * calls
    until(lambda: mesh.ask("status")["done"] >= wanted, 120, "all that plugs cause has ended")
    status = mesh.ask("status")
    assert (status["done"], status["calls"]["open"]) == (wanted, 0), status["calls"]
    return count * calls, count


def turn(mesh: Mesh, what: Callable[[], tuple[int, int]]) -> Turn:
    """Do it, and see what it took."""
    pids = pids_of(mesh)
    before = {name: sum(map(machine.cpu_s, found)) for name, found in pids.items()}
    begin = time.perf_counter()
    calls, units = what()
    seconds = time.perf_counter() - begin
    cpu = {name: sum(map(machine.cpu_s, found)) - before[name] for name, found in pids.items()}
    return Turn(calls, units, seconds, cpu)


def rounds(mesh: Mesh, client: Client, seconds: float, count: int) -> None:
    """Print rates, ratios and CPU of everything that takes turns."""
    values = int(2_000 * seconds)
    kinds: dict[str, Callable[[], tuple[int, int]]] = {
        "calls": lambda: plain(client, seconds),
        "pipelines": lambda: pipelines(client, seconds),
        "chains": lambda: along(mesh, client.socket(CHAIN[0]), len(CHAIN), values),
        "joins": lambda: along(mesh, client.socket(f"{MODULE}.pair"), JOIN_CALLS, values),
    }
    turns: dict[str, list[Turn]] = {name: [] for name in kinds}
    for number in range(-1, count):  # The first is to get warm.
        for name in list(kinds)[:: 1 if number % 2 else -1]:
            done = turn(mesh, kinds[name])
            if number >= 0:
                turns[name].append(done)
    said = {
        "calls": "plain calls/s, results back",
        "pipelines": f"pipelines of {STEPS} steps/s, results back",
        "chains": f"values/s through {len(CHAIN)} sockets joined by plugs",
        "joins": "joins/s of two arguments, each by one call and two plugs",
    }
    base = [one.calls / one.seconds for one in turns["calls"]]
    for name, done in turns.items():
        print(f"{name:10} {machine.spread(one.units / one.seconds for one in done)} {said[name]}")
        pairs = zip(done, base, strict=True)
        ratios = [one.calls / one.seconds / rate for one, rate in pairs]
        total = sum(one.calls for one in done)
        each = {who: sum(one.cpu[who] for one in done) / total * 1e6 for who in done[0].cpu}
        parts = ", ".join(f"{who} {used:.1f}" for who, used in each.items())
        if name != "calls":
            print(f"  ratio    {machine.spread(ratios, '{:.3f}')} of the plain calls/s, by calls")
        print(f"  cpu      {sum(each.values()):.1f} us per call: {parts}")


def alone(client: Client, count: int) -> None:
    """Print the time of one pipeline and of one call, each with nothing beside it."""
    nop = client.socket(f"{MODULE}.nop")
    made = pipeline([nop.p()] * STEPS)
    calls, flows = [], []
    for number in range(count):
        calls += singles_ms(nop, 1)
        begin = time.perf_counter()
        assert made(number).get(60) == number
        flows.append((time.perf_counter() - begin) * 1e3)
    for name, times in (("call", calls), (f"pipeline of {STEPS}", flows)):
        p50, p99 = (machine.percentile(times, share) for share in (0.5, 0.99))
        print(f"alone      p50 {p50:.2f} ms, p99 {p99:.2f} ms, one {name}")


def wide(client: Client, runs: int) -> None:
    """Print the time of a parallel whose values one call gets."""
    nop = client.socket(f"{MODULE}.nop")
    count = client.socket(f"{MODULE}.count")
    made = funnel([nop.p(number) for number in range(WIDE)], count.p())
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        assert made().get(60) == WIDE
        times.append((time.perf_counter() - begin) * 1e3)
    print(f"funnel     {machine.spread(times, '{:.1f}')} ms, {WIDE:,} calls side by side, then one")


def very_wide(mesh: Mesh, client: Client, count: int) -> None:
    """Print what a parallel of many takes: time, and memory of its own of node and client."""
    assert mesh.process is not None
    pids = {"node": mesh.process.pid, "client": os.getpid()}
    before = {name: machine.resident_mib(pid, "RssAnon") for name, pid in pids.items()}
    nop = client.socket(f"{MODULE}.nop")
    begin = time.perf_counter()
    flow = parallel([nop.p(number) for number in range(count)])()
    made = time.perf_counter() - begin
    flow.wait_accepted(300)
    accepted = time.perf_counter() - begin
    values = flow.get(600)
    ended = time.perf_counter() - begin
    assert values == list(range(count))
    print(
        f"parallel   {ended:.1f} s, {count:,} calls side by side, {count / ended:,.0f} calls/s; "
        f"composed in {made:.2f} s, accepted after {accepted:.2f} s"
    )
    for name, pid in pids.items():
        after = machine.resident_mib(pid, "RssAnon")
        peak = machine.resident_mib(pid, "VmHWM")
        print(
            f"  {name:8} {before[name]:.1f} MiB of its own before, {after:.1f} MiB after; "
            f"{peak:.1f} MiB resident at most, mapped files too"
        )


def ticks(mesh: Mesh, count: int) -> None:
    """Print how late the calls of a schedule begin in their worker."""
    mesh.add("schedule", "bench", socket=f"{MODULE}.nop", interval_ms=TICK_MS)
    first = (int(time.time() * 1e3) // TICK_MS + 2) * TICK_MS
    wanted = [first + TICK_MS * number for number in range(count)]
    until(lambda: time.time() * 1e3 > wanted[-1] + TICK_MS, count * TICK_MS, "time passes")
    mesh.ask("model", do="delete", kind="schedule", name="bench")
    until(lambda: not mesh.ask("status")["calls"]["open"], 60, "the calls of the schedule end")
    late, missed = [], 0
    for tick_ms in wanted:
        try:
            row = mesh.ask("call.get", id=tick_id("bench", tick_ms))
        except UnknownCall:  # When two times have come at once, the older is missed.
            missed += 1
        else:
            late.append(row["started_ms"] - tick_ms)
    p50, p99 = (machine.percentile(late, share) for share in (0.5, 0.99))
    print(
        f"schedule   p50 {p50} ms late, p99 {p99} ms, {count} ticks of {TICK_MS} ms; "
        f"{missed} missed, since the next had come, too"
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wide", type=int, default=100_000)
    parser.add_argument("--ticks", type=int, default=100)
    args = parser.parse_args(arguments)
    print(machine.describe())
    with flow_node() as mesh, connect(mesh.address) as client:
        rounds(mesh, client, args.seconds, args.rounds)
        alone(client, 100)
        wide(client, 11)
        ticks(mesh, args.ticks)
    with flow_node() as mesh, connect(mesh.address) as client:
        assert client.socket(f"{MODULE}.nop")(1) == 1
        very_wide(mesh, client, args.wide)
    print(f"load       {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
