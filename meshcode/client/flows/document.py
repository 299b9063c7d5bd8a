"""Compositions written as documents, for flows that are saved in a model or a file.

    {"pipeline": [{"call": "shop.clean", "args": ["text"]},
                  {"parallel": [{"call": "shop.words"}, {"call": "shop.lines"}]}]}

A part is a map with exactly one of `call`, `pipeline`, `parallel`, `funnel` and `segment`; next to
it stands only what belongs to it:

    call       socket name; args: list; kwargs: map; options: map, as Socket.options takes them
    pipeline   list of parts
    parallel   list of parts
    funnel     list of parts; body: part
    segment    part that is a call; items: list; size: number; kwargs: map

A text in the place of a part is a call without arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.client.flows.composition import (
    Composition,
    Funnel,
    Parallel,
    Pipeline,
    Segment,
    Signature,
)
from meshcode.client.socket import Socket
from meshcode.errors import BadRequest, MeshError
from meshcode.limits import FLOW_NESTING_MAX

if TYPE_CHECKING:
    from meshcode.client.client import Client

# What may stand beside each word.
_BESIDE = {
    "call": ("args", "kwargs", "options"),
    "pipeline": (),
    "parallel": (),
    "funnel": ("body",),
    "segment": ("items", "size", "kwargs"),
}


def compose(document: Any, client: Client | None = None) -> Composition:
    """The composition that a document describes.

    Args:
        document: plain data, as read from JSON or YAML.
        client: of its sockets; without it the process-wide one.

    Raises:
        BadRequest: the document is not one; the text says where: "pipeline[1].parallel[0]".
    """
    return _Reader(client).part(document, "", 0)


class _Reader:
    def __init__(self, client: Client | None) -> None:
        self.client = client

    def part(self, given: Any, at: str, depth: int) -> Composition:
        """One part, and those in it."""
        if depth > FLOW_NESTING_MAX:
            raise _wrong(at, f"it is nested {depth} deep, the limit is {FLOW_NESTING_MAX}")
        if isinstance(given, str):
            given = {"call": given}
        if not isinstance(given, dict):
            raise _wrong(at, f"a part is a map or the name of a socket, not {_what(given)}")
        words = [word for word in _BESIDE if word in given]
        if len(words) != 1:
            said = " and ".join(words) or "none of them"
            raise _wrong(at, f"a part has exactly one of {', '.join(_BESIDE)}; this has {said}")
        word = words[0]
        for key in given:
            if key != word and key not in _BESIDE[word]:
                beside = ", ".join(_BESIDE[word]) or "nothing"
                raise _wrong(at, f"beside {word} may stand {beside}, not {key!r:.60}")
        try:
            return self._made(word, given, at, depth)
        except BadRequest as error:
            if "at" in error.fields:
                raise
            raise _wrong(at, error.text) from None

    def _made(self, word: str, given: dict[str, Any], at: str, depth: int) -> Composition:
        if word == "call":
            return self.call(given, at)
        if word == "segment":
            task = self.part(given["segment"], _join(at, "segment"), depth + 1)
            if not isinstance(task, Signature):
                raise _wrong(_join(at, "segment"), f"the task is a call, not {task!r:.60}")
            items = _typed(given, "items", list, at)
            kwargs = {**task.kwargs, **_names(given, "kwargs", at)}
            task = Signature(task.socket, task.args, kwargs)
            return Segment(task, items, _typed(given, "size", int, at))
        parts = _typed(given, word, list, at)
        found = [
            self.part(part, f"{_join(at, word)}[{n}]", depth + 1) for n, part in enumerate(parts)
        ]
        if word == "funnel":
            if "body" not in given:
                raise _wrong(at, "a funnel has a body; this has none")
            return Funnel(found, self.part(given["body"], _join(at, "body"), depth + 1))
        make: Callable[[list[Composition]], Composition]
        make = Pipeline if word == "pipeline" else Parallel
        return make(found)

    def call(self, given: dict[str, Any], at: str) -> Signature:
        """The signature of a call."""
        socket = Socket(_typed(given, "call", str, at), self.client)
        kwargs, options = _names(given, "kwargs", at), _names(given, "options", at)
        if options:
            try:
                socket = socket.options(**options)
            except (TypeError, MeshError) as error:
                raise _wrong(at, f"options: {error}") from None
        return Signature(socket, _typed(given, "args", list, at, []), kwargs)


def _names(given: dict[str, Any], key: str, at: str) -> dict[str, Any]:
    found: dict[str, Any] = _typed(given, key, dict, at, {})
    for name in found:
        if not isinstance(name, str):
            raise _wrong(at, f"the names in {key} are texts, not {name!r:.60}")
    return found


def _typed(given: dict[str, Any], key: str, kind: type, at: str, default: Any = None) -> Any:
    value = given.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        name = {list: "a list", dict: "a map", str: "a text", int: "a whole number"}[kind]
        found = _what(value) if key in given else "missing"
        raise _wrong(at, f"{key} is {name}, here it is {found}")
    return value


def _what(value: Any) -> str:
    return f"a {type(value).__name__}: {value!r:.60}"


def _join(at: str, word: str) -> str:
    return f"{at}.{word}" if at else word


def _wrong(at: str, text: str) -> BadRequest:
    where = f"at {at}: " if at else ""
    return BadRequest(f"the document of this flow is wrong: {where}{text}", at=at or "the top")
