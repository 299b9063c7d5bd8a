"""Tables for people: aligned, whole when piped, and never broken by what is in them."""

from __future__ import annotations

from meshcode.cli import doctor
from meshcode.cli.app import say_error
from meshcode.cli.doctor_check import Check
from meshcode.cli.table import cut, draw, facts, width_of
from meshcode.errors import NodeError, RemoteError


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
