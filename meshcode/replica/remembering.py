"""Calls that their keepers make by themselves and that have moved are not made again (P10, part 5).

A collector, a tick or an item has no parent: each keeper makes its first instance wherever it finds
neither that nor an outcome.  Moved to other voters (P9), the call goes on without one of them, who
would make it again.  So the record that it moved stays, over restarts, until the history of that
node has the outcome of the call, which it asks the others for.  Then the history answers whoever
wants to make it, as it does where a call never moved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode.replica import forgetting
from meshcode.replica.instance import ENDED, Instance, Value
from meshcode.router.effects import Effects
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_ASK: Final = int(Kind.OUTCOME_OF)
_MOVED: Final = int(Outcome.MOVED)


def is_kept(inst: Instance) -> bool:
    """Whether an instance is one that somebody could make again, although it has moved."""
    if inst.role != ENDED or not inst.is_birth:
        return False
    return inst.value is not None and inst.value.code == _MOVED


def note(r: Replica, inst: Instance) -> None:
    """An instance has ended, or was read from the log: perhaps it has moved.

    A witness makes no calls, and has no history.
    """
    if is_kept(inst) and not r.peers.is_witness(r.me):
        r.moved[inst.id] = inst


def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> bool:
    """Whether the record of an instance stays; then it is looked up how the call has ended."""
    if r.moved.get(inst.id) is not inst:
        return False
    newest = r.by_id.get(inst.id)
    if newest is None or newest is inst:  # Else this node keeps it still, and hears of its end.
        out.lookups.append((b"", inst.id))
    r.back_off(inst, now_ms)
    return True


def looked_up(r: Replica, id: bytes, outcome: bytes, now_ms: int, out: Effects) -> bytes:
    """The history here was looked at, for the outcome of a call that has moved.

    Returns what the history has from now on: nothing while nobody knows how the call has ended.
    """
    inst = r.moved[id]
    if not outcome:
        outcome = r.told.pop(id, b"")
        if not outcome:
            for node in r.peers.here():
                out.peer.append((node, _ASK, [id]))
            return b""
        accepted_ms, submit = _call_of(inst)
        r.host.file(inst, Value(outcome[AT_CODE], outcome), accepted_ms, submit, now_ms, out)
    r.told.pop(id, None)
    del r.moved[id]
    forgetting.try_forget(r, inst, now_ms, out)
    return outcome


def note_of(accepted_ms: int, submit: bytes) -> dict[str, Any]:
    """What the value MOVED of such a call says, for the histories of those it leaves."""
    return {"accepted_ms": accepted_ms, "submit": submit}


def _call_of(inst: Instance) -> tuple[int, bytes]:
    """When the call was accepted, and its SUBMIT envelope; empty where it was not in memory."""
    note = None if inst.value is None else inst.value.note
    return (0, b"") if note is None else (note["accepted_ms"], note["submit"])


def told(r: Replica, id: bytes, outcome: bytes, out: Effects) -> None:
    """A peer knows how a call has ended: filed here, unless the history has got it meanwhile."""
    if id in r.moved:
        r.told[id] = outcome
        out.lookups.append((b"", id))


__all__ = ["is_kept", "look", "looked_up", "note", "note_of", "told"]
