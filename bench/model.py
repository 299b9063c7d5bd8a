"""How soon a change of the model is known to another model process, on SQLite and on Postgres.

    python -m bench.model [--changes 120]

Two real model processes have one database open, as the nodes of two homes would.  One is asked for
a change; the time is from its answer, when the change is committed, to the snapshot of the other
one.  Changes come at any time between two looks of the other.  Also what a model process costs:
from its start to its first snapshot, and its memory then.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import select
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import machine
from meshcode.model.client import ModelProcess
from meshcode.model.server import LISTENING_POLL_S, POLL_S
from tests.model.postgres import find_server, private_server

WAIT_S = 30.0
STARTS = 9


class Asked:
    """A model process and what came from it."""

    def __init__(self, address: str) -> None:
        self.process = ModelProcess(address)
        self.process.start()
        self.asked = 0
        self.until(bool)

    def until(self, done) -> None:
        """Take messages until `done` of those that came at once."""
        end = time.monotonic() + WAIT_S
        while not done(self.process.receive()):
            assert time.monotonic() < end, "the model process says nothing"
            select.select([self.process.fileno()], [], [], WAIT_S)

    def add(self, name: str) -> None:
        """One change; back when it is committed."""
        self.asked += 1
        id = struct.pack("<I", self.asked)
        self.process.request({"id": id, "do": "add", "kind": "queue", "name": name, "fields": {}})
        self.until(lambda messages: any(m.get("id") == id and m["ok"] for m in messages))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of them are not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def change_to_publish(address: str, changes: int) -> list[float]:
    """Milliseconds for each change; below 0 when the other was told before the one who asked."""
    first, second = Asked(address), Asked(address)
    found, moments = [], random.Random(1)
    try:
        for n in range(changes):
            select.select([], [], [], moments.uniform(0, POLL_S))
            wanted = first.process.number + 1
            first.add(f"q{n}")
            begun = time.perf_counter()
            second.until(lambda _messages, wanted=wanted: second.process.number >= wanted)
            found.append((time.perf_counter() - begun) * 1e3)
    finally:
        first.process.stop()
        second.process.stop()
    return found


def start_up(address: str) -> tuple[float, float]:
    """Median milliseconds to the first snapshot, and MiB of memory then."""
    times, sizes = [], []
    for _ in range(STARTS):
        begun = time.perf_counter()
        one = Asked(address)
        times.append((time.perf_counter() - begun) * 1e3)
        sizes.append(psutil.Process(one.process.pid).memory_info().rss / (1 << 20))
        one.process.stop()
    return percentile(times, 0.5), percentile(sizes, 0.5)


@contextlib.contextmanager
def databases() -> Iterator[list[tuple[str, str, float]]]:
    """Name, address, and how often it is looked at; Postgres only where there is one."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        found = [("sqlite", str(Path(folder) / "model.db"), POLL_S)]
        if isinstance(find_server(), str):
            print(f"no Postgres: {find_server()}")
        else:
            server = stack.enter_context(private_server())
            found.append(("postgres", server.url, LISTENING_POLL_S))
        yield found


def main() -> None:
    """Print one line for each database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=120)
    changes = parser.parse_args().changes
    print(machine.describe(), flush=True)
    with databases() as found:
        for name, address, poll_s in found:
            times = change_to_publish(address, changes)
            start_ms, size = start_up(address)
            print(
                f"{name:9} change to publish  p50 {percentile(times, 0.5):7.1f} ms"
                f"  p99 {percentile(times, 0.99):7.1f} ms  (looks every {poll_s:g} s)"
                f"  start {start_ms:5.0f} ms  {size:.1f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
