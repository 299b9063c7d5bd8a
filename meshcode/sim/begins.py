"""Who may begin, checked from outside: limits, order, expiry, and that no free worker is left idle.

Reads the model as the node was told it, and counts for itself; the core's own counters are used
only where `Router.check` has just proved them.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.router import events
from meshcode.router.config import SocketConfig
from meshcode.router.core import Router
from meshcode.router.effects import Assignment
from meshcode.router.pool import Worker
from meshcode.router.states import State
from meshcode.sim.plugbook import closed_gates
from meshcode.sim.violation import require

if TYPE_CHECKING:
    from meshcode.sim.books import Fact
    from meshcode.sim.checks import Checker

_HOARDED_MS_MAX = 5_000  # To be asked back, on the slowest disk and link of any world.
_RATE_WINDOW = 64  # Begins remembered per socket.


class Begins:
    """What the node was told, and what is at which worker."""

    def __init__(self, checker: Checker) -> None:
        self.checker = checker
        self.at_worker: dict[bytes, int] = {}  # Call -> the worker process that has it.
        self.sent: set[bytes] = set()  # Calls that have left for the worker that has them.
        self.started_now: dict[str, int] = {}  # Per socket, in the step being checked.
        self.retries_max: dict[str, int] = {}  # Per socket: the most that was ever allowed.
        self._configs: dict[str, SocketConfig] = {}
        self._last_configs: dict[str, SocketConfig] = {}  # With those of removed sockets.
        self._rates: dict[str, tuple[tuple[int, int], list[int]]] = {}
        self._statuses: dict[str, str] = {}
        self.fetching: set[int] = set()  # Sequences that were asked for and not yet answered.
        self.processors: dict[int, str] = {}  # Worker -> processor, while the core knows it.
        self.leaving: set[int] = set()
        self.recalled: set[int] = set()  # Workers asked for calls that have not answered.
        self.snapshot: dict[str, Any] = {}  # Told last.
        self.closed: set[str] = set()  # Gates.
        self.interrupted: set[bytes] = set()  # Calls that were told to stop since they began.
        self.draining = False
        self.disk_level = 0
        self.calls_max = limits.OPEN_CALLS_MAX

    def booted(self) -> None:
        """A new boot of the node knows nothing and has no workers."""
        self.at_worker.clear()
        self.sent.clear()
        self._rates.clear()
        self.fetching.clear()
        self.processors.clear()
        self.leaving.clear()
        self.recalled.clear()
        self._configs = {}
        self._last_configs = {}
        self._statuses = {}
        self.draining = False
        self.disk_level = 0
        self.calls_max = limits.OPEN_CALLS_MAX

    @property
    def is_stuck(self) -> bool:
        """Whether the disk is so full that nothing may begin."""
        return self.disk_level >= limits.DISK_STUCK

    def allow_retries(self, name: str, retries: int) -> None:
        """Calls of the socket may have been tried so often."""
        self.retries_max[name] = max(self.retries_max.get(name, 0), retries)

    def limits_of(self, name: str) -> SocketConfig | None:
        """What the node was told last of the limits of a socket, also when it was removed since."""
        return self._last_configs.get(name)

    def config(self, name: str) -> SocketConfig | None:
        """What the node was told last of a socket; None when it is not in the model."""
        return self._configs.get(name)

    def told(self, event: Any) -> None:
        """The node is about to be told `event`."""
        self.checker.casts.places.told(event)
        kind = type(event)
        if kind is events.ModelChanged:
            self._model(event.snapshot)
        elif kind is events.Drained:
            self.draining = True
        elif kind is events.DiskChanged:
            self.disk_level = event.level
        elif kind is events.RoomChanged:
            self.calls_max = event.calls_max
        elif kind is events.WorkerJoined:
            self.processors[event.worker] = event.processor
        elif kind is events.WorkerLeaving:
            self.leaving.add(event.worker)
        elif kind is events.WorkerLost:
            self.processors.pop(event.worker, None)
            self.recalled.discard(event.worker)
            for id in event.begun if event.blame else ():
                self.checker.facts[id].deaths += self.at_worker.get(id) == event.worker
            for id in [id for id, worker in self.at_worker.items() if worker == event.worker]:
                del self.at_worker[id]
        elif kind is events.Returned:
            self.recalled.discard(event.worker)
        elif kind is events.Fetched:
            self.fetching.difference_update(sequence for sequence, _ in event.envelopes)

    def _model(self, snapshot: dict[str, Any]) -> None:
        self.snapshot = snapshot
        if self.checker.plugs is not None:
            self.closed = closed_gates(snapshot)
            self.checker.plugs.told(self.closed)
        self._configs = {name: SocketConfig.of(name, snapshot) for name in snapshot["sockets"]}
        self._last_configs.update(self._configs)
        self._statuses = {
            name: fields["requested_status"] for name, fields in snapshot["processors"].items()
        }
        for name, config in self._configs.items():
            retries = limits.RETRIES_DEFAULT if config.retries is None else config.retries
            self.allow_retries(name, retries)
            rate = self._rates.get(name)
            if config.rate is None:
                self._rates.pop(name, None)
            elif rate is None or rate[0] != config.rate:
                self._rates[name] = (config.rate, [])

    def expiry_ms(self, fact: Fact, config: SocketConfig | None, call: Any) -> int | None:
        """When a waiting call expires, worked out anew; None = never."""
        times = []
        own = fact.options.get("expires_ms")
        if own is None and config is not None:
            own = config.expires_ms
        if own is not None:
            times.append(fact.accepted_ms + own)
        if config is not None and config.message_ttl_ms is not None:
            since = fact.accepted_ms if call is None else max(fact.accepted_ms, call.due_ms)
            times.append(since + config.message_ttl_ms)
        return min(times) if times else None

    def started(
        self,
        router: Router,
        starts: list[tuple[int, list[Assignment]]],
        now_ms: int,
    ) -> None:
        """Check one step's assignments."""
        lowest: dict[str, int] = {}
        for worker, batch in starts:
            for id, attempt, _, envelope in batch:
                call = router.calls[id]
                self._start(router, worker, call, attempt, envelope, now_ms)
                if call.line.addressed:
                    continue  # Copies of broadcasts keep to no limit.
                name = call.line.name
                self.started_now[name] = self.started_now.get(name, 0) + 1
                lowest[name] = min(lowest.get(name, 9), call.priority)
        begun = {id for _, batch in starts for id, *_ in batch}
        for name in self.started_now:
            self._limits(router, name, lowest[name], begun, now_ms)

    def _start(
        self, router: Router, worker: int, call: Any, attempt: int, envelope: bytes | None,
        now_ms: int,
    ) -> None:  # fmt: skip
        fact: Fact = self.checker.facts[call.id]
        text = call.id.hex()
        require(call.state is State.RUNNING and call.worker.id == worker, "begin", text)
        require(envelope is not None and envelope[16:32] == call.id, "begin", "envelope", text)
        require(call.id not in self.at_worker, "begin", "at two workers", text)
        self.at_worker[call.id] = worker
        self.sent.discard(call.id)
        self.interrupted.discard(call.id)
        if call.id in self.checker.flows:
            assert envelope is not None
            self.checker.flows.begins(call.id, envelope, self.checker.known)
        if self.checker.plugs is not None:
            assert envelope is not None
            self.checker.plugs.begins(call.id, envelope)
        config = self._configs.get(fact.name)
        require(config is not None, "begin", "its socket was removed", text)
        assert config is not None
        require(self.processors.get(worker) == config.processor, "begin", "wrong processor", text)
        require(worker not in self.leaving, "begin", "at a worker that leaves", text)
        self.checker.casts.starts(fact, worker, config.processor)
        aside = [*call.worker.streams, *call.worker.blocked]
        alike = any(router.calls[one].line is call.line for one in aside)
        require(not alike, "stream", "another of its socket was put aside there", text)
        beside = call.worker.slots > 1 and call.line.at_once
        asked = worker in self.recalled and not beside
        require(not asked, "order", "begins before what its worker is to give back", text)
        require(not self.draining, "begin", "while draining", text)
        require(not self.is_stuck, "begin", "while the disk is stuck", text)
        status = self._statuses.get(config.processor, "start")
        require(status == "start", "begin", "processor is", status, text)
        require(not fact.cancelled_told, "cancel", "begins after it was told as cancelled", text)
        require(not fact.held, "I12 HELD", "begins without a person", text)
        expiry_ms = self.expiry_ms(fact, config, call)
        require(expiry_ms is None or now_ms < expiry_ms, "expiry", "begins after", expiry_ms, text)
        if attempt == 1 and not call.story and fact.edge != b"retry":
            delay_ms = fact.options.get("delay_ms")
            since_ms = self.checker.ready_ms(fact)
            due_ms = since_ms + delay_ms if delay_ms else fact.options.get("eta_ms", 0)
            require(now_ms >= due_ms, "delay", "begins before", due_ms, "at", now_ms, text)
        allowed = max(self.retries_max[fact.name], fact.options.get("retries", 0))
        require(fact.deaths <= allowed, "attempts", fact.deaths, "deaths, retries", allowed, text)
        require(1 <= attempt <= allowed + 1, "attempts", attempt, "allowed", allowed + 1, text)

    def leaves(self, router: Router, number: int, batch: list[Assignment]) -> None:
        """Calls leave for a worker, which has got all that it was given before them."""
        worker = router.workers.get(number)
        first = batch[0][0]
        if worker is not None and first in worker.held:
            for id in takewhile(lambda one: one != first, worker.held):
                require(id in self.sent, "law", first.hex(), "passes", id.hex(), "to a worker")
        self.sent.update(id for id, *_ in batch)

    def _limits(
        self, router: Router, name: str, lowest: int, begun: set[bytes], now_ms: int
    ) -> None:
        config = self._configs[name]
        running = waiting_above = 0
        by_key: dict[str, int] = {}
        keys: set[str] = set()  # Of calls begun now; a lowered limit lets what runs go on.
        for call in router.calls.values():
            if call.line.name != name or call.line.addressed:
                continue
            if call.state is State.RUNNING:
                running += 1
                key = call.option("key")
                if key is not None:
                    by_key[key] = by_key.get(key, 0) + 1
                    if call.id in begun:
                        keys.add(key)
            elif call.state is State.WAITING and call.priority > lowest:
                keyed = config.key_concurrency is not None and call.option("key") is not None
                # Calls behind one whose bytes are read from the log let lower priorities pass.
                before = call.line.ready.get(call.priority, ())
                spilled = any(one.envelope is None for one in before)
                waiting_above += not (keyed or spilled)
        require(waiting_above == 0, "priority", name, waiting_above, "waiting above", lowest)
        limit = config.concurrency
        require(limit is None or running <= limit, "concurrency", name, running, "of", limit)
        key_limit = config.key_concurrency
        if key_limit is not None:
            most = max((by_key[key] for key in keys), default=0)
            require(most <= key_limit, "key concurrency", name, most, "of", key_limit)
        if name in self._rates:
            self._rate(name, now_ms)

    def _rate(self, name: str, now_ms: int) -> None:
        (count, per_ms), begins = self._rates[name]
        begins.extend([now_ms] * self.started_now[name])
        burst = max(1, count * 1_000 // per_ms)
        for at, begin_ms in enumerate(begins):
            begun = len(begins) - at
            bound = burst * per_ms + (now_ms - begin_ms) * count
            require(begun * per_ms <= bound, "rate", name, begun, "in", now_ms - begin_ms, "ms")
        del begins[:-_RATE_WINDOW]

    def over_time(self, router: Router, now_ms: int) -> None:
        """What runs over its time limit was told to stop."""
        for worker in router.workers.values():
            for call in worker.begun():
                if worker.is_parked(call):
                    continue  # It waits for credit.
                config = self._last_configs.get(call.line.name)
                limit_ms = call.option("time_limit_ms")
                if limit_ms is None and config is not None:
                    limit_ms = config.time_limit_ms
                good = limit_ms is None or now_ms - call.started_ms < limit_ms
                require(
                    good or call.id in self.interrupted,
                    "time limit",
                    call.id.hex(),
                    "runs since",
                    call.started_ms,
                )

    def idle(self, router: Router, now_ms: int) -> None:
        """No worker is left with nothing while a call could begin there."""
        if self.draining or self.is_stuck or not self.processors:
            return
        busy = {
            call.worker.id
            for call in router.calls.values()
            if call.worker is not None and not call.worker.is_parked(call)
        }
        free: dict[str, list[Worker]] = {}
        for worker, processor in self.processors.items():
            if worker not in busy | self.leaving | self.recalled:
                free.setdefault(processor, []).append(router.workers[worker])
        for processor, workers in free.items():
            self._hoarded(router, processor, now_ms)
            if self._statuses.get(processor, "start") == "start":
                self._idle_at(router, processor, workers, now_ms)

    def _idle_at(
        self, router: Router, processor: str, workers: list[Worker], now_ms: int
    ) -> None:
        for call in router.calls.values():
            if call.state is not State.WAITING:
                continue
            line = call.line
            config = self._configs.get(line.name)
            if config is None or config.processor != processor:
                continue
            if line.addressed:
                free = {worker.id for worker in workers if not worker.skips(line)}
                asked = bool(line.fetching) and line.fetching <= self.fetching
                if not asked:  # Else it begins when it was read from the log.
                    self.checker.casts.idle(call, processor, free)
                continue
            if all(worker.skips(line) for worker in workers):
                continue  # Each has put a generator of that socket aside: one is enough.
            if config.concurrency is not None and line.running >= config.concurrency:
                continue
            key = call.option("key")
            if key is not None and config.key_concurrency is not None:
                running = line.key_running.get(key, 0)
                if running >= config.key_concurrency or self._another_was_let_in(call, key):
                    continue
            if line.rate is not None and line.rate.allowed(now_ms) < 1:
                timed = 0 < line.timer_ms <= line.rate.next_ms() or bool(line.fetching)
                require(timed, "I4 liveness", "no timer for the rate of", line.name)
                continue
            if any(other.envelope is None for other in line.ready.get(call.priority, ())):
                asked = bool(line.fetching) and line.fetching <= self.fetching
                require(asked, "I4 liveness", "nobody reads the log for", call.id.hex())
                continue
            require(False, "I4 liveness", "a worker of", processor, "is free, not begun:",
                    call.id.hex(), call.line.name, call.story)  # fmt: skip

    def _hoarded(self, router: Router, processor: str, now_ms: int) -> None:
        """No call stays staged behind a long one for long while another worker is free."""
        for number, name in self.processors.items():
            worker = router.workers[number]
            if name != processor or len(worker.queued) < 2:
                continue
            head = next(iter(worker.queued.values()))
            good = now_ms - head.started_ms < _HOARDED_MS_MAX
            require(good, "hoarding", "worker", number, "stuck since", head.started_ms)

    def _another_was_let_in(self, call: Any, key: str) -> bool:
        """Whether the call waits for its key behind one that may begin, which is looked at too."""
        if call not in call.line.key_waiting.get(key, ()):
            return False
        return any(
            other.state is State.WAITING and other.option("key") == key
            for ready in call.line.ready.values()
            for other in ready
        )
