"""Real nodes without a first one to lean on: who joined meanwhile, who moved, who was evicted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from meshcode.peers import notice
from meshcode.peers.notice import Notice
from meshcode.trust import identity, signing
from meshcode.trust.roster import pack_statements
from meshcode.trust.statements import Eviction, Statement, eviction_body
from tests.live.harness import until
from tests.mesh.cluster import ALIVE, Cluster
from tests.mesh.network import PORT, LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 40.0
AWAY = "away"


class PlainNetwork(LoopbackNetwork):
    """Nodes find each other by what they were told and tell, as they do outside of tests."""

    def via(self, name: str) -> dict[str, str]:
        """No way is given from outside."""
        return {}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Homes of three nodes; nothing runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="mr-"))
    with Cluster(folder, PlainNetwork(NAMES), NAMES) as made:
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def see(cluster: Cluster, *names: str) -> None:
    """Wait until these see each other alive."""
    cluster.wait_until_ready(names, seconds=SOON_S)


def test_who_joins_while_the_first_node_is_away_is_linked_and_is_found_where_it_moves(
    cluster: Cluster,
):
    cluster.assemble(["n1", "n2"])
    cluster["n2"].command("node", "admit", "--key", str(cluster["n1"].home / "mesh" / "root.key"))
    cluster.restart("n2")
    see(cluster, "n1", "n2")
    cluster.kill("n1")

    cluster.join("n3", by="n2")
    see(cluster, "n2", "n3")

    cluster["n3"].stop(SOON_S)
    mine = cluster["n3"].home / "mesh" / "self.json"
    mine.write_text(mine.read_text().replace(f":{PORT}", f":{PORT + 50}"))
    cluster.start("n3")
    see(cluster, "n2", "n3")
    until(lambda: "node n3 is alive again" in cluster["n2"].words(), SOON_S, "it is taken back")
    assert "node n3 is leaving" in cluster["n2"].words()
    wanted = {"n1": AWAY, "n2": ALIVE, "n3": ALIVE}
    until(lambda: cluster.view("n2") == wanted, SOON_S, "n1 is found to be away")


def test_who_was_evicted_while_it_was_down_hears_of_it_and_ends_and_a_forgery_ends_nobody(
    cluster: Cluster,
):
    cluster.assemble(["n1", "n2"])
    see(cluster, "n1", "n2")
    cluster.kill("n1")
    forge(cluster, by="n1", of="n2")
    until(lambda: "the roster of n1 was refused" in cluster["n2"].words(), SOON_S, "it is refused")
    cluster.start("n1")
    see(cluster, "n1", "n2")

    cluster.kill("n2")
    cluster.evict("n2", by="n1")
    started = cluster["n2"].spawn()  # It may end before it answers anybody.
    cluster["n2"].process = started
    started.wait(SOON_S)

    assert "this node was evicted" in cluster["n2"].words()
    assert "was evicted from its mesh" in cluster["n2"].mesh("up").stderr
    assert cluster.view("n1").get("n2") != ALIVE


def forge(cluster: Cluster, *, by: str, of: str) -> None:
    """A member in bad faith sends another one its eviction; the root key did not sign it."""
    bad, good = (identity.load(str(cluster[name].home)) for name in (by, of))
    assert bad is not None and good is not None
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    body = eviction_body(good.mesh, Eviction(good.node, of, good.root_key, 1, "out"))
    signed = Statement(body, signing.make_key().sign(body))
    told = Notice(pack_statements(good.root_key, evictions=[signed]), list(good.advertise))
    notice.send(context, bad.public, bad.secret, good.public, told, 1)
    context.term()  # Waits for what is on its way.
