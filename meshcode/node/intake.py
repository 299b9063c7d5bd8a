"""From frames of clients, and events of workers, to events of the core."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import InternalError, MeshError, NotAllowed, Refused
from meshcode.ids import text_of
from meshcode.node import requests, workerwords
from meshcode.node.sessions import Arrived, Port
from meshcode.router import flows, heard, streams
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.events import ClientLeft, Event, NewCall, Submitted, WorkerJoined, Yielded
from meshcode.router.plan import FLOW
from meshcode.wire.codec import unpack_map
from meshcode.wire.frame import AT_ID, check_envelope
from meshcode.wire.kinds import Flag, Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.node.who import Who

# Plain numbers: arithmetic on enum members costs a microsecond.
_SUBMIT, _FRESH = int(Kind.SUBMIT), int(Flag.FRESH)


def receive(loop: Loop, now_ms: int, port: Port | None = None) -> None:
    """Take what clients have sent, as much as a turn may have; `port` as for `Sessions.receive`."""
    sessions = loop.sessions
    before = sessions.came
    arrived = sessions.receive(limits.TURN_EVENTS_MAX, now_ms, port)
    loop.keeping.came(sessions.came - before)
    for frame in arrived:
        take(loop, frame)


def take(loop: Loop, arrived: Arrived) -> None:
    """Take one frame: its calls as one event, its requests one by one."""
    session = arrived.session
    plain = session.who is None and not loop.keeps_no_calls
    try:
        if plain and _are_simple(loop, arrived):
            loop.step(Submitted(session.id, arrived.head.sequence, arrived.calls, {}))
        else:
            _take_any(loop, arrived)
    except Exception as error:
        loop.faults.note("frame", "a client", error)
        _refuse_all(loop, arrived, error)


def _refuse_all(loop: Loop, arrived: Arrived, error: Exception) -> None:
    """No call of a frame was taken: its client is told so of each."""
    problem = InternalError(
        f"internal error: the frame of this call failed at {type(error).__name__}; the call was not"
        " accepted, and the node goes on; try again, each call by itself; the node's log has the"
        " traceback"
    ).to_data()
    refused = [
        (arrived.session.id, call[0], problem)
        for kind, call in zip(arrived.kinds, arrived.calls, strict=True)
        if kind == _SUBMIT
    ]
    loop.turns.add(Effects(refused=refused))


def _are_simple(loop: Loop, arrived: Arrived) -> bool:
    """Whether a frame has calls only, none sent before, none with options and none a flow."""
    kinds, flags = arrived.kinds, arrived.flags
    if kinds.count(_SUBMIT) != len(kinds) or flags.count(_FRESH) != len(flags):
        return False
    if not kinds:
        return False
    caused = False
    for id, flow, _, name, _, options, _ in arrived.calls:
        if options is not None or name == FLOW:
            return False
        if flow != id:
            caused = True
    if caused:
        loop.history.flows.wanted = True
    return True


def _take_any(loop: Loop, arrived: Arrived) -> None:
    session, head = arrived.session, arrived.head
    calls: list[NewCall] = []
    again: list[bytes] = []  # Ids that may have been sent before, here or to another node.
    made: list[bytes] = []  # Of flows: they end at once, so one sent twice is not open by then.
    refused: list[tuple[int, bytes, dict[str, Any]]] = []
    who = session.who
    if who is not None:
        loop.guard.fresh(who)
    for kind, flags, found in zip(arrived.kinds, arrived.flags, arrived.calls, strict=True):
        if kind == _SUBMIT:
            id, flow, parent, name, argc, meta, envelope = found
            try:
                options = None if meta is None else unpack_map(meta)
                call = (id, flow, parent, name, argc, options, envelope)
                if loop.keeps_no_calls and flags & _FRESH:
                    raise _witness(loop)
                if who is not None:
                    _check_rights(loop, who, call)
            except MeshError as error:
                refused.append((session.id, id, error.to_data()))
                continue
            calls.append(call)
            if flow != id:
                loop.history.flows.wanted = True
            if not flags & _FRESH:
                again.append(id)
            elif name == FLOW:
                made.append(id)
        elif kind == Kind.ASK:
            requests.handle(loop, session, check_envelope(found[-1]), found[-1])
        elif kind == Kind.BYE:
            loop.sessions.close(session)
            loop.step(ClientLeft(session.id))
    if who is not None:
        calls, not_theirs = _without_others(loop, who, calls, {*again, *made})
        refused += [(session.id, id, error) for id, error in not_theirs]
    if refused:
        loop.turns.add(Effects(refused=refused))
    if calls or refused:
        ended = loop.ended([*again, *made])
        event = Submitted(session.id, head.sequence, calls, ended)
        if again and loop.mesh is not None:  # A call of this node may have moved to others, too.
            loop.mesh.relay.submit_again(session, event, set(again))
        else:
            loop.step(event)


def _without_others(
    loop: Loop, who: Who, calls: list[NewCall], sent: set[bytes]
) -> tuple[list[NewCall], list[tuple[bytes, dict[str, Any]]]]:
    """The calls without those whose id is that of a call which their principal may not see.

    One that is there already is not made anew: its outcome is told to whoever sent it again.

    Args:
        loop: of this node.
        who: the principal.
        calls: of a frame.
        sent: ids of those that may have been sent before.
    """
    router = loop.router
    known = [
        call[0] for call in calls
        if call[0] in sent or call[0] in router.calls or call[0] in router.replica.by_id
    ]  # fmt: skip
    closed = loop.guard.closed(who, known) if known else set()
    refused = []
    for id in closed:
        error = NotAllowed(
            f"there is a call {text_of(id)} already, and {who.name} may not see it; nothing was"
            " done; a new call needs an id of its own"
        )
        refused.append((id, error.to_data()))
    return [call for call in calls if call[0] not in closed], refused


def _witness(loop: Loop) -> Refused:
    """Why this node takes no new call; one sent before goes on, for another node may have it."""
    assert loop.mesh is not None
    members = loop.mesh.roster.members.values()
    others = sorted(member.name for member in members if member.kind != "witness")
    return Refused(
        f"{loop.mesh.identity.name} is a witness: it keeps votes and no calls; nothing was"
        f" accepted; make the call at another node: {', '.join(others) or 'there is none yet'}"
    )


def _check_rights(loop: Loop, who: Who, call: NewCall) -> None:
    """Look whether a principal may call a socket, and of a flow all that it calls.

    Raises:
        NotAllowed: it may not.
        BadRequest, TooLarge: it is a flow that cannot be read.
    """
    sockets = [call[3]] if call[3] != FLOW else flows.sockets_of(call[6])
    for socket in sockets:
        problem = loop.guard.run_problem(who, socket)
        if problem is not None:
            loop.audit.denied(who, "run", f"socket {socket}", "RUN_TASK")
            raise problem


def attend(loop: Loop) -> None:
    """Let the crew of workers know what it has of the node."""
    workers = loop.router.workers

    def held_by(worker: int) -> Container[bytes]:
        return workers[worker].held if worker in workers else ()

    crew = loop.crew
    crew.say, crew.failed, crew.held_by = loop.say, loop.faults.note, held_by


def take_of_worker(loop: Loop, event: Event) -> None:
    """Take what a worker said, as an event."""
    if isinstance(event, WorkerJoined):
        loop.processors.joined(event.worker)
    elif isinstance(event, Yielded):
        why = workerwords.overdrawn(loop.router, event)
        if why:
            loop.crew.distrust(loop.crew.by_id.get(event.worker or 0), why)
            return
        look_up_items(loop, event)
    loop.keeping.before(event)
    loop.step(event)


def look_up_items(loop: Loop, event: Yielded) -> None:
    """Find out which items an earlier attempt has yielded already, before the core takes them."""
    unsure = streams.unsure(loop.router, event.items)
    if unsure:
        event.ended = set(loop.ended(unsure))


def take_items(loop: Loop, node: bytes, entries: list[Any]) -> None:
    """Items of streams that a peer runs for this node; what is none is dropped."""
    items = [tuple(entry) for entry in entries if heard.is_item(entry)]
    if items:
        event = Yielded(None, items, node=node)
        look_up_items(loop, event)
        loop.step(event)


def items_for_clients(router: Router, items: list[bytes]) -> list[tuple[int, bytes]]:
    """Who is to get each ITEM envelope of a running generator: the clients that want its call."""
    found: list[tuple[int, bytes]] = []
    for item in items:
        id = item[AT_ID]
        call = router.calls.get(id)
        if call is None:
            continue
        if call.client:
            found.append((call.client, item))
        found.extend((client, item) for client in router.watchers.get(id, ()))
    return found
