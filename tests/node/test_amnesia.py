"""A real node whose log was put back from a copy: its peers know, and it must not go on."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import limits, paths
from meshcode.client import connect
from meshcode.errors import MeshError
from meshcode.peers.memory import Known, PeerMemory
from meshcode.store.contract import META
from meshcode.store.journaled import open_log
from meshcode.trust.folder import SELF
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2"]
TASKS = "def same(x):\n    return x\n"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of one mesh with one function, both running."""
    folder = Path(tempfile.mkdtemp(prefix="ma-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        make_repository(folder / "repository", {"jobs.py": TASKS})
        made["n1"].offer("p", folder / "repository", "jobs", ["same"])
        made.wait_until_ready(NAMES, processor="p", workers=1)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def words(cluster: Cluster, name: str) -> str:
    """All that a node said."""
    return cluster[name].said.read_text(errors="replace")


def known(cluster: Cluster, name: str, node: bytes) -> Known | None:
    """What this node has kept about another one: read from a copy of its log, for it may run."""
    there = cluster.folder / f"{name}.look"
    shutil.rmtree(there, ignore_errors=True)
    try:
        shutil.copytree(paths.data_dir(str(cluster[name].home)), there)
        with open_log(there, boot=False) as log:
            found = log.get(META, b"peers")
    except (MeshError, shutil.Error):  # It was written to meanwhile.
        return None
    return None if found is None else PeerMemory.unpack(found).by_node.get(node)


def heard(cluster: Cluster, node: bytes) -> int:
    """The transaction of a node that the second one has kept."""
    found = known(cluster, "n2", node)
    return 0 if found is None else found.commit


def refusal(cluster: Cluster) -> str:
    """Why the second node refuses the first, as it said it; empty when it does not."""
    found = re.search(r" refused: n1: (.*)", words(cluster, "n2"))
    return found[1] if found else ""


def work(cluster: Cluster, count: int) -> None:
    """Calls one after another, each in a transaction of its own at the least."""
    with connect(cluster["n1"].address) as client:
        for n in range(count):
            assert client.socket("jobs.same")(n) == n


def work_alone(cluster: Cluster) -> None:
    """The node comes back while nobody is there, and soon has more transactions than were heard."""
    cluster.kill("n2")
    cluster.start("n1")
    for n in range(4 * limits.PEER_COMMITS_UNKEPT):
        cluster["n1"].add("queue", f"q{n}")
    cluster.kill("n1")
    cluster.start("n2")


@pytest.mark.parametrize("copy_is", ["same boot", "higher boot", "far ahead"])
def test_a_log_from_a_copy_is_refused_by_the_peers_and_the_node_ends(cluster, copy_is: str):
    """Stopped, copied, started, at work, killed, and the copy put back: as it was; opened alone in
    between, so that its boot is higher than any that was heard; and after it worked alone.
    """
    n1, n2 = cluster["n1"], cluster["n2"]
    assert n1.stop() == 0
    cluster.copy_disk("n1")
    n1.start()
    cluster.wait_until_ready(NAMES, processor="p", workers=1)
    boot = n1.ask("status")["boot"]
    node = bytes.fromhex(n1.ask("status")["node"])
    before = until(lambda: known(cluster, "n2", node), 10, "n2 knows n1")
    assert before.boot == boot
    work(cluster, 2 * limits.PEER_COMMITS_UNKEPT)
    until(lambda: heard(cluster, node) > before.commit + 20, 10, "n2 keeps how far that log was")
    cluster.kill("n1")
    cluster.restore_disk("n1")
    if copy_is == "higher boot":
        for _ in range(2):
            open_log(paths.data_dir(str(n1.home))).close()
    elif copy_is == "far ahead":
        work_alone(cluster)

    n1.process = n1.spawn()
    status = n1.process.wait(30)
    why = until(lambda: refusal(cluster), 10, lambda: f"n2 says it: {words(cluster, 'n2')}")

    assert status == 0
    what = "of its log, transaction" if copy_is == "higher boot" else "in that boot with life"
    assert what in why and "its disk was restored from a copy" in why
    assert f"n2 refused this node, for its log has forgotten what it told its peers: {why}" in (
        words(cluster, "n1")
    )
    assert "mesh salvage" in words(cluster, "n1")
    assert any(why in text for text in n2.ask("mesh.status")["refused"])
    assert next(row for row in n2.ask("nodes")["nodes"] if row["name"] == "n1")["reason"] == why
    n2.stop()
    after = known(cluster, "n2", node)
    assert after is not None and after[:3] == before[:3], "nothing was learnt of the copy"
    again = n1.spawn()
    assert again.wait(30) != 0
    assert "this node does not start: n2 refused this node" in words(cluster, "n1")


def test_a_home_that_was_copied_and_started_elsewhere_is_told_where_the_other_one_is(cluster):
    """Both would be one node: the second that comes ends, and people are told where both are."""
    n1, n2 = cluster["n1"], cluster["n2"]
    assert n1.stop() == 0
    moved = Home(cluster.folder / "elsewhere", "n1", cluster.network)
    shutil.copytree(n1.home, moved.home, ignore=shutil.ignore_patterns("run", "said.txt"))
    file = moved.home / "mesh" / SELF
    here = cluster.network.bind("n1")
    there = here.rpartition(":")[0] + ":4999"
    file.write_text(file.read_text().replace(here, there))
    n1.start()
    until(lambda: n1.ask("mesh.status")["up"], 20, "n1 is up again")
    boot = n1.ask("status")["boot"]

    moved.process = moved.spawn()
    try:
        assert moved.process.wait(30) == 0, moved.words()
    finally:
        moved.close()

    why = until(lambda: refusal(cluster), 10, lambda: f"n2 says it: {words(cluster, 'n2')}")
    place = r"boot %d of this node was heard from %s .*, boot %d, which is refused, is at %s "
    assert re.search(place % (boot, re.escape(here), boot, re.escape(there)), why), why
    assert "evicting the node ends that one too" in why
    assert f"n2 refused this node, for its log has forgotten what it told its peers: {why}" in (
        moved.said.read_text(errors="replace")
    )
    assert any(why in text for text in n2.ask("mesh.status")["refused"])
    assert why in n2.mesh("status").stdout
    until(lambda: n1.ask("mesh.status")["up"], 20, "the other one goes on")
