"""What stands behind the ids that users name: an id shows nothing that the rights do not show.

Ids are no secrets: listings and logs tell them, and those of ticks and children can be worked out.
So who submits a call under an id that is known, or feeds a flow with one, needs what `call.get` of
it needs; for watching see `Guard.closed`.  Sessions that may do everything are asked nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import BadRequest, MeshError, NotAllowed, TooLarge, UnknownCall
from meshcode.ids import text_of, unix_ms, unix_ms_of, utc_of
from meshcode.node.meshcalls import stored_call
from meshcode.node.sessions import Session
from meshcode.node.who import Who
from meshcode.router import flows, plan, ticking
from meshcode.router.effects import Effects
from meshcode.router.events import NewCall, Submitted
from meshcode.router.records import socket_of, submit_of_done
from meshcode.wire.frame import AT_PARENT

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.router.call import Call

LOOKED_MAX = 1_000  # Calls looked at for what stands behind one id.
UNTOLD = ""  # In the place of a socket: the call is known, and its socket is not any more.
Told = Mapping[bytes, Collection[str]]  # Ids of known calls, and whose results they show.
_Found = tuple[str, bytes]  # The socket of a call; its SUBMIT envelope, where that is the router's.
Refused = list[tuple[int, bytes, dict[str, Any]]]


def guarded(loop: Loop, session: Session) -> Who | None:
    """Who a session is, as it is now, if that may not do everything."""
    who = session.who
    return None if who is None or loop.guard.fresh(who).free else who


def sockets_of(loop: Loop, ids: Iterable[bytes]) -> dict[bytes, list[str]]:
    """The sockets whose results these calls show, of those calls that this node knows."""
    looker = _Looker(loop)
    return {id: looker.behind(calls) for id, calls in looker.find(list(ids)).items()}


class _Looker:
    """What this node knows of some calls."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def behind(self, calls: list[_Found]) -> list[str]:
        """The sockets of a call; of a flow, and of what the router makes, those of its values."""
        found: dict[str, None] = {}
        seen: set[bytes] = set()
        while calls:
            more: set[bytes] = set()
            for name, submit in calls:
                if name == plan.FLOW:
                    sockets, ids = _of_flow(submit)
                    found |= dict.fromkeys(sockets)
                    more.update(ids)
                elif name.startswith("@"):  # It shows values of what has caused it.
                    more.add(submit[AT_PARENT])
                else:
                    found[name or UNTOLD] = None
            more -= seen
            if len(seen) + len(more) > LOOKED_MAX:
                found[UNTOLD] = None
                break
            seen |= more
            # Of what feeds it, what is forgotten here is left out; nobody can have it from here.
            calls = list(chain.from_iterable(self.find(list(more)).values()))
        return list(found) or [UNTOLD]

    def find(self, ids: list[bytes]) -> dict[bytes, list[_Found]]:
        """What is known here of calls: open, ended or kept for others; one may have a twin."""
        router = self._loop.router
        found: dict[bytes, list[_Found]] = {}
        done = self._loop.done_records(ids)
        for id in ids:
            value = done.get(id)
            call = router.calls.get(id) or router.guests.get(id)
            if value is not None:
                submit = submit_of_done(value)
                found.setdefault(id, []).append((socket_of(submit), submit))
            if call is not None:
                found.setdefault(id, []).append(self._open(call))
            elif value is None and (id in router.replica.by_id or id in router.copies):
                one = router.replica.by_id.get(id) or router.copies[id]
                submit = stored_call(self._loop, one.sequence)[1]
                found.setdefault(id, []).append((socket_of(submit), submit))
        return found

    def _open(self, call: Call) -> _Found:
        name = call.line.name
        return name, self._loop.history.envelope_of(call) if name.startswith("@") else b""


def _of_flow(submit: bytes) -> tuple[list[str], list[bytes]]:
    try:
        return flows.sockets_of(submit), flows.ids_of(submit)
    except (BadRequest, TooLarge):  # It was accepted by a node with other limits.
        return [UNTOLD], []


def _closed(
    loop: Loop, who: Who, id: bytes, sockets: Collection[str], what: str
) -> MeshError | None:
    """Why a user may not name the id of a call of these sockets, or None."""
    problem = loop.guard.sees_problem(who, sockets)
    if problem is None:
        return None
    loop.audit.denied(who, "see", f"call {text_of(id)}", problem.fields["right"])
    told = f"{what} {text_of(id)}"
    if UNTOLD in sockets:
        told += (
            ", of which no node that was asked can say whose it is (it was away when the call"
            " ended, or is of an older version), so the right to all calls is needed; try another"
            " node"
        )
    return NotAllowed(f"{told}: {problem.text}", **problem.fields)


# Submitting.


def are_new(loop: Loop, who: Who, calls: list[NewCall]) -> bool:
    """Whether a user may make all of some calls that are no flows, for nobody knows their ids.

    It is the quick answer for most frames; no says nothing, see `sift`.
    """
    if any(loop.guard.run_problem(who, name) is not None for name in {call[3] for call in calls}):
        return False
    ids, router = [call[0] for call in calls], loop.router
    known = (router.calls, router.guests, router.replica.by_id, router.copies)
    return (
        all(some.keys().isdisjoint(ids) for some in known)
        and _ticks_of(loop, ids).keys().isdisjoint(ids)
        and not loop.has_ended(ids)
    )


def sift(loop: Loop, session: Session, calls: list[NewCall]) -> tuple[Refused, list[bytes]]:
    """Take out of a user's calls those whose ids stand for what it may not see, or for ticks.

    Returns the refusals, and the ids that feed flows and that this node does not know: see
    `settle`.
    """
    who, refused = session.who, []
    assert who is not None
    named = [(call, _named(call)) for call in calls]
    known = sockets_of(loop, chain.from_iterable(ids for _, ids in named))
    ticks = _ticks_of(loop, [call[0] for call in calls])
    calls.clear()
    unknown: list[bytes] = []
    for call, ids in named:
        problem = _tick_problem(ticks, call[0]) or _problem(loop, who, ids, known)
        if problem is not None:
            refused.append((session.id, call[0], problem.to_data()))
            continue
        calls.append(call)
        unknown += [id for id in ids[1:] if id not in known]
    return refused, unknown


def settle(
    loop: Loop, session: Session, event: Submitted, fed: Collection[bytes], told: Told
) -> None:
    """The same of what this node did not know, before `submit`; nobody else is asked any more.

    Args:
        fed: as `sift` gave it.
        told: what the peers say.
    """
    who = guarded(loop, session)
    if who is None or not (fed or told):
        return
    known = {**told, **sockets_of(loop, fed)}  # One may have come since.
    refused: Refused = []
    calls: list[NewCall] = []
    here: set[bytes] = set()  # Calls of this frame.
    for call in event.calls:
        ids = _named(call)
        missing = [id for id in ids[1:] if id in fed and id not in known and id not in here]
        problem = _problem(loop, who, ids, known) or _missing(loop, who, missing)
        if problem is not None:
            refused.append((session.id, call[0], problem.to_data()))
            continue
        calls.append(call)
        here.add(call[0])
    event.calls = calls
    if refused:
        loop.turns.add(Effects(refused=refused))


def submit(loop: Loop, session: Session, event: Submitted) -> None:
    """Let the core take calls of a client, but none that is new and comes from the future.

    When a call is forgotten, its id says how old it is.
    """
    router, wall_ms = loop.router, unix_ms()
    # The node's clock is not set while it runs; the machine's may have been.
    now_ms = max(wall_ms, loop.clock.now_ms())
    good: list[NewCall] = []
    refused: Refused = []
    for call in event.calls:
        id = call[0]
        ahead_ms = unix_ms_of(id) - now_ms
        known = id in router.calls or id in event.ended or id in router.replica.by_id
        if ahead_ms <= limits.ID_AHEAD_MS or known or id in router.copies:
            good.append(call)
            continue
        problem = BadRequest(
            f"the id of this call was made at {utc_of(unix_ms_of(id))} by the clock of its client,"
            f" and the clock of this node says {utc_of(now_ms)}: an id may be"
            f" {limits.ID_AHEAD_MS // 60_000} minutes ahead, for by its time its outcome is"
            " forgotten; the call was not accepted; set the clock that is wrong, and submit it"
            " again with a new id"
        )
        refused.append((session.id, id, problem.to_data()))
    if refused:
        event.calls = good
        loop.turns.add(Effects(refused=refused))
    event.part = loop.frames.part_of((event.client, event.sequence))
    loop.step(event)


def _named(call: NewCall) -> list[bytes]:
    """The id of a call, and those that feed it if it is a flow."""
    return [call[0], *(flows.ids_of(call[6]) if call[3] == plan.FLOW else ())]


def _problem(loop: Loop, who: Who, ids: list[bytes], known: Told) -> MeshError | None:
    """Why a user may not submit a call that names these ids, its own first; None: it may."""
    for number, id in enumerate(ids):
        if id in known:
            what = "the flow is fed call" if number else "this is the id of an earlier call,"
            problem = _closed(loop, who, id, known[id], what)
            if problem is not None:
                return problem
    return None


def _missing(loop: Loop, who: Who, ids: list[bytes]) -> MeshError | None:
    """Why a flow may not be fed calls that nobody knows: whose results they will be is not told."""
    if not ids or loop.guard.sees_problem(who, [UNTOLD]) is None:
        return None
    return UnknownCall(
        f"the flow is fed call {text_of(ids[0])}, which neither this node nor a peer that answered"
        " knows; nothing was accepted; submit that call first"
    )


def _ticks_of(loop: Loop, ids: Iterable[bytes]) -> dict[bytes, str]:
    """The ids of ticks of the times at which these ids were made, and their schedules."""
    found: dict[bytes, str] = {}
    for made_ms in {unix_ms_of(id) for id in ids}:
        found |= ticking.ticks_at(loop.router, made_ms)
    return found


def _tick_problem(ticks: Mapping[bytes, str], id: bytes) -> MeshError | None:
    """Why nobody but the nodes makes a call with this id; None: it is not that of a tick."""
    name = ticks.get(id)
    if name is None:
        return None
    return BadRequest(
        f"{text_of(id)} is the id of schedule {name}'s call at {utc_of(unix_ms_of(id))}, which the"
        " nodes make; this call was not accepted; submit it with an id made for it"
    )
