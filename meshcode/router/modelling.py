"""The model changed, or what is known of code: lines, limits, wiring and gates follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.router import events, holding, seats, ticking, timers, wiring, work
from meshcode.router.bindings import bindings
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool
from meshcode.router.signature import Signature

if TYPE_CHECKING:
    from meshcode.router.core import Router


def of_nobody(name: str) -> dict[str, Any]:
    """A snapshot with one socket, of no processor."""
    return {"sockets": {name: {"processor": "", "task": "", "queue": ""}}}


def on_model_changed(r: Router, event: events.ModelChanged, now_ms: int, out: Effects) -> None:
    """Take over a newer snapshot; calls that wait stay where they are."""
    snapshot = event.snapshot
    if snapshot["number"] < r.model_number:
        return
    r.model_number = snapshot["number"]
    for name, fields in snapshot.get("processors", {}).items():
        pool = r.pool(name)
        pool.stopped = fields.get("requested_status") == "stop"
        pool.paused = fields.get("requested_status") == "pause"
    wanted = snapshot.get("sockets", {})
    expiring: set[str] = set()  # Lines whose waiting calls may expire sooner than their timers say.
    for name in wanted:
        config = SocketConfig(name, snapshot)
        line = r.lines.get(name)
        if line is not None and line.expires_sooner(config):
            expiring.add(name)
        if line is None:
            line = r.lines[name] = Line(config)
            r.pool(config.processor).lines[name] = line
        else:
            before = r.pool(line.config.processor)
            if before.name != config.processor:
                before.withdraw(line)
                del before.lines[name]
                r.pool(config.processor).lines[name] = line
            line.configure(config)
            line.removed = False
        _learn_signature(r.pool(config.processor), line)
    r.bound = bindings(snapshot)
    edges = wiring.edges_of(snapshot)
    r.gates = {name: gate.get("mode") or "" for name, gate in wiring.gates_of(snapshot).items()}
    for name, line in r.lines.items():
        line.edges = edges.get(name, ())
        if name not in wanted and not line.builtin:
            line.removed = True
    work.refresh_lines(r)
    seats.refresh_lines(r)
    if expiring:
        for call in r.calls.values():
            if call.line.name in expiring:
                timers.arm_expiry(r, call)
    ticking.changed(r, snapshot, now_ms, out)
    wiring.let_go(r, now_ms, out)
    for worker in list(r.workers.values()):  # A shorter time limit holds for what runs already.
        if worker.held:
            holding.watch_worker(r, worker, now_ms, out)
    for pool in r.pools.values():
        for line in pool.lines.values():
            pool.offer(line)
        r.touch(pool)


def _learn_signature(pool: Pool, line: Line) -> None:
    data = pool.signatures.get(line.config.task)
    line.signature = None if data is None else Signature(data)
    line.at_once = data is None or bool(data.get("at_once", True))


def on_processor_changed(
    r: Router, event: events.ProcessorChanged, now_ms: int, out: Effects
) -> None:
    """Say why calls of a processor wait, and learn what its tasks take."""
    pool = r.pool(event.processor)
    pool.reason = event.reason
    if event.signatures:
        pool.signatures = event.signatures
        for line in pool.lines.values():
            _learn_signature(pool, line)
    r.touch(pool)
