"""What membership costs and how fast it sees a death, in simulated meshes of the real core.

    python -m bench.membership [--sizes 5,50,500] [--kills 30] [--days 1]

The network is simulated; the CPU time of `step` (with packing and unpacking by the real codec) is
measured.  Every node is started by all others' rosters, as core nodes of one LAN.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

from bench import machine
from meshcode.membership.events import Contact, Event, Out, Received
from meshcode.wire.codec import pack, unpack
from tests.membership.cluster import Cluster, Host, Options

SETTLE_MS = 30_000
HEADER_BYTES = 80 + 40  # Of the envelope and the frame around each message.
DAY_MS = 24 * 3_600 * 1_000


class Bench(Cluster):
    """A mesh without the checks of the tests: only what is measured."""

    def __init__(self, seed: int, nodes: int, loss: float = 0.0) -> None:
        options = Options(nodes, 0, loss, (1, 3), 0.0, 0.0, sessions=False, faults=[])
        super().__init__(seed, options)
        self.messages = self.bytes = self.events = 0
        self.spent_s = 0.0
        self.measuring = False
        self.verdicts: list[tuple[int, bytes, bytes, str]] = []  # when, by whom, of whom, what
        self.suspicions = 0

    def do(self, host: Host, event: Event) -> None:
        """One step, timed, its messages packed as they would be."""
        if host.swim is None:
            return
        self.events += 1
        packed = pack(event.message) if isinstance(event, Received) else b""
        begin = time.thread_time()
        if packed and isinstance(event, Received):
            event = Received(event.sender, unpack(packed))
        out = host.swim.step(event, self.now_ms + host.offset_ms)
        bodies = [pack(message) for _, message in out.sends] if self.measuring else []
        self.spent_s += time.thread_time() - begin
        if self.measuring:
            self.messages += len(bodies)
            self.bytes += sum(map(len, bodies)) + HEADER_BYTES * len(bodies)
        self._after(host, out)

    def _after(self, host: Host, out: Out) -> None:
        for node, state, _, _ in out.changes:
            self.suspicions += state == "suspect"
            if state == "dead":
                self.verdicts.append((self.now_ms, host.node, node, state))
        for to, message in out.sends:
            self.carry(host.node, to, message)
        assert host.swim is not None
        due_ms = host.swim.next_due_ms()
        if due_ms is not None and due_ms - host.offset_ms != host.wake_ms:
            host.wake_ms = due_ms - host.offset_ms
            self.at(max(0, host.wake_ms - self.now_ms), self.wake, host, host.wake_ms, host.boot)

    def settle(self) -> None:
        """Start all nodes and let each meet one, as the seeds of an invitation would."""
        self.run_until(3_000)
        hosts = list(self.hosts.values())
        for host in hosts:
            first = hosts[0] if host is not hosts[0] else hosts[1]
            self.at(self.rng.randrange(2_000), self.do, host, Contact(first.node))
        self.run_until(SETTLE_MS)
        for host in hosts:
            assert host.swim is not None
            states = [row.state for row in host.swim.table()]
            assert states == ["alive"] * len(hosts), "the mesh did not settle"
        self.verdicts.clear()
        self.suspicions = 0


def idle(nodes: int) -> str:
    """Messages, bytes and CPU of one idle node."""
    mesh = Bench(1, nodes)
    mesh.settle()
    seconds = 60 if nodes < 100 else 20
    mesh.measuring, mesh.spent_s, mesh.events = True, 0.0, 0
    mesh.run_until(mesh.now_ms + 1_000 * seconds)
    share = 1 / (nodes * seconds)
    return (
        f"{mesh.messages * share:>6.1f} messages/s {mesh.bytes * share:>6.0f} bytes/s "
        f"{mesh.spent_s * share * 1e6:>6.0f} us CPU/s {mesh.events * share:>5.1f} steps/s"
    )


def detection(nodes: int, kills: int) -> tuple[list[int], list[int]]:
    """Milliseconds from a kill to the first verdict, and to the verdict of every survivor."""
    first, every = [], []
    for seed in range(kills):
        mesh = Bench(seed, nodes)
        mesh.settle()
        victim = mesh.hosts[mesh.rng.choice(list(mesh.hosts))]
        mesh.run_until(mesh.now_ms + mesh.rng.randrange(2_000))
        died_ms = mesh.now_ms
        victim.swim = None
        while len({by for _, by, node, _ in mesh.verdicts if node == victim.node}) < nodes - 1:
            mesh.run_until(mesh.now_ms + 250)
            assert mesh.now_ms < died_ms + 300_000, "never seen"
        seen: dict[bytes, int] = {}
        for when_ms, by, node, _ in mesh.verdicts:
            if node == victim.node:
                seen.setdefault(by, when_ms - died_ms)
        first.append(min(seen.values()))
        every.append(max(seen.values()))
    return sorted(first), sorted(every)


def false_verdicts(nodes: int, days: float, loss: float) -> str:
    """Verdicts on running nodes at that loss, in so many node-days."""
    mesh = Bench(1, nodes)
    mesh.settle()
    mesh.loss = loss
    mesh.run_until(mesh.now_ms + int(days * DAY_MS / nodes))
    # With k seen, the true rate is below this with 95 % confidence (Poisson; exact for k = 0).
    count = len(mesh.verdicts)
    most = 3.0 if count == 0 else count + 1.65 * math.sqrt(count) + 1.4
    return (
        f"{count} in {days:g} node-days (95 %: below {most / days:.2f} per node-day), "
        f"{mesh.suspicions / nodes / days:,.0f} suspicions refuted per node-day and observer"
    )


def at_share(values: Sequence[int], share: float) -> float:
    """A percentile in seconds."""
    return values[min(len(values) - 1, int(share * len(values)))] / 1_000


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="5,50,500")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--days", type=float, default=1.0, help="node-days at 5 %% loss")
    chosen = parser.parse_args(arguments)
    print(machine.describe())
    for nodes in map(int, chosen.sizes.split(",")):
        print(f"idle       {nodes:>4} nodes  {idle(nodes)}", flush=True)
    for nodes in map(int, chosen.sizes.split(",")):
        kills = max(1, min(chosen.kills, chosen.kills * 25 // nodes))
        first, every = detection(nodes, kills)
        print(
            f"detection  {nodes:>4} nodes  first p50 {at_share(first, 0.5):.1f} s, "
            f"p99 {at_share(first, 0.99):.1f} s; all p50 {at_share(every, 0.5):.1f} s, "
            f"p99 {at_share(every, 0.99):.1f} s ({kills} killed)", flush=True,
        )  # fmt: skip
    for nodes in (3, 5, 50):
        print(f"false DEAD {nodes:>4} nodes  5 % loss: {false_verdicts(nodes, chosen.days, 0.05)}",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
