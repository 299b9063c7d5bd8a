"""A witness keeps votes and no calls."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.client import connect
from meshcode.errors import Refused, UnknownSocket
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "w1"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A core node and a witness."""
    folder = Path(tempfile.mkdtemp(prefix="mm-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES, {"w1": "witness"})
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def test_a_call_at_a_witness_is_refused_with_the_nodes_that_take_it(cluster: Cluster):
    """It would be on one disk alone, whatever the others have, and lost with it."""
    with connect(cluster["w1"].address) as client:
        socket = client.socket("shop.clean")
        with pytest.raises(Refused, match=r"w1 is a witness: .* nothing was accepted; .*: n1$"):
            socket.submit(1).wait_accepted(20)
        with pytest.raises(Refused):
            list(socket.map(range(3)))
    with connect(cluster["n1"].address) as client, pytest.raises(UnknownSocket):
        client.socket("shop.clean").submit(1).wait_accepted(20)
