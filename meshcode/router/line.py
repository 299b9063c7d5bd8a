"""The waiting line of one socket: who is next, and may it begin now.

A line knows its limits (length, bytes, rate, concurrency, per key) and nothing of workers.  Calls
that end while they wait are skipped when they come to the front, so nothing is searched for.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from meshcode.limits import FETCH_CALLS_MAX
from meshcode.router.call import Call, priority_of
from meshcode.router.config import SocketConfig
from meshcode.router.rate import Rate
from meshcode.router.records import stretch_of
from meshcode.router.signature import Signature
from meshcode.router.states import State

if TYPE_CHECKING:
    from meshcode.router.seats import Seat
    from meshcode.router.wiring import Edge

_WAITING: Final = State.WAITING
ENDED_MIN: Final = 1_024  # So many ended calls in a line are not worth a sweep.


class Line:
    """All open calls of one socket that are not running, and counts of those that are."""

    __slots__ = (
        "addressed",
        "at_once",
        "builtin",
        "bytes",
        "casts",
        "config",
        "depth",
        "edges",
        "ended",
        "expires",
        "fetching",
        "guest",
        "key_running",
        "key_waiting",
        "limited",
        "name",
        "offered",
        "priority",
        "rate",
        "ready",
        "removed",
        "run_us",
        "running",
        "seat",
        "signature",
        "special",
        "spread",
        "starved",
        "stretch",
        "timer_ms",
    )

    def __init__(
        self, config: SocketConfig, *, addressed: bool = False, seat: Seat | None = None
    ) -> None:
        """An empty line of the socket.

        Args:
            addressed: its calls are broadcasts, or (`seat`) those that only one worker may run.
        """
        self.name = config.name
        self.addressed = addressed  # Kept out of the rotation: see `seats.hand_over`.
        self.seat = seat
        self.edges: tuple[Edge, ...] = ()  # Where outcomes of its calls go on.
        self.guest = config.guest  # Its calls belong to peers.
        self.builtin = config.name.startswith("@")  # The router itself carries its calls out.
        self.ready: dict[int, deque[Call]] = {}  # By priority.
        self.key_waiting: dict[str, deque[Call]] = {}  # Blocked by their key's limit.
        self.key_running: dict[str, int] = {}
        self.offered: set[int] = set()  # Priorities under which its pool has it in rotation.
        self.depth = 0  # WAITING and DELAYED calls.
        self.bytes = 0  # Of their envelopes.
        self.running = 0
        self.run_us: int | None = None  # Usual run time; None until one call has ended.
        self.at_once = True  # Workers with many slots run its calls beside each other.
        self.fetching: set[int] = set()  # Sequences whose envelopes are being read from the log.
        self.starved = False  # The last `take` ended at a call whose envelope is only in the log.
        self.ended = 0  # Calls in `ready` that ended while they waited.
        self.stretch = b""  # Of the call that ended last: it is in the index of sockets.
        self.removed = False  # The model has no such socket any more; its calls stay, PARKED.
        self.rate: Rate | None = None
        self.timer_ms = 0  # A timer is set for then; 0 = none.
        self.signature: Signature | None = None
        self.configure(config)

    def configure(self, config: SocketConfig) -> None:
        """Take over new limits; calls in the line stay as they are."""
        self.config = config
        self.priority = priority_of(config.priority)
        self.special = self.builtin or config.queue_type != "direct"  # No call of it just waits.
        self.spread = config.queue_type != "direct"  # Calls go to all sockets of its queue.
        self.casts = config.queue_type == "broadcast"  # And there to every worker.
        self.limited = config.concurrency is not None or config.key_concurrency is not None
        self.expires = config.message_ttl_ms is not None or config.expires_ms is not None
        for blocked in self.key_waiting.values():  # The limit per key may have changed.
            for call in reversed(blocked):
                self.push(call, front=True)
        self.key_waiting.clear()
        if config.rate is None:
            self.rate = None
        elif self.rate is None or (self.rate.count, self.rate.per_ms) != config.rate:
            self.rate = Rate(*config.rate)

    def expires_sooner(self, config: SocketConfig) -> bool:
        """Whether calls in the line may expire sooner under `config` than they do now."""
        for new, old in (
            (config.message_ttl_ms, self.config.message_ttl_ms),
            (config.expires_ms, self.config.expires_ms),
        ):
            if new is not None and (old is None or new < old):
                return True
        return False

    def count_in(self, call: Call) -> None:
        """One more call waits here, or is delayed."""
        self.depth += 1
        self.bytes += call.size

    def count_out(self, call: Call) -> None:
        """One call less waits here, for whatever reason but that it was taken."""
        self.depth -= 1
        self.bytes -= call.size

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
        self.starved = False
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
                self.ended -= 1
                continue
            if call.options is not None and self._blocked_by_key(call, key_limit):
                ready.popleft()
                continue
            if call.envelope is None:
                self.starved = True
                break
            ready.popleft()
            if call.options is not None and (key := call.options.get("key")) is not None:
                self.key_running[key] = self.key_running.get(key, 0) + 1
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
        if limit is None or self.key_running.get(key, 0) < limit:
            return False
        blocked = self.key_waiting.setdefault(key, deque())
        if blocked and call.sequence < blocked[0].sequence:
            blocked.appendleft(call)  # It was let in before, and is the next again.
        else:
            blocked.append(call)
        return True

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
        self._let_in(key)

    def leave_waiting(self, call: Call) -> bool:
        """A call that was WAITING has ended; True when another of its key may begin for it.

        It stays in `ready` until it comes to the front or there are many such.
        """
        self.ended += 1
        if self.ended > ENDED_MIN and self.ended > self.depth:
            for priority, ready in self.ready.items():
                self.ready[priority] = deque(one for one in ready if one.state is _WAITING)
            self.ended = 0
        key = call.option("key") if self.key_waiting else None
        if key is None:
            return False
        self._let_in(key)
        return True

    def remove(self, call: Call) -> None:
        """Take a waiting call out of the line, wherever in it it is."""
        for calls in (*self.ready.values(), *self.key_waiting.values()):
            if call in calls:
                calls.remove(call)
                return

    def _let_in(self, key: str) -> None:
        blocked = self.key_waiting.get(key)
        while blocked:
            waiting = blocked.popleft()
            if waiting.state is _WAITING:
                self.push(waiting, front=True)
                break
        if blocked is not None and not blocked:
            del self.key_waiting[key]

    def to_fetch(self, room: int, ahead_max: int) -> list[Call]:
        """The next waiting calls whose envelopes are not in memory.

        They are in `fetching` until `events.Fetched` brings them, or they end.

        Args:
            room: bytes that memory has left, less than 0 when it is over its limit.
            ahead_max: bytes of waiting calls that this line may have in memory without room.

        Returns:
            As many as fit, up to FETCH_CALLS_MAX, but always one if there is one.
        """
        found: list[Call] = []
        candidates: list[Call] = []
        ahead = 0
        keys = dict(self.key_running)
        calls = chain.from_iterable(self.ready[one] for one in sorted(self.ready, reverse=True))
        for call in islice(calls, 4 * FETCH_CALLS_MAX):
            if call.state is not _WAITING:
                continue
            if call.envelope is not None:
                ahead += call.size
                continue
            key = call.option("key")
            if key is not None and self.config.key_concurrency is not None:
                if keys.get(key, 0) >= self.config.key_concurrency:
                    continue  # It would only wait in memory for its key.
                keys[key] = keys.get(key, 0) + 1
            candidates.append(call)
        left = max(room, ahead_max - ahead)
        for call in candidates[:FETCH_CALLS_MAX]:
            left -= call.size
            if found and left < 0:
                break
            found.append(call)
        self.fetching.update([call.sequence for call in found])
        return found

    def entry_of(self, id: bytes, forgotten: bytes) -> bytes:
        """The entry that an ended call needs in the index of sockets; nothing when it is there.

        Args:
            forgotten: what was made before this stretch may have left the index again.
        """
        stretch = stretch_of(id)
        if stretch == self.stretch and stretch >= forgotten:
            return b""
        self.stretch = stretch
        return self.name.encode() + b"\0" + stretch

    def learn(self, run_us: int) -> None:
        """Remember how long calls of this socket run: a moving average, slow down, quick up."""
        usual = self.run_us
        if usual is None or run_us > usual:
            self.run_us = run_us if usual is None else usual + (run_us - usual) // 2 + 1
        else:
            self.run_us = usual - (usual - run_us) // 8
