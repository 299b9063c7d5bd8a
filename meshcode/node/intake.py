"""From frames of clients, and events of workers, to events of the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import InternalError, MeshError, Refused
from meshcode.ids import unix_ms
from meshcode.node import behind, requests, workerwords
from meshcode.node.crew import Attempt
from meshcode.node.frames import Rest
from meshcode.node.sessions import Arrived, Port, Session
from meshcode.router import flows, heard, streams
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.events import (
    LAST,
    ClientLeft,
    Event,
    Finished,
    NewCall,
    Submitted,
    WorkerJoined,
    Yielded,
)
from meshcode.router.plan import FLOW
from meshcode.wire.codec import unpack_map
from meshcode.wire.frame import AT_ID, check_envelope
from meshcode.wire.kinds import Flag, Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.node.who import Who

# Plain numbers: arithmetic on enum members costs a microsecond.
_SUBMIT, _FRESH = int(Kind.SUBMIT), int(Flag.FRESH)
_ID = itemgetter(0)  # Of a call.


def receive(loop: Loop, now_ms: int, port: Port | None = None) -> None:
    """Take what clients have sent, as much as a turn may have; `port` as for `Sessions.receive`."""
    sessions, frames = loop.sessions, loop.frames
    before = sessions.came
    arrived = sessions.receive(frames.room, now_ms, port)
    loop.keeping.came(sessions.came - before)
    for frame in arrived:
        if frames.waits(frame.session.id):
            frames.put(Rest(frame))
        else:
            take(loop, frame)


def go_on(loop: Loop) -> None:
    """A turn begins to take of clients: first what waits since the last."""
    loop.frames.left = limits.TURN_WORK_MAX
    while (rest := loop.frames.next()) is not None:
        if rest.at:
            _take_part(loop, rest)
        else:
            take(loop, rest.arrived)


def forget_gone(loop: Loop) -> None:
    """Let all parts of the node forget the sessions that have ended since this was called last.

    Once a round: a session may end in the midst of what is said to it, and frames of it that were
    read before may be taken after.
    """
    gone = loop.sessions.take_gone()
    if not gone:
        return
    for client in gone:
        loop.step(ClientLeft(client))
        if loop.mesh is not None:
            loop.mesh.relay.client_left(client)
    loop.frames.leave(gone)
    loop.listeners.leave(gone)
    loop.feed.leave(gone)
    loop.hear_calls()


def take(loop: Loop, arrived: Arrived) -> None:
    """Take one frame: its calls as one event, if they are simple, else as far as one step may."""
    session = arrived.session
    try:
        is_simple = not loop.keeps_no_calls and _are_simple(loop, arrived)
        if is_simple:
            loop.frames.left -= len(arrived.calls)
            loop.step(Submitted(session.id, arrived.head.sequence, arrived.calls, {}))
    except Exception as error:
        loop.faults.note("frame", "a client", error)
        _refuse_all(loop, arrived, error)
    else:
        if not is_simple:
            _take_part(loop, Rest(arrived))


def _take_part(loop: Loop, rest: Rest) -> None:
    """Take the next part of a frame: its calls as one event, its requests one by one."""
    arrived, frames = rest.arrived, loop.frames
    begin, end = frames.cut(rest)
    if end - begin < len(arrived.kinds):
        arrived = Arrived(
            arrived.session, arrived.head, arrived.calls[begin:end],
            arrived.kinds[begin:end], arrived.flags[begin:end],
        )  # fmt: skip
        if end < len(rest.arrived.kinds):
            frames.put(rest, first=True)
    try:
        is_told = _take_any(loop, arrived)
    except Exception as error:
        loop.faults.note("frame", "a client", error)
        _refuse_all(loop, arrived, error)
        is_told = False
    if not is_told and frames.skip(rest.key):
        loop.step(Submitted(*rest.key, [], part=LAST))


def _refuse_all(loop: Loop, arrived: Arrived, error: Exception) -> None:
    """No call of a frame, or a part, was taken: its client is told so of each."""
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
    """Whether a frame has calls only, all made just now, none with options and none a flow.

    Who may not do everything may make them, too.
    """
    kinds, flags = arrived.kinds, arrived.flags
    if kinds.count(_SUBMIT) != len(kinds) or flags.count(_FRESH) != len(flags):
        return False
    if not kinds:
        return False
    caused = False
    first, last = _trusted()
    ids = list(map(_ID, arrived.calls))
    if not (first <= min(ids) and max(ids) < last):
        return False
    for id, flow, _, name, _, options, _ in arrived.calls:
        if options is not None or name == FLOW:
            return False
        if flow != id:
            caused = True
    who = behind.guarded(loop, arrived.session)
    if who is not None and not behind.are_new(loop, who, arrived.calls):
        return False
    if caused:
        loop.history.flows.wanted = True
    return True


def _trusted() -> tuple[bytes, bytes]:
    """Between which ids FRESH is believed: those made about now.  An older one may have ended."""
    now_ms, far_ms = unix_ms(), limits.FRESH_TRUSTED_MS
    first_ms = max(0, now_ms - far_ms)  # A device without a clock begins in 1970.
    return first_ms.to_bytes(6, "big"), (now_ms + far_ms).to_bytes(6, "big")


class _Calls:
    """The calls of one frame."""

    __slots__ = ("again", "first", "last", "looked", "refused", "taken", "who")

    def __init__(self, who: Who | None) -> None:
        """None yet; `who`: whose promises are not believed, None: they are."""
        self.who = who
        self.first, self.last = _trusted()
        self.taken: list[NewCall] = []
        self.again: list[bytes] = []  # They may have been sent before, here or to another node.
        self.looked: list[bytes] = []  # Looked up here only.
        self.refused: behind.Refused = []

    def take(self, call: NewCall, *, fresh: bool) -> None:
        """One more: what is to be looked up of it."""
        id = call[0]
        recent = self.first <= id < self.last
        if not fresh or (self.who is not None and not recent):
            self.again.append(id)
        elif self.who is not None or not recent or call[3] == FLOW:
            self.looked.append(id)  # A flow ends at once, so one sent twice is not open by then.
        self.taken.append(call)


def _take_any(loop: Loop, arrived: Arrived) -> bool:
    """Whether there was a call, so that the core is told of the part."""
    session, head = arrived.session, arrived.head
    calls = _Calls(behind.guarded(loop, session))
    for kind, flags, found in zip(arrived.kinds, arrived.flags, arrived.calls, strict=True):
        if kind == _SUBMIT:
            id, flow, parent, name, argc, meta, envelope = found
            fresh = bool(flags & _FRESH)
            try:
                options = None if meta is None else unpack_map(meta)
                call = (id, flow, parent, name, argc, options, envelope)
                if loop.keeps_no_calls and fresh:
                    raise _witness(loop)
                if calls.who is not None:
                    _check_rights(loop, calls.who, call)
            except MeshError as error:
                calls.refused.append((session.id, id, error.to_data()))
                continue
            calls.take(call, fresh=fresh)
            if flow != id:
                loop.history.flows.wanted = True
        elif kind == Kind.ASK:
            requests.handle(loop, session, check_envelope(found[-1]), found[-1])
        elif kind == Kind.BYE:
            loop.sessions.close(session)
    if not (calls.taken or calls.refused):
        return False
    _submit(loop, session, head.sequence, calls)
    return True


def _submit(loop: Loop, session: Session, sequence: int, calls: _Calls) -> None:
    fed: list[bytes] = []
    if calls.who is not None:
        refused, fed = behind.sift(loop, session, calls.taken)
        calls.refused += refused
    if calls.refused:
        loop.turns.add(Effects(refused=calls.refused))
    event = Submitted(session.id, sequence, calls.taken, loop.ended([*calls.again, *calls.looked]))
    if (calls.again or fed) and loop.mesh is not None:
        # A call of this node may have moved to others, too.
        loop.mesh.relay.submit_again(session, event, set(calls.again), set(fed))
    else:
        behind.settle(loop, session, event, fed, {})
        behind.submit(loop, session, event)


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

    def held_by(worker: int) -> Mapping[bytes, Attempt]:
        return workers[worker].held if worker in workers else {}

    crew = loop.crew
    crew.say, crew.failed, crew.held_by = loop.say, loop.faults.note, held_by


def take_of_workers(loop: Loop, found: Iterable[Event], now_ms: int) -> None:
    """Take what workers said, as events; of one that is ended for one of them, none after that.

    What came before that is good: a worker may be ended already for what it said later.
    """
    crew, ended = loop.crew, set[int]()
    for event in found:
        id = getattr(event, "worker", 0)
        if id in ended:
            continue
        try:
            why = workerwords.overdrawn(loop.router, event) if isinstance(event, Yielded) else ""
            if why:
                crew.distrust(crew.by_id.get(id), why)
                ended.add(id)
            else:
                _take_of_worker(loop, event, now_ms)
        except Exception as error:
            crew.fault(crew.by_id.get(id), error)
            ended.add(id)


def _take_of_worker(loop: Loop, event: Event, now_ms: int) -> None:
    if isinstance(event, WorkerJoined):
        loop.processors.joined(event.worker)
    elif isinstance(event, Yielded):
        look_up_items(loop, event)
    elif isinstance(event, Finished) and loop.processors.reported(event.worker, now_ms):
        loop.watch()
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
        found.extend((client, item) for client in router.watchers.by_call.get(id, ()))
    return found
