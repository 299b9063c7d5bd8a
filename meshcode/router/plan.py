"""A flow as it is submitted: one call to `@flow` whose only argument is a plan (docs/flows.md).

A plan is plain data: `{"steps": [[socket, argc, args, feed, options], ...], "result": n}`, and
`"earlier"` where a flow is made again.  It is checked as a whole before it is accepted, so a flow
that was acknowledged can be carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from meshcode import errors, limits
from meshcode.ids import ID_BYTES
from meshcode.router import feeding
from meshcode.router.envelopes import HEADER, body_of, flow_of, meta_at
from meshcode.router.records import read_envelope
from meshcode.wire.codec import pack, unpack, unpack_call
from meshcode.wire.frame import AT_FLAGS, envelopes_of
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Flag, Kind, Outcome

FLOW: Final = "@flow"  # Sockets that the router itself serves.
GATHER: Final = "@gather"
COPY_REASON: Final = "waits until the other node has a copy"  # A flow at one of two nodes.
_SUBMIT: Final = int(Kind.SUBMIT)
_KWARGS: Final = int(Flag.KWARGS)
_META_MAX: Final = limits.META_BYTES_MAX
_FEED_BYTES_WIDE: Final = _META_MAX // 4  # Of ids in the place of steps, in the options of a step.
_EARLIER_MAX: Final = 8  # Flows that a plan names; the ids of all their steps are worked out.
_FEEDS_KEPT: Final = 512  # Options of steps worked out of late: they come in every flow.
# Options that a copy does not take over: they are done with.
AT_ROOT: Final = ("topic", "feed", "plan", "named", "gate", "delay_ms", "eta_ms", "broadcast")
DONE_STEP: Final = "done"  # In the place of a feed: a call that has ended stands for the step.


class Step(NamedTuple):
    """One call of a flow."""

    socket: str  # "" is a gather step: its value is what it is fed.
    argc: int  # Own positional arguments.
    args: bytes  # Packed like the body of a plain call.
    feed: Any
    options: dict[str, Any] | None

    @property
    def is_done(self) -> bool:
        """Whether an earlier call stands for it; `args` is the id of that."""
        return isinstance(self.feed, str) and self.feed == DONE_STEP


class Plan(NamedTuple):
    """All steps of a flow; each needs only those before it."""

    steps: list[Step]
    result: int  # The step whose outcome is that of the flow.
    done: dict[int, bytes]  # Calls that stand for steps, by the number of the step.
    earlier: list[bytes]  # Flows of which these may be the steps of the same numbers.

    @classmethod
    def of(cls, steps: list[Step], result: int) -> Plan:
        """A plan of these steps."""
        return cls(steps, result, {n: one.args for n, one in enumerate(steps) if one.is_done}, [])


class Standing:
    """What steps of a flow are fed, with calls in the place of those that are not made again."""

    def __init__(self, plan: Plan) -> None:
        """Of any plan; most have no such calls."""
        self.is_needed = bool(plan.done)
        self._plan = plan
        self._flows: dict[int, bytes] | None = None  # Worked out for the first wide feed.

    def feed(self, feed: Any) -> Any:
        """A feed of the plan as the options of the step have it: short, if it were wide."""
        done = self._plan.done
        if not done or feed is None:
            return feed
        made = feeding.replaced(feed, done)
        if not isinstance(feed, list) or len(pack(made)) <= _FEED_BYTES_WIDE:
            return made
        if self._flows is None:
            self._flows = feeding.flows_of(done, self._plan.earlier)
        return feeding.shortened(feed, done, self._flows)


def read(envelope: bytes) -> Plan:
    """The plan of a SUBMIT envelope.

    Raises:
        BadRequest, TooLarge: it is none; the text says which step is wrong and how.
    """
    try:
        args, _ = unpack_call(body_of(envelope), envelope[AT_FLAGS] & _KWARGS != 0)
    except errors.BadValue as error:
        raise errors.BadRequest(f"the plan of a flow cannot be read: {error}") from None
    data = args[0] if len(args) == 1 else None
    if not isinstance(data, dict) or not isinstance(data.get("steps"), list):
        raise errors.BadRequest(
            "a flow has one argument, its plan: a map with `steps` and `result`; nothing was "
            "accepted"
        )
    steps, result = data["steps"], data.get("result")
    if len(steps) > limits.FLOW_STEPS_MAX:
        raise errors.TooLarge(
            f"the flow has {len(steps)} steps, the limit is {limits.FLOW_STEPS_MAX}; nothing was "
            "accepted; make it of several flows",
            found=len(steps),
            limit=limits.FLOW_STEPS_MAX,
        )
    found: list[Step] = []
    done: dict[int, bytes] = {}
    for number, one in enumerate(steps):
        step = _short_step(one, number)
        if step is None:
            step = _step(number, one)
            if step.is_done:
                done[number] = step.args
        found.append(step)
    if not isinstance(result, int) or isinstance(result, bool) or not 0 <= result < len(found):
        raise errors.BadRequest(
            f"the result of a flow is the number of one of its {len(found)} steps, it is "
            f"{result!r:.60}; nothing was accepted"
        )
    return Plan(found, result, done, _earlier(data) if "earlier" in data else [])


def _earlier(data: dict[Any, Any]) -> list[bytes]:
    """The flows that a plan names; more than a node looks at are left out: their ids are listed."""
    found = data["earlier"]
    if not isinstance(found, list) or not all(
        isinstance(one, bytes) and len(one) == ID_BYTES for one in found
    ):
        raise errors.BadRequest(
            f"the earlier flows of a plan are a list of ids of {ID_BYTES} bytes, it is "
            f"{found!r:.60}; nothing was accepted"
        )
    return found[:_EARLIER_MAX]


def _short_step(data: Any, number: int) -> Step | None:
    """The same as `_step`, for what most steps are; None for all others, and what is wrong."""
    if type(data) is not list or len(data) != 5:
        return None
    socket, argc, args, feed, options = data
    if (
        options is not None
        or type(socket) is not str
        or type(argc) is not int
        or type(args) is not bytes
        or not (0 <= argc < 16 and args[:1] == _SHORT_LISTS[argc : argc + 1])
        or (len(args) == 1 and argc)
    ):
        return None
    if not socket or not (feed is None or (type(feed) is int and 0 <= feed < number)):
        return None
    step: Step = tuple.__new__(Step, data)
    return step


_SHORT_LISTS: Final = bytes(range(0x90, 0xA0))  # How packed lists of 0 to 15 begin.


def _step(number: int, data: Any) -> Step:
    """One step as it came, checked for its form."""
    if not isinstance(data, list) or len(data) != 5:
        raise _wrong(number, "is not [socket, argc, args, feed, options]")
    socket, argc, args, feed, options = data
    if not (socket is None or isinstance(socket, str)):
        raise _wrong(number, f"has no name of a socket: {socket!r:.60}")
    if not isinstance(argc, int) or not 0 <= argc < feeding.ARGC_MAX:
        raise _wrong(number, f"has {argc!r:.20} arguments, at most {feeding.ARGC_MAX - 1} may be")
    if not isinstance(args, bytes):
        raise _wrong(number, "has arguments that are not packed")
    if options is not None and not isinstance(options, dict):
        raise _wrong(number, f"has options that are no map: {options!r:.60}")
    step = Step(socket or "", argc, args, feed, options)
    if step.is_done:
        if len(args) != ID_BYTES:
            raise _wrong(number, f"names no call that is done: an id has {ID_BYTES} bytes")
        return step
    if feed is None:
        if not step.socket:
            raise _wrong(number, "has no socket and gathers nothing")
    else:
        problem = feeding.problem(feed, number)
        if problem is not None:
            raise _wrong(number, problem)
    if not _is_packed_call(args, argc):
        raise _wrong(number, f"has arguments that are not {argc} packed ones")
    return step


def _is_packed_call(args: bytes, argc: int) -> bool:
    """Whether the bytes begin with a list of `argc`; what is in it is for the worker to read."""
    head = feeding.list_head(argc)
    return args.startswith(head) and (len(args) > len(head) or not argc)


def _wrong(number: int, what: str) -> errors.BadRequest:
    return errors.BadRequest(f"step {number} of the flow {what}; nothing was accepted")


# One call of a flow to make: id, SUBMIT envelope, socket, options as they are read from that, and
# what it needs: the number of a step, NOTHING, or None for more than one, or options of its own.
Made = tuple[bytes, bytes, str, dict[str, Any] | None, int | None]
NOTHING: Final = -1


def submits(
    root: bytes, ids: Sequence[bytes], envelope: bytes, plan: Plan, at: Mapping[str, bytes]
) -> list[Made]:
    """The calls that carry out a plan, in order.

    Args:
        root: the id of the flow's own call.
        ids: those of all steps.
        envelope: its SUBMIT envelope; steps belong to the flow that it names, else to itself.
        at: the option `at` of steps at these sockets, where there is room for it.

    Raises:
        TooLarge: what a step needs does not fit its options.
    """
    flow, done = flow_of(envelope), plan.done
    traced = read_envelope(envelope)[1] or {}
    common = {"trace": traced["trace"]} if traced.get("trace") else {}
    outer = {} if flow == root else {"plan": root}
    own: dict[int | None, _Options] = {}  # Of steps without their own, by what they need.
    names: dict[str, bytes] = {}  # As they are in envelopes.
    heads: list[_Options] = []
    sockets: list[str] = []
    rows = []
    standing = Standing(plan)
    for number, (socket, argc, args, feed, given) in enumerate(plan.steps):
        if number in done:
            continue
        name = names.get(socket)
        if name is None:
            name = names[socket] = (socket or GATHER).encode()
        flags = 0
        if given or socket in at or not (feed is None or type(feed) is int) or feed in done:
            options = {**common, **(given or {})}
            if feed is not None:
                options["feed"] = standing.feed(feed)
                options.update(outer)
            head = _packed(options, None)
            if socket in at:
                longer = _packed({**options, "at": at[socket]}, None)
                head = longer if len(longer[0]) <= _META_MAX else head
            if given and given.get("kw"):
                flags = _KWARGS
        elif common or outer:
            head = own.get(feed) or own.setdefault(feed, _options_of(feed, common, outer))
        else:
            head = _short_options(feed)
        heads.append(head)
        rows.append((ids[number], name, head[0], args, flags, argc))
        sockets.append(socket or GATHER)
    sealed = envelopes_of(_SUBMIT, flow, root, rows)
    return [
        (row[0], submit, socket, head[1], head[2])
        for row, submit, socket, head in zip(rows, sealed, sockets, heads, strict=True)
    ]


_Options = tuple[bytes, dict[str, Any] | None, int | None]  # Packed, as they are, as of `Made`.


def _packed(options: dict[str, Any], need: int | None) -> _Options:
    return (pack(options), options, need) if options else (b"", None, need)


def _options_of(feed: int | None, common: dict[str, Any], outer: dict[str, Any]) -> _Options:
    """The options of a step that has none of its own."""
    if feed is None:
        return _packed(common, NOTHING)
    return _packed({**common, "feed": feed, **outer}, feed)


@lru_cache(_FEEDS_KEPT)
def _short_options(feed: int | None) -> _Options:
    """The same where the flow has none either; nobody changes the options of a call."""
    return _options_of(feed, {}, {})


def outcome(root: bytes, ids: Sequence[bytes], plan: Plan) -> bytes:
    """The OUTCOME envelope of a flow's own call: where its result will be, and how many steps.

    Args:
        root: the id of the flow's own call.
        ids: those of all steps.
        plan: what was submitted.
    """
    result = plan.done.get(plan.result) or ids[plan.result]
    return pointer(root, result, len(plan.steps))


def pointer(root: bytes, result: bytes, steps: int) -> bytes:
    """The OUTCOME envelope of a call whose value is that of another call."""
    body = pack({"result": result, "steps": steps})
    return seal(Kind.OUTCOME, id=root, name=FLOW.encode(), code=Outcome.DONE, body=body)


def result_of(envelope: bytes) -> bytes | None:
    """The id of the call whose outcome is the flow's, if this is the outcome of a flow's call."""
    if envelope[HEADER : meta_at(envelope)] != FLOW.encode():
        return None
    data = unpack(body_of(envelope))
    return bytes(data["result"])
