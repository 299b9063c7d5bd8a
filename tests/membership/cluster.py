"""Meshes of simulated nodes from one seed: the real core, a network and hosts that misbehave.

    python -m tests.membership.cluster --seeds 0:10000
    python -m tests.membership.cluster --trace 62
    python -m tests.membership.cluster --mutants

Phase one has faults, phase two is calm; `checks.py` says what must hold in and after them.
"""

from __future__ import annotations

import argparse
import heapq
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from random import Random
from typing import Any

from meshcode.membership.events import (
    Added,
    Contact,
    Event,
    Evicted,
    Leaving,
    Left,
    Lost,
    Out,
    Received,
    SelfHealth,
    Ticked,
)  # fmt: skip
from meshcode.membership.swim import Swim
from tests.membership.checks import Checks, Violation

FAULTS_MS = 40_000
LATE_MS_MAX = 60_000
RESTART_MS_MAX = 25_000
CALM_MS = {"core": 50_000, "edge": 700_000}
QUIET_MS = {"core": 10_000, "edge": 60_000}


@dataclass(slots=True)
class Host:
    """One node's place: what survives its process."""

    node: bytes
    kind: str
    offset_ms: int  # Its node time less the world's.
    boot: int = 0
    swim: Swim | None = None  # None: not running.
    paused_until_ms: int = 0
    held: list[Event] = field(default_factory=list)  # What waits for a paused process.
    told: dict[bytes, str] = field(default_factory=dict)  # Its roster: node -> kind.
    evicted: set[bytes] = field(default_factory=set)
    meta: dict[str, Any] = field(default_factory=dict)
    wake_ms: int = -1
    started_ms: int = 0


@dataclass(slots=True)
class Options:
    """What a world is like; most features are absent from most worlds."""

    nodes: int
    edges: int
    loss: float
    delay_ms: tuple[int, int]
    doubled: float
    late: float  # Share of messages that come up to a minute late.
    sessions: bool  # Whether the transport tells of sessions at all.
    faults: list[str]


def draw(rng: Random) -> Options:
    """The options of one world."""
    nodes = rng.choice((2, 3, 3, 4, 5, 6, 8))
    faults = ["crash", "restart", "pause", "partition", "one_way", "evict", "join", "leave", "left",
              "meta", "sick"]  # fmt: skip
    return Options(
        nodes=nodes,
        edges=rng.choice((1, 2)) if rng.random() < 0.03 else 0,
        loss=rng.choice((0.0, 0.0, 0.02, 0.05, 0.2)),
        delay_ms=rng.choice(((0, 2), (1, 30), (20, 200))),
        doubled=rng.choice((0.0, 0.0, 0.1)),
        late=rng.choice((0.0, 0.0, 0.01)),
        sessions=rng.random() < 0.6,
        faults=rng.sample(faults, rng.randint(0, 5)) if rng.random() < 0.9 else [],
    )


class Cluster:
    """One world.  Everything in it comes from `seed`."""

    def __init__(self, seed: int, options: Options | None = None, *, trace: bool = False) -> None:
        self.rng = Random(seed)
        self.options = options or draw(self.rng)
        self.trace = trace
        self.now_ms = 0
        self.queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.hosts: dict[bytes, Host] = {}
        self.blocked: set[tuple[bytes, bytes]] = set()  # from, to
        self.evictions: set[bytes] = set()  # As the newest roster has them.
        self.loss = self.options.loss
        self.calm = False
        self.steps = 0
        self.checks = Checks(self)
        self.on_step: Callable[[Host, Out], None] | None = None
        for number in range(self.options.nodes + self.options.edges):
            kind = "edge" if number >= self.options.nodes else "core"
            self.make_host(kind)
        for host in self.hosts.values():
            host.told = {other.node: other.kind for other in self.hosts.values()}
            self.at(self.rng.randrange(3_000), self.start, host)

    # Time.

    def at(self, after_ms: int, act: Callable[..., None], *args: Any) -> None:
        """Let something happen later."""
        self.count += 1
        heapq.heappush(self.queue, (self.now_ms + after_ms, self.count, act, args))

    def run_until(self, until_ms: int) -> None:
        """Let everything happen up to a time."""
        while self.queue and self.queue[0][0] <= until_ms:
            self.now_ms, _, act, args = heapq.heappop(self.queue)
            act(*args)
        self.now_ms = until_ms

    def say(self, text: str) -> None:
        """One line of the trace."""
        if self.trace:
            print(f"{self.now_ms:>8}  {text}")

    # Hosts.

    def make_host(self, kind: str) -> Host:
        """A new place; nothing runs there yet."""
        node = len(self.hosts).to_bytes(2, "big") + self.rng.randbytes(14)
        host = Host(node, kind, offset_ms=self.rng.randrange(1, 2**40))
        host.told = {node: kind}
        self.hosts[node] = host
        return host

    def start(self, host: Host) -> None:
        """Start a process with the next boot; it reads its roster."""
        if host.swim is not None or host.node in host.evicted:
            return
        host.boot += 1
        host.started_ms = self.now_ms
        host.paused_until_ms, host.held = 0, []
        host.meta = {"name": f"n{host.node[1]}", "load": self.rng.randrange(9)}
        rng = Random(self.rng.getrandbits(64))
        host.swim = Swim(host.node, host.boot, rng, kind=host.kind, meta=host.meta)
        self.say(f"{name(host.node)} starts with boot {host.boot}")
        self.checks.started(host)
        for node, kind in host.told.items():
            self.do(host, Added(node, kind))
        for node in host.evicted:
            self.do(host, Evicted(node))
        if self.options.sessions:
            for other in self.hosts.values():
                self.at(self.rng.randrange(50, 3_000), self.contact, host, other)

    def kill(self, host: Host) -> None:
        """kill -9."""
        if host.swim is None:
            return
        self.say(f"{name(host.node)} dies")
        host.swim = None
        self.checks.died(host)
        if self.options.sessions:
            for other in self.hosts.values():
                if self.rng.random() < 0.7:
                    self.at(self.rng.randrange(1, 500), self.do, other, Lost(host.node))

    def contact(self, host: Host, other: Host) -> None:
        """Two hosts have a new session, if they can have one."""
        both = host.swim is not None and other.swim is not None and host is not other
        free = {(host.node, other.node), (other.node, host.node)}.isdisjoint(self.blocked)
        if both and free and other.node in host.told and host.node in other.told:
            self.do(host, Contact(other.node))
            self.do(other, Contact(host.node))

    def do(self, host: Host, event: Event) -> None:
        """One step of one node, its effects included."""
        if host.swim is None:
            return
        if host.paused_until_ms > self.now_ms:
            host.held.append(event)
            return
        self.steps += 1
        now_ms = self.now_ms + host.offset_ms
        out = host.swim.step(event, now_ms)
        self.checks.stepped(host, event, out)
        if self.on_step is not None:
            self.on_step(host, out)
        for change in out.changes:
            self.say(f"{name(host.node)} believes {name(change[0])} {change[1]} boot {change[2]}")
        for to, message in out.sends:
            self.carry(host.node, to, message)
        due_ms = host.swim.next_due_ms()
        if due_ms is not None and due_ms - host.offset_ms != host.wake_ms:
            host.wake_ms = due_ms - host.offset_ms
            self.at(max(0, host.wake_ms - self.now_ms), self.wake, host, host.wake_ms, host.boot)

    def wake(self, host: Host, wake_ms: int, boot: int) -> None:
        """A timer of the shell; one that was moved does nothing."""
        if wake_ms == host.wake_ms and boot == host.boot:
            host.wake_ms = -1
            self.do(host, Ticked())

    # The network.

    def carry(self, sender: bytes, to: bytes, message: dict[str, Any]) -> None:
        """A message goes off; what becomes of it is chance."""
        times = 2 if self.rng.random() < self.options.doubled else 1
        for _ in range(times):
            if self.rng.random() < self.loss:
                continue
            delay_ms = self.rng.randint(*self.options.delay_ms)
            if self.options.late and not self.calm and self.rng.random() < self.options.late:
                delay_ms += self.rng.randrange(LATE_MS_MAX)
            self.at(delay_ms, self.arrive, sender, to, message)

    def arrive(self, sender: bytes, to: bytes, message: dict[str, Any]) -> None:
        """A message comes to a host, if there is a way; a link carries only those it admits."""
        if (sender, to) not in self.blocked and to in self.hosts:
            self.do(self.hosts[to], Received(sender, message))

    def block(self, pairs: set[tuple[bytes, bytes]]) -> None:
        """Close ways; some nodes notice that sessions went down."""
        self.blocked |= pairs
        if self.options.sessions:
            for sender, to in sorted(pairs):
                if self.rng.random() < 0.5:
                    self.at(self.rng.randrange(1_000), self.do, self.hosts[to], Lost(sender))

    def heal(self) -> None:
        """Open all ways; sessions come up again."""
        healed, self.blocked = sorted(self.blocked), set()
        self.say("all ways are open")
        if self.options.sessions:
            for sender, to in healed:
                after_ms = self.rng.randrange(3_000)
                self.at(after_ms, self.contact, self.hosts[sender], self.hosts[to])

    # Faults: each draws its victims and its time.

    def plan(self) -> None:
        """Spread the faults of this world over phase one."""
        for fault in self.options.faults:
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                early = self.rng.random() < 0.3  # Early ones have time to be believed by all.
                after_ms = self.rng.randrange(4_000, 6_000 if early else FAULTS_MS)
                self.at(after_ms, getattr(self, "fault_" + fault))

    def victim(self) -> Host:
        """Any host."""
        return self.hosts[self.rng.choice(list(self.hosts))]

    def fault_crash(self) -> None:
        self.kill(self.victim())

    def fault_restart(self) -> None:
        host = self.victim()
        self.kill(host)
        self.at(self.rng.randrange(10, RESTART_MS_MAX), self.start, host)

    def fault_pause(self) -> None:
        host, for_ms = self.victim(), self.rng.choice((300, 2_000, 8_000, 30_000))
        if host.swim is None or host.paused_until_ms > self.now_ms:
            return
        self.say(f"{name(host.node)} is stopped for {for_ms} ms")
        host.paused_until_ms = self.now_ms + for_ms
        self.at(for_ms, self.resume, host, host.paused_until_ms)

    def resume(self, host: Host, until_ms: int) -> None:
        """A stopped process goes on: messages first or its timer first, as chance has it."""
        if host.swim is None or host.paused_until_ms != until_ms:
            return
        self.say(f"{name(host.node)} goes on")
        held, host.held = host.held[-1_000:], []
        self.checks.resumed(host)
        if self.rng.random() < 0.5:
            held.insert(0, Ticked())
        for event in held:
            self.do(host, event)
        self.do(host, Ticked())

    def fault_partition(self) -> None:
        nodes = list(self.hosts)
        some = set(self.rng.sample(nodes, self.rng.randint(1, max(1, len(nodes) // 2))))
        pairs = {(a, b) for a in nodes for b in nodes if (a in some) != (b in some)}
        self.say(f"cut off: {sorted(name(node) for node in some)}")
        self.block(pairs)
        self.at(self.rng.choice((1_000, 10_000, FAULTS_MS)), self.heal)

    def fault_one_way(self) -> None:
        a, b = self.rng.sample(list(self.hosts), 2)
        self.say(f"no way from {name(a)} to {name(b)}")
        self.block({(a, b)})
        self.at(self.rng.choice((5_000, 20_000)), self.heal)

    def fault_evict(self) -> None:
        host = self.victim()
        self.say(f"{name(host.node)} is evicted")
        self.evictions.add(host.node)
        for other in self.hosts.values():
            self.at(self.rng.randrange(2_000), self.learn_eviction, other, host.node)

    def learn_eviction(self, host: Host, node: bytes) -> None:
        """A roster with an eviction reaches a host (the roster travels by itself)."""
        host.evicted.add(node)
        self.do(host, Evicted(node))

    def fault_join(self) -> None:
        host = self.make_host("core")
        host.evicted = set(self.evictions)  # It joins with the newest roster.
        for other in list(self.hosts.values()):
            host.told[other.node] = other.kind
            if other is not host:
                self.at(self.rng.randrange(3_000), self.learn, other, host)
        self.at(self.rng.randrange(2_000), self.start, host)

    def learn(self, host: Host, new: Host) -> None:
        """A roster with a new member reaches a host."""
        host.told[new.node] = new.kind
        self.do(host, Added(new.node, new.kind))

    def fault_leave(self) -> None:
        """An announced restart, mostly shorter than announced."""
        host = self.victim()
        if host.swim is None or host.paused_until_ms > self.now_ms:
            return
        for_ms = self.rng.choice((3_000, 15_000, 60_000))
        self.say(f"{name(host.node)} will be back within {for_ms} ms")
        self.checks.leaving(host, for_ms)
        self.do(host, Leaving(for_ms))
        after_ms = self.rng.randrange(500, 20_000)
        if self.rng.random() < 0.8:  # Else it changes its mind.
            self.at(200, self.kill, host)
            self.at(200 + after_ms, self.start, host)

    def fault_left(self) -> None:
        host = self.victim()
        if host.swim is not None and host.paused_until_ms <= self.now_ms:
            self.say(f"{name(host.node)} leaves")
            self.do(host, Left())
            self.kill(host)

    def fault_meta(self) -> None:
        host = self.victim()
        if host.swim is not None and host.paused_until_ms <= self.now_ms:
            host.meta = {"name": "new", "load": self.rng.randrange(100)}
            host.swim.set_meta(host.meta, self.now_ms + host.offset_ms)
            self.do(host, Ticked())

    def fault_sick(self) -> None:
        self.do(self.victim(), SelfHealth(loop_lag_ms=self.rng.choice((100, 400, 5_000))))

    # A life.

    def run(self) -> None:
        """Faults, then calm, then the reckoning."""
        self.plan()
        self.run_until(FAULTS_MS)
        self.calm = True
        self.heal()
        self.loss = min(self.loss, 0.05)
        for host in self.hosts.values():
            if host.paused_until_ms > self.now_ms:
                host.paused_until_ms = self.now_ms
                self.resume(host, self.now_ms)
        edges = any(host.kind == "edge" for host in self.hosts.values())
        # Restarts and late messages of phase one reach into phase two.
        kind = "edge" if edges else "core"
        leftover_ms = LATE_MS_MAX if self.options.late else RESTART_MS_MAX
        self.run_until(FAULTS_MS + leftover_ms + CALM_MS[kind] - QUIET_MS[kind])
        self.loss = 0.0  # A message that is lost now makes a suspicion, which is news.
        self.run_until(self.now_ms + QUIET_MS[kind])
        self.checks.settled()
        self.checks.begin_idle()
        self.run_until(self.now_ms + 3_000)
        self.checks.idle()


def name(node: bytes) -> str:
    """A node in the trace."""
    return f"n{int.from_bytes(node[:2], 'big')}"


def run_seed(seed: int, *, trace: bool = False) -> str:
    """Live through one world; what went wrong, empty when nothing did."""
    cluster = Cluster(seed, trace=trace)
    try:
        cluster.run()
    except (Violation, AssertionError, LookupError, TypeError, ValueError) as error:
        return f"{type(error).__name__} at {cluster.now_ms} ms: {error}"
    return ""


def run_seeds(begin: int, end: int) -> Iterator[tuple[int, str]]:
    """Every world of a range with what went wrong in it."""
    for seed in range(begin, end):
        yield seed, run_seed(seed)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    from tests.membership.mutants import MUTANTS, planted

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0:1000", help="first:last, the last not included")
    parser.add_argument("--trace", type=int, help="tell one world")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break one rule")
    parser.add_argument("--mutants", action="store_true", help="break each rule until caught")
    chosen = parser.parse_args(arguments)
    begin, _, end = chosen.seeds.partition(":")
    with planted(chosen.mutant) if chosen.mutant else nullcontext():
        if chosen.trace is not None:
            print(run_seed(chosen.trace, trace=True) or f"seed {chosen.trace}: good")
            return 0
        if chosen.mutants:
            return _until_caught(int(begin), int(end))
        started, bad = time.perf_counter(), 0
        for seed, failure in run_seeds(int(begin), int(end)):
            if failure:
                bad += 1
                print(f"seed {seed}: {failure}", flush=True)
    print(f"{int(end) - int(begin)} worlds, {bad} bad, {time.perf_counter() - started:.0f} s")
    return 1 if bad else 0


def _until_caught(begin: int, end: int) -> int:
    from tests.membership.mutants import MUTANTS, planted

    status = 0
    for mutant in MUTANTS:
        with planted(mutant):
            found = next(((s, f) for s, f in run_seeds(begin, end) if f), None)
        if found is None:
            status = 1
            print(f"{mutant:<40} not caught")
        else:
            print(f"{mutant:<40} {found[0] - begin + 1:>5}  {found[1]}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
