"""The turn law: nothing is told before the records of its turn are synced.

A turn is some steps of the core and their merged effects.  Turns are pipelined: while one batch of
turns is being synced, the next is thought.  They are released in order, each after its own sync
and all earlier ones.  No link, thread or clock in here, so the simulator runs this very code.

The first start of a call that a client of this node submitted may leave earlier.  Its worker then
runs beside the sync, and what it reports is recorded no earlier than the call itself.  When the
node dies in between, nobody was told of the call, and who submits it again has it run again
(docs/decisions/0023).

And what does not need the records of its own turn leaves beside their sync, when all turns before
are on disk: a proposal, an outcome that a majority has on disk, and the start of a step that is fed
such outcomes (docs/decisions/0026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter

from meshcode.router.core import Router
from meshcode.router.effects import AT_ONCE, BESIDE, Assignment, Effects, Op
from meshcode.router.events import Event, LookedUp
from meshcode.router.records import outcome_of

_Starts = list[tuple[int, list[Assignment]]]
_BEGINS = itemgetter(2)  # Of an assignment.


class Turns:
    """Between the core and the log on one side, and everything that leaves on the other."""

    def __init__(
        self,
        router: Router,
        release: Callable[[Effects], None],
        begin: Callable[[int, list[Assignment]], None] | None = None,
    ) -> None:
        """For one boot of a node.

        Args:
            release: called with the effects of turns whose records are on disk, in order.
            begin: called with a worker and calls that may begin now; None: all wait for the disk.
        """
        self.router = router
        self._release = release
        self._begin = begin
        self.has_begun = False  # Calls of turns not yet handed to the log were let begin.
        self._open: Effects | None = None  # The turn being thought.
        self._thought: list[Effects] = []  # Closed, not yet handed to the log.
        self._flying: list[Effects] = []  # Handed to the log, not yet synced.

    def step(self, event: Event, now_ms: int) -> None:
        """Let the core take one event; its effects join the open turn."""
        effects = self.router.step(event, now_ms)
        if self._open is None:
            self._open = effects
        else:
            self._open.merge(effects)

    def add(self, effects: Effects) -> None:
        """Join effects from elsewhere (recovery, housekeeping) to the open turn."""
        if self._open is None:
            self._open = Effects()
        self._open.merge(effects)

    def close(self) -> None:
        """End the open turn."""
        turn, self._open = self._open, None
        if turn is None:
            return
        if turn.starts and self._begin is not None:
            waiting = {worker for other in self._unsynced() for worker, _ in other.starts}
            turn.starts = self._begin_early(turn.starts, AT_ONCE, waiting)
        self._thought.append(turn)

    def _begin_early(self, starts: _Starts, now: int, waiting: set[int]) -> _Starts:
        """Let calls begin that may do so now; the others are given back.

        A worker gets calls in the order of the turns, as the core takes for granted: none passes
        one that waits for the disk on its way to the same worker (`waiting`, which grows).
        """
        assert self._begin is not None
        kept: _Starts = []
        for worker, batch in starts:
            if worker in waiting or min(map(_BEGINS, batch)) < now:
                waiting.add(worker)
                kept.append((worker, batch))
            else:
                self._begin(worker, batch)
                self.has_begun = now == AT_ONCE
        return kept

    def _unsynced(self) -> list[Effects]:
        return [*self._flying, *self._thought]

    @property
    def unsynced(self) -> int:
        """Closed turns that wait for the disk."""
        return len(self._thought) + len(self._flying)

    def begin_sync(self) -> list[Op] | None:
        """Hand all closed turns to the log: the ops to stage and sync, in order.

        Returns None when there is nothing to write now: a sync is under way, or there are no closed
        turns, or they had no records (these are released at once, since all before them is synced).
        """
        if self._flying or not self._thought:
            return None
        self._flying, self._thought = self._thought, []
        self.has_begun = False
        ops: list[Op] = []
        for effects in self._flying:
            ops.extend(effects.records)
        if not ops:
            self.synced()
            return None
        waiting: set[int] = set()
        for effects in self._flying:
            self._release_beside(effects, waiting)
        return ops

    def _release_beside(self, turn: Effects, waiting: set[int]) -> None:
        """Let out what may leave before the records of its turn are on disk."""
        if turn.accepted:  # A call's acknowledgement does not come behind its outcome.
            turn.outcomes, turn.chosen = turn.chosen + turn.outcomes, []
        if turn.beside or turn.chosen:
            early = Effects(peer=turn.beside, outcomes=turn.chosen)
            turn.beside, turn.chosen = [], []
            self._release(early)
        if turn.credits:  # They go before the starts.
            waiting.update(worker for worker, _ in turn.starts)
        if turn.starts and self._begin is not None:
            turn.starts = self._begin_early(turn.starts, BESIDE, waiting)

    def more_sync(self) -> list[Op]:
        """Join the turns closed meanwhile to those that the log had no room for; their ops.

        What ends calls makes room, so it must not wait behind a batch that only adds.
        """
        more, self._thought = self._thought, []
        self._flying += more
        return [op for effects in more for op in effects.records]

    def synced(self) -> None:
        """What `begin_sync` gave is on disk: release those turns."""
        flying, self._flying = self._flying, []
        for effects in flying:
            if effects.beside or effects.chosen:  # All that they wait for is on disk, too.
                effects.peer, effects.beside = effects.beside + effects.peer, []
                effects.outcomes, effects.chosen = effects.chosen + effects.outcomes, []
            self._release(effects)

    def fresh_done(self) -> dict[bytes, bytes]:
        """The `done` records of turns not yet synced, by call id."""
        turns = self._unsynced()
        if self._open is not None:
            turns.append(self._open)
        return {
            key: value
            for effects in turns
            for table, key, value in effects.records
            if table == "done" and value is not None
        }

    def ended(
        self, ids: Iterable[bytes], get: Callable[[bytes], bytes | None]
    ) -> dict[bytes, bytes]:
        """OUTCOME envelopes of those of `ids` that have ended, also in turns not yet synced.

        Args:
            ids: call ids.
            get: reads the `done` record of an id from the log.
        """
        fresh = self.fresh_done()
        found: dict[bytes, bytes] = {}
        for id in ids:
            value = fresh.get(id) or get(id)
            if value is not None:
                found[id] = outcome_of(value)
        return found

    def looked_up(
        self, wanted: Iterable[tuple[bytes, bytes]], get: Callable[[bytes], bytes | None]
    ) -> LookedUp:
        """The answer to `Effects.lookups`; `get` as for `ended`."""
        found = self.ended({id for _, id in wanted}, get)
        return LookedUp([(node, id, found.get(id, b"")) for node, id in wanted])
