"""What a simulated mesh is made of: the simulator's nodes, with functions of the test for workers.

The core, its turns and its log are those of a real node; time, network and disks are simulated.
"""

from __future__ import annotations

import heapq
import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from random import Random
from typing import Any

from meshcode.errors import (
    BadData,
    BadRequest,
    CallCancelled,
    MeshError,
    RemoteError,
    TimeLimit,
    TooLarge,
)
from meshcode.ids import ID_BYTES, NO_ID
from meshcode.router import events, plan
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, flow_of
from meshcode.sim.mesh import options as drawn
from meshcode.sim.mesh.client import MeshClient
from meshcode.sim.mesh.network import Network
from meshcode.sim.mesh.node import MeshNode
from meshcode.sim.mesh.worker import MeshWorker
from meshcode.sim.mesh.world import MeshWorld
from meshcode.wire.codec import pack, unpack_call
from meshcode.wire.frame import check_envelope, envelope
from meshcode.wire.kinds import Flag, Kind, Outcome
from meshcode.worker.context import Held, async_call
from meshcode.worker.report import bad_result, error_data, may_retry, routed

# How one execution ends: outcome, its body, its meta, and whether it may be tried again.
End = tuple[Outcome, bytes, bytes, bool]
Execute = Callable[["FunctionNode", str, int, list[Any], dict[str, Any]], Any]
DIES_LATEST_MS = 50
LOOK_MS = 5
CANCEL_AGAIN_MS = 100
CANCEL_ROUNDS_MIN, CANCEL_ROUNDS_MAX = 10, 100  # A second, and ten, as a real node tries.


class Unjudged:
    """In the place of the simulator's checker, which knows only the calls of its own worlds."""

    plugs = None  # No books of what plugs owe.

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def _nothing(*_: Any) -> None:
    """Nobody looks."""


class WorkerDies(BaseException):
    """Raised in a function by `World.die`: its worker is gone."""


class FunctionWorker(MeshWorker):
    """A worker that runs a function of the test when it begins, and tells the end later.

    So a fault in between is one after the function did its work: it is run again.
    """

    node: FunctionNode
    slots = 1

    @property
    def begun(self) -> list[bytes]:
        """The calls that it runs."""
        return [] if self.running is None else [self.running[0]]

    def join(self) -> None:
        """Its code is loaded."""
        if self.alive:
            self.node.post(events.WorkerJoined(self.number, self.processor, self.slots))

    def leave(self) -> None:
        """Its function is another one now, which needs another kind of worker."""
        self.alive = False
        del self.node.workers[self.number]
        self.node.post(events.WorkerLost(self.number, self.begun, "stopped", blame=False))

    def _begin(self, id: bytes, attempt: int, data: bytes) -> None:
        world = self.node.world
        held = Held((check_envelope(data), data, attempt))  # For `current_call`.
        token = async_call.set(held)
        try:
            end: End | None = ended(execution(self.node, attempt, data)())
        except BaseException as error:
            end = ended_badly(error)
        finally:
            async_call.reset(token)
            held.call = None
        if end is None:
            world.after(world.rng.randint(0, DIES_LATEST_MS), self.die, [id])
        else:
            takes_ms = world.rng.randint(*world.takes_ms[self.processor])
            world.after(takes_ms, self._ended, id, attempt, end)

    def _ended(self, id: bytes, attempt: int, end: End) -> None:
        if not self.alive or self.running != (id, attempt):
            return
        self.running = None
        self._tell(id, attempt, end)

    def _tell(self, id: bytes, attempt: int, end: End) -> None:
        """Report an end to the node, and go on with what waits here."""
        code, body, meta, retry = end
        flags = Flag.RETRY if retry else 0
        data = envelope(
            Kind.OUTCOME, id=id, code=code, attempt=attempt, body=body, meta=meta, flags=flags,
        )  # fmt: skip
        report = (id, attempt, int(code), retry, 1_000, 0, data)
        self.node.post(events.Finished(self.number, [report]))
        self._next()


class FunctionNode(MeshNode):
    """A node whose workers run functions of the test: one worker for each socket."""

    world: FunctionWorld
    workers: dict[int, FunctionWorker]  # type: ignore[assignment]

    def step(self, event: events.Event, now_ms: int) -> Effects:
        """One event for the core."""
        return self.router.step(event, now_ms)

    def staff(self) -> None:
        """Start the workers that are missing."""
        if not self.up:
            return
        for worker in list(self.workers.values()):
            if type(worker) is not self.world.worker_of[worker.processor]:
                worker.leave()
        here = {worker.processor for worker in self.workers.values()}
        for name in self.world.takes_ms:
            if name in here:
                continue
            self._last_worker += 1
            worker = self.world.worker_of[name](self, self._last_worker, name)
            self.workers[worker.number] = worker
            self.world.after(self.world.rng.randint(1, 100), worker.join)

    def known(self) -> set[bytes]:
        """The calls that it has open, keeps for others, or that an outcome here causes."""
        found = set(self.router.calls)
        for inst in self.router.replica.by_key.values():
            found.add(inst.id)
            found.update(child.id for child in (inst.value.children if inst.value else ()))
        return found

    def keeps_step(self, root: bytes) -> bool:
        """Whether it has a vote on a step of this flow that has not ended."""
        return any(
            inst.parent is not None and inst.parent.key[:ID_BYTES] == root and not inst.ended
            for inst in self.router.replica.by_key.values()
        )

    @property
    def is_busy(self) -> bool:
        """Whether it has to think, or writes what it thought."""
        return bool(self.inbox) or self.ops is not None

    @property
    def name(self) -> str:
        """As tests name it."""
        return f"n{self.index + 1}"


class OneCall(MeshClient):
    """A client with one call, which keeps what it was told."""

    world: FunctionWorld

    def __init__(self, world: FunctionWorld, call: events.NewCall, via: MeshNode | None) -> None:
        """Nothing is sent yet; `via` is the node that is asked first."""
        super().__init__(world, [call])
        self.via = via
        self.is_accepted = False
        self.refusal: dict[str, Any] | None = None
        self.is_followed = False
        self.outcome: bytes | None = None

    def _choose(self) -> MeshNode | None:
        if self.first and self.via is not None:
            return self.via if self.via.up else None
        if self.node is not None and self.node.up:
            return self.node
        return super()._choose()

    def accepted(self, session: int, sequence: int) -> None:
        """Acknowledged: on as many disks as was asked for."""
        super().accepted(session, sequence)
        self.is_accepted = True

    def refused(self, session: int, id: bytes, data: dict[str, Any]) -> None:
        """Refused, and why."""
        del session
        self.refusal = data
        self._over(id)

    def ended(self, session: int, outcome: bytes) -> None:
        """The outcome; a second one is the same.  That of a flow names the step that has its."""
        del session
        self._over(outcome[16:32])
        if self.outcome is not None or self.is_followed:
            return
        result = plan.result_of(outcome) if outcome[13] == Outcome.DONE else None
        if result is None:
            self.outcome = outcome
        else:
            self.is_followed = True
            self._follow(result)

    def _over(self, id: bytes) -> None:
        self.unacked.pop(id, None)
        self.waiting.discard(id)

    def _follow(self, id: bytes) -> None:
        """Look how a step ends, as a client asks its node, which asks the others."""
        node = self.node if self.node is not None and self.node.up else None
        node = node or next((one for one in self.world.nodes if one.up), None)
        self.outcome = None if node is None else node.history([id]).get(id)
        if self.outcome is None:
            self.world.after(LOOK_MS, self._follow, id)


class FunctionWorld(MeshWorld):
    """The simulator's world without its own clients, faults and end."""

    nodes: list[FunctionNode]  # type: ignore[assignment]

    def __init__(
        self, seed: int, nodes: int, execute: Execute, *, loss: float, delay_ms: int
    ) -> None:  # fmt: skip
        """All nodes are up; they have not heard of each other yet."""
        super().__init__(seed)
        self.rng = Random(seed)
        self.execute = execute
        self.takes_ms: dict[str, tuple[int, int]] = {}
        self.worker_of: dict[str, type[FunctionWorker]] = {}
        self.abandons: list[Callable[[], None]] = []  # Of asynchronous workers, dead ones too.
        self.options = _options(nodes, loss, delay_ms)
        self.model = self.options.snapshot
        self.checker = Unjudged()  # type: ignore[assignment]
        self.network = Network(self)
        self._heap.clear()
        self.nodes = [FunctionNode(self, index) for index in range(nodes)]
        for node in self.nodes:
            node.start()

    def publish(self) -> None:
        """The model changed: every node that is up hears of it."""
        self.model = self.options.snapshot = {
            table: dict(rows) if isinstance(rows, dict) else rows
            for table, rows in self.options.snapshot.items()
        }
        self.model["number"] += 1
        for node in self.nodes:
            node.model = self.model
            if node.up:
                node.told_model = self.model
                node.post(events.ModelChanged(self.model))
                node.staff()

    def run_until(self, over: Callable[[], bool], end_ms: int) -> None:
        """Let happen what happens, until it is over or that time has come."""
        heap = self._heap
        while not over():
            if not heap or heap[0][0] > end_ms:
                self.now = max(self.now, end_ms)
                return
            self.now, _, act, args = heapq.heappop(heap)
            act(*args)

    def cancel_flow(self, root: bytes, number: int = 1) -> None:
        """End every open call of a flow, as a real node asks all others to: again and again, for
        what an outcome has just caused, or what a node keeps that does not own it, may be open
        a moment later.

        Args:
            root: the id of the flow.
            number: how often it was asked, this time included.
        """
        found = 0
        for node in self.nodes:
            for call in node.router.calls.values() if node.up else ():
                if call.envelope is not None and root in (call.id, flow_of(call.envelope)):
                    node.post(events.CancelAsked(0, NO_ID, call.id, "the test"))
                    found += 1
            found += node.up and node.keeps_step(root)
        if number < (CANCEL_ROUNDS_MAX if found else CANCEL_ROUNDS_MIN):
            self.after(CANCEL_AGAIN_MS, self.cancel_flow, root, number + 1)

    def ended(self) -> set[bytes]:
        """The calls with an outcome on any disk."""
        return {id for node in self.nodes for id in node.disk.tables["done"].values}

    def kill(self, node: FunctionNode) -> None:
        """kill -9: what was on its way to the disk may have come there or not."""
        node.crash(keep=self.rng.random() < 0.5)

    def destroy(self, node: FunctionNode) -> None:
        """The node and its disk are gone for ever; the others are told a while later."""
        self.destroy_node(node)


def execution(node: FunctionNode, attempt: int, data: bytes) -> Callable[[], Any]:
    """What runs the function of a SUBMIT envelope."""
    args, kwargs = unpack_call(body_of(data), bool(data[12] & Flag.KWARGS))
    name = data[80 : 80 + data[15]].decode()
    return lambda: node.world.execute(node, name, attempt, args, kwargs)


def ended(value: Any) -> End:
    """The end of an execution that returned."""
    if inspect.isgenerator(value):
        value = list(value)
    try:
        value, meta = routed(value)
        return Outcome.DONE, pack(value, "the result"), meta, False
    except (BadData, TooLarge) as error:
        return Outcome.FAILED, pack(bad_result(error).to_data()), b"", False


def ended_badly(error: BaseException) -> End | None:
    """The end of an execution that raised; None when its worker dies of it.

    Raises:
        KeyboardInterrupt, and what pytest ends a test with: not the function's.
    """
    if isinstance(error, WorkerDies):
        return None
    if not isinstance(error, Exception) and type(error).__name__ != "CancelledError":
        raise error
    data = error_data(error)
    try:
        body = pack(data)
    except (ValueError, TypeError):
        body = pack(RemoteError(data["text"], type=type(error).__name__).to_data())
    return Outcome.FAILED, body, b"", may_retry(error)


def ended_by(why: str) -> End:
    """The end of an execution that was made to end."""
    if why == "cancel":
        error: MeshError = CallCancelled("cancelled while running")
        return Outcome.CANCELLED, pack(error.to_data()), b"", False
    error = TimeLimit("over its time limit", type="TimeLimit")
    return Outcome.FAILED, pack(error.to_data()), b"", True


def _options(nodes: int, loss: float, delay_ms: int) -> drawn.Options:
    """Options in which only the network may be bad."""
    if not 1 <= nodes <= 50:
        raise BadRequest(f"a simulated mesh has 1 to 50 nodes, not {nodes}")
    options = drawn.draw(Random(1))
    for one in fields(options):
        if one.type == "float":
            setattr(options, one.name, 0.0)
    tables = ("queues", "processors", "sockets", "plugs", "gates", "schedules")
    return replace(
        options, nodes=nodes, kinds=["core"] * nodes, loss=loss, delay_ms=delay_ms, sync_ms=(0, 3),
        hosts={}, dead_letters=False, clock_steps=False, core_of_two=False, counted=False,
        snapshot={"number": 1, **{table: {} for table in tables}},
    )  # fmt: skip
