"""The workers of one processor and the lines that wait for them."""

from __future__ import annotations

from collections import deque

from meshcode.limits import (
    CREDIT_BYTES_MAX,
    CREDIT_CALLS_MAX,
    CREDIT_WORK_US,
    PEER_WORTH_US,
    QUICK_LINE_US,
    STAGE_AHEAD_US,
    STUCK_MS,
)
from meshcode.router.call import Call
from meshcode.router.line import Line


class Worker:
    """One worker process, as far as the router cares: what it holds and how much more it may."""

    node: bytes | None = None  # Of a peer that stands in for workers: see `work.PeerWorker`.

    __slots__ = (
        "blocked",
        "bytes",
        "held",
        "id",
        "leaving",
        "pool",
        "queued",
        "recalled",
        "recalling",
        "slots",
        "streams",
        "watch_ms",
        "work_us",
    )

    def __init__(self, id: int, pool: Pool, slots: int) -> None:
        """A worker that holds nothing yet."""
        self.id = id
        self.pool = pool
        self.slots = slots
        self.held: dict[bytes, Call] = {}  # All its calls, in the order they were handed over.
        self.queued: dict[bytes, Call] = {}  # Those of them that run one after the other.
        # Streams that others run beside: whether they wait for credit.
        self.streams: dict[bytes, bool] = {}
        self.blocked: dict[bytes, bool] = {}  # The same of those that run beside others anyway.
        self.work_us = 0  # What it holds should take this long.
        self.bytes = 0
        self.leaving = False
        self.recalled: Call | None = None  # The call it was stuck at when calls were asked back.
        self.recalling = False  # They were asked back, and it has not answered.
        self.watch_ms = 0  # A timer is set for then, to look at what it runs; 0 = none.

    def room(self, line: Line, now_ms: int) -> int:
        """How many calls of `line` it may be handed now.

        An idle worker always takes one.  More are staged behind it only while all of them together
        should take no longer than CREDIT_WORK_US, so that a long call is never hoarded.
        """
        count = len(self.queued)
        if self._at_once(line):
            return self.slots - (len(self.held) - count - len(self.blocked))
        if self.recalling:
            return 0  # What it gets now would pass what comes back.
        if self.streams and not all(self.streams.values()):
            return 0  # One that waited goes on.
        if count and now_ms - next(iter(self.queued.values())).started_ms >= STUCK_MS:
            return 0  # It is stuck at a long call: what is taken back must not return to it.
        usual = line.run_us
        if usual is None:
            return 0 if count else 1
        room = (CREDIT_WORK_US - self.work_us) // (usual or 1)
        if self.bytes >= CREDIT_BYTES_MAX:
            room = 0
        room = min(room, CREDIT_CALLS_MAX - count)
        least = 1
        if usual <= STAGE_AHEAD_US and line.depth >= 2 * len(self.pool.workers):
            least = 2  # All have work: the next call begins without a round trip in between.
        return max(room, least - count)

    def room_alone(self, line: Line, now_ms: int) -> int:
        """The same for calls that no other worker may run.

        One of a line is staged behind what it runs: else those that others may run, too, could keep
        it busy for ever.  When it is stuck at a long call, nothing is: its turn comes after that.
        """
        room = self.room(line, now_ms)
        if room > 0 or self.streams or not self.queued or self._at_once(line) or self.recalling:
            return room
        head = next(iter(self.queued.values()))
        stuck = now_ms - head.started_ms >= STUCK_MS
        return int(not stuck and all(call.line is not line for call in self.queued.values()))

    def take(self, line: Line, calls: list[Call], now_ms: int) -> None:
        """Hold these calls of one line, too."""
        at_once, estimate_us = self._at_once(line), line.run_us or 0
        held, queued = self.held, self.queued
        for call in calls:
            call.worker = self
            call.estimate_us = estimate_us
            self.bytes += call.size if call.fed is None else call.weight
            held[call.id] = call
            if at_once:
                call.started_ms = now_ms
            else:  # Staged ones begin when those before them have ended.
                call.started_ms = 0 if queued else now_ms
                queued[call.id] = call
        self.work_us += estimate_us * len(calls)

    def drop(self, call: Call, now_ms: int) -> None:
        """Hold one call less; the next of a one-slot worker has begun now."""
        del self.held[call.id]
        call.worker = None
        self.work_us -= call.estimate_us
        self.bytes -= call.size if call.fed is None else call.weight
        if self.streams:
            self.streams.pop(call.id, None)
        if self.blocked:
            self.blocked.pop(call.id, None)
        self._leave_queue(call, now_ms)

    def _leave_queue(self, call: Call, now_ms: int) -> None:
        if self.queued.pop(call.id, None) is not None and self.queued:
            head = next(iter(self.queued.values()))
            if not head.started_ms:
                head.started_ms = now_ms

    def park(self, call: Call, now_ms: int) -> None:
        """A stream waits for credit: others may run, but no further one of its socket."""
        if call.id in self.queued or call.id in self.streams:
            self.streams[call.id] = True
            self._leave_queue(call, now_ms)
            self.work_us -= call.estimate_us  # Nobody waits for it.
            call.estimate_us = 0
        else:
            self.blocked[call.id] = True

    def begin_beside(self, call: Call, now_ms: int) -> None:
        """A staged stream yields: the one before it was put aside, and is not known to be."""
        call.started_ms = now_ms
        self.streams[call.id] = False
        self._leave_queue(call, now_ms)

    def resume(self, call: Call) -> None:
        """It has credit again; it takes turns with what was begun meanwhile."""
        if call.id in self.streams:
            self.streams[call.id] = False
        elif call.id in self.blocked:
            self.blocked[call.id] = False

    def is_parked(self, call: Call) -> bool:
        """Whether the call waits for credit."""
        return self.streams.get(call.id) or self.blocked.get(call.id, False)

    def skips(self, line: Line) -> bool:
        """Whether it takes no call of this line now, but perhaps of another."""
        return any(self.held[id].line is line for id in (*self.streams, *self.blocked))

    def is_moving(self, line: Line, now_ms: int) -> bool:
        """Whether calls of the line go through it one by one, and it is not stuck at any."""
        if self.node or self.leaving or not self.slots or self._at_once(line):
            return False
        if self.work_us > 2 * CREDIT_WORK_US or (self.streams and not all(self.streams.values())):
            return False
        head = next(iter(self.queued.values()), None)
        return head is None or now_ms - head.started_ms < STUCK_MS

    def begun(self) -> list[Call]:
        """The calls that run, as far as the router can know: the first queued, and the others."""
        found = []
        if len(self.held) > len(self.queued):
            found = [call for call in self.held.values() if call.id not in self.queued]
        if self.queued:
            found.append(next(iter(self.queued.values())))
        return found

    def _at_once(self, line: Line) -> bool:
        """Whether calls of the line run beside each other here (`async def` tasks, threads)."""
        return self.slots > 1 and line.at_once


class Pool:
    """One processor on this node."""

    __slots__ = (
        "addressed",
        "granted",
        "granted_ms",
        "lines",
        "mixed",
        "name",
        "paused",
        "reason",
        "rotation",
        "seated",
        "signatures",
        "stopped",
        "workers",
    )

    def __init__(self, name: str) -> None:
        """A pool without workers."""
        self.name = name
        self.workers: dict[int, Worker] = {}
        self.lines: dict[str, Line] = {}
        self.mixed = False  # Calls of some lines run beside each other, of others one by one.
        self.rotation: dict[int, deque[Line]] = {}  # By priority: lines that may have a next call.
        self.addressed: dict[Line, None] = {}  # Lines of broadcasts and copies that may have one.
        self.seated: dict[int, Worker] = {}  # Who sits at each place of its own workers.
        self.granted = 0  # Slots that peers were told they may use.
        self.granted_ms = 0  # When that changed.
        self.paused = False
        self.stopped = False
        self.reason = (
            "its processor has no worker yet"  # Why it has no worker; "" = no known cause.
        )
        self.signatures: dict[str, dict[str, object]] = {}

    def offer(self, line: Line) -> None:
        """Put the line in rotation under every priority that has a waiting call."""
        if line.addressed:
            if any(line.ready.values()):
                self.addressed[line] = None
            return
        for priority, ready in line.ready.items():
            if ready and priority not in line.offered:
                line.offered.add(priority)
                self.rotation.setdefault(priority, deque()).append(line)

    def withdraw(self, line: Line) -> None:
        """Take the line out of rotation altogether (it moved to another pool)."""
        self.addressed.pop(line, None)
        for priority in line.offered:
            self.rotation[priority].remove(line)
        line.offered.clear()

    def is_quick(self, line: Line, now_ms: int) -> bool:
        """Whether the workers here are soon through with a line of calls so short that it costs
        more to have a peer run one.
        """
        usual = line.run_us
        if usual is None or usual > PEER_WORTH_US:
            return False
        moving = sum(worker.is_moving(line, now_ms) for worker in self.workers.values())
        return moving > 0 and line.depth * usual <= moving * QUICK_LINE_US

    def parked_reason(self) -> str:
        """Why no call of this processor can begin; "" when some worker may take them."""
        if self.stopped:
            return (
                f"processor {self.name} is stopped; start it with `mesh proc start -n {self.name}`"
            )
        if self.paused:
            return (
                f"processor {self.name} is paused; `mesh proc resume -n {self.name}` lets it go on"
            )
        if any(not worker.leaving and worker.slots for worker in self.workers.values()):
            return ""
        return f"processor {self.name} has no worker here: {self.reason or 'starting'}"
