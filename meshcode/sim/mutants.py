"""Single rules of the core broken on purpose: the simulator must catch each.

A mutant replaces one function (or one method) by a version with one rule missing, as a careless
change would leave it.  `python -m meshcode.sim --mutants` tells how many seeds each needed.
"""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from meshcode.node.turn import Turns
from meshcode.router import accept, core, dispatch, ending, events, filing, holding, room, timers
from meshcode.router import line as lines
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.rate import Rate
from meshcode.router.records import outcome_of
from meshcode.router.states import State
from meshcode.sim import (
    mutants_casts,
    mutants_flows,
    mutants_plugs,
    mutants_streams,
    planting,
)
from meshcode.sim.planting import Broken

BROKEN = Broken()
# The functions that take an event; the table was filled when the module was read.
HANDLERS: dict[type, Any] = core._HANDLERS


def planted(name: str | None) -> AbstractContextManager[None]:
    """Break one rule while the block runs; None breaks none."""
    return planting.planted(MUTANTS, name)


# The law and the log.


@BROKEN.rule(Turns, "close")
def _speak_before_the_sync(real: Any) -> Any:
    def close(self: Turns) -> None:
        turn = self._open
        real(self)
        if turn is not None:
            self._release(turn)
            turn.accepted, turn.outcomes, turn.answers, turn.starts = [], [], [], []

    return close


@BROKEN.rule(Turns, "synced")
def _release_the_thought_with_the_synced(real: Any) -> Any:
    def synced(self: Turns) -> None:
        real(self)
        for turn in self._thought:
            self._release(turn)
            turn.accepted, turn.outcomes, turn.answers, turn.starts = [], [], [], []

    return synced


@BROKEN.rule(Turns, "synced")
def _release_in_the_wrong_order(real: Any) -> Any:
    def synced(self: Turns) -> None:
        self._flying.reverse()
        real(self)

    return synced


@BROKEN.rule(Turns, "_begin_early")
def _begin_what_was_caused_before_the_sync(_real: Any) -> Any:
    def begin_early(_self: Turns, starts: Any, begin: Any, _waiting: Any) -> Any:
        for worker, batch in starts:
            begin(worker, batch)
        return []

    return begin_early


@BROKEN.rule(Turns, "_begin_early")
def _begin_before_what_the_worker_is_to_get(_real: Any) -> Any:
    def begin_early(self: Turns, starts: Any, begin: Any, _waiting: Any) -> Any:
        kept = []
        for worker, batch in starts:
            if max(needs for _, _, needs, _ in batch) <= self._safe:
                begin(worker, batch)
            else:
                kept.append((worker, batch))
        return kept

    return begin_early


@BROKEN.rule(Turns, "ended")
def _forget_what_is_not_synced_yet(_real: Any) -> Any:
    def ended(
        self: Turns, ids: Iterable[bytes], get: Callable[[bytes], bytes | None]
    ) -> dict[bytes, bytes]:
        found = {id: get(id) for id in ids}
        return {id: outcome_of(value) for id, value in found.items() if value is not None}

    return ended


@BROKEN.rule(ending, "end")
def _outcome_leaves_the_open_record(real: Any) -> Any:
    def end(
        r: Router, call: Call, code: int, envelope: bytes, now_ms: int, out: Effects, *rest: Any,
        **named: Any,
    ) -> None:  # fmt: skip
        real(r, call, code, envelope, now_ms, out, *rest, **named)
        out.records[:] = [op for op in out.records if op[0] != "open" or op[2] is not None]

    return end


@BROKEN.rule(ending, "end")
def _outcome_leaves_the_state_record(real: Any) -> Any:
    def end(r: Router, call: Call, *rest: Any, **named: Any) -> None:
        call.recorded = False
        real(r, call, *rest, **named)

    return end


@BROKEN.rule(Router, "recover")
def _recovery_forgets_state_records(real: Any) -> Any:
    def recover(self: Router, opens: Any, states: Any, now_ms: int) -> Effects:
        effects: Effects = real(self, opens, (), now_ms)
        return effects

    return recover


@BROKEN.rule(Router, "recover")
def _recovery_skips_the_last_call(real: Any) -> Any:
    def recover(self: Router, opens: Any, states: Any, now_ms: int) -> Effects:
        effects: Effects = real(self, list(opens)[:-1], states, now_ms)
        return effects

    return recover


# Accepting.


@BROKEN.rule(HANDLERS, events.Submitted)
def _ended_lookup_ignored(real: Any) -> Any:
    def on_submitted(r: Router, event: events.Submitted, now_ms: int, out: Effects) -> None:
        event.ended = {}
        real(r, event, now_ms, out)

    return on_submitted


@BROKEN.rule(HANDLERS, events.Submitted)
def _repeat_is_accepted_again(real: Any) -> Any:
    def on_submitted(r: Router, event: events.Submitted, now_ms: int, out: Effects) -> None:
        for id, *_ in event.calls:
            call = r.calls.get(id)
            if call is not None and call.state is State.WAITING:
                del r.calls[id]
        real(r, event, now_ms, out)

    return on_submitted


@BROKEN.rule(Router, "watch")
def _second_client_is_not_told(_real: Any) -> Any:
    return lambda self, call, client: None


@BROKEN.rule(accept, "is_over")
def _queue_one_too_long(real: Any) -> Any:
    def is_over(line: Line, *more: int) -> str | None:
        line.depth -= 1
        try:
            over: str | None = real(line, *more)
        finally:
            line.depth += 1
        return over

    return is_over


# Beginning.


@BROKEN.rule(Line, "take")
def _concurrency_ignored(real: Any) -> Any:
    def take(self: Line, priority: int, room: int, now_ms: int) -> list[Call]:
        limit, self.config.concurrency = self.config.concurrency, None
        taken: list[Call] = real(self, priority, room, now_ms)
        self.config.concurrency = limit
        return taken

    return take


@BROKEN.rule(Line, "_blocked_by_key")
def _key_limit_one_too_high(real: Any) -> Any:
    def blocked(self: Line, call: Call, limit: int | None) -> bool:
        found: bool = real(self, call, None if limit is None else limit + 1)
        return found

    return blocked


@BROKEN.rule(Rate, "use")
def _rate_stamp_not_used(_real: Any) -> Any:
    return lambda self, calls, now_ms: None


@BROKEN.rule(dispatch, "_next")
def _lowest_priority_first(_real: Any) -> Any:
    def lowest(pool: Pool) -> Any:
        for priority in sorted(pool.rotation):
            if pool.rotation[priority]:
                return priority, pool.rotation[priority][0]
        return None

    return lowest


@BROKEN.rule(dispatch, "dispatch")
def _paused_processor_begins(real: Any) -> Any:
    def begin(r: Router, pool: Pool, now_ms: int, out: Effects) -> None:
        paused, pool.paused = pool.paused, False
        real(r, pool, now_ms, out)
        pool.paused = paused

    return begin


@BROKEN.rule(ending, "expire")
def _expiry_ignored_while_delayed(real: Any) -> Any:
    def expire(r: Router, call: Call, now_ms: int, out: Effects) -> None:
        if call.state is not State.DELAYED:
            real(r, call, now_ms, out)

    return expire


@BROKEN.rule(timers, "arm_expiry")
def _expiry_never_set(_real: Any) -> Any:
    return lambda r, call: None


@BROKEN.rule(HANDLERS, events.Fetched)
def _fetched_line_is_not_offered(_real: Any) -> Any:
    def on_fetched(r: Router, event: events.Fetched, now_ms: int, out: Effects) -> None:
        for sequence, envelope in event.envelopes:
            call = r.fetching.pop(sequence, None)
            if call is not None:
                call.envelope = envelope
                r.bodies_bytes += call.size
                call.line.fetching.discard(sequence)

    return on_fetched


@BROKEN.rule(room, "kept")
def _full_memory_takes_calls(_real: Any) -> Any:
    return lambda r: 0


@BROKEN.rule(dispatch, "dispatch")
def _stuck_disk_lets_calls_begin(real: Any) -> Any:
    def begin(r: Router, pool: Pool, now_ms: int, out: Effects) -> None:
        level, r.disk_level = r.disk_level, 0
        real(r, pool, now_ms, out)
        r.disk_level = level

    return begin


@BROKEN.rule(HANDLERS, events.DiskChanged)
def _what_a_stuck_disk_held_up_waits_on(_real: Any) -> Any:
    def on_disk_changed(
        r: Router, event: events.DiskChanged, now_ms: int, out: Effects
    ) -> None:
        r.disk_level = event.level

    return on_disk_changed


@BROKEN.rule(Router, "is_late")
def _what_is_late_is_not_waited_for(_real: Any) -> Any:
    return lambda self, now_ms: False


# Attempts, retries, deaths.


@BROKEN.rule(ending, "lost_attempt")
def _death_counts_no_attempt(real: Any) -> Any:
    def lost_attempt(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
        real(r, call, why, now_ms, out)
        call.attempt -= 1
        holding.save(r, call, out)

    return lost_attempt


@BROKEN.rule(ending, "lost_attempt")
def _held_is_never_reached(real: Any) -> Any:
    def lost_attempt(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
        call.options = {**(call.options or {}), "retries": 1_000_000}
        real(r, call, why, now_ms, out)

    return lost_attempt


@BROKEN.rule(ending, "give_back")
def _giving_back_counts_an_attempt(real: Any) -> Any:
    def give_back(
        r: Router, call: Call, worker: Worker, now_ms: int, out: Effects, *, front: bool = True
    ) -> None:
        call.attempt += 1
        real(r, call, worker, now_ms, out, front=front)

    return give_back


@BROKEN.rule(ending, "give_back")
def _given_back_call_stays_marked(real: Any) -> Any:
    def give_back(
        r: Router, call: Call, worker: Worker, now_ms: int, out: Effects, *, front: bool = True
    ) -> None:
        marked, call.marked = call.marked, False
        real(r, call, worker, now_ms, out, front=front)
        call.marked = marked

    return give_back


@BROKEN.rule(Line, "push")
def _requeued_call_is_in_line_twice(real: Any) -> Any:
    def push(self: Line, call: Call, *, front: bool = False) -> None:
        real(self, call, front=front)
        if front:
            real(self, call)

    return push


@BROKEN.rule(holding, "watch_worker")
def _stuck_calls_are_not_asked_back(real: Any) -> Any:
    def watch_worker(r: Router, worker: Worker, now_ms: int, out: Effects) -> None:
        real(r, worker, now_ms, out)
        out.recalls.clear()

    return watch_worker


@BROKEN.rule(holding, "watch_worker")
def _calls_pass_those_that_are_asked_back(real: Any) -> Any:
    def watch_worker(r: Router, worker: Worker, now_ms: int, out: Effects) -> None:
        real(r, worker, now_ms, out)
        worker.recalling = False

    return watch_worker


@BROKEN.rule(holding, "watch_worker")
def _time_limit_is_not_enforced(real: Any) -> Any:
    def watch_worker(r: Router, worker: Worker, now_ms: int, out: Effects) -> None:
        real(r, worker, now_ms, out)
        out.interrupts[:] = [one for one in out.interrupts if one[2] != "time limit"]

    return watch_worker


@BROKEN.rule(HANDLERS, events.WorkerLost)
def _staged_calls_of_a_dead_worker_are_lost(real: Any) -> Any:
    def on_worker_lost(r: Router, event: events.WorkerLost, now_ms: int, out: Effects) -> None:
        worker = r.workers.get(event.worker)
        if worker is not None and len(worker.held) > 1:
            return
        real(r, event, now_ms, out)

    return on_worker_lost


# People.


@BROKEN.rule(HANDLERS, events.CancelAsked)
def _cancel_of_running_ignored(real: Any) -> Any:
    def on_cancel(r: Router, event: events.CancelAsked, now_ms: int, out: Effects) -> None:
        call = r.calls.get(event.id)
        if call is not None and call.state is State.RUNNING:
            data = {"id": event.id.hex(), "done": "interrupted"}
            out.answers.append((event.client, event.request, True, data))
            return
        real(r, event, now_ms, out)

    return on_cancel


@BROKEN.rule(ending, "cancel")
def _cancel_of_running_not_in_the_log(real: Any) -> Any:
    def cancel(r: Router, call: Call, by: str, now_ms: int, out: Effects) -> str:
        recorded, records = call.recorded, len(out.records)
        done: str = real(r, call, by, now_ms, out)
        if done == "interrupted":
            call.recorded = recorded
            del out.records[records:]
        return done

    return cancel


@BROKEN.rule(ending, "child_id")
def _dead_letter_child_has_another_id(real: Any) -> Any:
    def child_id(parent: bytes, edge: bytes) -> bytes:
        other: bytes = real(real(parent, edge), b"again")
        return other

    return child_id


@BROKEN.rule(ending, "dead_letter")
def _dead_letter_has_no_child(real: Any) -> Any:
    def dead_letter(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
        issue, ending.issue = ending.issue, lambda *_, **__: None
        try:
            real(r, call, why, now_ms, out)
        finally:
            ending.issue = issue

    return dead_letter


@BROKEN.rule(Line, "leave_waiting")
def _key_of_a_cancelled_call_stays_taken(_real: Any) -> Any:
    def leave_waiting(self: Line, call: Call) -> bool:
        self.ended += 1
        return False

    return leave_waiting


@BROKEN.rule(Router, "offer")
def _moved_line_is_offered_to_its_old_pool(real: Any) -> Any:
    first: dict[int, str] = {}

    def offer(self: Router, line: Line) -> None:
        name = first.setdefault(id(line), line.config.processor)
        if name == line.config.processor:
            real(self, line)
        else:
            self.pools[name].offer(line)
            self.touch(self.pools[name])

    return offer


@BROKEN.rule(filing, "done_ops")
def _what_fails_is_not_in_the_index(_real: Any) -> Any:
    return lambda key, record: [("done", key, record)]


@BROKEN.rule(lines, "stretch_of")
def _stretch_of_the_first_call_stands_for_all(_real: Any) -> Any:
    return lambda key: b"\xff" * 6


@BROKEN.rule(Router, "spill")
def _memory_without_a_bound(_real: Any) -> Any:
    return lambda self, call: None


@BROKEN.rule(HANDLERS, events.ModelChanged)
def _removed_socket_goes_on(real: Any) -> Any:
    def on_model_changed(r: Router, event: events.ModelChanged, now_ms: int, out: Effects) -> None:
        real(r, event, now_ms, out)
        for line in r.lines.values():
            line.removed = False

    return on_model_changed


MUTANTS = {
    **BROKEN.plants,
    **mutants_flows.BROKEN.plants,
    **mutants_plugs.BROKEN.plants,
    **mutants_streams.BROKEN.plants,
    **mutants_casts.BROKEN.plants,
}
