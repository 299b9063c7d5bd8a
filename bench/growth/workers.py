"""Calls a second of 1 to 16 workers: no-op calls, and calls that wait for 5 ms as for a database.

    python -m bench.growth.workers [--workers 1,2,4,8,16] [--seconds 1] [--rounds 5]

One node with a processor for each number.  No-op calls cost more CPU in node and client than in a
worker, so more workers than cores cannot help them; calls that wait must rise with the workers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import machine
from bench.growth.figures import figure, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import node_bytes, own_bytes, rate
from bench.world import MODULE, TASKS
from meshcode.client import connect
from tests.live.harness import Mesh, make_repository

WAIT_MS = 5
TASK = f'''{TASKS}

def wait(value=None):
    """Wait as for a database."""
    import time

    time.sleep({WAIT_MS / 1e3})
    return value
'''
NAMES = {"nop": "no-op calls", "wait": f"calls that wait {WAIT_MS} ms"}


def declare(mesh: Mesh, workers: list[int]) -> None:
    """A processor for each number of workers, all of the same code, ready."""
    repository = mesh.home / "repository"
    make_repository(repository, {f"{MODULE}.py": TASK})
    mesh.add("queue", "q")
    for count in workers:
        mesh.add(
            "processor", f"w{count}", git=repository.as_uri(), module=MODULE, branch="main",
            workers=count,
        )  # fmt: skip
        for task in NAMES:
            mesh.add("socket", f"w{count}.{task}", processor=f"w{count}", task=task, queue="q")
    for count in workers:
        mesh.wait_ready(f"w{count}", count, seconds=120.0)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--workers", type=whole_numbers, default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(arguments)
    report = Report("workers", args.out)
    with Mesh() as mesh:
        declare(mesh, args.workers)
        with connect(mesh.address) as client:
            points: dict[str, Callable[[], float]] = {
                f"w{count}.{task}": partial(rate, client.socket(f"w{count}.{task}"), args.seconds)
                for task in NAMES
                for count in args.workers
            }
            found = in_turns(points, args.rounds)
        pids = mesh.worker_pids()
        each = [own_bytes(pid) / 2**20 for pid in pids]
        whole = [machine.resident_mib(pid) for pid in pids]
        report.say(
            f"memory     {len(pids)} workers: {told(figure(each))} MiB of its own each, "
            f"{told(figure(whole))} MiB resident; node {node_bytes(mesh) / 2**20:.0f} MiB"
        )
    for task, title in NAMES.items():
        series = {"": {str(count): found[f"w{count}.{task}"] for count in args.workers}}
        report.show(Bars(f"{title}, by workers", "calls/s", series))
    first = args.workers[0]
    for count in args.workers[1:]:
        parts = [
            value / base
            for value, base in zip(found[f"w{count}.wait"], found[f"w{first}.wait"], strict=True)
        ]
        report.say(
            f"waiting    {told(figure(parts))} times the rate of {first} with {count} workers, "
            f"{count / first:g} would be all"
        )
    report.save()


if __name__ == "__main__":
    main()
