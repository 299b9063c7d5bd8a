"""The short way of steps of a flow: those that need nothing, and those that need one step before.

`begin` and `feed` do in one piece what the long way (`ending.issue`, `Router.enter`, `gathering`)
does step by step for any call, and leave alone whatever is not plain.  What a plan says of a step
is not read from its envelope again.  What comes of both ways is the same, record by record:
tests/router/test_steps.py plays the same events along both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meshcode.router import ending, feeding, gathering, timers
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, has_name
from meshcode.router.line import Line
from meshcode.router.plan import NOTHING, Made
from meshcode.router.states import State
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_WAITING: Final = State.WAITING
_GATHERING: Final = State.GATHERING


def may_begin(r: Router, call: Call) -> bool:
    """Whether the steps of a flow may be made the short way: nobody else keeps them."""
    return (
        call.inst is None
        and r.late is None
        and not r.replica.peers.by_node
        and call.id not in r.streams.tracked
    )


def begin(
    r: Router,
    root: bytes,
    ids: Sequence[bytes],
    made: list[Made],
    now_ms: int,
    out: Effects,
) -> None:
    """Make the steps of a flow.

    Args:
        r: the router, where `may_begin` said yes.
        root: the id of the flow's own call.
        ids: those of all steps.
        made: the steps as the plan has them.
        now_ms: node time.
        out: gets their records.
    """
    custody, known, needed, append = r.custody_at(now_ms), r.calls, r.needed, out.records.append
    lines, offered, listening = r.lines, set[Line](), r.listening
    for id, submit, name, options, need in made:
        line = lines.get(name)
        size = len(submit)
        if (
            line is None
            or line.special
            or line.expires
            or id in known
            or need is None
            or not (r.has_room(line, size) if need == NOTHING else ids[need] in known)
        ):
            ending.issue(r, id, submit, now_ms, out)
            continue
        sequence = r.next_sequence
        r.next_sequence = sequence + 1
        call = known[id] = Call(id, sequence, line, submit, size, options, 0, now_ms)
        call.needs = r.turn
        append(("open", sequence.to_bytes(8, "big"), custody + submit))
        r.bodies_bytes += size
        line.depth += 1
        line.bytes += size
        if listening:
            r.tell(out, call, "received", "", now_ms)
        if need == NOTHING:
            line.push(call)
            if line not in offered:
                offered.add(line)
                r.offer(line)
            continue
        first = ids[need]
        call.gather = gathering.One(need, root, first)
        call.state = _GATHERING
        waiting = needed.get(first)
        if waiting is None:
            needed[first] = [call]
        else:
            waiting.append(call)


def feed(
    r: Router, waiting: list[Call], envelope: bytes, now_ms: int, offered: set[Line]
) -> bool:
    """Give an outcome to those who wait for it, if it is all that they need and they may begin.

    False, and nothing was done, if that is not so of one of them.  `offered`: lines that this was
    done for since anything was handed over.
    """
    if envelope[AT_CODE] != _DONE or has_name(envelope):
        return False
    fed = feeding.One(body_of(envelope))
    most = gathering.most(r)
    for call in waiting:
        if (
            type(call.gather) is not gathering.One
            or call.state is not _GATHERING
            or call.line.special
            or call.size + fed.size > most
        ):
            return False
    for call in waiting:
        line = call.line
        call.gather = None
        call.reason_given = ""
        call.fed = fed
        if not (call.attempt or call.recorded):
            call.needs = r.turn
        call.due_ms = now_ms
        call.state = _WAITING
        line.push(call)
        if line not in offered or call.priority not in line.offered:
            offered.add(line)
            r.offer(line)
        if line.expires:
            timers.arm_expiry(r, call)
    return True
