"""The router core: one node's calls as a deterministic state machine.

`step(event, now_ms) -> Effects` is the only door.  There is no link, clock, disk, thread, random
source or logger in here: time, ids, random numbers and what the log holds all come in.  The shell
writes and syncs the records of an `Effects` before anything else of it happens (DESIGN 3, the law),
so nothing in here ever asks whether something is durable yet.

Reading order: `states`, `events`, `effects`, `call`, `line`, `pool`, then this, `holding`,
`ending`, `dispatch`, `accept`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from meshcode import limits
from meshcode.replica.core import Replica, recovered
from meshcode.replica.instance import Instance, make_key
from meshcode.replica.storing import is_newer
from meshcode.router import (
    births,
    closing,
    copies,
    dispatch,
    ending,
    events,
    flows,
    gathering,
    holding,
    invariants,
    joins,
    modelling,
    peers,
    plan,
    recovering,
    replicated,
    requests,
    room,
    seats,
    streams,
    ticking,
    timers,
    watching,
    wiring,
    words,
    work,
)
from meshcode.router.accept import on_submitted
from meshcode.router.call import Call
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Effects
from meshcode.router.envelopes import id_of
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.records import (
    accepted_call,
    custody_parts,
    home_of,
    read_envelope,
    split_open,
    split_state,
    stretch_at,
)
from meshcode.router.states import State
from meshcode.router.timers import T_DUE, T_EXPIRE, T_LINE, T_TICK, TIMERS_DEAD_MIN


class Router:
    """All calls of one node, and who may run them."""

    name = ""  # Of the node, as people know it; the shell tells.
    late: list[Call] | None = None  # While it recovers: calls that are the router's own to do.

    def __init__(self, node: bytes, boot: int, rng: Random, kind: str = "core") -> None:
        """A router that knows nothing yet.

        Args:
            node: this node's id, 16 bytes.
            boot: which start of the node this is, from 1; durable before it is used.
            rng: for the jitter of retry delays; seeded in tests.
            kind: "core", "edge" or "witness": what this node is in its mesh.
        """
        self.node, self.boot, self.rng = node, boot, rng
        self._custody = custody_parts(node, boot)
        self._custody_ms, self._custody_now = -1, b""
        self.calls: dict[bytes, Call] = {}
        self.fetching: dict[int, Call] = {}  # Their envelopes are being read, by log sequence.
        self.lines: dict[str, Line] = {}
        self.pools: dict[str, Pool] = {}
        self.workers: dict[int, Worker] = {}
        self.watchers = watching.Watchers()
        self.timers: list[tuple[int, int, int, Any]] = []
        self.timer_count, self.timers_at_once = 0, limits.TIMERS_AT_ONCE
        self.copies_at_once = self.copies_left = limits.COPIES_AT_ONCE  # In a step; left of it.
        self.next_sequence = self.fresh_from = 1  # Of the calls of this boot.
        self.model_number = self.bodies_bytes = 0  # The second: of envelopes in memory.
        self.horizon_ms = 0  # Ids made before this may have been forgotten.
        self.forgotten = b""  # The same as a stretch of time of the index of sockets.
        self.bodies_bytes_max = limits.BODIES_IN_MEMORY_BYTES_MAX
        self.fetch_bytes_min = limits.FETCH_BYTES_MIN
        self.disk_level, self.draining = 0, False
        self.disk_room = 0, 0  # Bytes: what there is, and must be for new calls.
        self.calls_max = limits.OPEN_CALLS_MAX  # With copies of those of others.
        self.turn = 0  # The number of the turn under way, as the shell counts them; it only rises.
        self.listening = False  # Someone wants Effects.events; off, none are made.
        self.replica = Replica(node, boot, rng, replicated.Replicated(self), kind)
        self.alone = (node,)  # The voters of a call that nobody else keeps.
        self.acks: dict[tuple[int, int], list[int]] = {}  # Client, frame: calls, copies, voters.
        self.narrow: dict[bytes, None] = {}  # Calls kept alone although this node is in a mesh.
        self.copies: dict[bytes, copies.Copy] = {}  # Calls of the other of two nodes.
        self.uncopied: dict[bytes, list[tuple[int, int]]] = {}  # Client, frame: by call.
        self.widen_from_ms = 0  # Not before: those who came may go again.
        self.twins: dict[bytes, list[Instance]] = {}  # More instances of one id (P14).
        self.guests: dict[bytes, Call] = {}  # Calls of peers that wait or run here.
        self.guest_lines: dict[str, Line] = {}
        self.reports: dict[bytes, tuple[bytes, list[Any]]] = {}  # Not yet taken by their owners.
        self.peer_workers: dict[tuple[bytes, str], work.PeerWorker] = {}  # By node, processor.
        self.last_peer_worker = self.grants_ms = 0  # Ids count down; when grants were told last.
        self.needed: dict[bytes, list[Call]] = {}  # Calls that wait for the outcome of another.
        self.ripe: dict[bytes, bytes] = {}  # Calls that ended in this step; their outcomes.
        self.needs_ask_ms = 0  # Not before are peers asked again for what is needed.
        self.joins, self.ticks = joins.Joins(), ticking.Ticks()
        self.closing: dict[bytes, closing.Close] = {}  # Outcomes that the history may have.
        self.births: dict[bytes, births.Birth] = {}  # Calls to make unless they have ended.
        self.streams, self.seats = streams.Streams(), seats.Seats()
        self.wiring = modelling.Wiring()  # What the model says of more than one line.
        self.gates: dict[str, str] = {}  # Their modes.
        self.gated: dict[str, list[Call]] = {}  # Calls that wait at a closed gate.
        self.plans: dict[bytes, plan.Plan] = {}  # Of accepted flows, until they end.
        self._touched: dict[str, Pool] = {}
        for name in (*_BUILTIN, plan.GATHER):
            self.line_of_nobody(name)
        self._timers_dead = 0  # Timers in the heap of calls that have ended.

    def step(self, event: events.Event, now_ms: int) -> Effects:
        """Let `event` happen at node time `now_ms`; what must be done comes back.

        `now_ms` never goes back.  Timers that are due by then fire after the event and before
        anything begins: what the shell looked up for the event (`Submitted.ended`) still holds when
        it is read, and nothing that is over its expiry is handed over.  Of very many some are left
        to the next step (`next_due_ms` has come then), so that others have their turn.
        """
        out = Effects()
        self.replica.now_ms = now_ms
        self.copies_left = self.copies_at_once
        _HANDLERS[type(event)](self, event, now_ms, out)
        if self.timers and self.timers[0][0] <= now_ms:
            self._fire_timers(now_ms, out)
        if self.replica.timers:
            self.replica.tick(now_ms, out)
        while self.ripe:
            gathering.settle(self, now_ms, out)
            if self.timers and self.timers[0][0] <= now_ms:  # What has all it needs may be late.
                self._fire_timers(now_ms, out)
        if self.streams.dirty or self.streams.left or self.streams.born:
            streams.settle(self, now_ms, out)
        while self._touched and not self.is_late(now_ms):
            _, pool = self._touched.popitem()
            dispatch.dispatch(self, pool, now_ms, out)
            if self.replica.peers.by_node:
                work.grant(self, pool, now_ms, out)
        self.replica.naming.flush(out)
        return out

    def is_late(self, now_ms: int) -> bool:
        """Whether timers are due that were left to the next step; until then nothing begins."""
        return bool(self.timers) and self.timers[0][0] <= now_ms

    def next_due_ms(self) -> int | None:
        """When the shell must send `Ticked` at the latest; None when nothing waits for time."""
        due_ms = self.timers[0][0] if self.timers else None
        other_ms = self.replica.next_due_ms()
        if due_ms is None or (other_ms is not None and other_ms < due_ms):
            return other_ms
        return due_ms

    def recover(
        self,
        opens: Iterable[tuple[bytes, bytes]],
        states: Iterable[tuple[bytes, bytes]],
        now_ms: int,
        votes: Iterable[tuple[bytes, bytes]] = (),
    ) -> Effects:
        """Take over what an earlier boot left in the log; call once, after the model is known.

        Args:
            opens: the `open` records in key order.
            states: the `state` records in key order.
            now_ms: node time.
            votes: the `vote` records in key order.

        Returns:
            Effects with records, and what replication wants to read.
        """
        out = Effects()
        late: list[Call] = []
        self.late = late
        changed = {key: split_state(value) for key, value in states}
        voted = dict(votes)
        for key, value in opens:
            vote = voted.pop(key, None)
            home = home_of(value)
            if vote is None and value[1] == 1 and home != self.node and self._is_copy(value):
                number = int.from_bytes(key, "big")
                self.next_sequence = max(self.next_sequence, number + 1)
                copies.recover(self, id_of(accepted_call(value)[1]), home, number, now_ms)
            elif vote is not None or value[1] != 1:
                self._recover_shared(key, value, vote, changed.pop(key, None), now_ms, out)
            else:
                if home != self.node:
                    self.seats.former.add(home)
                self._recover_one(key, value, changed.pop(key, None), now_ms, out)
        for key, vote in voted.items():
            number = int.from_bytes(key, "big")
            self.next_sequence = max(self.next_sequence, number + 1)
            inst = recovered(number, vote)
            self.replica.recover(number, inst, payload=False, now_ms=now_ms, out=out)
        self.late, self.fresh_from = None, self.next_sequence
        # What they make must not take numbers that records not read yet have.
        for own in sorted(late, key=joins.comes_late):
            if self.calls.get(own.id) is own:
                self.enter(own, now_ms, out)
        gathering.settle(self, now_ms, out)
        for key in changed:  # The call ended; its state record is a leftover.
            out.records.append(("state", key, None))
        for pool in self.pools.values():
            for line in pool.lines.values():
                pool.offer(line)
        return out

    def _is_copy(self, value: bytes) -> bool:
        """Whether the one voter of an `open` record is another node of this mesh.

        A node that joined a mesh has another id than the one under which it accepted its calls.
        """
        peers = self.replica.peers
        home = home_of(value)
        return home in peers.by_node or home in peers.evicted

    def _recover_shared(
        self,
        key: bytes,
        value: bytes,
        vote: bytes | None,
        state: dict[str, Any] | None,
        now_ms: int,
        out: Effects,
    ) -> None:
        """A call that other nodes keep too: nobody here owns it now (replication rule P6)."""
        number = int.from_bytes(key, "big")
        self.next_sequence = max(self.next_sequence, number + 1)
        custody, envelope = split_open(value)
        if vote is not None:
            inst = recovered(number, vote)
        else:
            name = make_key(id_of(envelope), custody["home"], custody["generation"])
            inst = Instance(name, tuple(custody["voters"]), custody["boot"], number)
        # The `state` record is of when this node owned it, a note perhaps of an owner since.
        known = inst.note
        if state is not None and (
            known is None or (inst.promise[1] == self.node and not is_newer(known, state))
        ):
            inst.note = state
        self.replica.recover(number, inst, payload=True, now_ms=now_ms, out=out)

    def _recover_one(
        self, key: bytes, value: bytes, state: dict[str, Any] | None, now_ms: int, out: Effects
    ) -> None:
        accepted_ms, envelope = accepted_call(value)
        sequence = int.from_bytes(key, "big")
        self.next_sequence = max(self.next_sequence, sequence + 1)
        name, options = read_envelope(envelope)
        line = seats.line_of(self, name, options)
        size = len(envelope)
        call = Call(id_of(envelope), sequence, line, envelope, size, options, 0, accepted_ms)
        call.epoch = self.boot
        self.keep(call)
        self.restore(call, state, now_ms, out, why="the node stopped while it ran")

    def restore(
        self, call: Call, state: dict[str, Any] | None, now_ms: int, out: Effects, *, why: str
    ) -> None:
        """Put an open call where its `state` record, if any, says it was."""
        line = call.line
        if state is not None:
            call.recorded = True
            call.attempt = state["attempt"]
            call.due_ms = state["due_ms"]
            call.reason = state["reason"]
            call.story = list(state["story"]) or None
            call.state = State(state["state"])
            call.cancelled_by = state["cancelled_by"]
            guest = self.guests.get(call.id)
            if guest is not None and call.state is State.HELD:  # By an owner that was overtaken.
                work.abandon(self, call.id, now_ms, out)
            elif guest is not None and work.inherit(self, guest, call, now_ms):
                return
            if call.cancelled_by is not None:  # It was told to stop, and has: its worker is gone.
                ending.end_cancelled(self, call, now_ms, out)
                return
            if call.state is State.RUNNING:  # Marked: it surely began before the node went down.
                ending.lost_attempt(self, call, why, now_ms, out)
                return
            if call.state in (State.COPYING, State.ENDING, State.MOVED):
                call.state = State.WAITING  # Noted on the way to somewhere: it is not there.
        else:
            guest = self.guests.get(call.id)
            if guest is not None and work.inherit(self, guest, call, now_ms):
                return
            line.count_in(call)
            self.enter(call, now_ms, out)
            return
        if call.state is State.HELD:
            return  # It is in no line, and expires only once it waits again.
        line.count_in(call)
        if call.state is State.DELAYED and call.due_ms > now_ms:
            self.at(call.due_ms, T_DUE, call)
        else:
            call.state = State.WAITING
            call.reason = ""
            if call.lacks or line.special or call.option("gate") is not None:
                self.enter(call, now_ms, out)
                return
            line.push(call)
            self.offer(line)
        if call.options is not None or line.expires:
            timers.arm_expiry(self, call)

    # What the handlers share.

    def enter(self, call: Call, now_ms: int, out: Effects) -> None:
        """A call that is on enough disks, counted in its line, begins its way."""
        if call.options is not None and wiring.is_closed(self, call):
            wiring.hold(self, call)
            return
        if call.lacks:
            gathering.begin(self, call, now_ms, out)
            return
        if self.late is not None and call.line.special:
            self.late.append(call)
            return
        if call.line.builtin:
            _BUILTIN[call.line.name](self, call, now_ms, out)
            return
        if call.line.spread and not call.option("copy"):
            flows.spread(self, call, now_ms, out)
            return
        due_ms = timers.due_of(call.options, call.accepted_ms, now_ms)
        delayed = due_ms is not None and due_ms > now_ms
        if call.state in (State.COPYING, State.GATHERING):
            call.move(State.DELAYED if delayed else State.WAITING)
        if due_ms is not None and delayed:
            call.state = State.DELAYED
            call.due_ms = due_ms
            call.reason = holding.DELAYED_REASON
            self.at(due_ms, T_DUE, call)
        else:
            call.line.push(call)
            self.offer(call.line)
        if call.options is not None or call.line.expires:
            timers.arm_expiry(self, call)

    def custody_at(self, now_ms: int) -> bytes:
        """The custody header of a call accepted at `now_ms`."""
        if now_ms != self._custody_ms:
            before, after = self._custody
            self._custody_ms = now_ms
            self._custody_now = b"".join((before, now_ms.to_bytes(8, "little"), after))
        return self._custody_now

    def watch(self, call: Call, client: int) -> None:
        """Tell this client the outcome too, besides whoever is told already."""
        if not client or call.client == client:
            return
        if not call.client:
            call.client = client
            return
        self.watchers.add(call.id, client)

    def keep(self, call: Call, *, whole: bool = False) -> None:
        """Remember an open call; its envelope, unless `whole`, only while memory has room."""
        self.calls[call.id] = call
        copied = call.line.spread and not call.option("copy")  # At once, all over its queue.
        whole = whole or call.line.builtin or copied or call.lacks
        if not whole and not self.has_room(call.line, call.size):
            call.envelope = None
        else:
            self.bodies_bytes += call.size

    def has_room(self, line: Line, size: int) -> bool:
        """Whether an envelope of so many bytes may stay in memory.

        The last eighth is for lines in which little waits: what is parked must not have the calls
        of a line that moves read back from the log, each of them.
        """
        most, after = self.bodies_bytes_max, self.bodies_bytes + size
        return after <= most and (after <= most - most // 8 or line.bytes <= most // 256)

    def spill(self, call: Call) -> None:
        """A call that ran waits again: its envelope stays in memory only while there is room."""
        if (
            call.owner is None
            and call.envelope is not None
            and call.fed is None
            and not (call.lacks or call.line.builtin)
            and self.bodies_bytes > self.bodies_bytes_max
        ):
            call.envelope = None
            self.bodies_bytes -= call.size

    def forget(self, call: Call) -> None:
        """Drop an ended call from memory; timers and lines that still name it skip it."""
        del self.calls[call.id]
        if self.plans:
            self.plans.pop(call.id, None)
        if call.envelope is None:
            self.fetching.pop(call.sequence, None)
            if call.sequence in call.line.fetching:  # Its line need not wait for it any more.
                call.line.fetching.discard(call.sequence)
                self.offer(call.line)
        else:
            self.bodies_bytes -= call.size
        if call.timers:
            call.envelope = None
            self._timers_dead += call.timers
            if self._timers_dead > TIMERS_DEAD_MIN and 2 * self._timers_dead > len(self.timers):
                self._sweep_timers()

    def _sweep_timers(self) -> None:
        self.timers = [
            timer
            for timer in self.timers
            if timer[2] not in (T_DUE, T_EXPIRE) or timer[3].id in self.calls
        ]
        heapq.heapify(self.timers)
        self._timers_dead = 0

    def at(self, due_ms: int, kind: int, what: Any) -> None:
        """Set a timer."""
        self.timer_count += 1
        heapq.heappush(self.timers, (due_ms, self.timer_count, kind, what))
        if kind in (T_DUE, T_EXPIRE):
            what.timers += 1

    def touch(self, pool: Pool) -> None:
        """Something of this pool may begin now: look at it at the end of the step."""
        self._touched[pool.name] = pool

    def offer(self, line: Line) -> None:
        """Calls of this line may begin now: let its pool look at it at the end of the step."""
        pool = self.pools[line.config.processor]
        pool.offer(line)
        self._touched[pool.name] = pool

    def offer_at(self, line: Line, due_ms: int) -> None:
        """Calls of this line may begin then, in a step of that time."""
        if not 0 < line.timer_ms <= due_ms:
            line.timer_ms = due_ms
            self.at(due_ms, T_LINE, line)

    def pool(self, name: str) -> Pool:
        """The pool of a processor, made when it is first named."""
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = Pool(name)
        return pool

    def line_of_removed(self, name: str) -> Line:
        """A line for calls whose socket is not in the model: they stay, PARKED."""
        line = self.line_of_nobody(name)
        line.removed = True
        return line

    def line_of_nobody(self, name: str) -> Line:
        """A line that no processor serves."""
        line = self.lines[name] = Line(SocketConfig.of(name, modelling.of_nobody(name)))
        line.edges = self.wiring.edges.get(name, ())
        self.pool("").lines[name] = line
        return line

    def tell(self, out: Effects, call: Call, name: str, note: str, now_ms: int) -> None:
        """Report an event of a call to whoever listens."""
        if self.listening:
            out.events.append((call.id, call.line.name, name, note, now_ms))

    def parked_reason(self, line: Line) -> str:
        """Why no call of the line can begin; "" when they wait only for their turn."""
        if line.builtin:  # The router does these itself.
            return ""
        if line.removed:
            return f"socket {line.name} is not in the model any more; add it again or cancel"
        if line.addressed:
            return seats.parked_reason(self, line)
        if self.draining:
            return "this node is draining"
        return self.pools[line.config.processor].parked_reason()

    def _fire_timers(self, now_ms: int, out: Effects) -> None:
        for _ in range(self.timers_at_once):
            if not self.timers or self.timers[0][0] > now_ms:
                break
            due_ms, _, kind, what = heapq.heappop(self.timers)
            if kind in (T_DUE, T_EXPIRE):
                what.timers -= 1
                if what.id not in self.calls:
                    self._timers_dead -= 1
                    continue
            if kind == T_DUE:
                if what.state is State.DELAYED and what.due_ms == due_ms:
                    holding.release(self, what, now_ms, out)
            elif kind == T_EXPIRE:
                ending.expire(self, what, now_ms, out)
            elif kind == T_TICK:
                ticking.fire(self, what, now_ms, out)
            elif kind == T_LINE:
                what.timer_ms = 0
                self.offer(what)
            elif what.watch_ms == due_ms:  # Else an earlier look was set since.
                holding.watch_worker(self, what, now_ms, out)

    def check(self) -> None:
        """Assert what must always hold; slow, for tests and the simulator."""
        invariants.check(self)


def _on_forgotten(r: Router, event: events.Forgotten, now_ms: int, out: Effects) -> None:
    r.horizon_ms = max(r.horizon_ms, event.before_ms)
    r.forgotten = stretch_at(r.horizon_ms)


def _on_ticked(r: Router, event: events.Event, now_ms: int, out: Effects) -> None:
    for worker in list(r.workers.values()):
        if worker.held:
            holding.watch_worker(r, worker, now_ms, out)
    if r.replica.peers.by_node:
        peers.tick(r, now_ms, out)
    if r.needed:
        gathering.tick(r, now_ms, out)
    if r.joins.seeking:
        joins.tick(r, now_ms, out)
    if r.streams.tracked:
        streams.tick(r, now_ms, out)


# The sockets that the router itself serves, and how a call of each begins; `@gather` only gathers.
_BUILTIN: dict[str, Callable[[Router, Call, int, Effects], None]] = {
    plan.FLOW: flows.expand,
    joins.JOIN: joins.arrive,
    joins.COLLECT: joins.begin,
    streams.ITEM: streams.begin,
}

_HANDLERS: dict[type, Callable[[Router, Any, int, Effects], None]] = {
    events.Submitted: on_submitted,
    events.Watched: requests.on_watched,
    events.ClientLeft: requests.on_client_left,
    events.CancelAsked: requests.on_cancel,
    events.RetryAsked: requests.on_retry,
    events.CrewChanged: seats.on_crew_changed,
    events.WorkerJoined: dispatch.on_worker_joined,
    events.WorkerLeaving: dispatch.on_worker_leaving,
    events.WorkerLost: ending.on_worker_lost,
    events.Finished: ending.on_finished,
    events.Yielded: streams.on_yielded,
    events.Returned: dispatch.on_returned,
    events.Fetched: dispatch.on_fetched,
    events.ModelChanged: modelling.on_model_changed,
    events.ProcessorChanged: modelling.on_processor_changed,
    events.Forgotten: _on_forgotten,
    events.Drained: room.on_drained,
    events.DiskChanged: room.on_disk_changed,
    events.RoomChanged: room.on_room_changed,
    events.PeerSaid: words.on_peer_said,
    events.PeerChanged: peers.on_peer_changed,
    events.PeerReturned: peers.on_peer_returned,
    events.Read: peers.on_read,
    events.LookedUp: gathering.on_looked_up,
    events.RecoverAsked: recovering.on_recover,
    events.Ticked: _on_ticked,
}
