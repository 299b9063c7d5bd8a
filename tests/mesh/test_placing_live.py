"""A scheduler of three real nodes: who runs how many workers, and that a change loses no call."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import connect
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 20.0
BATCH = 200
TASKS = '''
"""A task to place."""


def twice(n):
    """Two times a number."""
    return 2 * n
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of one scheduler, and a deployment of six CPUs that it spreads."""
    repository = tmp_path_factory.mktemp("code")
    make_repository(repository, {"p/__init__.py": "", "p/tasks.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="mp-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("p", repository, "p.tasks", ["twice"])
        made["n1"].add("scheduler", "even", strategy="BALANCED")
        for name in NAMES:
            made["n1"].add("node", name, cpus=4, scheduler="even")
        made["n1"].command("add", "deployment", "-n", "p", "-d", "spread", "-sc", "even", "-c", "6")
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def ready(cluster: Cluster, names: list[str]) -> list[int]:
    """How many workers of it each node has up, and no others."""
    found = []
    for name in names:
        workers = cluster[name].ask("status")["workers"]
        states = [row["state"] for row in workers]
        found.append(len(states) if all(state == "ready" for state in states) else -1)
    return found


def settle(cluster: Cluster, wanted: list[int], names: list[str] = NAMES) -> None:
    until(
        lambda: ready(cluster, names) == wanted, SOON_S,
        lambda: f"{wanted} workers on {names}, there are {ready(cluster, names)}", every=0.05,
    )  # fmt: skip


def planned(cluster: Cluster, name: str) -> tuple[dict[str, int], str]:
    """What `mesh scheduler start` says at a node: CPUs by node, and what has no room."""
    run = cluster[name].mesh("scheduler", "start", "-n", "even", "-o", "json")
    assert run.returncode == 0, run.stderr
    rows: list[dict[str, Any]] = json.loads(run.stdout)["items"]
    return {row["name"]: row["asked"] for row in rows}, run.stderr


def test_each_strategy_places_the_cpus_and_every_node_says_so(cluster: Cluster):
    settle(cluster, [2, 2, 2])

    cluster["n2"].command("update", "scheduler", "even", "-s", "EFFICIENT")

    settle(cluster, [4, 2, 0])
    for name in NAMES:
        assert planned(cluster, name)[0] == {"n1": 4, "n2": 2, "n3": 0}
    # Who has no worker takes calls all the same.
    assert cluster["n3"].command("run", "p.tasks.twice", "21").strip() == "42"
    cluster["n3"].command("update", "scheduler", "even", "-s", "BALANCED")
    settle(cluster, [2, 2, 2])


def test_a_declared_node_may_say_its_node_by_its_host(cluster: Cluster):
    """Deployments took the name of a node for its host, and schedulers gave it CPUs for nobody."""
    cluster["n1"].command("delete", "node", "n3", "-y")
    cluster["n1"].add("node", "gamma", host="n3", cpus=4, scheduler="even")
    try:
        settle(cluster, [2, 2, 2])
        assert planned(cluster, "n2")[0] == {"n1": 2, "n2": 2, "gamma": 2}
        assert "no such node" not in cluster["n1"].command("scheduler", "start", "-n", "even")
    finally:
        cluster["n1"].command("delete", "node", "gamma", "-y")
        cluster["n1"].add("node", "n3", cpus=4, scheduler="even")


def test_scaling_in_and_out_under_load_loses_no_call_and_no_order(cluster: Cluster):
    steps: list[tuple[tuple[str, ...], list[int]]] = [
        (("update", "deployment", "spread", "-c", "3"), [1, 1, 1]),
        (("update", "node", "n1", "-c", "1"), [1, 1, 1]),
        (("update", "deployment", "spread", "-c", "9"), [1, 4, 4]),
        (("scheduler", "remove", "-n", "even", "-nd", "n2"), [1, 0, 4]),
        (("scheduler", "add", "-n", "even", "-nd", "n2"), [1, 4, 4]),
    ]
    done = threading.Event()
    sums: list[list[int]] = []

    def load() -> None:
        with connect(cluster["n2"].address) as client:
            twice = client.socket("p.tasks.twice")
            while not done.is_set():
                sums.append(list(twice.map(range(BATCH))))

    loading = threading.Thread(target=load)
    loading.start()
    try:
        for words, wanted in steps:
            cluster["n1"].command(*words)
            settle(cluster, wanted)
            if wanted == [1, 0, 4]:
                assert "deployment spread has 5 of 9 CPUs" in planned(cluster, "n3")[1]
    finally:
        done.set()
        loading.join(SOON_S)

    assert not loading.is_alive()
    assert len(sums) > len(steps)
    assert all(batch == [2 * n for n in range(BATCH)] for batch in sums)


def test_nothing_moves_because_a_node_is_away(cluster: Cluster):
    cluster["n1"].command("update", "node", "n1", "-c", "4")
    cluster["n1"].command("update", "deployment", "spread", "-c", "6")
    settle(cluster, [2, 2, 2])
    pids = {row["pid"] for row in cluster["n2"].ask("status")["workers"]}

    cluster.kill("n3")
    until(lambda: cluster.view("n1")["n3"] != "alive", SOON_S, "n1 misses n3", every=0.1)

    assert ready(cluster, ["n1", "n2"]) == [2, 2]
    assert {row["pid"] for row in cluster["n2"].ask("status")["workers"]} == pids
    assert planned(cluster, "n2")[0] == {"n1": 2, "n2": 2, "n3": 2}
    cluster.start("n3")
    settle(cluster, [2, 2, 2])
