"""Calls between their line and a worker: put back, let go, and watched while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.router import streams, timers
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.pool import Worker
from meshcode.router.records import pack_state, sequence_key
from meshcode.router.states import State
from meshcode.router.timers import T_WORKER
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router


DELAYED_REASON: Final = "delayed by its submitter"


def save(r: Router, call: Call, out: Effects) -> None:
    """Write what changed of an open call, and tell its voters."""
    if call.owner is not None:
        return  # A guest: its owner keeps the books.
    call.recorded = True
    changes = call.changes()
    out.records.append(("state", sequence_key(call.sequence), pack_state(changes)))
    if call.inst is not None:
        r.replica.note(call.inst, changes, out)


def interrupt(call: Call, why: str, out: Effects) -> None:
    """Tell whoever runs the call to stop it."""
    worker = call.worker
    assert worker is not None
    if worker.node:
        out.peer.append((worker.node, int(Kind.INTERRUPT), [call.id, why]))
    else:
        out.interrupts.append((worker.id, call.id, why))


def requeue(r: Router, call: Call, now_ms: int, out: Effects, *, front: bool) -> None:
    """Put a call that was not running any more, or not yet, in its line."""
    if call.lacks:
        r.enter(call, now_ms, out)
        return
    call.move(State.WAITING)
    r.spill(call)
    call.line.push(call, front=front)
    r.offer(call.line)
    timers.arm_expiry(r, call)


def release(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """A DELAYED call's time has come (its place in `depth` it has already)."""
    call.reason = ""
    requeue(r, call, now_ms, out, front=False)


def take_back(r: Router, call: Call, worker: Worker, now_ms: int) -> None:
    """A handed-over call leaves its worker, for whatever state comes next."""
    worker.drop(call, now_ms)
    if r.streams.by_call:
        streams.stopped(r, call)
    line = call.line
    line.leave_running(call)
    if line.limited:
        r.offer(line)  # The line may be of another pool than the worker by now.


def begin_to_end(r: Router, call: Call) -> None:
    """A call has an outcome that is not recorded yet: others agree first, or a look is taken."""
    waited = call.state is State.WAITING
    call.move(State.ENDING)
    if waited and call.line.leave_waiting(call):
        r.offer(call.line)


def arm_watch(r: Router, worker: Worker, now_ms: int) -> None:
    """Set the timer at which something of what the worker runs needs a look."""
    due_ms = _watch_due(worker)
    if due_ms is not None and (not worker.watch_ms or due_ms < worker.watch_ms):
        worker.watch_ms = max(due_ms, now_ms + 1)
        r.at(worker.watch_ms, T_WORKER, worker)


def _watch_due(worker: Worker) -> int | None:
    times: list[int] = []
    for call in worker.begun():
        limit_ms = call.setting("time_limit_ms")
        if limit_ms is not None and not call.interrupted and not worker.is_parked(call):
            times.append(call.started_ms + limit_ms)
        if not call.marked:
            times.append(call.started_ms + limits.RUNNING_MARK_MS)
        behind = call.id in worker.queued and len(worker.queued) > 1
        if behind and worker.recalled is not call and not worker.recalling:
            times.append(call.started_ms + limits.STUCK_MS)
    return min(times) if times else None


def watch_worker(r: Router, worker: Worker, now_ms: int, out: Effects) -> None:
    """Interrupt what is over its time limit, mark what runs long, take back what is stuck."""
    if worker.watch_ms <= now_ms:
        worker.watch_ms = 0
    if worker.id not in r.workers:
        return
    for call in worker.begun():
        ran_ms = now_ms - call.started_ms
        limit_ms = call.setting("time_limit_ms")
        in_time = limit_ms is None or ran_ms < limit_ms or worker.is_parked(call)
        if not in_time and not call.interrupted:
            call.interrupted = "time limit"
            call.note(now_ms, "interrupted", f"ran {ran_ms} ms, its time limit is {limit_ms} ms")
            interrupt(call, "time limit", out)
        if ran_ms >= limits.RUNNING_MARK_MS and not call.marked:
            call.marked = True
            save(r, call, out)
        stuck = call.id in worker.queued and len(worker.queued) > 1 and ran_ms >= limits.STUCK_MS
        if stuck and worker.recalled is not call and not worker.recalling:
            worker.recalled, worker.recalling = call, True
            call.line.learn(ran_ms * 1_000)
            out.recalls.append(worker.id)
    arm_watch(r, worker, now_ms)
