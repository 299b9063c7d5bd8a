"""The whole mesh on one machine: durable no-op calls, their results back at the client.

    python -m bench.end_to_end [--seconds 3] [--runs 3] [--workers 1] [--no-pump]

Rate by `Socket.map`, latency of single calls one after another, CPU per call over client, node and
worker, and the same of the bare pump, measured in the same run.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from itertools import islice, repeat

from bench import machine, pump
from bench.world import SOCKET, nop_node
from meshcode.client import Socket, connect
from tests.live.harness import Mesh

WARM_CALLS = 2_000
SINGLES = 400


def map_rate(socket: Socket, seconds: float) -> tuple[float, int]:
    """Calls a second with their results, and how many: one map of `seconds`, begun and emptied."""
    begin = time.perf_counter()
    calls = sum(1 for _ in socket.map(_arguments(begin + seconds)))
    return calls / (time.perf_counter() - begin), calls


def _arguments(end: float) -> Iterator[None]:
    while time.perf_counter() < end:
        yield from repeat(None, 256)


def submit_rate(socket: Socket, count: int) -> float:
    """The same by `submit` in a loop and `result` of each afterwards."""
    begin = time.perf_counter()
    waiting = [socket.submit(number) for number in range(count)]
    for number, call in enumerate(waiting):
        assert call.result(60) == number
    return count / (time.perf_counter() - begin)


def singles_ms(socket: Socket, count: int) -> list[float]:
    """Milliseconds of calls made one after another."""
    times = []
    for number in range(count):
        begin = time.perf_counter()
        assert socket(number) == number
        times.append((time.perf_counter() - begin) * 1e3)
    return times


def pids_of(mesh: Mesh) -> dict[str, list[int]]:
    """The processes a call passes through."""
    assert mesh.process is not None
    return {
        "client": [os.getpid()],
        "node": [mesh.process.pid],
        "worker": mesh.worker_pids(),
    }


def measure(mesh: Mesh, seconds: float, runs: int) -> tuple[float, float]:
    """Print everything of one node; returns its median rate, and p50 of a call alone."""
    with connect(mesh.address) as client:
        socket = client.socket(SOCKET)
        assert list(islice(socket.map(range(WARM_CALLS)), 3)) == [0, 1, 2]
        latency = singles_ms(socket, SINGLES)
        sync = machine.sync_ms(str(mesh.home))
        pids = pids_of(mesh)
        rates, cpu = [], dict.fromkeys(pids, 0.0)
        total = 0
        for _ in range(runs):
            before = {n: sum(map(machine.cpu_s, found)) for n, found in pids.items()}
            rate, calls = map_rate(socket, seconds)
            for name, found in pids.items():
                cpu[name] += sum(map(machine.cpu_s, found)) - before[name]
            rates.append(rate)
            total += calls
        submits = [submit_rate(socket, 20_000) for _ in range(runs)]
    each = ", ".join(f"{name} {used / total * 1e6:.1f}" for name, used in cpu.items())
    p50, p99 = (machine.percentile(latency, share) for share in (0.5, 0.99))
    print(f"map        {machine.spread(rates)} durable calls/s, results back")
    print(f"submit     {machine.spread(submits)} durable calls/s, results back")
    print(f"cpu        {sum(cpu.values()) / total * 1e6:.1f} us per call: {each}")
    print(f"single     p50 {p50:.2f} ms, p99 {p99:.2f} ms; a write and fdatasync {sync:.2f} ms")
    return sorted(rates)[len(rates) // 2], p50


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-pump", action="store_true", help="leave the bare pump out")
    args = parser.parse_args(arguments)
    print(machine.describe())
    with nop_node(args.workers) as mesh:
        rate, single = measure(mesh, args.seconds, args.runs)
    if not args.no_pump:
        pumped = [pump.one_run(args.seconds)[0] for _ in range(args.runs)]
        print(f"pump       {machine.spread(pumped)} durable round trips/s, no features")
        print(f"ratio      {rate / sorted(pumped)[len(pumped) // 2]:.2f} of the bare pump")
        alone = machine.percentile(pump.singles_ms(SINGLES), 0.5)
        print(f"pump alone p50 {alone:.2f} ms, one call after another: {single / alone:.2f} times")


if __name__ == "__main__":
    main()
