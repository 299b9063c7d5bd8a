"""Manual pages and the cheat sheet: every command is there, and what they show can be typed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import click
import pytest

from meshcode.cli import main
from meshcode.cli.cheat import TOPICS
from meshcode.cli.man import pages, quoted
from tests.cli.test_commands import every_command, find
from tests.cli.test_original import resolve

MACROS = {"TH", "SH", "PP", "TP", "nf", "fi"}
PAGES = {page.name: page for page in pages()}


def test_every_command_has_a_page():
    names = {"-".join(("mesh", *path)) for path, _ in every_command()}
    groups = {"-".join(("mesh", *path[:-1])) for path, _ in every_command()}

    assert set(PAGES) == names | groups


def test_every_page_has_its_parts_and_only_known_requests():
    for name, page in PAGES.items():
        lines = page.roff().splitlines()
        sections = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
        assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"], name
        assert {"EXIT STATUS", "SEE ALSO"} <= set(sections), name
        for line in lines:
            if line.startswith((".", "'")):
                assert line[1:].split()[0] in MACROS, (name, line)
            # An escape that nobody meant would eat the text behind it.
            assert not re.search(r"\\[^efR&\-]", line), (name, line)


def test_every_option_is_in_its_page():
    for path, _ in every_command():
        text = PAGES["-".join(("mesh", *path))].roff()
        for param in find(path).params:
            if isinstance(param, click.Option) and not param.hidden:
                assert all(quoted(flag) in text for flag in param.opts), (path, param.opts)


def test_the_first_page_has_every_exit_status_and_setting():
    text = PAGES["mesh"].roff().replace("\\-", "-")

    assert "MESH_HOME" in text
    assert "MESH_CONTEXT" in text
    for code in ("0", "7", "124", "130, 143"):
        assert f"\\fB{code}\\fR" in text


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff here")
def test_groff_has_nothing_to_complain_about():
    text = "".join(page.roff() for page in PAGES.values())
    made = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-P-cbou"], input=text.encode(), capture_output=True,
        check=True,
    )  # fmt: skip

    assert made.stderr == b""
    assert made.stdout.count(b"EXIT STATUS") == len(PAGES)


def test_a_page_is_printed_and_all_are_written(tmp_path, capsys):
    assert main(["man", "ls", "calls"]) == 0
    assert capsys.readouterr().out == PAGES["mesh-ls-calls"].roff()
    assert main(["man", "--into", str(tmp_path / "man1")]) == 0
    assert {f.stem for f in (tmp_path / "man1").iterdir()} == set(PAGES)
    assert capsys.readouterr().out == f"{len(PAGES)} pages written to {tmp_path}/man1\n"
    assert main(["man", "ls", "cals"]) == 3
    assert "did you mean `mesh ls calls`?" in capsys.readouterr().err


def test_roff_finds_no_request_in_text():
    assert quoted(".TH x") == "\\&.TH x"
    assert quoted("'x'") == "\\&'x'"
    assert quoted("a\\b --c") == "a\\eb \\-\\-c"


LINES = [
    re.split(r" {2,}", line.strip())[0]
    for text in TOPICS.values()
    for line in text.strip().splitlines()
]


@pytest.mark.parametrize("line", LINES)
def test_what_the_cheat_sheet_shows_can_be_typed(line):
    """It is parsed as a person would type it: names, options and their values."""
    words = shlex.split(line)
    assert words.pop(0) == "mesh"
    if words[0] == "--context":
        del words[:2]
    found, rest = resolve(words)
    assert found is not None
    found.make_context(" ".join(words), rest)  # Raises when an option or a value is wrong.


def test_cheat_is_one_screen_each(capsys):
    assert main(["cheat", "look"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("LOOK\n  mesh ls calls -u ")
    assert all(len(line) <= 100 for line in out.splitlines())
    assert main(["cheat", "nope"]) == 3
