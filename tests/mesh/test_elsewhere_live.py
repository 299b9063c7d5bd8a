"""A processor that is deployed at one node only: what its calls wait for while that one is gone."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import connect
from meshcode.errors import UnknownCall, WaitTimeout
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes; the processor is deployed at n2."""
    make_repository(tmp_path / "code", {"e/__init__.py": "", "e/tasks.py": "def f(n): return n\n"})
    folder = Path(tempfile.mkdtemp(prefix="me-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("e", tmp_path / "code", "e.tasks", ["f"])
        made["n1"].add("deployment", "e2", processor="e", host="n2")
        made.wait_until_ready(processor="e", workers=1, hosts=["n2"])
        assert made["n1"].command("run", "e.tasks.f", "1").strip() == "1"
        yield made
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_calls_say_at_once_which_node_they_wait_for(cluster: Cluster, how: str):
    n1 = cluster["n1"]
    if how == "killed":
        cluster.kill("n2")
    else:
        assert cluster["n2"].stop() == 0
    id = n1.command("run", "e.tasks.f", "1", "--no-wait").split()[-1]

    def row() -> dict[str, Any]:
        return json.loads(n1.command("ls", "call", id, "-o", "json"))["items"][0]

    def names_n2() -> bool:
        found = row()
        why = ("at n2, which ", "and n2 does not", "and n2 is away", "and n2 went down")
        return found["state"] == "PARKED" and any(one in found["reason"] for one in why)

    until(names_n2, 5, lambda: f"it says what it waits for: {row()}")
    doctor = n1.mesh("doctor", "flow", id)
    assert "cannot begin: processor e has " in doctor.stdout
    assert "nothing holds it up" not in doctor.stdout
    if how == "killed":
        until(lambda: "n2 is away; start a node there" in row()["reason"], 60, lambda: str(row()))
        doctor = n1.mesh("doctor", "flow", id)
        assert "it is deployed on n2 only, and n2 is away" in doctor.stdout
        assert "mesh add deployment -n e -d e-here -h n1" in doctor.stdout

    if how == "killed":
        n1.command("node", "evict", "n2", "--yes")
        until(
            lambda: "n2 was evicted; update or delete the deployment e2, or" in row()["reason"],
            20, lambda: str(row()),
        )  # fmt: skip
        n1.command("update", "deployment", "e2", "-h", "n3")
        until(lambda: row()["state"] == "DONE", 60, lambda: str(row()))
        return
    cluster.start("n2")
    until(lambda: row()["state"] == "DONE", 60, lambda: str(row()))


WAITING = """
import os
import time


def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return path
"""


def test_a_call_that_runs_at_the_other_node_of_two_names_both_copies_and_no_worker(tmp_path: Path):
    """It had worker -1, and `2 of 2 copies` had one name."""
    make_repository(tmp_path / "code", {"e/__init__.py": "", "e/tasks.py": WAITING})
    folder = Path(tempfile.mkdtemp(prefix="me-"))
    with Cluster(folder, LoopbackNetwork(NAMES[:2]), NAMES[:2]) as made:
        made.assemble(NAMES[:2])
        n1, n2 = made["n1"], made["n2"]
        n1.offer("e", tmp_path / "code", "e.tasks", ["wait"])
        n1.add("deployment", "e2", processor="e", host="n2")
        made.wait_until_ready(processor="e", workers=1, hosts=["n2"])
        gate = tmp_path / "gate"
        id = n1.command("run", "e.tasks.wait", str(gate), "--no-wait").split()[-1]

        def row(*asked: str) -> dict[str, Any]:
            return json.loads(n1.command("ls", "call", id, *asked, "-o", "json"))["items"][0]

        until(lambda: row()["runs_on"] == "n2", 20, lambda: f"n2 runs it: {row()}")
        for home in (n1, n2):
            shown = home.command("ls", "call", id)
            assert "kept: 2 of 2 copies: n1, n2" in shown
            assert "worker" not in shown
        found = row()
        assert (found["voters"], found["worker"]) == (["n1", "n2"], None)
        gate.touch()
        until(lambda: row()["state"] == "DONE", 20, lambda: str(row()))
        assert row()["worker"].startswith("e/")
    shutil.rmtree(folder, ignore_errors=True)


def test_who_has_only_the_id_waits_at_the_keeper_of_a_copy_while_its_home_is_away(tmp_path: Path):
    """It was told that there is no such call."""
    make_repository(tmp_path / "code", {"e/__init__.py": "", "e/tasks.py": WAITING})
    folder = Path(tempfile.mkdtemp(prefix="me-"))
    with Cluster(folder, LoopbackNetwork(NAMES[:2]), NAMES[:2]) as made:
        made.assemble(NAMES[:2])
        n1, n2 = made["n1"], made["n2"]
        n1.offer("e", tmp_path / "code", "e.tasks", ["wait"])
        n1.add("deployment", "e1", processor="e", host="n1")
        made.wait_until_ready(processor="e", workers=1, hosts=["n1"])
        gate = tmp_path / "gate"
        id = n1.command("run", "e.tasks.wait", str(gate), "--no-wait").split()[-1]
        until(lambda: "kept: 2 of 2 copies" in n2.command("ls", "call", id), 20, "n2 keeps it")
        made.kill("n1")
        until(lambda: made.view("n2")["n1"] != "alive", 60, "n2 misses n1")

        with connect(n2.address) as client:
            call = client.call(id)
            with pytest.raises(WaitTimeout):
                call.result(2)
            with pytest.raises(UnknownCall):
                client.call("f" * 32).result(20)
            gate.touch()
            made.start("n1")
            assert call.result(60) == str(gate)
        assert "DONE" in n2.command("ls", "call", id)
    shutil.rmtree(folder, ignore_errors=True)
