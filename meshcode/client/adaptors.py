"""Adaptors: a class of one's own gets what `mesh listen --adaptor` hears.

An adaptor is any class that can be made without arguments; one of its methods gets each event, a
dict, and `close()`, if it has one, is called at the end.  `Influx` below is one to use and to read.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from meshcode.errors import BadRequest, UnknownObject

DEFAULT_METHOD = "put"  # As in the original system, when only a class is named.


class Adaptor:
    """One object, and the method of it that gets the events."""

    def __init__(self, owner: object, method: Callable[[dict[str, Any]], object]) -> None:
        """See `load`."""
        self._owner = owner
        self.put = method

    def close(self) -> None:
        """Let the object put its things away, if it wants to."""
        close = getattr(self._owner, "close", None)
        if callable(close):
            close()


def load(path: str) -> Adaptor:
    """Import and make the adaptor that `pkg.mod.Class.method` names; `.put` when it is left out.

    Modules are looked for as Python does, and in the working folder.

    Raises:
        BadRequest: it is no such path, or the class or its module raised when it was made.
        UnknownObject: there is no such module, class or method.
    """
    words = path.split(".")
    if len(words) < 2 or not all(word.isidentifier() for word in words):
        raise BadRequest(
            f"an adaptor is written as package.module.Class.method, this is {path!r}"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    module, rest = _module_of(path, words)
    if not rest:
        raise UnknownObject(
            f"{path!r} is a module; name a class in it, and its method: {path}.Class.method"
        )
    maker = getattr(module, rest[0], None)
    if not isinstance(maker, type):
        what = "has no" if maker is None else "has something else than a"
        raise UnknownObject(f"the module {module.__name__} {what} class {rest[0]!r}")
    if len(rest) > 2:
        raise BadRequest(f"{path!r} goes on after the method {rest[1]!r}")
    name = rest[1] if len(rest) == 2 else DEFAULT_METHOD
    if not callable(getattr(maker, name, None)):
        raise UnknownObject(f"the class {module.__name__}.{rest[0]} has no method {name!r}")
    try:
        owner = maker()
    except Exception as error:
        raise BadRequest(
            f"the adaptor {module.__name__}.{rest[0]}() could not be made:"
            f" {type(error).__name__}: {error}"
        ) from error
    return Adaptor(owner, getattr(owner, name))


def _module_of(path: str, words: list[str]) -> tuple[Any, list[str]]:
    """The module that the beginning of the path names, and the words after it."""
    for count in range(len(words), 0, -1):
        name = ".".join(words[:count])
        try:
            return importlib.import_module(name), words[count:]
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise UnknownObject(
                    f"the module {name} of the adaptor {path!r} needs {error.name!r}, which is not"
                    " installed for this Python"
                ) from error
        except Exception as error:
            raise BadRequest(
                f"the module {name} of the adaptor {path!r} could not be imported:"
                f" {type(error).__name__}: {error}"
            ) from error
    raise UnknownObject(
        f"there is no module {words[0]!r} for the adaptor {path!r}; it is looked for in"
        f" {os.getcwd()} and where this Python ({sys.executable}) has its packages"
    )


class Influx:
    """Writes numbers that tasks return as lines for a time-series store (InfluxDB's protocol).

    A task returns `{"message": ..., "graph": {"name": text, "value": number, "tag": {"name": text,
    "value": text}}}`; the tag may be left out.  Every such result becomes one line

        NAME,TAG=VALUE,node=NODE,processor=PROCESSOR,socket=SOCKET value=1.5 1764122400123000000

    on stdout, or at the end of the file $MESH_INFLUX_FILE.  Other events are passed over.
    """

    def __init__(self) -> None:
        """Open the file, if there is to be one; it is made when it is not there."""
        path = os.environ.get("MESH_INFLUX_FILE")
        self._out = open(path, "a", encoding="utf-8") if path else sys.stdout  # noqa: SIM115

    def put(self, event: dict[str, Any]) -> None:
        """Write the line of one event.

        Raises:
            ValueError: its `graph` has no name, or its value is no finite number.
        """
        text = line_of(event)
        if text is not None:
            self._out.write(text + "\n")
            self._out.flush()

    def close(self) -> None:
        """Close the file."""
        if self._out is not sys.stdout:
            self._out.close()


def line_of(event: dict[str, Any]) -> str | None:
    """The line of an event of the channel task; None when its result has no `graph`.

    Raises:
        ValueError: the `graph` has no name, or its value is no finite number.
    """
    result = event.get("result")
    graph = result.get("graph") if isinstance(result, dict) else None
    if graph is None:
        return None
    name = graph.get("name") if isinstance(graph, dict) else None
    if not isinstance(name, str) or not name:
        raise ValueError(f"a graph is a dict with a name and a value, this is {graph!r:.200}")
    value = graph.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"the value of graph {name!r} is no finite number: {value!r:.200}")
    tags = {key: event.get(key) for key in ("node", "processor", "socket")}
    tag = graph.get("tag")
    if isinstance(tag, dict) and tag.get("name"):
        tags[str(tag["name"])] = tag.get("value")
    pairs = [f"{_tag(key)}={_tag(value)}" for key, value in sorted(tags.items())
             if value not in (None, "")]  # fmt: skip
    head = ",".join([_escaped(name, ", "), *pairs])
    return f"{head} value={float(value)!r} {int(event['ms']) * 1_000_000}"


def _tag(value: object) -> str:
    return _escaped(str(value), ",= ")


def _escaped(text: str, characters: str) -> str:
    flat = " ".join(text.replace("\\", "/").splitlines())  # A line break would begin a new line.
    return "".join("\\" + c if c in characters else c for c in flat)
