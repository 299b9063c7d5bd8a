"""Clients of real nodes over TCP: when their node dies, and when they may not come any more."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from meshcode import errors, paths
from meshcode.client import Client, connect
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import PORT, LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
TASKS = """\
import time
from pathlib import Path


def same(x):
    return x


def wait(path):
    while not Path(path).exists():
        time.sleep(0.05)
    return "came"
"""
SOON_S = 30.0


@pytest.fixture
def cluster(monkeypatch) -> Iterator[Cluster]:
    """Three nodes of one mesh, running, with two functions; the client library knows no home."""
    for name in ("MESH_HOME", "MESH_NODE", "MESH_CLIENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    folder = Path(tempfile.mkdtemp(prefix="mc-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        make_repository(folder / "repository", {"jobs.py": TASKS})
        made["n1"].offer("p", folder / "repository", "jobs", ["same", "wait"])
        made.wait_until_ready(NAMES, processor="p", workers=1)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def told(home: Home) -> list[dict[str, Any]]:
    """What a node has written for its clients."""
    path = Path(paths.mesh_dir(str(home.home))) / "clients.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def far_address(cluster: Cluster, name: str) -> str:
    """Where clients elsewhere reach a node, with its key."""
    at = f"tcp://{cluster.network.hosts[name]}:{PORT + 2}"
    teller = "n1" if name != "n1" else "n2"
    rows = until(
        lambda: [row for row in told(cluster[teller]) if row["address"] == at], SOON_S,
        lambda: f"{teller} tells {at}: {told(cluster[teller])}",
    )  # fmt: skip
    return f"{at}?key={rows[0]['key']}"


def list_keys(home: Home, *lines: str) -> None:
    """Write `mesh/clients.keys` as an operator does."""
    path = Path(paths.mesh_dir(str(home.home))) / "clients.keys"
    path.write_text("".join(line + "\n" for line in lines))
    path.chmod(0o600)


def enters(addresses: list[str], curve: tuple[bytes, bytes]) -> Client | None:
    """A client that got in, or None when its key was refused."""
    try:
        return connect(addresses, timeout=1, curve=curve)
    except errors.NoNode as error:
        assert "refuses the key of this client" in str(error), error
        return None


def test_a_client_whose_node_dies_for_good_goes_on_by_itself_over_tcp(cluster, monkeypatch):
    """Nothing is configured but the home of the first node."""
    home = cluster["n1"]
    until(lambda: len({row["node"] for row in told(home)}) == 2, SOON_S, "n1 writes where to go")
    monkeypatch.setenv("MESH_HOME", str(home.home))
    gate = cluster.folder / "gate"
    with connect(timeout=SOON_S) as client:
        assert client.address.startswith("ipc://") and len(client.addresses) >= 3
        before = [client.socket("jobs.same").submit(n) for n in range(50)]
        blocked = client.socket("jobs.wait").submit(str(gate))
        assert blocked.wait_accepted(SOON_S).startswith(("quorum", "all"))

        cluster.destroy("n1")
        gate.touch()
        after = [client.socket("jobs.same").submit(n) for n in range(50)]

        assert [call.result(60) for call in (*before, *after)] == [*range(50), *range(50)]
        assert blocked.result(60) == "came"
        assert client.address.startswith("tcp://")
        hosts = {f"tcp://{cluster.network.hosts[name]}:{PORT + 2}" for name in ("n2", "n3")}
        assert client.address.partition("?")[0] in hosts


def test_a_listed_client_comes_in_and_goes_out_with_the_file(cluster):
    """Without a restart; a live session is cut, and a member's key needs no list."""
    n1, keys = cluster["n1"], zmq.curve_keypair()
    both = [far_address(cluster, "n1"), far_address(cluster, "n2")]  # The second lists nobody.
    assert enters(both, keys) is None

    list_keys(n1, "# people", f"{keys[0].decode()} ann, laptop")
    client = until(lambda: enters(both, keys), SOON_S, "she is let in", every=0.2)
    with client:
        assert client.socket("jobs.same")("x") == "x"

        list_keys(n1, "# nobody any more")
        until(lambda: not reaches(client), SOON_S, "she is cut off", every=0.2)
        assert enters(both, keys) is None
        said = n1.said.read_text(errors="replace")
        assert "refused: client key " in said and keys[1].decode() not in said

        list_keys(n1, f"{keys[0].decode()} ann, laptop", "nonsense here")
        until(lambda: reaches(client), SOON_S, "the same client comes in again", every=0.2)
    assert "line 2 lists nobody" in n1.said.read_text(errors="replace")


def reaches(client: Client) -> bool:
    """Whether a node answers this client within a second."""
    try:
        return client.ask("status", timeout=1)["state"] == "ready"
    except (errors.NoNode, errors.WaitTimeout):
        return False


def test_the_key_of_an_evicted_node_lets_in_nobody_even_when_it_is_listed(cluster, monkeypatch):
    address = far_address(cluster, "n1")
    monkeypatch.setenv("MESH_HOME", str(cluster["n3"].home))  # Its node.key is the client's.
    with connect(address, timeout=SOON_S) as client:
        assert client.socket("jobs.same")("x") == "x"
        listed = [row["key"] for row in told(cluster["n1"]) if row["address"] in client_of(cluster)]
        list_keys(cluster["n1"], f"{listed[0]} n3, by mistake")

        cluster.evict("n3", by="n1")

        until(lambda: not reaches(client), SOON_S, "it is cut off", every=0.2)
        with pytest.raises(errors.NoNode, match="refuses the key of this client"):
            connect(address, timeout=1)
    monkeypatch.setenv("MESH_HOME", str(cluster["n2"].home))
    with connect(address, timeout=SOON_S) as client:
        assert client.socket("jobs.same")("x") == "x", "members still come in"


def client_of(cluster: Cluster) -> list[str]:
    """The addresses of the third node for clients."""
    return [f"tcp://{cluster.network.hosts['n3']}:{PORT + 2}"]


def test_a_port_that_is_taken_costs_clients_over_tcp_and_not_the_node():
    folder = Path(tempfile.mkdtemp(prefix="mc-"))
    network = LoopbackNetwork(["n1"])
    with (
        socket.create_server((network.hosts["n1"], PORT + 2)),
        Cluster(folder, network, ["n1"]) as cluster,
    ):
        cluster.assemble(["n1"])
        said = cluster["n1"].said.read_text(errors="replace")

        assert f"no clients over TCP: the address {network.bind('n1')[:-1]}2 for clients" in said
        assert cluster["n1"].ask("status")["state"] == "ready"
        assert cluster["n1"].stop() == 0
    shutil.rmtree(folder, ignore_errors=True)
