"""The network a cluster stands on: loopback addresses behind the shaper, or namespaces.

`LoopbackNetwork` needs no rights and can do every fault.  `NamespaceNetwork` needs root; there the
kernel's own TCP meets the faults: lost packets, retransmissions, cables pulled out.  All names are
told at the start, also those of nodes that will join later.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import combinations, permutations
from random import Random
from typing import Protocol

from tests.mesh.shaper import DROP, HOLD, REFUSE, Shaper
from tests.mesh.shapes import Pair

PORT = 7400  # Every node has an address of its own, so all may have the same port.

# What a scenario may need of its network.
BLOCK = "block"  # Packets of one way are lost.
CABLE = "cable"  # The link between two nodes goes down, and both kernels know it.
SPEED = "speed"  # Bandwidth.
DELAY = "delay"
HALF = "half-open"  # Bytes vanish, connections stay.
CUT = "cut"  # Resets, also after n bytes.
REFUSED = "refuse"


class Network(Protocol):
    """What a cluster and its faults ask of a network."""

    can: frozenset[str]

    def bind(self, name: str) -> str:
        """The address that a node binds and tells others."""

    def via(self, name: str) -> dict[str, str]:
        """The addresses by which this node reaches each other node."""

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """The command that runs `words` where this node lives."""

    def block(self, pairs: Iterable[Pair]) -> None:
        """What these sources send to these targets is lost or held."""

    def fair(self, pairs: Iterable[Pair]) -> None:
        """No fault on these ways any more, whatever it was."""

    def heal(self) -> None:
        """Clear weather everywhere."""

    def close(self) -> None:
        """Leave nothing behind."""


class LoopbackNetwork:
    """An address of 127.0.0.0/8 for each node; every pair goes through a port of the shaper."""

    can = frozenset({BLOCK, SPEED, DELAY, HALF, CUT, REFUSED})

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        """Ports for every pair; the addresses are drawn, so that two campaigns do not meet."""
        draw = Random(os.urandom(8))
        net = f"127.{draw.randint(16, 250)}.{draw.randint(0, 250)}"
        self.hosts = {name: f"{net}.{at + 1}" for at, name in enumerate(names)}
        self.shaper = Shaper(seed)
        for source, target in permutations(names, 2):
            self.shaper.listen(source, target, self.hosts[target], PORT)

    def bind(self, name: str) -> str:
        """The real port; peers use the shaper's."""
        return f"tcp://{self.hosts[name]}:{PORT}"

    def via(self, name: str) -> dict[str, str]:
        """The shaper's ports of this node."""
        return {
            target: f"tcp://127.0.0.1:{port}"
            for (source, target), port in self.shaper.ports.items()
            if source == name
        }

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """As it is: loopback is everywhere."""
        return list(words)

    def block(self, pairs: Iterable[Pair]) -> None:
        """Hold the bytes, as a partition does until TCP gives up."""
        self.shaper.change(pairs, mode=HOLD)

    def fair(self, pairs: Iterable[Pair]) -> None:
        """Clear weather for these ways."""
        self.shaper.heal(pairs)

    def half_open(self, pairs: Iterable[Pair]) -> None:
        """Bytes vanish and connections stay."""
        self.shaper.change(pairs, mode=DROP)

    def refuse(self, pairs: Iterable[Pair]) -> None:
        """New connections are reset, and so are those that are there."""
        chosen = list(pairs)
        self.shaper.change(chosen, mode=REFUSE)
        self.shaper.cut(chosen)

    def slow(self, pairs: Iterable[Pair], **weather: float) -> None:
        """`delay_ms`, `jitter_ms`, `bytes_per_s`."""
        self.shaper.change(pairs, **weather)

    def cut(self, pairs: Iterable[Pair]) -> None:
        """Reset the connections."""
        self.shaper.cut(pairs)

    def cut_after(self, pairs: Iterable[Pair], size: int) -> None:
        """Reset a connection after so many more bytes."""
        self.shaper.change(pairs, cut_after=size)

    def heal(self) -> None:
        """Clear weather everywhere."""
        self.shaper.heal()

    def close(self) -> None:
        """End the shaper."""
        self.shaper.close()


class NamespaceNetwork:
    """A network namespace for each node, and a cable (veth) between every two of them.

    A node has one address, on its own loopback; a route by each cable leads to the other's.  One
    way is blocked by teaching the source a wrong hardware address of the target: its packets leave
    and nobody takes them, in silence, and the other direction works.
    """

    can = frozenset({BLOCK, SPEED, CABLE})
    NOBODY = "02:00:00:00:00:fe"

    def __init__(self, names: Sequence[str], seed: int = 0) -> None:
        """Make all of it; on a failure nothing is left."""
        self.names = list(names)
        tag = os.urandom(3).hex()
        self.spaces = {name: f"mesh-{tag}-{at}" for at, name in enumerate(names)}
        self.hosts = {name: f"10.213.0.{at + 1}" for at, name in enumerate(names)}
        self.blocked: set[Pair] = set()
        self.down: set[frozenset[str]] = set()
        self.slowed: set[Pair] = set()
        try:
            for name in names:
                ip("netns", "add", self.spaces[name])
                self._in(name, "link", "set", "lo", "up")
                self._in(name, "addr", "add", f"{self.hosts[name]}/32", "dev", "lo")
            for a, b in combinations(names, 2):
                ip("link", "add", self._device(b), "netns", self.spaces[a], "type", "veth",
                   "peer", "name", self._device(a), "netns", self.spaces[b])  # fmt: skip
                self._plug(a, b)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def possible() -> bool:
        """Whether this process may make namespaces and cables between them."""
        if os.geteuid() != 0:
            return False
        try:
            NamespaceNetwork(["a", "b"]).close()
        except (OSError, RuntimeError):
            return False
        return True

    def _device(self, other: str) -> str:
        return f"to{self.names.index(other)}"

    def _in(self, name: str, *words: str) -> None:
        ip("-n", self.spaces[name], *words)

    def _plug(self, a: str, b: str) -> None:
        for one, other in ((a, b), (b, a)):
            self._in(one, "link", "set", self._device(other), "up")
        for one, other in ((a, b), (b, a)):
            self._in(one, "route", "replace", f"{self.hosts[other]}/32", "dev",
                     self._device(other), "src", self.hosts[one])  # fmt: skip

    def bind(self, name: str) -> str:
        """The node's only address."""
        return f"tcp://{self.hosts[name]}:{PORT}"

    def via(self, name: str) -> dict[str, str]:
        """The addresses themselves."""
        return {other: self.bind(other) for other in self.names if other != name}

    def command(self, name: str, words: Sequence[str]) -> list[str]:
        """Inside the namespace; `ip` becomes the command, so its process id is the command's."""
        return ["ip", "netns", "exec", self.spaces[name], *words]

    def block(self, pairs: Iterable[Pair]) -> None:
        """Packets of these ways reach nobody."""
        for source, target in sorted(set(pairs) - self.blocked):
            self._in(source, "neigh", "replace", self.hosts[target], "lladdr", self.NOBODY,
                     "nud", "permanent", "dev", self._device(target))  # fmt: skip
            self.blocked.add((source, target))

    def _unblock(self, pairs: Iterable[Pair]) -> None:
        """The source asks for the right hardware address again."""
        for source, target in sorted(set(pairs) & self.blocked):
            self._in(source, "neigh", "del", self.hosts[target], "dev", self._device(target))
            self.blocked.discard((source, target))

    def pull(self, pairs: Iterable[Pair]) -> None:
        """Pull the cables between these nodes; both sides see the link go down."""
        for cable in {frozenset(pair) for pair in pairs} - self.down:
            a, b = sorted(cable)
            self._in(a, "link", "set", self._device(b), "down")
            self.down.add(cable)

    def plug(self, pairs: Iterable[Pair]) -> None:
        """Put the cables back."""
        for cable in {frozenset(pair) for pair in pairs} & self.down:
            self._plug(*sorted(cable))
            self.down.discard(cable)

    def slow(self, pairs: Iterable[Pair], bytes_per_s: float = 0, **_: float) -> None:
        """Bandwidth, by the kernel's token bucket; delays need the shaper."""
        for source, target in sorted(set(pairs)):
            self._fast(source, target)
            if bytes_per_s:
                ip("netns", "exec", self.spaces[source], "tc", "qdisc", "replace", "dev",
                   self._device(target), "root", "tbf", "rate", f"{int(bytes_per_s * 8)}bit",
                   "burst", "16kb", "latency", "2s")  # fmt: skip
                self.slowed.add((source, target))

    def _fast(self, source: str, target: str) -> None:
        if (source, target) in self.slowed:
            ip("netns", "exec", self.spaces[source], "tc", "qdisc", "del", "dev",
               self._device(target), "root")  # fmt: skip
            self.slowed.discard((source, target))

    def fair(self, pairs: Iterable[Pair]) -> None:
        """Cables in, packets pass, full speed."""
        chosen = set(pairs)
        self.plug(chosen)
        self._unblock(chosen)
        for source, target in sorted(chosen & self.slowed):
            self._fast(source, target)

    def heal(self) -> None:
        """The same everywhere."""
        self.fair(permutations(self.names, 2))

    def close(self) -> None:
        """Delete the namespaces; the cables go with them."""
        for space in self.spaces.values():
            with suppress(RuntimeError):
                ip("netns", "del", space)


def ip(*words: str) -> None:
    """Run `ip`.

    Raises:
        RuntimeError: it failed; the text is the command and what it said.
    """
    run = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {run.stderr.strip()}")
