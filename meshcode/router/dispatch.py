"""Handing calls to workers: who is next, which worker, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.router import ending, events, holding, seats, timers
from meshcode.router.call import Call
from meshcode.router.effects import Assignment, Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.states import State
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router


_RUN: Final = int(Kind.RUN)
_RUNNING: Final = State.RUNNING


def dispatch(r: Router, pool: Pool, now_ms: int, out: Effects) -> None:
    """Give every worker of the pool as many calls as it has credit for."""
    if r.disk_level >= limits.DISK_STUCK:
        return
    if pool.addressed:  # First: those can go nowhere else.
        seats.hand_over(r, pool, now_ms, out)
    if pool.paused or pool.stopped:
        return
    for worker in sorted(pool.workers.values(), key=_load):
        if worker.leaving or (r.draining and not worker.node):
            continue  # A node that drains lets its peers run what waits.
        batch: list[Assignment] = []
        while (found := _next_for(r, pool, worker, now_ms)) is not None:
            priority, line = found
            room = worker.room(line, now_ms)
            if room <= 0 and pool.mixed and worker.slots > 1:
                found = _of_other_kind(r, pool, worker, line, now_ms)
                if found is None:
                    break
                priority, line = found
                room = worker.room(line, now_ms)
            if room <= 0:
                break
            calls = line.take(priority, room, now_ms)
            begin(r, worker, line, calls, batch, now_ms, out)
            _settle(r, pool, line, priority, len(calls), room, now_ms, out)
        if batch:
            send(r, worker, batch, now_ms, out)
        elif not pool.rotation:
            return


def begin(
    r: Router, worker: Worker, line: Line, calls: list[Call], batch: list[Assignment],
    now_ms: int, out: Effects,
) -> None:  # fmt: skip
    """Hand calls that were taken from a line to a worker; what it gets is added to `batch`."""
    worker.take(line, calls, now_ms)
    for call in calls:
        call.state = _RUNNING  # From WAITING, as `Line.take` saw.
        call.attempt += 1
        call.marked = False
        call.interrupted = ""
        envelope, fed = call.envelope, call.fed
        if fed is not None and envelope is not None:
            envelope = fed.submit(envelope)
        needs = call.needs
        batch.append((call.id, call.attempt, r.turn if needs is None else needs, envelope))
        call.needs = None
    if r.listening:
        for call in calls:
            r.tell(out, call, "prerun", f"worker {worker.id}", now_ms)


def send(
    r: Router, worker: Worker, batch: list[Assignment], now_ms: int, out: Effects
) -> None:
    """Order what `begin` has put together."""
    if worker.node:
        out.peer.extend((worker.node, _RUN, [item[1], item[3]]) for item in batch)
        return
    out.starts.append((worker.id, batch))
    holding.arm_watch(r, worker, now_ms)


def _load(worker: Worker) -> tuple[bool, int, int, int]:
    if worker.node:  # Peers after this node's own workers, the one with most room first.
        return (True, len(worker.held) - worker.slots, worker.work_us, -worker.id)
    waiting = len(worker.queued) or len(worker.held) // worker.slots
    return (False, waiting, worker.work_us, worker.id)


def _next(pool: Pool) -> tuple[int, Line] | None:
    while pool.rotation:
        priority = max(pool.rotation)
        lines = pool.rotation[priority]
        if lines:
            return priority, lines[0]
        del pool.rotation[priority]
    return None


def _next_for(r: Router, pool: Pool, worker: Worker, now_ms: int) -> tuple[int, Line] | None:
    """The same for a worker that does not take calls of every line."""
    if not (worker.node or worker.streams or worker.blocked):
        return _next(pool)
    here = worker.node and not r.draining
    for priority in sorted(pool.rotation, reverse=True):
        lines = pool.rotation[priority]
        for at, line in enumerate(lines):
            if not (worker.skips(line) or (here and pool.is_quick(line, now_ms))):
                lines.rotate(-at)
                return priority, line
    return None


def _of_other_kind(
    r: Router, pool: Pool, worker: Worker, line: Line, now_ms: int
) -> tuple[int, Line] | None:
    """The next line of those whose calls go another way through the worker than those of `line`:
    beside each other, or one by one.  The two do not wait for each other.
    """
    here = worker.node and not r.draining
    for priority in sorted(pool.rotation, reverse=True):
        lines = pool.rotation[priority]
        for at, other in enumerate(lines):
            if other.at_once == line.at_once or worker.skips(other):
                continue
            if not (here and pool.is_quick(other, now_ms)):
                lines.rotate(-at)
                return priority, other
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
        fetch(r, line.to_fetch(room, r.fetch_bytes_min), out)
    if line.rate is not None:
        due_ms = line.rate.next_ms()
        if due_ms > now_ms:
            r.offer_at(line, due_ms)


def on_worker_joined(r: Router, event: events.WorkerJoined, now_ms: int, out: Effects) -> None:
    """A worker can take calls: its pool may move now."""
    assert event.worker not in r.workers, event.worker
    pool = r.pool(event.processor)
    worker = Worker(event.worker, pool, event.slots)
    pool.workers[worker.id] = r.workers[worker.id] = worker
    seats.reseat(r, pool)
    r.touch(pool)


def on_worker_leaving(r: Router, event: events.WorkerLeaving, now_ms: int, out: Effects) -> None:
    """A worker takes no more calls."""
    worker = r.workers.get(event.worker)
    if worker is not None:
        worker.leaving = True
        seats.reseat(r, worker.pool)


def on_returned(r: Router, event: events.Returned, now_ms: int, out: Effects) -> None:
    """A worker answers a recall: staged calls come back from behind a long one, or none.

    Between the two it was handed nothing, so what goes back to the front of its line has been
    passed by no call that came after it.
    """
    worker = r.workers.get(event.worker)
    if worker is None:
        return
    worker.recalling = False
    r.touch(worker.pool)
    for id in reversed(event.ids):
        call = worker.held.get(id)
        if call is not None:
            ending.give_back(r, call, worker, now_ms, out)
    holding.arm_watch(r, worker, now_ms)


def fetch(r: Router, calls: list[Call], out: Effects) -> None:
    """Have the envelopes of calls read from the log; `events.Fetched` brings them."""
    for call in calls:
        r.fetching[call.sequence] = call
        out.fetches.append(call.sequence)


def on_fetched(r: Router, event: events.Fetched, now_ms: int, out: Effects) -> None:
    """Envelopes are in memory again: their lines may move."""
    for sequence, envelope in event.envelopes:
        call = r.fetching.pop(sequence, None)
        if call is None:
            continue  # It ended meanwhile.
        if not envelope:
            ending.hold_unreadable(r, call, now_ms, out)
            continue
        call.envelope = envelope
        r.bodies_bytes += call.size
        asked = sequence in call.line.fetching
        call.line.fetching.discard(sequence)
        expiry_ms = timers.expiry_of(call)
        if expiry_ms is not None and expiry_ms <= now_ms:
            ending.expire(r, call, now_ms, out)  # It was fetched to be moved to its dead letters.
        elif not asked:
            r.spill(call)  # The same, but its expiry was lifted meanwhile.
        r.offer(call.line)
