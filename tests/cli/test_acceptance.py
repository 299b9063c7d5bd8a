"""docs/acceptance.md: what it names must exist, and no row is missing."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from tests.cli.test_original import resolve, spelled_out

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "acceptance.md"
LAST = 170  # Of the inventory.
NOT_DONE = "not done: "


class Row(NamedTuple):
    """One line of a table."""

    name: str
    promised: str
    how: str
    tests: list[str]


def rows() -> list[Row]:
    """All lines of all tables."""
    found = []
    for line in PAGE.read_text().splitlines():
        if re.match(r"\| F\d", line):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            assert len(cells) == 4, f"{len(cells)} cells, there must be 4: {line}"
            name, promised, how, held = cells
            found.append(Row(name, promised, how, [t for t in held.split(", ") if t]))
    return found


ROWS = rows()
ids = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])


@cache
def functions(path: Path) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse(path.read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def commands(how: str) -> list[list[str]]:
    """The `mesh ...` of a cell, as words."""
    texts = re.findall(r"`mesh ?(?:--set \S+ )?([^`]*)`", how)
    return [line for text in texts for line in spelled_out(text.replace("\\|", "|"))]


def test_each_row_stands_once_and_in_order():
    assert [row.name for row in ROWS] == [f"F{number:02}" for number in range(1, LAST + 1)]


@ids
def test_a_row_is_held_by_tests_there_are_or_says_why_it_is_not_done(row: Row):
    assert row.promised
    if row.how.startswith(NOT_DONE):
        assert len(row.how) > len(NOT_DONE) + 20, f"{row.name}: say why"
    else:
        assert row.tests, f"{row.name}: nothing holds it"
    for named in row.tests:
        file, _, function = named.partition("::")
        path = ROOT / "tests" / file
        assert path.is_file(), f"{row.name}: there is no tests/{file}"
        there = functions(path)
        assert function in there if function else there, f"{row.name}: no {function!r} in {file}"


@ids
def test_the_commands_of_a_row_exist_with_their_options(row: Row):
    for words in commands(row.how):
        found, rest = resolve(words)
        assert found is not None, f"{row.name}: there is no mesh {' '.join(words)}"
        known = {flag for param in found.params for flag in (*param.opts, *param.secondary_opts)}
        flags = [word for word in rest if re.match(r"-{1,2}[a-z]", word) and word != "--help"]
        wrong = [flag for flag in flags if flag not in known]
        assert not wrong, f"{row.name}: mesh {' '.join(words)} has no {wrong}"
        if isinstance(found, click.Group):
            assert not words, f"{row.name}: mesh {' '.join(words)} needs a command"


def test_a_row_that_names_what_is_not_there_is_found():
    good = ROWS[0]
    for held in (["cli/test_none.py"], ["cli/test_live.py::test_none"], []):
        with pytest.raises(AssertionError, match="F01"):
            test_a_row_is_held_by_tests_there_are_or_says_why_it_is_not_done(
                good._replace(tests=held)
            )
    for how in ("`mesh upp`", "`mesh up --none`", "`mesh ls`"):
        with pytest.raises(AssertionError, match="F01"):
            test_the_commands_of_a_row_exist_with_their_options(good._replace(how=how))
