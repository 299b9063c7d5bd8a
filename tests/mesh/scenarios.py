"""What is done to a mesh, as data: for each scenario its nodes, its load and its plan of faults.

A plan is drawn from a seed: `plan(draw)` gives acts with their times; `faults.py` knows how to do
them.  Nothing here touches the world.  After the plan everything heals by itself: the network is
clear, what is frozen goes on, what is down and not gone for good is started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.mesh import shapes
from tests.mesh.network import BLOCK, CABLE, CUT, DELAY, HALF, REFUSED, SPEED

FREEZE_S_MAX = 60.0
# What clients ask for: the first of each scenario the first, the others drawn.  None = the default.
ACKS = ("quorum", "quorum", None, "strict", "local")
CALM = 0.12  # This part of the time is without faults at first: the load runs, records exist.


@dataclass(frozen=True, slots=True)
class Act:
    """One thing done at a moment."""

    at_s: float  # After the start of the load.
    do: str  # The name of a method of `faults.Player`.
    nodes: tuple[str, ...] = ()
    how: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a plan is drawn from."""

    rng: Random
    seconds: float  # The acts lie between 0 and this.
    names: tuple[str, ...]  # The first members, in order; calls go to all of them.
    spares: tuple[str, ...] = ()  # Nodes that may join.

    def moments(self, gap_s: tuple[float, float], until: float = 0.9) -> Iterator[float]:
        """Times with such gaps between them, from the end of the calm on."""
        at = self.seconds * CALM
        while at < self.seconds * until:
            yield at
            at += self.rng.uniform(*gap_s)

    def at(self, part: float) -> float:
        """A moment as a part of the time."""
        return self.seconds * part


Plan = Callable[[Draw], list[Act]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world and what happens in it."""

    name: str
    what: str  # One sentence for people.
    plan: Plan
    nodes: int = 3
    spares: int = 0
    needs: frozenset[str] = frozenset()  # Of the network.
    kinds: tuple[tuple[int, str], ...] = ()  # (index of a node, its class) where not core.
    acks: tuple[str | None, ...] = ACKS
    rate: tuple[int, int] = (20, 200)  # Calls per second and client, drawn.
    clients: int = 1  # Per node.
    library: bool = False  # Clients made of the client library.
    at_first: bool = False  # All clients begin at the first node.


def span(draw: Draw, begin: float, longest: float) -> tuple[float, float]:
    """A fault from `begin` on: its begin and its end, inside the time."""
    return begin, min(begin + draw.rng.uniform(1.0, longest), draw.at(0.97))


def taken_down(draw: Draw, name: str, begin: float, longest: float) -> list[Act]:
    """kill -9, and back after a while."""
    begin, end = span(draw, begin, longest)
    return [Act(begin, "kill", (name,)), Act(end, "start", (name,))]


def frozen(draw: Draw, name: str, begin: float, longest: float) -> list[Act]:
    """SIGSTOP, and SIGCONT after a while."""
    begin, end = span(draw, begin, longest)
    return [Act(begin, "freeze", (name,)), Act(end, "thaw", (name,))]


def shaped(
    draw: Draw, begin: float, longest: float, do: str, pairs: frozenset[shapes.Pair], **how: Any
) -> list[Act]:
    """A fault of the network, and fair weather for the same pairs after a while."""
    begin, end = span(draw, begin, longest)
    chosen = sorted(pairs)
    return [Act(begin, do, (), {"pairs": chosen, **how}), Act(end, "fair", (), {"pairs": chosen})]


def repeated(
    draw: Draw, gap_s: tuple[float, float], one: Callable[[float], list[Act]]
) -> list[Act]:
    """The same kind of fault again and again, each over before the next."""
    acts: list[Act] = []
    over = 0.0
    for at in draw.moments(gap_s):
        if at >= over:
            acts += one(at)
            over = acts[-1].at_s + 0.5
    return acts


# Nodes that die.


def acceptor_destroyed(draw: Draw) -> list[Act]:
    return [Act(draw.at(draw.rng.uniform(0.3, 0.6)), "destroy", draw.names[:1])]


def acceptor_killed_for_good(draw: Draw) -> list[Act]:
    return [Act(draw.at(draw.rng.uniform(0.3, 0.6)), "kill_for_good", draw.names[:1])]


def each_in_turn(draw: Draw) -> list[Act]:
    order = draw.rng.sample(draw.names, len(draw.names))
    turn = iter(order * 100)
    return repeated(draw, (2, 5), lambda at: taken_down(draw, next(turn), at, 6))


def power_cut(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        back = draw.rng.sample(draw.names, len(draw.names))
        return [Act(at, "kill", draw.names), Act(at + draw.rng.uniform(0, 2), "start", tuple(back))]

    return repeated(draw, (8, 16), one)


def two_of_three_down(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        pair = tuple(draw.rng.sample(draw.names, 2))
        begin, end = span(draw, at, draw.at(0.25))
        return [Act(begin, "kill", pair), Act(end, "start", pair)]

    return repeated(draw, (10, 20), one)


def client_fails_over(draw: Draw) -> list[Act]:
    begin = draw.at(0.3)
    return [Act(begin, "kill", draw.names[:1]), Act(draw.at(0.85), "start", draw.names[:1])]


def worker_kills(draw: Draw) -> list[Act]:
    acts = [Act(at, "kill_worker", (draw.rng.choice(draw.names),)) for at in draw.moments((0.3, 1))]
    victim = draw.rng.choice(draw.names)
    return sorted(acts + taken_down(draw, victim, draw.at(0.5), 8), key=lambda act: act.at_s)


# Nodes that stop for a while.


def freezes(draw: Draw) -> list[Act]:
    longest = min(FREEZE_S_MAX, draw.at(0.3))
    return repeated(draw, (1, 4), lambda at: frozen(draw, draw.rng.choice(draw.names), at, longest))


def long_freeze(draw: Draw) -> list[Act]:
    """Long enough for the others to take over; then it comes back and believes it owns."""
    begin = draw.at(0.2)
    return [
        Act(begin, "freeze", draw.names[:1]),
        Act(min(begin + FREEZE_S_MAX, draw.at(0.9)), "thaw", draw.names[:1]),
    ]


def rolling_restart(draw: Draw) -> list[Act]:
    gap = draw.at(0.8) / (len(draw.names) + 1)
    return [Act(draw.at(CALM) + gap * at, "restart", (n,)) for at, n in enumerate(draw.names)]


def drained(draw: Draw) -> list[Act]:
    name = draw.rng.choice(draw.names)
    return [Act(draw.at(0.25), "drain", (name,)), Act(draw.at(0.75), "start", (name,))]


# The network.


def halves(draw: Draw) -> list[Act]:
    return repeated(draw, (4, 8), lambda at: shaped(
        draw, at, draw.at(0.3), "block", shapes.halves(draw.names, draw.rng)))  # fmt: skip


def ring(draw: Draw) -> list[Act]:
    return repeated(draw, (4, 8), lambda at: shaped(
        draw, at, draw.at(0.3), "block", shapes.ring(draw.names, draw.rng)))  # fmt: skip


def bridge(draw: Draw) -> list[Act]:
    return repeated(draw, (4, 8), lambda at: shaped(
        draw, at, draw.at(0.3), "block", shapes.bridge(draw.names, draw.rng)))  # fmt: skip


def one_way(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        deaf = draw.rng.sample(draw.names, 1)
        pairs = shapes.one_way(deaf, draw.names)
        if draw.rng.random() < 0.5:  # It hears, and nobody hears it.
            pairs = frozenset((b, a) for a, b in pairs)
        return shaped(draw, at, draw.at(0.3), "block", pairs)

    return repeated(draw, (4, 8), one)


def swizzle(draw: Draw) -> list[Act]:
    """Nodes are cut off one after another, and come back in another order."""

    def one(at: float) -> list[Act]:
        out, back = shapes.swizzle(draw.names, draw.rng)
        acts = []
        away: set[str] = set()
        for do, order in (("block", out), ("fair", back)):
            for name in order:
                away ^= {name}
                pairs = shapes.alone(name, draw.names)
                if do == "fair":  # Those that are still away do not hear it either.
                    pairs = frozenset(pair for pair in pairs if not away & set(pair))
                acts.append(Act(min(at, draw.at(0.97)), do, (), {"pairs": sorted(pairs)}))
                at += draw.rng.uniform(0.5, 3)
        return acts

    return repeated(draw, (3, 6), one)


def flapping(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        pair = tuple(draw.rng.sample(draw.names, 2))
        return shaped(draw, at, 1.5, "block", shapes.both([(pair[0], pair[1])]))

    return repeated(draw, (0.3, 1.5), one)


def cut_off_then_killed(draw: Draw) -> list[Act]:
    """What it took while it was alone, it alone knows; then it dies and comes back alone."""
    name = draw.rng.choice(draw.names)
    pairs = sorted(shapes.alone(name, draw.names))
    return [
        Act(draw.at(0.25), "block", (), {"pairs": pairs}),
        Act(draw.at(0.4), "kill", (name,)),
        Act(draw.at(0.55), "start", (name,)),
        Act(draw.at(0.8), "fair", (), {"pairs": pairs}),
    ]


def slow_link(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        a, b = draw.rng.sample(draw.names, 2)
        delay = draw.rng.choice((50, 200, 800))
        return shaped(
            draw, at, draw.at(0.3), "slow", shapes.both([(a, b)]), delay_ms=delay,
            jitter_ms=delay / 2, bytes_per_s=draw.rng.choice((20_000, 100_000, 1_000_000)),
        )  # fmt: skip

    return repeated(draw, (3, 6), one)


def narrow_link(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        a, b = draw.rng.sample(draw.names, 2)
        return shaped(draw, at, draw.at(0.3), "slow", shapes.both([(a, b)]), bytes_per_s=30_000)

    return repeated(draw, (3, 6), one)


def stalled_link(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        a, b = draw.rng.sample(draw.names, 2)
        return shaped(draw, at, draw.at(0.4), "block", shapes.both([(a, b)]))

    return repeated(draw, (2, 5), one)


def half_open(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        a, b = draw.rng.sample(draw.names, 2)
        pairs = shapes.both([(a, b)]) if draw.rng.random() < 0.5 else frozenset([(a, b)])
        return shaped(draw, at, draw.at(0.4), "half_open", pairs)

    return repeated(draw, (2, 5), one)


def cut_links(draw: Draw) -> list[Act]:
    """Resets at any byte."""
    acts = []
    for at in draw.moments((0.2, 2)):
        a, b = draw.rng.sample(draw.names, 2)
        pairs = sorted(shapes.both([(a, b)]))
        if draw.rng.random() < 0.5:
            acts.append(Act(at, "cut", (), {"pairs": pairs}))
        else:
            size = draw.rng.randint(0, 200_000)
            acts.append(Act(at, "cut_after", (), {"pairs": pairs, "size": size}))
    return acts


def refused_links(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        name = draw.rng.choice(draw.names)
        return shaped(draw, at, draw.at(0.3), "refuse", shapes.alone(name, draw.names))

    return repeated(draw, (3, 6), one)


def cables_pulled(draw: Draw) -> list[Act]:
    def one(at: float) -> list[Act]:
        pairs = shapes.halves(draw.names, draw.rng)
        return shaped(draw, at, draw.at(0.3), "pull", pairs)

    return repeated(draw, (3, 6), one)


# The mesh itself changes.


def join_under_load(draw: Draw) -> list[Act]:
    return [Act(draw.at(0.25 + 0.2 * at), "join", (name,)) for at, name in enumerate(draw.spares)]


def evict_dead(draw: Draw) -> list[Act]:
    name = draw.rng.choice(draw.names[1:])
    return [Act(draw.at(0.3), "destroy", (name,)), Act(draw.at(0.5), "evict", (name,))]


def evict_living(draw: Draw) -> list[Act]:
    """It runs and serves its clients, and is struck from the mesh; later somebody turns it off."""
    name = draw.rng.choice(draw.names[1:])
    return [
        Act(draw.at(0.35), "evict", (name,)),
        Act(draw.at(0.5), "expect_shut_out", (name,)),
        Act(draw.at(0.7), "kill", (name,)),
    ]


def replaced(draw: Draw) -> list[Act]:
    """A machine burns, is struck from the mesh, and a new one joins in its place."""
    name = draw.rng.choice(draw.names[1:])
    return [
        Act(draw.at(0.2), "destroy", (name,)),
        Act(draw.at(0.35), "evict", (name,)),
        Act(draw.at(0.5), "join", draw.spares[:1]),
    ]


def lost_disk_returns(draw: Draw) -> list[Act]:
    """Old keys and an empty log: it must be refused, or it would promise twice."""
    name = draw.rng.choice(draw.names[1:])
    return [
        Act(draw.at(0.3), "kill", (name,)),
        Act(draw.at(0.35), "lose_disk", (name,)),
        Act(draw.at(0.5), "return_shut_out", (name,)),
    ]


def old_copy_returns(draw: Draw) -> list[Act]:
    """A backup of the log is put back: it has forgotten what it promised since."""
    name = draw.rng.choice(draw.names[1:])
    return [
        Act(draw.at(0.15), "kill", (name,)),
        Act(draw.at(0.16), "copy_disk", (name,)),
        Act(draw.at(0.2), "start", (name,)),
        Act(draw.at(0.5), "kill", (name,)),
        Act(draw.at(0.52), "restore_disk", (name,)),
        Act(draw.at(0.6), "return_shut_out", (name,)),
    ]


def edge_away(draw: Draw) -> list[Act]:
    """The last node is an edge node: cut off for most of the time, killed once meanwhile."""
    name = draw.names[-1]
    pairs = sorted(shapes.alone(name, draw.names))
    return [
        Act(draw.at(CALM), "block", (), {"pairs": pairs}),
        *taken_down(draw, name, draw.at(0.4), 5),
        Act(draw.at(0.8), "fair", (), {"pairs": pairs}),
    ]


def everything(draw: Draw) -> list[Act]:
    """Any fault at any moment, several at once; at most a minority is down at a time."""
    acts: list[Act] = []
    busy = dict.fromkeys(draw.names, 0.0)  # Until when a node is down, frozen or restarting.
    few = (len(draw.names) - 1) // 2
    for at in draw.moments((0.5, 3)):
        free = [name for name, until in busy.items() if until < at]
        kind = draw.rng.choice(("kill", "freeze", "restart", "worker", "net", "net", "net"))
        if kind == "worker" and free:
            acts.append(Act(at, "kill_worker", (draw.rng.choice(free),)))
        elif kind == "net":
            shape = draw.rng.choice((shapes.halves, shapes.ring, shapes.bridge))
            pairs = shape(draw.names, draw.rng)
            chosen = frozenset(pair for pair in pairs if draw.rng.random() < 0.8)
            acts += shaped(draw, at, 10, "block", chosen)
        elif len(draw.names) - len(free) < few:
            name = draw.rng.choice(free)
            if kind == "restart":
                more = [Act(at, "restart", (name,))]
            else:
                more = (taken_down if kind == "kill" else frozen)(draw, name, at, 15)
            acts += more
            busy[name] = more[-1].at_s + 3
    return sorted(acts, key=lambda act: act.at_s)


NET = frozenset({BLOCK})


def five(name: str, what: str, plan: Plan) -> Scenario:
    """A scenario of the network with five nodes, whose clients call less each."""
    return Scenario(name, what, plan, nodes=5, needs=NET, rate=(20, 80))


SCENARIOS = (
    Scenario("acceptor-destroyed", "The node that took the calls burns with its disk.",
             acceptor_destroyed, at_first=True),
    Scenario("acceptor-killed", "The node that took the calls is killed -9 and stays away.",
             acceptor_killed_for_good, at_first=True),
    Scenario("each-in-turn", "kill -9 of one node after another, each comes back.", each_in_turn),
    Scenario("power-cut", "kill -9 of all at once, again and again.", power_cut),
    Scenario("two-down", "Two of three are down for a while, then back.", two_of_three_down),
    Scenario("fail-over", "Clients of the library lose their node.", client_fails_over,
             library=True, at_first=True, rate=(20, 60)),
    Scenario("worker-kills", "Workers die all the time, and a node on top.", worker_kills),
    Scenario("freezes", "SIGSTOP of any node, 1 s to 60 s.", freezes),
    Scenario("long-freeze", "The accepting node stands still, is taken over, and goes on.",
             long_freeze, at_first=True),
    Scenario("rolling-restart", "One node after another is drained and started.", rolling_restart),
    Scenario("drained", "A node is drained, stays away, and comes back.", drained),
    five("halves", "Two sides do not hear each other.", halves),
    five("ring", "Everybody hears two neighbours only.", ring),
    five("bridge", "Two sides, and one node that hears both.", bridge),
    Scenario("one-way", "A node hears nobody, or nobody hears it.", one_way, needs=NET),
    five("swizzle", "Cut off one by one, back in another order.", swizzle),
    Scenario("flapping", "Links that come and go within a second.", flapping, needs=NET),
    Scenario("alone-then-killed", "Cut off, killed, started, and only then heard again.",
             cut_off_then_killed, needs=NET),
    Scenario("slow-link", "Delay, jitter and little bandwidth between two.", slow_link,
             needs=frozenset({DELAY, SPEED})),
    Scenario("narrow-link", "30 kB/s between two.", narrow_link, needs=frozenset({SPEED})),
    Scenario("stalled-link", "Between two of three nothing moves.", stalled_link, needs=NET),
    Scenario("half-open", "Bytes vanish and connections stay.", half_open,
             needs=frozenset({HALF})),
    Scenario("cut-links", "Connections are reset at any byte.", cut_links, needs=frozenset({CUT})),
    Scenario("refused-links", "A node's port refuses connections.", refused_links,
             needs=frozenset({REFUSED})),
    Scenario("cables-pulled", "Links go down, and the kernels know it.", cables_pulled,
             needs=frozenset({CABLE})),
    Scenario("join", "Two nodes join under load.", join_under_load, spares=2, rate=(20, 100)),
    Scenario("evict-dead", "A burnt node is struck from the mesh under load.", evict_dead),
    Scenario("evict-living", "A node that runs is struck from the mesh.", evict_living),
    Scenario("replaced", "A burnt node is evicted and a new one joins.", replaced, spares=1),
    Scenario("lost-disk", "Old keys with an empty log come back and are refused.",
             lost_disk_returns),
    Scenario("old-copy", "An old copy of the log comes back and is refused.", old_copy_returns),
    Scenario("edge-away", "An edge node is away for long, works alone, and returns.", edge_away,
             nodes=4, kinds=((3, "edge"),), needs=NET, rate=(20, 60)),
    five("everything", "Five nodes, any fault at any moment.", everything),
    Scenario("two-nodes", "A mesh of two: each is killed and comes back.", each_in_turn, nodes=2),
    Scenario("single", "One node without a mesh, killed again and again.", each_in_turn, nodes=1,
             acks=(None,)),
)  # fmt: skip
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def plan_of(scenario: Scenario, seed: int, seconds: float) -> list[Act]:
    """The acts of a scenario in the order of their times; the same for the same seed."""
    draw = Draw(Random(f"{seed} {scenario.name}"), seconds, *names_of(scenario))
    return sorted(scenario.plan(draw), key=lambda act: act.at_s)


def names_of(scenario: Scenario) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of its first members and of those that may join."""
    every = tuple(f"n{number + 1}" for number in range(scenario.nodes + scenario.spares))
    return every[: scenario.nodes], every[scenario.nodes :]
