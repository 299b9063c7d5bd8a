"""How long a person waits: the command, one call from the shell, a node until it answers.

    python -m bench.startup [--runs 9]

Each figure stands beside a bare Python that does nothing, measured in turns with it.  CPU is what a
command costs; on the wall it also waits for whoever else uses the machine.  A Tab is *first* when
names have to be asked of the node, *again* when the words before it were completed within seconds.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import machine
from bench.world import SOCKET, nop_node
from tests.live.harness import Mesh

CLI = [sys.executable, "-m", "meshcode.cli"]


class Command(NamedTuple):
    """A command line, and what the shell sets for it."""

    words: list[str]
    more: dict[str, str]


class Times(NamedTuple):
    """Milliseconds of one run: on the wall, and of CPU in the process and its children."""

    wall: float
    cpu: float


def tab(line: str, cache: Path, *, fresh: bool = False) -> Command:
    """What bash runs for a Tab at the end of a line; `fresh`: nothing was answered before."""
    words = line.split(" ")
    more = {
        "_MESH_COMPLETE": "bash_complete", "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1), "XDG_CACHE_HOME": str(cache),
    }  # fmt: skip
    if fresh:
        more["FRESH"] = str(cache)
    return Command(CLI, more)


def once(mesh: Mesh, command: Command) -> Times:
    """Run it once."""
    # Compiled once, as on any user's machine.
    env = {**mesh.env, "PYTHONDONTWRITEBYTECODE": "", **command.more}
    if "FRESH" in command.more:
        shutil.rmtree(command.more["FRESH"], ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    subprocess.run(
        command.words, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
    )
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Times(wall * 1e3, cpu * 1e3)


def in_turns(mesh: Mesh, commands: dict[str, Command], runs: int) -> dict[str, list[Times]]:
    """Each command `runs` times, in turns: a busy moment of the machine hits all of them."""
    found: dict[str, list[Times]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            taken = once(mesh, command)
            if number:  # The first is a warm-up.
                found[name].append(taken)
    return found


def node_start_ms(mesh: Mesh, runs: int) -> list[float]:
    """From the start of the node's process until it greets a client."""
    found = []
    for _ in range(runs):
        mesh.stop()
        begin = time.perf_counter()
        mesh.start()
        found.append((time.perf_counter() - begin) * 1e3)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args(arguments).runs
    print(machine.describe())
    code = "import meshcode.cli.run, meshcode.client; meshcode.client.Socket('a.b')"
    with nop_node() as mesh, tempfile.TemporaryDirectory() as folder:
        caches = {name: Path(folder, name) for name in ("known", "names", "none")}
        rows = in_turns(mesh, {
            "bare python": Command([sys.executable, "-c", "pass"], {}),
            "import click": Command([sys.executable, "-c", "import click"], {}),
            "mesh --version": Command([*CLI, "--version"], {}),
            "mesh --help": Command([*CLI, "--help"], {}),
            "mesh ls --help": Command([*CLI, "ls", "--help"], {}),
            "mesh ls queues": Command([*CLI, "ls", "queues"], {}),
            "before network": Command([sys.executable, "-c", code], {}),
            "mesh run, whole": Command([*CLI, "run", SOCKET, "1"], {}),
            "Tab, again": tab("mesh run b", caches["known"]),
            "Tab, first": tab("mesh run ", caches["none"], fresh=True),
            "Tab, command": tab("mesh ", caches["names"], fresh=True),
            "Tab, option": tab("mesh add socket --", caches["names"], fresh=True),
        }, runs)  # fmt: skip
        starts = node_start_ms(mesh, min(runs, 5))
    bare = rows["bare python"]
    print(f"{'ms':<16} {'wall min':>9} {'median':>7} {'CPU min':>8} {'median':>7}   x bare (CPU)")
    for name, found in rows.items():
        wall, cpu = [one.wall for one in found], [one.cpu for one in found]
        ratio = median(cpu) / median(one.cpu for one in bare)
        print(
            f"{name:<16} {min(wall):>9.0f} {median(wall):>7.0f} {min(cpu):>8.0f}"
            f" {median(cpu):>7.0f}   {ratio:.1f}"
        )
    print(f"node, to WELCOME {machine.spread(starts, '{:.0f}')} ms")


if __name__ == "__main__":
    main()
