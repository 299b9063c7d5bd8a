"""Calls that more nodes than this one keep: between the router and `meshcode/replica`.

`Replicated` is the replica's `Host`: it writes the records and moves the calls.  The rest is what
the router's handlers call: choosing voters for a new call, proposing an outcome, acknowledging a
frame when all its calls have the copies that were asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.replica.instance import (
    ENDED,
    OWNING,
    READING,
    STORING,
    Child,
    Instance,
    Value,
    generation_of,
    make_key,
)
from meshcode.replica.peers import WITNESS
from meshcode.router import acks, copies, ending, filing, holding, seats, streams, work
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import attempt_of, id_of
from meshcode.router.records import (
    custody_header,
    pack_done,
    read_envelope,
    sequence_key,
)
from meshcode.router.states import State
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_CANCELLED: Final = int(Outcome.CANCELLED)
_MAY_MOVE: Final = (State.WAITING, State.DELAYED, State.HELD, State.GATHERING)


# A new call.


def begin(
    r: Router,
    call: Call,
    voters: tuple[bytes, ...],
    now_ms: int,
    out: Effects,
    key: bytes | None = None,
) -> None:
    """Let two more nodes keep a call that was just accepted and written; it waits for one."""
    assert call.envelope is not None
    inst = Instance(key or make_key(call.id, r.node), voters, r.boot, call.sequence)
    call.inst = inst
    call.state = State.COPYING
    r.replica.begin(inst, call.accepted_ms, call.envelope, now_ms, out)


def widen(r: Router, call: Call, voters: tuple[bytes, ...], now_ms: int, out: Effects) -> None:
    """Let two more nodes keep a call that this node kept alone: it alone decides that.

    The call goes on as it is; from here on a majority decides how it ended.
    """
    assert call.envelope is not None and call.inst is None
    inst = Instance(make_key(call.id, r.node), voters, r.boot, call.sequence)
    call.inst = inst
    header = custody_header(r.node, r.boot, voters, call.accepted_ms)
    out.records.append(("open", sequence_key(call.sequence), header + call.envelope))
    if call.recorded:
        inst.note = call.changes()
    r.replica.begin(inst, call.accepted_ms, call.envelope, now_ms, out)
    inst.role = OWNING


def widen_some(r: Router, now_ms: int, out: Effects) -> None:
    """Widen a few of the calls that this node keeps alone, once others are there to stay."""
    if not r.narrow or now_ms < r.widen_from_ms:
        return
    keeper = copies.keeper_of(r)
    for id in list(r.narrow)[: limits.WIDEN_CALLS_PER_TICK]:
        call = r.calls.get(id)
        del r.narrow[id]
        if call is not None and call.inst is None and (
            call.envelope is None or keeper is not None or call.state is State.ENDING
        ):
            r.narrow[id] = None  # Its turn comes again: when it is read, or until it is confirmed.
            if call.envelope is not None and keeper is not None:
                copies.keep(r, call, keeper, out)
            continue
        if call is None or call.inst is not None or call.owner is not None:
            continue
        voters = r.replica.peers.choose_voters(id)
        if len(voters) > 1:
            widen(r, call, voters, now_ms, out)
        else:
            r.narrow[id] = None  # They went again.


def spread(
    r: Router, call: Call, voters: tuple[bytes, ...], frame: int, now_ms: int, out: Effects
) -> tuple[int, int] | None:
    """Bring a new call to whoever shall keep it besides this node.

    Returns the copies and voters it is acknowledged with now; None when it waits for more.
    """
    if r.guests:
        work.abandon(r, call.id, now_ms, out)
    wanted = None if call.options is None else call.options.get("ack")
    if len(voters) > 1:
        begin(r, call, voters, now_ms, out)
        assert call.inst is not None
        acks.await_copies(r, call.inst, call.client, frame, wanted)
        return (1, len(voters)) if wanted == "local" else None
    r.narrow[call.id] = None
    waits = copies.begin(r, call, call.client, frame, wanted, out)
    return None if waits else (1, 1)


def refuse(
    options: dict[str, Any] | None, voters: tuple[bytes, ...], size: int
) -> errors.CallerError | None:
    """Why a call that would be kept by these voters cannot be accepted now, or None."""
    if size > limits.SHARED_BYTES_MAX:
        return errors.TooLarge(
            f"the call has {size} bytes, the limit in a mesh is {limits.SHARED_BYTES_MAX}; nothing "
            "was accepted; pass large data by reference, for instance a path",
            found=size,
            limit=limits.SHARED_BYTES_MAX,
        )
    if options is None or options.get("ack") != "strict" or len(voters) > 1:
        return None
    return errors.Busy(
        f"the call wants {limits.VOTERS // 2 + 1} of {limits.VOTERS} copies, this node reaches "
        f"{len(voters)} node that keeps calls, itself; nothing was accepted; try again, or take "
        "ack=quorum and look at what was given"
    )


def fit(code: int, envelope: bytes) -> tuple[int, bytes]:
    """An outcome that can travel: one that is too large becomes a failure that says so."""
    if len(envelope) <= limits.SHARED_BYTES_MAX:
        return code, envelope
    error = errors.TooLarge(
        f"the result has {len(envelope)} bytes, the limit in a mesh is {limits.SHARED_BYTES_MAX}; "
        "the task ran; return large data by reference, for instance a path",
        found=len(envelope),
        limit=limits.SHARED_BYTES_MAX,
    )
    attempt = attempt_of(envelope)
    data = seal(
        Kind.OUTCOME, id=id_of(envelope), code=Outcome.FAILED, attempt=attempt,
        body=pack(error.to_data()),
    )  # fmt: skip
    return int(Outcome.FAILED), data


# Ending.


def propose(
    r: Router,
    call: Call,
    code: int,
    envelope: bytes,
    children: tuple[Child, ...],
    now_ms: int,
    out: Effects,
    *,
    early: bool = False,
) -> None:
    """The call has ended here: let a majority of its voters say so.

    With `early`, the call itself, or a worker that had it, is the only cause.
    """
    assert call.inst is not None
    holding.begin_to_end(r, call)
    code, envelope = fit(code, envelope)
    value = Value(code, envelope, children, _note(call))
    r.replica.propose(call.inst, value, now_ms, out, early=early)


def _note(call: Call) -> dict[str, Any]:
    """What a history is to know of a call beside its outcome."""
    return {"attempt": call.attempt, "started_ms": call.started_ms, "story": call.story or []}


def end_twins(
    r: Router, call: Call, code: int, envelope: bytes, now_ms: int, out: Effects
) -> None:
    """A call has ended: what this node owns of the same id, for other homes, ends alike (P14)."""
    value = Value(*fit(code, envelope), (), _note(call))
    for twin in r.twins.pop(call.id, ()):
        if twin.role == OWNING:
            r.replica.propose(twin, value, now_ms, out)


def withdraw(r: Router, call: Call, now_ms: int) -> None:
    """Take a call out of its line or from its worker, whatever state it is in."""
    if call.state is State.RUNNING:
        assert call.worker is not None
        streams.run_for_nobody(r, call)
        holding.take_back(r, call, call.worker, now_ms)
    elif call.state is State.WAITING:
        call.line.count_out(call)
        if call.line.leave_waiting(call):
            r.offer(call.line)
    elif call.state in (State.DELAYED, State.COPYING, State.GATHERING):
        call.line.count_out(call)


def leave(r: Router, call: Call, now_ms: int) -> None:
    """This node has nothing more to do with a call; whoever waits for it still does."""
    withdraw(r, call, now_ms)
    streams.leave(r, call.id)
    call.move(State.MOVED)
    r.forget(call)
    if call.client:
        r.watchers.add(call.id, call.client)


def _accepted_by(r: Router, home: bytes) -> str:
    """Who accepted a call, for people; the home of what several nodes make alike is no node."""
    peers = r.replica.peers
    is_node = home == r.node or home in peers.by_node or home in peers.evicted
    return f", accepted by {peers.name_of(home)}" if is_node else ""


class Replicated:
    """The router as `replica.core.Host` sees it."""

    def __init__(self, router: Router) -> None:
        """For one router."""
        self._r = router
        self._unfiled: dict[bytes, Value] = {}  # Outcomes that the history does not have yet.

    def next_number(self) -> int:
        """A sequence that no record of this log has."""
        number = self._r.next_sequence
        self._r.next_sequence += 1
        return number

    def keep_payload(self, inst: Instance, accepted_ms: int, submit: bytes, out: Effects) -> None:
        """Write the `open` record of an instance."""
        header = custody_header(
            inst.home, inst.boot, inst.voters, accepted_ms, generation_of(inst.key)
        )
        out.records.append(("open", sequence_key(inst.sequence), header + submit))

    def drop_payload(self, inst: Instance, out: Effects) -> None:
        """Delete the `open` record (and the `state` record) of an instance."""
        out.records.append(("open", sequence_key(inst.sequence), None))
        if inst.note is not None:
            out.records.append(("state", sequence_key(inst.sequence), None))

    def _call(self, inst: Instance) -> Call | None:
        call = self._r.calls.get(inst.id)
        return call if call is not None and call.inst is inst else None

    def envelope_of(self, inst: Instance) -> tuple[int, bytes] | None:
        """When a call was accepted and its SUBMIT envelope, if it is in memory."""
        call = self._call(inst)
        if call is None or call.envelope is None:
            return None
        return call.accepted_ms, call.envelope

    def ready(self, inst: Instance, now_ms: int, out: Effects) -> None:
        """A majority has the call: it may run."""
        call = self._call(inst)
        if call is None or call.state is not State.COPYING:
            return
        self._r.enter(call, now_ms, out)

    def copied(self, inst: Instance, copies: int, now_ms: int, out: Effects) -> None:
        """One more voter has the call."""
        acks.acknowledge(self._r, inst, copies, out)

    def adopt(
        self, inst: Instance, accepted_ms: int, submit: bytes, now_ms: int, out: Effects
    ) -> None:
        """This node took the call over: it may run here."""
        r = self._r
        over = self._unfiled.get(inst.id)
        if over is not None:  # Another instance of it ended (P14), and will be in the history.
            r.replica.propose(inst, over._replace(children=()), now_ms, out)
            return
        other = r.calls.get(inst.id)
        if other is not None and other.inst is not None and r.replica.is_orphan(other.inst):
            if self._give_way(other, other.inst, inst, now_ms, out):
                return
        elif other is not None:  # Another home accepted the same id (P14): it runs once here.
            r.twins.setdefault(inst.id, []).append(inst)
            return
        name, options = read_envelope(submit)
        line = seats.line_of(r, name, options)
        accepted_ms = min(accepted_ms, now_ms)  # By another clock; nothing was accepted later.
        call = Call(inst.id, inst.sequence, line, submit, len(submit), options, 0, accepted_ms)
        call.inst = inst
        call.epoch = 0 if inst.epoch is None else inst.epoch[0]
        for client in r.watchers.take(inst.id):
            r.watch(call, client)
        r.keep(call)
        note = inst.note
        if note is not None and not (options and options.get("eta_ms")):
            longest = max(limits.RETRY_DELAY_MS_MAX, call.setting("retry_delay_ms") or 0)
            note = note | {"due_ms": min(note["due_ms"], now_ms + longest)}
        r.restore(call, note, now_ms, out, why="the node that ran it is gone")
        if call.inst is inst and call.id in r.calls:
            told = f"epoch {call.epoch}"
            # A step or a tick that nobody had before; a generation is of a call that moved.
            is_first = not inst.boot and call.epoch == 1 and not generation_of(inst.key)
            if not is_first:
                call.note(now_ms, "taken over", told + _accepted_by(r, inst.home))
            r.tell(out, call, "received" if is_first else "taken over", told, now_ms)

    def _give_way(
        self, call: Call, old: Instance, inst: Instance, now_ms: int, out: Effects
    ) -> bool:
        """An instance that can never be decided gives way to the one that took its place (P8).

        What was accepted for it is proposed for the other; returns whether there was anything.
        """
        r = self._r
        leave(r, call, now_ms)
        r.replica.unrest(old)
        r.replica.forget(old, out)
        self.drop_payload(old, out)
        if old.accepted is None:
            return False
        r.replica.propose(inst, old.accepted[1], now_ms, out)
        return True

    def disown(self, inst: Instance, now_ms: int, out: Effects) -> None:
        """Another node took the call over: it must not run here, and is not recorded here."""
        r = self._r
        call = self._call(inst)
        if call is None:
            twins = r.twins.get(inst.id)
            if twins and inst in twins:
                twins.remove(inst)
                if not twins:
                    del r.twins[inst.id]
            return
        leave(r, call, now_ms)
        r.tell(out, call, "left", "another node took it over", now_ms)
        self._next_twin(inst.id, out)

    def _next_twin(self, id: bytes, out: Effects) -> None:
        for twin in self._r.twins.pop(id, ()):
            twin.role = READING
            out.reads.append((twin.sequence, twin.id))

    def end(self, inst: Instance, value: Value, now_ms: int, out: Effects) -> bool:
        """The outcome is chosen: tell who waits, and file it if the call is in memory."""
        r = self._r
        acks.acknowledge(r, inst, inst.majority, out, ended=True)  # So many have its outcome.
        if inst.id in r.needed:
            r.ripe[inst.id] = value.outcome
        call = self._call(inst)
        if value.code != _CANCELLED and inst.id in r.streams.tracked:
            streams.caused(r, inst.id, [child.id for child in value.children])
            if call is not None and call.state is State.ENDING:
                streams.go_on_here(r, [make_key(child.id, inst.home) for child in value.children])
        streams.ended(r, inst.id)
        if call is None:
            told = ending.to_tell(inst, out)
            for client in r.watchers.take(inst.id):
                told.append((client, value.outcome))
            other = r.calls.get(inst.id)
            if other is not None:
                self._end_alike(other, value, now_ms, out)
            else:
                self._unfiled[inst.id] = value
            return False
        if call.state is not State.ENDING:  # Others chose it: this node was overtaken unawares.
            withdraw(r, call, now_ms)
            call.state = State.ENDING
        if call.envelope is None:  # It is in the log only: it is filed when it was read.
            inst.note = call.changes()
            call.state = State.MOVED
            r.forget(call)
            ending.tell(r, call, value.outcome, out)
            self._next_twin(inst.id, out)
            return False
        ending.finish(r, call, value.code, value.outcome, now_ms, out)
        return True

    def _end_alike(self, call: Call, value: Value, now_ms: int, out: Effects) -> None:
        """Another instance of this id has ended (P14): the history keeps the outcome of that one,
        and this one ends with it too, unless it has proposed its own.
        """
        r = self._r
        call.filed = True
        if call.state is State.ENDING:
            return
        withdraw(r, call, now_ms)
        call.state = State.ENDING
        if call.inst is None:
            ending.finish(r, call, value.code, value.outcome, now_ms, out)
        elif call.inst.role in (STORING, OWNING):
            same = value._replace(children=())
            r.replica.propose(call.inst, same, now_ms, out)

    def file(
        self,
        inst: Instance,
        value: Value,
        accepted_ms: int,
        submit: bytes,
        now_ms: int,
        out: Effects,
        *,
        ended: bool = False,
    ) -> None:
        """Write the `done` record of an instance whose call was read back from the log.

        With `ended` the history has an outcome of this id already, and keeps that one.
        """
        self._unfiled.pop(inst.id, None)
        note = value.note or inst.note or {}
        if not ended and self._r.replica.peers.kind != WITNESS:  # It keeps votes, no history.
            record = pack_done(
                value.code, note.get("attempt", 1 if value.code == _DONE else 0), accepted_ms,
                note.get("started_ms", 0), now_ms, inst.sequence, value.outcome, submit,
                note.get("story"),
            )  # fmt: skip
            filing.file(self._r, inst.id, record, submit, out)
        self.drop_payload(inst, out)

    def may_move(self, inst: Instance, now_ms: int, out: Effects) -> bool:
        """Whether the call does not run and has handed on no items, so that it may change its
        voters; it stops waiting.
        """
        call = self._call(inst)
        if call is None or call.state not in _MAY_MOVE or not streams.may_move(self._r, call, out):
            return False
        if call.state is not State.HELD:
            inst.note = call.changes() if call.recorded else inst.note
        withdraw(self._r, call, now_ms)
        call.move(State.ENDING)
        return True


__all__ = ["Replicated", "begin", "widen_some", "refuse", "propose", "ENDED"]
