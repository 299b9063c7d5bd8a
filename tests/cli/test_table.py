"""Tables for people: aligned, whole when piped, and never broken by what is in them."""

from __future__ import annotations

import json
import time

import pytest

from meshcode.cli import doctor, output
from meshcode.cli.app import say_error
from meshcode.cli.doctor_check import Check
from meshcode.cli.table import cut, draw, facts, width_of
from meshcode.errors import NodeError, RemoteError


@pytest.mark.parametrize(
    ("key", "value", "title", "text"),
    [
        ("message_ttl_ms", 90_000, "Message TTL", "1m30s"),
        ("usual_us", 1_500, "Usual", "1.5ms"),
        ("accepted_ms", 1_700_000_000_000, "Accepted", None),
        ("unix_ms", 1_700_000_000_000, "Unix", None),
        ("uptime_ms", 33_323, "Uptime", "33.3s"),
        ("env", {}, "Env", ""),
        ("limits", {"time_limit_ms": 90_000, "rate": None}, "Limits", "time_limit=1m30s"),
        ("events", [{"name": "received", "run_us": 11}], "Events", "name=received run=11us"),
        ("keys", ["a", "b"], "Keys", "a, b"),
    ],
)
def test_a_field_that_no_listing_has_by_itself_is_shown_for_people(key, value, title, text, capsys):
    """With -o wide and --columns; as JSON and CSV numbers stay numbers."""
    at = time.strftime("%Y-%m-%d %H:%M:%S.000", time.localtime(1_700_000_000))
    rows = [{"name": "x", key: value}]

    output.show("thing", rows, [output.column("name")], output.Style("wide"))
    wide = capsys.readouterr().out.splitlines()
    output.show("thing", rows, [], output.Style(columns=(key,)))
    chosen = capsys.readouterr().out.splitlines()
    output.show("thing", rows, [], output.Style("jsonl"))

    shown = at if text is None else text
    assert [cell.strip() for cell in wide[3].split("|")[1:-1]] == ["x", shown]
    assert [lines[1].split("|")[-2].strip() for lines in (wide, chosen)] == [title, title]
    assert chosen[3].strip("| ") == shown
    assert json.loads(capsys.readouterr().out)[key] == value


def test_a_table_has_borders_and_numbers_to_the_right():
    lines = draw(["Name", "Calls"], [["shop.clean", "12"], ["a", "7"]])

    assert lines == [
        "+------------+-------+",
        "| Name       | Calls |",
        "+------------+-------+",
        "| shop.clean |    12 |",
        "| a          |     7 |",
        "+------------+-------+",
    ]


def test_a_table_without_rows_has_its_titles():
    assert draw(["Name", "ID"], []) == [
        "+------+----+",
        "| Name | ID |",
        "+------+----+",
        "+------+----+",
    ]


def test_without_a_terminal_nothing_is_cut():
    lines = draw(["Name"], [["x" * 500]])

    assert "x" * 500 in lines[3]


def test_on_a_terminal_the_widest_column_gives_way_first():
    lines = draw(["Name", "Reason"], [["shop.clean", "y" * 100]], room=40)

    assert all(width_of(line) == 40 for line in lines)
    assert "shop.clean" in lines[3]
    assert lines[3].endswith("y… |")


def test_columns_never_get_narrower_than_their_title():
    lines = draw(["A long title"], [["z" * 100]], room=5)

    assert lines[1] == "| A long title |"


def test_control_characters_are_shown_and_not_obeyed():
    """A reason with a newline or an escape sequence is what a hostile task would write."""
    lines = draw(["Reason"], [["a\nb\x1b[31m\x00"]])

    assert lines[3] == "| a\\nb\\x1b[31m\\x00 |"


def test_wide_and_combining_characters_count_as_the_terminal_shows_them():
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert cut("日本語", 5) == "日本…"
    lines = draw(["N"], [["日本"], ["abcd"]])
    assert lines[3:5] == ["| 日本 |", "| abcd |"]


def test_facts_have_their_values_in_one_column():
    assert facts([("pid", "12"), ("address", "ipc://x\n")]) == [
        "pid      12",
        "address  ipc://x\\n",
    ]


EVIL = "evil\x1b[2J\x1b]0;pwn\x07\r\nmesh: fake line \x9b31m"


def test_what_a_task_raises_is_no_command_of_the_terminal_and_no_line_of_ours(capsys):
    """Its text and its traceback are somebody else's."""
    error = RemoteError(f"ValueError: {EVIL}", traceback=f"Traceback:\n  at x\nValueError: {EVIL}")
    say_error(error)
    say_error(NodeError(f"the node ended: {EVIL}"))
    doctor._print(Check("node", "FAIL", EVIL, EVIL))

    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert all(char.isprintable() or char == "\n" for char in text)
    shown = r"evil\x1b[2J\x1b]0;pwn\x07\r"
    assert said.err.splitlines() == [
        "Traceback:", "  at x", f"ValueError: {shown}", r"  mesh: fake line \x9b31m",
        rf"mesh: ValueError: {shown}\nmesh: fake line \x9b31m",
        f"mesh: the node ended: {shown}", r"  mesh: fake line \x9b31m",
    ]  # fmt: skip
    assert len(said.out.splitlines()) == 2


def test_a_state_is_coloured_in_every_column(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    rows = [{"name": "DONE", "left": "FAILED", "right": "DONE"}]
    columns = [output.column(key) for key in rows[0]]

    output.show("call", rows, columns, output.Style())

    line = capsys.readouterr().out.splitlines()[3]
    assert line == "| \x1b[32mDONE\x1b[0m | \x1b[31mFAILED\x1b[0m | \x1b[32mDONE\x1b[0m  |"
