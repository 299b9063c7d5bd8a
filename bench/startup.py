"""How long a person waits: the command, one call from the shell, a node until it answers.

    python -m bench.startup [--runs 9]

Each figure stands beside a bare Python that does nothing, measured in the same run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from bench import machine
from bench.world import SOCKET, nop_node
from tests.live.harness import Mesh


def times_ms(mesh: Mesh, command: list[str], runs: int) -> list[float]:
    """Milliseconds from start to end of a command, `runs` times after a warm-up."""
    env = {**mesh.env, "PYTHONDONTWRITEBYTECODE": ""}  # Compiled once, as on any user's machine.
    found = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True
        )
        found.append((time.perf_counter() - begin) * 1e3)
    return found[1:]


def before_network_ms(mesh: Mesh, runs: int) -> list[float]:
    """What `mesh run` costs before it says its first word to the node."""
    code = "import meshcode.cli.run, meshcode.client; meshcode.client.Socket('a.b')"
    return times_ms(mesh, [sys.executable, "-c", code], runs)


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
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args(arguments).runs
    print(machine.describe())
    cli = [sys.executable, "-m", "meshcode.cli"]
    with nop_node() as mesh:
        rows = {
            "bare python": times_ms(mesh, [sys.executable, "-c", "pass"], runs),
            "mesh --version": times_ms(mesh, [*cli, "--version"], runs),
            "mesh --help": times_ms(mesh, [*cli, "--help"], runs),
            "mesh ls --help": times_ms(mesh, [*cli, "ls", "--help"], runs),
            "mesh ls queues": times_ms(mesh, [*cli, "ls", "queues"], runs),
            "before network": before_network_ms(mesh, runs),
            "mesh run, whole": times_ms(mesh, [*cli, "run", SOCKET, "1"], runs),
            "node, to WELCOME": node_start_ms(mesh, min(runs, 5)),
        }
    bare = min(rows["bare python"])
    for name, found in rows.items():
        times = f"{min(found) / bare:.1f} x bare python at best"
        print(f"{name:<18} {machine.spread(found, '{:.0f}')} ms, {times}")


if __name__ == "__main__":
    main()
