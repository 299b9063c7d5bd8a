"""Two checkouts in turns: what a change does to rates, times and CPU, whatever the machine does.

    python -m bench.turns OTHER [PART..] [--turns 8] [--seconds 2] [--here FOLDER]

OTHER is a checkout of this project with its extensions built (`git clone`, then `./dev compile`
there).  Each checkout has a node of its own that lives through the whole run; in every turn each
part is measured in both, every second turn in reverse, so a slow moment meets both.  A figure is
the median of the turns, a ratio is of one turn.  Parts: single, four, pipeline, pipelines, funnel,
map; and those of three nodes: mesh-single, mesh-pipeline, mesh-map.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SINGLES, PIPELINES_ALONE, FUNNELS = 300, 60, 7
STEPS, FLIGHT, WIDE, CLIENTS = 10, 200, 1_000, 4
MODULE = "bench_tasks"  # As in `bench.world`, for what asks whether its `nop` is shared.
TASKS = '''
def nop(value=None):
    """Return what came."""
    return value


def count(values):
    """How many there are."""
    return len(values)
'''
WARM_CALLS = 5_000
ANSWER_SECONDS = 300
HERE, THERE = "here", "there"


class Scene(NamedTuple):
    """What a part is measured in."""

    client: Any  # A client of the node.
    connect: Callable[[], Any]  # Another one.
    pids: Callable[[], list[int]]  # All processes of it, this one too.


# --- What is measured: each returns (value, calls) and says what it is and whether more is better.


def _times_ms(count: int, do: Callable[[int], None]) -> float:
    times = []
    for number in range(count):
        begin = time.perf_counter()
        do(number)
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def single(scene: Scene, seconds: float) -> tuple[float, int]:
    """Milliseconds of one call after another, p50."""
    nop = scene.client.socket(f"{MODULE}.nop")
    return _times_ms(SINGLES, lambda number: _same(nop(number), number)), SINGLES


def four(scene: Scene, seconds: float) -> tuple[float, int]:
    """Calls a second of four clients that make one call after another."""
    made = [0] * CLIENTS
    end = time.perf_counter() + seconds

    def calls(number: int) -> None:
        with scene.connect() as client:
            nop = client.socket(f"{MODULE}.nop")
            while time.perf_counter() < end:
                _same(nop(made[number]), made[number])
                made[number] += 1

    threads = [threading.Thread(target=calls, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made) / seconds, sum(made)


def pipeline(scene: Scene, seconds: float) -> tuple[float, int]:
    """Milliseconds of one pipeline of ten steps after another, p50."""
    flow = _flow(scene)
    count = PIPELINES_ALONE
    return _times_ms(count, lambda number: _same(flow(number).get(60), number)), count * STEPS


def pipelines(scene: Scene, seconds: float) -> tuple[float, int]:
    """Pipelines of ten steps a second, 200 in flight."""
    flow = _flow(scene)
    begin = time.perf_counter()
    number, flight = FLIGHT, deque((one, flow(one)) for one in range(FLIGHT))
    while flight:
        wanted, made = flight.popleft()
        _same(made.get(60), wanted)
        if time.perf_counter() < begin + seconds:
            flight.append((number, flow(number)))
            number += 1
    return number / (time.perf_counter() - begin), number * STEPS


def funnel(scene: Scene, seconds: float) -> tuple[float, int]:
    """Milliseconds of 1,000 calls side by side and one with all their values, p50."""
    from meshcode.client import funnel as compose

    nop, count = (scene.client.socket(f"{MODULE}.{name}") for name in ("nop", "count"))
    made = compose([nop.p(number) for number in range(WIDE)], count.p())
    return _times_ms(FUNNELS, lambda _: _same(made().get(60), WIDE)), FUNNELS * WIDE


def map_(scene: Scene, seconds: float) -> tuple[float, int]:
    """Calls a second of one map."""
    from bench.end_to_end import map_rate

    return map_rate(scene.client.socket(f"{MODULE}.nop"), seconds)


def _flow(scene: Scene) -> Any:
    from meshcode.client import pipeline as compose

    return compose([scene.client.socket(f"{MODULE}.nop").p()] * STEPS)


def _same(found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{found!r} came back, not {wanted!r}")


class Part(NamedTuple):
    """A measurement: how, in which scene, in what unit, and what is better."""

    measure: Callable[[Scene, float], tuple[float, int]]
    nodes: int
    unit: str
    more: bool  # Whether more is better.


PARTS = {
    "single": Part(single, 1, "ms", False),
    "four": Part(four, 1, "calls/s", True),
    "pipeline": Part(pipeline, 1, "ms", False),
    "pipelines": Part(pipelines, 1, "/s", True),
    "funnel": Part(funnel, 1, "ms", False),
    "map": Part(map_, 1, "calls/s", True),
    "mesh-single": Part(single, 3, "ms", False),
    "mesh-pipeline": Part(pipeline, 3, "ms", False),
    "mesh-map": Part(map_, 3, "calls/s", True),
}


# --- The child: the scenes of one checkout.


@contextlib.contextmanager
def one_node() -> Iterator[Scene]:
    """A node with one worker and a client."""
    from bench.world import CALLS_MAX
    from meshcode.client import connect
    from tests.live.harness import offering

    files, tasks = {f"{MODULE}.py": TASKS}, ["nop", "count"]
    turns = offering("turns", files, MODULE, tasks, recycle_calls=CALLS_MAX)
    with turns as mesh, connect(mesh.address) as client:
        assert mesh.process is not None
        pids = [os.getpid(), mesh.process.pid, *mesh.worker_pids()]
        yield _warm(Scene(client, lambda: connect(mesh.address), lambda: pids))


@contextlib.contextmanager
def three_nodes() -> Iterator[Scene]:
    """Three nodes that keep every call, and a client of the first."""
    from bench.mesh import _is_shared, address_of
    from bench.world import CALLS_MAX
    from meshcode.cli.demo.many.stage import Hosts
    from meshcode.client import connect
    from tests.live.harness import make_repository, until

    with tempfile.TemporaryDirectory(prefix="mesh-turns-") as name:
        hosts = Hosts(Path(name), 3, quiet=True)
        try:
            hosts.assemble()
            repository = Path(name) / "repository"
            make_repository(repository, {f"{MODULE}.py": TASKS})
            mesh = hosts.first.mesh
            mesh("add", "queue", "-n", "bench")
            mesh("add", "processor", "-n", "bench", "-g", f"file://{repository}", "-br", "main",
                 "-m", MODULE, "--recycle-calls", str(CALLS_MAX))  # fmt: skip
            mesh("add", "socket", "-n", f"{MODULE}.nop", "-q", "bench", "-pn", "bench", "-t", "nop")
            address = address_of(hosts.first)
            with connect(address) as client:
                until(lambda: _is_shared(client, 3), 90, "calls are kept by several nodes")
                yield _warm(Scene(client, lambda: connect(address), lambda: _tree(hosts)))
        finally:
            hosts.close(keep=False)


def _tree(hosts: Any) -> list[int]:
    """This process, the nodes, and what they have begun."""
    nodes = {host.node.pid for host in hosts.all}
    begun = [
        int(folder.name)
        for folder in Path("/proc").glob("[0-9]*")
        if _parent(folder) in nodes
    ]  # fmt: skip
    return [os.getpid(), *nodes, *begun]


def _parent(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _warm(scene: Scene) -> Scene:
    nop = scene.client.socket(f"{MODULE}.nop")
    assert sum(1 for _ in nop.map(range(WARM_CALLS))) == WARM_CALLS
    return scene


def serve() -> None:
    """Answer each line (a part, seconds) with a line: its value and its CPU a call in us."""
    from bench.machine import cpu_s

    with contextlib.ExitStack() as stack:
        scenes: dict[int, Scene] = {}
        for line in sys.stdin:
            name, seconds = json.loads(line)
            part = PARTS[name]
            if part.nodes not in scenes:
                made = one_node() if part.nodes == 1 else three_nodes()
                scenes[part.nodes] = stack.enter_context(made)
            scene = scenes[part.nodes]
            pids = scene.pids()
            before = sum(map(cpu_s, pids))
            value, calls = part.measure(scene, seconds)
            cpu_us = (sum(map(cpu_s, pids)) - before) / calls * 1e6
            print(json.dumps([value, cpu_us]), flush=True)


# --- The parent.


class Side:
    """One checkout, measured by a child that imports it and nothing of the other."""

    def __init__(self, folder: Path) -> None:
        """Nothing is measured yet; `folder` is its root."""
        env = {**os.environ, "PYTHONPATH": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).resolve()), "--serve"],
            cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def measure(self, part: str, seconds: float) -> list[float]:
        """Its value and the CPU of a call, us."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([part, seconds]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{part} could not be measured in {self.process.args!r}")
        found: list[float] = json.loads(line)
        return found

    def close(self) -> None:
        """Its nodes end with it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(ANSWER_SECONDS)


def compare(sides: dict[str, Side], parts: list[str], turns: int, seconds: float) -> None:
    """Print each part: both medians, the median of the ratios of one turn and its two ends."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for number in range(-1, turns):  # The first is to get warm.
        for part in parts:
            for name in (HERE, THERE)[:: 1 if number % 2 else -1]:
                value = sides[name].measure(part, seconds)
                if number >= 0:
                    found.setdefault((part, name), []).append(value)
    print(f"{'part':14}{'there':>10}{'here':>10}  here / there, median (least to greatest)")
    for part in parts:
        for index, unit in enumerate((PARTS[part].unit, "us CPU a call")):
            there = [row[index] for row in found[part, THERE]]
            here = [row[index] for row in found[part, HERE]]
            ratios = sorted(a / b for a, b in zip(here, there, strict=True) if b)
            medians = [f"{statistics.median(row):,.{_digits(row)}f}" for row in (there, here)]
            better = " (more is better)" if PARTS[part].more and not index else ""
            print(
                f"{'' if index else part:14}{medians[0]:>10}{medians[1]:>10}  "
                f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}) "
                f"{unit}{better}"
            )


def _digits(row: list[float]) -> int:
    return 0 if max(row) >= 1_000 else 2


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--here", type=Path, default=ROOT, help="instead of this checkout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.serve:
        serve()
        return
    if args.other is None or not (args.other / "meshcode").is_dir():
        parser.error(f"{args.other} is no checkout; name one with its extensions built")
    unknown = [name for name in args.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    from bench import machine

    print(machine.describe())
    sides = {
        name: Side(folder.resolve())
        for name, folder in ((HERE, args.here), (THERE, args.other))
    }  # fmt: skip
    try:
        parts = args.parts or [name for name, part in PARTS.items() if part.nodes == 1]
        compare(sides, parts, args.turns, args.seconds)
    finally:
        for side in sides.values():
            side.close()


if __name__ == "__main__":
    main()
