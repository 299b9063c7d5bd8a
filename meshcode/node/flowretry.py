"""Making a flow again without the steps that are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.errors import BadRequest, WrongState
from meshcode.ids import make_id, text_of
from meshcode.node.flowbook import NAMES, UNKNOWN, Flow
from meshcode.node.flowview import ENDED, find_flow, look
from meshcode.node.later import Job
from meshcode.router import accept, feeding, plan, replicated
from meshcode.router.events import Submitted
from meshcode.router.records import read_envelope
from meshcode.router.states import State
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

_DONE = int(State.DONE)
_NOT_KEPT = ("ack", "delay_ms", "eta_ms", "died")  # Options of a flow that a retry has not.


def retry(loop: Loop, fields: dict[str, Any]) -> Job:
    """Make a flow again without the steps that are done: a new flow.

    With `from`, that step and all that need it are made again too.

    Raises:
        WrongState: it has not ended, or there is nothing to make again.
        MeshError: the new flow is not accepted.
    """
    flow = yield from find_flow(loop, fields)
    if flow.socket != plan.FLOW:
        raise BadRequest(
            f"call {text_of(flow.id)} of socket {flow.socket} was not submitted as a flow; nothing"
            " was changed; try it again with `mesh call retry`: its plugs are taken again, too"
        )
    first = fields.get("from")
    if first is not None and not (type(first) is int and 0 <= first < len(flow.plan.steps)):
        raise BadRequest(
            f"flow {text_of(flow.id)} has steps 0 to {len(flow.plan.steps) - 1}, not {first!r}"
        )
    view = yield from look(loop, flow)
    state = view.state_of(flow)
    if state == "RUNNING":
        raise WrongState(
            f"flow {text_of(flow.id)} has not ended: {len(view.open())} of {len(view.codes)} steps"
            " are open; nothing was changed; wait for it, or cancel it first"
        )
    if state == "DONE" and first is None:
        raise WrongState(
            f"flow {text_of(flow.id)} ended DONE, so there is nothing to make again; nothing was"
            " changed; name the step to begin with: `mesh flow retry ID --from STEP`"
        )
    again = made_again(flow, view.codes, first)
    steps = [
        list(step) if n in again else [None, 0, flow.step_id(n), plan.DONE_STEP, None]
        for n, step in enumerate(flow.plan.steps)
    ]
    earlier = [*flow.plan.earlier, flow.id]
    data = {"steps": steps, "result": flow.plan.result, "earlier": earlier}
    id = _submit(loop, flow, data, fields)
    return {
        "id": text_of(id), "was": text_of(flow.id), "done": "submitted again",
        "again": len(again), "kept": len(steps) - len(again), "silent": view.silent,
    }  # fmt: skip


def made_again(flow: Flow, codes: bytes, first: int | None) -> set[int]:
    """The steps that a retry makes again.

    Those that did not end well and those that need them; one that is still open is waited for
    unless what it needs is made again.

    Raises:
        WrongState: step `first` belongs to an earlier flow.
    """
    again: set[int] = set()
    needed: set[int] = set()  # By any other step.
    needs = [_needs(step) for step in flow.plan.steps]
    for n, step in enumerate(flow.plan.steps):
        needed |= needs[n]
        bad = codes[n] == UNKNOWN or (codes[n] in ENDED and codes[n] != _DONE)
        if step.is_done and (bad or n == first):
            raise WrongState(
                f"step {n} is call {text_of(step.args)} of an earlier flow, and is"
                f" {NAMES[codes[n]]}; nothing was changed; retry that flow"
            )
        late = (first is not None or codes[n] != _DONE) and not again.isdisjoint(needs[n])
        if bad or n == first or late:
            again.add(n)
    # What is forgotten and needed only by what is done need not be made.
    useful = {flow.plan.result}
    for n in range(len(needs) - 1, -1, -1):
        if n not in again:
            continue
        if codes[n] == UNKNOWN and n in needed and n not in useful and n != first:
            again.discard(n)
        else:
            useful |= needs[n]
    return again


def _needs(step: plan.Step) -> set[int]:
    if step.feed is None or step.is_done:
        return set()
    return {leaf for leaf in feeding.leaves(step.feed) if isinstance(leaf, int)}


def _submit(loop: Loop, old: Flow, data: dict[str, Any], fields: dict[str, Any]) -> bytes:
    """Accept a flow that a person asked for; its id.

    Raises:
        MeshError: it is not accepted; the text says why.
    """
    router, id = loop.router, make_id()
    given = read_envelope(old.submit)[1] or {}
    options = {name: value for name, value in given.items() if name not in _NOT_KEPT}
    if fields.get("by"):
        options["by"] = str(fields["by"])[:200]
    submit = seal(
        Kind.SUBMIT, id=id, flow=id, parent=old.id, name=plan.FLOW.encode(),
        meta=pack(options) if options else b"", body=pack_call([data]), argc=1,
    )  # fmt: skip
    alone = not router.replica.peers.by_node
    line, voters = router.lines[plan.FLOW], router.replica.peers.choose_voters(id)
    now_ms = loop.clock.now_ms()
    problem = accept.check(router, line, plan.FLOW, id, 1, options, submit, now_ms)
    problem = problem or replicated.refuse(options, voters, 0 if alone else len(submit))
    if problem is not None:
        raise problem
    frame = int.from_bytes(id[-4:], "big")  # Nobody waits for its acknowledgement.
    call = (id, id, old.id, plan.FLOW, 1, options or None, submit)
    loop.step(Submitted(0, frame, [call]))
    return id
