"""A mesh that is moved by hand: the simulator's nodes, a network that delivers when it is told to.

Nothing is left to chance and nothing happens by itself but timers: a message flies until the script
delivers or drops it, a worker runs until the script says how it ended, a peer is dead when the
script says who thinks so.  The checker of the simulator looks on at every step.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from meshcode.router import events
from meshcode.router.effects import Assignment, Effects
from meshcode.sim.mesh import options as drawn
from meshcode.sim.mesh.checks import MeshChecker
from meshcode.sim.mesh.network import Frame, Network
from meshcode.sim.mesh.node import MeshNode
from meshcode.sim.mesh.world import MeshWorld
from meshcode.wire.kinds import Kind

SETTLE_MS = 2  # After each act: thoughts and syncs take no longer than this.
START_MS = 100  # Until every worker has loaded its code and grants have gone round.
TICK_MS = 1_000  # How often a node lets its router look at the time.
FOR_EVER_MS = 10**9  # A worker runs so long, unless the script ends it.
# Advice, sent again and again: it arrives by itself and is not told.
ADVICE = (int(Kind.GRANT), int(Kind.SEATS))


class Steady(Random):
    """A source that always says the first, the least, and that nothing goes wrong."""

    def random(self) -> float:
        """Whatever goes wrong by a chance does not."""
        return 0.999

    def randint(self, a: int, b: int) -> int:
        """The least."""
        return a

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """The least."""
        return 0 if stop is None else start

    def choice(self, seq: Any) -> Any:
        """The first."""
        return seq[0]


@dataclass(slots=True)
class Packet:
    """One entry on its way from one node to another."""

    sender: int
    to: int
    tag: tuple[int, int, int]
    kind: int
    entry: list[Any]

    def is_again(self, other: Packet) -> bool:
        """Whether `other` says the same in the same lives: one of the two is enough to read."""
        return (self.sender, self.to, self.tag[:2], self.kind, self.entry) == (
            other.sender, other.to, other.tag[:2], other.kind, other.entry,
        )  # fmt: skip


class Wire(Network):
    """Everything that is said flies here until somebody delivers or drops it."""

    def __init__(self, world: StoryWorld) -> None:
        """Nothing flies."""
        super().__init__(world)
        self.story = world
        self.flying: list[Packet] = []

    def send(self, sender: MeshNode, to: int, frame: Frame) -> None:
        """Let every entry fly by itself, numbered as a frame of its own."""
        channel = sender.channels[to]
        for kind, entry in frame:
            if kind in ADVICE:
                self.story.after(0, self._advise, sender, to, kind, entry)
                continue
            channel.sent += 1
            tag = (sender.boot, channel.peer_boot, channel.sent)
            packet = Packet(sender.index, to, tag, kind, entry)
            if not any(packet.is_again(other) for other in self.flying):
                self.flying.append(packet)

    def _advise(self, sender: MeshNode, to: int, kind: int, entry: list[Any]) -> None:
        node = self.story.nodes[to]
        if node.up and sender.up:
            node.post(events.PeerSaid(sender.id, kind, [entry]))


class Person:
    """Whoever submitted something, as the world and its checker know clients."""

    def __init__(self, name: str) -> None:
        """Somebody who was told nothing yet."""
        self.name = name
        self.calls: dict[bytes, events.NewCall] = {}
        self.unacked: dict[bytes, events.NewCall] = {}
        self.waiting: set[bytes] = set()
        self.refusals: set[bytes] = set()
        self.tries = 1

    def accepted(self, session: int, sequence: int) -> None:
        """The story tells it, with the level."""

    def refused(self, session: int, id: bytes, data: dict[str, Any]) -> None:
        """For good."""
        self.refusals.add(id)

    def ended(self, session: int, outcome: bytes) -> None:
        """The story tells it."""


class StoryNode(MeshNode):
    """A node of a story: its disk is as slow as the script says, and it tells what leaves it."""

    world: StoryWorld

    def __init__(self, world: StoryWorld, index: int) -> None:
        """Down, with an empty disk."""
        super().__init__(world, index)
        self.slow = False
        self._owed_life = -1  # A sync that waits for the disk, and of which life.

    def beat(self, life: int) -> None:
        """Let time be looked at; who lives the script says."""
        if self.up and life == self.life:
            self.post(events.Ticked())
            self.world.after(self.world.tick_ms, self.beat, life)

    def _synced(self, life: int) -> None:
        if self.slow and self.up and life == self.life:
            self._owed_life = life
            return
        super()._synced(life)

    def hurry(self) -> None:
        """The disk is quick again."""
        self.slow = False
        if self._owed_life == self.life:
            self.world.after(0, self._synced, self.life)
        self._owed_life = -1

    def _release(self, effects: Effects) -> None:
        self.world.told(self, effects)
        super()._release(effects)

    def _begin(self, worker: int, batch: list[Assignment]) -> None:
        self.world.told(self, Effects(starts=[(worker, batch)]))
        super()._begin(worker, batch)


class StoryWorld(MeshWorld):
    """The nodes of one story and what is between them."""

    nodes: list[StoryNode]  # type: ignore[assignment]

    def __init__(
        self, kinds: Sequence[str], hosts: Sequence[Sequence[int]], queue: dict[str, Any],
        tick_ms: int = TICK_MS, crew: int = 0,
    ) -> None:  # fmt: skip
        """All nodes up with their workers, and each knows that the others live.

        Args:
            kinds: of each node.
            hosts: nodes with a worker, for each processor.
            queue: fields of the queue of socket s0.
            tick_ms: how often a node lets its router look at the time.
            crew: workers of each processor at each of its hosts, which the nodes tell each other.
        """
        super().__init__(1)
        self.tick_ms = tick_ms
        self.rng = Steady()
        self.options = _options(kinds, hosts, queue)
        self.options.crew = None if not crew else {
            n: {f"p{p}": crew for p, found in enumerate(hosts) if n in found}
            for n in range(len(kinds))
        }
        self.model = self.options.snapshot
        self.listener: Callable[[StoryNode, Effects], None] | None = None
        self.fate = "return"
        self.people: dict[str, Person] = {}
        self.checker = MeshChecker(self)
        self.checker.deep_every = 1
        self.network = self.wire = Wire(self)
        self._heap.clear()
        self.nodes = [StoryNode(self, index) for index in range(len(kinds))]
        for node in self.nodes:
            self.boot(node)
        for _ in self.advance(START_MS):
            pass
        self.wire.flying.clear()

    def told(self, node: StoryNode, effects: Effects) -> None:
        """What leaves a node, before it does."""
        if self.listener is not None:
            self.listener(node, effects)

    # Time.

    def draw_sync_ms(self) -> int:
        """A quick disk takes no time."""
        return 0

    def draw_fate(self) -> str:
        """How the execution that the script ends has ended."""
        return self.fate

    def advance(self, ms: int) -> Iterator[int]:
        """Let milliseconds pass; gives each time at which something happened."""
        end = self.now + ms
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, act, args = heapq.heappop(heap)
            act(*args)
            yield self.now
        self.now = end

    def settle(self) -> None:
        """Let everybody think and write what came of the last act."""
        for _ in self.advance(SETTLE_MS):
            pass

    # Nodes.

    def boot(self, node: StoryNode, *, alone: bool = False) -> None:
        """Start a node; it and the others hear of each other, unless it is alone."""
        node.slow = False
        node.start()
        if not alone:
            for other in self.nodes:
                if other is not node and other.up:
                    self.meet(node, other)
                    self.meet(other, node)
        self.settle()

    @staticmethod
    def meet(node: StoryNode, other: StoryNode) -> None:
        """A node hears that another lives, and in which boot."""
        if other.index not in node.knows_evicted:
            node.channels[other.index].peer_boot = other.boot
            node.tell(other, "alive", other.boot)

    @staticmethod
    def bury(node: StoryNode, other: StoryNode) -> None:
        """A node believes another dead."""
        node.tell(other, "dead", node.channels[other.index].peer_boot)

    def evict(self, evicted: StoryNode) -> None:
        """An administrator's statement reaches everybody else."""
        evicted.lost = True
        for node in self.nodes:
            if node is not evicted:
                self._learn_evicted(node, evicted)

    # People.

    def session(self, name: str, calls: Sequence[events.NewCall] = ()) -> int:
        """A new session of a person, who submits these calls in it."""
        person = self.people.setdefault(name, Person(name))
        session = self.open_session(person)  # type: ignore[arg-type]
        self.frames[session] = [call[0] for call in calls]
        for call in calls:
            person.calls[call[0]] = call
            self._owners[call[0]] = person  # type: ignore[assignment]
        return session

    def name_of(self, session: int) -> str:
        """Whose session it is."""
        return str(self.client(session).name)  # type: ignore[attr-defined]

    # Messages.

    def arrive(self, packet: Packet) -> str:
        """Let one entry arrive; why it was not taken, or an empty text."""
        node = self.nodes[packet.to]
        if packet.sender in node.knows_evicted:
            return "not heard, it is evicted"
        if not self.wire.accepts(node, packet.sender, packet.tag):
            return "dropped, of an older life or a number that was used"
        sender = self.nodes[packet.sender]
        node.post(events.PeerSaid(sender.id, packet.kind, [packet.entry]))
        return ""


def _options(
    kinds: Sequence[str], hosts: Sequence[Sequence[int]], queue: dict[str, Any]
) -> drawn.Options:
    """Options in which nothing goes wrong by chance."""
    options = drawn.draw(Random(1))
    for one in fields(options):
        if one.type == "float":
            setattr(options, one.name, 0.0)
    snapshot = {
        "number": 1,
        "queues": {"q0": dict(queue), "q1": {}},
        "processors": {f"p{n}": {"workers": 1, "requested_status": "start"} for n in range(2)},
        "sockets": {
            f"s{n}": {"processor": f"p{n}", "task": "work", "queue": f"q{n}"} for n in range(2)
        },
    }
    return replace(
        options, nodes=len(kinds), kinds=list(kinds), run_ms=(FOR_EVER_MS, FOR_EVER_MS),
        sync_ms=(0, 0), hosts={f"p{n}": list(found) for n, found in enumerate(hosts)},
        dead_letters=bool(queue), clock_steps=False, core_of_two=False, counted=False,
        snapshot=snapshot,
    )  # fmt: skip
