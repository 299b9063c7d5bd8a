"""Calls that wait for others: what they need, how it comes in, and how they begin or end by it.

A call with the option `feed` is GATHERING until every call that it names has ended.  Nothing of
what came in is written: outcomes are in the history of the mesh, so a node that takes over, or
begins anew, looks them up again.  Where they come from:

- calls that end here, and those of which this node is a voter: `ended`;
- the history of this node: `Effects.lookups`, answered by `events.LookedUp`;
- the other nodes, asked every NEED_ASK_MS until one knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from meshcode import errors, limits
from meshcode.ids import NO_ID, text_of
from meshcode.marks import mypyc_attr
from meshcode.replica import remembering
from meshcode.replica.instance import ENDED
from meshcode.router import (
    births,
    casting,
    closing,
    copies,
    ending,
    events,
    feeding,
    flows,
    holding,
    joins,
    plan,
    steps,
    streams,
    ticking,
    timers,
)
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, flow_of, has_name
from meshcode.router.line import Line
from meshcode.router.states import State
from meshcode.router.timers import T_DUE
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import AT_CODE
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_ASK: Final = int(Kind.OUTCOME_OF)
_TELL: Final = int(Kind.OUTCOME_IS)


@mypyc_attr(acyclic=True)
class Gather:
    """What one call waits for."""

    __slots__ = ("agreed", "bytes", "feed", "found", "is_plain", "left", "plan", "seats", "via")

    def __init__(self, feed: Any, base: bytes) -> None:
        """Nothing has come in; numbers in the feed count the steps of the plan `base`."""
        self.feed = feed
        self.plan = base
        self.found: dict[bytes, bytes | None]  # Packed values, by call.
        if isinstance(feed, list):
            ids = [self.id_of(leaf) for leaf in feeding.leaves(feed)]
            self.found = dict.fromkeys(ids)
            self.left = len(self.found)
            self.is_plain = self.left == len(ids)  # No call is named twice.
        else:
            self.found = {self.id_of(feed): None}
            self.left = 1
            self.is_plain = True
        self.bytes = 0
        self.agreed = True  # A majority has all of it on disk, as far as it has come in.
        self.seats: dict[bytes, casting.Reply] | None = None  # Of the copies of a broadcast.
        self.via: dict[bytes, dict[bytes, None]] = {}  # A result's id -> flows whose it is.

    def id_of(self, leaf: int | bytes) -> bytes:
        """The call that a feed names."""
        return leaf if isinstance(leaf, bytes) else feeding.step_id(self.plan, leaf)

    def find(self, leaf: int | bytes) -> bytes:
        """The value of one of them, once it is there."""
        value = self.found[self.id_of(leaf)]
        assert value is not None
        return value

    def value(self) -> bytes:
        """All of it, put together."""
        if not self.is_plain:
            return feeding.value_of(self.feed, self.find)
        if not isinstance(self.feed, list):
            (value,) = self.found.values()
            assert value is not None
            return value
        values = cast("Iterator[bytes]", iter(self.found.values()))  # In the order of the feed.
        return feeding.value_of(self.feed, lambda _: next(values))

    @property
    def reason(self) -> str:
        """What it waits for, for people."""
        count = len(self.found)
        if count == 1:
            return f"waits for call {text_of(next(iter(self.found)))}"
        return f"waits for {self.left} of {count} calls"


@mypyc_attr(acyclic=True)
class One(Gather):
    """The same of a call that needs one step, which is open here, and has no other options."""

    __slots__ = ()

    def __init__(self, feed: int, base: bytes, id: bytes) -> None:
        """`id`: that of the step `feed`."""
        self.feed = feed
        self.plan = base
        self.found = {id: None}
        self.left = 1
        self.is_plain = True
        self.bytes = 0
        self.agreed = True
        self.seats = None
        self.via = {}


def begin(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """A call of which something is needed first: it waits for that, counted in its line."""
    envelope = call.envelope
    assert envelope is not None and call.options is not None
    base = call.options.get("plan") or flow_of(envelope)
    gather = call.gather = Gather(call.options["feed"], base)
    if "seats" in call.options:
        gather.seats = dict(zip(gather.found, casting.replies_of(envelope), strict=True))
    call.gather_for("")
    for id in gather.found:
        _await(r, call, id, out)
    if not gather.left:  # An empty list.
        r.needed.setdefault(NO_ID, []).append(call)
        r.ripe[NO_ID] = b""


def _await(r: Router, call: Call, id: bytes, out: Effects) -> None:
    waiting = r.needed.get(id)
    if waiting is not None:
        waiting.append(call)
        return
    r.needed[id] = [call]
    if id not in r.calls:  # Kept here, too, it may have ended for another home (P14).
        out.lookups.append((b"", id))


def _is_open(r: Router, id: bytes) -> bool:
    """Whether this node will learn by itself how the call ends."""
    if id in r.calls:
        return True
    inst = r.replica.by_id.get(id)
    if inst is None or inst.role == ENDED:
        return False
    return not r.replica.is_orphan(inst)  # Those who are gone may have moved it before.


def ended(r: Router, id: bytes, envelope: bytes) -> None:
    """A call has ended: whoever waits for it gets its outcome at the end of the step."""
    if id in r.needed:
        r.ripe[id] = envelope


def settle(r: Router, now_ms: int, out: Effects) -> None:
    """Give what came in to those who wait for it; that may end them, and so on."""
    ripe, needed = r.ripe, r.needed
    offered: set[Line] = set()
    while ripe:
        id, envelope = ripe.popitem()
        waiting = needed.pop(id, ())
        if envelope and type(waiting) is list and steps.feed(r, waiting, envelope, now_ms, offered):
            continue
        body = body_of(envelope) if envelope else b""  # One for all that are fed it.
        for call in waiting:
            gather = call.gather
            if call.state is not State.GATHERING:
                continue  # It was cancelled, or is not this node's any more.
            if gather is None:
                joins.collected(r, call, id, envelope, now_ms, out)
                continue
            if envelope:
                _take(r, call, gather, id, envelope, body, now_ms, out)
            if not gather.left and call.state is State.GATHERING:
                _complete(r, call, gather, now_ms, out)


def _take(
    r: Router,
    call: Call,
    gather: Gather,
    id: bytes,
    envelope: bytes,
    body: bytes,
    now_ms: int,
    out: Effects,
) -> None:
    found = gather.found
    gather.agreed = gather.agreed and _is_agreed(r, id, envelope)
    is_value = envelope[AT_CODE] == _DONE and not has_name(envelope)
    if is_value and not gather.via and gather.seats is None and id in found:
        if found[id] is None:  # Most are nothing but this.
            found[id] = body
            gather.left -= 1
            gather.bytes += len(body)
            call.reason_given = ""
            if gather.bytes > (limit := most(r)):
                _too_large(r, call, gather.bytes, limit, now_ms, out)
        return
    ids = (id, *gather.via.pop(id, ())) if gather.via else (id,)
    named = [one for one in ids if found.get(one, b"") is None]
    result = plan.result_of(envelope)
    if result is not None:  # The value of a flow is that of its result.
        gather.via.setdefault(result, {}).update(dict.fromkeys(named))
        _await(r, call, result, out)
        return
    if not named:
        return
    if gather.seats is not None:
        body = gather.seats[named[0]].packed(envelope)
    elif envelope[AT_CODE] != _DONE:
        _fail(r, call, named[0], envelope, now_ms, out)
        return
    for one in named:
        found[one] = body
    gather.left -= len(named)
    gather.bytes += len(body) * len(named)
    call.reason = ""
    limit = most(r)
    if gather.bytes > limit:
        _too_large(r, call, gather.bytes, limit, now_ms, out)


def _is_agreed(r: Router, id: bytes, envelope: bytes) -> bool:
    """Whether a majority of the nodes that keep a call has this outcome on disk."""
    inst = r.replica.by_id.get(id)
    if inst is None or inst.role != ENDED or len(inst.voters) == 1:
        return False
    return inst.value is not None and inst.value.outcome == envelope


def most(r: Router) -> int:
    """Bytes of all that a call may be fed, and of that with the call itself."""
    return limits.SHARED_BYTES_MAX if r.replica.peers.by_node else limits.BODY_BYTES_MAX


def _fail(
    r: Router, call: Call, id: bytes, envelope: bytes, now_ms: int, out: Effects
) -> None:
    """What was needed failed or was cancelled: the call ends with the same error, without a run."""
    code = envelope[AT_CODE]
    body = pack(_error_of(envelope, id))
    again = seal(Kind.OUTCOME, id=call.id, code=code, attempt=0, body=body)
    call.note(now_ms, "not run", f"call {text_of(id)} ended {Outcome(code).name}")
    _leave(call)
    ending.end(r, call, code, again, now_ms, out)


def _error_of(envelope: bytes, id: bytes) -> dict[str, Any]:
    """The error data of an outcome, with the call that it comes from in its fields."""
    step, body = text_of(id), body_of(envelope)
    try:
        data = unpack(body)
    except errors.BadValue:  # A worker may send anything.
        data = None
    fields = data.get("fields") if type(data) is dict else None
    if type(fields) is dict and len(body) <= limits.SHARED_BYTES_MAX:
        return {**data, "fields": {"step": step} | fields}
    limit = limits.SHARED_BYTES_MAX
    what = "cannot be read" if len(body) <= limit else f"has {len(body)} bytes, over {limit}"
    text = f"call {step}, whose result is needed, ended without one; its error {what}"
    return errors.RemoteError(text, step=step).to_data()


def _too_large(r: Router, call: Call, size: int, limit: int, now_ms: int, out: Effects) -> None:
    _leave(call)
    error = errors.TooLarge(
        f"the results that the call needs have {size} bytes together, the limit is {limit}; they "
        "are kept, each under its own id; return large data by reference, for instance a path",
        found=size,
        limit=limit,
    )
    ending.end_with_error(r, call, Outcome.FAILED, error, now_ms, out)


def _too_deep(r: Router, call: Call, depth: int, now_ms: int, out: Effects) -> None:
    """Nobody could read it: neither a worker nor who asks for it."""
    _leave(call)
    limit = limits.DATA_DEPTH_MAX
    error = errors.TooLarge(
        f"the results that the call needs are nested {depth} levels deep together, the limit is "
        f"{limit}; they are kept, each under its own id; return flatter data, or gather less often",
        found=depth,
        limit=limit,
    )
    ending.end_with_error(r, call, Outcome.FAILED, error, now_ms, out)


def _leave(call: Call) -> None:
    call.line.count_out(call)
    call.gather = None
    call.reason = ""


def _complete(r: Router, call: Call, gather: Gather, now_ms: int, out: Effects) -> None:
    """All is there: the call gets its arguments and its turn, or is what was gathered."""
    named = call.option("named")
    value = b"" if named is not None else gather.value()
    if isinstance(gather.feed, list) and (depth := feeding.depth_over(value)):
        _too_deep(r, call, depth, now_ms, out)
        return
    if call.line.builtin:
        call.gather = None
        ending.end_with_value(r, call, value, now_ms, out)
        return
    fed = feeding.One(value) if named is None else _by_name(gather, named)
    limit = most(r)
    if call.size + fed.size > limit:
        _too_large(r, call, call.size + fed.size, limit, now_ms, out)
        return
    call.fed = fed
    call.gather = None
    call.reason = ""
    if not (call.attempt or call.recorded):
        inst = call.inst
        agreed = gather.agreed and inst is not None and inst.is_answered(r.node)
        call.needs = r.turn - 1 if agreed else r.turn
    if call.line.spread and not call.option("copy"):
        flows.spread(r, call, now_ms, out)
        return
    if call.due_ms <= now_ms and not call.recorded:  # Else its delay is over, or was waived.
        call.due_ms = timers.due_of(call.options, now_ms, now_ms) or now_ms
    if call.due_ms > now_ms:
        call.move(State.DELAYED)
        call.reason = holding.DELAYED_REASON
        r.at(call.due_ms, T_DUE, call)
        timers.arm_expiry(r, call)
    else:
        holding.requeue(r, call, now_ms, out, front=False)


def _by_name(gather: Gather, places: list[str]) -> feeding.Fed:
    """What a join has put together: each value goes to the argument of its plug."""
    values = [feeding.value_of(leaf, gather.find) for leaf in gather.feed]
    pairs = list(zip(places, values, strict=True))
    args = [value for place, value in pairs if place.startswith(joins.UNNAMED)]
    kwargs = {place: value for place, value in pairs if not place.startswith(joins.UNNAMED)}
    return feeding.Fed(args, kwargs)


def on_looked_up(r: Router, event: events.LookedUp, now_ms: int, out: Effects) -> None:
    """The history was asked for outcomes, for calls here or for a peer.

    Of a call that has moved this may file the outcome: then the rest of the answer is of before.
    """
    filed: dict[bytes, bytes] = {}
    unknown: dict[bytes, None] = {}  # Each is asked for by all that need it.
    for node, id, found in event.found:
        envelope = found or filed.get(id, b"")
        if not node and id in r.replica.moved:
            envelope = filed[id] = remembering.looked_up(r.replica, id, envelope, now_ms, out)
        if not node and r.births:
            births.looked_up(r, id, bool(envelope), now_ms, out)
            ticking.looked_up(r, id, out)
        if not node and id in r.closing:
            closing.looked_up(r, id, envelope, now_ms, out)
        if node:
            if envelope:
                out.peer.append((node, _TELL, [id, envelope]))
            continue
        streams.looked_up(r, id, bool(envelope), out)
        if envelope:
            ended(r, id, envelope)
        elif id in r.needed and id not in unknown:
            unknown[id] = None
            _is_unknown(r, id, now_ms, out)


def _is_unknown(r: Router, id: bytes, now_ms: int, out: Effects) -> None:
    waiting = [call for call in r.needed.get(id, ()) if call.state is State.GATHERING]
    if not waiting:
        r.needed.pop(id, None)
        return
    arrivals = [call for call in waiting if call.gather is None]
    for call in arrivals:
        joins.unknown(r, call, id, now_ms, out)
    if arrivals or _is_open(r, id):
        return
    for call in waiting:
        call.reason = f"waits for call {text_of(id)}, of which this node knows nothing"
    for node in r.replica.peers.here():
        out.peer.append((node, _ASK, [id]))


def on_ask(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer needs an outcome: it is told, if it is in the history here.

    Of a call that its keepers make by themselves it hears also that it is open here.
    """
    (id,) = entry
    if not _is_open(r, id):
        out.lookups.append((node, id))
    elif (inst := r.replica.by_id.get(id)) is not None and inst.is_birth:
        out.peer.append((node, _TELL, [id, b""]))


def on_tell(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A peer had an outcome that is needed here."""
    id, envelope = entry
    births.looked_up(r, id, True, now_ms, out)  # If it is open there, it is not made here either.
    ticking.looked_up(r, id, out)
    streams.is_known(r, id)
    if envelope:
        copies.told(r, node, id, envelope, out)
        streams.looked_up(r, id, True, out)
        remembering.told(r.replica, id, envelope, out)
        ended(r, id, envelope)


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Look again for what is needed and no open call here."""
    if not r.needed or now_ms < r.needs_ask_ms:
        return
    r.needs_ask_ms = now_ms + limits.NEED_ASK_MS
    asked = 0
    for id in list(r.needed):
        if id in r.calls:
            continue
        out.lookups.append((b"", id))
        r.needed[id] = r.needed.pop(id)  # The next time others come first.
        asked += 1
        if asked >= limits.NEEDS_ASKED_MAX:
            return
