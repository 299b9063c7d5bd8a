"""The cluster's hands on real nodes, each alone: no mesh is needed to kill, freeze or copy one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.harness import until
from tests.live.rawlink import NoAnswer
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork, NamespaceNetwork

NAMES = ["n1", "n2"]
SOON_S = 10.0


@pytest.fixture(params=["loopback", "netns"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes that are not started, on either network."""
    if request.param == "netns" and not NamespaceNetwork.possible():
        pytest.skip("network namespaces need root")
    kind = LoopbackNetwork if request.param == "loopback" else NamespaceNetwork
    folder = Path(tempfile.mkdtemp(prefix="mm-"))
    with Cluster(folder, kind(NAMES), NAMES) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def states(cluster: Cluster, name: str) -> set[str]:
    """The states of all processes of a node."""
    return {process.status() for process in cluster[name].tree()}


def test_killed_started_frozen_thawed_restarted_and_nothing_is_left(cluster: Cluster):
    cluster.start("n1")
    first = cluster["n1"].ask("status")
    assert first["pid"] == cluster["n1"].process.pid  # Not that of some `ip netns exec`.

    cluster.freeze("n1")
    until(lambda: states(cluster, "n1") == {psutil.STATUS_STOPPED}, SOON_S, "all stand still")
    with pytest.raises(NoAnswer):
        cluster["n1"].ask("status", seconds=0.3)
    cluster.thaw("n1")
    assert cluster["n1"].ask("status")["boot"] == first["boot"]

    tree = cluster["n1"].tree()
    cluster.kill("n1")
    assert not any(process.is_running() for process in tree)
    cluster.start("n1")
    cluster.restart("n1")
    assert cluster["n1"].ask("status")["boot"] == first["boot"] + 2

    tree = cluster["n1"].tree()
    cluster.freeze("n1")
    cluster.close()
    assert not any(process.is_running() for process in tree)


def test_a_disk_is_copied_restored_lost_and_destroyed(cluster: Cluster):
    cluster.start("n1")
    node = cluster["n1"].ask("status")["node"]
    cluster.kill("n1")
    cluster.copy_disk("n1")
    cluster.start("n1")
    assert cluster["n1"].ask("status")["boot"] == 2
    with pytest.raises(AssertionError, match="n1 runs"):
        cluster.restore_disk("n1")

    cluster.kill("n1")
    cluster.restore_disk("n1")
    cluster.start("n1")
    assert cluster["n1"].ask("status")["boot"] == 2  # It has forgotten that it was started.
    assert cluster["n1"].ask("status")["node"] == node

    cluster.kill("n1")
    cluster.lose_disk("n1")
    cluster.start("n1")
    assert cluster["n1"].ask("status")["boot"] == 1

    cluster.destroy("n1")
    assert not cluster["n1"].home.exists()
    assert not cluster["n1"].up


def test_each_node_is_told_its_own_ways_to_the_others(cluster: Cluster):
    cluster.start("n1")
    environ = psutil.Process(cluster["n1"].process.pid).environ()

    assert list(json.loads(environ["MESH_PEER_VIA"])) == ["n2"]
    assert environ["MESH_HOME"] == str(cluster["n1"].home)
    assert "MESH_NODE" not in environ


def test_who_is_not_ready_in_time_is_told_with_what_it_lacks(cluster: Cluster):
    cluster.start("n1")
    cluster.wait_until_ready(["n1"])

    with pytest.raises(AssertionError, match=r"n1 has 0 of 2 workers of effects(.|\n)*--- n1"):
        cluster.wait_until_ready(["n1"], processor="effects", workers=2, seconds=0.2)


def test_a_command_that_fails_says_what_it_said(cluster: Cluster):
    with pytest.raises(AssertionError, match=r"n1: `mesh nonsense` gave [1-9]"):
        cluster["n1"].command("nonsense")
    assert cluster["n1"].command("--version").startswith("mesh")


def test_closing_ends_what_was_killed_behind_its_back(cluster: Cluster):
    """A node that died by itself leaves no process of its own either."""
    cluster.start("n1")
    tree = cluster["n1"].tree()
    os.kill(cluster["n1"].process.pid, signal.SIGKILL)

    cluster.close()

    assert not any(process.is_running() for process in tree)
