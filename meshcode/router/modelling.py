"""The model changed, or what is known of code: lines, limits, wiring and gates follow."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from meshcode.router import events, holding, seats, ticking, timers, wiring, work
from meshcode.router.bindings import Bound, bindings
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool
from meshcode.router.signature import Signature

if TYPE_CHECKING:
    from meshcode.router.core import Router

Key = tuple[str, str]  # Kind, name.


def of_nobody(name: str) -> dict[str, Any]:
    """A snapshot with one socket, of no processor."""
    return {"sockets": {name: {"processor": "", "task": "", "queue": ""}}}


class Wiring:
    """What the model says of more than one line; what a change of it concerns is found by it."""

    __slots__ = ("bound", "by_queue", "edges", "leans_on")

    def __init__(self) -> None:
        """Of no model yet."""
        self.bound: Bound = {}
        self.by_queue: dict[str, set[str]] = {}  # Names of lines.
        self.edges: dict[str, tuple[wiring.Edge, ...]] = {}  # That leave each socket.
        self.leans_on: frozenset[Key] = frozenset()  # Sockets and queues that decide about edges.


class _Scope:
    """What a change of the model concerns."""

    def __init__(self, r: Router, snapshot: dict[str, Any], keys: Collection[Key] | None) -> None:
        sockets = snapshot.get("sockets") or {}
        self.all = keys is None
        if keys is None:
            self.kinds = {"plug", "schedule"}
            self.processors = list(snapshot.get("processors") or ())
            self.sockets = list(sockets)
            self.gone = [name for name in r.lines if name not in sockets]
            self.spread: list[str] = []
            return
        queues = snapshot.get("queues") or {}
        self.kinds = {kind for kind, _name in keys}
        names = {name for kind, name in keys if kind == "socket"}
        self.gone = [name for name in names if name not in sockets]
        self.processors = sorted(name for kind, name in keys if kind == "processor")
        for name in self.processors:
            pool = r.pools.get(name)
            names.update(pool.lines if pool is not None else ())
        touched = {name for kind, name in keys if kind == "queue"}
        for name in touched:
            names |= r.wiring.by_queue.get(name, set())
        for name in names:  # Where a socket was, and where it is.
            line, socket = r.lines.get(name), sockets.get(name)
            touched |= {line.config.queue} if line is not None else set()
            touched |= {socket.get("queue") or ""} if socket is not None else set()
        self.spread = [
            name
            for name in touched
            if name in r.wiring.bound or (queues.get(name, {}).get("type") or "direct") != "direct"
        ]
        # In an order that is the same in each run of the same events.
        self.sockets = sorted(name for name in names if name in sockets)
        leans_on = r.wiring.leans_on
        if not leans_on.isdisjoint(keys) or any(("queue", name) in leans_on for name in touched):
            self.kinds.add("plug")


def on_model_changed(r: Router, event: events.ModelChanged, now_ms: int, out: Effects) -> None:
    """Take over a newer snapshot; calls that wait stay where they are."""
    snapshot = event.snapshot
    if snapshot["number"] < r.model_number:
        return
    r.model_number = snapshot["number"]
    scope = _Scope(r, snapshot, event.keys)
    processors = snapshot.get("processors") or {}
    touched: dict[str, Pool] = {}
    for name in scope.processors:
        fields = processors.get(name)
        if fields is not None:
            pool = touched[name] = r.pool(name)
            pool.stopped = fields.get("requested_status") == "stop"
            pool.paused = fields.get("requested_status") == "pause"
    expiring: set[str] = set()  # Lines whose waiting calls may expire sooner than their timers say.
    for name in scope.sockets:
        config = SocketConfig.of(name, snapshot)
        line = r.lines.get(name)
        if line is not None and line.expires_sooner(config):
            expiring.add(name)
        pool = touched[config.processor] = r.pool(config.processor)
        if line is None:
            line = r.lines[name] = pool.lines[name] = Line(config)
            line.edges = r.wiring.edges.get(name, ())
        else:
            before = r.pool(line.config.processor)
            if before.name != config.processor:
                before.withdraw(line)
                del before.lines[name]
                pool.lines[name] = line
                touched[before.name] = before  # Its workers still have calls of it.
            r.wiring.by_queue.get(line.config.queue, set()).discard(name)
            line.configure(config)
            line.removed = False
        r.wiring.by_queue.setdefault(config.queue, set()).add(name)
        _learn_signature(pool, line)
    for name in scope.gone:
        if name in r.lines and not r.lines[name].builtin:
            r.lines[name].removed = True
    _wire(r, snapshot, scope)
    work.refresh_lines(r, None if scope.all else scope.sockets)
    seats.refresh_lines(r)
    if expiring:
        for call in r.calls.values():
            if call.line.name in expiring:
                timers.arm_expiry(r, call)
    if "schedule" in scope.kinds or r.ticks.began_ms is None:
        ticking.changed(r, snapshot, event.keys, now_ms, out)
    wiring.let_go(r, now_ms, out)
    if scope.all:
        touched = r.pools
    for worker in list(r.workers.values()):  # A shorter time limit holds for what runs already.
        if worker.held and worker.pool.name in touched:
            holding.watch_worker(r, worker, now_ms, out)
    for pool in touched.values():
        for line in pool.lines.values():
            pool.offer(line)
        r.touch(pool)


def _wire(r: Router, snapshot: dict[str, Any], scope: _Scope) -> None:
    """Bindings, edges and gates, as far as they may be others."""
    if scope.all:
        r.wiring.bound = bindings(snapshot)
    elif scope.spread:
        sockets = snapshot.get("sockets") or {}
        names = [
            name
            for queue in scope.spread
            for name in r.wiring.by_queue.get(queue, ())
            if name in sockets
        ]
        found = bindings(snapshot, names)
        for queue in scope.spread:
            r.wiring.bound.pop(queue, None)
        r.wiring.bound.update(found)
    if not scope.kinds.isdisjoint(("plug", "gate")):
        r.wiring.edges = edges = wiring.edges_of(snapshot, r.wiring.bound)
        r.wiring.leans_on = wiring.leans_on(snapshot)
        gates = wiring.gates_of(snapshot)
        r.gates = {name: gate.get("mode") or "" for name, gate in gates.items()}
        for name, line in r.lines.items():
            line.edges = edges.get(name, ())


def _learn_signature(pool: Pool, line: Line) -> None:
    data = pool.signatures.get(line.config.task)
    line.signature = None if data is None else Signature(data)
    line.at_once = data is None or bool(data.get("at_once", True))
    first = next(iter(pool.lines.values()), line)
    pool.mixed = pool.mixed or first.at_once != line.at_once


def on_processor_changed(
    r: Router, event: events.ProcessorChanged, now_ms: int, out: Effects
) -> None:
    """Say why calls of a processor wait, and learn what its tasks take."""
    pool = r.pool(event.processor)
    pool.reason = event.reason
    if event.signatures:
        pool.signatures, pool.mixed = event.signatures, False
        for line in pool.lines.values():
            _learn_signature(pool, line)
    r.touch(pool)
