"""One simulated node: the real core, the real turn code and the real log; no links, no threads.

What the shell of a real node does with threads and links is done here by calls: `post` puts
something into the inbox, `think` lets the core take it as one turn, `begin_sync` and `end_sync`
write it, and what leaves goes to `release`.  The world and the story tests both drive it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from meshcode import limits
from meshcode.errors import DiskFull
from meshcode.node.turn import Turns
from meshcode.router import events, streams, ticking
from meshcode.router.core import Router
from meshcode.router.effects import Assignment, Effects, Op
from meshcode.router.plan import FLOW
from meshcode.router.records import accepted_call, split_done
from meshcode.sim.between import Between
from meshcode.sim.checks import Checker
from meshcode.store.memory_log import MemoryDisk, MemoryLog
from meshcode.wire.codec import unpack
from meshcode.wire.frame import Row, index, name_of
from meshcode.wire.kinds import Flag

NODE_ID = b"simulated-node-1"
TIME_KEY = b"node_ms"
FETCH_BYTES = 400  # The shell answers fetches in pieces of this size.
FETCH_BYTES_MIN = 200  # Of one line at once in a world with a small memory.
TIMERS_AT_ONCE = 1  # So that what is due waits for the next step,
COPIES_AT_ONCE = 1  # and so do broadcasts.
PART_CALLS = 2  # Of a frame, which comes in parts then.


class SimNode(Between):
    """One boot of a node."""

    def __init__(
        self,
        disk: MemoryDisk,
        checker: Checker,
        release: Callable[[Effects], None],
        *,
        wall_ms: int,
        sim_ms: int,
        seed: int,
        bodies_bytes_max: int | None = None,
        listening: bool = False,
        say: Callable[[events.Event, Effects], None] | None = None,
    ) -> None:
        """Open the log and be ready for `recover`; `wall_ms` is what the clock of the host says."""
        self.log = MemoryLog(disk)
        self.checker = checker
        self.say = say
        self.release = release
        self.router = Router(NODE_ID, self.log.boot, Random(seed * 1_000 + self.log.boot))
        self.router.listening = listening
        self.part_calls = limits.FRAME_ENVELOPES_MAX
        if bodies_bytes_max is not None:
            self.part_calls = PART_CALLS
            self.router.bodies_bytes_max = bodies_bytes_max
            self.router.fetch_bytes_min = FETCH_BYTES_MIN
            self.router.timers_at_once = TIMERS_AT_ONCE
            self.router.copies_at_once = COPIES_AT_ONCE
        self.turns = Turns(self, self._release, self._begin)  # type: ignore[arg-type]
        floor = self.log.get("meta", TIME_KEY)
        floor_ms = 0 if floor is None else int.from_bytes(floor, "big")
        self._base_ms = max(wall_ms, floor_ms) - sim_ms
        self.now_ms = self._base_ms + sim_ms
        self.inbox: deque[Any] = deque()
        self.frames: dict[tuple[int, int], list[bytes]] = {}
        self.ops: list[Op] | None = None  # Staged, being synced.

    def clock(self, sim_ms: int) -> int:
        """Node time at a time of the world; kept in `now_ms`."""
        self.now_ms = self._base_ms + sim_ms
        return self.now_ms

    def recover(self, snapshot: dict[str, Any] | None) -> None:
        """Boot: the model as the log had it (None: none yet), then the open calls."""
        ticking.restore(self.router, self.log.scan("meta", limit=1 << 30))
        if snapshot is not None:
            first = self.router.step(events.ModelChanged(snapshot), self.now_ms)
            if first.records or first.lookups:
                self.turns.add(first)
        effects = self.router.recover(
            self.log.scan("open", limit=1 << 30), self.log.scan("state", limit=1 << 30), self.now_ms
        )
        self.checker.booted(self.router, effects, snapshot)
        self.turns.add(effects)
        self.turns.close()

    # One turn.

    def step(self, event: events.Event, now_ms: int) -> Effects:
        """Stand between the turn code and the core, so that the checker sees every step."""
        self.checker.begins.told(event)
        effects = self.router.step(event, now_ms)
        if self.say is not None:
            self.say(event, effects)
        self.checker.stepped(self.router, event, effects, now_ms)
        return effects

    def post(self, item: Any) -> None:
        """Something arrived: a core event, or a tuple that the shell must look at first."""
        self.inbox.append(item)

    def think(self, sim_ms: int) -> None:
        """One turn: take what is in the inbox, or only let timers fire."""
        now_ms = self.clock(sim_ms)
        if not self.inbox:
            self.turns.step(events.Ticked(), now_ms)
        for _ in range(min(len(self.inbox), limits.TURN_EVENTS_MAX)):
            item = self.inbox.popleft()
            if type(item) is tuple:
                item = self._looked_at(item)
                if item is None:
                    continue
            elif isinstance(item, events.Yielded):
                wanted = streams.unsure(self.router, item.items)
                item.ended = set(self.turns.ended(wanted, self._done))
            self.turns.step(item, now_ms)
        self.turns.close()

    def _looked_at(self, item: tuple[Any, ...]) -> events.Event | None:
        kind = item[0]
        if kind == "frame":
            return self._frame(*item[1:])
        if kind == "part":
            return self._part(*item[1:], begun=True)
        if kind == "watch":
            _, client, ids = item
            found = self.turns.ended(ids, self._done)
            outcomes = [(client, found[id]) for id in ids if id in found]
            self.turns.add(Effects(outcomes=outcomes))
            return events.Watched(client, [id for id in ids if id not in found])
        if kind == "lookups":
            (wanted,) = item[1:]
            return self.turns.looked_up(wanted, self._done)
        assert kind == "retry", kind
        _, client, request, id, by = item
        done = self._done(id)
        ended = None
        if done is not None:
            fields = split_done(done)
            ended = (fields["submit"], fields)
        return events.RetryAsked(client, request, id, by, ended)

    def _done(self, id: bytes) -> bytes | None:
        return self.log.get("done", id)

    def _frame(self, client: int, data: bytes) -> events.Submitted:
        head, rows = index(data)
        self.frames[client, head.sequence] = [row.id for row in rows]
        return self._part(client, data, head.sequence, rows)

    def _part(
        self, client: int, data: bytes, sequence: int, rows: list[Row], *, begun: bool = False
    ) -> events.Submitted:
        """The next calls of a frame; the rest comes before what its client has sent after it."""
        rows, rest = rows[: self.part_calls], rows[self.part_calls :]
        part = events.LAST if begun else events.WHOLE
        if rest:
            part = events.MIDDLE if begun else events.FIRST
            self._post_rest(client, ("part", client, data, sequence, rest))
        calls: list[events.NewCall] = []
        unsure: list[bytes] = []
        for row in rows:
            meta = data[row.meta_at : row.body_at]
            options = unpack(meta) if meta else None
            calls.append((
                row.id, row.flow, row.parent, name_of(data, row), row.argc, options,
                data[row.start : row.end],
            ))  # fmt: skip
            if not row.flags & Flag.FRESH or calls[-1][3] == FLOW:
                unsure.append(row.id)
        ended = self.turns.ended(unsure, self._done) if unsure else {}
        return events.Submitted(client, sequence, calls, ended, part=part)

    def _post_rest(self, client: int, item: tuple[Any, ...]) -> None:
        for number, other in enumerate(self.inbox):
            if (other[1] if type(other) is tuple else getattr(other, "client", None)) == client:
                self.inbox.insert(number, item)
                return
        self.inbox.append(item)

    # The disk.

    def begin_sync(self) -> bool:
        """Hand closed turns to the log; True when there is something to wait for."""
        if self.ops is not None:
            return False
        ops = self.turns.begin_sync()
        if ops is None:
            return False
        self.ops = [*ops, ("meta", TIME_KEY, self.now_ms.to_bytes(8, "big"))]
        self.log.stage(self.ops)
        return True

    def end_sync(self) -> bool:
        """The disk has done what it was asked; False when it was full: asked again by the caller.

        Raises:
            LogSuspect: the node must stop.
        """
        assert self.ops is not None
        try:
            self.log.sync()
        except DiskFull:
            self.ops.extend(self.turns.more_sync())
            self.log.stage(self.ops)
            return False
        ops, self.ops = self.ops, None
        self.checker.synced(ops)
        self.turns.synced()
        return True

    def _release(self, effects: Effects) -> None:
        self.checker.released(effects, self.frames)
        for worker, batch in effects.starts:
            self.checker.begins.leaves(self.router, worker, batch)
        self.release(effects)
        if effects.fetches:
            self._fetch(effects.fetches)
        if effects.lookups:
            self.post(("lookups", effects.lookups))

    def _begin(self, worker: int, batch: list[Assignment]) -> None:
        self.checker.begun_early(batch)
        self.checker.begins.leaves(self.router, worker, batch)
        self.release(Effects(starts=[(worker, batch)]))

    def _fetch(self, sequences: list[int]) -> None:
        """Read envelopes back from the log, in pieces."""
        found: list[tuple[int, bytes]] = []
        size = 0
        for sequence in sequences:
            value = self.log.get("open", sequence.to_bytes(8, "big"))
            found.append((sequence, b"" if value is None else accepted_call(value)[1]))
            size += len(found[-1][1])
            if size >= FETCH_BYTES:
                self.post(events.Fetched(found))
                found, size = [], 0
        if found:
            self.post(events.Fetched(found))

    def crash(self, *, keep: bool) -> None:
        """kill -9 or power loss: what is not synced is lost, but `keep` the batch in flight."""
        ops, self.ops = self.ops, None
        disk = self.log.crash(keep=keep and ops is not None)
        if keep and ops is not None:
            self.checker.synced(ops)
        self.checker.crashed(disk)
