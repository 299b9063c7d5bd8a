"""What the rules leave to a person: calls whose voters' majority, or whose only home, is evicted.

Such a call may have run, and may even have been recorded, where nobody can look any more.  So it is
issued again only when a person says so, under its own id and with the event told in its story.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import errors
from meshcode.ids import text_of
from meshcode.replica.instance import ENDED, Instance, Value, make_key
from meshcode.router import copies, ending, events, replicated, seats, streams, work
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import id_of
from meshcode.router.records import custody_header, read_envelope, sequence_key
from meshcode.router.states import State
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

RECOVERED: Final = 0x8000  # The generations of calls that a person had issued again.


def sequences(r: Router) -> dict[bytes, int]:
    """Calls that wait for a person here, and where their records are."""
    orphans = [inst for inst in r.replica.orphans() if inst.payload]
    orphans.sort(key=lambda inst: inst.id in r.calls and r.calls[inst.id].inst is inst)
    found = {inst.id: inst.sequence for inst in orphans}  # Of two, the one that is owned here.
    evicted = r.replica.peers.evicted
    found |= {c.id: c.sequence for c in r.copies.values() if c.home in evicted}
    return found


def on_recover(r: Router, event: events.RecoverAsked, now_ms: int, out: Effects) -> None:
    """Issue one such call again, here; an outcome that was accepted for it is proposed again."""
    id = id_of(event.submit)
    inst = r.replica.by_sequence.get(event.sequence)
    owned = r.calls.get(id)
    if sequences(r).get(id) != event.sequence or (owned is not None and owned.inst is not inst):
        error = errors.WrongState(
            f"call {text_of(id)} does not wait for a person here; nothing was changed"
        )
        out.answers.append((event.client, event.request, False, error.to_data()))
        return
    copy = r.copies.get(id)
    was_copy = copy is not None and copy.sequence == event.sequence
    if copy is not None:  # Also one that was kept for another home of the same id (P14).
        copies.drop(r, copy, out)
    value = None
    if inst is not None:
        value = None if inst.accepted is None else inst.accepted[1]
        _give_up(r, inst, owned, now_ms, out)
    call = _issue(r, event, now_ms, out)
    if value is not None and value.code != Outcome.MOVED:
        _end(r, call, value, now_ms, out)
    done = "recovered from a copy" if was_copy else "issued again"
    out.answers.append((event.client, event.request, True, {"id": text_of(id), "done": done}))


def _give_up(r: Router, inst: Instance, owned: Call | None, now_ms: int, out: Effects) -> None:
    """The old instance can never be decided: it is over, without a trace here."""
    if owned is not None:
        replicated.leave(r, owned, now_ms)
    r.replica.unrest(inst)
    r.replica.forget(inst, out)
    inst.role = ENDED
    inst.value = Value(int(Outcome.MOVED), b"")


def _issue(r: Router, event: events.RecoverAsked, now_ms: int, out: Effects) -> Call:
    id, submit = id_of(event.submit), event.submit
    name, options = read_envelope(submit)
    line = seats.line_of(r, name, options)
    number = r.next_sequence
    r.next_sequence += 1
    generation = RECOVERED | (number & (RECOVERED - 1))  # No move or re-issue makes such a one.
    call = Call(id, number, line, submit, len(submit), options, 0, event.accepted_ms)
    voters = r.replica.peers.choose_voters(id)
    old = sequence_key(event.sequence)
    out.records += [("open", old, None), ("state", old, None)]
    head = custody_header(r.node, r.boot, voters, event.accepted_ms, generation)
    out.records.append(("open", sequence_key(number), head + submit))
    work.abandon(r, id, now_ms, out)
    streams.may_have_run(r, id)
    r.keep(call, whole=True)
    call.note(now_ms, "recovered", f"by {event.by}: its voters were lost; it may have run before")
    for client in r.watchers.take(id):
        r.watch(call, client)
    if len(voters) > 1:
        line.count_in(call)
        replicated.begin(r, call, voters, now_ms, out, key=make_key(id, r.node, generation))
    else:
        r.restore(call, None, now_ms, out, why="")
        r.narrow[id] = None
    return call


def _end(r: Router, call: Call, value: Value, now_ms: int, out: Effects) -> None:
    """It need not run: its outcome is known, and may even have been chosen."""
    if r.calls.get(call.id) is not call:
        return
    replicated.withdraw(r, call, now_ms)
    call.state = State.ENDING
    if call.inst is None:
        ending.finish(r, call, value.code, value.outcome, now_ms, out)
    else:
        r.replica.propose(call.inst, value, now_ms, out)


__all__ = ["sequences", "on_recover"]
