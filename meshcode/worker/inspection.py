"""Looks at a module in its own environment: imports it and describes its functions.

Runs in the environment of the code, started by `mount.py` through `bootstrap.py`, so that a module
is seen exactly as a worker will see it.  The answer goes to a file descriptor of its own; whatever
the module prints cannot get into it.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

from meshcode.errors import MountFailed
from meshcode.worker.runner import find_function, load_module, prepare

SOURCE_BYTES_MAX = 64 * 1024  # Of one function, for `mesh task code`.
NAMES_MAX = 50  # Functions named in an error.

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "posonly",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.KEYWORD_ONLY: "kwonly",
    inspect.Parameter.VAR_POSITIONAL: "varargs",
    inspect.Parameter.VAR_KEYWORD: "varkw",
}


def public_functions(module: Any) -> list[str]:
    """Names of the module's own functions: those of `__all__`, or all without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if callable(getattr(module, name, None))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.isroutine(value)
        and getattr(value, "__module__", None) == module.__name__
    ]


def written(function: Callable[..., Any]) -> Any:
    """The function as somebody wrote it, below decorators, `functools.partial`, and an object that
    can be called.
    """
    found: Any = inspect.unwrap(function)
    while isinstance(found, functools.partial):
        found = inspect.unwrap(found.func)
    if inspect.isroutine(found) or inspect.isclass(found):
        return found
    return inspect.unwrap(type(found).__call__)


def kind_of(function: Callable[..., Any]) -> str:
    """How it is run: plain, async, generator or async_generator."""
    inner = written(function)
    if inspect.isasyncgenfunction(inner):
        return "async_generator"
    if inspect.iscoroutinefunction(inner):
        return "async"
    return "generator" if inspect.isgeneratorfunction(inner) else "plain"


def signature_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters as plain data: `{"args": [[name, kind, required], ...], "text"}`."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # Some functions of C code tell nothing: all is accepted.
        return {
            "args": [["args", "varargs", False], ["kwargs", "varkw", False]],
            "text": "(*args, **kwargs)",
        }
    args = [
        [name, _KINDS[parameter.kind], parameter.default is parameter.empty]
        for name, parameter in signature.parameters.items()
    ]
    for row in args:
        if row[1] in ("varargs", "varkw"):
            row[2] = False
    return {"args": args, "text": str(signature)}


def describe(function: Callable[..., Any], worktree: str) -> dict[str, Any]:
    """What people want to know of a function, as plain data."""
    inner = written(function)
    try:
        lines, line = inspect.getsourcelines(inner)
        source, file = "".join(lines), inspect.getsourcefile(inner) or ""
    except (OSError, TypeError):
        source, line, file = "", 0, ""
    if file:
        file = os.path.relpath(os.path.realpath(file), worktree)
    return {
        "signature": signature_of(function),
        "source": source[:SOURCE_BYTES_MAX],
        "doc": inspect.getdoc(inner) or "",
        "kind": kind_of(function),
        "file": file,
        "line": line,
    }


def look(config: dict[str, Any]) -> dict[str, Any]:
    """Import the module of the configuration and describe its tasks.

    Raises:
        MountFailed: step "import" or "task".
    """
    module = load_module(config)
    there = public_functions(module)
    names = list(config.get("tasks") or there)
    found: dict[str, Any] = {}
    missing = []
    for name in names:
        function = find_function(module, name)
        if function is None:
            missing.append(name)
        else:
            found[name] = describe(function, config["worktree"])
    if missing:
        listed = ", ".join(there[:NAMES_MAX]) or "none"
        raise MountFailed(
            f"the module {config['module']!r} has no function {', '.join(map(repr, missing))};"
            f" its functions are: {listed}",
            step="task",
        )
    named = config.get("named") or ()
    absent = [name for name in named if name not in found and find_function(module, name) is None]
    file = getattr(module, "__file__", "") or ""
    return {"ok": True, "tasks": found, "absent": absent, "file": file}


def main(config: dict[str, Any]) -> int:
    """Answer on the descriptor `answer_file` of the configuration with one JSON object."""
    prepare(config)
    # A module that leaves threads or exit handlers must not hold up or change the answer.
    try:
        answer = look(config)
    except MountFailed as error:
        text = error.text
        if error.fields.get("traceback"):
            text = f"{text}\n{error.fields['traceback']}"
        answer = {"ok": False, "step": error.fields["step"], "text": text}
    with os.fdopen(config["answer_file"], "wb") as stream:
        stream.write(json.dumps(answer).encode("utf-8", "backslashreplace"))
    os._exit(0)
