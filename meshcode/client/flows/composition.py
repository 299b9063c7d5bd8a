"""Compositions: signatures, and pipelines, parallels, funnels and segments of them.

A composition is a value: it is never changed, may be part of others, and may be run many times.
What it means is `evaluating.py`; how it becomes calls is `compiling.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshcode.client.call import Call
from meshcode.client.socket import Socket
from meshcode.errors import BadRequest
from meshcode.limits import FLOW_NESTING_MAX

if TYPE_CHECKING:
    from meshcode.client.flows.flow import Flow


class Composition:
    """What can be run as a flow."""

    __slots__ = ()

    size: int  # Steps it has at least: one per signature.
    nesting: int  # Compositions within each other; a signature has 0.

    def __call__(self, /, *args: Any, **kwargs: Any) -> Flow:
        """Submit it.

        Args:
            args: come first in the arguments of the first stage, or of every first step of it.
            kwargs: go with them; they win over those of the signature.

        Returns:
            A handle; `get()` waits for the value.

        Raises:
            BadRequest: it cannot be run, for instance a funnel has no body; the text says where.
            BadData: an argument is not plain data; the text says of which step.
            TooLarge: too many steps or bytes; the text has both numbers.
            NoNode: no client was connected yet and no node answers.
        """
        return self.submit(*args, **kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Flow:
        """As calling it."""
        from meshcode.client.flows.submitting import submit

        return submit(self, args, kwargs)

    def taking(self, args: tuple[Any, ...]) -> Composition:
        """What is run when it is called with `args`: itself, or another that took the first."""
        del args
        return self

    def signatures(self) -> Iterator[Signature]:
        """All signatures in it, in the order in which they were written."""
        return iter(())


class Signature(Composition):
    """A socket with arguments, called when a flow comes to it: `Socket("shop.clean").p("text")`.

    In a pipeline the function is called with the previous value first, then these arguments.
    """

    __slots__ = ("args", "kwargs", "socket")

    size = 1  # The same for all signatures, so they take no room in each.
    nesting = 0

    def __init__(self, socket: Socket, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Made by `Socket.p`."""
        self.socket = socket
        self.args = tuple(args)
        self.kwargs = dict(kwargs)

    def options(self, **given: Any) -> Signature:
        """A copy whose call has these options; see `Socket.options`."""
        return Signature(self.socket.options(**given), self.args, self.kwargs)

    def signatures(self) -> Iterator[Signature]:
        """Itself."""
        yield self

    def __repr__(self) -> str:
        given = [f"{value!r:.40}" for value in self.args]
        given += [f"{name}={value!r:.40}" for name, value in self.kwargs.items()]
        return f"{self.socket.name}({', '.join(given)})"


class _Group(Composition):
    """A composition of parts."""

    __slots__ = ("nesting", "parts", "size")

    word = ""

    def __init__(self, parts: Sequence[Composition]) -> None:
        self.parts = tuple(parts)
        self.size = sum(part.size for part in self.parts)
        self.nesting = 1 + max((part.nesting for part in self.parts), default=0)
        if self.nesting > FLOW_NESTING_MAX:
            raise BadRequest(
                f"this {self.word} has compositions nested {self.nesting} deep, the limit is"
                f" {FLOW_NESTING_MAX}; nothing was sent; flatten it",
                found=self.nesting, limit=FLOW_NESTING_MAX,
            )  # fmt: skip

    def signatures(self) -> Iterator[Signature]:
        """All signatures in it, in order."""
        for part in self.parts:
            yield from part.signatures()

    def __repr__(self) -> str:
        return f"{self.word}({_shown(self.parts)})"


class Pipeline(_Group):
    """Stages one after another; each is given the value of the one before it, first."""

    __slots__ = ("rest",)

    word = "pipeline"
    rest: Sequence[list[Any]] | None  # Its steps behind the first, where all runs have the same.

    def __init__(self, stages: Sequence[Composition]) -> None:
        """Raises BadRequest without a stage."""
        if not stages:
            raise BadRequest("a pipeline has 1 stage at least, this has 0; nothing was sent")
        flat: list[Composition] = []  # A pipeline as a stage means the same as its stages.
        for stage in stages:
            flat += stage.parts if isinstance(stage, Pipeline) else (stage,)
        super().__init__(flat)
        self.rest = None  # `compiling.py` finds it out.


class Parallel(_Group):
    """Branches side by side; its value is the list of theirs, in the order in which they stand.

    Every branch is given what comes before it.
    """

    __slots__ = ()

    word = "parallel"


class Funnel(_Group):
    """Header tasks side by side, then the body with the list of their values; its value is the
    body's.  What comes before it goes to the header tasks.

    Called with a composition, that is the body of the run.
    """

    __slots__ = ("body",)

    word = "funnel"

    def __init__(self, header: Sequence[Composition], body: Composition | None) -> None:
        """Raises BadRequest without a header task."""
        if not header:
            raise BadRequest(
                "the header of a funnel has 1 task at least, this has 0; nothing was sent"
            )
        super().__init__(header)
        self.body = body
        if body is not None:
            self.size += body.size
            self.nesting = max(self.nesting, 1 + body.nesting)

    def taking(self, args: tuple[Any, ...]) -> Composition:
        """With a composition as the first argument: the same header and that as its body."""
        if args and isinstance(getattr(args[0], "sync", args[0]), Composition | Socket):
            return self.with_body(args[0])
        return self

    def with_body(self, body: Any) -> Funnel:
        """The same header with another body.

        Raises:
            BadRequest: the body is neither a signature nor a composition.
        """
        return Funnel(self.parts, _composition(body, "the body of a funnel"))

    def signatures(self) -> Iterator[Signature]:
        """All signatures in it, the body's last."""
        yield from super().signatures()
        if self.body is not None:
            yield from self.body.signatures()

    def __repr__(self) -> str:
        body = "" if self.body is None else f", {self.body!r}"
        return f"funnel([{_shown(self.parts)}]{body})"


class Segment(Composition):
    """One call per item, in chunks; its value is a list of lists of their values."""

    __slots__ = ("chunk", "items", "nesting", "signature", "size")

    def __init__(self, signature: Signature, items: Iterable[Any], chunk: int) -> None:
        """Raises BadRequest when a chunk would have less than one item."""
        if type(chunk) is not int or chunk < 1:
            raise BadRequest(f"a chunk has 1 item at least, not {chunk!r}; nothing was sent")
        self.signature = signature
        self.items = tuple(items)
        self.chunk = chunk
        self.size = len(self.items)
        self.nesting = 2

    def chunks(self) -> Parallel:
        """The same as a parallel of parallels."""
        socket, args, kwargs = self.signature.socket, self.signature.args, self.signature.kwargs
        calls = [Signature(socket, (item, *args), kwargs) for item in self.items]
        return Parallel([
            Parallel(calls[start : start + self.chunk])
            for start in range(0, len(calls), self.chunk)
        ])  # fmt: skip

    def signatures(self) -> Iterator[Signature]:
        """One, which stands for all items."""
        yield self.signature

    def __repr__(self) -> str:
        return f"segment({self.signature!r}, {len(self.items)} items by {self.chunk})"


def pipeline(*stages: Any) -> Pipeline:
    """Stages one after another: `pipeline(f.p(1), g.p())` or `pipeline([f.p(1), g.p()])`.

    The first stage is called f(*own_args), each further one f(previous, *own_args).  A function
    that raises ends the pipeline: the stages behind it do not run.

    Raises:
        BadRequest: there is no stage, or one is neither a signature nor a composition.
    """
    return Pipeline(_compositions("stage {} of a pipeline", stages))


def parallel(*branches: Any) -> Parallel:
    """Branches side by side: `parallel(f.p(1), g.p(2))`, or a list of them; none is allowed.

    The value is the list of the branches' values, in the order in which they stand; a parallel
    within a parallel is a list within a list.

    Raises:
        BadRequest: a branch is neither a signature nor a composition.
    """
    return Parallel(_compositions("branch {} of a parallel", branches))


def funnel(header: Any, body: Any = None) -> Funnel:
    """Tasks side by side whose values, in a list, come first in the arguments of the body.

    Args:
        header: a list of signatures and compositions.
        body: a signature or composition; without it, the run is given one: `funnel([...])(body)`.

    Raises:
        BadRequest: the header is empty, or something is neither a signature nor a composition.
    """
    parts = _compositions("task {} of the header of a funnel", (header,))
    return Funnel(parts, None if body is None else _composition(body, "the body of a funnel"))


def segment(task: Any, items: Iterable[Any], size: int) -> Segment:
    """One call of a task per item, in chunks of `size`; the value is a list of lists.

    Args:
        task: a socket or a signature; its function is called f(item, *own_args).
        items: plain data; read to their end at once.
        size: items of a chunk; the last may have fewer.

    Raises:
        BadRequest: `size` is under 1, or `task` is neither a socket nor a signature.
    """
    given = _composition(task, "the task of a segment")
    if not isinstance(given, Signature):
        raise BadRequest(f"the task of a segment is a socket or a signature, not {given!r:.80}")
    return Segment(given, items, size)


_NO_LISTS = (str, bytes, Mapping, Call)  # Iterable, but not lists of parts.


def _compositions(what: str, given: tuple[Any, ...]) -> list[Composition]:
    """Check the parts of a composition: the arguments, or the items of the only one."""
    parts: Iterable[Any] = given
    if len(given) == 1 and isinstance(given[0], Iterable) and not isinstance(given[0], _NO_LISTS):
        parts = given[0]
    return [_composition(part, what, n) for n, part in enumerate(parts, 1)]


def _composition(part: Any, what: str, n: int = 0) -> Composition:
    if isinstance(part, Composition):
        return part
    # An AsyncSocket has a `sync`; of an object that is a socket, any such name asks the node.
    socket = part if isinstance(part, Socket) else getattr(part, "sync", part)
    if isinstance(socket, Socket):
        return socket.p()
    raise BadRequest(
        f"{what.format(n)} is a signature like Socket(name).p(...) or a composition, not a"
        f" {type(part).__name__}: {part!r:.60}; nothing was sent; a socket that is called gives"
        " its value, only .p gives a signature"
    )


def _shown(parts: Sequence[Composition], most: int = 6) -> str:
    texts = [repr(part) for part in parts[:most]]
    if len(parts) > most:
        texts.append(f"... {len(parts) - most} more")
    return ", ".join(texts)
