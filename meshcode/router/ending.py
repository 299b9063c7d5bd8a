"""How a call ends, or does not yet: outcomes, retries, deaths of workers, expiry, dead letters.

One outcome per call: `end` is the only place that writes a `done` record, and it removes the
waiting record and the memory of the call in the same batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.ids import child_id, text_of
from meshcode.replica.instance import Child, Instance
from meshcode.router import (
    closing,
    copies,
    dispatch,
    events,
    filing,
    holding,
    plain,
    replicated,
    seats,
    streams,
    timers,
    wiring,
    work,
)
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, flow_of, meta_bytes
from meshcode.router.pool import Worker
from meshcode.router.records import custody_header, pack_done, read_envelope, sequence_key
from meshcode.router.states import State
from meshcode.router.timers import T_DUE, T_EXPIRE
from meshcode.wire.codec import pack
from meshcode.wire.frame import AT_ARGC, AT_FLAGS
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_FAILED: Final = int(Outcome.FAILED)
_CANCELLED: Final = int(Outcome.CANCELLED)
# Delays, expiry and retries stay behind at a dead letter.
_KEPT_OPTIONS: Final = ("kw", "by", "trace", "feed", "plan", "named", "edge", "at")
_DIED_MAX: Final = 16  # Sockets that one call may die at in turn.
_DIED_ENTRY_BYTES: Final = limits.NAME_BYTES_MAX + 16  # What one more of them adds to its options.
_STATE_OF: Final = {code: State(10 + code) for code in (1, 2, 3, 4)}


def on_finished(r: Router, event: events.Finished, now_ms: int, out: Effects) -> None:
    """A worker reported outcomes: record them, or try again what failed and may."""
    worker = r.workers.get(event.worker)
    if worker is None:
        return
    reports = plain.finish(r, worker, event.reports, now_ms, out)
    for id, attempt, code, retry, duration_us, started_ms, envelope in reports:
        call = worker.held.get(id)
        if call is None or call.attempt != attempt:  # A late report of an attempt given up.
            if r.listening:
                out.events.append((id, "", "superseded", f"attempt {attempt}", now_ms))
            continue
        line = call.line
        line.learn(duration_us)
        holding.take_back(r, call, worker, now_ms)
        call.started_ms = started_ms or call.started_ms
        if call.owner is not None:
            r.lines[line.name].learn(duration_us)
            report = (id, attempt, code, retry, duration_us, started_ms, envelope)
            work.ran(r, call, report, out)
        elif retry and code == _FAILED and call.interrupted != "cancel" and may_retry(call):
            delay_retry(r, call, "failed", now_ms, out)
        else:
            early = id not in r.streams.by_call  # It ends behind its items, which are records.
            end(r, call, code, envelope, now_ms, out, early=early)
    r.touch(worker.pool)
    holding.arm_watch(r, worker, now_ms)


def end(
    r: Router,
    call: Call,
    code: int,
    envelope: bytes,
    now_ms: int,
    out: Effects,
    children: tuple[Child, ...] = (),
    *,
    early: bool = False,
) -> None:
    """Choose the outcome of a call that is in no line and at no worker; exactly once.

    Where other nodes keep the call too, it is proposed to them, perhaps `early`: `finish` comes
    when they agree.
    """
    if call.owner is not None:
        work.report(r, call, code, envelope, out)
    elif call.inst is not None:
        children = with_targets(r, call, code, envelope, children, now_ms)
        replicated.propose(r, call, code, envelope, children, now_ms, out, early=early)
    elif r.replica.peers.by_node and closing.may_be_known(r, call):
        closing.begin(r, call, (code, envelope, children), out)
    else:
        children = with_targets(r, call, code, envelope, children, now_ms)
        record(r, call, code, envelope, children, now_ms, out)


def with_targets(
    r: Router, call: Call, code: int, envelope: bytes, children: tuple[Child, ...], now_ms: int
) -> tuple[Child, ...]:
    """These children, and those that the outcome causes along the plugs of its socket."""
    line, options = call.line, call.options
    if line.edges or line.special or (options and "edge" in options):
        along = wiring.submits(r, call, code, envelope, now_ms)
        if along:
            return (*children, *children_of(r, call, along))
    return children


def record(
    r: Router,
    call: Call,
    code: int,
    envelope: bytes,
    children: tuple[Child, ...],
    now_ms: int,
    out: Effects,
) -> None:
    """Record how a call ended that nobody else decides, and issue what it causes, as one batch."""
    if code != _CANCELLED and call.id in r.streams.tracked:
        streams.caused(r, call.id, [child.id for child in children])
    for child in children:
        assert child.submit is not None
        issue(r, child.id, child.submit, now_ms, out)
    finish(r, call, code, envelope, now_ms, out)


def children_of(r: Router, call: Call, submits: list[tuple[bytes, bytes]]) -> tuple[Child, ...]:
    """Calls that the outcome of `call` is to cause, with their voters: its own where it can be.

    So the calls of a flow stay together, and whoever goes on with one has seen how the others
    ended.
    """
    if call.inst is None:
        return tuple(Child(id, (), submit) for id, submit in submits)
    own = call.inst.voters
    together = r.replica.peers.evicted.isdisjoint(own)
    choose = r.replica.peers.choose_for_child
    return tuple(
        Child(id, own if together else choose(id, own), submit) for id, submit in submits
    )


def finish(r: Router, call: Call, code: int, envelope: bytes, now_ms: int, out: Effects) -> None:
    """Record the outcome of a call, with all that goes with it, as one batch."""
    waited = call.state is State.WAITING
    call.move(_STATE_OF[code])
    key = sequence_key(call.sequence)
    records = out.records
    records.append(("open", key, None))
    if call.recorded:
        records.append(("state", key, None))
    submit = call.envelope
    assert submit is not None or code == _CANCELLED, call.story
    if not call.filed:
        record = pack_done(
            code, call.attempt, call.accepted_ms, call.started_ms, now_ms, call.sequence,
            envelope, submit or b"", call.story,
        )  # fmt: skip
        filing.file(r, call.id, record, submit or b"", out)
    r.forget(call)
    if r.needed and call.id in r.needed:
        r.ripe[call.id] = envelope
    if r.streams.by_call:
        streams.ended(r, call.id)
    if r.twins:
        replicated.end_twins(r, call, code, envelope, now_ms, out)
    if waited:
        call.envelope = None  # Its line still names it for a while.
        if call.line.leave_waiting(call):
            r.offer(call.line)
    if call.inst is None and r.replica.peers.by_node:
        copies.ended(r, call, code, envelope, out)
    tell(r, call, envelope, out)
    if r.listening:
        r.tell(out, call, "postrun", _STATE_OF[code].name, now_ms)


def to_tell(inst: Instance | None, out: Effects) -> list[tuple[int, bytes]]:
    """Where the outcome of a call goes that clients are to be told.

    A majority of its voters has it on disk when this node knows that it is chosen; of a call that
    only this node keeps, or votes on, it is on no disk yet.
    """
    return out.outcomes if inst is None or len(inst.voters) == 1 else out.chosen


def tell(r: Router, call: Call, envelope: bytes, out: Effects) -> None:
    """Give the outcome to whoever waits for it."""
    told = to_tell(call.inst, out)
    if call.client:
        told.append((call.client, envelope))
    if r.watchers.by_call:
        for client in r.watchers.take(call.id):
            told.append((client, envelope))


def end_with_error(
    r: Router,
    call: Call,
    code: int,
    error: errors.MeshError,
    now_ms: int,
    out: Effects,
    children: tuple[Child, ...] = (),
) -> None:
    """The same for an outcome that the router itself decides."""
    body = pack(error.to_data())
    envelope = seal(Kind.OUTCOME, id=call.id, code=code, attempt=call.attempt, body=body)
    end(r, call, code, envelope, now_ms, out, children)


def end_with_value(
    r: Router,
    call: Call,
    body: bytes,
    now_ms: int,
    out: Effects,
    children: tuple[Child, ...] = (),
    meta: bytes = b"",
) -> None:
    """End a call that the router itself has carried out; `body` is its packed value."""
    leave_line(call)
    call.reason = ""
    envelope = seal(Kind.OUTCOME, id=call.id, code=Outcome.DONE, meta=meta, body=body)
    end(r, call, _DONE, envelope, now_ms, out, children)


def may_retry(call: Call) -> bool:
    """Whether an attempt that raised is tried again: only where retries were asked for."""
    retries = call.setting("retries")
    return retries is not None and call.attempt <= retries


def delay_retry(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
    """A call that just left its worker waits for its next attempt: doubled each time, jittered."""
    base = call.setting("retry_delay_ms")
    delay_ms = limits.RETRY_DELAY_MS_MIN if base is None else base
    if base is None or base:
        delay_ms = min(
            delay_ms << min(call.attempt - 1, 20), max(limits.RETRY_DELAY_MS_MAX, delay_ms)
        )
        delay_ms = delay_ms // 2 + r.rng.randrange(delay_ms // 2 + 1)
    call.move(State.DELAYED)
    call.marked = False
    call.due_ms = now_ms + delay_ms
    call.reason = f"attempt {call.attempt} {why}; the next begins in {delay_ms} ms"
    call.note(now_ms, "retried", call.reason)
    call.line.count_in(call)
    r.at(call.due_ms, T_DUE, call)
    timers.arm_expiry(r, call)
    r.spill(call)
    holding.save(r, call, out)
    r.tell(out, call, "retried", call.reason, now_ms)


def lost_attempt(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
    """A worker died under this call (it is at no worker now): again, or HELD with the evidence."""
    if call.owner is not None:
        work.lost(r, call, why, out)
        return
    retries = call.setting("retries")
    allowed = limits.RETRIES_DEFAULT if retries is None else retries
    call.note(now_ms, "worker lost", f"attempt {call.attempt}: {why}")
    if call.attempt <= allowed:
        delay_retry(r, call, f"ended with its worker ({why})", now_ms, out)
        return
    call.move(State.HELD)
    call.marked = False
    call.reason = (
        f"its worker died in {call.attempt} of {allowed + 1} attempts, last: {why}; "
        "look at its output, then `mesh call retry` or `mesh call cancel`"
    )
    call.note(now_ms, "held", call.reason)
    r.spill(call)
    holding.save(r, call, out)
    r.tell(out, call, "held", call.reason, now_ms)


def hold_unreadable(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """The log cannot give back the envelope of a call that was only there."""
    line = call.line
    line.fetching.discard(call.sequence)
    r.offer(line)
    expiry_ms = timers.expiry_of(call)
    if expiry_ms is not None and expiry_ms <= now_ms:
        dead_letter(r, call, "it expired, and its record in the log cannot be read", now_ms, out)
    elif call.state is State.WAITING:
        line.remove(call)
        leave_line(call)
        call.move(State.HELD)
        call.reason = "its record in the log cannot be read; cancel it and submit it again"
        call.note(now_ms, "held", call.reason)
        holding.save(r, call, out)
        r.tell(out, call, "held", call.reason, now_ms)


def give_back(
    r: Router, call: Call, worker: Worker, now_ms: int, out: Effects, *, front: bool = True
) -> None:
    """A call whose attempt does not count goes back into its line; a cancelled one ends."""
    holding.take_back(r, call, worker, now_ms)
    if call.interrupted == "cancel":
        end_cancelled(r, call, now_ms, out)
        return
    call.attempt -= 1
    call.line.count_in(call)
    holding.requeue(r, call, now_ms, out, front=front)
    if call.marked:  # The log says that it began; that must not count after a crash.
        call.marked = False
        holding.save(r, call, out)


def on_worker_lost(r: Router, event: events.WorkerLost, now_ms: int, out: Effects) -> None:
    """A worker is gone: begun calls count an attempt, staged ones go back to the front.

    Without knowledge of what had begun, the first it held is taken to have.
    """
    worker = r.workers.pop(event.worker, None)
    if worker is None:
        return
    worker.pool.workers.pop(worker.id, None)
    if not worker.node:
        seats.reseat(r, worker.pool)
    begun = [worker.held[id] for id in event.begun if id in worker.held]
    if not begun and event.blame and worker.held:
        begun = worker.begun()
    for call in begun:
        if call.interrupted == "cancel" or not (call.interrupted or event.blame):
            continue
        holding.take_back(r, call, worker, now_ms)
        if call.interrupted == "time limit":
            _over_time(r, call, now_ms, out)
        else:
            lost_attempt(r, call, event.reason, now_ms, out)
    for call in reversed(list(worker.held.values())):
        if call in begun and call.interrupted != "cancel":
            call.note(now_ms, "given back", event.reason)
        give_back(r, call, worker, now_ms, out)
    r.touch(worker.pool)


def _over_time(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    limit_ms = call.setting("time_limit_ms")
    if call.owner is None and may_retry(call):
        delay_retry(r, call, f"ran over its time limit of {limit_ms} ms", now_ms, out)
        return
    error = errors.TimeLimit(
        f"attempt {call.attempt} ran longer than its time limit of {limit_ms} ms and did not stop "
        "when asked, so its worker was killed",
        type="TimeLimit",
    )
    end_with_error(r, call, Outcome.FAILED, error, now_ms, out)


def end_cancelled(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """End a call that was asked to stop, as CANCELLED."""
    error = errors.CallCancelled(f"cancelled by {call.cancelled_by or 'its submitter'}")
    end_with_error(r, call, _CANCELLED, error, now_ms, out)


def cancel(r: Router, call: Call, by: str, now_ms: int, out: Effects) -> str:
    """End a call now if it does not run, else interrupt it; returns what was done, for people."""
    call.cancelled_by = by
    call.note(now_ms, "cancel asked", f"by {by}")
    if call.state is State.RUNNING:
        assert call.worker is not None
        if call.interrupted != "cancel":
            call.interrupted = "cancel"
            holding.save(r, call, out)  # Whoever asked was told: a crash must not begin it again.
            holding.interrupt(call, "cancel", out)
        return "interrupted"
    if call.state is State.ENDING:
        return "ending"
    leave_line(call)
    end_cancelled(r, call, now_ms, out)
    return "cancelled"


def leave_line(call: Call) -> None:
    """Count a call out of its line that ends before it runs; HELD ones are in none."""
    if call.state is not State.HELD:
        call.line.count_out(call)


def expire(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """End a call that waited or lived too long, if it still waits."""
    if r.calls.get(call.id) is not call or call.state not in (State.WAITING, State.DELAYED):
        return
    due_ms = timers.expiry_of(call)
    if due_ms is None:
        return  # The limit was lifted.
    if due_ms > now_ms:
        timers.arm_expiry(r, call)
        return
    if call.envelope is None and call.line.config.dead_letter:
        dispatch.fetch(r, [call], out)  # Its bytes must move to the dead-letter socket.
        r.at(now_ms + limits.STUCK_MS, T_EXPIRE, call)
        return
    why = f"it expired after waiting {now_ms - call.accepted_ms} ms"
    dead_letter(r, call, why, now_ms, out)


def dead_letter(r: Router, call: Call, why: str, now_ms: int, out: Effects) -> None:
    """End a waiting call as CANCELLED; it lives on as a child at the dead-letter socket, if any."""
    leave_line(call)
    target = r.lines.get(call.line.config.dead_letter or "")
    submit = call.envelope
    died = [*(call.option("died") or ()), call.line.name]
    where = ""
    children: tuple[Child, ...] = ()
    if target is None or target.removed or submit is None:
        pass
    elif meta_bytes(submit) + _DIED_ENTRY_BYTES > limits.META_BYTES_MAX:
        where = "; its options leave no room to say where it was, so it ends here"
    elif target.name in died or len(died) >= _DIED_MAX:  # It must not go round for ever.
        where = f"; it was dead-lettered at {', '.join(died)} already, so it ends here"
    else:
        child = child_id(call.id, b"dead-letter")
        given = call.options or {}
        kept = {name: given[name] for name in _KEPT_OPTIONS if given.get(name) not in (None, "")}
        kept["died"] = died
        envelope = copy_of(submit, child, call.id, target.name, kept)
        parents = () if call.inst is None else call.inst.voters
        voters = parents and r.replica.peers.choose_for_child(child, parents)
        children = (Child(child, voters, envelope),)
        where = f"; it goes on as {text_of(child)} at socket {target.name}"
    call.note(now_ms, "dead-lettered", why + where)
    error = errors.CallCancelled(f"not run: {why}{where}", expired=True)
    end_with_error(r, call, Outcome.CANCELLED, error, now_ms, out, children)


def copy_of(
    submit: bytes, id: bytes, parent: bytes, name: str, options: dict[str, Any] | None
) -> bytes:
    """The SUBMIT envelope of an earlier call under a new id, at socket `name`, with these options.

    It belongs to the same flow.
    """
    return seal(
        Kind.SUBMIT,
        id=id,
        flow=flow_of(submit),
        parent=parent,
        name=name.encode(),
        meta=pack(options) if options else b"",
        body=body_of(submit),
        flags=submit[AT_FLAGS],
        argc=submit[AT_ARGC],
    )


def issue(
    r: Router,
    id: bytes,
    submit: bytes,
    now_ms: int,
    out: Effects,
    *,
    voters: tuple[bytes, ...] | None = None,
    written: bool = True,
) -> None:
    """Accept a call that an outcome causes or a person asked for; its queue cannot refuse it.

    Nothing happens when a call with this id is open: a client gave an ended id a second life.

    Args:
        voters: who keeps it; None = whoever is chosen.
        written: False for one that ends in this step, so that it need not be in the log as open.
    """
    if id in r.calls:
        return
    name, options = read_envelope(submit)
    line = seats.line_of(r, name, options)
    sequence = r.next_sequence
    r.next_sequence += 1
    call = Call(id, sequence, line, submit, len(submit), options, 0, now_ms)
    if voters is None:
        voters = r.replica.peers.choose_voters(id) if r.replica.peers.by_node else r.alone
    shared = len(voters) > 1
    head = custody_header(r.node, r.boot, voters, now_ms) if shared else r.custody_at(now_ms)
    if written:
        out.records.append(("open", sequence_key(sequence), head + submit))
    r.keep(call, whole=shared)
    line.count_in(call)
    if r.listening:
        r.tell(out, call, "received", "", now_ms)
    if shared:
        replicated.begin(r, call, voters, now_ms, out)
        return
    if r.replica.peers.by_node:
        r.narrow[id] = None
        copies.begin(r, call, 0, 0, "local", out)
    r.enter(call, now_ms, out)
