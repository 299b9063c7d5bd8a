"""Handing calls to workers: who is next, which worker, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode import limits
from meshcode.router import accept, ending, events
from meshcode.router.call import Call
from meshcode.router.effects import Assignment, Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.records import pack_state, sequence_key
from meshcode.router.states import State
from meshcode.router.timers import T_RATE, T_WORKER

if TYPE_CHECKING:
    from meshcode.router.core import Router


def dispatch(r: Router, pool: Pool, now_ms: int, out: Effects) -> None:
    """Give every worker of the pool as many calls as it has credit for."""
    if r.draining or pool.paused or pool.stopped:
        return
    for worker in sorted(pool.workers.values(), key=_load):
        if worker.leaving:
            continue
        batch: list[Assignment] = []
        while (found := _next(pool)) is not None:
            priority, line = found
            room = worker.room(line, now_ms)
            if room <= 0:
                break
            calls = line.take(priority, room, now_ms)
            for call in calls:
                call.state = State.RUNNING  # From WAITING, as `Line.take` saw.
                call.attempt += 1
                call.marked = False
                call.interrupted = ""
                worker.take(call, now_ms)
                batch.append((call.id, call.attempt, call.sequence, call.envelope))
                if r.listening:
                    r.tell(out, call, "prerun", f"worker {worker.id}", now_ms)
            _settle(r, pool, line, priority, len(calls), room, now_ms, out)
        if batch:
            out.starts.append((worker.id, batch))
            arm_watch(r, worker, now_ms)
        elif not pool.rotation:
            return


def _load(worker: Worker) -> tuple[int, int, int]:
    return (len(worker.queued) or len(worker.held) // worker.slots, worker.work_us, worker.id)


def _next(pool: Pool) -> tuple[int, Line] | None:
    while pool.rotation:
        priority = max(pool.rotation)
        lines = pool.rotation[priority]
        if lines:
            return priority, lines[0]
        del pool.rotation[priority]
    return None


def _settle(
    r: Router,
    pool: Pool,
    line: Line,
    priority: int,
    taken: int,
    room: int,
    now_ms: int,
    out: Effects,
) -> None:
    """After a take: the line goes to the back of its rotation, or out of it while it is blocked."""
    lines = pool.rotation[priority]
    lines.popleft()
    ready = line.ready.get(priority)
    if not ready:
        line.offered.discard(priority)
        if ready is not None:
            del line.ready[priority]
        return
    if taken >= room:
        lines.append(line)
        return
    line.offered.discard(priority)  # Blocked: what unblocks it offers it again.
    if line.starved and not line.fetching:
        room = r.bodies_bytes_max - r.bodies_bytes
        out.fetches.extend(line.to_fetch(room, r.fetch_bytes_min))
    if line.rate is not None:
        due_ms = line.rate.next_ms()
        if due_ms > now_ms and not 0 < line.rate_timer_ms <= due_ms:
            line.rate_timer_ms = due_ms
            r.at(due_ms, T_RATE, line)


def requeue(r: Router, call: Call, now_ms: int, *, front: bool) -> None:
    """Put a call that was not running any more, or not yet, in its line."""
    call.move(State.WAITING)
    r.spill(call)
    call.line.push(call, front=front)
    r.offer(call.line)
    accept.arm_expiry(r, call)


def release(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """A DELAYED call's time has come (its place in `depth` it has already)."""
    call.reason = ""
    requeue(r, call, now_ms, front=False)


def take_back(r: Router, call: Call, worker: Worker, now_ms: int) -> None:
    """A handed-over call leaves its worker, for whatever state comes next."""
    worker.drop(call, now_ms)
    line = call.line
    line.leave_running(call)
    if line.limited:
        r.offer(line)  # The line may be of another pool than the worker by now.


def give_back(r: Router, call: Call, worker: Worker, now_ms: int, out: Effects) -> None:
    """A call whose attempt does not count goes back to the front; a cancelled one ends."""
    take_back(r, call, worker, now_ms)
    if call.interrupted == "cancel":
        ending.end_cancelled(r, call, now_ms, out)
        return
    call.attempt -= 1
    call.line.depth += 1
    call.line.bytes += call.size
    requeue(r, call, now_ms, front=True)
    if call.marked:  # The log says that it began; that must not count after a crash.
        call.marked = False
        ending.save(call, out)


def on_worker_joined(r: Router, event: events.WorkerJoined, now_ms: int, out: Effects) -> None:
    """A worker can take calls: its pool may move now."""
    assert event.worker not in r.workers, event.worker
    pool = r.pool(event.processor)
    worker = Worker(event.worker, pool, event.slots)
    pool.workers[worker.id] = r.workers[worker.id] = worker
    r.touch(pool)


def on_worker_leaving(r: Router, event: events.WorkerLeaving, now_ms: int, out: Effects) -> None:
    """A worker takes no more calls."""
    worker = r.workers.get(event.worker)
    if worker is not None:
        worker.leaving = True


def on_returned(r: Router, event: events.Returned, now_ms: int, out: Effects) -> None:
    """Staged calls came back from behind a long one."""
    worker = r.workers.get(event.worker)
    if worker is None:
        return
    for id in reversed(event.ids):
        call = worker.held.get(id)
        if call is not None:
            give_back(r, call, worker, now_ms, out)
    arm_watch(r, worker, now_ms)


def on_fetched(r: Router, event: events.Fetched, now_ms: int, out: Effects) -> None:
    """Envelopes are in memory again: their lines may move."""
    for sequence, envelope in event.envelopes:
        call = r.by_sequence.get(sequence)
        if call is None:
            continue  # It ended meanwhile.
        if not envelope:
            ending.hold_unreadable(r, call, now_ms, out)
            continue
        del r.by_sequence[sequence]
        call.envelope = envelope
        r.bodies_bytes += call.size
        asked = sequence in call.line.fetching
        call.line.fetching.discard(sequence)
        expiry_ms = accept.expiry_of(call)
        if expiry_ms is not None and expiry_ms <= now_ms:
            ending.expire(r, call, now_ms, out)  # It was fetched to be moved to its dead letters.
        elif not asked:
            r.spill(call)  # The same, but its expiry was lifted meanwhile.
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
        if limit_ms is not None and not call.interrupted:
            times.append(call.started_ms + limit_ms)
        if not call.marked:
            times.append(call.started_ms + limits.RUNNING_MARK_MS)
        if call.id in worker.queued and len(worker.queued) > 1 and worker.recalled is not call:
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
        if limit_ms is not None and ran_ms >= limit_ms and not call.interrupted:
            call.interrupted = "time limit"
            call.note(now_ms, "interrupted", f"ran {ran_ms} ms, its time limit is {limit_ms} ms")
            out.interrupts.append((worker.id, call.id, "time limit"))
        if ran_ms >= limits.RUNNING_MARK_MS and not call.marked:
            call.marked = call.recorded = True
            out.records.append(("state", sequence_key(call.sequence), pack_state(call.changes())))
        stuck = call.id in worker.queued and len(worker.queued) > 1 and ran_ms >= limits.STUCK_MS
        if stuck and worker.recalled is not call:
            worker.recalled = call
            call.line.learn(ran_ms * 1_000)
            out.recalls.append(worker.id)
    arm_watch(r, worker, now_ms)
