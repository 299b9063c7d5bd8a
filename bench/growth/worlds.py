"""Nodes for the curves, and what they take: calls a second, memory, disk."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from bench import machine, recovery
from bench.world import MODULE, TASKS
from meshcode import paths
from meshcode.client import Socket
from tests.live.harness import Mesh, make_repository

START_S = 1_800.0  # For a node with many millions of calls to read.


def offer_nop(mesh: Mesh, **fields: Any) -> None:
    """Mount the no-op task on a running node and wait for its worker.

    Args:
        mesh: the node.
        fields: of the processor `nop`.
    """
    repository = mesh.home / "repository"
    make_repository(repository, {f"{MODULE}.py": TASKS})
    mesh.offer("nop", Path(repository), MODULE, ["nop"], **fields)
    mesh.wait_ready("nop")


def fill(mesh: Mesh, waiting: int) -> float:
    """Write so many waiting calls for a node that does not run yet; returns the seconds it took.

    In a process of its own: the client's must not be one that has held millions of calls.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(recovery.fill, (mesh.home, waiting))


def until_over(value: Any, seconds: float) -> Iterator[Any]:
    """The same value again and again, for so long."""
    end = time.perf_counter() + seconds
    for one in repeat(value):
        if time.perf_counter() >= end:
            return
        yield one


def rate(socket: Socket, seconds: float, value: Any = None, chunk: int = 256) -> float:
    """Calls a second with their results, of as many as are begun in `seconds`."""
    begin, calls = time.perf_counter(), 0
    for _ in socket.map(until_over(value, seconds), chunk=chunk):
        calls += 1
    return calls / (time.perf_counter() - begin)


class Meter:
    """Node CPU for each call, turn by turn: what others do on the machine moves it least."""

    def __init__(self, mesh: Mesh) -> None:
        """Nothing is measured yet."""
        assert mesh.process is not None
        self._pid = mesh.process.pid
        self.us: list[float] = []

    def turn(self, measure: Callable[[], float]) -> float:
        """The rate that `measure` gives, in calls a second over all the time that it takes."""
        before, begin = machine.cpu_s(self._pid), time.perf_counter()
        found = measure()
        calls = found * (time.perf_counter() - begin)
        self.us.append((machine.cpu_s(self._pid) - before) / calls * 1e6)
        return found

    def last(self, rounds: int) -> list[float]:
        """Microseconds for each call, of the rounds that count."""
        return self.us[-rounds:]


def own_bytes(pid: int) -> float:
    """Memory of its own of a process, without pages of mapped files."""
    return machine.resident_mib(pid, "RssAnon") * 2**20


def node_bytes(mesh: Mesh) -> float:
    """Memory of its own of the node."""
    assert mesh.process is not None
    return own_bytes(mesh.process.pid)


def disk_bytes(mesh: Mesh) -> int:
    """What the node's data takes on the disk: blocks, not lengths, since the log has holes."""
    folder = paths.data_dir(str(mesh.home))
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            if name != "ballast":  # Kept free for a full disk; not of any call.
                total += os.stat(os.path.join(at, name)).st_blocks * 512
    return total
