"""Asking all nodes of a mesh where the steps of a flow are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.errors import BadRequest, MeshError, UnknownCall
from meshcode.ids import ID_BYTES, text_of
from meshcode.limits import FLOW_STEPS_MAX
from meshcode.node.flowbook import (
    ENDED_STATES,
    NAMES,
    Flow,
    Steps,
    beside,
    checked_submit,
    flow_of,
    merge,
)
from meshcode.node.later import Job
from meshcode.node.meshops import Answers, ask_peers, good_data, silent_peers
from meshcode.node.paging import ROWS_MAX
from meshcode.node.subjects import call_of
from meshcode.router.states import State

if TYPE_CHECKING:
    from meshcode.node.loop import Loop
    from meshcode.router.call import Call

ENDED = frozenset(map(int, ENDED_STATES))
BESIDE_MAX = 100  # Calls of a flow that are no steps, from one node.


def ask_all(loop: Loop, name: str, fields: dict[str, Any]) -> Callable[[], Job]:
    """Ask all peers that are here; the job waits for (those asked, their good answers)."""
    mesh = loop.mesh
    if mesh is None:
        return _nobody
    asked, box = set(mesh.here()), list[Answers]()
    ask_peers(mesh, name, fields, box.append)

    def answers() -> Job:
        while not box:
            yield None
        return asked, good_data(box[0])

    return answers


def _nobody() -> Job:
    return set(), {}
    yield


def silent_of(loop: Loop, asked: set[bytes], answered: set[bytes]) -> list[dict[str, Any]]:
    """The members that did not answer."""
    return [] if loop.mesh is None else silent_peers(loop.mesh, asked, answered)


def find_flow(loop: Loop, fields: dict[str, Any]) -> Job:
    """The flow that a request names, known here or at a peer."""
    which = call_of(fields)
    try:
        return loop.flows.find(which)
    except UnknownCall as error:
        unknown = error
    asked, told = yield from ask_all(loop, "flow.find", {"id": which})()
    found: dict[bytes, Flow] = {}
    for data in told.values():
        flow = _told_flow(data)
        if flow is not None and (flow.id not in found or flow.code):
            found[flow.id] = flow
    if len(found) > 1:
        raise BadRequest(f"{which!r} begins the ids of several flows; give more of it")
    if not found:
        silent = ", ".join(row["name"] for row in silent_of(loop, asked, set(told)))
        raise unknown if not asked else UnknownCall(
            f"{unknown}; nor does any of the {len(asked)} peers know a flow of that id"
            + (f"; silent: {silent}" if silent else "")
        )
    (flow,) = found.values()
    loop.flows.keep(flow)
    return flow


def _told_flow(data: dict[str, Any]) -> Flow | None:
    """The flow that a peer told of; None when it cannot be read."""
    id, accepted_ms, code, error = map(data.get, ("id", "accepted_ms", "code", "error"))
    if not (isinstance(id, bytes) and type(accepted_ms) is int and type(code) is int):
        return None
    try:
        submit = checked_submit(id, data.get("submit"))
        return flow_of(id, submit, accepted_ms, code, str(error or ""))
    except MeshError:
        return None


class View(NamedTuple):
    """What all nodes that answered say of the steps of a flow."""

    codes: bytes
    finished_ms: int | None  # Of the result.
    silent: list[dict[str, Any]]  # Nodes that did not answer.

    def state_of(self, flow: Flow) -> str:
        """The state of the whole flow."""
        if flow.code > 1:
            return State(10 + flow.code).name
        code = self.codes[flow.plan.result]
        return NAMES[code] if code in ENDED else "RUNNING"

    def facts_of(self, flow: Flow) -> dict[str, Any]:
        """What is told of the flow as a whole."""
        return {
            "id": text_of(flow.id),
            "result": text_of(flow.step_id(flow.plan.result)),
            "state": self.state_of(flow),
            "counts": {NAMES[code]: count for code, count in sorted(Counter(self.codes).items())},
            "total": len(self.codes),
            "error": flow.error,
            "accepted_ms": flow.accepted_ms,
            "finished_ms": self.finished_ms,
        }

    def open(self) -> list[int]:
        """The steps that have not ended, as far as anybody knows."""
        return [n for n, code in enumerate(self.codes) if code not in ENDED]


def look(loop: Loop, flow: Flow) -> Job:
    """Ask all nodes where the steps of a flow are."""
    fields = share_fields(flow) | {"result": flow.plan.result}
    answers = ask_all(loop, "flow.share", fields)
    own = yield from share(loop, fields)
    asked, told = yield from answers()
    codes, finished_ms = own["codes"], own["finished_ms"]
    for data in told.values():
        other = data.get("codes")
        if isinstance(other, bytes) and len(other) == len(codes):
            codes = merge(codes, other)
        if finished_ms is None and type(data.get("finished_ms")) is int:
            finished_ms = data["finished_ms"]
    return View(codes, finished_ms, silent_of(loop, asked, set(told)))


def share_fields(flow: Flow) -> dict[str, Any]:
    """What a peer must know of a flow to find its steps."""
    return {"id": flow.id, "count": len(flow.plan.steps), "others": flow.others}


def share(loop: Loop, fields: dict[str, Any]) -> Job:
    """What this node knows of the steps of a flow: their codes, or rows of those in `numbers`.

    With `root`, the flow that the SUBMIT of the flow names, also its open calls that are no steps.
    """
    flow, steps = asked_of(loop, fields)
    numbers, count = fields.get("numbers"), len(steps.codes)
    if numbers is None:
        codes = yield from loop.flows.look(steps)
        result, ended = fields.get("result"), None
        if isinstance(result, int) and 0 <= result < count:
            ended = loop.flows.finished_ms(steps.id(result))
        return {"codes": codes, "finished_ms": ended}
    if not (isinstance(numbers, list) and len(numbers) <= ROWS_MAX) or not all(
        type(n) is int and 0 <= n < count for n in numbers
    ):
        raise BadRequest(f"field 'numbers' has at most {ROWS_MAX} numbers of steps")
    rows = []
    for n in numbers:
        row = loop.flows.row(steps.id(n))
        if row is not None:
            rows.append([n, row])
        yield 0
    root = fields.get("root")
    if not isinstance(root, bytes):
        return {"rows": rows}
    own = yield from steps.all()
    ids = yield from beside(loop, flow, root, {flow, *own})
    calls = [call for id in ids if (call := loop.router.calls.get(id)) is not None]
    return {"rows": rows, "beside": [_row_beside(loop, call) for call in calls[:BESIDE_MAX]]}


def asked_of(loop: Loop, fields: dict[str, Any]) -> tuple[bytes, Steps]:
    """The id of the flow that a peer asks about, and the calls of its steps.

    Raises:
        BadRequest: the fields are not those of `share_fields`.
    """
    flow, count, others = map(fields.get, ("id", "count", "others"))
    if not (isinstance(flow, bytes) and len(flow) == ID_BYTES):
        raise BadRequest(f"field 'id' is no id of a flow: {flow!r:.60}")
    if not isinstance(count, int) or count is True or not 0 <= count <= FLOW_STEPS_MAX:
        raise BadRequest(f"field 'count' is a number of steps to {FLOW_STEPS_MAX}, not {count!r}")
    if not isinstance(others, list) or not all(_is_other(pair, count) for pair in others):
        raise BadRequest("field 'others' is no list of steps and the calls that stand for them")
    return flow, loop.flows.steps(flow, count, others)


def _is_other(pair: object, count: int) -> bool:
    match pair:
        case [int(n), bytes(id)]:
            return 0 <= n < count and len(id) == ID_BYTES
    return False


def _row_beside(loop: Loop, call: Call) -> dict[str, Any]:
    row = loop.history.open_row(call)
    names = ("id", "socket", "state", "reason", "worker")
    return {name: row[name] for name in names} | {"node": loop.flows.mine}
