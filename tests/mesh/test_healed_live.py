"""A partition that heals: what the logs of the nodes say of each other is true."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from meshcode.node.absences import AWAY
from tests.live.harness import until
from tests.mesh.cluster import ALIVE, Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ("n1", "n2", "n3")
SOON_S = 60.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes that see each other."""
    folder = Path(tempfile.mkdtemp(prefix="mh-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made.wait_until_ready(NAMES, seconds=SOON_S)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_nobody_is_called_away_that_answers(cluster: Cluster):
    """The one that was cut off believed both others dead, and tells each so of the other one."""
    cut = [pair for pair in permutations(NAMES, 2) if "n3" in pair]
    cluster.network.block(cut)
    until(lambda: cluster.view("n1") == {"n1": ALIVE, "n2": ALIVE, "n3": AWAY}, SOON_S, "n3 away")
    until(lambda: cluster.view("n3") == {"n1": AWAY, "n2": AWAY, "n3": ALIVE}, SOON_S, "both away")

    cluster.network.heal()

    everybody = dict.fromkeys(NAMES, ALIVE)
    until(lambda: all(cluster.view(name) == everybody for name in NAMES), SOON_S, "they are back")
    for one, other in (("n1", "n2"), ("n2", "n1")):
        said = [line[len("2026-11-29 07:58:23 "):] for line in cluster[one].words().splitlines()]
        assert {"node n3 is away", "node n3 is alive again"} <= set(said)
        assert f"node {other} is away" not in said
