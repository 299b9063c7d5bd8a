"""A large file: seconds to read, to plan, to apply, and until the node acts on it.

    python -m bench.apply [--processors 1000] [--sockets 5000] [--format yaml]

Each socket has a queue of its own.  The processors are stopped, so that no code is fetched.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from meshcode.cli.files.carrying import read_model
from meshcode.cli.files.document import read_document
from meshcode.cli.files.reading import read_files
from meshcode.cli.files.writing import to_text
from meshcode.client import Client, connect
from meshcode.model.plan import plan_file
from tests.live.harness import Mesh

COMMANDS = (
    ["ls", "sockets", "-q"], ["ls", "sockets"], ["ls", "queues"], ["ls", "processors"],
    ["diff", "-f"], ["apply", "-f"],
)  # fmt: skip


def document(processors: int, sockets: int) -> dict[str, Any]:
    """A file's content: so many processors and sockets, and a queue for each socket."""
    code = {"git": "https://git.example/shop", "module": "shop.tasks", "requested_status": "stop"}
    return {
        "queues": {f"queue-{i}": {"message_ttl": "1h"} for i in range(sockets)},
        "processors": {f"processor-{i}": code for i in range(processors)},
        "sockets": {
            f"shop-{i}.task": {
                "processor": f"processor-{i % processors}", "task": "task", "queue": f"queue-{i}",
            }
            for i in range(sockets)
        },
    }  # fmt: skip


def apply_once(client: Client, path: Path) -> None:
    """Read, plan and apply; print how long each took."""
    begin = time.perf_counter()
    wanted = read_document(read_files([str(path)])).wanted
    read = time.perf_counter()
    current = read_model(client)
    known = time.perf_counter()
    plan = plan_file(current.model, wanted)
    assert not plan.problems
    steps = [step.row() for step in plan.steps]
    planned = time.perf_counter()
    client.ask("model", do="apply", fields={"base": current.number, "steps": steps}, timeout=120.0)
    done = time.perf_counter()
    print(
        f"{len(steps):>6} steps: {read - begin:5.2f} s to read the file, {known - read:5.2f} s the"
        f" model, {planned - known:5.2f} s to plan, {done - planned:5.2f} s until the node acts"
    )


def reactions(mesh: Mesh, name: str, runs: int) -> None:
    """Print how long one change of one queue takes until the node acts on it, and its CPU."""
    assert mesh.process is not None
    before, times = machine.cpu_s(mesh.process.pid), []
    with connect(mesh.address) as client:
        for number in range(runs):
            begin = time.perf_counter()
            fields = {"max_length": 9 + number}
            client.ask("model", do="update", kind="queue", name=name, fields=fields)
            times.append(time.perf_counter() - begin)
    cpu = (machine.cpu_s(mesh.process.pid) - before) / runs
    print(
        f"one change, to the node acting on it: p50 {median(times) * 1e3:.1f} ms, p99"
        f" {machine.percentile(times, 0.99) * 1e3:.1f} ms of {runs};"
        f" {cpu * 1e3:.1f} ms CPU of the node each"
    )


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processors", type=int, default=1_000)
    parser.add_argument("--sockets", type=int, default=5_000)
    parser.add_argument("--format", choices=["yaml", "toml", "json"], default="yaml")
    parser.add_argument("--runs", type=int, default=5, help="of each command")
    args = parser.parse_args(arguments)
    print(machine.describe())
    with Mesh() as mesh:
        data = document(args.processors, args.sockets)
        path = mesh.home / f"net.{args.format}"
        path.write_text(to_text(data, args.format))
        print(f"a file of {path.stat().st_size / 1e6:.1f} MB")
        with connect(mesh.address) as client:
            apply_once(client, path)
            apply_once(client, path)
            data["sockets"] = {name: {**s, "retries": 3} for name, s in data["sockets"].items()}
            path.write_text(to_text(data, args.format))
            apply_once(client, path)
        assert mesh.process is not None
        for child in mesh.children():
            if "meshcode.model.server" in " ".join(child.cmdline()):
                print(f"model process {machine.resident_mib(child.pid):6.1f} MiB resident")
        print(f"node          {machine.resident_mib(mesh.process.pid):6.1f} MiB resident")
        for words in COMMANDS:
            times = []
            for _ in range(args.runs):
                begin = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "meshcode.cli", *words, *([path] * (words[-1] == "-f"))],
                    env={**os.environ, **mesh.env}, stdout=subprocess.DEVNULL, check=True,
                )  # fmt: skip
                times.append(time.perf_counter() - begin)
            print(f"mesh {' '.join(words):<16} {machine.spread(times, '{:.2f}')} s")
        reactions(mesh, "queue-1", 30)
    with Mesh() as empty:
        with connect(empty.address) as client:
            client.ask("model", do="add", kind="queue", name="q", fields={})
        print("a model of one queue:")
        reactions(empty, "q", 300)


if __name__ == "__main__":
    main()
