"""What must hold in a simulated mesh: during every step, after the calm, and when idle."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.membership.events import Event, Evicted, Out, Received
from meshcode.membership.messages import trouble_with
from meshcode.wire.codec import pack

if TYPE_CHECKING:
    from tests.membership.cluster import Cluster, Host

OWN_ACCUSATION_GRACE_MS = 3_000  # After a stop: no accusation of its own in this time.
IDLE_KINDS = {"ping", "ack", "ask", "nack", "sync"}


class Violation(Exception):
    """A rule was broken; the text begins with its name."""


class Checks:
    """The books of one world, kept apart from what the nodes believe."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.keys: dict[tuple[bytes, int, bytes], tuple[int, int, int]] = {}
        self.resumed_ms: dict[bytes, int] = {}
        self.leaving_until_ms: dict[tuple[bytes, int], int] = {}
        self.died_ms: dict[bytes, int] = {}
        self.reported: dict[tuple[bytes, int, bytes], tuple[str, int, dict[str, Any]]] = {}
        self.evicted: set[tuple[bytes, int, bytes]] = set()  # Who knows, its boot, of whom.
        self.false_dead = 0  # Verdicts on nodes that were running, in worlds without faults.
        self.idle_sent: Counter[str] | None = None

    # What happens.

    def started(self, host: Host) -> None:
        """A process began."""
        self.died_ms.pop(host.node, None)
        self.resumed_ms.pop(host.node, None)
        self.keys = {key: value for key, value in self.keys.items() if key[0] != host.node}

    def died(self, host: Host) -> None:
        """A process ended."""
        self.died_ms[host.node] = self.cluster.now_ms

    def resumed(self, host: Host) -> None:
        """A stopped process goes on; a stop within which nothing was due cannot be noticed."""
        due_ms = host.swim.next_due_ms() if host.swim is not None else None
        late_ms = 0 if due_ms is None else self.cluster.now_ms + host.offset_ms - due_ms
        if late_ms > limits.SWIM_LOOP_LAG_MS:
            self.resumed_ms[host.node] = self.cluster.now_ms

    def leaving(self, host: Host, for_ms: int) -> None:
        """A restart is announced."""
        self.leaving_until_ms[host.node, host.boot] = self.cluster.now_ms + for_ms

    def stepped(self, host: Host, event: Event, out: Out) -> None:
        """After every step."""
        if isinstance(event, Evicted):
            self.evicted.add((host.node, host.boot, event.node))
        self._check_sends(host, out)
        self._check_changes(host, event, out)
        swim = host.swim
        assert swim is not None
        due_ms = swim.next_due_ms()
        if due_ms is not None and due_ms <= self.cluster.now_ms + host.offset_ms:
            raise Violation("timers: one is due and did not fire")
        if not out.changes:
            return
        live = 1 + sum(member.live for member in swim.members.values())
        if live != swim.live:
            raise Violation(f"count: {swim.live} live, the table has {live}")

    def _check_sends(self, host: Host, out: Out) -> None:
        for to, message in out.sends:
            trouble = trouble_with(message)
            if trouble:
                raise Violation(f"messages: {trouble}: {message}")
            if to not in host.told or to == host.node:
                raise Violation("receivers: a message to nobody or to itself")
            if (host.node, host.boot, to) in self.evicted:
                raise Violation("evicted: a message to one that is")
            claims = message.get("u", [])
            if len(claims) > limits.SWIM_UPDATES_MAX or (
                len(claims) > 8 and len(pack(claims)) > limits.SWIM_BYTES_MAX
            ):
                raise Violation("bounds: a message is too large")
            if self.idle_sent is not None:
                self.idle_sent[message["k"]] += 1

    def _check_changes(self, host: Host, event: Event, out: Out) -> None:
        now_ms = self.cluster.now_ms
        for node, state, boot, meta in out.changes:
            self.reported[host.node, host.boot, node] = (state, boot, meta)
            if (host.node, host.boot, node) in self.evicted and state != "evicted":
                raise Violation(f"evicted: one is {state} again")
            if node == host.node:
                continue
            self._check_order(host, node)
            other = self.cluster.hosts[node]
            if boot > other.boot:
                raise Violation(f"boot: {boot} was never opened, the newest is {other.boot}")
            if state not in ("suspect", "dead") or boot == 0:
                continue
            if now_ms < self.leaving_until_ms.get((node, boot), 0) and isinstance(event, Received):
                self._check_leaving(host, node, boot)
            by_itself = not isinstance(event, Received)
            since_ms = now_ms - self.resumed_ms.get(host.node, -OWN_ACCUSATION_GRACE_MS)
            if by_itself and since_ms < OWN_ACCUSATION_GRACE_MS:
                raise Violation(f"sick: accuses {since_ms} ms after it was stopped")
            if state == "dead" and not self.cluster.options.faults and other.swim is not None:
                self.false_dead += 1

    def _check_order(self, host: Host, node: bytes) -> None:
        assert host.swim is not None
        key = host.swim.members[node].key
        before = self.keys.get((host.node, host.boot, node), (0, 0, 0))
        if key < before:
            raise Violation(f"order: {before} became {key}")
        self.keys[host.node, host.boot, node] = key

    def _check_leaving(self, host: Host, node: bytes, boot: int) -> None:
        """A claim made before the announcement may still be on its way; one about it may not."""
        other = self.cluster.hosts[node].swim
        assert host.swim is not None
        still = other is not None and (other.own.boot, other.own.state.word) == (boot, "leaving")
        if still and host.swim.members[node].incarnation >= other.own.incarnation:
            raise Violation(f"leaving: accused in its time by {host.swim.members[node]}")

    # After the calm.

    def settled(self) -> None:
        """Everyone who runs sees the truth."""
        for host in self.cluster.hosts.values():
            if host.swim is None or host.swim.silent:
                continue
            for node in host.told:
                self._check_view(host, self.cluster.hosts[node])
        if self.false_dead:
            raise Violation(f"false dead: {self.false_dead} verdicts in a world without faults")

    def _check_view(self, host: Host, other: Host) -> None:
        assert host.swim is not None
        row = host.swim.table_row(other.node)
        reported = self.reported.get((host.node, host.boot, other.node))
        if host is not other and reported != (row.state.word, row.boot, row.meta):
            raise Violation(f"reports: {reported} was the last, the table has {row}")
        who = f"{host.node[1]} sees {other.node[1]}"
        if other.node in host.evicted:
            if row.state.word != "evicted":
                raise Violation(f"evicted: {who} {row.state.word}")
            return
        if other.swim is None:
            if row.live:
                raise Violation(f"completeness: {who} {row.state.word}, it died at "
                                f"{self.died_ms.get(other.node)} ms")  # fmt: skip
            return
        seen = (row.state.word, row.boot, row.meta)
        truth = ("alive", other.boot, other.meta)
        if seen[:2] != truth[:2]:
            raise Violation(f"convergence: {who} {seen[:2]}, the truth is {truth[:2]}")
        if seen != truth:
            raise Violation(f"meta: {who} with {seen[2]}, the truth is {truth[2]}")

    def begin_idle(self) -> None:
        """From now on only probes are expected."""
        self.idle_sent = Counter()

    def idle(self) -> None:
        """Without news there is no gossip."""
        assert self.idle_sent is not None
        others = {kind for kind in self.idle_sent if kind not in IDLE_KINDS}
        if others:
            raise Violation(f"idle: {dict(self.idle_sent)} were sent though there was no news")
