"""Joins: a socket whose plugs lead to several of its arguments is called when each has a value.

A value that comes along such a plug is a call of its own, an *arrival*, open until it is used.  The
arrivals of one flow at one socket are put together by *collectors*, calls with ids that anyone can
work out: number 0, 1, 2 ...  A collector's outcome names one arrival for each argument, in the
order in which they came, and causes the call of the socket.  Arrivals that it does not name go on
to the next collector.  An outcome is chosen once and an arrival looks at one collector after the
other, so each value is used once, whoever dies; nothing but outcomes is written.

In a mesh the collectors are kept by the nodes that kept the call to which the values go back
(option `at`), so that every node makes the same instance of each.  Values of one flow that go back
to calls of other keepers, like those that a task submits by itself, have collectors of their own.
Whoever owns an arrival tells the keepers of it until the collector has ended; whoever owns the
collector puts together what it was told.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.ids import ID_BYTES, child_id
from meshcode.replica.instance import (
    ENDED,
    generation_of,
    make_key,
    moved_key,
    split_voters,
)
from meshcode.router import births, ending, feeding
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, flow_of, id_of
from meshcode.router.states import State
from meshcode.wire.codec import pack, unpack_map
from meshcode.wire.frame import AT_CODE
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

JOIN: Final = "@join"
COLLECT: Final = "@collect"
UNNAMED: Final = "#"  # Before the name of a plug without an argument: its value is positional.
_ARRIVED: Final = int(Kind.ARRIVED)
_DONE: Final = int(Outcome.DONE)
_HEADS_MAX: Final = 10_000
_NAMED_MAX: Final = 100_000


class Collector:
    """What one collector that this node owns was told."""

    __slots__ = ("call", "join", "waiting")

    def __init__(self, call: Call, join: dict[str, Any]) -> None:
        """Nothing yet."""
        self.call = call
        self.join = join
        self.waiting: dict[str, dict[bytes, None]] = {place: {} for place in join["places"]}


class Joins:
    """The joins of one node; only in memory, all of it is told or looked up again."""

    def __init__(self) -> None:
        """None."""
        self.collectors: dict[bytes, Collector] = {}  # By their call.
        self.seeking: dict[bytes, tuple[Call, int]] = {}  # Arrivals, and which collector is next.
        # By collector 0: so many were seen to end here, from the first on; for values that others
        # keep, too, whom another node may have brought to them,
        self.heads: dict[bytes, int] = {}
        self.named: dict[bytes, int] = {}  # with the values that those named, and which did;
        self.past: dict[bytes, int] = {}  # and for values kept here alone, which none can have.
        self.tell_ms = 0


def where(r: Router, call: Call) -> bytes:
    """Home and voters of the root of a call's flow, for what it causes along plugs."""
    given = call.option("at")
    if given is not None:
        return bytes(given)
    inst = call.inst
    if inst is not None:
        return b"".join((inst.home, *inst.voters))
    if r.replica.peers.by_node:
        return b"".join((r.node, *r.replica.peers.choose_voters(call.id)))
    return b""


def collector_id(flow: bytes, at: bytes, join: dict[str, Any], number: int) -> bytes:
    """The call that puts together the set with that number."""
    return child_id(flow, b"join/%d/" % number + pack([join["target"], join["places"]]) + at)


def _id(call: Call, number: int) -> bytes:
    """The collector with that number of an arrival, or of another collector."""
    return collector_id(_flow(call), call.option("at") or b"", call.option("join"), number)


def _flow(call: Call) -> bytes:
    assert call.envelope is not None
    return flow_of(call.envelope)


def _collector_submit(flow: bytes, at: bytes, join: dict[str, Any], number: int) -> bytes:
    """The same bytes, whoever makes it."""
    data = {"target": join["target"], "places": join["places"], "number": number}
    options = {"at": at, "join": data} if at else {"join": data}
    id = collector_id(flow, at, join, number)
    name = COLLECT.encode()
    return seal(Kind.SUBMIT, id=id, flow=flow, name=name, meta=pack(options), body=b"\x90", argc=0)


# Arrivals.


def arrive(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """A value has come; it waits until a collector names it."""
    join = call.option("join")
    places = ", ".join(join["places"])
    text = f"waits with {join['place']!r} for all of {places} of socket {join['target']}"
    call.gather_for(text)
    # Another node may have owned it before, and told of it: any collector may have named it.
    number = r.joins.named.get(call.id)
    if number is None:
        ended = r.joins.past if call.inst is None else r.joins.heads
        number = ended.get(_id(call, 0), 0)
    _seek(r, call, number, now_ms, out)


def comes_late(call: Call) -> bool:
    """When the log is read: arrivals begin when the collectors have, in the order they came."""
    return call.line.name == JOIN


def _seek(r: Router, call: Call, number: int, now_ms: int, out: Effects) -> None:
    join = call.option("join")
    id = _id(call, number)
    r.joins.seeking[call.id] = (call, number)
    r.needed.setdefault(id, []).append(call)
    if id in r.joins.collectors:
        _collect(r, r.joins.collectors[id], join["place"], call.id, now_ms, out)
    elif id not in r.calls:
        out.lookups.append((b"", id))


def unknown(r: Router, call: Call, id: bytes, now_ms: int, out: Effects) -> None:
    """The history here has no such collector: it is made, here or by those who shall keep it."""
    found = r.joins.seeking.get(call.id)
    if found is None:
        return
    _, number = found
    join, flow = call.option("join"), _flow(call)
    if _id(call, number) != id or id in r.calls:
        return
    if id in r.ripe:
        return  # It was made for the arrival before, and has ended: this one hears of it next.
    at = call.option("at") or b""
    submit = _collector_submit(flow, at, join, number)
    inst = r.replica.by_id.get(id)
    if _has_moved(r, id):
        _pass_on(r, id, submit, join["place"], call.id, r.replica.peers.here(), out)
        return
    if inst is not None and (inst.role != ENDED or call.inst is None):
        key, voters = inst.key, inst.voters  # It may have moved to other nodes since.
        births.complete(r, inst, submit, out)
    elif call.inst is None:
        ending.issue(r, id, submit, now_ms, out)
        return
    else:
        home, voters = at[:ID_BYTES], split_voters(at[ID_BYTES:])
        key = make_key(id, home)
        if r.node in voters and inst is None:
            births.keep(r, key, voters, submit, now_ms, out)
    _tell(r, call, key, voters, submit, out)


def _tell(
    r: Router,
    call: Call,
    key: bytes,
    voters: tuple[bytes, ...],
    submit: bytes,
    out: Effects,
) -> None:
    place = call.option("join")["place"]
    for node in voters:
        if node != r.node and r.replica.peers.is_here(node):
            entry = [key, b"".join(voters), submit, place, call.id]
            out.peer.append((node, _ARRIVED, entry))


def _tell_others(r: Router, collector: Collector, arrival: Call, out: Effects) -> None:
    """This node owns the collector, or another took it over and neither has had to say so."""
    inst, submit = collector.call.inst, collector.call.envelope
    if inst is not None and submit is not None:
        _tell(r, arrival, inst.key, inst.voters, submit, out)


def on_arrived(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer owns an arrival for a collector that this node keeps, or shall keep."""
    key, data, submit, place, arrival = entry
    voters = split_voters(data)
    id = key[:ID_BYTES]
    first = generation_of(key) == 0  # Later ones come from those before: they are never made here.
    if first and r.node not in voters:
        r.replica.count("not a voter")
        return
    collector = r.joins.collectors.get(id)
    inst = r.replica.by_id.get(id)
    if collector is not None and collector.call.inst is inst:
        if place in collector.waiting:
            if _has_left(r, arrival):  # The peer has it now: it comes after those that are there.
                del r.joins.seeking[arrival]
                collector.waiting[place].pop(arrival, None)
            _collect(r, collector, place, arrival, now_ms, out)
    elif inst is None or inst.role == ENDED:
        out.lookups.append((node, id))  # If it has ended, the peer hears how.
        if first and _has_moved(r, id):
            others = [peer for peer in r.replica.peers.here() if peer != node]
            _pass_on(r, id, submit, place, arrival, others, out)
        elif first:
            births.wish(r, key, voters, submit, out)
    elif inst.key == key:
        births.complete(r, inst, submit, out)
    else:  # It has moved, and who told of the arrival does not know.
        owner = inst.promise[1]
        if owner not in (r.node, node) and r.replica.peers.is_here(owner):
            moved = [inst.key, b"".join(inst.voters), submit, place, arrival]
            out.peer.append((owner, _ARRIVED, moved))


def _has_moved(r: Router, id: bytes) -> bool:
    """Whether a collector that this node kept is kept by others only, as far as it knows."""
    inst = r.replica.by_id.get(id)
    return id in r.replica.moved and (inst is None or inst.role == ENDED)


def _pass_on(
    r: Router,
    id: bytes,
    submit: bytes,
    place: str,
    arrival: bytes,
    nodes: list[bytes],
    out: Effects,
) -> None:
    """Tell all nodes of an arrival: who has the collector by now is not known here."""
    inst = r.replica.moved[id]
    key = moved_key(inst.key)
    assert key is not None, inst.key.hex()
    for node in nodes:
        out.peer.append((node, _ARRIVED, [key, b"".join(inst.voters), submit, place, arrival]))


def collected(r: Router, call: Call, id: bytes, envelope: bytes, now_ms: int, out: Effects) -> None:
    """A collector has ended: the arrival is used by it, or looks at the next."""
    found = r.joins.seeking.get(call.id)
    if found is None or _id(call, found[1]) != id:
        return
    number = found[1]
    used = _used_by(envelope) if envelope[AT_CODE] == _DONE else []
    _seen(r, call, number, used)
    if call.id not in used:
        _seek(r, call, number + 1, now_ms, out)
        return
    del r.joins.seeking[call.id]
    assert call.envelope is not None
    ending.end_with_value(r, call, feeding.argument_of(call.envelope), now_ms, out)


def _used_by(envelope: bytes) -> list[bytes]:
    """The arrivals that a collector names; none where a node with the id of one says anything."""
    try:
        used = unpack_map(body_of(envelope)).get("with")
    except errors.BadValue:
        return []
    return used if isinstance(used, list) and all(type(id) is bytes for id in used) else []


def _seen(r: Router, call: Call, number: int, used: list[bytes]) -> None:
    """Arrivals need not look at this collector any more."""
    joins, first = r.joins, _id(call, 0)
    if max(len(joins.heads), len(joins.past)) > _HEADS_MAX or len(joins.named) > _NAMED_MAX:
        for known in (joins.heads, joins.named, joins.past):
            known.clear()  # All begin at 0 again.
    if call.inst is None:  # What is open here was never named: both are in one batch.
        joins.past[first] = max(joins.past.get(first, 0), number + 1)
    elif joins.heads.get(first, 0) == number:
        joins.heads[first] = number + 1
        joins.named.update(dict.fromkeys(used, number))


# Collectors.


def begin(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """This node owns a collector: what it owns of arrivals, and is told of, is put together."""
    join = call.option("join")
    call.gather_for(_collects(join))
    collector = r.joins.collectors[call.id] = Collector(call, join)
    if call.inst is None:
        first = _id(call, 0)
        r.joins.past[first] = max(r.joins.past.get(first, 0), join["number"])
    for arrival in list(r.needed.get(call.id, ())):
        if call.id not in r.joins.collectors:
            return
        if _has_left(r, arrival.id):
            continue
        _collect(r, collector, arrival.option("join")["place"], arrival.id, now_ms, out)


def _collects(join: dict[str, Any]) -> str:
    return f"puts together the arguments of socket {join['target']}"


def _collect(
    r: Router, collector: Collector, place: str, arrival: bytes, now_ms: int, out: Effects
) -> None:
    call = collector.call
    if r.calls.get(call.id) is not call or call.state is not State.GATHERING:
        r.joins.collectors.pop(call.id, None)  # It was cancelled, or is another node's by now.
        return
    collector.waiting[place][arrival] = None
    for waiting in collector.waiting.values():  # Who is named must be there; the others may have
        for id in list(takewhile(lambda one: _has_left(r, one), waiting)):  # left until then.
            del waiting[id]
    missing = [place for place, waiting in collector.waiting.items() if not waiting]
    if missing:
        call.reason = f"{_collects(collector.join)}; no value yet for {', '.join(missing)}"
        return
    del r.joins.collectors[call.id]
    used = [next(iter(waiting)) for waiting in collector.waiting.values()]
    submit = _joined_call(call, collector.join, used)
    children = ending.children_of(r, call, [(id_of(submit), submit)])
    body = pack({"with": used, "call": id_of(submit)})
    ending.end_with_value(r, call, body, now_ms, out, children)


def _has_left(r: Router, id: bytes) -> bool:
    """Whether an arrival was cancelled here, or is another node's now: that tells of it again."""
    found = r.joins.seeking.get(id)
    return found is not None and r.calls.get(id) is not found[0]


def _joined_call(call: Call, join: dict[str, Any], used: list[bytes]) -> bytes:
    """The call that gets the values; its id is that of its first value, so no two are alike."""
    options: dict[str, Any] = {"feed": used, "named": join["places"]}
    at = call.option("at")
    if at:
        options["at"] = at
    return seal(
        Kind.SUBMIT,
        id=child_id(used[0], b"joined"),
        flow=_flow(call),
        parent=used[0],
        name=join["target"].encode(),
        meta=pack(options),
        body=b"\x90",
        argc=0,
    )


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Look again how the collectors are; their keepers are told of the arrivals then.

    Never without a look: after a start it is not known which of them have ended.
    """
    if now_ms < r.joins.tell_ms:
        return
    r.joins.tell_ms = now_ms + limits.NEED_ASK_MS
    for collector in r.joins.collectors.values():
        for waiting in collector.waiting.values():
            for id in [id for id in waiting if _has_left(r, id)]:
                del waiting[id]
    wanted: dict[bytes, None] = {}
    told = 0
    for call, number in list(r.joins.seeking.values()):
        if r.calls.get(call.id) is not call or call.state is not State.GATHERING:
            del r.joins.seeking[call.id]
            continue
        id = _id(call, number)
        known = r.joins.collectors.get(id)
        if known is None and len(wanted) < limits.NEEDS_ASKED_MAX:
            wanted[id] = None
        elif known is not None and told < limits.NEEDS_ASKED_MAX:
            told += 1
            _tell_others(r, known, call, out)
    out.lookups += [(b"", id) for id in wanted]


__all__ = [
    "COLLECT", "JOIN", "Joins", "arrive", "begin", "collected", "comes_late", "on_arrived",
    "tick", "unknown", "where",
]  # fmt: skip
