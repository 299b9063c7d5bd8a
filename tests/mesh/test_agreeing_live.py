"""Real nodes that mount a branch at different moments run one commit, also beside a frozen one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork
from tests.worker.conftest import Repo

NAMES = ["n1", "n2", "n3"]
MOUNT_S = 60.0
TASK = "def which():\n    return {}\n"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes without code."""
    folder = Path(tempfile.mkdtemp(prefix="mg-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made.wait_until_ready()
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def runs(cluster: Cluster, name: str) -> str:
    """The commit that a node runs, "" while it has no worker that is ready."""
    home = cluster[name]
    return str(home.processor("p")["commit"]) if home.ready_workers("p") else ""


def test_a_node_that_mounts_later_runs_what_the_others_run(cluster: Cluster, tmp_path: Path):
    repo = Repo(tmp_path / "code")
    first = repo.commit({"m.py": TASK.format(1)})
    n1, n2 = cluster["n1"], cluster["n2"]
    n1.offer("p", repo.folder, "m", ["which"])
    n1.add("deployment", "d1", processor="p", host="n1")
    until(lambda: runs(cluster, "n1") == first, MOUNT_S, "n1 runs the first commit")
    second = repo.commit({"m.py": TASK.format(2)})

    n1.add("deployment", "d2", processor="p", host="n2")
    until(lambda: runs(cluster, "n2"), MOUNT_S, "n2 runs it")

    assert runs(cluster, "n2") == first
    assert "is not the same code" not in n1.mesh("doctor").stdout

    n1.command("proc", "restart", "-n", "p", "--wait")
    until(
        lambda: [runs(cluster, name) for name in ("n1", "n2")] == [second, second], MOUNT_S,
        "both fetched the newest, as was asked for",
    )  # fmt: skip

    repo.commit({"m.py": TASK.format(3)})
    cluster.freeze("n1")
    n2.add("deployment", "d3", processor="p", host="n3")
    until(lambda: runs(cluster, "n3"), MOUNT_S, "n3 runs it, though n1 says nothing")
    cluster.thaw("n1")

    assert runs(cluster, "n3") == second
