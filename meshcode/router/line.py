"""The waiting line of one socket: who is next, and may it begin now.

A line knows its limits (length, bytes, rate, concurrency, per key) and nothing of workers.  Calls
that end while they wait are skipped when they come to the front, so nothing is searched for.
"""

from __future__ import annotations

from collections import deque

from meshcode.router.call import Call, priority_of
from meshcode.router.config import SocketConfig
from meshcode.router.rate import Rate
from meshcode.router.signature import Signature
from meshcode.router.states import State

_WAITING = State.WAITING


class Line:
    """All open calls of one socket that are not running, and counts of those that are."""

    __slots__ = (
        "at_once",
        "bytes",
        "config",
        "depth",
        "fetching",
        "key_running",
        "key_waiting",
        "name",
        "offered",
        "priority",
        "rate",
        "rate_timer_ms",
        "ready",
        "removed",
        "run_us",
        "running",
        "signature",
    )

    def __init__(self, config: SocketConfig) -> None:
        """An empty line of the socket."""
        self.name = config.name
        self.ready: dict[int, deque[Call]] = {}  # By priority.
        self.key_waiting: dict[str, deque[Call]] = {}  # Blocked by their key's limit.
        self.key_running: dict[str, int] = {}
        self.offered: set[int] = set()  # Priorities under which its pool has it in rotation.
        self.depth = 0  # WAITING and DELAYED calls.
        self.bytes = 0  # Of their envelopes.
        self.running = 0
        self.run_us: int | None = None  # Usual run time; None until one call has ended.
        self.at_once = True  # Workers with many slots run its calls beside each other.
        self.fetching = False  # Envelopes of the next calls are being read from the log.
        self.removed = False  # The model has no such socket any more; its calls stay, PARKED.
        self.rate: Rate | None = None
        self.rate_timer_ms = 0  # A timer is set for then; 0 = none.
        self.signature: Signature | None = None
        self.configure(config)

    def configure(self, config: SocketConfig) -> None:
        """Take over new limits; calls in the line stay as they are."""
        self.config = config
        self.priority = priority_of(config.priority)
        for blocked in self.key_waiting.values():  # The limit per key may have changed.
            for call in reversed(blocked):
                self.push(call, front=True)
        self.key_waiting.clear()
        if config.rate is None:
            self.rate = None
        elif self.rate is None or (self.rate.count, self.rate.per_ms) != config.rate:
            self.rate = Rate(*config.rate)

    def push(self, call: Call, *, front: bool = False) -> None:
        """Put a WAITING call at the back, or back at the front when it came from there."""
        ready = self.ready.get(call.priority)
        if ready is None:
            ready = self.ready[call.priority] = deque()
        if front:
            ready.appendleft(call)
        else:
            ready.append(call)

    def take(self, priority: int, room: int, now_ms: int) -> list[Call]:
        """Up to `room` calls of that priority that may begin now, in order; they leave the line."""
        ready = self.ready.get(priority)
        if not ready or self.removed:
            return []
        if self.config.concurrency is not None:
            room = min(room, self.config.concurrency - self.running)
        if self.rate is not None:
            room = min(room, self.rate.allowed(now_ms))
        key_limit = self.config.key_concurrency
        taken: list[Call] = []
        size = 0
        while ready and len(taken) < room:
            call = ready[0]
            if call.state is not _WAITING:
                ready.popleft()
                continue
            if call.envelope is None:
                self.fetching = True
                break
            ready.popleft()
            if call.options is not None and self._blocked_by_key(call, key_limit):
                continue
            taken.append(call)
            size += call.size
        if taken:
            self.depth -= len(taken)
            self.bytes -= size
            self.running += len(taken)
            if self.rate is not None:
                self.rate.use(len(taken), now_ms)
        return taken

    def _blocked_by_key(self, call: Call, limit: int | None) -> bool:
        key = call.option("key")
        if key is None:
            return False
        running = self.key_running.get(key, 0)
        if limit is not None and running >= limit:
            self.key_waiting.setdefault(key, deque()).append(call)
            return True
        self.key_running[key] = running + 1
        return False

    def leave_running(self, call: Call) -> None:
        """A running call ended or came back: count it out, and let the next of its key in."""
        self.running -= 1
        assert self.running >= 0, (self.name, call.id.hex(), call.story)
        key = call.option("key")
        if key is None or key not in self.key_running:
            return
        self.key_running[key] -= 1
        if not self.key_running[key]:
            del self.key_running[key]
        blocked = self.key_waiting.get(key)
        while blocked:
            waiting = blocked.popleft()
            if waiting.state is _WAITING:
                self.push(waiting, front=True)
                break
        if blocked is not None and not blocked:
            del self.key_waiting[key]

    def to_fetch(self, count: int) -> list[int]:
        """Log sequences of the next `count` waiting calls whose envelopes are not in memory."""
        found: list[int] = []
        for priority in sorted(self.ready, reverse=True):
            for call in self.ready[priority]:
                if call.state is _WAITING and call.envelope is None:
                    found.append(call.sequence)
                    if len(found) >= count:
                        return found
        return found

    def learn(self, run_us: int) -> None:
        """Remember how long calls of this socket run: a moving average, slow down, quick up."""
        usual = self.run_us
        if usual is None or run_us > usual:
            self.run_us = run_us if usual is None else usual + (run_us - usual) // 2 + 1
        else:
            self.run_us = usual - (usual - run_us) // 8
