"""Broadcasts on three real nodes: every worker of each, one that is away, one that is evicted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import Client, connect
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
WORKERS = 2
SOON_S = 60.0
TASKS = '''
"""Tasks that look at, and change, what one worker process keeps."""

import os

kept = {}


def put(name, value):
    """Load something into this worker."""
    kept[name] = value
    return os.getpid()


def get(name):
    """What this worker has."""
    return [os.getpid(), kept.get(name)]
'''


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes, each with two workers."""
    repository = tmp_path / "code"
    make_repository(repository, {"b/__init__.py": "", "b/tasks.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="mb-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("b", repository, "b.tasks", ["put", "get"])
        for name in NAMES:
            made["n1"].add("deployment", f"d-{name}", processor="b", host=name, cpus=WORKERS)
        made.wait_until_ready(processor="b", workers=WORKERS, hosts=NAMES)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def where(replies: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(one["node"], one["place"]) for one in replies]


def states(client: Client, flow: str) -> list[tuple[str, str]]:
    """State and reason of every call of a flow that has not ended, the mesh over."""
    found = client.ask("mesh.calls", flow=flow, unfinished=True, rows=100)["calls"]
    return [(row["state"], row["reason"]) for row in found]


def test_every_worker_of_every_node_runs_it_and_one_that_is_away_is_waited_for(cluster: Cluster):
    everywhere = [(name, place) for name in NAMES for place in range(WORKERS)]
    with connect(cluster["n2"].address) as client:
        put = client.socket("b.tasks.put").options(broadcast=True)
        first = put.submit("model", 1).result(SOON_S)

        assert where(first) == everywhere, "asked at n2, in the order of names and places"
        assert len({one["value"] for one in first}) == len(everywhere), "as many processes"

        cluster.kill("n3")
        until(lambda: cluster.view("n2").get("n3") not in ("alive", "suspect"), SOON_S, "n3 away")
        call = put.submit("model", 2)
        call.wait_accepted(SOON_S)

        def parked() -> list[tuple[str, str]]:
            return [row for row in states(client, call.id) if row[0] == "PARKED"]

        until(lambda: len(parked()) == WORKERS and len(states(client, call.id)) == WORKERS + 1,
              SOON_S, lambda: f"only n3 is waited for: {states(client, call.id)}")  # fmt: skip
        assert all("of node n3, which is away" in reason for _, reason in parked())
        doctor = cluster["n2"].mesh("doctor", "flow", call.id).stdout
        assert "it begins when that is back, and ends when it is evicted" in doctor

        cluster.start("n3")
        again = call.result(SOON_S)
        assert where(again) == everywhere and all("value" in one for one in again)
        got = client.socket("b.tasks.get").broadcast("model")
        assert [one["value"] for one in got] == [[one["value"], 2] for one in again]


def test_a_node_that_drains_is_not_reached(cluster: Cluster):
    with connect(cluster["n1"].address) as client:
        put = client.socket("b.tasks.put").options(broadcast=True)
        assert len(put.submit("model", 1).result(SOON_S)) == len(NAMES) * WORKERS

        assert cluster["n2"].mesh("node", "drain").returncode == 0
        until(lambda: cluster.view("n1").get("n2") == "draining", SOON_S, "n1 hears of it")

        replies = put.submit("model", 2).result(SOON_S)
        reached = [(name, place) for name in ("n1", "n3") for place in range(WORKERS)]
        assert where(replies) == reached


def test_a_node_that_is_evicted_ends_its_copies_and_the_others_are_kept(cluster: Cluster):
    with connect(cluster["n1"].address) as client:
        put = client.socket("b.tasks.put").options(broadcast=True)
        cluster.kill("n3")
        until(lambda: cluster.view("n1").get("n3") not in ("alive", "suspect"), SOON_S, "n3 away")
        call = put.submit("model", 1)
        call.wait_accepted(SOON_S)

        cluster.evict("n3", by="n1")

        replies = call.result(SOON_S)
        good = [one for one in replies if "value" in one]
        assert where(good) == [(name, place) for name in ("n1", "n2") for place in range(WORKERS)]
        bad = [one["error"] for one in replies if "error" in one]
        assert [error["code"] for error in bad] == ["seat_gone"] * WORKERS
        assert all("node n3 was evicted" in error["text"] for error in bad)
        assert where(put.submit("model", 2).result(SOON_S)) == where(good), "n3 is no more"
