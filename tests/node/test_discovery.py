"""Nodes that find each other: real mDNS between processes, on loopback and between two hosts."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from meshcode.node import discovery
from tests.live.harness import ROOT, until

MESH = b"mesh-of-the-test"
OTHER_MESH = b"mesh of neighbor"
A, B, C = (bytes([number]) * 16 for number in (0xA1, 0xB2, 0xC3))
TAG = discovery.mesh_tag(MESH)
FIND_S = 20  # Registration alone takes 2 s on a quiet machine.


def works(*words: str) -> bool:
    """Whether a command ends well here."""
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


needs_zeroconf = pytest.mark.skipif(
    not works(sys.executable, "-c", "import zeroconf"), reason="zeroconf is not installed"
)
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0
    or not all(map(shutil.which, ("ip", "unshare", "nsenter")))
    or not works("unshare", "--net", "true"),
    reason="needs root and network namespaces",
)

# A node that only discovers.  It prints what it finds, and its status whenever a line comes in.
NODE = """
import json, sys, threading
from meshcode.node.discovery import Discovery, local_interfaces, multicast_check

node, mesh, interfaces, announce, watch_s = json.loads(sys.argv[1])
said = threading.Lock()

def say(**what):
    with said:
        print(json.dumps(what), flush=True)

def wake():
    for who, addresses in one.found():
        say(found=who.hex(), addresses=addresses)

one = Discovery(bytes.fromhex(node), bytes.fromhex(mesh), wake, interfaces, watch_s=watch_s)
one.start([tuple(pair) for pair in announce])
say(started=True)
for line in sys.stdin:
    if line == "check\\n":
        say(check=multicast_check([i for i in local_interfaces() if i.addresses], 0.5))
    elif line == "stop\\n":
        one.stop()
        say(status=one.status())
    else:
        say(status=one.status())
"""


class Node:
    """The process of NODE, and everything it has said."""

    def __init__(
        self,
        node: bytes,
        announce: list[tuple[str, int]],
        *,
        interfaces: tuple[str, ...] = ("lo",),
        mesh: bytes = MESH,
        watch_s: float = 30.0,
        unshared: bool = False,
        before: str = "",
        code: str = NODE,
    ) -> None:
        given = json.dumps([node.hex(), mesh.hex(), interfaces, announce, watch_s])
        words = ["unshare", "--net"] if unshared else []
        self.process = subprocess.Popen(
            [*words, sys.executable, "-c", before + code, given], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.heard: list[dict[str, Any]] = []
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self.answer()  # It has started.

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            what = json.loads(line)
            (self.heard.append if "found" in what else self._answers.put)(what)

    def ask(self, line: str) -> Any:
        """The value of the next answer to a line."""
        self.tell(line)
        return self.answer()

    def tell(self, line: str) -> None:
        """Send it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """The next thing it says that is not a find."""
        (value,) = self._answers.get(timeout=FIND_S).values()
        return value

    def found(self) -> set[bytes]:
        """The ids found so far."""
        return {bytes.fromhex(what["found"]) for what in list(self.heard)}

    def last(self, node: bytes) -> list[str]:
        """The addresses told last for a node."""
        told = [w["addresses"] for w in list(self.heard) if w["found"] == node.hex()]
        return told[-1] if told else []

    def expect_status(self, text: str) -> None:
        """Wait until the status contains the text."""
        until(lambda: text in self.ask("status"), FIND_S, lambda: f"{text}: {self.ask('status')}")

    def end(self) -> str:
        """Kill it; what it wrote to stderr."""
        self.process.kill()
        _, errors = self.process.communicate(timeout=FIND_S)
        return errors


@contextmanager
def nodes() -> Iterator[Any]:
    """A maker of nodes, which are killed at the end and must not have complained."""
    made: list[Node] = []

    def make(*arguments: Any, **options: Any) -> Node:
        made.append(Node(*arguments, **options))
        return made[-1]

    try:
        yield make
    finally:
        errors = [node.end() for node in made]
    assert not any(errors), "\n".join(errors)


# Two and more processes.


@needs_zeroconf
def test_nodes_of_one_mesh_find_each_other_and_no_others():
    """Several nodes on one host; the neighbour's mesh is heard and not told."""
    with nodes() as make:
        first = make(A, [("127.0.0.1", 7001)])
        second = make(B, [("127.0.0.1", 7002), ("127.0.0.2", 7003)])
        stranger = make(C, [("127.0.0.1", 7004)], mesh=OTHER_MESH)

        for one in (first, second, stranger):
            one.expect_status("on lo: announced tcp://127.0.0.1:700")
        until(lambda: len(first.last(B)) == 2 and second.last(A), FIND_S, lambda: first.heard)

        assert sorted(first.last(B)) == ["tcp://127.0.0.1:7002", "tcp://127.0.0.2:7003"]
        assert second.last(A) == ["tcp://127.0.0.1:7001"]
        assert (first.found(), second.found(), stranger.found()) == ({B}, {A}, set())
        assert first.ask("status").endswith("other nodes seen: 1")


@needs_zeroconf
def test_the_death_of_a_node_is_no_news_and_its_return_is():
    """mDNS only finds: after kill -9 nothing is told, and another node is still found."""
    with nodes() as make:
        watcher = make(A, [("127.0.0.1", 7001)])
        victim = make(B, [("127.0.0.1", 7002)])
        until(lambda: watcher.last(B), FIND_S, "the victim is found")
        victim.expect_status("announced")
        before = len(watcher.heard)

        victim.end()
        make(C, [("127.0.0.1", 7003)])
        until(lambda: watcher.last(C), FIND_S, "another one is found")

        assert {what["found"] for what in watcher.heard[before:]} == {C.hex()}
        assert watcher.ask("status").endswith("other nodes seen: 2")

        make(B, [("127.0.0.1", 7004)])
        until(lambda: watcher.last(B) == ["tcp://127.0.0.1:7004"], FIND_S, "it is back, elsewhere")


@needs_zeroconf
def test_a_node_that_says_goodbye_and_returns_is_told_again():
    with nodes() as make:
        watcher = make(A, [("127.0.0.1", 7001)])
        leaving = make(B, [("127.0.0.1", 7002)])
        leaving.expect_status("announced")
        until(lambda: watcher.last(B), FIND_S, "it is found")
        before = len(watcher.heard)

        assert leaving.ask("stop") == "off: stopped"
        assert len(watcher.heard) == before
        make(B, [("127.0.0.1", 7002)])

        until(lambda: len(watcher.heard) > before, FIND_S, "it is told again")
        assert watcher.last(B) == ["tcp://127.0.0.1:7002"]


def refused_copy(make: Any) -> Node | None:
    """A second home of A that was told that the name is taken.

    None when it was not: nobody answers within a second of their last word (RFC 6762, 6), so who
    asks so soon after the first has announced itself does so, too, and then says so.
    """
    copy: Node = make(A, [("127.0.0.1", 7002)], watch_s=0.5)
    copy.expect_status("two homes hold one identity")
    if copy.ask("status").startswith(
        f"on lo: not announced: another node announces this node's id {A.hex()}"
    ):
        return copy
    copy.ask("stop")
    return None


@needs_zeroconf
def test_one_id_in_two_homes_is_said_and_ends_by_itself():
    """The copy keeps looking for others; when the first one leaves, it announces itself."""
    with nodes() as make:
        first = make(A, [("127.0.0.1", 7001)])
        first.expect_status("on lo: announced")
        copy = until(lambda: refused_copy(make), FIND_S, "the name is taken")
        make(B, [("127.0.0.1", 7003)])
        until(lambda: copy.last(B), FIND_S, "the copy still finds others")
        first.ask("stop")

        copy.expect_status("on lo: announced tcp://127.0.0.1:7002")


@needs_zeroconf
def test_one_id_in_two_homes_that_start_together_is_said_by_one_at_least():
    """Neither has announced the name when the other asks for it."""
    with nodes() as make:
        both = [make(A, [("127.0.0.1", port)]) for port in (7001, 7002)]

        def told() -> bool:
            return any("two homes hold one identity" in one.ask("status") for one in both)

        until(told, FIND_S, lambda: f"a clash: {[one.ask('status') for one in both]}")
        assert not any(one.heard for one in both)


@needs_zeroconf
def test_the_process_that_has_discovery_ends_when_it_wants():
    """In the middle of announcing itself, with and without `stop`."""
    for line in ("import sys; sys.exit()", "one.stop()"):
        code = f"import json, sys\nsys.stdin = []\n{NODE}\n{line}"
        given = json.dumps([A.hex(), MESH.hex(), ["lo"], [["127.0.0.1", 7001]], 30.0])
        run = subprocess.run(
            [sys.executable, "-c", code, given], cwd=ROOT, capture_output=True, text=True,
            timeout=FIND_S, check=False,
        )  # fmt: skip

        assert (run.returncode, run.stderr) == (0, "")


def test_without_zeroconf_there_is_one_line_and_nothing_else():
    """As on a device where it is not installed."""
    with nodes() as make:
        alone = make(A, [("127.0.0.1", 7001)], before="import sys; sys.modules['zeroconf'] = None")

        alone.expect_status("off: zeroconf is not installed; nodes are found by seeds alone")

        assert alone.ask("stop") == "off: stopped"


@needs_zeroconf
@needs_namespaces
def test_what_goes_wrong_in_zeroconf_is_told_and_tried_again():
    """Another program has the port of mDNS for itself, until it lets go of it."""
    taken = (
        "import socket\n"
        "taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "taken.bind(('', 5353))\n"
    )
    let_go = NODE.replace(
        "    else:", "    elif line == 'let go\\n':\n        taken.close()\n    else:"
    )
    with nodes() as make:
        one = make(A, [("127.0.0.1", 7001)], unshared=True, watch_s=0.5, before=taken, code=let_go)
        inside(one, "ip", "link", "set", "lo", "up")

        one.expect_status(
            "off: OSError: [Errno 98] Address already in use; nodes are found by seeds alone"
        )
        assert one.ask("check") == {"lo": "blocked: Address already in use"}

        one.tell("let go")
        one.expect_status("on lo: announced")


@needs_zeroconf
def test_an_interface_that_is_not_there_is_named():
    with nodes() as make:
        one = make(A, [("127.0.0.1", 7001)], interfaces=("wlan9",))

        one.expect_status(
            "off: none of wlan9 is up with an IPv4 address; nodes are found by seeds alone"
        )


# Packets that others make.


@contextmanager
def group() -> Iterator[socket.socket]:
    """A link to the mDNS group on loopback."""
    link = discovery._group_link("127.0.0.1")
    link.settimeout(FIND_S)
    with link:
        yield link


def packet(records: list[Any]) -> bytes:
    """An mDNS answer."""
    from zeroconf import DNSOutgoing

    answer = DNSOutgoing(0x8400)
    for record in records:
        answer.add_answer_at_time(record, 0)
    (data,) = answer.packets()
    return data


@needs_zeroconf
def test_details_that_come_later_are_asked_for():
    """A responder may announce the bare name; we ask, and do not wait."""
    from zeroconf import DNSAddress, DNSPointer, DNSService, DNSText

    name, server = f"{B.hex()}.{discovery.SERVICE}", f"{B.hex()}.local."
    text = {"m": TAG, "n": B.hex(), "p": "7000"}
    txt = b"".join(bytes([len(f"{k}={v}")]) + f"{k}={v}".encode() for k, v in text.items())
    details = [
        DNSService(name, 33, 1, 120, 0, 0, 7000, server),
        DNSText(name, 16, 1, 120, txt),
        DNSAddress(server, 1, 1, 120, socket.inet_aton("127.0.0.9")),
    ]
    with nodes() as make, group() as link:
        watcher = make(A, [("127.0.0.1", 7001)])
        watcher.expect_status("announced")
        pointer = packet([DNSPointer(discovery.SERVICE, 12, 1, 120, name)])
        link.sendto(pointer, (discovery.GROUP, discovery.GROUP_PORT))

        def asked() -> bool:
            data = link.recv(9000)
            return data[2] == 0 and B.hex().encode() in data  # A question.

        until(asked, FIND_S, "the details are asked for")
        link.sendto(packet(details), (discovery.GROUP, discovery.GROUP_PORT))

        until(lambda: watcher.last(B), FIND_S, "it is found")
        assert watcher.last(B) == ["tcp://127.0.0.9:7000"]


@needs_zeroconf
def test_hostile_packets_do_not_stop_it():
    """2,000 broken copies of a real announcement; then a new node is found all the same."""
    rng = Random(1)
    with nodes() as make, group() as link:
        watcher = make(A, [("127.0.0.1", 7001)])
        make(B, [("127.0.0.1", 7002)])
        tag = b"m=" + TAG.encode()
        real = until(lambda: (data := link.recv(9000)) and tag in data and data, FIND_S, "one")
        for _ in range(2_000):
            broken = bytearray(real)
            for _ in range(rng.randrange(1, 9)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            cut = rng.randrange(len(broken)) if rng.random() < 0.2 else len(broken)
            link.sendto(broken[:cut], (discovery.GROUP, discovery.GROUP_PORT))

        make(C, [("127.0.0.1", 7003)])
        until(lambda: watcher.last(C), FIND_S, "a new one is found")

        assert watcher.last(C) == ["tcp://127.0.0.1:7003"]


# Two hosts on one network.


def inside(node: Node, *words: str) -> None:
    """Run a command in the network namespace of a node."""
    target = ["nsenter", "--target", str(node.process.pid), "--net"]
    subprocess.run([*target, *words], check=True, capture_output=True)


@needs_zeroconf
@needs_namespaces
def test_two_hosts_find_each_other_when_their_cable_comes():
    """Namespaces joined by veth: started with no network at all, which then appears."""
    with nodes() as make:
        hosts = [
            make(who, [("0.0.0.0", 7000)], interfaces=(), unshared=True, watch_s=0.5)
            for who in (A, B)
        ]
        for host in hosts:
            host.expect_status("off: no interface is up with an IPv4 address")
        pids = [str(host.process.pid) for host in hosts]
        subprocess.run(
            ["ip", "link", "add", "eth0", "netns", pids[0], "type", "veth",
             "peer", "name", "eth0", "netns", pids[1]],
            check=True, capture_output=True,
        )  # fmt: skip
        for number, host in enumerate(hosts, 1):
            inside(host, "ip", "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            inside(host, "ip", "link", "set", "eth0", "up")
            inside(host, "ip", "link", "set", "lo", "up")

        until(lambda: hosts[0].last(B) and hosts[1].last(A), FIND_S, "they find each other")

        assert hosts[0].last(B) == ["tcp://10.77.0.2:7000"]
        assert hosts[1].last(A) == ["tcp://10.77.0.1:7000"]
        assert hosts[0].ask("check") == {"lo": "ok", "eth0": "ok"}
        inside(hosts[0], "ip", "link", "set", "eth0", "down")
        assert hosts[0].ask("check") == {"lo": "ok", "eth0": "blocked: Network is unreachable"}
        hosts[0].expect_status("on lo: ")
