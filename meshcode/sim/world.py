"""One world from one seed: a node, its disk, clients and workers, faults, and then calm.

Everything that happens is an entry of one heap, in the order of (millisecond, number), and every
choice comes from one random source, so a seed is a whole world and can be told again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

from meshcode import limits
from meshcode.errors import LogSuspect
from meshcode.ids import text_of
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.records import split_open, split_state
from meshcode.router.states import State
from meshcode.sim import casting, streaming
from meshcode.sim import options as drawn
from meshcode.sim.actors import SimClient, SimWorker
from meshcode.sim.acts import ACTS
from meshcode.sim.books import index_is_true
from meshcode.sim.checks import Checker
from meshcode.sim.node import SimNode
from meshcode.sim.plugbook import PlugBook
from meshcode.sim.violation import Violation, require
from meshcode.store.memory_log import MemoryDisk

WALL_MS = 1_700_000_000_000  # Unix milliseconds at which every world begins.
EVENTS_MAX = 60_000  # More in one world means that something spins.
CALM_MS_MAX = 6 * 3_600_000
SIGNATURE = {"args": [["a", "pos", True], ["b", "pos", False]], "text": "(a, b=1)"}


def _short(table: str, key: bytes, value: bytes | None) -> str:
    if table == "done":
        assert value is not None
        return f"{key[-3:].hex()} {State(10 + value[1]).name}"
    if table == "meta":
        return f"{key!r}"
    if table == "failed":
        return key[-3:].hex()
    if table == "socket":
        return f"{key[:-7].decode()} {key[-6:].hex()}"
    text = str(int.from_bytes(key, "big"))
    if value is None:
        return f"{text} gone"
    if table == "open":
        return f"{text} = {split_open(value)[1][29:32].hex()}"
    fields = split_state(value)
    return f"{text} {State(fields['state']).name} attempt {fields['attempt']}"


class World:
    """All of one seed; `run` it once."""

    def __init__(self, seed: int, trace: list[str] | None = None) -> None:
        self.seed = seed
        self.trace = trace
        self.rng = Random(seed)
        self.options = drawn.draw(self.rng)
        drawn.draw_flows(Random(f"flows of {seed}"), self.options)
        self.plugs_rng = Random(f"plugs of {seed}")
        drawn.draw_plugs(self.plugs_rng, self.options, WALL_MS)
        self.streams_rng = Random(f"streams of {seed}")
        streaming.draw(self.streams_rng, self.options)
        self.casts_rng = Random(f"casts of {seed}")
        casting.draw(self.casts_rng, self.options)
        self.crew = dict(self.options.crew or {})
        self.now = 0
        self.checker = Checker()
        if self.options.routers is not None:
            self.checker.plugs = PlugBook(self.options.routers)
            self.checker.plugs.scheduled(self.options.snapshot.get("schedules", {}))
        if self.options.generators:
            self.checker.streams.options = self.options
        self.disk = MemoryDisk(store_id=b"simulated-store1")
        self.node: SimNode | None = None
        self.first = self.options.snapshot
        self.snapshot = drawn.copy_of(self.first)
        self.calm = False
        self.workers: dict[int, SimWorker] = {}
        self.sessions: dict[int, SimClient] = {}
        self.clock_step_ms = 0
        self.requests = 0
        self.suspect_kept = False
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._link_at: dict[int, int] = {}
        self._think_at = -1
        self._timer_at = -1
        self._last_session = 0
        self._last_worker = 0
        self.clients = [SimClient(self, n) for n in range(self.options.clients)]

    # Time and chance.

    def after(self, delay_ms: int, act: Callable[..., None], *args: Any) -> None:
        """Let something happen later; acts of one millisecond happen in the order of asking."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_ms, self._count, act, args))

    def chance(self, chance: float) -> bool:
        """True that often."""
        return chance > 0 and self.rng.random() < chance

    def draw_fate(self) -> str:
        """How one execution will end."""
        options = self.options
        if not self.calm and self.chance(options.die_chance):
            return "die"
        if self.chance(options.raise_chance):
            return "raise" if self.rng.random() < 0.7 else "refuse"
        return "return"

    def draw_run_ms(self) -> int:
        """How long one execution will take."""
        if self.chance(self.options.long_chance):
            return self.rng.randint(200, 8_000)
        return self.rng.randint(*self.options.run_ms)

    def draw_duration_us(self) -> int:
        """What a worker measures; need not be what the node sees."""
        return self.rng.choice((5, 300, 2_000, 50_000))

    def say(self, text: str, *args: Any) -> None:
        """A line of the trace; ids are shortened."""
        if self.trace is not None:
            short = [arg[-3:].hex() if isinstance(arg, bytes) else arg for arg in args]
            self.trace.append(f"{self.now:7d} " + text % tuple(short))

    def _say_step(self, event: events.Event, effects: Effects) -> None:
        if self.node is None:
            return
        told = [f"t={self.node.now_ms - WALL_MS} {type(event).__name__}"]
        if isinstance(event, events.Submitted):
            told.append(f"#{event.sequence} of {event.client}:")
            told += [f"{call[0][-3:].hex()} {call[3]} {call[5] or ''}" for call in event.calls]
            told.append(f"ended {[id[-3:].hex() for id in event.ended]}")
        elif isinstance(event, events.WorkerLost | events.Returned | events.WorkerLeaving):
            told.append(f"{event.worker}")
        told += [f"| {table} {_short(table, key, value)}" for table, key, value in effects.records]
        told += [
            f"| start {id[-3:].hex()} attempt {attempt} at {worker}"
            for worker, batch in effects.starts
            for id, attempt, _, _ in batch
        ]
        told += [f"| refused {id[-3:].hex()} {data['code']}" for _, id, data in effects.refused]
        told += [f"| {data}" for data in (effects.fetches, effects.recalls) if data]
        self.say("%s", " ".join(told))

    # Links.

    def open_session(self, client: SimClient) -> int:
        """A number for a new session."""
        self._last_session += 1
        self.sessions[self._last_session] = client
        self.say("client %d: session %d", client.number, self._last_session)
        return self._last_session

    def _arrival(self, link: int) -> int:
        delay = self.rng.randint(0, self.options.link_ms_max) if self.options.link_ms_max else 0
        at = max(self.now + delay, self._link_at.get(link, 0))
        self._link_at[link] = at
        return at - self.now

    def to_node(self, link: int, item: Any) -> None:
        """Send over a link: in order, and lost when the node is another one by then."""
        self.after(self._arrival(link), self._arrived, self.node, item)

    def _arrived(self, node: SimNode | None, item: Any) -> None:
        if node is not None and node is self.node:
            node.post(item)
            self.wake()

    def post(self, event: events.Event) -> None:
        """Tell the node something that does not come over a link."""
        if self.node is not None:
            self.node.post(event)
            self.wake()

    # The node's thread.

    def wake(self, delay_ms: int = 0) -> None:
        """Let the node think, once per millisecond at most."""
        if self._think_at < self.now or self._think_at > self.now + delay_ms:
            self._think_at = self.now + delay_ms
            self.after(delay_ms, self._think, self.node)

    def _think(self, node: SimNode | None) -> None:
        self._think_at = -1
        if node is None or node is not self.node:
            return
        if node.turns.unsynced >= limits.TURNS_UNSYNCED_MAX:
            return
        node.think(self.now)
        self.flush()
        if node.inbox:
            self.wake(1)
        due_ms = node.router.next_due_ms()
        if due_ms is not None:
            wait = max(0, due_ms - node.now_ms)
            if self._timer_at <= self.now or self.now + wait < self._timer_at:
                self._timer_at = self.now + wait
                self.after(wait, self._timer, node)

    def _timer(self, node: SimNode) -> None:
        if node is self.node:
            self._timer_at = -1
            self.wake()

    def flush(self) -> None:
        """Begin to write what was thought, if the disk is free."""
        node = self.node
        assert node is not None
        if node.begin_sync():
            self.after(self._sync_ms(), self._synced, node)

    def _sync_ms(self) -> int:
        if self.calm:
            return 1
        if self.chance(self.options.sync_slow_chance):
            return self.rng.randint(20, 400)
        return self.rng.randint(*self.options.sync_ms)

    def _synced(self, node: SimNode) -> None:
        if node is not self.node:
            return
        try:
            done = node.end_sync()
        except LogSuspect:
            self.say("disk: suspect")
            self.crash(keep=self.suspect_kept)
            return
        if not done:
            self.say("disk: full")
            self.post(events.DiskChanged(2))
            self.after(self.rng.randint(1, 50), self._synced, node)
            return
        if node.router.disk_level and not self.rng.randrange(3):
            self.post(events.DiskChanged(0))
        elif node.router.calls_max < limits.OPEN_CALLS_MAX and not self.now % 3:
            self.post(events.RoomChanged(limits.OPEN_CALLS_MAX))
        self.flush()
        self.wake()

    def released(self, effects: Effects) -> None:
        """The node lets a turn out: deliver it."""
        after, arrival = self.after, self._arrival
        for session, id, _data in effects.refused:
            after(arrival(1000 + session), self.sessions[session].on_refused, session, id)
        for session, sequence, *_ in effects.accepted:
            client = self.sessions[session]
            after(arrival(1000 + session), client.on_accepted, session, sequence)
        for session, data in effects.outcomes:
            after(arrival(1000 + session), self.sessions[session].on_outcome, session, data)
        for _session, _request, good, data in effects.answers:
            self.say("answer: %s %s", good, data.get("text") or data)
            if good and data["done"] == "submitted again":
                self.checker.facts[bytes.fromhex(data["id"].replace("-", ""))].acked = True
        for worker, id, attempt, units in effects.credits:
            if worker in self.workers:
                told = (id, attempt, units)
                after(arrival(-1_000_000 - worker), self.workers[worker].credit, *told)
        for worker, batch in effects.starts:
            if worker in self.workers:
                after(arrival(-1_000_000 - worker), self.workers[worker].take, batch)
        for worker, id, why in effects.interrupts:
            self.say("interrupt: worker %d %s %s", worker, id, why)
            if worker in self.workers:
                after(arrival(-1_000_000 - worker), self.workers[worker].interrupt, id, why)
        for worker in effects.recalls:
            if worker in self.workers:
                after(arrival(-1_000_000 - worker), self.workers[worker].recall)

    def crash(self, *, keep: bool) -> None:
        """kill -9 of the node and all its workers; it starts again after a while."""
        node = self.node
        if node is None:
            return
        self.say("node: crash, keep=%s", keep)
        self.node = None
        node.crash(keep=keep)
        for worker in self.workers.values():
            worker.alive = False
        self.workers.clear()
        for client in self.clients:
            client.session = 0
        self._link_at.clear()
        self._timer_at = self._think_at = -1
        self.after(self.rng.choice((1, 20, 700)), self.start)

    def start(self) -> None:
        """Start the node, if it is not up."""
        if self.node is not None:
            return
        options = self.options
        if options.clock_steps:
            self.clock_step_ms = self.rng.choice((0, -5_000, 3_000, -3_600_000))
        self.node = node = SimNode(
            self.disk,
            self.checker,
            self.released,
            wall_ms=WALL_MS + self.now + self.clock_step_ms,
            sim_ms=self.now,
            seed=self.seed,
            bodies_bytes_max=options.memory_bytes_max,
            listening=options.listening,
            say=None if self.trace is None else self._say_step,
        )
        blind = not self.calm and self.chance(options.blind_boot_chance)
        node.recover(None if blind else drawn.copy_of(self.snapshot))
        self.say("node: boot %d, %d open calls", node.log.boot, len(node.router.calls))
        if blind:
            node.post(events.ModelChanged(drawn.copy_of(self.snapshot)))
        if options.signed:
            for name in self.first["processors"]:
                signature = SIGNATURE | {"at_once": options.at_once}
                node.post(events.ProcessorChanged(name, "", {"work": signature}))
        self.flush()
        self.wake()
        casting.tell(self)
        self.staff()
        for client in self.clients:
            if client.alive:
                self.after(self.rng.randint(0, 5), self.reconnect, client)

    def reconnect(self, client: SimClient) -> None:
        """A client finds the node up."""
        if self.node is not None and client.alive and not client.session:
            client.connect()

    # Workers.

    def staff(self) -> None:
        """Start the workers that are missing, as the supervisor does."""
        for name, processor in self.snapshot["processors"].items():
            here = [
                worker
                for worker in self.workers.values()
                if worker.processor == name and not worker.leaving
            ]
            if processor["requested_status"] == "stop":
                for worker in here:
                    self.leave(worker)
                continue
            if self.crew:
                count = casting.wanted(self, name, len(here))
                for worker in here[count:]:
                    self.leave(worker)
            else:
                low = 1 if self.calm else self.rng.choice((0, 1, 1, 1))
                count = self.rng.randint(low, self.options.workers_max)
            for _ in range(count - len(here)):
                self._last_worker += 1
                worker = SimWorker(self, self._last_worker, name, self.options.slots)
                self.workers[worker.number] = worker
                self.after(self.rng.randint(1, self.options.ready_ms_max), self._ready, worker)

    def _ready(self, worker: SimWorker) -> None:
        if worker.alive and not worker.leaving:
            worker.joined = True
            self.say("worker %d: ready for %s", worker.number, worker.processor)
            self.post(events.WorkerJoined(worker.number, worker.processor, worker.slots))

    def leave(self, worker: SimWorker) -> None:
        """Let a worker finish what it runs and exit."""
        worker.leaving = True
        if worker.joined:
            self.say("worker %d: leaving", worker.number)
            self.post(events.WorkerLeaving(worker.number))
        self.after(self.rng.randint(0, 3), worker.pump)

    def exit_worker(self, worker: SimWorker) -> None:
        """A worker that was asked to leave has finished."""
        worker.flush()
        self._gone(worker, [], "recycled", blame=False, late_ms=0)

    def kill_worker(self, worker: SimWorker, reason: str, *, blame: bool = True) -> None:
        """A worker process ends under what it runs."""
        known = not blame or self.chance(self.options.begun_known_chance)
        begun = list(worker.running) if known else []
        self._gone(worker, begun, reason, blame=blame, late_ms=self.rng.choice((0, 0, 3, 40)))

    def _gone(
        self, worker: SimWorker, begun: list[bytes], reason: str, *, blame: bool, late_ms: int
    ) -> None:
        if not worker.alive:
            return
        worker.alive = False
        del self.workers[worker.number]
        self.say("worker %d: %s, begun %s", worker.number, reason, [id[-3:].hex() for id in begun])
        if worker.joined:
            lost = events.WorkerLost(worker.number, begun, reason, blame)
            self.after(late_ms, self.to_node, -worker.number, lost)
        delay = self.rng.choice((1, 30)) if self.calm else self.rng.choice((1, 30, 500))
        self.after(delay, self._restaff, self.node)

    def _restaff(self, node: SimNode | None) -> None:
        if node is not None and node is self.node:
            self.staff()

    # The whole.

    def run(self) -> tuple[int, int]:
        """Phase of faults, phase of calm, then the last checks; returns steps and a digest.

        Raises:
            AssertionError: a rule does not hold (Violation), or the core's own checks fail.
        """
        with streaming.limited(self.options.stream_window):
            return self._run()

    def _run(self) -> tuple[int, int]:
        self.start()
        for client in self.clients:
            self.reconnect(client)
        for name, act in ACTS.items():
            for _ in range(getattr(self.options, name)):
                self.after(self.rng.randrange(self.options.phase_ms), act, self)
        self.after(self.options.phase_ms, self._be_calm)
        heap, events_left = self._heap, EVENTS_MAX
        while heap:
            self.now, _, act, args = heapq.heappop(heap)
            act(*args)
            events_left -= 1
            if not events_left or self.now > self.options.phase_ms + CALM_MS_MAX:
                raise Violation(f"I4 liveness: no rest after {EVENTS_MAX - events_left} events")
        self._last_checks()
        return self.checker.steps, self.checker.digest

    def _be_calm(self) -> None:
        self.calm = True
        self.say("calm")
        self.start()
        before, self.snapshot = self.snapshot, drawn.calm_snapshot(self.snapshot, self.first)
        self.post(drawn.model_changed(before, self.snapshot))
        self.post(events.DiskChanged(0))
        if self.seed % 2:  # Its memory may have been full.
            self.post(events.RoomChanged(limits.OPEN_CALLS_MAX))
        casting.be_calm(self)
        self.staff()
        for client in self.clients:
            self.reconnect(client)

    def _last_checks(self) -> None:
        node = self.node
        assert node is not None
        require(not node.turns.unsynced and not node.inbox, "I4 liveness", "the node has stopped")
        self.checker.at_the_end(node.router, node.now_ms)
        index_is_true(self.disk)
        for client in self.clients:
            if not client.alive:
                continue
            require(not client.unacked, "I4 liveness", "no answer for", len(client.unacked))
            for id in client.waiting:
                held = self.checker.waits_for_a_person(node.router, id)
                require(held, "I4 liveness", "client was not told of", text_of(id))
