"""Around a node: clients that submit, crash and come back, and workers that run and die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.errors import CallCancelled, RemoteError
from meshcode.limits import CANCEL_GRACE_MS
from meshcode.router import events, plan
from meshcode.sim.flowbook import work
from meshcode.sim.streaming import Yields
from meshcode.sim.violation import require
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Flag, Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.effects import Assignment
    from meshcode.sim.books import Fact
    from meshcode.sim.world import World

_RESUBMIT_CALLS = 16  # Per frame, when a client comes back.


def submit_envelope(fact: Fact, argc: int, *, fresh: bool) -> bytes:
    """The SUBMIT envelope of a call."""
    meta = pack(fact.options) if fact.options else b""
    return envelope(
        Kind.SUBMIT,
        id=fact.id,
        flow=fact.flow or fact.id,
        name=fact.name.encode(),
        meta=meta,
        body=fact.body,
        flags=Flag.FRESH if fresh else 0,
        argc=argc,
    )


class SimClient:
    """A client process that keeps its ids, so that it can ask again after any crash."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.session = 0  # 0 = not connected.
        self.sequence = 0
        self.alive = True
        self.sent: dict[int, list[bytes]] = {}  # Frame sequence -> ids, until acknowledged.
        self.unacked: dict[bytes, int] = {}  # Id -> argc.
        self.waiting: dict[bytes, None] = {}  # Acknowledged, no outcome yet; in order.
        self.got: dict[bytes, bytes] = {}

    def connect(self) -> None:
        """A new session: what is not acknowledged goes out again, the rest is watched."""
        world = self.world
        self.session = world.open_session(self)
        self.sequence = 0
        self.sent.clear()
        ids = list(self.unacked)
        for at in range(0, len(ids), _RESUBMIT_CALLS):
            self.send(ids[at : at + _RESUBMIT_CALLS], fresh=False)
        if self.waiting:
            world.to_node(self.session, ("watch", self.session, list(self.waiting)))

    def submit(self, calls: list[tuple[bytes, int]], *, fresh: bool) -> None:
        """New calls (id, argc); kept for the next session when there is none now."""
        for id, argc in calls:
            self.unacked[id] = argc
        if self.session:
            self.send([id for id, _ in calls], fresh=fresh)

    def send(self, ids: list[bytes], *, fresh: bool) -> None:
        """One frame of calls, each already known to this client."""
        self.sequence += 1
        self.sent[self.sequence] = ids
        facts = self.world.checker.facts
        parts = [submit_envelope(facts[id], self.unacked.get(id, 1), fresh=fresh) for id in ids]
        data = frame(parts, sequence=self.sequence)
        self.world.to_node(self.session, ("frame", self.session, data))

    def on_refused(self, session: int, id: bytes) -> None:
        """The node does not take this call."""
        if session == self.session and self.alive:
            require(id not in self.waiting, "refusal", "of an acknowledged call", id.hex())
            self.unacked.pop(id, None)

    def on_accepted(self, session: int, sequence: int) -> None:
        """The whole frame is safe, but for what was refused before."""
        if session != self.session or not self.alive:
            return
        for id in self.sent.pop(sequence):
            if self.unacked.pop(id, None) is not None and id not in self.got:
                self.waiting[id] = None

    def on_outcome(self, session: int, data: bytes) -> None:
        """A call ended."""
        if session != self.session or not self.alive:
            return
        id = data[16:32]
        require(self.got.setdefault(id, data) == data, "I2 one outcome", "client told two", id)
        self.unacked.pop(id, None)
        self.waiting.pop(id, None)
        result = plan.result_of(data)
        if result is not None and result not in self.got:  # Its outcome is that of the flow.
            self.waiting[result] = None
            self.world.to_node(session, ("watch", session, [result]))

    def crash(self) -> None:
        """The process is gone; what it knew is kept for when it comes back."""
        self.session = 0
        self.alive = False
        self.sent.clear()


class Run:
    """One execution under way."""

    __slots__ = ("attempt", "fate", "id", "submit", "yields")

    def __init__(self, id: bytes, attempt: int, fate: str, submit: bytes | None) -> None:
        self.id = id
        self.attempt = attempt
        self.fate = fate
        self.submit = submit
        self.yields: Yields | None = None  # Of a generator.


class SimWorker:
    """A worker process: runs what it was handed in order, a few at once."""

    def __init__(self, world: World, number: int, processor: str, slots: int) -> None:
        self.world = world
        self.number = number
        self.processor = processor
        self.slots = slots
        self.alive = True
        self.joined = False
        self.leaving = False
        self.deaf = world.chance(world.options.deaf_chance)
        self.staged: list[Assignment] = []
        self.running: dict[bytes, Run] = {}
        self.reports: list[events.Report] = []

    def take(self, batch: list[Assignment]) -> None:
        """A START arrived."""
        if not self.alive:
            return
        self.staged.extend(batch)
        self.pump()

    def pump(self) -> None:
        """Begin what there are slots for."""
        world = self.world
        options = world.options
        at_once = self.slots if options.at_once or not options.signed else 1
        while self.staged and self._busy() < at_once:
            id, attempt, _, data = self.staged.pop(0)
            run = Run(id, attempt, world.draw_fate(), data)
            if world.checker.facts[id].name in options.generators:
                run.yields = Yields(world, id, attempt, run.fate)
            self.running[id] = run
            world.after(world.draw_run_ms(), self.end, run)
        if self.leaving and not self.running:
            world.exit_worker(self)

    def _busy(self) -> int:
        """How many slots are taken: a generator that waits for credit is put aside."""
        return sum(run.yields is None or not run.yields.waited for run in self.running.values())

    def credit(self, id: bytes, attempt: int, units: int) -> None:
        """A generator may have sent so many units in all; with 0 it is dropped."""
        run = self.running.get(id)
        if not self.alive or run is None or run.yields is None or run.attempt != attempt:
            return
        if not units:
            del self.running[id]
            self.pump()
            return
        run.yields.credit = max(run.yields.credit, units)
        if run.yields.waits and run.yields.used < units:
            run.yields.waits = False
            self.world.after(self.world.draw_run_ms(), self.end, run)

    def _go_on(self, run: Run, yields: Yields) -> bool:
        """A generator yields some; whether it is over."""
        items = yields.go_on(self.world)
        if items:
            self.flush()  # What ended before is told before.
            self.world.to_node(-self.number, events.Yielded(self.number, items))
        if not yields.is_over and not yields.waits:
            self.world.after(self.world.draw_run_ms(), self.end, run)
        if yields.waits:
            self.pump()
        return yields.is_over

    def end(self, run: Run) -> None:
        """The function returned, raised, or took the process with it."""
        if not self.alive or self.running.get(run.id) is not run:
            return
        if run.yields is not None and (run.yields.waits or not self._go_on(run, run.yields)):
            return
        if run.fate == "die":
            self.world.kill_worker(self, "signal 11")
            return
        if run.fate == "return":
            value: Any = [run.id[-2:], run.attempt]
            meta = b""
            if run.id in self.world.checker.flows:
                assert run.submit is not None
                value = work(run.submit)
            if self.world.checker.plugs is not None:
                assert run.submit is not None
                value, meta = self.world.checker.plugs.result(run.submit, value)
            if run.yields is not None:
                value, meta = run.yields.outcome()
            self.report(run, Outcome.DONE, pack(value), retry=False, meta=meta)
        else:
            error = RemoteError("it raised", type="ValueError").to_data()
            self.report(run, Outcome.FAILED, pack(error), retry=run.fate == "raise")
        self.pump()

    def report(
        self, run: Run, code: Outcome, body: bytes, *, retry: bool, meta: bytes = b""
    ) -> None:
        """Tell the node how an execution ended."""
        world = self.world
        del self.running[run.id]
        self._tell(run.id, run.attempt, code, body, retry=retry, meta=meta)
        world.say("worker %d: %s attempt %d %s", self.number, run.id, run.attempt, code.name)

    def _tell(
        self, id: bytes, attempt: int, code: Outcome, body: bytes, *, retry: bool,
        meta: bytes = b"",
    ) -> None:  # fmt: skip
        world = self.world
        flags = Flag.RETRY if retry else 0
        data = envelope(
            Kind.OUTCOME, id=id, code=code, attempt=attempt, body=body, flags=flags,
            number=world.now, meta=meta,
        )  # fmt: skip
        world.checker.facts[id].executed.append(data)
        if world.checker.begins.at_worker.get(id) == self.number:
            del world.checker.begins.at_worker[id]
        self.reports.append((id, attempt, int(code), retry, world.draw_duration_us(), 0, data))
        if len(self.reports) == 1:
            world.after(world.rng.randint(0, 2), self.flush)

    def flush(self) -> None:
        """Send what is to be told, in one message."""
        if self.alive and self.reports:
            reports, self.reports = self.reports, []
            self.world.to_node(-self.number, events.Finished(self.number, reports))

    def interrupt(self, id: bytes, why: str) -> None:
        """The node wants this call to stop."""
        if not self.alive:
            return
        error = pack(CallCancelled("cancelled while running").to_data())
        for at, (staged, attempt, _, _data) in enumerate(self.staged):
            if staged == id:
                del self.staged[at]
                self._tell(id, attempt, Outcome.CANCELLED, error, retry=False)
                return
        run = self.running.get(id)
        if run is None:
            return
        if self.deaf:
            self.world.after(CANCEL_GRACE_MS, self.kill_for, run)
        elif why == "cancel":
            self.report(run, Outcome.CANCELLED, error, retry=False)
        else:
            late = RemoteError("over its time limit", type="TimeLimit").to_data()
            self.report(run, Outcome.FAILED, pack(late), retry=True)
        self.pump()

    def kill_for(self, run: Run) -> None:
        """The grace is over and the call still runs."""
        if self.alive and self.running.get(run.id) is run:
            self.world.kill_worker(self, "did not stop when asked")

    def recall(self) -> None:
        """The node wants back what has not begun."""
        if not self.alive:
            return
        self.flush()
        ids = [id for id, _, _, _ in self.staged]
        self.staged.clear()
        for id in ids:
            self.world.checker.begins.at_worker.pop(id, None)
        self.world.to_node(-self.number, events.Returned(self.number, ids))
