"""Memory of client, node and worker over a million calls: flat or not, and how much per call.

    python -m bench.growth.memory [--calls 1M] [--samples 100]

Only memory of their own counts (RssAnon): pages of the mapped log are the system's.  The slope is
that of the second half of the run, since the first also fills caches that have a limit.
"""

from __future__ import annotations

import os
import time
from itertools import repeat
from pathlib import Path

from bench.growth.figures import is_flat, late_slope, short, slope, whole_numbers
from bench.growth.plot import Lines
from bench.growth.report import Report, options
from bench.growth.worlds import disk_bytes, offer_nop, own_bytes
from bench.world import SOCKET
from meshcode.client import connect
from tests.live.harness import Mesh

Places = list[tuple[float, float]]


def run(mesh: Mesh, calls: int, samples: int) -> tuple[dict[str, Places], Places, float]:
    """Places of memory in bytes by process, of bytes on disk, and calls a second."""
    assert mesh.process is not None
    (worker,) = mesh.worker_pids()
    pids = {"client": os.getpid(), "node": mesh.process.pid, "worker": worker}
    memory: dict[str, Places] = {name: [] for name in pids}
    disk: Places = []
    step = max(1, calls // samples)
    with connect(mesh.address) as client:
        socket = client.socket(SOCKET)
        assert socket(1) == 1
        begin = time.perf_counter()
        for number, _ in enumerate(socket.map(repeat(None, calls))):
            if number % step == 0 or number == calls - 1:
                for name, pid in pids.items():
                    assert Path(f"/proc/{pid}").exists(), (
                        f"the {name} (process {pid}) ended after {number:,} calls: {mesh.words()}"
                    )
                    memory[name].append((number, own_bytes(pid)))
                disk.append((number, disk_bytes(mesh)))
        rate = calls / (time.perf_counter() - begin)
    assert mesh.ask("status")["calls"]["open"] == 0
    assert mesh.ask("status")["done"] == calls + 1
    return memory, disk, rate


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--calls", type=whole_numbers, default=[1_000_000])
    parser.add_argument("--samples", type=int, default=100)
    args = parser.parse_args(arguments)
    report = Report("memory", args.out)
    (calls,) = args.calls
    with Mesh() as mesh:
        offer_nop(mesh, recycle_calls=2 * calls)  # Usually a million: then it is another process.
        memory, disk, rate = run(mesh, calls, args.samples)
    report.say(f"map        {calls:,} calls with their results, {rate:,.0f}/s")
    mib = {name: [(x, y / 2**20) for x, y in places] for name, places in memory.items()}
    report.show(Lines("memory of its own along a run of calls", "calls", "MiB", mib))
    for name, places in memory.items():
        per_call = late_slope(places)
        first, last = places[0][1] / 2**20, places[-1][1] / 2**20
        most = max(y for _, y in places) / 2**20
        report.say(
            f"{name:<10} {'flat' if is_flat(per_call) else 'GROWS'}: {short(per_call)} bytes per "
            f"call in the second half; {first:.1f} MiB at the beginning, {most:.1f} at most, "
            f"{last:.1f} at the end"
        )
    report.say(f"disk       {short(slope(disk))} bytes per call that has ended, all kept")
    report.save()


if __name__ == "__main__":
    main()
