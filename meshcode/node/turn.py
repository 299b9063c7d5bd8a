"""The turn law: nothing is told before the records of its turn are synced.

A turn is some steps of the core and their merged effects.  Turns are pipelined: while one batch of
turns is being synced, the next is thought.  They are released in order, each after its own sync
and all earlier ones.  No link, thread or clock in here, so the simulator runs this very code.

What does not need the records of its own turn leaves earlier (docs/decisions/0026).  A start says
which turn is the newest that must be on disk.  The first start of a call that a client of this node
submitted needs none: its worker runs beside the sync, and what it reports is recorded no earlier
than the call itself.  When the node dies in between, nobody was told of the call, and who submits
it again has it run again (docs/decisions/0023).  A proposal, and an outcome that a majority has on
disk, need all batches before: they leave when the batch of their turn is handed to the log, never
sooner, so that no answer to a proposal comes before that.

While the log waits for room (`waits_for_room`) refusals leave at once: a call that was not taken is
in no turn.  So do answers that tell of nothing which may not be on disk; who knows which these are
(`node/requests.py`) adds them as `loose`.

Nobody waits for some steps: those of what nodes say to each other when a call is over, so that they
may forget it.  `pressing` tells; a turn of nothing else may stay open for others to join it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from operator import itemgetter
from typing import Final

from meshcode.router.core import Router
from meshcode.router.effects import Assignment, Effects, Op, Told
from meshcode.router.events import Event, LookedUp, PeerSaid, Read
from meshcode.router.records import outcome_of
from meshcode.wire.kinds import Kind

_Starts = list[tuple[int, list[Assignment]]]
_NEEDS = itemgetter(2)  # Of an assignment.
# What is said of a call that is over; and AGREED may come of one: the last voter's.
_AFTERWARDS: Final = frozenset(map(int, (Kind.TOLD, Kind.GONE, Kind.PARENT, Kind.PARENT_SAYS)))
_MAY_BE_AFTERWARDS: Final = _AFTERWARDS | {int(Kind.AGREED)}
_OTHERS: Final = [one.name for one in fields(Effects) if one.name not in ("records", "peer")]


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
        self.pressing = False  # Somebody waits for the open turn.
        self.waits_for_room = False  # What was handed to the log found the disk full.
        self.stepping = False  # The core is at it; after an exception: it was left half done.
        self.has_begun = False  # Calls of turns not yet handed to the log were let begin.
        self._count = 0  # Turns opened so far; the number of the newest.
        self._safe = 0  # The newest that is on disk, and all before it.
        self._open: Effects | None = None  # The turn being thought.
        self._thought: list[Effects] = []  # Closed, not yet handed to the log.
        self._flying: list[Effects] = []  # Handed to the log, not yet synced.
        self._loose: set[tuple[int, bytes]] = set()  # Client and request of such answers in turns.
        self._done: dict[bytes, bytes] = {}  # Of turns not yet synced, see `_fresh`, but for
        self._unread: list[Effects] = []  # these, from the oldest, of which it has only
        self._records_read = 0  # so many records of the first.
        router.turn = self._number()

    def step(self, event: Event, now_ms: int) -> None:
        """Let the core take one event; its effects join the open turn."""
        self.router.turn = self._number()
        self.stepping = True
        effects = self.router.step(event, now_ms)
        self.stepping = False
        if not self.pressing:
            self.pressing = not (_is_afterwards(event) and _is_of_what_is_over(effects))
        self._join(effects)

    def add(self, effects: Effects, *, loose: bool = False) -> None:
        """Join effects from elsewhere (recovery, housekeeping) to the open turn.

        Args:
            loose: they are answers, which leave at once while the log waits for room.
        """
        if loose:
            if self.waits_for_room:
                self._release(effects)
                return
            self._loose.update([answer[:2] for answer in effects.answers])
        self.pressing = True
        self._join(effects)

    def _join(self, effects: Effects) -> None:
        if self.waits_for_room and effects.refused:
            refused, effects.refused = effects.refused, []
            self._release(Effects(refused=refused))
        if self._open is None:
            self._count = self._number()
            self._open = effects
            self._unread.append(effects)
        else:
            self._open.merge(effects)

    def _number(self) -> int:
        """Of the open turn, or of the next that will be."""
        return self._count + (self._open is None)

    def close(self) -> None:
        """End the open turn."""
        turn, self._open, self.pressing = self._open, None, False
        if turn is None:
            return
        if turn.starts and self._begin is not None:
            waiting = {worker for other in self._unsynced() for worker, _ in other.starts}
            turn.starts = self._begin_early(turn.starts, self._begin, waiting)
        self._thought.append(turn)

    def _release_early(self, turn: Effects) -> None:
        """Let out what needs no more than the batches before, which are on disk."""
        told: list[Told] = []
        if not turn.accepted:  # A call's acknowledgement does not come behind its outcome.
            told, turn.chosen = turn.chosen, told
        words, turn.early = turn.early, []
        self._release(Effects(peer=words, outcomes=told))

    def _begin_early(
        self, starts: _Starts, begin: Callable[..., None], waiting: set[int]
    ) -> _Starts:
        """Let calls begin that may; the others are given back.

        A worker gets calls in the order of the turns, as the core takes for granted: none passes
        one that waits for the disk on its way to the same worker (`waiting`, which grows).
        """
        kept: _Starts = []
        for worker, batch in starts:
            if worker in waiting or max(map(_NEEDS, batch)) > self._safe:
                waiting.add(worker)
                kept.append((worker, batch))
            else:
                begin(worker, batch)
                self.has_begun = True
        return kept

    def _unsynced(self) -> list[Effects]:
        return [*self._flying, *self._thought]

    @property
    def is_open(self) -> bool:
        """Whether there is a turn that was not closed."""
        return self._open is not None

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
        ops: list[Op] = []
        for effects in self._flying:
            ops.extend(effects.records)
        if not ops:
            self.synced()
            return None
        waiting: set[int] = set()
        for effects in self._flying:
            if effects.early or effects.chosen:
                self._release_early(effects)
            if effects.starts and self._begin is not None:
                effects.starts = self._begin_early(effects.starts, self._begin, waiting)
        self.has_begun = False
        return ops

    def wait_for_room(self) -> None:
        """The log has no room for what it was handed: let out what need not wait for that."""
        self.waits_for_room = True
        for effects in [*self._unsynced(), *filter(None, [self._open])]:
            told = Effects(answers=[one for one in effects.answers if one[:2] in self._loose])
            effects.answers = [one for one in effects.answers if one[:2] not in self._loose]
            told.refused, effects.refused = effects.refused, []
            if told.answers or told.refused:
                self._release(told)
        self._loose.clear()

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
        self._done, self._records_read = {}, 0
        self._unread = [*self._thought, *filter(None, [self._open])]
        self._safe += len(flying)
        for effects in flying:
            effects.peer[:0], effects.early = effects.early, []
            effects.outcomes[:0], effects.chosen = effects.chosen, []
            if self._loose:
                self._loose.difference_update([answer[:2] for answer in effects.answers])
            self._release(effects)

    def fresh_done(self) -> dict[bytes, bytes]:
        """The `done` records of turns not yet synced, by call id."""
        return dict(self._fresh())

    def has_fresh(self, ids: Iterable[bytes]) -> bool:
        """Whether one of these calls has ended in a turn that is not yet synced."""
        return not self._fresh().keys().isdisjoint(ids)

    def _fresh(self) -> dict[bytes, bytes]:
        """What `fresh_done` copies: each record is read once, by the first look after it came."""
        for effects in self._unread:
            for table, key, value in effects.records[self._records_read :]:
                if table == "done" and value is not None:
                    self._done[key] = value
            self._records_read = 0
        self._unread = self._unread[-1:]  # Records may still join the newest.
        if self._unread:
            self._records_read = len(self._unread[0].records)
        return self._done

    def ended(
        self, ids: Iterable[bytes], get: Callable[[bytes], bytes | None]
    ) -> dict[bytes, bytes]:
        """OUTCOME envelopes of those of `ids` that have ended; arguments as for `done_records`."""
        return {id: outcome_of(value) for id, value in self.done_records(ids, get).items()}

    def done_record(self, id: bytes, get: Callable[[bytes], bytes | None]) -> bytes | None:
        """The `done` record of a call; None: it has not ended.  See `done_records`."""
        return self._fresh().get(id) or get(id)

    def done_records(
        self, ids: Iterable[bytes], get: Callable[[bytes], bytes | None]
    ) -> dict[bytes, bytes]:
        """The `done` records of those of `ids` that have ended, also in turns not yet synced.

        Args:
            ids: call ids.
            get: reads the `done` record of an id from the log.
        """
        fresh = self._fresh()
        records = ((id, fresh.get(id) or get(id)) for id in ids)
        return {id: value for id, value in records if value is not None}

    def looked_up(
        self, wanted: Iterable[tuple[bytes, bytes]], get: Callable[[bytes], bytes | None]
    ) -> LookedUp:
        """The answer to `Effects.lookups`; `get` as for `ended`."""
        found = self.ended({id for _, id in wanted}, get)
        return LookedUp([(node, id, found.get(id, b"")) for node, id in wanted])


def _is_afterwards(event: Event) -> bool:
    """Whether an event may be of calls that are over, and of nothing else."""
    kind = type(event)
    return kind is Read or (kind is PeerSaid and event.kind in _MAY_BE_AFTERWARDS)


def _is_of_what_is_over(effects: Effects) -> bool:
    """Whether there is nothing to let out but words by which nodes forget what is over."""
    return all(kind in _AFTERWARDS for _, kind, _ in effects.peer) and not any(
        getattr(effects, name) for name in _OTHERS
    )
