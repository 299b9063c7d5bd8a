"""The calls of one flow, over a whole mesh.

    mesh.flow      the calls of a flow, from all nodes that answer
    mesh.flow.rows this node's share of it, for a peer that asks
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest
from meshcode.ids import parse_id, text_of
from meshcode.node.choosing import is_of_flow
from meshcode.node.fields import needed
from meshcode.node.meshcalls import annotated, kept_row, mine, together
from meshcode.node.meshops import Answers, answer, ask_peers, good_data, silent_peers
from meshcode.node.meshrows import in_order, merged, slim
from meshcode.node.sessions import Session
from meshcode.router.states import State

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

FLOW_ROWS_MAX = 2_000  # Of one flow, from one node: 0.1 s of its time, 2 MB.


def flow_rows(loop: Loop, flow: bytes) -> dict[str, Any]:
    """The calls of a flow that this node knows: at most FLOW_ROWS_MAX rows, and counts of all.

    Of more, the root goes first, then what has not ended well (half of the rows at most), then what
    is open.
    """
    ended = dict(loop.history.flows.ended(flow))
    router, counts = loop.router, Counter[str]()
    good, bad = [], []
    for id, value in ended.items():
        state = State(10 + value[1])
        counts[state.name] += 1
        (good if state is State.DONE and id != flow else bad).append(id)
    bad.sort(key=lambda one: (one != flow, one))
    first, later = bad[: FLOW_ROWS_MAX // 2], bad[FLOW_ROWS_MAX // 2 :]
    rows = [annotated(loop, loop.history.done_row(id, ended[id])) for id in first]
    beside = loop.history.flows.beside(flow) - ended.keys()
    for id in sorted(beside, key=lambda one: (one != flow, one)):
        call = router.calls.get(id)
        if call is not None:
            if is_of_flow(id, loop.history.envelope_of(call), flow):
                counts["open"] += 1
                if len(rows) < FLOW_ROWS_MAX:
                    rows.append(annotated(loop, loop.history.open_row(call)))
        elif len(rows) < FLOW_ROWS_MAX:
            row = kept_row(loop, id)
            if text_of(flow) in (row["flow"], row["id"]):
                counts["open"] += 1
                rows.append(row)
    for id in [*later, *sorted(good)][: max(0, FLOW_ROWS_MAX - len(rows))]:
        rows.append(annotated(loop, loop.history.done_row(id, ended[id])))
    return {"rows": rows, "total": sum(counts.values()), "states": dict(counts)}


def _flow_id(fields: dict[str, Any]) -> bytes:
    flow = needed(fields, "flow", str)
    try:
        return parse_id(flow)
    except ValueError as error:
        raise BadRequest(f"field 'flow' is no id: {error}") from None


def share_of_flow(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """This node's share of a flow."""
    found = flow_rows(loop, _flow_id(fields))
    return {**found, "rows": list(map(slim, found["rows"]))}


def flow(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """The calls of a flow, oldest first; the flow's id is that of its root.

    Of a large flow not all are told: `total` is how many there are at least.
    """
    mesh, own = loop.mesh, flow_rows(loop, _flow_id(fields))
    if mesh is None or not mesh.up:
        every = in_order(merged([(mine(loop), own["rows"])]), ascending=True)
        return {"calls": every, "total": own["total"], "states": own["states"], "silent": []}
    asked = set(mesh.here())

    def answered(answers: Answers) -> None:
        told = good_data(answers)
        every = together(mesh, own["rows"], told, ascending=True)[:FLOW_ROWS_MAX]
        silent = silent_peers(mesh, asked, set(told))
        counted = [data for data in (own, *told.values()) if isinstance(data.get("total"), int)
                   and isinstance(data.get("states"), dict)]  # fmt: skip
        most = max(counted, key=lambda data: data["total"])
        total = max(most["total"], len(every))
        states = most["states"] if total > len(every) else dict(Counter(r["state"] for r in every))
        answer(loop, session, request, {
            "calls": every, "total": total, "states": states, "silent": silent,
        })  # fmt: skip

    ask_peers(mesh, "mesh.flow.rows", {"flow": fields["flow"]}, answered)
    return None


OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "mesh.flow": flow,
    "mesh.flow.rows": share_of_flow,
}
FOR_PEERS = ("mesh.flow.rows",)
