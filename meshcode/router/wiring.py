"""Plugs: what the outcome of a call causes at other sockets, and the gates on the way.

The plugs of a socket are looked at when a call of it ends: a change of the wiring holds for the
next outcome, and a call that a plug has made keeps its way whatever becomes of the plug.  All that
an outcome causes is in one batch of the log with it.

A gate is open, closed (calls wait at it, or are turned away), or a task that is called with the
value and says whether it may pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshcode import errors, limits
from meshcode.ids import child_id
from meshcode.router import feeding, joins, streams
from meshcode.router.bindings import Bound, matches
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of, flow_of, has_name
from meshcode.router.records import read_envelope
from meshcode.router.states import State
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Flag, Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

OPEN: Final = "open"
CLOSED: Final = "closed"
TASK: Final = "task"
_STRICT: Final = (OPEN, TASK, CLOSED)
HOLD: Final = "hold"
REJECT: Final = "reject"

_DONE: Final = int(Outcome.DONE)
_FAILED: Final = int(Outcome.FAILED)
# Kinds of which each value is either true or false.
_SIMPLE: Final = frozenset({bool, int, float, str, bytes, list, tuple, dict})
_ROOM: Final = 1_024  # Of an envelope around a value.


class Gate(NamedTuple):
    """A condition on an edge."""

    name: str
    mode: str  # OPEN, CLOSED or TASK.
    socket: str  # Of TASK: what is asked.
    when_closed: str  # HOLD or REJECT.


class Edge(NamedTuple):
    """One way of a plug, as an outcome of its source sees it."""

    name: str  # Of the plug.
    key: bytes  # What the id of the call it makes is made of.
    target: str
    error: bool  # It takes failures, not results.
    argument: str  # The argument of the target that gets the value; "" = the first.
    place: str  # The same among those of a join, where two plugs may have no argument.
    joined: tuple[str, ...]  # Places that all must be filled before the target is called; () = no.
    gate: Gate | None
    ttl_ms: int | None = None  # It is cancelled when it has not begun by then.
    copy: bool = False  # The plug's queue brings it there: it does not go to all of it again.
    cast: bool = False  # And there to every worker.


def edges_of(snapshot: dict[str, Any], bound: Bound) -> dict[str, tuple[Edge, ...]]:
    """The edges that leave each socket, in order of their names; `bound` as `bindings` gives it."""
    plugs = snapshot.get("plugs") or {}
    gates = _by_plug(gates_of(snapshot))
    into: dict[str, set[str]] = {}
    for name, plug in plugs.items():
        if plug.get("type") != "ERROR":
            into.setdefault(plug["target"], set()).add(_place(name, plug))
    sockets = snapshot.get("sockets") or {}
    found: dict[str, list[Edge]] = {}
    for name in sorted(plugs):
        plug = plugs[name]
        error = plug.get("type") == "ERROR"
        argument = plug.get("argument") or ""
        waits = bool(sockets.get(plug["target"], {}).get("wait_for_all"))
        place = _place(name, plug)
        joined = () if error else _joined(into[plug["target"]], place, waits)
        queue = (snapshot.get("queues") or {}).get(plug.get("queue") or "") or {}
        ttl_ms, gate = queue.get("message_ttl_ms"), gates.get(name)
        ways = [(plug["target"], b"plug:" + name.encode())]
        also: list[str] = []
        if queue.get("type") in ("topic", "fanout", "broadcast"):
            also = _also(bound, plug["queue"], plug["source"])
            for other in also:
                if other != plug["target"]:
                    ways.append((other, b"plug:%s:%s" % (name.encode(), other.encode())))
        for target, key in ways:
            joins_there = joined if target == plug["target"] else ()
            copy = target in also
            cast = copy and queue["type"] == "broadcast"
            edge = Edge(
                name, key, target, error, argument, place, joins_there, gate, ttl_ms, copy, cast
            )
            found.setdefault(plug["source"], []).append(edge)
    return {source: tuple(edges) for source, edges in found.items()}


def _by_plug(gates: dict[str, dict[str, Any]]) -> dict[str, Gate]:
    """The gate of each plug; of several the strictest."""
    found: dict[str, Gate] = {}
    for name in sorted(gates, key=lambda name: _STRICT.index(gates[name].get("mode") or OPEN)):
        fields = gates[name]
        found[fields["plug"]] = Gate(
            name, fields.get("mode") or OPEN, fields.get("socket") or "",
            fields.get("when_closed") or HOLD,
        )  # fmt: skip
    return found


def _also(bound: Bound, queue: str, source: str) -> list[str]:
    """The sockets that a topic or fanout queue of a plug reaches; the topic is the source's name"""
    return [name for name, pattern in bound.get(queue, ()) if matches(pattern, source)]


def leans_on(snapshot: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Kind and name of the sockets and queues that decide what the edges are."""
    found: set[tuple[str, str]] = set()
    for plug in (snapshot.get("plugs") or {}).values():
        found.add(("socket", plug["target"]))
        if plug.get("queue"):
            found.add(("queue", plug["queue"]))
    return frozenset(found)


def gates_of(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The gates of a snapshot."""
    return snapshot.get("gates") or {}


def _place(name: str, plug: dict[str, Any]) -> str:
    return plug.get("argument") or joins.UNNAMED + name


def _joined(places: set[str], place: str, waits: bool) -> tuple[str, ...]:
    """The places that a value for `place` waits for, itself among them; () = none.

    A plug without an argument calls its target alone, unless the target waits for all its plugs.
    """
    wanted = sorted(one for one in places if waits or not one.startswith(joins.UNNAMED))
    return tuple(wanted) if place in wanted and len(wanted) > 1 else ()


def submits(
    r: Router, call: Call, code: int, outcome: bytes, now_ms: int
) -> list[tuple[bytes, bytes]]:
    """The ids and SUBMIT envelopes of the calls that the outcome of a call causes."""
    if code not in (_DONE, _FAILED) or call.envelope is None or has_name(outcome):
        return []  # An outcome with a name says where the value is: that goes on from there.
    passing = call.option("edge")
    if passing is not None:  # It was asked whether a value may pass a gate.
        return _passed(r, call, passing, code, outcome, now_ms)
    source = r.lines.get(streams.source_of(call))
    edges = () if source is None else source.edges
    if not edges:
        return []
    value = body_of(outcome)
    _, meta = read_envelope(outcome) if code == _DONE else ("", None)
    if streams.count_of(meta) is not None:
        return []  # Its items went along the plugs.
    wanted = _routes_of(meta)
    found = []
    for edge in edges:
        if edge.error != (code == _FAILED) or (wanted is not None and edge.name not in wanted):
            continue
        made = _along(r, call, edge, value, now_ms)
        if made is not None:
            found.append(made)
    return found


def _routes_of(meta: dict[str, Any] | None) -> list[str] | None:
    """The plugs that a result chose (a router's), or None: all of them."""
    if meta is None:
        return None
    chosen = meta.get("plugs")
    return chosen if isinstance(chosen, list) else None


def _along(
    r: Router, call: Call, edge: Edge, value: bytes, now_ms: int
) -> tuple[bytes, bytes] | None:
    gate = edge.gate
    id = _id(call, edge.key, edge)
    if len(value) + _ROOM > limits.BODY_BYTES_MAX:
        text = f"plug {edge.name}: the value has {len(value)} bytes, which is too large to pass on"
        call.note(now_ms, "not sent", text)
        return None
    if gate is None or gate.mode == OPEN:
        return id, _target_call(r, call, id, edge, value, {})
    if gate.mode == CLOSED and gate.when_closed == REJECT:
        call.note(now_ms, "rejected", f"plug {edge.name}: gate {gate.name} is closed")
        return None
    if gate.mode == CLOSED:
        return id, _target_call(r, call, id, edge, value, {"gate": gate.name})
    data = {
        "plug": edge.name, "target": edge.target, "argument": edge.argument, "ttl_ms": edge.ttl_ms,
        "place": edge.place, "joined": list(edge.joined), "gate": gate.name, "copy": edge.copy,
        **({"cast": True} if edge.cast else {}),
    }  # fmt: skip
    id = child_id(call.id, edge.key + b":gate")
    return id, _sealed(r, call, id, gate.socket, [value], {"edge": data})


def _id(call: Call, key: bytes, edge: Edge) -> bytes:
    """The call at the end of an edge; a value at a join is never one with a call of the socket.

    Two nodes may have accepted `call`, and go by two wirings (P14): whoever looks up a value by its
    id must not find what the socket returned.
    """
    return child_id(call.id, key + b":join" if edge.joined else key)


def _passed(
    r: Router, call: Call, passing: dict[str, Any], code: int, outcome: bytes, now_ms: int
) -> list[tuple[bytes, bytes]]:
    """A gate's task has answered: the value goes on, or ends here."""
    name, gate = passing["plug"], passing["gate"]
    why = "failed" if code == _FAILED else _why_not(body_of(outcome))
    if why:
        call.note(now_ms, "rejected", f"plug {name}: gate {gate} {why}")
        return []
    edge = Edge(
        name, b"", passing["target"], False, passing["argument"], passing["place"],
        tuple(passing["joined"]), None, passing["ttl_ms"], passing.get("copy", False),
        passing.get("cast", False),
    )  # fmt: skip
    assert call.envelope is not None
    value = feeding.argument_of(call.envelope)
    id = _id(call, b"passed", edge)
    return [(id, _target_call(r, call, id, edge, value, {}))]


def _why_not(answer: bytes) -> str:
    """Why a packed answer of a gate's task lets nothing pass; "" when it does.

    Values of simple kinds are true or false as in Python.  Of an array, or a Decimal that is no
    number, nobody can say.
    """
    try:
        value = unpack(answer)
    except errors.BadValue:
        return "answered what cannot be read, which counts as no"
    if value is None or type(value) in _SIMPLE:
        return "" if value else "said no"
    what = type(value).__name__
    return f"answered {what}, which is neither plainly true nor plainly false and counts as no"


def _target_call(
    r: Router, call: Call, id: bytes, edge: Edge, value: bytes, options: dict[str, Any]
) -> bytes:
    """The SUBMIT envelope of what comes out at the end of an edge."""
    if edge.joined:
        join = {"target": edge.target, "places": list(edge.joined), "place": edge.place}
        return _sealed(r, call, id, joins.JOIN, [value], {**options, "join": join})
    if edge.copy:
        options = {**options, "copy": True}
    if edge.cast:
        options = {**options, "broadcast": True}
    if edge.ttl_ms is not None:
        options = {**options, "expires_ms": edge.ttl_ms}
    if edge.argument:
        named = {**options, "kw": [edge.argument]}
        return _sealed(r, call, id, edge.target, [], named, {edge.argument: value})
    return _sealed(r, call, id, edge.target, [value], options)


def _sealed(
    r: Router,
    call: Call,
    id: bytes,
    name: str,
    args: list[bytes],
    options: dict[str, Any],
    kwargs: dict[str, bytes] | None = None,
) -> bytes:
    assert call.envelope is not None
    trace = call.option("trace")
    if trace:
        options = {**options, "trace": trace}
    where = joins.where(r, call)
    if where:
        options = {**options, "at": where}
    body = feeding.list_head(len(args)) + b"".join(args)
    if kwargs:
        body += feeding.map_of(kwargs)
    return seal(
        Kind.SUBMIT,
        id=id,
        flow=flow_of(call.envelope),
        parent=call.id,
        name=name.encode(),
        meta=pack(options) if options else b"",
        body=body,
        flags=int(Flag.KWARGS) if kwargs else 0,
        argc=len(args),
    )


# Gates that are closed.


def is_closed(r: Router, call: Call) -> bool:
    """Whether the call waits at a gate before it may begin."""
    gate = call.option("gate")
    return gate is not None and r.gates.get(gate) == CLOSED


def hold(r: Router, call: Call) -> None:
    """It waits, counted in its line, until the gate opens or is removed."""
    gate = call.option("gate")
    text = f"gate {gate} is closed; open it with `mesh update gate -n {gate} --mode open`"
    call.gather_for(text)
    r.gated.setdefault(gate, []).append(call)


def let_go(r: Router, now_ms: int, out: Effects) -> None:
    """The model changed: what waits at gates that are closed no longer goes on."""
    for gate in list(r.gated):
        if r.gates.get(gate) == CLOSED:
            continue
        for call in r.gated.pop(gate):
            if call.state is State.GATHERING and r.calls.get(call.id) is call:
                call.reason = ""
                r.enter(call, now_ms, out)
