"""Checks arguments against a task's signature before a call is accepted.

The router never reads argument values; it knows how many positional arguments there are and the
names of the keyword ones.  A signature is plain data made where the code is loaded:
`{"args": [[name, kind, required], ...], "text": "(a, b=1)"}`, kinds: "pos", "posonly", "kwonly",
"varargs", "varkw".  `at_once` says whether calls may run beside each other in one worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Signature:
    """One task's parameters, ready for quick checks."""

    __slots__ = (
        "by_count",
        "kwonly_required",
        "names",
        "positional",
        "required",
        "text",
        "varargs",
        "varkw",
    )

    def __init__(self, data: dict[str, Any]) -> None:
        """Read the plain data; unknown kinds are taken as absent."""
        self.positional: list[tuple[str, bool]] = []  # Name, may be given by keyword.
        self.required: list[bool] = []  # Of `positional`.
        self.names: set[str] = set()  # That may be given by keyword.
        self.kwonly_required: list[str] = []
        self.varargs = self.varkw = False
        self.by_count: dict[int, str | None] = {}  # Problems of calls without keywords.
        self.text = str(data.get("text", "(...)"))
        for name, kind, required in data.get("args", ()):
            if kind in ("pos", "posonly"):
                self.positional.append((name, kind == "pos"))
                self.required.append(bool(required))
            if kind in ("pos", "kwonly"):
                self.names.add(name)
            if kind == "kwonly" and required:
                self.kwonly_required.append(name)
            self.varargs = self.varargs or kind == "varargs"
            self.varkw = self.varkw or kind == "varkw"

    def check(self, argc: int, keywords: Sequence[str]) -> str | None:
        """The same as `problem`, remembered where there are no keywords; argc is a byte."""
        if keywords:
            return self.problem(argc, keywords)
        if argc not in self.by_count:
            self.by_count[argc] = self.problem(argc, ())
        return self.by_count[argc]

    def problem(self, argc: int, keywords: Sequence[str]) -> str | None:
        """What is wrong with `argc` positional arguments and these keywords, or None."""
        if argc > len(self.positional) and not self.varargs:
            return f"takes {len(self.positional)} positional arguments, {argc} given"
        given = {name for name, _ in self.positional[:argc]}
        for name in keywords:
            if name in given and name in self.names:
                return f"got two values for argument {name!r}"
            if name not in self.names and not self.varkw:
                return f"has no argument {name!r}"
        missing = [
            name
            for (name, by_name), required in list(zip(self.positional, self.required, strict=True))[
                argc:
            ]
            if required and not (by_name and name in keywords)
        ]
        missing += [name for name in self.kwonly_required if name not in keywords]
        if missing:
            return "misses " + ", ".join(repr(name) for name in missing)
        return None
