"""Streams: the items of a generator are calls of their own, and only so many are under way.

Item number n of call A is the call `item_id(A, n)` at the built-in socket `@item`.  It ends as soon
as it is kept, with the item as its value, and its outcome goes along the plugs of A's socket.  So
items are durable, come along plugs in order, are read by their ids at any time, and an attempt that
yields an item again meets the first one.

An item is *in flight* until its call and everything that this caused along plugs, step after step,
has ended.  The worker may send as many as STREAM_WINDOW units more than are over: a slow consumer
holds up the generator, and memory stays flat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.ids import child_id
from meshcode.replica import claims, custody
from meshcode.replica.instance import ENDED, IDLE, Child, Instance, make_key
from meshcode.router import ending, events, feeding, holding, joins, sending
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import flow_of, meta_of
from meshcode.router.pool import Worker
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router

ITEM: Final = "@item"
_CREDIT: Final = int(Kind.CREDIT)
_ASK: Final = int(Kind.OUTCOME_OF)
_ALL: Final = 1 << 62  # More items than there will be.
GIVE_UP: Final = 0  # In place of a credit: the worker drops the attempt and reports nothing.
NOT_MINE: Final = -1  # In place of a credit: the sender runs it for nobody.


class Item:
    """An item that is in flight."""

    __slots__ = ("number", "open", "run", "stream", "units")

    def __init__(self, stream: Stream, number: int, units: int) -> None:
        """Nothing of it is open yet."""
        self.stream = stream
        self.run = stream.run
        self.number = number
        self.units = units
        self.open = 0  # Calls that have not ended: its own, and what that caused.


class Stream:
    """What a call that runs has yielded."""

    __slots__ = (
        "acked", "asked", "attempt", "before", "call", "ended", "items", "over", "parked_ms",
        "peer_run", "received", "run", "told", "used", "within",
    )  # fmt: skip

    def __init__(self, call: bytes, before: int) -> None:
        """Nothing yet; items with numbers below `before` may be known from earlier."""
        self.call = call
        self.attempt = 0
        self.before = before
        self.items: dict[int, Item] = {}  # In flight, also from earlier attempts.
        self.within: Item | None = None  # The item of another stream that this call comes from.
        self.ended = False
        self.run = 0  # Counts the attempts, those given back too.
        self.received = 0
        self.begin(0)

    def begin(self, attempt: int) -> None:
        """An attempt begins at item 0; attempt 0 = none runs."""
        self.before = max(self.before, self.received)
        self.attempt = attempt
        self.run += 1
        self.received = 0
        self.used = 0  # Units received.
        self.over = 0  # Units no more in flight.
        self.told = limits.STREAM_WINDOW  # Units that the worker may send in all.
        self.acked = 0  # Items that a peer was told of as taken.
        self.asked = False  # A peer wants to know where it stands.
        self.parked_ms = 0  # Since when the worker waits; 0 = it may go on.
        self.peer_run = 0  # Which run of a peer the items are of.


class Streams:
    """The streams of one node; only in memory, the items themselves are calls in the log."""

    def __init__(self) -> None:
        """None."""
        self.by_call: dict[bytes, Stream] = {}
        self.tracked: dict[bytes, Item] = {}  # By a call that has not ended: the item it is of.
        self.dirty: dict[bytes, None] = {}  # Streams whose credit may have changed in this step.
        self.left: list[tuple[int, bytes, int]] = []  # Worker, call, attempt: runs for nobody.
        self.born: list[bytes] = []  # Keys of instances that this node is to own.
        self.sending: dict[bytes, sending.Sending] = {}  # Of guests.
        self.runs = 0  # Streams begun here for peers, in this life.
        self.ask_ms = 0  # Not before are calls looked up that should have ended.
        self.firsts: dict[bytes, bool] = {}  # Items 0 of calls that are to move: are they known?


def units_of(size: int) -> int:
    """How much of the window an item of so many bytes takes; the worker counts alike."""
    return 1 + size // limits.STREAM_UNIT_BYTES


def item_id(call: bytes, number: int) -> bytes:
    """The call that is item `number`, from 0, of a stream."""
    return child_id(call, b"item/%d" % number)


def count_of(meta: dict[str, Any] | None) -> int | None:
    """How many items a call has streamed, from the meta of its outcome; None = it has not."""
    count = None if meta is None else meta.get("items")
    return count if isinstance(count, int) and not isinstance(count, bool) else None


# Items come in.


def unsure(r: Router, items: list[events.NewItem]) -> list[bytes]:
    """The ids of items that an earlier attempt may have yielded: the shell looks whether they
    have ended.
    """
    found = []
    for id, attempt, number, _, _, _ in items:
        call = r.calls.get(id)
        if call is None:
            continue
        stream = r.streams.by_call.get(id)
        if stream is None:
            before = _known_before(call)
        else:
            before = stream.before
            if stream.attempt != attempt:
                before = max(before, stream.received)
        if number < before:
            found.append(item_id(id, number))
    return found


def on_yielded(r: Router, event: events.Yielded, now_ms: int, out: Effects) -> None:
    """Take the next items of running generators; those that came before are known."""
    worker = None if event.worker is None else r.workers.get(event.worker)
    held = r.calls if worker is None else worker.held
    for id, attempt, number, value, meta, run in event.items:
        call = held.get(id)
        if call is None or call.attempt != attempt or not _runs_at(call, event.node):
            if event.node:
                out.peer.append((event.node, _CREDIT, [id, attempt, NOT_MINE, 0, run]))
            continue
        if worker is not None and not call.started_ms:
            worker.begin_beside(call, now_ms)
            holding.arm_watch(r, worker, now_ms)
        if call.owner is not None:
            sending.take(r, call, number, value, meta, now_ms, out)
        else:
            stream = _stream_of(r, call)
            if run < stream.peer_run:
                continue  # Of a run that was given back.
            if run > stream.peer_run:
                if stream.received:
                    stream.begin(attempt)
                stream.peer_run = run
            r.streams.dirty[id] = None
            if value and number == stream.received:
                _take(r, call, stream, (value, meta), event.ended, now_ms, out)
            elif event.node:
                stream.asked = True  # It came before, or one before it is lost, or it just asks.


def _known_before(call: Call) -> int:
    """Below which number items of a call that begins here may be known: all, if an earlier life of
    this node may have run it, or another of those that keep it, whatever this one knows of that.
    """
    return _ALL if call.epoch or call.inst is not None else 0


def may_have_run(r: Router, call: bytes) -> None:
    """A call is issued again under its id: if it is a generator, its items may be known."""
    r.streams.by_call[call] = Stream(call, _ALL)


def _runs_at(call: Call, node: bytes) -> bool:
    worker = call.worker
    return worker is not None and (worker.node or b"") == node


def _stream_of(r: Router, call: Call) -> Stream:
    stream = r.streams.by_call.get(call.id)
    if stream is None:
        stream = r.streams.by_call[call.id] = Stream(call.id, _known_before(call))
    if stream.attempt != call.attempt:
        stream.begin(call.attempt)
    return stream


def _take(
    r: Router,
    call: Call,
    stream: Stream,
    what: tuple[bytes, bytes],
    ended: set[bytes],
    now_ms: int,
    out: Effects,
) -> None:
    value, meta = what
    number = stream.received
    units = units_of(len(value))
    stream.received += 1
    stream.used += units
    item = stream.items.get(number)
    if item is not None:  # An earlier attempt's, in flight.
        item.run, item.units = stream.run, units
        return
    id = item_id(call.id, number)
    r.streams.firsts.pop(id, None)
    inst = r.replica.by_id.get(id)
    if id in ended or (inst is not None and inst.role == ENDED):
        stream.over += units
        return
    item = stream.items[number] = Item(stream, number, units)
    _track(r, item, id)
    if id not in r.calls and inst is None:
        _make(r, call, id, number, value, meta, now_ms, out)


def _track(r: Router, item: Item, id: bytes) -> None:
    if id not in r.streams.tracked:
        r.streams.tracked[id] = item
        item.open += 1


def _make(
    r: Router,
    call: Call,
    id: bytes,
    number: int,
    value: bytes,
    meta: bytes,
    now_ms: int,
    out: Effects,
) -> None:
    """The call of an item comes into being, kept by those who keep the generator's."""
    assert call.envelope is not None
    options: dict[str, Any] = {"item": {"of": call.line.name, "number": number}}
    if meta:
        options["item"]["plugs"] = unpack(meta).get("plugs")
    where = joins.where(r, call)
    if where:
        options["at"] = where
    trace = call.option("trace")
    if trace:
        options["trace"] = trace
    submit = seal(
        Kind.SUBMIT,
        id=id,
        flow=flow_of(call.envelope),
        parent=call.id,
        name=ITEM.encode(),
        meta=pack(options),
        body=feeding.list_head(1) + value,
        argc=1,
    )
    inst = call.inst
    if inst is None:
        ending.issue(r, id, submit, now_ms, out, written=bool(r.replica.peers.by_node))
    elif inst.home == r.node and inst.promise[0] == 0:  # It was born here, and nobody had it since.
        ending.issue(r, id, submit, now_ms, out, voters=inst.voters)
    else:
        _claim(r, inst, id, submit, now_ms, out)


def _claim(
    r: Router, parent: Instance, id: bytes, submit: bytes, now_ms: int, out: Effects
) -> None:
    """The same instance of an item whoever owns its stream, so that none is made twice."""
    key = make_key(id, parent.home)
    child = Child(id, parent.voters, submit)
    custody.keep(r.replica, key, child, submit, None, now_ms, out)
    claims.claim(r.replica, r.replica.by_key[key], now_ms, out)


def may_move(r: Router, call: Call, out: Effects) -> bool:
    """Whether a call that is to have other keepers has handed on no items.

    Items are kept by those who keep their call, and named after these: others would make them
    again.  Where this node knows of none it looks first, and whoever else kept the call has until
    the next time to bring up what it has.
    """
    if call.line.builtin or not (call.epoch or call.attempt):
        return True  # No worker runs it, or none ever has.
    first, firsts = item_id(call.id, 0), r.streams.firsts
    if first in r.calls or first in r.replica.by_id or first in r.replica.moved:
        return False
    if first not in firsts:
        firsts[first] = False
        _look_up(r, first, out)
        return False
    return not firsts[first]


def is_known(r: Router, id: bytes) -> None:
    """A call has ended, or is open at a peer: perhaps it is the first item of one that is here."""
    if id in r.streams.firsts:
        r.streams.firsts[id] = True


def _look_up(r: Router, id: bytes, out: Effects) -> None:
    out.lookups.append((b"", id))
    for node in r.replica.peers.here():
        out.peer.append((node, _ASK, [id]))


def begin(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """The call of an item is on enough disks: it ends, and its value goes on."""
    assert call.envelope is not None and call.options is not None
    call.gather_for("")
    plugs = call.options["item"].get("plugs")
    meta = b"" if plugs is None else pack({"plugs": plugs})
    value = feeding.argument_of(call.envelope)
    ending.end_with_value(r, call, value, now_ms, out, meta=meta)


def source_of(call: Call) -> str:
    """The socket whose plugs an outcome takes: of an item, that of its generator."""
    return str(call.option("item")["of"]) if call.line.name == ITEM else call.line.name


# Items are over.


def caused(r: Router, id: bytes, children: list[bytes]) -> None:
    """The outcome of a call causes others: its item is in flight until they have ended, too."""
    item = r.streams.tracked.get(id)
    if item is not None:
        for child in children:
            _track(r, item, child)


def go_on_here(r: Router, keys: list[bytes]) -> None:
    """What an item causes is claimed by who has ended it, at once: so it keeps its order."""
    r.streams.born += keys


def _claim_born(r: Router, now_ms: int, out: Effects) -> None:
    born, r.streams.born = r.streams.born, []
    for key in born:
        inst = r.replica.by_key.get(key)
        if inst is None or inst.role != IDLE or not inst.payload or inst.promise[0]:
            continue
        if claims.claim_due_ms(r.replica, inst) is not None:
            claims.claim(r.replica, inst, now_ms, out)


def ended(r: Router, id: bytes) -> None:
    """A call has ended: perhaps an item is over by it, and a stream may go on.

    Of one that several nodes keep this is told twice: as its outcome is chosen, and by its record.
    """
    if r.streams.firsts:
        r.streams.firsts.pop(item_id(id, 0), None)
    item = r.streams.tracked.pop(id, None)
    stream = r.streams.by_call.get(id)
    if stream is not None:
        if stream.items:  # What it has yielded is still under way: so is what it comes from.
            stream.ended, stream.within = True, item or stream.within
            return
        del r.streams.by_call[id]
    if item is not None:
        _release(r, item)


def _release(r: Router, item: Item | None) -> None:
    while item is not None:
        item.open -= 1
        if item.open:
            return
        stream = item.stream
        del stream.items[item.number]
        if item.run == stream.run:
            stream.over += item.units
        if not stream.ended:
            r.streams.dirty[stream.call] = None
            return
        if stream.items:
            return
        r.streams.by_call.pop(stream.call, None)
        item = stream.within


def leave(r: Router, id: bytes) -> None:
    """A call is another node's now: that counts what is in flight."""
    r.streams.firsts.pop(item_id(id, 0), None)
    stream = r.streams.by_call.pop(id, None)
    if stream is None:
        return
    items = set(stream.items.values())
    for key in [key for key, item in r.streams.tracked.items() if item in items]:
        del r.streams.tracked[key]


def lacks_items(r: Router, call: Call, outcome: bytes) -> bool:
    """Whether a peer reports more items than it has sent."""
    meta = meta_of(outcome)
    if b"items" not in meta:
        return False
    count = count_of(unpack(meta))
    stream = r.streams.by_call.get(call.id)
    received = stream.received if stream is not None and stream.attempt == call.attempt else 0
    return count is not None and count != received


def stopped(r: Router, call: Call) -> None:
    """An attempt is over, however."""
    stream = r.streams.by_call.get(call.id)
    if stream is not None:
        stream.begin(0)


def run_for_nobody(r: Router, call: Call) -> None:
    """A call leaves a worker that goes on with it: a stream would wait there for ever.

    Others of its socket, which may have waited for that alone, can begin there now.
    """
    worker = call.worker
    streams = call.id in r.streams.by_call or call.id in r.streams.sending
    if streams and worker is not None:
        r.touch(worker.pool)
        if worker.node is None:
            r.streams.left.append((worker.id, call.id, call.attempt))


# Credit.


def settle(r: Router, now_ms: int, out: Effects) -> None:
    """At the end of a step: let the generators go on for which there is room, and the rest of
    what came up.
    """
    streams = r.streams
    for id in streams.dirty:
        stream, call = streams.by_call.get(id), r.calls.get(id)
        if stream is None or call is None or call.attempt != stream.attempt:
            continue
        if call.worker is not None:
            _settle_one(r, call, call.worker, stream, now_ms, out)
    streams.dirty.clear()
    # No cancel: that would be the end of the call, which may be there again under this attempt.
    out.credits += [(worker, id, attempt, GIVE_UP) for worker, id, attempt in streams.left]
    streams.left.clear()
    if streams.born:
        _claim_born(r, now_ms, out)


def _settle_one(
    r: Router, call: Call, worker: Worker, stream: Stream, now_ms: int, out: Effects
) -> None:
    allowed = stream.over + limits.STREAM_WINDOW
    more = allowed - stream.told
    grown = more >= limits.STREAM_WINDOW // 4 or (more > 0 and not stream.items)
    if grown:
        stream.told = allowed
    if worker.node:
        if grown or stream.asked or stream.received - stream.acked >= limits.STREAM_ACK_ITEMS:
            stream.acked, stream.asked = stream.received, False
            told = [call.id, call.attempt, stream.told, stream.received, stream.peer_run]
            out.peer.append((worker.node, _CREDIT, told))
    elif grown:
        out.credits.append((worker.id, call.id, call.attempt, stream.told))
    if stream.used >= stream.told:
        if not stream.parked_ms:
            stream.parked_ms = now_ms
            park(r, worker, call, now_ms)
    elif stream.parked_ms:
        resume(r, worker, call, now_ms - stream.parked_ms, now_ms)
        stream.parked_ms = 0


def park(r: Router, worker: Worker, call: Call, now_ms: int) -> None:
    """The worker waits for credit, and runs other calls meanwhile."""
    worker.park(call, now_ms)
    holding.arm_watch(r, worker, now_ms)  # What was staged behind it has begun.
    r.touch(worker.pool)


def resume(r: Router, worker: Worker, call: Call, waited_ms: int, now_ms: int) -> None:
    """It has credit again; the time that it waited does not count against its time limit."""
    worker.resume(call)
    call.started_ms += waited_ms
    holding.arm_watch(r, worker, now_ms)


# What gets lost between nodes.


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Look up calls that other nodes may have ended without this one hearing of it."""
    if not r.replica.peers.by_node or now_ms < r.streams.ask_ms:
        return
    r.streams.ask_ms = now_ms + limits.NEED_ASK_MS
    asked = 0
    for id in r.streams.tracked:
        inst = r.replica.by_id.get(id)
        if id not in r.calls and (inst is None or inst.role == ENDED):
            out.lookups.append((b"", id))
            asked += 1
            if asked >= limits.NEEDS_ASKED_MAX:
                return


def looked_up(r: Router, id: bytes, found: bool, out: Effects) -> None:
    """The history here, or of a peer, was asked whether a call has ended."""
    if found:
        is_known(r, id)
    if id not in r.streams.tracked:
        return
    if found:
        ended(r, id)
        return
    for node in r.replica.peers.here():
        out.peer.append((node, _ASK, [id]))


__all__ = [
    "ITEM", "Item", "Stream", "Streams", "begin", "caused", "count_of", "ended", "go_on_here",
    "is_known", "item_id", "lacks_items", "leave", "looked_up", "may_have_run",
    "may_move", "on_yielded", "run_for_nobody", "settle", "source_of", "stopped", "tick",
    "units_of", "unsure",
]  # fmt: skip
