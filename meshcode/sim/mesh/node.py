"""One node of a simulated mesh: the real core, turns and log; its boots, disk and workers."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import DiskFull, LogSuspect
from meshcode.node.turn import Turns
from meshcode.router import events, streams, ticking
from meshcode.router.core import Router
from meshcode.router.effects import Assignment, Effects, Op
from meshcode.router.records import accepted_call, outcome_of, split_done
from meshcode.sim.between import Between
from meshcode.sim.castbook import Places
from meshcode.sim.mesh import casts, plugs, steps
from meshcode.sim.mesh.network import Channel
from meshcode.sim.mesh.worker import MeshWorker
from meshcode.store.memory_log import MemoryDisk, MemoryLog
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.sim.mesh.world import MeshWorld

WALL_MS = 1_700_000_000_000
ALIVE_MS = 5_000  # Without a sign of life for longer a peer is believed dead.
BEAT_MS = 1_500


class MeshNode(Between):
    """A host: its disk outlives its boots."""

    def __init__(self, world: MeshWorld, index: int) -> None:
        """Down, with an empty disk."""
        self.world = world
        self.index = index
        self.id = b"node" + bytes([index]) * 12
        self.kind = world.options.kinds[index]
        self.disk = MemoryDisk(store_id=b"store" + bytes([index]) * 11)
        self.up = False
        self.lost = False  # For ever.
        self.knows_evicted: set[int] = set()
        self.boot = 0
        self.life = 0
        self.channels: dict[int, Channel] = {}
        self.told: dict[int, tuple[str, int]] = {}  # What the core was told of each peer.
        self.wrong: dict[int, int] = {}  # Peers wrongly believed dead, until then.
        self.workers: dict[int, MeshWorker] = {}
        self.crew = dict((world.options.crew or {}).get(index, {}))  # Workers it is to have.
        self.told_crew: dict[str, int] = {}  # As its core was told.
        self.places = Places()
        self.heard: dict[int, casts.Heard] = {}  # Of its peers, in this life.
        self._last_worker = 0
        self.inbox: deque[Any] = deque()
        self.thinking_at = -1
        self.ops: list[Op] | None = None
        self.clock_step_ms = 0
        self.model = world.model  # As it has heard of it.
        self.told_model = self.model  # As its core was told.
        self.suspect_keeps: deque[bool] = deque()  # What a failing disk does with each batch.

    # Lives.

    def start(self) -> None:
        """Boot: read the log, know the model and the roster."""
        world = self.world
        if self.up or self.lost or self.index == world.away:
            return
        self.up = True
        self.life += 1
        self.log = MemoryLog(self.disk)
        self.suspect_keeps.clear()
        self.boot = self.log.boot
        rng = Random(world.seed * 7_919 + self.index * 101 + self.boot)
        self.router = Router(self.id, self.boot, rng, self.kind)
        self.router.replica.together_ms = 1  # What mutants are caught by was learned so.
        self.router.listening = True
        self.router.replica.naming.apart = not world.together
        self.router.name = str(self)
        self.places, self.heard = Places(), {}
        self.turns = Turns(self, self._release, self._begin)  # type: ignore[arg-type]
        floor = int.from_bytes(self.log.get("meta", b"now") or b"", "big")
        if world.options.clock_steps:
            self.clock_step_ms = world.rng.choice((0, -9_000, 4_000, -3_600_000))
        self._base_ms = max(WALL_MS + world.now + self.clock_step_ms, floor) - world.now
        self.channels = {
            n: Channel(world.now) for n in range(world.options.nodes) if n != self.index
        }
        self.told = {}
        self.inbox.clear()
        self.workers.clear()
        self.ops = None
        self.thinking_at = -1
        for other in world.nodes:
            if other is not self:
                self.tell(other, "known", 0)
        for index in sorted(self.knows_evicted):
            self.tell(world.nodes[index], "evicted", 0)
        ticking.restore(self.router, self.log.scan("meta", limit=1 << 30))
        first = self.router.step(events.ModelChanged(self.model), self.now_ms)
        if first.records or first.lookups:
            self.turns.add(first)
        self.told_model = self.model
        plugs.told(world.checker)
        effects = self.router.recover(
            self.log.scan("open", limit=1 << 30), self.log.scan("state", limit=1 << 30),
            self.now_ms, self.log.scan("vote", limit=1 << 30),
        )  # fmt: skip
        world.checker.booted(self, [first, effects])
        self.turns.add(effects)
        self.turns.close()
        world.say("%s: boot %d, %d open", self, self.boot, len(self.router.replica.by_key))
        self.flush()
        self.wake()
        world.after(world.rng.randint(1, 300), self.beat, self.life)
        self.tell_crew()
        self.staff()

    def tell(self, other: MeshNode, state: str, boot: int) -> None:
        """Let the core know of a peer."""
        if self.told.get(other.index) == (state, boot):
            return
        self.told[other.index] = (state, boot)
        event = events.PeerChanged(other.id, state, boot, other.kind, "", f"n{other.index}")
        if state in ("known", "evicted") and not self.inbox and not boot:
            self.turns.step(event, self.now_ms)
            return
        self.post(event)

    def crash(self, *, keep: bool) -> None:
        """Kill -9, or the power is cut."""
        if not self.up:
            return
        self.up = False
        ops, self.ops = self.ops, None
        suspect = self.disk.suspect
        self.log.crash(keep=keep and ops is not None and not suspect)
        if keep and ops is not None:
            self.world.checker.synced(self, ops)
        for worker in self.workers.values():
            worker.alive = False
        self.workers.clear()
        self.world.checker.crashed(self)
        self.world.say("%s: crash", self)

    def crash_if_up(self) -> None:
        """The same in a rolling restart, which ends when the faults do."""
        if not self.world.calm:
            self.crash(keep=True)

    def beat(self, life: int) -> None:
        """Say that this node lives, and look at who else does."""
        if not self.up or life != self.life:
            return
        world = self.world
        for other in self.channels:
            if not world.nodes[other].lost or world.calm is False:
                world.network.beat(self, other)
        for other, channel in self.channels.items():
            self._judge(other, channel)
        self.post(events.Ticked())
        world.after(world.rng.randint(BEAT_MS - 300, BEAT_MS + 300), self.beat, life)

    def _judge(self, other: int, channel: Channel) -> None:
        if other in self.knows_evicted:
            self.tell(self.world.nodes[other], "evicted", channel.peer_boot)
        elif (
            self.world.now - channel.heard_ms > ALIVE_MS
            or self.wrong.get(other, 0) > self.world.now
        ):
            self.tell(self.world.nodes[other], "dead", channel.peer_boot)
        elif channel.peer_boot:
            self.tell(self.world.nodes[other], "alive", channel.peer_boot)

    def heard_beat(self, sender: int, boot: int) -> None:
        """A sign of life of a peer; an older life than one heard of is no life (P12)."""
        channel = self.channels[sender]
        if boot < channel.peer_boot:
            return
        channel.heard_ms = self.world.now
        channel.peer_boot = boot
        self._judge(sender, channel)

    # Turns.

    @property
    def now_ms(self) -> int:
        """Node time."""
        return self._base_ms + self.world.now

    def step(self, event: events.Event, now_ms: int) -> Effects:
        """Stand between the turn code and the core, so that the checker sees every step."""
        was = steps.before(self, event)
        self.places.told(event)
        casts.hears(self, event)
        if isinstance(event, events.ModelChanged):
            self.told_model = event.snapshot
            plugs.told(self.world.checker)
        effects = self.router.step(event, now_ms)
        self.world.checker.stepped(self, event, effects, was)
        return effects

    def post(self, event: Any) -> None:
        """Something happened to the node."""
        self.inbox.append(event)
        self.wake()

    def wake(self, delay_ms: int = 0) -> None:
        """Let it think, once a millisecond at most."""
        at = self.world.now + delay_ms
        if self.thinking_at < self.world.now or self.thinking_at > at:
            self.thinking_at = at
            self.world.after(delay_ms, self._think, self.life)

    def _think(self, life: int) -> None:
        if not self.up or life != self.life:
            return
        self.thinking_at = -1
        if self.turns.unsynced >= limits.TURNS_UNSYNCED_MAX:
            return
        now_ms = self.now_ms
        if not self.inbox:
            self.turns.step(events.Ticked(), now_ms)
        for _ in range(min(len(self.inbox), limits.TURN_EVENTS_MAX)):
            event = self.inbox.popleft()
            if isinstance(event, events.Submitted):
                ids = [call[0] for call in event.calls]
                event.ended = self.turns.ended(ids, self._done)
            elif isinstance(event, events.Yielded):
                unsure = streams.unsure(self.router, event.items)
                event.ended = set(self.turns.ended(unsure, self._done))
            self.turns.step(event, now_ms)
        self.turns.close()
        self.flush()
        if self.inbox:
            self.wake(1)
        due_ms = self.router.next_due_ms()
        if due_ms is not None:
            self.world.after(max(1, due_ms - now_ms), self._timer, self.life)

    def _timer(self, life: int) -> None:
        if self.up and life == self.life:
            due_ms = self.router.next_due_ms()
            if due_ms is not None and due_ms <= self.now_ms:
                self.wake()

    def flush(self) -> None:
        """Begin to write what was thought, if the disk is free."""
        if self.ops is not None:
            return
        ops = self.turns.begin_sync()
        if ops is None:
            return
        self.ops = [*ops, ("meta", b"now", self.now_ms.to_bytes(8, "big"))]
        self.log.stage(self.ops)
        self.world.after(self.world.draw_sync_ms(), self._synced, self.life)

    def _synced(self, life: int) -> None:
        if not self.up or life != self.life:
            return
        assert self.ops is not None
        try:
            self.log.sync()
        except DiskFull:
            self.ops.extend(self.turns.more_sync())
            self.log.stage(self.ops)
            self.post(events.DiskChanged(2))
            self.world.after(self.world.rng.randint(1, 50), self._synced, life)
            return
        except LogSuspect:
            self.crash(keep=self.suspect_keeps.popleft())  # The log did as it was told to.
            self.world.after(500, self.start)
            return
        ops, self.ops = self.ops, None
        self.world.checker.synced(self, ops)
        if self.router.disk_level and not self.world.rng.randrange(3):
            self.post(events.DiskChanged(0))
        self.turns.synced()
        self.flush()
        self.wake()

    # What leaves.

    def _begin(self, worker: int, batch: list[Assignment]) -> None:
        """Calls of a turn that may begin beside its sync."""
        self.world.checker.begun(self, [id for id, *_ in batch])
        self._hand_over(worker, batch)

    def _hand_over(self, worker: int, batch: list[Assignment]) -> None:
        if worker in self.workers:
            self.world.after(self.world.rng.randint(0, 2), self.workers[worker].take, batch)

    def _release(self, effects: Effects) -> None:
        world = self.world
        world.checker.released(self, effects)
        frames: dict[bytes, list[tuple[int, list[Any]]]] = {}
        for node, kind, entry in effects.peer:
            frames.setdefault(node, []).append((kind, entry))
        for node, frame in frames.items():
            index = node[4]
            if index in self.knows_evicted:
                continue
            for at in range(0, len(frame), 20):  # Small frames: more orders to try.
                world.network.send(self, index, frame[at : at + 20])
        if any(kind == Kind.PROPOSE for _, kind, _ in effects.peer):
            world.dies_proposing(self)
        for id, call, attempt, units in effects.credits:
            if id in self.workers and units == streams.GIVE_UP:  # It may begin again in this step.
                self.workers[id].credit(call, attempt, units)
        for id, batch in effects.starts:
            self._hand_over(id, batch)
        for id, call, why in effects.interrupts:
            if id in self.workers:
                world.after(world.rng.randint(0, 2), self.workers[id].interrupt, call, why)
        for id, call, attempt, units in effects.credits:
            if id in self.workers and units != streams.GIVE_UP:
                world.after(world.rng.randint(0, 2), self.workers[id].credit, call, attempt, units)
        for id in effects.recalls:
            if id in self.workers:
                world.after(world.rng.randint(0, 2), self.workers[id].recall)
        for client, sequence, *_ in effects.accepted:
            world.client(client).accepted(client, sequence)
        for client, call, data in effects.refused:
            world.client(client).refused(client, call, data)
        for client, outcome in effects.outcomes:
            world.client(client).ended(client, outcome)
        if effects.reads:
            self._read(effects.reads)
        if effects.fetches:
            self._fetch(effects.fetches)
        if effects.lookups:
            told = self.turns.looked_up(effects.lookups, self._done)
            self.turns.step(told, self.now_ms)
            self.wake()

    def _read(self, wanted: list[tuple[int, bytes]]) -> None:
        """Look calls up and let the core have them at once, as the shell does."""
        found = []
        for sequence, id in wanted:
            value = self.log.get("open", sequence.to_bytes(8, "big"))
            accepted_ms, submit = (0, b"") if value is None else accepted_call(value)
            ended = self.turns.ended([id], lambda one: self.log.get("done", one))
            found.append((sequence, accepted_ms, submit, ended.get(id, b"")))
        self.turns.step(events.Read(found), self.now_ms)
        self.wake()

    def _fetch(self, sequences: list[int]) -> None:
        found = []
        for sequence in sequences:
            value = self.log.get("open", sequence.to_bytes(8, "big"))
            found.append((sequence, b"" if value is None else accepted_call(value)[1]))
        self.post(events.Fetched(found))

    def _done(self, id: bytes) -> bytes | None:
        return self.log.get("done", id)

    def history(self, ids: list[bytes]) -> dict[bytes, bytes]:
        """Outcomes of ended calls, here or, as the shell asks, at nodes that can be reached."""
        found = self.turns.ended(ids, self._done)
        fresh = self.turns.fresh_done()
        found = {id: outcome for id, outcome in found.items() if id not in fresh}
        for other in self.world.nodes:
            cut = {(self.index, other.index), (other.index, self.index)} & self.world.network.cut
            if other is self or not other.up or cut:
                continue
            for id in ids:
                value = other.log.get("done", id)
                if value is not None:
                    found.setdefault(id, outcome_of(value))
        return found

    def done_codes(self) -> dict[bytes, int]:
        """The outcomes on disk, by id."""
        table = self.disk.tables["done"].values
        return {id: split_done(value)["code"] for id, value in table.items()}

    # Workers.

    def staff(self) -> None:
        """Start the workers that this node hosts."""
        if not self.up or self.kind == "witness":
            return
        for name, hosts in self.world.options.hosts.items():
            if self.index not in hosts:
                continue
            here = [w for w in self.workers.values() if w.processor == name and not w.leaving]
            count = self.crew.get(name, 1)
            for worker in here[count:]:
                worker.leave()
            for _ in range(count - len(here)):
                self._last_worker += 1
                worker = MeshWorker(self, self._last_worker, name)
                self.workers[worker.number] = worker
                self.world.after(self.world.rng.randint(1, 100), worker.join)

    def scale(self, name: str, count: int) -> None:
        """It is to have another number of workers of a processor."""
        self.crew[name] = count
        self.world.say("%s: crew %s", self, self.crew)
        self.tell_crew()
        self.staff()

    def tell_crew(self) -> None:
        """Let the core know how many workers there are to be."""
        if self.world.options.crew is None:
            return
        self.world.checker.casts.scaled(self)
        if self.up:
            crew = {name: count for name, count in self.crew.items() if count}
            self.post(events.CrewChanged(crew))

    def __str__(self) -> str:
        return f"n{self.index}"
