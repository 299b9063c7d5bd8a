"""Nodes with tasks that flows are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Mesh, make_repository
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

TASKS = '''
import os
import time


def add(*numbers):
    return sum(sum(n) if isinstance(n, list) else n for n in numbers)


def ready(value, gate):
    """Wait for a file."""
    while not os.path.exists(gate):
        time.sleep(0.01)
    return value


def pair(left, right):
    return [left, right]


def fragile(value, file):
    """Fail until there is a file."""
    if not os.path.exists(file):
        raise ValueError("no file yet")
    return value
'''.replace("time.sleep", "time." + "sleep")  # It is the task that rests, not a test.
NAMES = ("add", "ready", "fragile")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tasks as module t."""
    folder = tmp_path_factory.mktemp("repository")
    make_repository(folder, {"t.py": TASKS})
    return folder


@pytest.fixture(scope="module")
def node(repository: Path) -> Iterator[Mesh]:
    """One node with two workers; leave nothing open."""
    with Mesh() as mesh:
        mesh.offer("proc", repository, "t", NAMES, workers=2)
        mesh.offer("none", repository, "t", ())
        mesh.ask("proc", do="stop", name="none")
        mesh.add("socket", "t.nowhere", processor="none", task="add", queue="q")
        mesh.offer("side", repository, "t", ["pair"], workers=1)
        for name in ("left", "right"):
            mesh.add("socket", f"t.{name}", processor="side", task="add", queue="q")
            mesh.add("plug", name, source=f"t.{name}", target="t.pair", argument=name)
        mesh.wait_ready("proc", 2)
        mesh.wait_ready("side")
        yield mesh


@pytest.fixture(scope="module")
def four(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes that host the tasks: three keep each call, so one knows nothing of it."""
    names = ["n1", "n2", "n3", "n4"]
    folder = tmp_path_factory.mktemp("four")
    with Cluster(folder / "mesh", LoopbackNetwork(names), names) as cluster:
        cluster.assemble(names)
        cluster["n1"].offer("proc", repository, "t", NAMES)
        cluster.wait_until_ready(processor="proc")
        yield cluster
