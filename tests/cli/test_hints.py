"""The commands that texts of the program tell people to type are there, with their options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from meshcode.cli.lazy import ALIASES, Group
from meshcode.cli.registry import COMMANDS
from tests.cli.test_commands import find
from tests.live.harness import ROOT

SOURCES = sorted((ROOT / "meshcode").rglob("*.py"))
HINT = re.compile(r"`mesh ([^`]+)`")
WORD = re.compile(r"[a-z][a-z-]*(\|[a-z][a-z-]*)*")  # Of a command; another is a value, or `...`.
VALUE = "VALUE"  # In the place of what a text is filled with.


def text_of(node: ast.AST) -> str:
    """A literal as it will be read; "" for what is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or VALUE for part in node.values)
    return ""


def hints_of(path: Path) -> Iterator[str]:
    """The words after `mesh` of each command line between backquotes, docstrings' too."""
    inside = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            inside.update(map(id, node.values))
        if id(node) not in inside:
            yield from HINT.findall(text_of(node))


def commands_of(words: list[str], entries=COMMANDS, path=()) -> Iterator[tuple[str, ...]]:
    """The commands that the words begin with: several for `ls|show`; raises KeyError."""
    if words and words[0].startswith("-") and not path:
        yield ()
        return
    if not words or not WORD.fullmatch(words[0]):
        yield path
        return
    for name in words[0].split("|"):
        found = ALIASES.get(name, name)
        entry = entries[name if name in entries else found]
        if isinstance(entry, Group):
            yield from commands_of(words[1:], entry.entries, (*path, found))
        else:
            yield (*path, found)


def trouble_with(hint: str) -> str:
    """What is wrong with a command line; "" when it is right."""
    words = hint.split()
    try:
        paths = list(commands_of(words))
    except KeyError as error:
        return f"no command {error}"
    options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    for path in paths:
        command = find(path) if path else None
        if not isinstance(command, click.Command) or isinstance(command, click.Group):
            continue
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        if options - known - {"--help"}:
            return f"mesh {' '.join(path)} has no {', '.join(sorted(options - known))}"
    return ""


def test_every_command_line_that_a_text_names_is_there_with_its_options():
    wrong = [
        f"{path.relative_to(ROOT)}: `mesh {hint}`: {trouble}"
        for path in SOURCES
        for hint in hints_of(path)
        if (trouble := trouble_with(hint))
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("hint", "trouble"),
    [
        ("add socket NAME --processor PROCESSOR --task x", "add socket has no --processor"),
        ("sockets add", "no command 'sockets'"),
        ("call get|stop ID", "no command 'stop'"),
        ("add socket -n NAME -q QUEUE -pn PROCESSOR -t x", ""),
        ("ls VALUEs", ""),
        ("down --now", ""),
    ],
)
def test_a_wrong_hint_is_found(hint, trouble):
    assert trouble in trouble_with(hint) and bool(trouble) == bool(trouble_with(hint))
