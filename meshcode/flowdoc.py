"""A saved flow as plain data: how it is written, and whether it can be one.

    {"call": "shop.clean", "args": [1], "kwargs": {"fast": true}}       one call; "shop.clean" alone
    {"call": "shop.clean", "options": {"retries": 2}}                   as Socket.options takes them
    {"pipeline": [step, step, ...]}                                     one after another
    {"parallel": [step, step, ...]}                                     at once; a list of results
    {"funnel": [step, step, ...], "body": step}                         at once, then the body
    {"segment": call, "items": [1, 2, 3], "size": 2}                    one call for each item

A step is any of these, nested at will.  A leaf: the model checks with it what is saved, the client
what it runs.  Nothing is run and nobody is asked here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

BYTES_MAX = 64 * 1024  # As JSON; larger data belongs into the arguments of a run.
STEPS_MAX = 1_000  # Of all kinds in one document.
DEPTH_MAX = 16  # Steps inside of steps.
DATA_DEPTH_MAX = 32  # Nesting of one argument.
ITEMS_MAX = 10_000  # Of one segment.
NAME_CHARS_MAX = 200

# Kind of step -> the keys it must have, and those it may have besides.
FORMS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "call": (frozenset({"call"}), frozenset({"args", "kwargs", "options"})),
    "pipeline": (frozenset({"pipeline"}), frozenset()),
    "parallel": (frozenset({"parallel"}), frozenset()),
    "funnel": (frozenset({"funnel", "body"}), frozenset()),
    "segment": (frozenset({"segment", "items", "size"}), frozenset()),
}
_INTEGER_MAX = (1 << 63) - 1


def check(document: Any) -> dict[str, Any]:
    """The document in its one form: every call a map, without empty args, kwargs and options.

    Args:
        document: a step, or the JSON text of one.

    Raises:
        ValueError: what it must be, and where in it (`$.pipeline[1].body`) it is not.
    """
    if isinstance(document, str) and document.lstrip().startswith("{"):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError) as exc:
            raise ValueError(f"JSON, and this is none: {exc}") from None
    if not isinstance(document, dict):
        raise ValueError(f"a map with one of {', '.join(FORMS)}, and this is {_what(document)}")
    checker = _Checker()
    made = checker.step(document, "$", 1)
    size = len(to_text(made).encode())
    if size > BYTES_MAX:
        raise ValueError(f"at most {BYTES_MAX} bytes of JSON, and this has {size}")
    return made


def steps(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step of a checked document, from the outermost, in the order written."""
    yield document
    for key in ("pipeline", "parallel", "funnel"):
        for inner in document.get(key, ()):
            yield from steps(inner)
    for key in ("body", "segment"):
        if key in document:
            yield from steps(document[key])


def sockets(document: dict[str, Any]) -> list[str]:
    """The sockets that a checked document calls, each once, in the order written."""
    found = (step.get("call") for step in steps(document))
    return list(dict.fromkeys(name for name in found if name))


def to_text(document: dict[str, Any]) -> str:
    """A checked document as JSON; equal documents give equal text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class _Checker:
    """Counts the steps of one document while it looks at them."""

    def __init__(self) -> None:
        self.count = 0

    def step(self, value: Any, at: str, depth: int) -> dict[str, Any]:
        self.count += 1
        if self.count > STEPS_MAX:
            raise ValueError(f"at most {STEPS_MAX} steps, and this has more")
        if depth > DEPTH_MAX:
            raise ValueError(f"steps in at most {DEPTH_MAX} levels, and {at} is one deeper")
        if isinstance(value, str):
            return {"call": _socket(value, at)}
        kind = _kind_of(value, at)
        if kind == "call":
            return {"call": _socket(value["call"], f"{at}.call"), **_arguments(value, at)}
        if kind == "segment":
            return self._segment(value, at, depth)
        made: dict[str, Any] = {kind: self._steps(value[kind], f"{at}.{kind}", depth)}
        if kind == "funnel":
            made["body"] = self.step(value["body"], f"{at}.body", depth + 1)
        return made

    def _steps(self, value: Any, at: str, depth: int) -> list[dict[str, Any]]:
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"a list of one step or more at {at}, and there is {_what(value)}")
        return [self.step(one, f"{at}[{n}]", depth + 1) for n, one in enumerate(value)]

    def _segment(self, value: dict[str, Any], at: str, depth: int) -> dict[str, Any]:
        items, size = value["items"], value["size"]
        if not isinstance(items, list | tuple) or not 1 <= len(items) <= ITEMS_MAX:
            count = len(items) if isinstance(items, list | tuple) else _what(items)
            raise ValueError(f"a list of 1 to {ITEMS_MAX} at {at}.items, and there is {count}")
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= ITEMS_MAX:
            raise ValueError(
                f"a whole number from 1 to {ITEMS_MAX} at {at}.size, and there is {_what(size)}"
            )
        call = self.step(value["segment"], f"{at}.segment", depth + 1)
        if "call" not in call:
            raise ValueError(f"a call at {at}.segment, and there is {_what(value['segment'])}")
        return {"segment": call, "items": _data(list(items), f"{at}.items", 1), "size": size}


def _kind_of(value: Any, at: str) -> str:
    kinds = [kind for kind in FORMS if isinstance(value, dict) and kind in value]
    if len(kinds) != 1:
        has = f"{' and '.join(kinds)} at once" if kinds else _what(value)
        raise ValueError(f"a step with one of {', '.join(FORMS)} at {at}, and there is {has}")
    kind = kinds[0]
    must, may = FORMS[kind]
    for key in sorted(must - value.keys()):
        raise ValueError(f"a {kind} with a {key} at {at}, and there is none")
    for key in value:
        if key not in must and key not in may:
            known = ", ".join(sorted(must | may))
            raise ValueError(f"a {kind} of {known} at {at}, and there is {key!r:.80}")
    return kind


def _arguments(value: dict[str, Any], at: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    args, kwargs = value.get("args"), value.get("kwargs")
    if args is not None and not isinstance(args, list | tuple):
        raise ValueError(f"a list at {at}.args, and there is {_what(args)}")
    for key in ("kwargs", "options"):
        if value.get(key) is not None and not isinstance(value[key], dict):
            raise ValueError(f"a map at {at}.{key}, and there is {_what(value[key])}")
    for name in kwargs or ():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"names of parameters at {at}.kwargs, and {name!r:.80} is none")
    if args:
        made["args"] = _data(list(args), f"{at}.args", 1)
    if kwargs:
        made["kwargs"] = _data(kwargs, f"{at}.kwargs", 1)
    if value.get("options"):
        made["options"] = _data(value["options"], f"{at}.options", 1)
    return made


def _socket(value: Any, at: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_CHARS_MAX:
        raise ValueError(f"the name of a socket at {at}, and there is {_what(value)}")
    return str(value)


def _data(value: Any, at: str, depth: int) -> Any:
    """An argument that is the same after JSON and msgpack: no bytes, no NaN, no odd keys."""
    if depth > DATA_DEPTH_MAX:
        raise ValueError(f"data of at most {DATA_DEPTH_MAX} levels, and {at} is deeper")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INTEGER_MAX <= value <= _INTEGER_MAX:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str) and _is_text(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_data(one, f"{at}[{n}]", depth + 1) for n, one in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(k, str) and _is_text(k) for k in value):
        return {k: _data(one, f"{at}.{k[:40]}", depth + 1) for k, one in value.items()}
    raise ValueError(f"what JSON can hold at {at}, and there is {_what(value)}")


def _is_text(value: str) -> bool:
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _what(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "nothing"
    if isinstance(value, str | int | float | bool) and len(str(value)) <= 40:
        return repr(value)
    return f"a {type(value).__name__}"
