"""In a mesh, a call that one node keeps alone looks into the history before its outcome is written,
if another caused it, or an earlier boot accepted it.

A client may have submitted it, or its parent, at another node, too, whose keepers ended it and
forgot (P14).  Then the history keeps that outcome, and it is told; what is caused here exists
beside what others cause.  A crash in between costs one more attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.ids import NO_ID
from meshcode.replica.instance import Child
from meshcode.router import ending, holding
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import parent_of
from meshcode.wire.frame import AT_CODE

if TYPE_CHECKING:
    from meshcode.router.core import Router

# Code, OUTCOME envelope, and the calls it causes.
Close = tuple[int, bytes, tuple[Child, ...]]


def may_be_known(r: Router, call: Call) -> bool:
    """Whether the history may have an outcome of a call, and nobody has looked since it began.

    When a client submitted it in this boot, that was looked up then, and it was told of all since.
    """
    if call.filed:
        return False
    submit = call.envelope
    return call.sequence < r.fresh_from or submit is None or parent_of(submit) != NO_ID


def begin(r: Router, call: Call, close: Close, out: Effects) -> None:
    """A call ends so; the history is asked whether it is the first to end."""
    holding.begin_to_end(r, call)
    r.closing[call.id] = close
    out.lookups.append((b"", call.id))


def looked_up(r: Router, id: bytes, known: bytes, now_ms: int, out: Effects) -> None:
    """The history was looked at; `known` is an OUTCOME envelope, or empty."""
    close, call = r.closing.pop(id, None), r.calls.get(id)
    if close is None or call is None:
        return
    code, envelope, children = close
    children = ending.with_targets(r, call, code, envelope, children, now_ms)
    if known:
        call.filed = True
        code, envelope = known[AT_CODE], known
    ending.record(r, call, code, envelope, children, now_ms, out)


__all__ = ["Close", "begin", "looked_up", "may_be_known"]
