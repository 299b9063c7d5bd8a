"""Flows: a call to `@flow` is checked as a whole, and its outcome names all its steps.

It runs nowhere: as soon as enough disks have it, it ends, and its steps come into being in the same
batch of the log.  So a flow is there completely or not at all, whoever dies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.replica.instance import Child
from meshcode.router import accept, ending, feeding, joins, plan, steps
from meshcode.router.bindings import matches
from meshcode.router.call import Call
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Effects
from meshcode.router.envelopes import flow_of
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

# One agreement carries all steps of a flow, beside the plan itself.
_STEP_BYTES: Final = 80 + 16 + 48
_SHORT_FEED: Final = 256  # Entries of a feed that surely fit the options of a call.


def problem(r: Router, id: bytes, name: str, envelope: bytes) -> errors.CallerError | None:
    """Why a call to a socket of the router itself cannot be accepted, or None."""
    if name != plan.FLOW:
        return errors.BadRequest(
            f"socket {name} is the router's own; submit a plan to {plan.FLOW}; nothing was accepted"
        )
    try:
        found = plan.read(envelope)
    except (errors.BadRequest, errors.TooLarge) as error:
        return error
    if r.replica.peers.by_node:
        size = sum(
            _STEP_BYTES + len(step.args) + len(step.socket.encode()) for step in found.steps
        )
        if size > limits.SHARED_BYTES_MAX:
            return errors.TooLarge(
                f"the {len(found.steps)} steps of the flow have {size} bytes, the limit in a mesh "
                f"is {limits.SHARED_BYTES_MAX}; nothing was accepted; pass large data by "
                "reference, or make it of several flows",
                found=size,
                limit=limits.SHARED_BYTES_MAX,
            )
    wrong = _steps_problem(r, found)
    if wrong is None:
        r.plans[id] = found
    return wrong


def _steps_problem(r: Router, found: plan.Plan) -> errors.CallerError | None:
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    good: set[tuple[str, int, bool]] = set()  # Steps without options differ in no more than that.
    standing = plan.Standing(found)
    for number, step in enumerate(found.steps):
        if number in found.done:
            continue
        socket, argc, args, feed, options = step
        kind = (socket, argc, feed is None)
        is_short = options is None and not isinstance(feed, list)
        if not (is_short and kind in good):
            wrong = _step_problem(r, number, step, standing)
            if wrong is not None:
                return wrong
            if is_short:
                good.add(kind)
        if socket:
            counts[socket] = counts.get(socket, 0) + 1
            sizes[socket] = sizes.get(socket, 0) + _STEP_BYTES + len(args)
    for name, count in counts.items():
        line = r.lines[name]
        over = accept.is_over(line, sizes[name], count)
        if over is not None and not line.config.dead_letter_overflow:
            advice = _advice(line.config, sizes[name], count)
            return errors.QueueFull(
                f"{over}, and the flow has {count} steps there; nothing was accepted; {advice}",
                queue=line.config.queue,
            )
    return None


def _advice(config: SocketConfig, size: int, count: int) -> str:
    """What helps where steps have no room: not waiting, when they would fill more than all."""
    if config.max_length is not None and count > config.max_length:
        option, least = "--max-length", count
    elif config.max_length_bytes is not None and size > config.max_length_bytes:
        option, least = "--max-length-bytes", size
    else:
        return "try again later"
    return (
        "they do not fit into an empty line either: make it of several flows, or "
        f"`mesh update queue -n {config.queue} {option} {least}`"
    )


def _needs_problem(
    number: int, step: plan.Step, standing: plan.Standing
) -> errors.CallerError | None:
    """Whether what a step needs fits the options of a call."""
    feed = step.feed
    if not step.options and not (isinstance(feed, list) and _may_be_long(feed, standing)):
        return None
    try:
        size = len(pack([step.options, standing.feed(feed)])) + _STEP_BYTES
    except errors.TooLarge as error:
        size = error.fields["found"]
    if size <= limits.META_BYTES_MAX:
        return None
    return errors.TooLarge(
        f"what step {number} of the flow needs has {size} bytes, the limit is "
        f"{limits.META_BYTES_MAX}; nothing was accepted; gather in two stages",
        found=size,
        limit=limits.META_BYTES_MAX,
    )


def _may_be_long(feed: list[Any], standing: plan.Standing) -> bool:
    if len(feed) > _SHORT_FEED or any(isinstance(one, list) for one in feed):
        return True
    return standing.is_needed and any(isinstance(one, dict) for one in feed)


def _step_problem(
    r: Router, number: int, step: plan.Step, standing: plan.Standing
) -> errors.CallerError | None:
    if step.options is not None:
        wrong = accept.option_problem(step.options) or accept.unknown_option(step.options)
        if wrong is not None:
            return errors.BadRequest(f"step {number} of the flow: {wrong}; nothing was accepted")
    wrong_needs = _needs_problem(number, step, standing)
    if wrong_needs is not None:
        return wrong_needs
    if not step.socket:
        return None
    line = r.lines.get(step.socket)
    if line is None or line.removed or line.builtin:
        error = accept.unknown_socket(r, step.socket)
        return errors.UnknownSocket(
            f"step {number} of the flow: {error}; nothing was accepted", name=step.socket
        )
    if line.signature is not None:
        keywords = step.options.get("kw", ()) if step.options else ()
        wrong = line.signature.check(step.argc + (step.feed is not None), keywords)
        if wrong is not None:
            return errors.WrongArguments(
                f"step {number} of the flow: {step.socket}{line.signature.text} {wrong}; nothing "
                "was accepted"
            )
    return None


def sockets_of(envelope: bytes) -> list[str]:
    """The sockets that a flow calls, each once: who submits it must have the right to each.

    Raises:
        BadRequest, TooLarge: it is no flow.
    """
    return list(dict.fromkeys(step.socket for step in plan.read(envelope).steps if step.socket))


def ids_of(envelope: bytes) -> list[bytes]:
    """The calls that a flow names by their ids: their results come into it.

    Raises:
        BadRequest, TooLarge: it is no flow.
    """
    found = plan.read(envelope)
    feeds = [step.feed for step in found.steps if isinstance(step.feed, (bytes, list))]
    named = [leaf for feed in feeds for leaf in feeding.leaves(feed) if isinstance(leaf, bytes)]
    return list(dict.fromkeys([*found.done.values(), *named]))


def await_copy(call: Call) -> None:
    """One of two nodes accepted a flow: its steps are made when the other has a copy of it.

    Else it would be acknowledged with a copy that its steps do not have yet.
    """
    call.gather_for(plan.COPY_REASON)


def expand(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """End the call of a flow with all its steps as children."""
    found = r.plans.pop(call.id, None)
    assert call.envelope is not None
    call.line.count_out(call)
    call.gather_for("")
    try:
        found = found or _read_again(call.envelope)
        ids = feeding.step_ids(call.id, len(found.steps))
        made = plan.submits(call.id, ids, call.envelope, found, _kept_with(r, call, found))
    except errors.CallerError as error:  # It was accepted by a node with other limits.
        ending.end_with_error(r, call, Outcome.FAILED, error, now_ms, out)
        return
    children: tuple[Child, ...] = ()
    if steps.may_begin(r, call):
        steps.begin(r, call.id, ids, made, now_ms, out)
    else:
        children = ending.children_of(r, call, [one[:2] for one in made])
    told = plan.outcome(call.id, ids, found)
    ending.end(r, call, Outcome.DONE, told, now_ms, out, children, early=True)


def _read_again(envelope: bytes) -> plan.Plan:
    """The plan of a flow that this node did not accept itself, or before its last start.

    Raises:
        CallerError: it is none, or a step has options that no node lets through.
    """
    found = plan.read(envelope)
    for number, step in enumerate(found.steps):
        wrong = None if step.options is None else accept.option_problem(step.options)
        if wrong is not None:
            raise errors.BadRequest(f"step {number} of the flow: {wrong}; none was made")
    return found


def _kept_with(r: Router, call: Call, found: plan.Plan) -> dict[str, bytes]:
    """In a mesh steps say who keeps their flow, so that values of all of them meet at joins.

    Only those whose socket has plugs: of many steps it would be much to agree to.
    """
    at = joins.where(r, call)
    if not at:
        return {}
    lines = {step.socket: r.lines.get(step.socket) for step in found.steps}
    return {name: at for name, line in lines.items() if line is not None and line.edges}


def spread(r: Router, call: Call, now_ms: int, out: Effects) -> None:
    """End a call with a copy at every socket of its queue as children, and their results as value.

    It says where its result will be like a flow does.
    """
    submit = call.sent()
    assert submit is not None
    call.line.count_out(call)
    call.gather_for("")
    kept = {name: value for name, value in (call.options or {}).items() if name not in plan.AT_ROOT}
    copies = []
    for number, name in enumerate(reached(r, call)):
        id = feeding.step_id(call.id, number)
        copies.append((id, ending.copy_of(submit, id, call.id, name, {**kept, "copy": True})))
    end_with_copies(r, call, call.id, copies, {}, feeding.list_head(0), now_ms, out)


def reached(r: Router, call: Call) -> list[str]:
    """The sockets that a call goes to: all of its queue that take its topic, or its own alone."""
    own = r.lines[call.line.name]
    if not own.spread or call.option("copy"):
        return [own.name]
    topic = call.option("topic") or own.name
    bound = r.wiring.bound.get(own.config.queue, ())
    return [name for name, pattern in bound if matches(pattern, topic)]


def end_with_copies(
    r: Router,
    call: Call,
    plan_id: bytes,
    copies: list[tuple[bytes, bytes]],
    options: dict[str, Any],
    args: bytes,
    now_ms: int,
    out: Effects,
) -> None:
    """End a call with these as children, and one that gathers their values.

    Args:
        plan_id: what the ids of the copies are numbered under.
        copies: ids and SUBMIT envelopes.
        options: of the call that gathers, besides what it needs.
        args: its packed arguments.
    """
    assert call.envelope is not None
    r.copies_left -= len(copies)
    gather = {"feed": [{"from": 0, "count": len(copies)}], "plan": plan_id, **options}
    id = feeding.step_id(plan_id, len(copies))
    sealed = seal(
        Kind.SUBMIT,
        id=id,
        flow=flow_of(call.envelope),
        parent=call.id,
        name=plan.GATHER.encode(),
        meta=pack(gather),
        body=args,
        argc=args[0] & 0x0F,
    )
    children = ending.children_of(r, call, [*copies, (id, sealed)])
    told = plan.pointer(call.id, id, len(children))
    ending.end(r, call, Outcome.DONE, told, now_ms, out, children)
