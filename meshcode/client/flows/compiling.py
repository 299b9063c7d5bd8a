"""From a composition to a plan.  Pure: the same composition always makes the same plan.

What comes before a part is its *prior*: arguments that are known now, or a feed.  A part compiles
to the feed of its value.  A feed that is a list goes into the step that takes it; when several
would take it, or it is long, it becomes a step of its own that gathers the values once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from meshcode.client.flows.composition import (
    Composition,
    Funnel,
    Parallel,
    Pipeline,
    Segment,
    Signature,
)
from meshcode.client.flows.plan import Feed, Plan, Step, check_size, shortened
from meshcode.errors import BadRequest, MeshError, TooLarge
from meshcode.limits import BODY_BYTES_MAX, FLOW_STEP_ARGUMENTS_MAX
from meshcode.wire.codec import pack_call

_NO_ARGUMENTS = pack_call([])
_PLAIN = frozenset({str, bytes, int, float, bool, type(None)})  # No one can change such a value.
_NESTED_MAX = 64  # Numbers and rows in one feed; what a step needs travels in its options.
_Place = tuple[str, ...]  # Where a part stands, from the outside in: ("stage 2", "branch 1").


class _Made:
    """A step that has no number before another needs it.

    So the steps that a wide parallel ends in get numbers in a row, however long its branches are,
    and a feed of 100,000 of them is one map.
    """

    __slots__ = ("number", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.number: int | None = None


_Fed = _Made | list[Any]  # What a part gives on: a step, or a list of numbers, rows and lists.


class _Prior(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    feed: _Fed | None


def compile_flow(
    composition: Composition, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
) -> Plan:
    """The plan of one run.

    Args:
        composition: what is run.
        args: come first in the arguments of the first stage.
        kwargs: go with them.

    Raises:
        BadRequest: it cannot be run; the text says where.
        BadData: an argument is not plain data; the text says of which step.
        TooLarge: more steps, arguments or bytes than there may be; the text has both numbers.
    """
    check_size(composition.size)
    compiler, prior = _Compiler(), _Prior(args, kwargs or {}, None)
    if not isinstance(composition, Pipeline):
        result = compiler.number(compiler.part(composition, prior, ()))
    elif composition.rest is not None:
        result = compiler.again(composition, composition.rest, prior)
    else:
        result = compiler.number(compiler.part(composition, prior, ()))
        if _is_fixed(composition):
            composition.rest = compiler.steps[1:]
    check_size(len(compiler.steps))
    return Plan(compiler.steps, result)


def _is_fixed(pipeline: Pipeline) -> bool:
    """Whether what it is called with changes its first step alone, and nothing the others."""
    return all(isinstance(stage, Signature) for stage in pipeline.parts) and all(
        not stage.kwargs and _PLAIN.issuperset(map(type, stage.args))
        for stage in pipeline.parts[1:]
        if isinstance(stage, Signature)
    )


class _Compiler:
    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.bytes = 0  # Of all arguments: the plan ends early when they alone are too many.

    def part(self, part: Composition, prior: _Prior, place: _Place) -> _Fed:
        """Make the steps of a part; what it gives on."""
        if isinstance(part, Signature):
            return self.call(part, prior, place)
        if isinstance(part, Segment):
            part = part.chunks()
        if isinstance(part, Pipeline):
            return self.pipeline(part, prior, place)
        assert isinstance(part, Parallel | Funnel), "there is no other composition"
        if prior.feed is not None and not part.parts:  # It takes no value, but waits like others.
            return [{"from": self.number(prior.feed), "count": 0}]
        if isinstance(prior.feed, list) and len(part.parts) > 1:  # Put together once for all.
            prior = prior._replace(feed=self.gather(prior.feed))
        word = "branch" if isinstance(part, Parallel) else "task"
        late = len(part.parts) > _NESTED_MAX
        branches: list[_Fed] = []
        for n, inner in enumerate(part.parts, 1):
            fed = self.part(inner, prior, (*place, f"{word} {n}"))
            if not late and isinstance(fed, _Made):
                self.number(fed)  # So that steps of few branches are numbered as they are written.
            branches.append(fed)
        found = self.listed(branches)
        if isinstance(part, Parallel):
            return found
        if part.body is None:
            raise BadRequest(
                f"{_said(place)}a funnel has no body; nothing was sent; give it one when it is"
                " made, funnel([...], body), or when it is run, funnel([...])(body)"
            )
        return self.part(part.body, _Prior((), {}, found), (*place, "the body"))

    def pipeline(self, part: Pipeline, prior: _Prior, place: _Place) -> _Fed:
        """Each stage is fed by the one before it."""
        first, *others = part.parts
        fed = self.part(first, prior, (*place, "stage 1"))
        for n, stage in enumerate(others, 2):
            fed = self.part(stage, _Prior((), {}, fed), (*place, f"stage {n}"))
        return fed

    def again(self, part: Pipeline, rest: Sequence[Step], prior: _Prior) -> int:
        """Make the steps of a pipeline whose first alone differs from those of an earlier run."""
        first = part.parts[0]
        assert isinstance(first, Signature), "as `_is_fixed` says"
        self.number(self.call(first, prior, ("stage 1",)))
        self.steps += rest
        self.bytes += sum([len(step[2]) for step in rest])
        if self.bytes > BODY_BYTES_MAX:
            _Compiler().part(part, prior, ())  # Says where.
        return len(rest)

    def listed(self, branches: list[_Fed]) -> list[Any]:
        """The feed of a list of what these give on."""
        entries = sum(1 if isinstance(branch, _Made) else _entries(branch) for branch in branches)
        if entries > _NESTED_MAX:
            branches = [self.gather(b) if isinstance(b, list) else b for b in branches]
        return shortened([b if isinstance(b, list) else self.number(b) for b in branches])

    def gather(self, feed: list[Any]) -> _Made:
        """A step whose value is that of the feed."""
        return _Made(["", 0, _NO_ARGUMENTS, feed, None])

    def number(self, fed: _Fed) -> int:
        """The number of a step, or of one that gathers the list."""
        made = self.gather(fed) if isinstance(fed, list) else fed
        if made.number is None:
            made.number = len(self.steps)
            self.steps.append(made.step)
        return made.number

    def call(self, part: Signature, prior: _Prior, place: _Place) -> _Made:
        """The step of a signature."""
        socket = part.socket._target()
        args = (*prior.args, *part.args)
        kwargs = {**part.kwargs, **prior.kwargs}
        if len(args) > FLOW_STEP_ARGUMENTS_MAX:
            raise TooLarge(
                f"{_said(place, socket.name)}the step has {len(args)} positional arguments, the"
                f" limit is {FLOW_STEP_ARGUMENTS_MAX}; nothing was sent; pass them as a list",
                found=len(args), limit=FLOW_STEP_ARGUMENTS_MAX,
            )  # fmt: skip
        try:
            body = pack_call(args, kwargs)
        except MeshError as error:
            raise type(error)(_said(place, socket.name) + error.text, **error.fields) from None
        self.bytes += len(body)
        if self.bytes > BODY_BYTES_MAX:
            raise TooLarge(
                f"{_said(place, socket.name)}up to here the arguments of this flow take"
                f" {self.bytes} bytes, the limit of the whole plan is {BODY_BYTES_MAX}; nothing was"
                " sent; pass large data by reference, for instance a path",
                found=self.bytes, limit=BODY_BYTES_MAX,
            )  # fmt: skip
        fed = prior.feed
        feed: Feed = self.number(fed) if isinstance(fed, _Made) else fed
        options = {**socket._options, "kw": list(kwargs)} if kwargs else socket._options
        return _Made([socket.name, len(args), body, feed, options or None])


def _entries(feed: list[Any]) -> int:
    """How many numbers and rows a feed holds."""
    return 1 + sum(_entries(item) if isinstance(item, list) else 1 for item in feed)


def _said(place: _Place, socket: str = "") -> str:
    """Where it is, for the beginning of an error: "stage 2, branch 1, shop.clean: "."""
    parts = [*place, socket] if socket else list(place)
    return ", ".join(parts) + ": " if parts else ""
