"""Work between nodes: calls that peers run for this node, and calls that it runs for them.

To its owner a peer is one more worker of a pool, with as many slots as the peer grants: the side
that executes gives the credit, so nothing is hoarded.  To the executor a peer's call is a *guest*:
it waits in a line of its own, takes a worker like any other call, and is reported to its owner;
nothing of it is in the executor's log.  A report is sent until the owner has taken it, and an owner
asks after what it has not heard of for a while, since a message between nodes may be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.router import (
    ending,
    events,
    holding,
    replicated,
    seats,
    sending,
    streams,
)
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import id_of
from meshcode.router.feeding import Whole
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.records import read_envelope
from meshcode.router.states import State
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.replica.peers import Peer
    from meshcode.router.core import Router

_GRANT: Final = int(Kind.GRANT)
_RAN: Final = int(Kind.RAN)
_TAKEN: Final = int(Kind.TAKEN)
_GAVE_BACK: Final = int(Kind.GAVE_BACK)
_HOLDS: Final = int(Kind.HOLDS)
_DONE: Final = int(Outcome.DONE)
_LOST: Final = 0  # In place of an outcome: the worker died under the call.
_GUEST_MARK: Final = "@guest "  # In front of the name of a guest line: no socket has such a name.
_SEAT_MARK: Final = "@seat "  # In front of the name of a processor in `Router.peer_workers`.



class PeerWorker(Worker):
    """A peer that runs calls of one processor, as one worker with the slots that it grants."""

    __slots__ = ("asked_ms", "avoid", "node", "peer", "places", "returned")

    def __init__(self, id: int, pool: Pool, peer: Peer) -> None:
        """A peer that has granted nothing yet."""
        super().__init__(id, pool, 0)
        self.peer = peer
        self.node = peer.node
        self.places = 0  # Its workers, each of which runs one plain call; 0: it has not told.
        self.asked_ms = 0  # When it was last asked what it holds.
        self.returned = b""  # The call that it gave back last.
        self.avoid: dict[Line, None] = {}  # What it cannot begin now, though others; until a grant.

    def room(self, line: Line, now_ms: int) -> int:
        """How many calls of `line` it may be handed now.

        At least one a slot; more only while all of it should take no longer than
        PEER_CREDIT_WORK_US a slot, which covers the way there and back.
        """
        if not self.peer.here:  # A grant may come late, from a peer that is dead by now.
            return 0
        slots, count = self.slots, len(self.held) - sum(self.streams.values())
        if 0 < self.places < slots and not line.at_once:  # Most slots are for those at once.
            slots, count = self.places, self._plain()
        least = slots - count
        usual = line.run_us
        if not slots or usual is None or self.bytes >= limits.CREDIT_BYTES_MAX:
            return max(least, 0)
        room = (slots * limits.PEER_CREDIT_WORK_US - self.work_us) // (usual or 1)
        return max(min(room, slots * limits.CREDIT_CALLS_MAX - count), least, 0)

    def _plain(self) -> int:
        """Calls it has that run one at a time in a worker."""
        return sum(
            1 for id, call in self.held.items()
            if not (call.line.at_once or self.streams.get(id))
        )  # fmt: skip

    def take(self, line: Line, calls: list[Call], now_ms: int) -> None:
        """Hold these calls of one line, too."""
        estimate_us = line.run_us or 0
        for call in calls:
            call.worker = self
            call.started_ms = now_ms
            call.estimate_us = estimate_us
            self.bytes += call.weight
            self.held[call.id] = call
        self.work_us += estimate_us * len(calls)

    def park(self, call: Call, now_ms: int) -> None:
        """A stream waits for credit there, and its worker can run others."""
        self.streams[call.id] = True
        self.work_us -= call.estimate_us
        call.estimate_us = 0

    def skips(self, line: Line) -> bool:
        """Calls of other peers are not passed on, and one stream of a socket is enough."""
        return line.guest or line in self.avoid or super().skips(line)

    def begun(self) -> list[Call]:
        """Nothing, as far as the owner knows: time limits and marks are the executor's work."""
        return []


class SeatPeer(PeerWorker):
    """The same peer for calls that name which of its workers runs them.

    It needs no grant for these, since they can go nowhere else, and they take none of the others'
    room.  `slots` is 0 after it gave one back, until it says something of its workers again.
    """

    __slots__ = ()

    def room(self, line: Line, now_ms: int) -> int:
        """How many copies for one seat it may be handed now."""
        if not (self.peer.here and self.slots):
            return 0
        return min(limits.SEAT_CALLS_MAX - line.running, limits.CREDIT_CALLS_MAX - len(self.held))


# The owner's side.


def peer_worker(r: Router, node: bytes, processor: str) -> PeerWorker:
    """The worker that stands for a peer in the pool of a processor."""
    worker = r.peer_workers.get((node, processor))
    if worker is None:
        pool = r.pool(processor)
        r.last_peer_worker -= 1
        worker = PeerWorker(r.last_peer_worker, pool, r.replica.peers.by_node[node])
        r.peer_workers[(node, processor)] = worker
        worker.places = seats.places_at(r, node, processor)
        pool.workers[worker.id] = r.workers[worker.id] = worker
    return worker


def seat_key(node: bytes, processor: str) -> tuple[bytes, str]:
    """Where `Router.peer_workers` has the SeatPeer of a node for a processor."""
    return node, _SEAT_MARK + processor


def seat_peer(r: Router, node: bytes, processor: str) -> SeatPeer | None:
    """The worker that stands for the workers of a peer, each for itself; None: it is unknown."""
    key = seat_key(node, processor)
    worker = r.peer_workers.get(key)
    peer = r.replica.peers.by_node.get(node)
    if worker is None and peer is not None:
        r.last_peer_worker -= 1
        worker = SeatPeer(r.last_peer_worker, r.pool(processor), peer)
        worker.slots = 1
        r.peer_workers[key] = r.workers[worker.id] = worker
    return worker if isinstance(worker, SeatPeer) else None


def _reopen(r: Router, node: bytes, processor: str) -> None:
    """A peer said something of its workers: what it gave back may go there again."""
    worker = r.peer_workers.get(seat_key(node, processor))
    if worker is not None and not worker.slots:
        worker.slots = 1
        seats.offer_again(r)


def on_seats(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer says which workers it has, each for itself."""
    seats.told(r, node, entry)
    for (whose, processor), worker in list(r.peer_workers.items()):
        if whose != node:
            continue
        if processor.startswith(_SEAT_MARK):
            _reopen(r, node, processor.removeprefix(_SEAT_MARK))
        else:
            worker.places = seats.places_at(r, node, processor)
            r.touch(worker.pool)


def on_grant(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer says how many calls of a processor it takes at once."""
    processor, slots = entry
    if processor not in r.pools:  # Of a model that this node has not got yet.
        return
    worker = peer_worker(r, node, processor)
    worker.slots = min(max(slots, 0), limits.PEER_SLOTS_MAX)
    worker.avoid.clear()
    r.touch(worker.pool)
    _reopen(r, node, processor)


def _held_by(r: Router, node: bytes, id: bytes) -> tuple[PeerWorker, Call] | None:
    call = r.calls.get(id)
    if call is None or not isinstance(call.worker, PeerWorker) or call.worker.node != node:
        return None
    return call.worker, call


def on_ran(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer reports a call that it ran; it repeats that until it hears TAKEN."""
    id, attempt, code, retry, duration_us, data = entry
    out.peer.append((node, _TAKEN, [id, attempt]))
    found = _held_by(r, node, id)
    if found is None or found[1].attempt != attempt:
        if r.listening:
            out.events.append((id, "", "superseded", f"attempt {attempt}", now_ms))
        return
    worker, call = found
    if code == _DONE and streams.lacks_items(r, call, data):
        code, data = _LOST, "not all items of its stream have come"
    if code == _LOST:
        holding.take_back(r, call, worker, now_ms)
        if call.interrupted == "cancel":
            ending.end_cancelled(r, call, now_ms, out)
        else:
            ending.lost_attempt(r, call, str(data), now_ms, out)
        r.touch(worker.pool)
        return
    report = (id, attempt, code, retry, duration_us, 0, data)
    ending.on_finished(r, events.Finished(worker.id, [report]), now_ms, out)


def on_gave_back(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer will not run a call that it was handed: it waits again.

    A third part that is true: it runs calls of other sockets.
    """
    id, attempt, *others = entry
    found = _held_by(r, node, id)
    if found is not None and found[1].attempt == attempt:
        worker, call = found
        if others and others[0]:
            worker.avoid[call.line] = None
            ending.give_back(r, call, worker, now_ms, out)
            return
        worker.slots = 0  # Until it grants again: what came back must not go there at once.
        again, worker.returned = worker.returned == id, id  # Perhaps it can never take this one:
        ending.give_back(r, call, worker, now_ms, out, front=not again)  # others have a turn.


def peer_is_here(r: Router, node: bytes) -> None:
    """A peer answers again: what it has granted counts."""
    for (whose, _), worker in r.peer_workers.items():
        if whose == node:
            r.touch(worker.pool)


def lose_peer(r: Router, node: bytes, why: str, now_ms: int, out: Effects) -> None:
    """A peer is gone, or began a new life: what it ran for this node runs elsewhere now."""
    for (whose, processor), worker in list(r.peer_workers.items()):
        if whose == node:
            del r.peer_workers[(whose, processor)]
            lost = events.WorkerLost(worker.id, [], why, blame=False)
            ending.on_worker_lost(r, lost, now_ms, out)
    for id, (owner, _) in list(r.reports.items()):
        if owner == node:
            del r.reports[id]
    for id, found in list(r.streams.sending.items()):
        if found.owner == node:
            sending.drop(r, id, now_ms)
    for call in [call for call in r.guests.values() if call.owner == node]:
        if call.state is State.WAITING:
            _leave(r, call)


def ask_peers(r: Router, now_ms: int, out: Effects) -> None:
    """Ask after calls that a peer has had for a while without a word."""
    for (node, _), worker in r.peer_workers.items():
        if not worker.held or now_ms - worker.asked_ms < limits.HOLDS_ASK_MS:
            continue
        worker.asked_ms = now_ms
        for call in worker.held.values():
            if now_ms - call.started_ms >= limits.HOLDS_ASK_MS:
                out.peer.append((node, _HOLDS, [call.id, call.attempt]))
    sending.tick(r, now_ms, out)
    for id, (owner, entry) in r.reports.items():
        if r.replica.peers.is_here(owner):
            out.peer.append((owner, _RAN, [id, *entry]))


# The executor's side.


def _guest_line(r: Router, name: str, seat: seats.Seat | None) -> Line | None:
    own = r.lines.get(name)
    if own is None or own.removed:
        return None
    if seat is not None:
        return seats.line_at(r, own, seat, guest=True)
    line = r.guest_lines.get(name)
    if line is None or line.config.processor != own.config.processor:
        config = own.config.without_limits()
        line = r.guest_lines[name] = Line(config)
        r.pool(config.processor).lines[_GUEST_MARK + name] = line
    line.at_once, line.run_us = own.at_once, own.run_us
    return line


def refresh_lines(r: Router, names: Iterable[str] | None = None) -> None:
    """The model changed: guests of these sockets follow their new settings; None: all do."""
    for name in r.guest_lines if names is None else names:
        line, own = r.guest_lines.get(name), r.lines.get(name)
        if line is None or own is None or own.removed:
            continue
        if own.config.processor == line.config.processor:
            line.configure(own.config.without_limits())


def on_run(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer hands over a call of its own: it is a guest here."""
    attempt, submit = entry
    id = id_of(submit)
    done = r.reports.get(id)
    if done is not None:  # It ran already, for an owner that has lost it since.
        del r.reports[id]
        keep_report(r, id, node, [attempt, *done[1][1:]], out)
        return
    if sending.is_run_of(r, id, node, attempt):
        return  # It is said again.
    if sending.drop(r, id, now_ms):  # It begins anew: some items went to another owner.
        out.peer.append((node, _GAVE_BACK, [id, attempt]))
        return
    guest = r.guests.get(id)
    if guest is not None:  # It runs already: whoever owns it now gets the report.
        guest.owner = node
        if guest.state is State.WAITING:
            guest.attempt = attempt - 1
        else:
            guest.owner_attempt = attempt
        return
    name, options = read_envelope(submit)
    seat = seats.seat_of(options)
    line = _guest_line(r, name, seat)
    pool = None if line is None else r.pools.get(line.config.processor)
    if line is None or pool is None or id in r.calls or not (
        _own_slots(r, pool) if seat is None else seats.is_mine(r, pool, seat)
    ):
        out.peer.append((node, _GAVE_BACK, [id, attempt]))
        return
    if seat is None and _is_behind(pool, line):
        out.peer.append((node, _GAVE_BACK, [id, attempt, True]))
        return
    call = Call(id, 0, line, submit, len(submit), options, 0, now_ms)
    call.owner = node
    call.fed = Whole(submit)  # Its owner has put together what it needs.
    call.attempt = attempt - 1
    r.guests[id] = call
    line.count_in(call)
    line.push(call)
    pool.offer(line)
    r.touch(pool)


def _own_workers(pool: Pool) -> list[Worker]:
    return [worker for worker in pool.workers.values() if not worker.node and not worker.leaving]


def _is_behind(pool: Pool, line: Line) -> bool:
    """Whether every worker here has put a generator of this socket aside: no other may begin."""
    own = _own_workers(pool)
    return bool(own) and all(worker.skips(line) for worker in own)


def generator_waits(r: Router, worker: Worker, call: Call, out: Effects) -> None:
    """A generator was put aside: peers get back what may not begin before it goes on.

    It would take the place there of calls for which that generator may wait.
    """
    line = call.line
    if not (line.guest and _is_behind(worker.pool, line)):
        return
    _give_back(r, [one for one in r.guests.values() if one.line is line], [True], out)


def drained(r: Router, out: Effects) -> None:
    """No worker here takes copies of broadcasts any more: their owners tell what they wait for."""
    _give_back(r, [one for one in r.guests.values() if one.line.seat is not None], [], out)


def _give_back(r: Router, guests: list[Call], more: list[Any], out: Effects) -> None:
    """Those of these guests that wait go back to their owners."""
    for guest in guests:
        if guest.worker is None and guest.state is State.WAITING and guest.owner is not None:
            _leave(r, guest)
            out.peer.append((guest.owner, _GAVE_BACK, [guest.id, guest.attempt + 1, *more]))


def _leave(r: Router, call: Call) -> None:
    """A waiting guest goes."""
    call.line.count_out(call)
    call.state = State.MOVED
    call.line.leave_waiting(call)
    r.guests.pop(call.id, None)


def ran(r: Router, call: Call, report: events.Report, out: Effects) -> None:
    """A guest has run: its owner decides what comes of it."""
    id, attempt, code, retry, duration_us, _, data = report
    code, data = replicated.fit(code, data)
    del r.guests[id]
    assert call.owner is not None
    keep_report(
        r, id, call.owner, [call.owner_attempt or attempt, code, retry, duration_us, data], out
    )


def report(r: Router, call: Call, code: int, envelope: bytes, out: Effects) -> None:
    """A guest ended otherwise than by its worker's report."""
    retry = call.interrupted == "time limit"
    ran(r, call, (call.id, call.attempt, code, retry, 0, 0, envelope), out)


def lost(r: Router, call: Call, why: str, out: Effects) -> None:
    """The worker died under a guest."""
    del r.guests[call.id]
    assert call.owner is not None
    attempt = call.owner_attempt or call.attempt
    keep_report(r, call.id, call.owner, [attempt, _LOST, False, 0, why], out)


def keep_report(r: Router, id: bytes, owner: bytes, entry: list[Any], out: Effects) -> None:
    """What a guest came to, sent until its owner has taken it."""
    if r.streams.sending and sending.hold_report(r, id, entry, out):
        return
    r.reports[id] = (owner, entry)
    out.peer.append((owner, _RAN, [id, *entry]))


def on_taken(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The owner of a guest has its report."""
    id, attempt = entry
    kept = r.reports.get(id)
    if kept is not None and kept[0] == node and kept[1][0] == attempt:
        del r.reports[id]


def on_interrupt(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The owner of a guest wants it stopped."""
    id, why = entry
    call = r.guests.get(id)
    if call is None or call.owner != node or why != "cancel":
        return
    call.cancelled_by = "its owner"
    call.interrupted = "cancel"
    if call.state is State.RUNNING and call.worker is not None:
        out.interrupts.append((call.worker.id, id, why))
        return
    _leave(r, call)
    r.guests[id] = call
    call.attempt += 1  # The one that would have begun.
    error = errors.CallCancelled("cancelled before it began")
    data = seal(
        Kind.OUTCOME, id=id, code=Outcome.CANCELLED, attempt=call.attempt,
        body=pack(error.to_data()),
    )  # fmt: skip
    report(r, call, int(Outcome.CANCELLED), data, out)


def on_holds(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The owner asks what became of a guest that it has not heard of for a while."""
    id, attempt = entry
    guest = r.guests.get(id)
    kept = r.reports.get(id)
    if kept is not None and kept[0] == node:
        out.peer.append((node, _RAN, [id, *kept[1]]))
    elif (guest is None or guest.owner != node) and id not in r.streams.sending:
        out.peer.append((node, _GAVE_BACK, [id, attempt]))


def inherit(r: Router, guest: Call, call: Call, now_ms: int) -> bool:
    """This node took over a call that it runs as a guest: the run goes on as its own.

    Returns False when the guest had not been handed to a worker; then it just waits as its own.
    """
    if sending.drop(r, guest.id, now_ms):
        return False  # Some of its items are with another owner: it begins anew.
    worker = guest.worker
    del r.guests[guest.id]
    if worker is None or guest.state is not State.RUNNING:
        r.guests[guest.id] = guest
        _leave(r, guest)
        return False
    guest.line.leave_running(guest)
    call.line.running += 1
    if call.lacks:  # What it is fed came with the run.
        assert guest.envelope is not None
        call.fed = Whole(guest.envelope, guest.size - call.size)
    call.attempt = guest.attempt
    call.state = State.RUNNING
    call.worker = worker
    call.started_ms, call.estimate_us = guest.started_ms, guest.estimate_us
    worker.held[call.id] = call
    worker.bytes += call.weight - guest.weight  # Another home's form of a call may be longer (P14).
    if call.id in worker.queued:
        worker.queued[call.id] = call
    return True


def abandon(r: Router, id: bytes, now_ms: int, out: Effects) -> None:
    """A call becomes this node's own in another instance than the one it runs as a guest (P14).

    The guest's owner gets it back; a run under way is reported to nobody.
    """
    guest = r.guests.get(id)
    if guest is None:
        return
    if guest.worker is not None:
        streams.run_for_nobody(r, guest)
        r.streams.sending.pop(id, None)
        holding.take_back(r, guest, guest.worker, now_ms)
        guest.state = State.MOVED
        del r.guests[id]
    else:
        _leave(r, guest)
    assert guest.owner is not None
    attempt = guest.owner_attempt or guest.attempt + (guest.worker is None)
    out.peer.append((guest.owner, _GAVE_BACK, [id, attempt]))


def _own_slots(r: Router, pool: Pool) -> int:
    if r.draining or pool.paused or pool.stopped:
        return 0
    return sum(worker.slots for worker in _own_workers(pool))


def _is_busy(pool: Pool) -> bool:
    """Whether calls of this node wait that its workers may take."""
    return any(
        not line.guest and not _is_behind(pool, line)
        for lines in pool.rotation.values()
        for line in lines
    )


def grant(r: Router, pool: Pool, now_ms: int, out: Effects, *, again: bool = False) -> None:
    """Tell the peers how many calls of the pool's processor this node can run for them."""
    slots = 0 if _is_busy(pool) else _own_slots(r, pool)
    if slots == pool.granted and not again:
        return
    if slots and not pool.granted and now_ms - pool.granted_ms < limits.GRANT_QUIET_MS:
        return  # It just had work of its own; the next tick tells.
    if slots or pool.granted:
        for node in r.replica.peers.here():
            out.peer.append((node, _GRANT, [pool.name, slots]))
    if slots != pool.granted:
        pool.granted_ms = now_ms
    pool.granted = slots


__all__ = ["PeerWorker", "lose_peer", "ask_peers", "grant", "inherit"]
