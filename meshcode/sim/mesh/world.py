"""One mesh from one seed: nodes, disks, network, clients, faults, and then calm."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from random import Random
from typing import Any

from meshcode.router import events, recovering
from meshcode.router.records import accepted_call
from meshcode.sim import streaming
from meshcode.sim.mesh import casts, flows, judgement, plugs, streams
from meshcode.sim.mesh import options as drawn
from meshcode.sim.mesh.checks import MeshChecker
from meshcode.sim.mesh.client import MeshClient, make_call
from meshcode.sim.mesh.network import Frame, Network
from meshcode.sim.mesh.node import MeshNode
from meshcode.wire.kinds import Kind

_ITEMS = int(Kind.ITEMS)
EVENTS_MAX = 600_000  # More in one world means that something spins.
CALM_MS_MAX = 600_000  # Without that anything ends.
RECOVERIES_MAX = 3  # How often a person asks for the same.
LOOK_MS = 2_000
TOGETHER = 8  # In every such world what is alike in a frame is one step, as nodes hear it.
SETTLE_MS = 30_000  # What waits for a person gets its voters back within this.


class MeshWorld:
    """All of one seed; `run` it once."""

    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        """Everything is drawn from `seed`."""
        self.seed = seed
        self.together = seed % TOGETHER == TOGETHER - 1
        self.trace = trace
        self.rng = Random(seed)
        self.options = drawn.draw(self.rng)
        flows.draw(Random(f"flows of {seed}"), self.options)
        self.plugs_rng = Random(f"plugs of {seed}")
        plugs.draw(self.plugs_rng, self.options)
        self.casts_rng = Random(f"casts of {seed}")
        casts.draw(self.casts_rng, self.options)
        self.streams_rng = Random(f"streams of {seed}")
        streams.draw(seed, self.streams_rng, self.options)
        self.model = self.options.snapshot
        self.now = 0
        self.calm = False
        self.calm_ms = 0  # When it began.
        self.away = -1  # A node that stays away when the others are calm already.
        self.checker = MeshChecker(self)
        self.network = Network(self)
        self.frames: dict[int, list[bytes]] = {}  # By session.
        self.sockets: dict[bytes, str] = {}
        self.poison: set[bytes] = set()  # Calls that kill their worker, every time.
        self._sessions: dict[int, MeshClient] = {}
        self._owners: dict[bytes, MeshClient] = {}  # Call id -> who submitted it.
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.nodes: list[MeshNode] = []
        for index in range(self.options.nodes):
            self.nodes.append(MeshNode(self, index))

    # Time and chance.

    def after(self, delay_ms: int, act: Callable[..., None], *args: Any) -> None:
        """Let something happen later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_ms, self._count, act, args))

    def draw_sync_ms(self) -> int:
        """How long a sync takes."""
        if self.calm:
            return 1
        if self.rng.random() < self.options.slow_sync:
            return self.rng.randint(50, 1_500)
        return self.rng.randint(*self.options.sync_ms)

    def draw_fate(self) -> str:
        """How an execution ends."""
        if not self.calm and self.rng.random() < self.options.die_chance:
            return "die"
        return "raise" if self.rng.random() < self.options.raise_chance else "return"

    def say(self, text: str, *args: Any) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now:7d} " + text % args)

    # Clients.

    def open_session(self, client: MeshClient) -> int:
        """A number for a new session."""
        number = len(self._sessions) + 1
        self._sessions[number] = client
        return number

    def client(self, session: int) -> MeshClient:
        """Whose session it is."""
        return self._sessions[session]

    def clients(self) -> list[MeshClient]:
        """Everybody who submitted something."""
        return list(dict.fromkeys(self._sessions.values()))

    def asked(self, id: bytes) -> tuple[str | None, int]:
        """Which level a client asked for, and how often it tried."""
        client = self._owners.get(id)
        if client is None:
            return None, 0
        options = client.calls[id][5]
        return (options or {}).get("ack"), client.tries

    def _submit(self, number: int) -> None:
        calls = [
            make_call(self, number * 100 + n)
            for n in range(self.rng.randint(1, self.options.frame_calls))
        ]
        for call in calls:
            self.sockets[call[0]] = call[3]
            if self.options.poison and self.rng.random() < self.options.poison:
                self.poison.add(call[0])
        self.send(calls)

    def send(self, calls: list[events.NewCall]) -> None:
        """A new client submits these calls in one frame."""
        client = MeshClient(self, calls)
        self._owners |= dict.fromkeys(client.calls, client)
        client.submit()

    # Network.

    def beaten(self, sender: int, to: int, tag: tuple[int, int, int], frame: Frame) -> None:
        """A sign of life arrives."""
        node = self.nodes[to]
        if node.up and (sender, to) not in self.network.cut:
            node.heard_beat(sender, tag[0])

    def arrived(self, sender: int, to: int, tag: tuple[int, int, int], frame: Frame) -> None:
        """A frame arrives."""
        node = self.nodes[to]
        if not node.up or (sender, to) in self.network.cut:
            return
        if not self.network.accepts(node, sender, tag):
            return
        if self.trace is not None:
            said = [f"{Kind(kind).name}({_short(entry)})" for kind, entry in frame]
            self.say("n%d -> n%d %s", sender, to, ", ".join(said))
        for kind, said in groupby(frame, itemgetter(0)):
            entries = [entry for _, entry in said]
            if kind == _ITEMS:
                for entry in entries:
                    node.post(events.Yielded(None, [tuple(entry)], node=self.nodes[sender].id))
            elif self.together:
                node.post(events.PeerSaid(self.nodes[sender].id, kind, entries))
            else:
                for entry in entries:
                    node.post(events.PeerSaid(self.nodes[sender].id, kind, [entry]))

    # Faults.

    def _fault(self) -> None:
        if self.calm:
            return
        options, rng = self.options, self.rng
        faults: list[tuple[float, Callable[[], None]]] = [
            (options.crash, self._crash_one),
            (options.power, self._power_cut),
            (options.partition, self._partition),
            (options.destroy, self._destroy),
            (options.evict_living, self._evict_living),
            (options.suspect, self._suspect),
            (options.disk, self._disk),
            (options.worker, self._worker),
            (options.cancel, self._cancel),
            (options.owner, self._crash_owner),
            (options.roll, self._roll),
            (options.flow_cancel, self._cancel_flow),
            (options.scale, self._scale),
        ]
        total = sum(weight for weight, _ in faults)
        if total:
            pick = rng.random() * total
            for weight, fault in faults:
                pick -= weight
                if pick < 0:
                    fault()
                    break
        self.after(rng.randint(200, options.fault_ms), self._fault)

    def _pick(self) -> MeshNode:
        return self.rng.choice(self.nodes)

    def _crash_one(self) -> None:
        node = self._pick()
        node.crash(keep=self.rng.random() < 0.5)
        self.after(self.rng.choice((200, 2_000, 15_000)), node.start)

    def _crash_owner(self) -> None:
        owners = [
            node
            for node in self.nodes
            if node.up and any(call.inst is not None for call in node.router.calls.values())
        ]
        if owners and all(node.up for node in self.nodes):
            node = self.rng.choice(owners)
            node.crash(keep=self.rng.random() < 0.5)
            self.after(self.rng.choice((8_000, 15_000, 25_000)), node.start)

    def _roll(self) -> None:
        for number, node in enumerate(self.nodes):
            self.after(number * 3_000, node.crash_if_up)
            self.after(number * 3_000 + self.rng.choice((200, 1_500, 6_000)), node.start)

    def child_named(self, key: bytes, voters: tuple[bytes, ...]) -> None:
        """An outcome with a child is chosen: its voters may be lost before they have it (P8)."""
        if self.calm or self.losses_left() < 2 or self.rng.random() >= self.options.custodians:
            return
        parents = self.checker.voters.get(key, ())
        gone = [self.nodes[voter[4]] for voter in voters]
        gone = [node for node in gone if not node.lost and node.up]
        gone.sort(key=lambda node: node.id in parents[1:])  # Rather not the parent's voters.
        gone = [node for node in gone if node.id != parents[0]][:2]
        if len(gone) == 2:
            for node in gone:
                self.after(0, self.destroy_node, node)

    def dies_proposing(self, node: MeshNode) -> None:
        """An outcome is on its way to the voters: its owner may not live to hear of it."""
        if not self.calm and self.rng.random() < self.options.dies_proposing:
            self.after(self.rng.randint(0, 2 * self.options.delay_ms), node.crash_if_up)
            self.after(self.rng.choice((8_000, 15_000, 25_000)), node.start)

    def _power_cut(self) -> None:
        self.say("power cut")
        for node in self.nodes:
            node.crash(keep=self.rng.random() < 0.5)
            self.after(self.rng.choice((500, 1_000, 6_000)), node.start)

    def _partition(self) -> None:
        if self.rng.random() < 0.6 and self.options.nodes > 1:
            self.network.split()
            self.say("cut %s", sorted(self.network.cut))
        else:
            self.network.heal()
            self.say("healed")

    def losses_left(self) -> int:
        """How many more nodes may be lost for ever."""
        lost = sum(node.lost for node in self.nodes)
        return (2 if self.options.nodes >= 5 else 1) - lost

    def _destroy(self) -> None:
        if self.losses_left() <= 0:
            return
        node = self._pick()
        if not node.lost:
            self.destroy_node(node)

    def destroy_node(self, node: MeshNode) -> None:
        """A node is gone for ever; the others hear of it after a while."""
        if node.lost:
            return
        self.say("%s: destroyed", node)
        node.crash(keep=True)
        node.lost = True
        self.after(self.rng.randint(1_000, 20_000), self._evict, node)

    def _evict_living(self) -> None:
        if self.losses_left() <= 0:
            return
        node = self._pick()
        if not node.lost:
            self.say("%s: evicted although it lives", node)
            node.lost = True
            self._evict(node)

    def _evict(self, node: MeshNode) -> None:
        for other in self.nodes:
            if other is not node:
                self.after(self.rng.randint(1, 4_000), self._learn_evicted, other, node)

    @staticmethod
    def _learn_evicted(node: MeshNode, evicted: MeshNode) -> None:
        node.knows_evicted.add(evicted.index)
        if node.up:
            node.tell(evicted, "evicted", node.channels[evicted.index].peer_boot)

    def _suspect(self) -> None:
        node, other = self._pick(), self._pick()
        if node is not other and node.up:
            node.wrong[other.index] = self.now + self.rng.choice((1_000, 8_000, 20_000))

    def _disk(self) -> None:
        node = self._pick()
        if node.up:
            kind = self.rng.choice(("full", "full", "suspect"))
            keep = kind == "suspect" and self.rng.random() < 0.5
            if kind == "suspect":
                node.suspect_keeps.append(keep)
            node.log.fail_next_sync(kind, keep=keep)

    def _worker(self) -> None:
        node = self._pick()
        if node.up and node.workers:
            worker = self.rng.choice(list(node.workers.values()))
            running = [worker.running[0]] if worker.running else []
            worker.die(running if self.rng.random() < 0.5 else [])

    def _cancel(self) -> None:
        node = self._pick()
        if node.up and node.router.calls:
            id = self.rng.choice(list(node.router.calls))
            node.post(events.CancelAsked(0, bytes(16), id, "somebody"))

    def _cancel_flow(self) -> None:
        flows.cancel(self)

    def _scale(self) -> None:
        casts.scale(self)

    # The whole.

    def living(self) -> list[MeshNode]:
        """Nodes that are there to the end."""
        return [node for node in self.nodes if not node.lost]

    def run(self) -> tuple[int, int]:
        """Faults, then calm, then judgement; returns steps and digest.

        Raises:
            Violation: a rule was broken.
        """
        with streaming.limited(self.options.stream_window):
            return self._run()

    def _run(self) -> tuple[int, int]:
        rng, options = self.rng, self.options
        for node in self.nodes:
            self.after(rng.randint(0, 200), node.start)
        for number in range(options.frames):
            self.after(rng.randint(300, max(400, options.phase_ms * 8 // 10)), self._submit, number)
        for number in range(options.flows + options.flow_retries):
            act = flows.submit if number < options.flows else flows.retry
            at_ms = rng.randint(300, max(400, options.phase_ms * 8 // 10))
            self.after(at_ms, act, self, number)
        for number in range(options.casts):
            self.after(self.casts_rng.randint(300, options.phase_ms), casts.submit, self, number)
        for number in range(options.stream_calls):
            at_ms = self.streams_rng.randint(300, options.phase_ms)
            self.after(at_ms, streams.submit, self, number)
        for _ in range(options.rewirings):
            self.after(self.plugs_rng.randint(300, options.phase_ms), plugs.rewire, self)
        self.after(rng.randint(500, options.fault_ms), self._fault)
        self._until(lambda: self.now >= options.phase_ms, options.phase_ms)
        self._calm()
        if self.away >= 0:
            self._rest()
            self.checker.alive()
            self._come_back()
        self._rest()
        self.checker.finish()
        for _ in range(RECOVERIES_MAX):  # Again where the node went down with the request.
            if not self._recover():
                break
            self._rest()
        if self.checker.recovered:
            self.checker.finish()
        return self.checker.steps, self.checker.digest

    def _rest(self) -> None:
        """Let the world run until nothing is left to do, or nothing comes of it any more."""
        ended, deadline = -1, 0
        while self.now < deadline or len(self.checker.recorded) > ended:
            if len(self.checker.recorded) > ended:
                ended, deadline = len(self.checker.recorded), self.now + CALM_MS_MAX
            self._until(lambda: False, self.now + LOOK_MS)
            if self._is_quiet():
                break

    def _recover(self) -> int:
        """A person lets go what the rules leave alone: calls whose voters' majority is lost."""
        asked: set[bytes] = set()
        for node in self.living():
            for id, sequence in recovering.sequences(node.router).items():
                value = node.log.get("open", sequence.to_bytes(8, "big"))
                if id in asked or id in self.checker.recorded or value is None:
                    continue
                asked.add(id)
                self.checker.recovered[id] = node.index
                self.say("%s: recovers %s", node, id.hex())
                what = (sequence, *accepted_call(value), "somebody")
                node.post(events.RecoverAsked(0, bytes(16), *what))
        return len(asked)

    def _come_back(self) -> None:
        node, self.away = self.nodes[self.away], -1
        self.say("%s: comes back", node)
        self.calm_ms = self.now  # Time for what waits for company to be widened.
        node.start()

    def _until(self, over: Callable[[], bool], end_ms: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end_ms and not over():
            self.now, number, act, args = heapq.heappop(heap)
            assert number < EVENTS_MAX * 4, "too many events"
            act(*args)
        self.now = max(self.now, end_ms)

    def _calm(self) -> None:
        self.say("calm")
        self.calm = True
        self.calm_ms = self.now
        self.network.heal()
        if self.checker.plugs is not None:
            plugs.calm(self)
        casts.calm(self)
        if self.options.core_of_two:
            staying = self.living()
            if len(staying) >= 3:
                self.away = self.rng.choice(staying).index
        for node in self.nodes:
            node.wrong.clear()
            if node.index == self.away:
                node.crash(keep=True)
            elif node.lost:
                node.crash(keep=True)
                for other in self.living():
                    self._learn_evicted(other, node)
            else:
                node.start()
                node.staff()
                if node.router.disk_level:
                    node.post(events.DiskChanged(0))

    def _is_quiet(self) -> bool:
        living = [node for node in self.living() if node.index != self.away]
        resting = flows.resting(self, living) | plugs.resting(self.checker)
        resting |= self.checker.casts.resting() | self.checker.streams.resting()
        if self.options.crew is not None and self.now < self.calm_ms + casts.LAST_MS + LOOK_MS:
            return False  # The last broadcast is still to come.
        for node in living:
            if not node.up or node.ops is not None or node.inbox:
                return False
            if flows.left_over(node) or node.router.births:
                return False
            if sum(one.kind == "core" for one in living) >= 3 and (
                node.router.narrow or judgement.to_be_moved(self.checker, node)
            ):
                return False  # It will be widened, or moved to others.
            orphans = node.router.replica.orphans()
            for inst in node.router.replica.by_key.values():
                away = self.away >= 0 and inst.ended  # It cannot forget without that node.
                rests = inst.id in resting and not inst.ended  # Else it is to be forgotten.
                rests = rests or judgement.goes_on_elsewhere(self.checker, inst)
                rests = rests or judgement.cannot_go_on(self.checker, inst)
                if inst not in orphans and not rests and not away:
                    return False
            for id in node.router.calls:
                if id not in resting or self.now < self.calm_ms + SETTLE_MS:
                    return False
        waiting = any(client.unacked or self._is_owed(client) for client in self.clients())
        return not waiting and not any(
            node.router.guests.keys() - resting or self._copies(node) or self._reports(node)
            for node in living
        )

    def _copies(self, node: MeshNode) -> bool:
        """Whether a copy of an ended call is not dropped yet."""
        return any(
            copy.id in self.checker.recorded and not self.nodes[copy.home[4]].lost
            for copy in node.router.copies.values()
        )

    def _reports(self, node: MeshNode) -> bool:
        """Whether an owner that is there has not taken a report yet."""
        return any(
            not self.nodes[owner[4]].lost and owner[4] != self.away
            for owner, _ in node.router.reports.values()
        )

    def _is_owed(self, client: MeshClient) -> bool:
        """Whether a call has ended and its client does not know."""
        done = [node.disk.tables["done"].values for node in self.living()]
        return any(id in table for id in client.waiting for table in done)


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        if len(value) == 34:
            return f"{value[13:16].hex()}@{value[20]}/{value[33]}"
        if len(value) == 16:
            return value[13:].hex()
        return (
            f"{len(value)}B" if len(value) != 48 else "".join(f"n{value[n]}" for n in (4, 20, 36))
        )
    if isinstance(value, list | tuple):
        return "[" + " ".join(_short(one) for one in value) + "]"
    return str(value)
