"""Which socket a function of this program stands for: found by its name, never sent as code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from types import ModuleType
from typing import Any

from meshcode.client.client import Client
from meshcode.client.decorators import Remote
from meshcode.client.objects.asking import listed
from meshcode.client.socket import Socket

_Row = dict[str, Any]


class Names:
    """Functions and the sockets that stand for them, as the model has them.

    The model is read when a function is met for the first time, and again when none was found.
    """

    def __init__(self, processor: str | None = None) -> None:
        """With `processor`, only sockets of that one count."""
        self._processor = processor
        self._found: dict[tuple[str, str], str] = {}
        self._lock = Lock()

    def target(
        self, function: Any, client: Client
    ) -> tuple[Socket, tuple[Any, ...], dict[str, Any]]:
        """The socket, and the arguments that a partial has already.

        Raises:
            TypeError: it has no name by which another process can find it, or no socket has it.
        """
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        while isinstance(function, functools.partial):
            args, kwargs = function.args + args, {**function.keywords, **kwargs}
            function = function.func
        if isinstance(function, Remote):
            function = function.remote()
        if isinstance(function, Socket):
            if function._client is not None or function.client is client:
                return function, args, kwargs
            return Socket(function.name, client, function._options), args, kwargs
        if isinstance(function, str):
            return Socket(function, client), args, kwargs
        return Socket(self._name_of(function, client), client), args, kwargs

    def _name_of(self, function: Any, client: Client) -> str:
        module, qualname = _reference(function)
        with self._lock:
            name = self._found.get((module, qualname))
        if name is not None:
            return name
        rows = listed(client, "socket")
        processors = {row["name"]: row for row in listed(client, "processor")}
        name = self._choose(function, f"{module}.{qualname}", rows, processors)
        if name is None:
            raise TypeError(_unknown(function, module, qualname, self._processor))
        with self._lock:
            self._found[module, qualname] = name
        return name

    def _choose(
        self, function: Any, wanted: str, rows: Iterable[_Row], processors: dict[str, _Row]
    ) -> str | None:
        """The first by name, rather of a processor that is not stopped."""
        best: tuple[bool, str] | None = None
        for row in rows:
            owner = processors.get(row["processor"])
            if owner is None or self._processor not in (None, owner["name"]):
                continue
            module, task = str(owner["module"]), str(row["task"])
            if f"{module}.{task}" == wanted or _is_there(function, module, task):
                rank = (owner.get("requested_status") == "stop", str(row["name"]))
                best = rank if best is None else min(best, rank)
        return None if best is None else best[1]


def _reference(function: Any) -> tuple[str, str]:
    """Module and qualified name.

    Raises:
        TypeError: another process cannot find it by these.
    """
    if not callable(function):
        raise TypeError(
            f"a function or the name of a socket is submitted, not {_shown(function)}; "
            "nothing was sent"
        )
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        raise _refused(
            function, f"it is a method bound to {_shown(owner)}, which stays in this process",
            "make it a function of a module and give it what it needs as arguments",
        )  # fmt: skip
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        raise _refused(function, "it is an object without a name", "write a function that calls it")
    if "<lambda>" in qualname:
        raise _refused(function, "it is a lambda, which has no name", "write it with def")
    if "<locals>" in qualname:
        raise _refused(
            function, f"it is made inside {qualname.partition('.<locals>')[0]!r}, so no other "
            "process has it", "move it to the top of its module",
        )  # fmt: skip
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec is None:
            raise _refused(
                function, "it is of the program itself (__main__), which no processor has",
                "move it to a module of the repository and import it from there",
            )  # fmt: skip
        module = spec.name.removesuffix(".__main__")  # Run with `python -m module`.
    return module, qualname


def _is_there(function: Callable[..., Any], module: str, task: str) -> bool:
    """Whether the task of a module that is imported here is this very function."""
    found: Any = sys.modules.get(module)
    for part in task.split("."):
        found = getattr(found, part, None)
    return found is function


def _refused(function: Any, why: str, instead: str) -> TypeError:
    return TypeError(
        f"{_shown(function)} cannot run in the mesh: {why}; nothing was sent. Functions are found "
        f"by name, code is not sent: {instead}, or submit the name of a socket"
    )


def _unknown(function: Any, module: str, qualname: str, processor: str | None) -> str:
    where = "" if processor is None else f" of processor {processor!r}"
    return (
        f"{_shown(function)} cannot run in the mesh: no socket{where} has the task {qualname!r} "
        f"of module {module!r}; nothing was sent. Add one with "
        f"`mesh add socket -n NAME -q QUEUE -pn {processor or 'PROCESSOR'} -t {qualname}`, or "
        "submit the name of a socket"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
