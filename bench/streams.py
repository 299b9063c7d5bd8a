"""A stream through one plug: items a second, and the memory of node and workers on the way.

    python -m bench.streams [--items 1000000] [--one-worker]
"""

from __future__ import annotations

import argparse
import time

from bench import machine
from meshcode.client import connect
from tests.live.harness import Mesh, until

MODULE = "stream_tasks"
TASKS = '''
def numbers(count):
    """Yield the numbers below `count`."""
    yield from range(count)


def take(value):
    """Return nothing."""
'''
LOOKS = (10_000, 100_000, 1_000_000, 10_000_000)


def _figures(mesh: Mesh) -> str:
    assert mesh.process is not None
    pids = {"node": mesh.process.pid}
    for row in mesh.ready_workers():
        pids[f"worker of {row['processor']}"] = row["pid"]
    shown = [
        f"{name} {machine.resident_mib(pid, 'RssAnon'):.1f} MiB of its own "
        f"({machine.resident_mib(pid):.1f} resident)"
        for name, pid in pids.items()
    ]
    usage = mesh.ask("status")["log"]
    return f"{', '.join(shown)}; log {usage['used'] / 2**20:.0f} MiB"


def measure(mesh: Mesh, items: int) -> None:
    """Let a stream run, and print what it cost at each look."""
    with connect(mesh.address) as client:
        warm = client.socket(f"{MODULE}.numbers").submit(1_000)
        warm.result(60)
        print(f"{'before':>10}: {_figures(mesh)}", flush=True)
        begun_s, base = time.monotonic(), mesh.ask("status")["done"]
        call = client.socket(f"{MODULE}.numbers").submit(items)
        for look in [count for count in (*LOOKS, items) if count <= items]:
            _wait(mesh, base + 2 * look)
            rate = look / (time.monotonic() - begun_s)
            print(f"{look:>10} items, {rate:,.0f}/s: {_figures(mesh)}", flush=True)
            if look == items:
                break
        assert call.result(600)["items"] == items
        begun_s = time.monotonic()
        count = sum(1 for _ in call.stream(max(0, items - 100_000)))
        print(f"read again: {count / (time.monotonic() - begun_s):,.0f} items/s")


def _wait(mesh: Mesh, done: int) -> None:
    """Until so many calls are in the history: each item is one, and what it causes another."""
    until(lambda: mesh.ask("status")["done"] >= done, 3_600, f"{done} calls", every=0.25)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--one-worker", action="store_true", help="for both ends of the plug")
    args = parser.parse_args(arguments)
    print(machine.describe())
    with Mesh() as mesh:
        repository = mesh.repository({f"{MODULE}.py": TASKS})
        mesh.offer("source", repository, MODULE, ["numbers"])
        sink = "source"
        if not args.one_worker:
            sink = "sink"
            mesh.add("processor", sink, git=repository.as_uri(), module=MODULE, branch="main")
        mesh.add("socket", f"{MODULE}.take", processor=sink, task="take", queue="q")
        mesh.add("plug", "p", source=f"{MODULE}.numbers", target=f"{MODULE}.take")
        mesh.wait_ready("source", 1)
        mesh.wait_ready(sink, 1)
        measure(mesh, args.items)


if __name__ == "__main__":
    main()
