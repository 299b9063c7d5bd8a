"""Both networks with stand-in servers: who hears whom, under every shape of partition."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
import zmq

from tests.live.harness import ROOT, until
from tests.mesh import shapes
from tests.mesh.cluster import Cluster
from tests.mesh.faults import Player
from tests.mesh.network import (
    BLOCK,
    CABLE,
    PORT,
    LoopbackNetwork,
    NamespaceNetwork,
    Network,
    ip,
)  # fmt: skip
from tests.mesh.scenarios import SCENARIOS, plan_of
from tests.mesh.shaper import Weather
from tests.mesh.shapes import Pair

NAMES = ["a", "b", "c", "d"]
ASK = """
import socket, sys
host, port, text = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    with socket.create_connection((host, port), 0.6) as link:
        link.settimeout(0.6)
        link.sendall((text + "\\n").encode())
        print("heard" if link.recv(100) else "ended")
except OSError as error:
    print(type(error).__name__)
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")
Net = LoopbackNetwork | NamespaceNetwork


@pytest.fixture(params=["loopback", pytest.param("netns", marks=needs_root)])
def network(request: pytest.FixtureRequest) -> Iterator[Net]:
    """Four nodes on either network."""
    made: Net
    if request.param == "loopback":
        made = LoopbackNetwork(NAMES)
    else:
        if not NamespaceNetwork.possible():
            pytest.skip("this root may not make network namespaces")
        made = NamespaceNetwork(NAMES)
    yield made
    made.close()


@pytest.fixture
def world(network: Net, tmp_path: Path) -> Iterator[Callable[[], set[Pair]]]:
    """A stand-in on every node; asking gives the pairs (source, target) that got an answer."""
    servers = []
    for name in NAMES:
        host = network.bind(name).removeprefix("tcp://").split(":")[0]
        words = [sys.executable, "-m", "tests.mesh.standin", host, str(PORT),
                 str(tmp_path / name)]  # fmt: skip
        servers.append(subprocess.Popen(
            network.command(name, words), cwd=ROOT, stdout=subprocess.PIPE,
        ))  # fmt: skip
    for server in servers:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"

    def ask(pair: Pair) -> bool:
        source, target = pair
        host, port = network.via(source)[target].removeprefix("tcp://").split(":")
        run = subprocess.run(
            network.command(source, [sys.executable, "-c", ASK, host, port, source]),
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return run.stdout.strip() == "heard"

    def round_trips() -> set[Pair]:
        pairs = sorted(shapes.every(NAMES))
        with ThreadPoolExecutor(4) as pool:
            return {pair for pair, good in zip(pairs, pool.map(ask, pairs), strict=True) if good}

    yield round_trips
    for server in servers:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def expected(blocked: frozenset[Pair]) -> set[Pair]:
    """A round trip needs both ways."""
    return {pair for pair in shapes.every(NAMES) if not {pair, pair[::-1]} & blocked}


def test_all_hear_all_and_each_shape_does_what_it_says(
    network: Net, world: Callable[[], set[Pair]]
):
    rng = Random(5)
    assert world() == expected(frozenset())
    for shape in (
        shapes.halves(NAMES, rng),
        shapes.ring(NAMES, rng),
        shapes.bridge(NAMES, rng),
        shapes.one_way(["c"], NAMES),
    ):
        network.block(shape)
        assert world() == expected(shape)
        network.fair(shape)
    assert world() == expected(frozenset())


def test_one_way_the_other_direction_still_arrives(
    network: Net, world: Callable[[], set[Pair]], tmp_path: Path
):
    """b hears a's words only when a's packets pass; on a blocked answer way a gets no answer but b
    has heard it.  In the kernel's TCP a handshake needs both ways, so there nothing is heard.
    """
    network.block([("b", "a")])

    heard = world()

    assert ("a", "b") not in heard
    assert ("b", "a") not in heard
    if isinstance(network, LoopbackNetwork):
        assert b"a\n" in (tmp_path / "b").read_bytes()
    network.heal()
    assert world() == expected(frozenset())


def test_a_cable_pulled_out_is_known_at_once_and_can_be_put_back(
    network: Net, world: Callable[[], set[Pair]]
):
    if not isinstance(network, NamespaceNetwork):
        assert CABLE not in network.can
        return
    network.pull([("a", "b"), ("b", "a")])
    assert world() == expected(shapes.between("a", "b"))

    network.heal()

    assert world() == expected(frozenset())


def test_a_slow_link_is_slow_in_its_own_direction_only(network: Net):
    """Measured by what the network says of itself, not by a stop-watch."""
    network.slow([("a", "b")], bytes_per_s=50_000)
    if isinstance(network, LoopbackNetwork):
        assert network.shaper.ways["a", "b"].weather.bytes_per_s == 50_000
        assert network.shaper.ways["b", "a"].weather.bytes_per_s == 0
        network.heal()
        assert network.shaper.ways["a", "b"].weather.bytes_per_s == 0
        return
    assert "tbf" in rules(network, "a", "to1")
    assert "tbf" not in rules(network, "b", "to0")
    network.heal()
    assert "tbf" not in rules(network, "a", "to1")


def rules(network: NamespaceNetwork, name: str, device: str) -> str:
    """What the kernel does with what leaves by a device."""
    words = ["tc", "qdisc", "show", "dev", device]
    run = subprocess.run(network.command(name, words), capture_output=True, text=True, check=True)
    return run.stdout


@needs_root
def test_namespaces_leave_nothing_behind():
    if not NamespaceNetwork.possible():
        pytest.skip("this root may not make network namespaces")
    network = NamespaceNetwork(["a", "b"])
    spaces = set(network.spaces.values())
    network.close()

    run = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert not spaces & {line.split()[0] for line in run.stdout.splitlines() if line}
    with pytest.raises(RuntimeError, match=r"ip netns del .*:"):
        ip("netns", "del", spaces.pop())


def test_two_networks_on_loopback_do_not_meet():
    first, second = LoopbackNetwork(NAMES), LoopbackNetwork(NAMES)
    try:
        assert BLOCK in first.can
        assert not set(first.hosts.values()) & set(second.hosts.values())
        assert not set(first.via("a").values()) & set(second.via("a").values())
    finally:
        first.close()
        second.close()


def test_shapes_cut_what_their_names_say():
    five = ["a", "b", "c", "d", "e"]
    for seed in range(50):
        rng = Random(seed)
        ring = shapes.ring(five, rng)
        assert all(sum(1 for a, _ in ring if a == name) == 2 for name in five)
        bridge = shapes.bridge(five, rng)
        whole = [name for name in five if not any(name in pair for pair in bridge)]
        assert len(whole) == 1
        assert len(shapes.halves(five, rng)) == 2 * 2 * 3
        out, back = shapes.swizzle(five, rng)
        assert sorted(out) == sorted(back)
        assert len(out) >= 2
    assert shapes.alone("a", five) == shapes.both(("a", other) for other in "bcde")
    assert shapes.one_way(["a"], five) == {(other, "a") for other in "bcde"}


@pytest.mark.parametrize("mode", ["loopback", pytest.param("netns", marks=needs_root)])
def test_every_network_fault_of_every_plan_can_be_done_and_undone(mode: str, tmp_path: Path):
    """Faults overlap: what is blocked is blocked again, what is fair is made fair."""
    if mode == "netns" and not NamespaceNetwork.possible():
        pytest.skip("this root may not make network namespaces")
    kind = LoopbackNetwork if mode == "loopback" else NamespaceNetwork
    done = 0
    for count in {scenario.nodes for scenario in SCENARIOS}:
        fitting = [s for s in SCENARIOS if s.nodes == count and s.needs and s.needs <= kind.can]
        if not fitting:
            continue
        names = [f"n{number + 1}" for number in range(count)]
        with Cluster(tmp_path, kind(names), names) as cluster:
            player = Player(cluster, tmp_path / "faults.jsonl", seed=1)
            for scenario in fitting:
                acts = [act for act in plan_of(scenario, 3, 20.0) if "pairs" in act.how]
                for act in acts:
                    player.do(act)
                player.heal()
                assert is_clear(cluster.network), scenario.name
                done += len(acts)
    assert done > 50


def is_clear(network: Network) -> bool:
    """Whether no fault is left."""
    if isinstance(network, NamespaceNetwork):
        return not (network.blocked or network.down or network.slowed)
    assert isinstance(network, LoopbackNetwork)
    return all(way.weather == Weather() for way in network.shaper.ways.values())


def test_messages_of_zeromq_survive_a_hold_and_a_reset_on_the_way(network: Net):
    """The links of nodes are ZeroMQ's: they connect again by themselves, and their heartbeat finds
    out.  Sent again until it comes, as protocols above a link do.
    """
    if not isinstance(network, LoopbackNetwork):
        assert not network.can & {"half-open", "cut"}
        return
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    try:
        router.bind(network.bind("b"))
        for option, value in (
            (zmq.LINGER, 0), (zmq.RECONNECT_IVL, 50), (zmq.HEARTBEAT_IVL, 100),
            (zmq.HEARTBEAT_TIMEOUT, 500), (zmq.IMMEDIATE, 1),
        ):  # fmt: skip
            dealer.setsockopt(option, value)
        dealer.connect(network.via("a")["b"])

        def arrives(text: bytes) -> bool:
            with suppress(zmq.Again):
                dealer.send(text, zmq.NOBLOCK)
            found = []
            while router.poll(100):
                found.append(router.recv_multipart()[-1])
            return text in found

        until(lambda: arrives(b"first"), 5, "it arrives")
        network.block([("a", "b"), ("b", "a")])
        assert not arrives(b"held")
        network.heal()
        until(lambda: arrives(b"healed"), 5, "it arrives after the hold")
        network.cut([("a", "b")])
        until(lambda: arrives(b"cut"), 5, "it arrives after the reset")
        network.half_open([("a", "b")])
        assert not arrives(b"lost")
        until(lambda: network.shaper.figures()["a", "b"]["dropped"], 5, "bytes vanish")
        network.heal()
        until(lambda: arrives(b"again"), 5, "it arrives after the half-open link was reset")
    finally:
        dealer.close(0)
        router.close(0)
        context.term()
