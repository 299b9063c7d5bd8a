"""The story of several nodes: join, share a burst, lose one for good, ask another for it all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from meshcode.cli.demo.many.stage import Host, Hosts, address_of, make_repository
from meshcode.cli.demo.stage import READY_S, ready_workers, reason_of
from meshcode.errors import MeshError, MountFailed, WaitTimeout

if TYPE_CHECKING:
    from meshcode.client import Call, Client

PROCESSOR = "factors"
SOCKET = "factorlib.factor"
SOURCE = "factorlib.work"
PAUSE_MS = 20  # Each call waits so long, as for an answer from elsewhere.
PRIMES = (10_000, 40_000)  # Of this size; a product of two takes a millisecond to split.
BURST_CALLS = 150  # Per node.
LAST_CALLS = 400  # Acknowledged before the kill.
FLYING_CALLS = 100  # Submitted right before the kill; nobody has waited for their acknowledgement.
KILL_AT = 0.25  # Of the results of LAST_CALLS.
WARM_UP_CALLS = 8  # Per node, again and again until every node has run some.
PATIENCE_S = 90.0  # For all answers to a batch of calls, a take-over in between.
STRANGER_S = 30.0  # For all outcomes, which are on record by then.
VOTERS = 3


@dataclass
class Facts:
    """What the demo did and measured; times in seconds."""

    nodes: int = 0
    joined_s: float = 0.0
    commit: str = ""
    code_s: float = 0.0  # Until the last node could run it.
    copies: str = ""  # What was true of a call when it was acknowledged.
    burst_calls: int = 0
    burst_s: float = 0.0
    shares: dict[str, int] = field(default_factory=dict)  # Node -> calls of the burst.
    killed: str = ""
    killed_pid: int = 0
    comes_back: bool = False  # With two nodes, since only the killed one may go on with its calls.
    open_at_kill: int = 0
    unacknowledged_at_kill: int = 0
    went_to: str = ""
    failover_s: float = 0.0  # From the kill until all that was submitted was acknowledged.
    last_s: float = 0.0  # From the kill to the last outcome.
    asked: str = ""  # The node that a stranger asked for every outcome.


class MeshStory:
    """One run; `mismatches` is empty when all that was promised held."""

    def __init__(self, hosts: Hosts) -> None:
        """Nothing runs yet."""
        self.hosts = hosts
        self.facts = Facts(nodes=len(hosts.all))
        self.mismatches: list[str] = []
        self.ledger = str(hosts.folder / "ledger")
        self.truth: dict[str, list[int]] = {}  # Id of every call made -> the factors.
        self.acknowledged: dict[str, str] = {}  # Id -> what was true of it.
        self.told: dict[str, Any] = {}  # Id -> what the client that made it was told.
        self.read: dict[str, Any] = {}  # Id -> what a stranger was told at another node.
        self._pairs = prime_pairs(Random(1))

    def check(self, good: bool, text: str) -> None:
        """Note a promise that was broken."""
        if not good:
            self.mismatches.append(text)

    def play(self) -> None:
        """Run the story to its end; the nodes that live are left running for the verification."""
        begun = time.monotonic()
        self.hosts.assemble()
        self.facts.joined_s = time.monotonic() - begun
        self._declare()
        with self.hosts.connect() as client:
            self._wait_for_code()
            self._warm_up(client)
            self._burst(client)
            self._kill_in_the_middle(client)
            self._ask_elsewhere(self._node_of(client))

    # Before the kill.

    def _declare(self) -> None:
        """Told to one node, which is not the one that gets the calls: the others hear of it."""
        host, repo = self.hosts.all[-1], self.hosts.folder / "repo"
        self.facts.commit = make_repository(repo)
        host.mesh("add", "processor", "-n", PROCESSOR, "-g", repo.as_uri(), "-m", SOURCE, "-w", "1")
        host.mesh("add", "queue", "-n", "work", "-t", "direct")
        host.mesh("add", "socket", "-n", SOCKET, "-q", "work", "-pn", PROCESSOR, "-t", "factor")

    def _wait_for_code(self) -> None:
        begun = time.monotonic()

        def ready(status: dict[str, Any]) -> bool:
            reason = reason_of(status, PROCESSOR)
            if "could not be mounted" in reason:
                raise MountFailed(f"processor {PROCESSOR}: {reason}")
            return bool(ready_workers(status, PROCESSOR))

        for host in self.hosts.all:
            with host.connect() as client:
                host.wait(client, ready, f"mounting {PROCESSOR} at {host.name}", READY_S)
        self.facts.code_s = time.monotonic() - begun

    def _warm_up(self, client: Client) -> None:
        """Until every node has run calls that the first one accepted, and a majority keeps them.

        Raises:
            WaitTimeout: some node did not.
        """
        deadline = time.monotonic() + READY_S
        wanted = {host.name for host in self.hosts.all}
        copies = f"2/{min(VOTERS, len(wanted))}"
        while True:
            calls = self._submit(client, WARM_UP_CALLS * len(wanted))
            self._acknowledge(calls)
            ran = set(self._share(calls))
            self.facts.copies = self.acknowledged.get(calls[-1].id, "nothing")
            if ran >= wanted and self.facts.copies.endswith(copies):
                return
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    f"not every node took part within {READY_S:g} s: calls ran on"
                    f" {', '.join(sorted(ran))}, acknowledged as {self.facts.copies}"
                )

    def _burst(self, client: Client) -> None:
        """Many calls to the first node, and who has run them."""
        count = BURST_CALLS * self.facts.nodes
        self.hosts.first.say(f"  {count} calls to {self.hosts.first.name}")
        begun = time.monotonic()
        calls = self._submit(client, count)
        self._acknowledge(calls)
        shares = self._share(calls)
        self.facts.burst_s = time.monotonic() - begun
        self.facts.burst_calls = count
        self.facts.shares = {host.name: shares[host.name] for host in self.hosts.all}

    def _share(self, calls: list[Call]) -> Counter[str]:
        self._collect(calls)
        return Counter(self.told[call.id]["node"] for call in calls if call.id in self.told)

    # The kill.

    def _kill_in_the_middle(self, client: Client) -> None:
        facts, victim = self.facts, self.hosts.first
        victim.say(f"  {LAST_CALLS + FLYING_CALLS} calls to {victim.name}")
        facts.comes_back = facts.nodes < VOTERS
        calls = self._submit(client, LAST_CALLS)
        self._acknowledge(calls)
        self._collect(calls[: int(len(calls) * KILL_AT)])
        with victim.connect() as asking:
            victim.look(asking.ask("status"))
        if not facts.comes_back:  # Else its own word on these could come back after another's.
            calls += self._submit(client, FLYING_CALLS)
        facts.unacknowledged_at_kill = sum(call.accepted is None for call in calls)
        facts.open_at_kill = sum(not call.done() for call in calls)
        self.check(facts.open_at_kill > 0, "the node was killed when nothing was open")
        killed = time.monotonic()
        facts.killed, facts.killed_pid = victim.name, victim.kill_for_good()
        if facts.comes_back:
            self._start_again(victim)
            calls += self._submit(client, FLYING_CALLS)
        self._acknowledge(calls)
        facts.failover_s = time.monotonic() - killed
        self._collect(calls)
        facts.last_s = time.monotonic() - killed
        facts.went_to = self._node_of(client).name

    def _start_again(self, victim: Host) -> None:
        victim.say(f"  {victim.name} comes back: of two nodes only it may go on with its calls")
        victim.killed = False
        victim.start_node()

    def _node_of(self, client: Client) -> Host:
        return next(host for host in self.hosts.all if address_of(host) == client.address)

    # After it.

    def _ask_elsewhere(self, used: Host) -> None:
        """A stranger, who knows the ids and nothing else, asks a node that was not spoken to."""
        others = [host for host in self.hosts.living if host not in (used, self.hosts.first)]
        host = others[0] if others else used
        self.facts.asked = host.name
        host.say(f"  asking {host.name} for all {len(self.truth)} outcomes")
        with host.connect() as stranger:
            why = _read([stranger.call(id) for id in self.truth], STRANGER_S, self.read)
        self.check(not why, f"{host.name} does not give every outcome; of the first it says: {why}")

    # Calling.

    def _submit(self, client: Client, count: int) -> list[Call]:
        socket = client.socket(SOCKET)
        calls = []
        for _ in range(count):
            pair = next(self._pairs)
            calls.append(socket.submit(pair[0] * pair[1], PAUSE_MS, self.ledger))
            self.truth[calls[-1].id] = list(pair)
        return calls

    def _acknowledge(self, calls: list[Call]) -> None:
        """Wait until the calls are acknowledged; what was said to be true of each is kept."""
        deadline = time.monotonic() + PATIENCE_S
        for call in calls:
            with suppress(MeshError):  # Refused or too late: the judge misses it.
                text = call.wait_accepted(max(0.0, deadline - time.monotonic()))
                self.acknowledged.setdefault(call.id, text)

    def _collect(self, calls: list[Call]) -> None:
        """Wait until the calls have ended; what each gave is kept."""
        why = _read(calls, PATIENCE_S, self.told)
        self.check(not why, f"not every call came to its end; of the first is said: {why}")


def _read(calls: list[Call], patience_s: float, into: dict[str, Any]) -> str:
    """The values of calls; the judge misses what has none when patience is at its end.

    Returns why the first of these has none; empty when all have one.
    """
    why = ""
    deadline = time.monotonic() + patience_s
    for call in calls:
        call.done()  # Asked for now, all of them, and not one after the other.
    for call in calls:
        try:
            into[call.id] = call.result(max(0.0, deadline - time.monotonic()))
        except MeshError as error:
            why = why or f"{call.id}: {error}"
    return why


def prime_pairs(rng: Random) -> Iterator[tuple[int, int]]:
    """Pairs of primes, smaller first, for ever; no pair comes twice."""
    low, high = PRIMES
    sieve = bytearray([1]) * high
    for n in range(2, int(high**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, high, n)))
    primes = [n for n in range(low, high) if sieve[n]]
    seen: set[tuple[int, int]] = set()
    while True:
        a, b = sorted(rng.sample(primes, k=2))
        if (a, b) not in seen:
            seen.add((a, b))
            yield a, b
