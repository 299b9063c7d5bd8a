"""The simulated network between nodes: delays, loss, doubles, partitions, and the channel fence.

A channel is tagged as the real one (`peers/channel.py`): sender's boot, receiver's boot as the
sender knows it, and a sequence; what does not fit is dropped by the receiver (P11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

Frame = list[tuple[int, list[Any]]]  # Kind and entry.


class Channel:
    """What one node knows of its channels to and from another, in one of its lives."""

    __slots__ = ("heard_ms", "peer_boot", "received", "sent")

    def __init__(self, now_ms: int) -> None:
        self.peer_boot = 0  # 0 = never heard of.
        self.sent = 0
        self.received: dict[int, int] = {}  # By the sender's boot: the last sequence taken.
        self.heard_ms = now_ms  # It is given the time to say something.


class Network:
    """Who reaches whom, and how badly."""

    def __init__(self, world: MeshWorld) -> None:
        """All is connected at first."""
        self.world = world
        count = world.options.nodes
        self.cut: set[tuple[int, int]] = set()  # Directed pairs without a way.
        self.count = count
        self.fenced = True
        self.frames = 0

    def heal(self) -> None:
        """Everybody reaches everybody."""
        self.cut.clear()

    def split(self) -> None:
        """A partition: halves, a ring, a bridge, or one way only."""
        rng, count = self.world.rng, self.count
        self.cut.clear()
        shape = rng.choice(("halves", "halves", "ring", "bridge", "one way", "alone"))
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        if shape == "halves":
            side = [rng.randrange(2) for _ in range(count)]
            self.cut = {(a, b) for a, b in pairs if side[a] != side[b]}
        elif shape == "ring":
            self.cut = {(a, b) for a, b in pairs if (a - b) % count not in (1, count - 1)}
        elif shape == "bridge":
            middle = rng.randrange(count)
            side = [rng.randrange(2) for _ in range(count)]
            self.cut = {(a, b) for a, b in pairs if side[a] != side[b] and middle not in (a, b)}
        elif shape == "one way":
            self.cut = {pair for pair in pairs if rng.random() < 0.3}
        else:
            lonely = rng.randrange(count)
            self.cut = {(a, b) for a, b in pairs if lonely in (a, b)}

    def send(self, sender: MeshNode, to: int, frame: Frame) -> None:
        """Send one frame, tagged; it may be lost, doubled, late or overtaken."""
        world = self.world
        channel = sender.channels[to]
        channel.sent += 1
        tag = (sender.boot, channel.peer_boot, channel.sent)
        self._carry(sender.index, to, world.arrived, tag, frame)

    def beat(self, sender: MeshNode, to: int) -> None:
        """Send a sign of life, as membership does."""
        self._carry(sender.index, to, self.world.beaten, (sender.boot, 0, 0), [])

    def _carry(self, a: int, b: int, act: Any, tag: tuple[int, int, int], frame: Frame) -> None:
        world, options = self.world, self.world.options
        rng = world.rng
        calm = world.calm
        for _ in range(1 if calm else 1 + (rng.random() < options.double)):
            if not calm and rng.random() < options.loss:
                continue
            if calm:
                delay = rng.randint(1, 5)
            else:
                delay = 1 + int(rng.expovariate(1 / options.delay_ms))
                if rng.random() < options.late:
                    delay += rng.randint(5_000, 60_000)
            world.after(delay, act, a, b, tag, frame)
            self.frames += 1

    def accepts(self, node: MeshNode, sender: int, tag: tuple[int, int, int]) -> bool:
        """Whether a frame is of this life of both ends, and newer than the last (P11)."""
        if not self.fenced:
            return True
        channel = node.channels[sender]
        sender_boot, receiver_boot, sequence = tag
        if receiver_boot != node.boot or sender_boot != channel.peer_boot:
            return False
        if sequence <= channel.received.get(sender_boot, 0):
            return False
        channel.received[sender_boot] = sequence
        return True
