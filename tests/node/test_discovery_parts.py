"""Discovery without other processes: which interfaces, what is told, what is read; and seeds."""

from __future__ import annotations

import socket
import time
from random import Random
from typing import Any

import pytest

from meshcode import limits
from meshcode.node import discovery
from meshcode.node.discovery import Interface, Seeds, choose_interfaces

MESH = b"mesh-of-the-test"
OTHER_MESH = b"mesh of neighbor"
TAG = discovery.mesh_tag(MESH)
A, B = bytes([0xA1]) * 16, bytes([0xB2]) * 16

LO = Interface("lo", ("127.0.0.1",), loopback=True)
ETH = Interface("eth0", ("192.0.2.2",))
WLAN = Interface("wlan0", ("198.51.100.7", "198.51.100.8"))


@pytest.mark.parametrize(
    ("there", "wanted", "loopback", "chosen"),
    [
        ([LO, ETH, WLAN], [], False, ["eth0", "wlan0"]),
        ([LO], [], False, ["lo"]),
        ([LO, ETH], [], True, ["lo"]),
        ([LO, ETH], ["lo"], False, ["lo"]),
        ([LO, ETH, WLAN], ["198.51.100.8"], False, ["wlan0"]),
        ([LO, ETH], ["wlan0"], False, []),
        ([LO, ETH], ["wlan0", "eth0"], True, ["eth0"]),
        ([LO, ETH._replace(up=False)], [], False, ["lo"]),
        ([LO, ETH._replace(up=False)], ["eth0"], False, []),
        ([LO, ETH._replace(addresses=())], [], False, ["lo"]),
        ([LO, ETH._replace(point_to_point=True)], [], False, ["lo"]),
        ([LO, ETH._replace(name="wg0")], ["wg0"], False, ["wg0"]),
        ([], [], False, []),
    ],
)
def test_interfaces_are_chosen(there, wanted, loopback, chosen):
    found = choose_interfaces(there, wanted, loopback=loopback)

    assert [one.name for one in found] == chosen


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("eth0", True), ("enp3s0", True), ("wlan0", True), ("en0", True), ("bond0", True),
        ("br0", True), ("eth0.12", True), ("wwan0", True),
        ("docker0", False), ("docker_gwbridge", False), ("br-1f2e3d", False),
        ("veth12ab", False), ("virbr0", False), ("vnet3", False), ("cni0", False),
        ("cali12", False), ("flannel.1", False), ("podman0", False), ("lxcbr0", False),
        ("lxdbr0", False), ("tun0", False), ("tap0", False), ("utun3", False), ("wg0", False),
        ("awdl0", False), ("vmnet8", False), ("vboxnet0", False), ("cilium_host", False),
    ],
)  # fmt: skip
def test_interfaces_to_containers_and_tunnels_are_left_alone(name, used):
    assert bool(choose_interfaces([ETH._replace(name=name)])) == used


def test_interfaces_are_bounded():
    many = [ETH._replace(name=f"eth{number}") for number in range(100)]

    assert len(choose_interfaces(many)) == limits.DISCOVERY_INTERFACES_MAX


def test_the_interfaces_of_this_host_are_read():
    there = {one.name: one for one in discovery.local_interfaces()}

    assert there["lo"].loopback and "127.0.0.1" in there["lo"].addresses


@pytest.mark.parametrize(
    ("announce", "interfaces", "told"),
    [
        ([("192.0.2.2", 7)], [ETH], {7: ["192.0.2.2"]}),
        ([("0.0.0.0", 7)], [ETH, WLAN], {7: ["192.0.2.2", "198.51.100.7", "198.51.100.8"]}),
        ([("*", 7), ("192.0.2.2", 7)], [ETH], {7: ["192.0.2.2"]}),
        ([("192.0.2.2", 7), ("192.0.2.2", 8)], [ETH], {7: ["192.0.2.2"], 8: ["192.0.2.2"]}),
        ([("[fd00::2]", 7)], [ETH], {7: ["fd00::2"]}),
        ([("fe80::1", 7)], [ETH], {}),
        ([("fe80::1%eth0", 7)], [ETH], {}),
        ([("myhost", 7)], [ETH], {}),
        ([("127.0.0.1", 7)], [ETH], {}),
        ([("*", 7)], [LO, ETH], {7: ["192.0.2.2"]}),
        ([("127.0.0.1", 7)], [LO], {7: ["127.0.0.1"]}),
        ([("*", 7)], [LO], {7: ["127.0.0.1"]}),
        ([("192.0.2.2", 7)], [LO], {7: ["192.0.2.2"]}),
        ([("::", 7)], [ETH], {}),
        ([], [ETH], {}),
    ],
)
def test_what_is_announced(announce, interfaces, told):
    assert discovery.announced(announce, interfaces) == told


TEXT = {b"m": TAG.encode(), b"n": A.hex().encode(), b"p": b"7000", b"v": b"1"}
NAME = f"{A.hex()}.{discovery.SERVICE}"


@pytest.mark.parametrize(
    ("name", "port", "ips", "text"),
    [
        (NAME, 7000, ["192.0.2.2"], TEXT),
        (NAME.upper(), 7000, ["192.0.2.2"], TEXT),
        (NAME.replace(".", "-7000.", 1), 7000, ["192.0.2.2"], TEXT),
        (NAME, 7000, ["192.0.2.2"], {**TEXT, b"v": b"2", b"x": b"later"}),
    ],
)
def test_an_announcement_of_ours_is_read(name, port, ips, text):
    """A later version may say more; who is too new is settled when the link opens."""
    found = discovery.read_announcement(name, port, ips, text, TAG)

    assert found == (A, ["tcp://192.0.2.2:7000"])


@pytest.mark.parametrize(
    ("name", "port", "ips", "text"),
    [
        (NAME, None, ["192.0.2.2"], TEXT),
        (NAME, 7001, ["192.0.2.2"], TEXT),
        (NAME, 7000, [], TEXT),
        (NAME, 7000, ["fe80::1%2"], TEXT),
        (NAME.replace("a1", "b2", 1), 7000, ["192.0.2.2"], TEXT),
        ("x." + NAME, 7000, ["192.0.2.2"], TEXT),
        (NAME, 7000, ["192.0.2.2"], {}),
        *(
            (NAME, 7000, ["192.0.2.2"], {**TEXT, key: value})
            for key in (b"m", b"n", b"p")
            for value in (None, b"", b"\xff" * 32, TEXT[key] + b"0", TEXT[key][:-1])
        ),
    ],
)
def test_an_announcement_that_is_not_ours_is_left(name, port, ips, text):
    assert discovery.read_announcement(name, port, ips, text, TAG) is None


def test_one_announcement_has_few_addresses():
    many = [f"192.0.2.{number}" for number in range(100)]

    found = discovery.read_announcement(NAME, 7000, many, TEXT, TAG)

    assert found is not None and len(found[1]) == limits.DISCOVERY_ADDRESSES_MAX


def test_the_name_of_the_mesh_is_not_told():
    assert len(TAG) == 16
    assert MESH.hex() not in TAG and discovery.mesh_tag(OTHER_MESH) != TAG


def test_what_is_sent_names_neither_host_nor_mesh():
    """Exactly the fields of docs/discovery.md."""
    pytest.importorskip("zeroconf")
    one = discovery.Discovery(A, MESH, lambda: None)

    first, second = one._infos({7000: ["192.0.2.2"], 7001: ["192.0.2.2"]})

    assert (first.name, first.server) == (NAME, f"{A.hex()}.local.")
    assert second.name == f"{A.hex()}-7001.{discovery.SERVICE}"
    assert first.properties == TEXT


def test_a_flood_of_announcements_is_bounded_and_does_not_keep_the_newest_out():
    one = discovery.Discovery(A, MESH, lambda: None)
    for number in range(3 * limits.DISCOVERY_NODES_MAX):
        one._note(number.to_bytes(16, "big"), "label", ["tcp://192.0.2.2:1"], returned=True)

    one._note(B, "label", ["tcp://192.0.2.3:1"], returned=True)
    found = one.found()

    assert len(found) == limits.DISCOVERY_NODES_MAX
    assert found[-1] == (B, ["tcp://192.0.2.3:1"])
    assert one.found() == []


def test_a_multicast_check_on_an_address_that_went_away_says_so():
    gone = ETH._replace(addresses=("203.0.113.9",))

    found = discovery.multicast_check([gone, LO], 0.5)

    assert found["eth0"].startswith("blocked: ")
    assert found["lo"] == "ok"


def test_a_multicast_check_does_not_wait_longer_than_it_may():
    """Nothing is ever heard on a link whose group nobody joined."""
    deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found: dict[str, str] = {}
    begun = time.monotonic()
    with deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        discovery._hear_own({"lo": (deaf, b"0" * 16)}, found, 0.3)

    assert found == {"lo": "blocked: sent, but not heard within 0.3 s: a firewall drops UDP 5353"}
    assert 0.3 <= time.monotonic() - begun < 2


# Seeds.


class Steady(Random):
    """No spread: what `randrange` gives is always 0."""

    def randrange(self, *_: Any) -> int:  # type: ignore[override]
        return 0


def test_all_seeds_are_tried_at_once_and_then_less_and_less():
    seeds = Seeds(["tcp://a:1", "tcp://b:1"], Steady())

    assert [seeds.next(0), seeds.next(0), seeds.next(0)] == ["tcp://a:1", "tcp://b:1", None]
    pauses = []
    for _ in range(8):
        due = seeds.next_due_ms()
        assert due is not None
        assert (seeds.next(due - 1), seeds.next(due)) == (None, "tcp://a:1")
        assert seeds.next(due) == "tcp://b:1"
        pauses.append((seeds.next_due_ms() or 0) - due)
    assert pauses == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_the_pause_is_spread_over_half_of_it():
    """Sites lose their power as a whole; their nodes must not knock together for ever."""
    dues = set()
    for seed in range(200):
        seeds = Seeds(["tcp://a:1"], Random(seed))
        seeds.next(0)
        dues.add(seeds.next_due_ms())

    assert len(dues) > 100
    assert min(dues) >= limits.SEED_RETRY_MS_MIN // 2
    assert max(dues) <= limits.SEED_RETRY_MS_MIN


def test_a_connected_seed_is_left_alone_until_it_is_lost():
    seeds = Seeds(["tcp://a:1"], Steady())
    for now_ms in (0, 1_000, 3_000):
        assert seeds.next(now_ms) == "tcp://a:1"

    seeds.connected("tcp://a:1")
    assert (seeds.next(10**9), seeds.next_due_ms()) == (None, None)

    seeds.lost("tcp://a:1", 10**9)
    seeds.lost("tcp://a:1", 10**9 + 500)
    assert seeds.next_due_ms() == 10**9 + limits.SEED_RETRY_MS_MIN


def test_a_learned_address_is_due_at_once_and_can_be_forgotten():
    seeds = Seeds(["tcp://a:1"], Steady())
    seeds.next(0)

    seeds.learn(["tcp://b:1", "tcp://a:1"], 100)
    assert (seeds.next(100), seeds.next(100)) == ("tcp://b:1", None)

    for address in ("tcp://a:1", "tcp://b:1", "tcp://never:1"):
        seeds.forget(address)
        seeds.connected("tcp://never:1")
        seeds.lost("tcp://never:1", 0)
    assert ("tcp://a:1" in seeds, "tcp://b:1" in seeds, len(seeds)) == (True, False, 1)


def test_learned_addresses_are_bounded_and_the_worst_makes_room():
    """Never a fixed one, and not one that is connected while others fail."""
    seeds = Seeds(["tcp://fixed:1"], Steady())
    seeds.learn(["tcp://good:1", "tcp://bad:1"], 0)
    while seeds.next(0):
        pass
    seeds.connected("tcp://good:1")
    seeds.learn((f"tcp://n{number}:1" for number in range(10 * limits.SEEDS_LEARNED_MAX)), 0)

    assert len(seeds) == limits.SEEDS_LEARNED_MAX + 1
    assert "tcp://fixed:1" in seeds and "tcp://good:1" in seeds
    assert "tcp://bad:1" not in seeds
    assert f"tcp://n{10 * limits.SEEDS_LEARNED_MAX - 1}:1" in seeds
