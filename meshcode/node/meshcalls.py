"""The calls of a whole mesh: one of them, and those that wait for a person.

    mesh.call      one call, with what every node that knows it can tell
    mesh.row       this node's knowledge of one call, for a peer that asks
    mesh.recover   calls that the rules leave to a person, on all nodes that answer
    mesh.stuck     this node's share of it, for a peer that asks
    call.recover   issue one of them again, where it is kept

A call is known to its owner (an open call, in memory), to its other voters (kept: in the log only)
and, once it has ended, to all of them (in their histories).  Rows of one call are merged: what is
certain goes first (`meshrows.RANKS`).  Listings are in `meshlist.py`, flows in `meshflow.py`.
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, LogDamaged, MeshError, UnknownCall, WrongState
from meshcode.ids import NO_ID, parse_id, text_of
from meshcode.listing import COPY, LOST, ORPHAN
from meshcode.node.history import asked_of, unknown_call
from meshcode.node.meshops import (
    Answers,
    answer,
    ask_peers,
    good_data,
    refuse,
    silent_peers,
)
from meshcode.node.meshrows import (
    ENDED_HERE,
    KEPT,
    OWNED,
    TOLD,
    Row,
    are_rows,
    fitting,
    in_order,
    is_row,
    joined,
    merge_one,
    merged,
    slim,
)
from meshcode.node.paging import ROWS_MAX
from meshcode.node.sessions import Session
from meshcode.node.subjects import call_of
from meshcode.router import recovering
from meshcode.router.copies import keeper_of
from meshcode.router.events import RecoverAsked
from meshcode.router.records import accepted_call, read_envelope, sequence_key
from meshcode.router.states import State
from meshcode.store.contract import OPEN
from meshcode.wire.frame import AT_FLOW, AT_PARENT

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.node.mesh import Mesh
    from meshcode.replica.instance import Instance
    from meshcode.router.call import Call
    from meshcode.router.copies import Copy



# This node's knowledge.


def kept_row(loop: Loop, id: bytes) -> Row:
    """A call that another node owns, as far as its voter (or the keeper of its copy) knows it."""
    inst = loop.router.replica.by_id.get(id)
    copy = loop.router.copies.get(id)
    sequence = inst.sequence if inst is not None else copy.sequence if copy is not None else 0
    accepted_ms, submit = stored_call(loop, sequence)
    owner = _owner_of(loop, id)
    name = read_envelope(submit)[0] if submit else ""
    line = loop.router.lines.get(name)
    note = (inst.note if inst is not None else None) or {}
    events = [{"name": "received", "ms": accepted_ms, "note": f"socket {name}"}]
    events += [{"name": name, "ms": ms, "note": text} for ms, name, text in note.get("story") or ()]
    row = {
        "id": text_of(id), "flow": _id_at(submit, AT_FLOW) or text_of(id),
        "parent": _id_at(submit, AT_PARENT), **asked_of(submit), "socket": name,
        "task": line.config.task if line else None,
        "processor": line.config.processor if line else None, "state": "KEPT",
        "reason": f"kept here for {_owner_name(loop, owner)}", "attempts": note.get("attempt", 0),
        "priority": None, "accepted_ms": accepted_ms or None, "started_ms": None,
        "finished_ms": None, "due_ms": None, "worker": None, "commit": None, "events": events,
        "know": KEPT, "node": _owner_name(loop, owner), "epoch": inst.promise[0] if inst else 0,
        "runs_on": "",
    }  # fmt: skip
    _add_voters(loop, row, inst)
    if copy is not None:
        row |= {"voters": [row["node"], mine(loop)], "copies": 2, "copies_of": 2}
    return row | stuck_of(loop, id)


def stuck_of(loop: Loop, id: bytes) -> Row:
    """State and reason of an open call that others keep from going on; else nothing.

    It is left to a person by the rules, or the nodes that are to keep it, too, are away.
    """
    router = loop.router
    call, copy = router.calls.get(id), router.copies.get(id)
    inst = router.replica.by_id.get(id) if call is None else call.inst
    found = _lost(loop, call, copy, inst) if router.replica.peers.evicted else {}
    if not found and call is not None and call.state is State.COPYING and inst is not None:
        found = _uncopied(loop, inst)
    return found


def _uncopied(loop: Loop, inst: Instance) -> Row:
    peers = loop.router.replica.peers
    others = [node for node in inst.voters if node != peers.me]
    if any(peers.is_here(node) for node in others):
        return {}
    names = ", ".join(_owner_name(loop, node) for node in others)
    return {
        "reason": f"it is on this node's disk alone: {names} are to keep it, too, and are away; it"
        " is acknowledged and begins when one of them is back"
    }


def _lost(loop: Loop, call: Call | None, copy: Copy | None, inst: Instance | None) -> Row:
    """What the rules leave to a person, since nodes were evicted."""
    router = loop.router
    evicted = router.replica.peers.evicted
    if inst is not None and router.replica.is_orphan(inst):
        kind, voters = ORPHAN, inst.voters
    elif call is None and copy is not None and copy.home in evicted:
        kind, voters = COPY, (copy.home,)
    else:
        return {}
    gone = ", ".join(_owner_name(loop, node) for node in voters if node in evicted)
    return {"state": kind, "reason": f"evicted: {gone}; it may have run before"}


def has_owner(loop: Loop, id: bytes) -> bool:
    """Whether the owner of a kept call is there, and knows more of it."""
    return loop.mesh is not None and _owner_of(loop, id) in loop.mesh.up


def why_not_now(loop: Loop, id: bytes, what: str) -> WrongState:
    """Why a call can be told nothing now; `what`: "cancelled"."""
    row = kept_row(loop, id)
    if row["state"] in LOST:
        return WrongState(
            f"call {text_of(id)} cannot be {what}: it is {row['state']}, {row['reason']}, so it can"
            f" not end; nothing was changed; `mesh recover --force {text_of(id)}` issues it again,"
            f" and then it can be {what}",
            kept=True,
        )
    return WrongState(
        f"call {text_of(id)} cannot be {what} now: it is {row['reason']}, and nobody who answers"
        f" owns it; nothing was changed; it is taken over in a minute at most, and then it can be"
        f" {what}: ask again",
        kept=True,
    )


def _id_at(submit: bytes, at: slice) -> str | None:
    id = submit[at]
    return text_of(id) if len(id) == 16 and id != NO_ID else None


def _owner_of(loop: Loop, id: bytes) -> bytes:
    """Who owns a kept call, as far as this node knows; NO_ID: nobody does yet."""
    inst, copy = loop.router.replica.by_id.get(id), loop.router.copies.get(id)
    return inst.promise[1] if inst is not None else copy.home if copy is not None else NO_ID


def _owner_name(loop: Loop, owner: bytes) -> str:
    if owner == NO_ID or loop.mesh is None:
        return "nobody yet" if owner == NO_ID else "this node"
    return loop.mesh.name_of(owner)


def stored_call(loop: Loop, sequence: int) -> tuple[int, bytes]:
    """When a call was accepted and its SUBMIT envelope, from the log; 0 and empty: not there."""
    try:
        value = loop.log.get(OPEN, sequence_key(sequence))
    except LogDamaged:
        return 0, b""
    return (0, b"") if value is None else accepted_call(value)


def annotated(loop: Loop, row: Row) -> Row:
    """A row of the history with its owner, voters and copies, as this node knows them."""
    id = parse_id(row["id"])
    call = loop.router.calls.get(id)
    name = mine(loop)
    if call is None:
        inst = loop.router.replica.by_id.get(id)
        row |= {"know": ENDED_HERE if row["node"] == name else TOLD, "runs_on": ""}
        _add_voters(loop, row, inst)
        row["copies"] = 1  # Counted over the nodes that answer, see `merged`.
        return row
    worker = call.worker
    runs_on = name if worker is not None else ""
    if worker is not None and worker.node is not None and loop.mesh is not None:
        runs_on = loop.mesh.name_of(worker.node)
    row |= {"know": OWNED, "node": name, "epoch": call.epoch, "runs_on": runs_on}
    _add_voters(loop, row, call.inst)
    keeper = keeper_of(loop.router)
    if call.inst is None and keeper and id not in loop.router.narrow:
        row |= {"voters": [name, _owner_name(loop, keeper)], "copies": 2, "copies_of": 2}
    return row | stuck_of(loop, id)


def _add_voters(loop: Loop, row: Row, inst: Instance | None) -> None:
    if inst is None:
        own = [name] if (name := mine(loop)) else []
        row |= {"voters": own, "copies": 1, "copies_of": 1}
        return
    evicted = loop.router.replica.peers.evicted
    there = [node for node in inst.voters if node not in evicted]
    have = sum(bool(inst.have & inst.bit(node)) for node in there)
    row |= {
        "voters": [_owner_name(loop, node) for node in there], "copies_of": len(inst.voters),
        "copies": max(have, int(inst.payload)),
    }  # fmt: skip


def row_of(loop: Loop, fields: dict[str, Any]) -> Row:
    """One call as this node knows it, its result or captured output too when asked for.

    Raises:
        UnknownCall: it does not know it.
        BadRequest: not an id, or the beginning of several.
    """
    which = call_of(fields)
    try:
        row = loop.history.get(
            which, result=bool(fields.get("result")), output=bool(fields.get("output"))
        )
    except UnknownCall:
        id = kept_id(loop, which)
        printed = {"output": loop.history.output(id)} if fields.get("output") else {}
        return kept_row(loop, id) | printed
    return annotated(loop, row)


def kept_id(loop: Loop, which: bytes | str) -> bytes:
    """The one kept call that `which` begins: another node owns it, or nobody does yet.

    Raises:
        UnknownCall: there is none.
        BadRequest: there are several.
    """
    digits = which.hex() if isinstance(which, bytes) else which.replace("-", "").lower()
    router = loop.router
    ids = {*router.replica.by_id, *router.copies}
    found = [id for id in ids if id.hex().startswith(digits)]
    if not found:
        raise unknown_call(which)
    if len(found) > 1:
        raise BadRequest(f"{which!r} begins the ids of several calls; give more of it")
    return found[0]


# The operations.


def mine(loop: Loop) -> str:
    """The name of this node; "" without a mesh."""
    return "" if loop.mesh is None else loop.mesh.identity.name


def together(
    mesh: Mesh, own: list[Row], told: dict[bytes, dict[str, Any]], *, ascending: bool
) -> list[Row]:
    """The rows of this node and those that its peers have told, one row for each call."""
    groups = [(mesh.identity.name, own)]
    groups += [(mesh.name_of(node), data["rows"]) for node, data in told.items()
               if are_rows(data.get("rows"))]  # fmt: skip
    return in_order(merged(groups), ascending=ascending)


def call(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """One call with what all nodes that know it can tell."""
    mesh, own, error = loop.mesh, None, None
    try:
        own = row_of(loop, fields)
    except UnknownCall as unknown:
        error = unknown
    if mesh is None or not mesh.up:
        if own is None:
            assert error is not None
            raise error
        return merge_one([(mine(loop), own)]) | {"silent": []}
    asked = set(mesh.here())

    def answered(answers: Answers) -> None:
        told = good_data(answers)
        found = [] if own is None else [(mesh.identity.name, own)]
        found += [(mesh.name_of(node), row) for node, row in told.items() if is_row(row)]
        good = {node for node, one in answers if _is_answer(one)}
        printed = [row for row in told.values() if not is_row(row)]
        printed += [] if own is not None else filter(None, [_printed(loop, fields)])
        silent = silent_peers(mesh, asked, good)
        _show_one(loop, session, request, found, fields, silent, printed)

    ask_peers(mesh, "mesh.row", fields, answered)
    return None


def _is_answer(found: dict[str, Any]) -> bool:
    """Whether a peer said what it knows, be it that it does not know the call."""
    data = found.get("data")
    return found.get("good") is True or (
        isinstance(data, dict) and data.get("code") == UnknownCall.code
    )


def _show_one(
    loop: Loop, session: Session, request: bytes, found: list[tuple[str, Row]],
    fields: dict[str, Any], silent: list[dict[str, Any]], printed: list[Row],
) -> None:  # fmt: skip
    which = call_of(fields)
    shown = text_of(which) if isinstance(which, bytes) and len(which) == 16 else which
    if len({row["id"] for _, row in found}) > 1:
        error: MeshError = BadRequest(
            f"{shown!r} begins the ids of several calls; give more of it"
        )
        refuse(loop, session, request, error)
    elif not found:
        refuse(loop, session, request, UnknownCall(
            f"no call {shown} is open or kept in the history of any node that answered; silent:"
            f" {', '.join(row['name'] for row in silent) or 'none'}"
        ))  # fmt: skip
    else:
        row = merge_one(found) | {"silent": silent}
        if "output" in row:
            more = [one.get("output") for one in printed if one.get("id") == row["id"]]
            row["output"] = joined([row["output"], *more])
        answer(loop, session, request, row)


def one_row(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """This node's knowledge of one call; of one that it ran for others only what it printed."""
    try:
        return fitting(row_of(loop, fields))
    except UnknownCall:
        printed = _printed(loop, fields)
        if printed is None:
            raise
        return fitting(printed)


def _printed(loop: Loop, fields: dict[str, Any]) -> Row | None:
    """What a call that this node has no record of has printed here; None when it is not asked."""
    id = loop.history.printed_by(call_of(fields)) if fields.get("output") else None
    if id is None:
        return None
    return {"id": text_of(id), "output": loop.history.output(id), "events": [], "reason": ""}


# What waits for a person.


def stuck_rows(loop: Loop) -> list[Row]:
    """Calls of this node that wait for a person: ORPHAN, COPY, HELD."""
    router, mesh = loop.router, loop.mesh
    found = []
    waiting = recovering.sequences(router)
    for inst in router.replica.orphans():
        if inst.id not in router.calls:
            waiting.setdefault(inst.id, inst.sequence)
    for id in sorted(waiting)[:ROWS_MAX]:
        row = kept_row(loop, id)
        row["kind"] = row["state"] if row["state"] in LOST else ORPHAN
        row["can"] = "recover" if row["socket"] else "nothing: the call itself is not kept here"
        found.append(row)
    held = 0
    for open_call in router.calls.values():
        if open_call.state is State.HELD and held < ROWS_MAX:
            held += 1
            row = annotated(loop, loop.history.open_row(open_call))
            found.append(row | {"kind": "HELD", "can": "retry or cancel"})
    for row in found:
        row["at"] = "" if mesh is None else mesh.identity.name
    return found


def stuck(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """This node's share of what waits for a person."""
    return {"rows": list(map(slim, stuck_rows(loop)))}


def recover_list(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """What waits for a person on all nodes that answer."""
    mesh, own = loop.mesh, stuck_rows(loop)
    if mesh is None or not mesh.up:
        return {"calls": own, "silent": [] if mesh is None else silent_peers(mesh, set(), set())}
    asked = set(mesh.here())

    def answered(answers: Answers) -> None:
        told = good_data(answers)
        every = list(own)
        for data in told.values():
            every += data["rows"] if are_rows(data.get("rows")) else []
        every.sort(key=lambda row: (row.get("kind", ""), row["id"]))
        silent = silent_peers(mesh, asked, set(told))
        answer(loop, session, request, {"calls": every, "silent": silent})

    ask_peers(mesh, "mesh.stuck", {}, answered)
    return None


def recover(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Issue one call again that lost its voters; where it is not kept, the peers are asked.

    Raises:
        UnknownCall: no such call waits for a person here.
    """
    which = call_of(fields)
    digits = which.hex() if isinstance(which, bytes) else which.replace("-", "").lower()
    waiting = recovering.sequences(loop.router)
    ids = [id for id in waiting if id.hex().startswith(digits)]
    if len(ids) != 1:
        if ids:
            raise BadRequest(f"{which!r} begins the ids of {len(ids)} calls; give more of it")
        raise UnknownCall(f"no call {digits} waits for a person here; see `mesh recover`")
    accepted_ms, submit = stored_call(loop, waiting[ids[0]])
    if not submit:
        raise UnknownCall(f"the record of call {text_of(ids[0])} cannot be read here")
    by = str(fields.get("by") or "")[:200]
    loop.step(RecoverAsked(session.id, request, waiting[ids[0]], accepted_ms, submit, by))
    return None


OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "mesh.call": call,
    "mesh.row": one_row,
    "mesh.recover": recover_list,
    "mesh.stuck": stuck,
    "call.recover": recover,
}
FOR_PEERS = ("mesh.row", "mesh.stuck", "call.recover")
RELAYED = ("call.recover",)  # When the call does not wait here.
