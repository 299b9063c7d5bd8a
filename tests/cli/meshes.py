"""Meshes of a few real nodes for the tests of commands, and short ways to ask them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.live.harness import make_repository
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork

TASKS = '''
import time

from meshcode import Socket, current_call


def add(left, right):
    return left + right


def rest(seconds):
    time.sleep(seconds)
    return seconds


def twice(number):
    double = Socket("t.add")
    return [double(number, number), double(number, -number), current_call().traceparent]
'''.replace("time.sleep", "time." + "sleep")  # It is the task that rests, not this test.
SEEN_S = 60.0  # From a kill to a take-over: suspicion, rank and jitter, on a busy machine.


def offer(home: Home, folder: Path) -> None:
    repository = folder / "repository"
    make_repository(repository, {"t.py": TASKS})
    home.offer("proc", repository, "t", ["add", "rest", "twice"])


def cluster_of(folder: Path, names: list[str], *, kinds: dict[str, str] | None = None) -> Cluster:
    found = Cluster(folder / "mesh", LoopbackNetwork(names), names)
    found.assemble(names, kinds)
    return found


def items(home: Home, *words: str, status: int = 0) -> list[dict[str, Any]]:
    run = home.mesh(*words, "-o", "json")
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    document = json.loads(run.stdout)
    assert document["schema"] == 1
    return list(document["items"])


def states(home: Home) -> dict[str, str]:
    return {row["name"]: row["state"] for row in items(home, "nodes")}


def refused(home: Home, *words: str, status: int) -> str:
    run = home.mesh(*words)
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    return run.stderr


def park(home: Home, *words: str) -> str:
    """A call that begins in an hour; its id."""
    return home.command("run", *words, "t.add", "1", "2", "--delay", "1h", "--no-wait").strip()
