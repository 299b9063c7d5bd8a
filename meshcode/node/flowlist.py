"""A page of the flows of a mesh, each with how many of its steps are in which state.

It is the page of `mesh.calls` for the socket `@flow`.  What every step of a flow tells is for those
who may see all of its sockets: of the other flows only the rows of their own calls are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.errors import NotAllowed, UnknownCall
from meshcode.ids import parse_id
from meshcode.node import meshlist
from meshcode.node.flowview import find_flow, look
from meshcode.node.later import Job, side_by_side
from meshcode.node.who import Who
from meshcode.router.plan import FLOW

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

# Of a row whose steps are not told: it has a step that may not be seen, or its plan is nowhere.
_UNTOLD = {"result": None, "counts": None, "total": None}


def flows(loop: Loop, who: Who | None, fields: dict[str, Any]) -> Job:
    """A page of flows for `who`; None is the owner.

    Fields: those of `mesh.calls` but the socket.  The answer is its answer; each row has `result`,
    `counts` and `total`, too, and `needs`: the right without which these are nil, or nil.
    """
    pages: list[dict[str, Any]] = []
    meshlist.page(loop, {**fields, "socket": FLOW}, pages.append)
    while not pages:
        yield None
    (page,) = pages
    found = yield from side_by_side([_row(loop, who, row) for row in page["calls"]])
    silent = {node["name"]: node for node in page["silent"]}
    for _, without in found:
        silent |= {node["name"]: node for node in without}
    return page | {"calls": [row for row, _ in found], "silent": list(silent.values())}


def _row(loop: Loop, who: Who | None, row: dict[str, Any]) -> Job:
    """One flow, and the nodes that did not say where its steps are."""
    try:
        flow = yield from find_flow(loop, {"id": parse_id(row["id"])})
    except UnknownCall:
        return row | _UNTOLD | {"needs": None}, []
    closed = _closed(loop, who, flow.sockets)
    if closed is not None:
        return row | _UNTOLD | {"needs": closed.fields["right"]}, []
    view = yield from look(loop, flow)
    return row | view.facts_of(flow) | {"needs": None}, view.silent


def _closed(loop: Loop, who: Who | None, sockets: list[str]) -> NotAllowed | None:
    return None if who is None else loop.guard.sees_problem(loop.guard.fresh(who), sockets)
