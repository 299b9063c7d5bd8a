"""What people and clients ask of calls: tell me, cancel, try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import errors
from meshcode.ids import child_id, text_of
from meshcode.replica.instance import ENDED
from meshcode.router import ending, events, holding, room
from meshcode.router.effects import Effects
from meshcode.router.records import read_envelope, socket_of
from meshcode.router.states import State

if TYPE_CHECKING:
    from meshcode.router.core import Router

_NOT_KEPT: Final = ("delay_ms", "eta_ms", "died")  # Whoever asks for a retry wants it now.


def on_watched(r: Router, event: events.Watched, now_ms: int, out: Effects) -> None:
    """Remember who wants the outcomes; those that ended already the shell has answered."""
    for id in event.ids:
        call = r.calls.get(id)
        if call is not None:
            r.watch(call, event.client)
        elif (inst := r.replica.by_id.get(id)) is not None:
            if inst.role != ENDED:
                r.watchers.add(id, event.client)
            elif inst.value is not None and inst.value.outcome:
                out.outcomes.append((event.client, inst.value.outcome))
        elif event.ahead:
            r.watchers.add(id, event.client)


def on_client_left(r: Router, event: events.ClientLeft, now_ms: int, out: Effects) -> None:
    """Forget a session; its calls go on."""
    for key in [key for key in r.acks if key[0] == event.client]:
        del r.acks[key]
    r.watchers.leave(event.client)


def _refuse(out: Effects, client: int, request: bytes, error: errors.MeshError) -> None:
    out.answers.append((client, request, False, error.to_data()))


def on_cancel(r: Router, event: events.CancelAsked, now_ms: int, out: Effects) -> None:
    """Cancel an open call; one that ended keeps its outcome."""
    call = r.calls.get(event.id)
    if call is None:
        error = errors.WrongState(
            f"call {text_of(event.id)} is not open: it ended, or was never accepted here"
        )
        _refuse(out, event.client, event.request, error)
        return
    done = ending.cancel(r, call, event.by, now_ms, out)
    data = {"id": text_of(event.id), "done": done}
    out.answers.append((event.client, event.request, True, data))


def on_retry(r: Router, event: events.RetryAsked, now_ms: int, out: Effects) -> None:
    """Let a HELD or DELAYED call begin now, attempts afresh; an ended one begins as a new call."""
    call = r.calls.get(event.id)
    if call is None and event.ended is not None:
        _retry_ended(r, event, now_ms, out)
        return
    if call is None:
        error = errors.UnknownCall(f"no call {text_of(event.id)} is open or kept in the history")
        _refuse(out, event.client, event.request, error)
        return
    if call.state not in (State.HELD, State.DELAYED):
        error_state = errors.WrongState(
            f"call {text_of(event.id)} is {call.state.name}; only HELD, DELAYED or ended calls "
            "can be retried"
        )
        _refuse(out, event.client, event.request, error_state)
        return
    call.note(now_ms, "retry asked", f"by {event.by}")
    if call.state is State.HELD:
        call.line.count_in(call)
    call.attempt = 0
    call.due_ms = now_ms  # The time it may wait in its queue counts from here.
    call.reason = ""
    holding.requeue(r, call, now_ms, out, front=False)
    holding.save(r, call, out)
    data = {"id": text_of(event.id), "done": "waiting"}
    out.answers.append((event.client, event.request, True, data))


def _retry_ended(r: Router, event: events.RetryAsked, now_ms: int, out: Effects) -> None:
    assert event.ended is not None
    submit, _ = event.ended
    name = socket_of(submit)
    line = r.lines.get(name)
    if not submit or line is None or line.removed:
        error = errors.WrongState(
            f"call {text_of(event.id)} cannot be tried again: "
            + (f"there is no socket {name!r} now" if submit else "its arguments are not kept")
        )
        _refuse(out, event.client, event.request, error)
        return
    busy = room.busy(r)
    if busy is not None:
        _refuse(out, event.client, event.request, busy)
        return
    # Never the same id twice: an id made from the request could have run and ended by now.
    again = child_id(event.id, b"retry/%d/%d" % (r.boot, r.next_sequence))
    given = read_envelope(submit)[1] or {}
    kept = {option: value for option, value in given.items() if option not in _NOT_KEPT} or None
    ending.issue(r, again, ending.copy_of(submit, again, event.id, name, kept), now_ms, out)
    data = {"id": text_of(again), "done": "submitted again", "was": text_of(event.id)}
    out.answers.append((event.client, event.request, True, data))
