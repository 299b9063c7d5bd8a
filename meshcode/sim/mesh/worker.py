"""A simulated worker: runs one call after the other, and returns, raises or dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.errors import CallCancelled, RemoteError
from meshcode.router import events
from meshcode.router.effects import Assignment
from meshcode.sim.flowbook import work
from meshcode.sim.streaming import Yields
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.node import MeshNode


class MeshWorker:
    """One worker process of a node."""

    def __init__(self, node: MeshNode, number: int, processor: str) -> None:
        """Starting."""
        self.node = node
        self.number = number
        self.processor = processor
        self.alive = True
        self.leaving = False
        self.staged: list[Assignment] = []
        self.running: tuple[bytes, int] | None = None
        self.given = b""  # The SUBMIT envelope of what it runs.
        self.yields: dict[bytes, Yields] = {}  # Of generators that it runs or has put aside.
        self.fates: dict[bytes, str] = {}  # Of those that wait for credit.

    def join(self) -> None:
        """Its code is loaded."""
        if self.alive:
            self.node.post(events.WorkerJoined(self.number, self.processor, 1))

    def take(self, batch: list[Assignment]) -> None:
        """Calls came."""
        if self.alive:
            self.staged += batch
            self._next()

    def leave(self) -> None:
        """Finish what runs, and go; what is staged comes back."""
        self.leaving = True
        self.node.post(events.WorkerLeaving(self.number))
        self._next()

    def _next(self) -> None:
        if self.leaving and self.alive and self.running is None and not self.yields:
            self._go([], "not wanted any more", blame=False)
        if self.running is not None or not self.staged or not self.alive:
            return
        id, attempt, _, data = self.staged.pop(0)
        assert data is not None
        self.running = (id, attempt)
        self._begin(id, attempt, data)

    def _begin(self, id: bytes, attempt: int, data: bytes) -> None:
        """Run one call: its end comes later, or the process dies of it."""
        world = self.node.world
        world.checker.executes(self.node, id, data)
        self.given = data
        if data[80 : 80 + data[15]].decode() in world.options.generators:
            fate = "die" if id in world.poison else world.draw_fate()
            yields = self.yields[id] = Yields(world, id, attempt, fate)
            self._later(self._yield, yields, fate)
            return
        self._later(self._end, id, attempt)

    def _later(self, act: Callable[..., None], *args: Any) -> None:
        world = self.node.world
        world.after(world.rng.randint(*world.options.run_ms), act, *args)

    def _yield(self, yields: Yields, fate: str) -> None:
        """A generator yields some, and perhaps waits for credit, or ends."""
        if not self.alive or self.yields.get(yields.id) is not yields or yields.waits:
            return
        items = yields.go_on(self.node.world)
        if items:
            self.node.post(events.Yielded(self.number, items))
        if yields.is_over:
            self._fares(yields.id, yields.attempt, fate, yields)
        elif not yields.waits:
            self._later(self._yield, yields, fate)
        else:
            self.fates[yields.id] = fate
            if self.running == (yields.id, yields.attempt):  # It is put aside.
                self.running = None
                self._next()

    def credit(self, id: bytes, attempt: int, units: int) -> None:
        """A generator may have sent so many units in all; with 0 it is dropped."""
        yields = self.yields.get(id)
        if not self.alive or yields is None or yields.attempt != attempt:
            return
        if not units:
            self._drop(id)
            self._next()
            return
        yields.credit = max(yields.credit, units)
        if yields.waits and yields.used < units:
            yields.waits = False
            self._later(self._yield, yields, self.fates[id])

    def _drop(self, id: bytes) -> None:
        yields = self.yields.pop(id, None)
        self.fates.pop(id, None)
        if yields is not None and self.running == (id, yields.attempt):
            self.running = None

    def _end(self, id: bytes, attempt: int) -> None:
        if not self.alive or self.running != (id, attempt):
            return
        world = self.node.world
        self._fares(id, attempt, "die" if id in world.poison else world.draw_fate())

    def _fares(self, id: bytes, attempt: int, fate: str, yields: Yields | None = None) -> None:
        """An execution ends, of a generator if it has yielded."""
        world = self.node.world
        if fate == "die":
            self.die([id])
        elif fate == "raise":
            error = RemoteError("it raised", type="ValueError").to_data()
            self._report(id, attempt, Outcome.FAILED, pack(error), retry=True)
        else:
            value: Any = [self.node.index, world.now, attempt]
            meta = b""
            if id in world.checker.flows:
                value = work(self.given)
            if yields is not None:
                value, meta = yields.outcome()
            elif world.checker.plugs is not None:
                value, meta = world.checker.plugs.result(self.given, value)
            self._report(id, attempt, Outcome.DONE, pack(value), retry=False, meta=meta)

    def die(self, begun: list[bytes]) -> None:
        """The process is gone; another takes its place."""
        aside = [id for id in self.yields if id not in begun]
        self._go([*begun, *aside] if begun else [], "signal 9")

    def _go(self, begun: list[bytes], why: str, *, blame: bool = True) -> None:
        if not self.alive:
            return
        self.alive = False
        node = self.node
        del node.workers[self.number]
        node.post(events.WorkerLost(self.number, begun, why, blame))
        node.world.after(50, node.staff)

    def _report(
        self, id: bytes, attempt: int, code: Outcome, body: bytes, *, retry: bool,
        meta: bytes = b"",
    ) -> None:  # fmt: skip
        data = envelope(Kind.OUTCOME, id=id, code=code, attempt=attempt, body=body, meta=meta)
        world = self.node.world
        world.checker.reported(id, data)
        self._drop(id)
        if self.running == (id, attempt):
            self.running = None
        report = (id, attempt, int(code), retry, world.rng.choice((10, 2_000, 90_000)), 0, data)
        self.node.post(events.Finished(self.number, [report]))
        self._next()

    def interrupt(self, id: bytes, why: str) -> None:
        """The call is to stop."""
        if not self.alive:
            return
        attempts = [one[1] for one in self.staged if one[0] == id]
        self.staged = [one for one in self.staged if one[0] != id]
        if self.running is not None and self.running[0] == id:
            attempts.append(self.running[1])
        elif id in self.yields:
            attempts.append(self.yields[id].attempt)
        for attempt in attempts:
            if why == "cancel":
                error: Any = CallCancelled("cancelled while running").to_data()
                self._report(id, attempt, Outcome.CANCELLED, pack(error), retry=False)
            else:
                error = RemoteError("over its time limit", type="TimeLimit").to_data()
                self._report(id, attempt, Outcome.FAILED, pack(error), retry=True)

    def recall(self) -> None:
        """Give back what has not begun."""
        if self.alive:
            ids = [one[0] for one in self.staged]
            self.staged.clear()
            self.node.post(events.Returned(self.number, ids))
