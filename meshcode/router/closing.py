"""In a mesh, a call that one node keeps alone looks into the history before its outcome is written.

Its client may have submitted it at another node, too, whose keepers ended it, or its parent, and
forgot (P14).  What the history has then is how it ended: the outcome here is dropped, with all that
it would have caused, for the other has caused it.  A crash in between costs one more attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.replica.instance import Child
from meshcode.router import ending
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.states import State

if TYPE_CHECKING:
    from meshcode.router.core import Router

# Code, OUTCOME envelope, and the calls it causes.
Close = tuple[int, bytes, tuple[Child, ...]]


def begin(r: Router, call: Call, close: Close, out: Effects) -> None:
    """A call ends so, unless the history knows better."""
    waited = call.state is State.WAITING
    call.move(State.ENDING)
    if waited and call.line.leave_waiting(call):
        r.offer(call.line)
    r.closing[call.id] = close
    out.lookups.append((b"", call.id))


def looked_up(r: Router, id: bytes, known: bytes, now_ms: int, out: Effects) -> None:
    """The history was looked at; `known` is an OUTCOME envelope, or empty."""
    close, call = r.closing.pop(id, None), r.calls.get(id)
    if close is None or call is None:
        return
    code, envelope, children = close
    if known:
        call.filed = True
        code, envelope, children = known[13], known, ()
    ending.record(r, call, code, envelope, children, now_ms, out)


__all__ = ["Close", "begin", "looked_up"]
