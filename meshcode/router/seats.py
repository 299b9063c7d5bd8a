"""Seats: the places of workers, by which a broadcast names each of them.

A node is to have so many workers for a processor, at places counted from 0; who takes over from a
worker that died or was replaced sits at its place.  Nodes tell each other how many places they
have (SEATS, all of them at once), so whoever owns a broadcast knows every seat of the mesh.

Broadcasts and their copies wait in lines of their own, outside the rotation: a copy can go to one
worker only, so it must neither hold up the calls behind it nor wait behind them.  The node of a
seat is the one that knows when it is gone for good; whoever owns the copy knows of evictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshcode import errors, limits
from meshcode.ids import ID_BYTES
from meshcode.replica.peers import DEAD, EVICTED, KNOWN, LEAVING, LEFT, Peer
from meshcode.router import casting, dispatch, ending, events, gathering, streams, work
from meshcode.router.call import Call
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Assignment, Effects
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.states import State
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_WHERE: Final = {
    DEAD: "is away", LEFT: "was stopped", LEAVING: "is being started again", KNOWN: "never came",
    EVICTED: "was evicted",
}  # fmt: skip
_GOES_ON: Final = "it begins when that was started again, and ends when it is evicted"
_ALL: Final = 1 << 30  # More calls than a line can have.
_ADDRESS: Final = frozenset({"seat", "broadcast"})
_SEATS: Final = int(Kind.SEATS)
_FAILED: Final = int(Outcome.FAILED)


class Seat(NamedTuple):
    """The place of one worker of a processor."""

    node: bytes
    place: int  # From 0.


class Seats:
    """What a router knows of seats, and the lines of calls that name one."""

    def __init__(self) -> None:
        """Nobody has told anything yet."""
        # By socket, seat (None: broadcasts themselves), and whether the calls are those of peers.
        self.lines: dict[tuple[str, Seat | None, bool], Line] = {}
        self.own: dict[str, int] | None = None  # Places here, by processor; None = not told yet.
        self.at: dict[bytes, dict[str, int]] = {}  # The same of peers; missing = not told yet.
        self.former: set[bytes] = set()  # Ids that this node had before it joined its mesh.


def seat_of(options: dict[str, Any] | None) -> Seat | None:
    """The seat that a copy of a broadcast names in its options; None: any worker will do."""
    found = None if options is None else options.get("seat")
    return None if found is None else Seat(found["node"], found["place"])


def option_of(seat: Seat) -> dict[str, Any]:
    """A seat as the option `seat` has it."""
    return {"node": seat.node, "place": seat.place}


# Lines.


def line_of(r: Router, name: str, options: dict[str, Any] | None) -> Line:
    """The line where a call with these options waits."""
    own = r.lines.get(name) or r.line_of_removed(name)
    if own.builtin or not (own.casts or (options and not _ADDRESS.isdisjoint(options))):
        return own
    seat = seat_of(options)
    if seat is None and not casting.is_wanted(own, options):
        return own
    return line_at(r, own, seat)


def line_at(r: Router, own: Line, seat: Seat | None, *, guest: bool = False) -> Line:
    """The line of calls of a socket for one seat; without one, of its broadcasts."""
    key = (own.name, seat, guest)
    line = r.seats.lines.get(key)
    if line is None:
        line = Line(_config(own, guest=guest), addressed=True, seat=seat)
        r.seats.lines[key] = line
        r.pool(line.config.processor)
        _follow(line, own)
    line.at_once, line.run_us = own.at_once, own.run_us
    return line


def _config(own: Line, *, guest: bool) -> SocketConfig:
    make = SocketConfig.without_limits if guest else SocketConfig.addressed
    return make(own.config)


def _follow(line: Line, own: Line) -> None:
    line.removed = own.removed
    line.edges = own.edges


def refresh_lines(r: Router) -> None:
    """The model changed: these lines follow those of their sockets."""
    for (name, _, guest), line in r.seats.lines.items():
        own = r.lines[name]
        before = r.pool(line.config.processor)
        if before.name != own.config.processor:
            before.withdraw(line)
            r.pool(own.config.processor)
        line.configure(_config(own, guest=guest))
        _follow(line, own)
    offer_again(r)


def offer_again(r: Router) -> None:
    """Something is known that may let these calls begin, or end."""
    for line in r.seats.lines.values():
        if line.depth:
            r.offer(line)


# Who has which seats.


def on_crew_changed(r: Router, event: events.CrewChanged, now_ms: int, out: Effects) -> None:
    """This node is to have other workers than before: its peers hear of it."""
    r.seats.own = event.seats
    for pool in r.pools.values():
        reseat(r, pool)
    offer_again(r)
    tell(r, out)


def reseat(r: Router, pool: Pool) -> None:
    """Give free places to workers that have none, the oldest first; the others stay."""
    if r.seats.own is None:
        return
    count = r.seats.own.get(pool.name, 0)
    here = {w.id: w for w in pool.workers.values() if not (w.leaving or w.node)}
    seated = {n: w for n, w in pool.seated.items() if n < count and here.pop(w.id, None) is w}
    standing = iter(here.values())
    for place in range(count):
        if place not in seated and (worker := next(standing, None)) is not None:
            seated[place] = worker
    if seated != pool.seated:
        pool.seated = seated
        offer_again(r)


def tell(r: Router, out: Effects) -> None:
    """Tell the peers all places of workers that this node has; while it drains it has none."""
    if r.seats.own is not None:
        own = {} if r.draining else r.seats.own
        out.peer.extend((node, _SEATS, [own]) for node in r.replica.peers.here())


def on_drained(r: Router, out: Effects) -> None:
    """The workers here take nothing more: no broadcast that begins from now on reaches them."""
    tell(r, out)
    work.drained(r, out)


def told(r: Router, node: bytes, entry: list[Any]) -> None:
    """A peer has told the same."""
    places: dict[str, int] = entry[0]
    most = limits.PEER_SLOTS_MAX
    found = {name: min(count, most) for name, count in places.items() if count > 0}
    if r.seats.at.get(node) != found:
        r.seats.at[node] = found
        offer_again(r)


def places_at(r: Router, node: bytes, processor: str) -> int:
    """How many workers a peer has for a processor, as it told; 0: it has none, or has not told."""
    return r.seats.at.get(node, {}).get(processor, 0)


def peer_changed(r: Router, peer: Peer, boot_before: int) -> None:
    """A peer came, went, or began a new life: then what it told before does not count."""
    again = bool(boot_before) and peer.boot > boot_before
    if again or peer.state in (LEFT, EVICTED):
        r.seats.at.pop(peer.node, None)
    offer_again(r)


def _name_of(r: Router, node: bytes) -> str:
    if node == r.node:
        return r.name or node.hex()[:12]
    return r.replica.peers.name_of(node)


def untold(r: Router) -> str:
    """Who has yet to tell of its workers, for people; "" when all that are here have."""
    if r.seats.own is None:
        return "this node"
    for peer in r.replica.peers.by_node.values():
        if peer.here and peer.node not in r.seats.at:
            return f"node {_name_of(r, peer.node)}"
    return ""


def known(r: Router, processor: str) -> list[tuple[str, Seat]]:
    """All seats of a processor, with the names of their nodes, in the order of these.

    Those of nodes that are away, too, unless they went in good order, or drain.
    """
    own = 0 if r.draining else (r.seats.own or {}).get(processor, 0)
    places = {r.node: (_name_of(r, r.node), own)}
    for node, told_of in r.seats.at.items():
        places[node] = (_name_of(r, node), told_of.get(processor, 0))
    found = [
        (name, Seat(node, place))
        for node, (name, count) in places.items()
        for place in range(count)
    ]
    return sorted(found)


def is_mine(r: Router, pool: Pool, seat: Seat) -> bool:
    """Whether this node can say what becomes of a copy that a peer owns."""
    ours = seat.node == r.node and len(seat.node) == ID_BYTES
    return ours and r.seats.own is not None and not r.draining


# Handing over.


def hand_over(r: Router, pool: Pool, now_ms: int, out: Effects) -> None:
    """Begin broadcasts, give copies to the workers they are for, end those whose seat is gone."""
    lines = list(pool.addressed)
    pool.addressed.clear()
    for line in lines:
        if line.seat is not None and (why := _is_gone(r, pool, line.seat)):
            _end_all(r, line, line.seat, why, now_ms, out)
        elif pool.paused or pool.stopped or line.removed:
            pass  # A change of the model offers it again.
        elif line.seat is None:
            casting.begin_all(r, line, now_ms, out)
        else:
            _give(r, pool, line, line.seat, now_ms, out)
    if r.ripe:
        gathering.settle(r, now_ms, out)
    if r.streams.dirty or r.streams.left or r.streams.born:
        streams.settle(r, now_ms, out)


def take(r: Router, line: Line, room: int, now_ms: int, out: Effects) -> list[Call]:
    """Up to `room` calls of all priorities leave the line; those only in the log are fetched."""
    found: list[Call] = []
    for priority in sorted(line.ready, reverse=True):
        if len(found) >= room:
            break
        found += line.take(priority, room - len(found), now_ms)
        if line.starved:
            if not line.fetching:
                free = r.bodies_bytes_max - r.bodies_bytes
                dispatch.fetch(r, line.to_fetch(free, r.fetch_bytes_min), out)
            break
        if not line.ready[priority]:
            del line.ready[priority]
    return found


def take_all(r: Router, line: Line, now_ms: int, out: Effects) -> list[Call]:
    """All calls of a line, which no worker gets."""
    calls = take(r, line, _ALL, now_ms, out)
    for call in calls:
        line.leave_running(call)
    return calls


def _give(r: Router, pool: Pool, line: Line, seat: Seat, now_ms: int, out: Effects) -> None:
    if seat.node != r.node:
        peer = work.seat_peer(r, seat.node, pool.name)
        if peer is None or not (peer.peer.here and peer.slots):
            return  # It offers the line again when it is back, or speaks.
        worker: Worker = peer
        room = peer.room(line, now_ms)
    else:
        own = pool.seated.get(seat.place)
        if own is None or r.draining:
            return
        worker = own
        room = 0 if own.skips(line) else own.room_alone(line, now_ms)
    calls = take(r, line, room, now_ms, out) if room > 0 else []
    if calls:
        batch: list[Assignment] = []
        dispatch.begin(r, worker, line, calls, batch, now_ms, out)
        dispatch.send(r, worker, batch, now_ms, out)
    if not line.fetching:
        pool.offer(line)  # The rest begins when the worker has room: then the pool is touched.


def _is_gone(r: Router, pool: Pool, seat: Seat) -> str:
    """Why a seat is gone for good, for people; "" while it is not, as far as this node knows."""
    if seat.node in r.replica.peers.evicted:
        return f"node {_name_of(r, seat.node)} was evicted"
    if seat.node in r.seats.former:
        return "its node has joined a mesh since, under another id"
    if seat.node != r.node or r.seats.own is None:
        return ""
    count = r.seats.own.get(pool.name, 0)
    if seat.place < count:
        return ""
    return f"node {_name_of(r, r.node)} has {count} workers for processor {pool.name} now"


def _end_all(r: Router, line: Line, seat: Seat, why: str, now_ms: int, out: Effects) -> None:
    for call in take_all(r, line, now_ms, out):
        error = errors.SeatGone(
            f"not run: it was for worker {seat.place} (from 0) of socket {line.name}, and {why}; "
            "what the other workers said is kept; call again to reach those that are there now",
            socket=line.name, node=seat.node.hex(), place=seat.place,
        )  # fmt: skip
        if call.owner is None:
            call.gather_for("")
        else:
            call.state = State.MOVED
            call.attempt += 1  # The one that would have begun.
        ending.end_with_error(r, call, _FAILED, error, now_ms, out)


# For people.


def parked_reason(r: Router, line: Line) -> str:
    """Why no call of such a line can begin; "" when they wait only for their turn."""
    pool = r.pools[line.config.processor]
    if pool.stopped or pool.paused:
        return pool.parked_reason()
    if line.seat is None:
        return _broadcast_waits(r, line)
    if line.seat.node == r.node:
        if r.draining:
            return f"this node drains; {_GOES_ON}"
        if line.seat.place in pool.seated:
            return ""
        why = pool.reason or "starting"
        return f"worker {line.seat.place} of processor {pool.name} is not there: {why}"
    peer = r.replica.peers.by_node.get(line.seat.node)
    if peer is None:
        name = line.seat.node.hex()[:12]
        return f"it is for a worker of node {name}, of which this node knows nothing; cancel it"
    if not peer.here:
        where = f"worker {line.seat.place} of node {peer.name}, which {_WHERE[peer.state]}"
        return f"it is for {where}; it begins when that is back, and ends when it is evicted"
    told_of = r.seats.at.get(line.seat.node)
    if told_of is not None and line.seat.place >= told_of.get(pool.name, 0):
        # It drains: had it fewer workers now, it would have ended the call.
        return f"node {_name_of(r, peer.node)} drains; {_GOES_ON}"
    at = r.peer_workers.get(work.seat_key(line.seat.node, pool.name))
    return "" if at is None or at.slots else f"node {peer.name} cannot take it yet"


def _broadcast_waits(r: Router, line: Line) -> str:
    if who := untold(r):
        return f"{who} has not said yet which workers it has"
    own = r.lines[line.name]
    bound = r.wiring.bound.get(own.config.queue, ()) if own.spread else [(line.name, "")]
    names = [name for name, _ in bound]
    if any(known(r, r.lines[name].config.processor) for name in names):
        return ""
    others = "this node drains, and no other" if r.draining else "no node"
    return f"{others} has a worker for processor {line.config.processor}"


class Figures(NamedTuple):
    """What waits and runs at a socket of this node, broadcasts and their copies too."""

    waiting: int
    running: int
    bytes: int
    parked: str  # Why nothing can begin; where only copies wait, why one of them cannot.


def own_lines(r: Router) -> list[Line]:
    """The lines of all calls that this node owns."""
    addressed = (line for (_, _, guest), line in r.seats.lines.items() if not guest)
    return [*r.lines.values(), *addressed]


def figures(r: Router) -> Iterator[tuple[Line, Figures]]:
    """The line of each socket that is there or has calls, with its figures."""
    beside: dict[str, list[Line]] = {}
    for line in own_lines(r):
        if line.addressed and (line.depth or line.running):
            beside.setdefault(line.name, []).append(line)
    for line in r.lines.values():
        also = beside.get(line.name, [])
        every = [line, *also]
        waiting, running = sum(one.depth for one in every), sum(one.running for one in every)
        if line.removed and not (waiting or running):
            continue
        reasons = (r.parked_reason(one) for one in also if one.depth and not line.depth)
        parked = r.parked_reason(line) or next(filter(None, reasons), "")
        yield line, Figures(waiting, running, sum(one.bytes for one in every), parked)


def check(r: Router) -> None:
    """Assert what must always hold of seats; slow, for tests and the simulator."""
    for pool in r.pools.values():
        for worker in pool.seated.values():
            assert pool.workers.get(worker.id) is worker and not worker.leaving, pool.name
        assert len({worker.id for worker in pool.seated.values()}) == len(pool.seated), pool.name
        for line in pool.addressed:
            assert line.addressed and line.config.processor == pool.name, line.name


__all__ = [
    "Figures", "Seat", "Seats", "check", "figures", "hand_over", "known", "line_at", "line_of",
    "offer_again", "on_crew_changed", "own_lines", "parked_reason", "peer_changed",
    "refresh_lines", "reseat", "seat_of", "tell", "told", "untold",
]  # fmt: skip
