"""Trees for people: vertical, one object a line, or horizontal, from left to right.

In the lines of UTF-8 where the output can show them, else in ASCII.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

import click

from meshcode.cli.table import clean, width_of


class Branch(NamedTuple):
    """An object and what is below it."""

    kind: str
    name: str
    note: str = ""  # A few words, for people.
    below: tuple[Branch, ...] = ()

    @property
    def label(self) -> str:
        """How a tree shows it."""
        return clean(f"{self.kind} {self.name}" + (f" ({self.note})" if self.note else ""))

    def data(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "kind": self.kind, "name": self.name, "note": self.note,
            "below": [branch.data() for branch in self.below],
        }  # fmt: skip


class Lines(NamedTuple):
    """The strokes of a tree: after the parent, to a child, to the last one, past a child."""

    child: str
    last: str
    past: str
    fork: str  # Horizontal: from a parent to the first of several children.
    only: str  # To the only one.
    next: str
    end: str
    along: str


UTF8 = Lines("├── ", "└── ", "│   ", "─┬─ ", "─── ", " ├─ ", " └─ ", " │  ")
ASCII = Lines("|-- ", "`-- ", "|   ", "-+- ", "--- ", " |- ", " `- ", " |  ")


def lines_for(stream: TextIO, *, ascii_only: bool) -> Lines:
    """The strokes that `stream` can show."""
    if ascii_only:
        return ASCII
    try:
        "├└│─┬".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return UTF8


def ascii_option(command: Any) -> Any:
    """Add --ascii; the command gets the strokes to draw with, as `strokes`."""
    from functools import wraps

    from meshcode import config

    @wraps(command)
    def with_strokes(*args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.pop("ascii_only") or bool(config.value("ascii"))
        return command(*args, strokes=lines_for(sys.stdout, ascii_only=wanted), **kwargs)

    return click.option(
        "--ascii", "ascii_only", is_flag=True,
        help="Draw in ASCII.  [env: MESH_ASCII; default: what the locale can show]",
    )(with_strokes)  # fmt: skip


def vertical(root: Branch, strokes: Lines) -> list[str]:
    """One line for each object, children below their parent."""
    return [root.label, *_below(root.below, strokes, "")]


def _below(branches: Sequence[Branch], strokes: Lines, before: str) -> list[str]:
    found = []
    for number, branch in enumerate(branches, 1):
        is_last = number == len(branches)
        found.append(before + (strokes.last if is_last else strokes.child) + branch.label)
        past = " " * len(strokes.past) if is_last else strokes.past
        found += _below(branch.below, strokes, before + past)
    return found


def horizontal(root: Branch, strokes: Lines) -> list[str]:
    """Children to the right of their parent; a line for each leaf."""
    label = root.label
    if not root.below:
        return [label]
    found = []
    head, space = f"{label} ", " " * (width_of(label) + 1)
    for number, branch in enumerate(root.below, 1):
        is_last = number == len(root.below)
        if number == 1:
            join = strokes.only if is_last else strokes.fork
        else:
            join = strokes.end if is_last else strokes.next
        first, *rest = horizontal(branch, strokes)
        found.append((head if number == 1 else space) + join + first)
        along = " " * len(strokes.along) if is_last else strokes.along
        found += [space + along + line for line in rest]
    return found
