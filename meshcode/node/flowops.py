"""What may be asked of whole flows; their steps may be open, or have ended, on any node.

    flow.get     the state of a flow and of its steps
    flow.list    a page of them, with how many of their steps are in which state
    flow.cancel  end every open call of a flow
    flow.retry   make it again without the steps that are done, as a new flow
    flow.find    the plan of a flow, for a peer that asks
    flow.share   what this node knows of its steps, for a peer that asks
    flow.stop    end those of its calls that this node owns, for a peer that asks

The plan is that of the SUBMIT record of the flow's own call, so nothing else is kept of a flow.
"""

# ruff: noqa: ARG001  Operations share one shape.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, WrongState
from meshcode.ids import ID_BYTES, text_of
from meshcode.limits import FLOW_STEPS_MAX
from meshcode.node import meshops
from meshcode.node.flowbook import NAMES, SLICE_STEPS, Flow
from meshcode.node.flowlist import flows
from meshcode.node.flowretry import retry
from meshcode.node.flowstop import Stopped, Tally, stop
from meshcode.node.flowview import (
    ENDED,
    View,
    ask_all,
    asked_of,
    find_flow,
    look,
    share,
    share_fields,
)
from meshcode.node.later import Job
from meshcode.node.paging import ROWS_MAX, whole
from meshcode.node.sessions import Session
from meshcode.node.subjects import call_of
from meshcode.router import feeding, plan
from meshcode.router.states import State
from meshcode.wire.frame import AT_FLOW

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

STEPS_TOLD = 1_000  # Unless more are asked for.
NEEDS_TOLD_MAX = 200_000  # Numbers of needed steps in one answer: a megabyte.
WAITS_TOLD_MAX = 5  # Needed steps named with a step that waits for them.
CANCEL_MS = 10_000  # So long are calls that will not end asked again to.
CANCEL_AGAIN_MS = 100


def _later(make: Callable[[Loop, dict[str, Any]], Job]) -> Callable[..., Any]:
    """An operation that a job answers with what it returns, or with the error it raises."""

    def operation(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> None:
        _answer_later(loop, session, request, make(loop, fields))

    operation.__doc__ = make.__doc__
    return operation


def _answer_later(loop: Loop, session: Session, request: bytes, job: Job) -> None:
    def answered() -> Job:
        try:
            data = yield from job
        except Exception as error:
            meshops.refuse(loop, session, request, loop.faults.of_request("a flow", error))
        else:
            meshops.answer(loop, session, request, data)

    loop.later.begin(answered())


def find(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """The plan of a flow as its SUBMIT envelope, and how its own call ended, if this node knows."""
    flow = loop.flows.find(call_of(fields))
    return {
        "id": flow.id, "submit": flow.submit, "accepted_ms": flow.accepted_ms, "code": flow.code,
        "error": flow.error,
    }  # fmt: skip


def _list(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> None:
    """A page of flows, newest first."""
    _answer_later(loop, session, request, flows(loop, session.who, fields))


# flow.get


def _get(loop: Loop, fields: dict[str, Any]) -> Job:
    """The state of a flow and of its steps.

    Fields: id; from, limit: which steps (the first 1,000; counts are of all); open: only steps
    that have not ended; rows: more of each step; beside: its open calls that are no steps, too;
    plan: the whole plan too.
    """
    start, limit = max(whole(fields, "from", 0), 0), whole(fields, "limit", STEPS_TOLD)
    if not 0 <= limit <= FLOW_STEPS_MAX:
        raise BadRequest(f"field 'limit' is 0 to {FLOW_STEPS_MAX}, it is {limit}")
    flow = yield from find_flow(loop, fields)
    view = yield from look(loop, flow)
    numbers = view.open() if fields.get("open") else list(range(len(view.codes)))
    numbers = numbers[start : start + limit]
    needs = _Needs(flow)
    steps: list[list[Any]] = []
    for n in numbers:
        id, socket = text_of(flow.step_id(n)), flow.socket_of(n)
        steps.append([id, socket, NAMES[view.codes[n]], needs.of(n)])
        if len(steps) % SLICE_STEPS == 0:
            yield 0
    found = view.facts_of(flow) | {"steps": steps, "silent": view.silent}
    if fields.get("plan"):
        found["plan"] = {"steps": [list(step) for step in flow.plan.steps],
                         "result": flow.plan.result, "earlier": flow.plan.earlier}  # fmt: skip
    if fields.get("rows"):
        more = {"root": flow.submit[AT_FLOW]} if fields.get("beside") else {}
        shares = yield from _shares(loop, flow, {"numbers": numbers[:ROWS_MAX], **more})
        found["rows"] = _rows(flow, view, numbers[:ROWS_MAX], shares)
        found["beside"] = [row for share_ in shares for row in _beside(share_.get("beside"))]
    return found


class _Needs:
    """The needs of steps, until an answer has as many numbers as it may."""

    def __init__(self, flow: Flow) -> None:
        self._plan = flow.plan
        self._left = NEEDS_TOLD_MAX

    def of(self, number: int) -> list[int | bytes] | None:
        """The steps (or ids of calls) that a step needs; None when they are too many to tell."""
        step = self._plan.steps[number]
        if step.feed is None or step.is_done:
            return []
        found: list[int | bytes] = []
        for leaf in feeding.leaves(step.feed):
            if len(found) >= self._left:
                return None
            found.append(leaf)
        self._left -= len(found)
        return found


def _shares(loop: Loop, flow: Flow, more: dict[str, Any]) -> Job:
    """What all nodes answer to `flow.share`, this one first."""
    fields = share_fields(flow) | more
    answers = ask_all(loop, "flow.share", fields)
    own = yield from share(loop, fields)
    _, told = yield from answers()
    return [own, *told.values()]


_BESIDE = ("id", "socket", "state", "reason", "node")


def _beside(rows: object) -> list[dict[str, Any]]:
    """Rows of calls as a node told them; odd ones are left out."""
    return [
        row for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and all(isinstance(row.get(name), str) for name in _BESIDE)
    ]  # fmt: skip


def _rows(
    flow: Flow, view: View, numbers: list[int], shares: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row for each of these steps."""
    told = [_by_step(data.get("rows")) for data in shares]
    found = []
    for n in numbers:
        step = flow.plan.steps[n]
        row = _best([rows[n] for rows in told if n in rows])
        row |= {
            "step": n, "id": text_of(flow.step_id(n)), "socket": flow.socket_of(n),
            "state": NAMES[view.codes[n]], "earlier": flow.is_earlier(n),
        }  # fmt: skip
        if row["state"] in ("GATHERING", "UNKNOWN") and step.feed is not None and not step.is_done:
            row["waits"] = _waits(step, view)
        found.append(row)
    return found


_ROW = {"reason": str, "node": str, "worker": str, "commit": str, "attempts": int,
        "started_ms": int, "finished_ms": int}  # fmt: skip


def _by_step(rows: object) -> dict[int, dict[str, Any]]:
    """Rows of steps as a node told them; odd ones are left out."""
    found = {}
    for pair in rows if isinstance(rows, list) else ():
        match pair:
            case [int(n), dict(row)] if type(row.get("code")) is int:
                found[n] = row
    return found


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The most certain row: that of an outcome, of a node where it ran, of an owner."""
    best = max(rows, key=lambda row: (row["code"] in ENDED, bool(row.get("node"))), default={})
    return {
        name: best[name] if type(best.get(name)) is kind else None for name, kind in _ROW.items()
    }


def _waits(step: plan.Step, view: View) -> list[list[Any]]:
    """Needed steps that are not done, with their states; the first few."""
    found: list[list[Any]] = []
    for leaf in feeding.leaves(step.feed):
        if isinstance(leaf, bytes):
            found.append([text_of(leaf), "UNKNOWN"])
        elif view.codes[leaf] != int(State.DONE):
            found.append([leaf, NAMES[view.codes[leaf]]])
        if len(found) >= WAITS_TOLD_MAX:
            break
    return found


# flow.cancel


def _cancel(loop: Loop, fields: dict[str, Any]) -> Job:
    """End every open call of a flow wherever it is; asked again until none is open.

    Raises:
        WrongState: all had ended.
    """
    flow = yield from find_flow(loop, fields)
    by = str(fields.get("by") or "its submitter")[:200]
    view = yield from look(loop, flow)
    before = sum(code in ENDED for code in view.codes)
    asked = share_fields(flow) | {"root": flow.submit[AT_FLOW], "by": by}
    tally = Tally()
    tally.add((yield from _stop_all(loop, asked)))
    end_ms = loop.clock.now_ms() + CANCEL_MS
    while (tally.last.open or tally.last.kept) and loop.clock.now_ms() < end_ms:
        yield CANCEL_AGAIN_MS
        tally.add((yield from _stop_all(loop, asked | {"again": True})))
    if tally.is_nothing:
        raise WrongState(
            f"all {len(view.codes)} steps of flow {text_of(flow.id)} have ended, and no call of it"
            " is open; nothing was changed"
        )
    after = yield from look(loop, flow)
    # A step may end because another was cancelled, before it is told itself.
    fresh = [n for n, code in enumerate(view.codes) if code not in ENDED]
    swept = sum(after.codes[n] == State.CANCELLED for n in fresh)
    alone = [n for n in fresh if after.codes[n] in ENDED and after.codes[n] != State.CANCELLED]
    interrupted = tally.interrupted([flow.step_id(n) for n in alone])
    return {
        "id": text_of(flow.id), "done": "cancelled",
        "cancelled": max(tally.cancelled(), swept - interrupted), "interrupted": interrupted,
        "ended": before + len(alone), "open": tally.last.open, "kept": tally.last.kept,
        "silent": after.silent,
    }  # fmt: skip


def _stop_all(loop: Loop, fields: dict[str, Any]) -> Job:
    """One round on all nodes."""
    answers = ask_all(loop, "flow.stop", fields)
    found = yield from _stop(loop, fields)
    total = Stopped(**found)
    _, told = yield from answers()
    for data in told.values():
        numbers = [data.get(name) for name in Stopped._fields[:-1]]
        running = data.get("running", b"")  # Those of older versions do not say.
        is_ids = isinstance(running, bytes) and len(running) % ID_BYTES == 0
        if is_ids and all(type(number) is int for number in numbers):
            total = total.plus(Stopped(*numbers, running))
    return total


def _stop(loop: Loop, fields: dict[str, Any]) -> Job:
    """End the calls of a flow that this node owns."""
    flow, steps = asked_of(loop, fields)
    root = fields.get("root")
    if not (isinstance(root, bytes) and len(root) == ID_BYTES):
        raise BadRequest(f"field 'root' is no id of a flow: {root!r:.60}")
    earlier = {n for n, _ in steps.others}
    ids = yield from steps.all()
    own = [id for n, id in enumerate(ids) if n not in earlier]
    by = str(fields.get("by") or "")[:200]
    found = yield from stop(loop, flow, root, own, by, again=bool(fields.get("again")))
    return found._asdict()


FOR_PEERS = ("flow.get", "flow.cancel", "flow.retry", "flow.find", "flow.share", "flow.stop")
RELAYED = ("flow.get", "flow.cancel", "flow.retry")  # Where a guard can look at the plan.

OPERATIONS: dict[str, Callable[..., Any]] = {
    "flow.get": _later(_get),
    "flow.list": _list,
    "flow.cancel": _later(_cancel),
    "flow.retry": _later(retry),
    "flow.find": find,
    "flow.share": _later(share),
    "flow.stop": _later(_stop),
}
