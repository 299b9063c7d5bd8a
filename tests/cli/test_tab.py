"""A Tab that was answered before: the same answer as click's, without click."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from meshcode.cli import tab

ROOT = __file__.rsplit("/tests/", 1)[0]
CLICK = "import sys; from meshcode.cli.app import run; sys.exit(run([]))"
OURS = (
    "import sys; from meshcode.cli import main; status = main([])\n"
    "print(*sorted(sys.modules), file=sys.stderr); sys.exit(status)"
)


class Shell:
    """A shell with a cache of its own, in which somebody types."""

    def __init__(self, folder, name="bash", **more):
        self.name = name
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "XDG_CACHE_HOME": str(folder),
            "MESH_HOME": str(folder / "home"), "PYTHONPATH": ROOT, **more,
        }  # fmt: skip
        self.file = folder / "meshcode" / "tabs"

    def tab(self, line, code=OURS):
        """What the shell is told at the end of the line, and what was loaded for it."""
        words = line.split(" ")
        typed = words[-1]
        if self.name == "fish":
            asked = {"COMP_WORDS": line, "COMP_CWORD": typed}
        else:  # bash joins with line breaks.
            joined = ("\n" if self.name == "bash" else " ").join(words)
            asked = {"COMP_WORDS": joined, "COMP_CWORD": str(len(words) - 1)}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT,
            env={**self.environment, **asked, "_MESH_COMPLETE": f"{self.name}_complete"},
        )  # fmt: skip
        return run.stdout, set(run.stderr.split())


LINES = [
    "mesh ", "mesh ls", "mesh ls que", "mesh -", "mesh --", "mesh --c", "mesh --color a",
    "mesh --color=a", "mesh add socket --", "mesh add socket --no-such --", "mesh add queue -t f",
    "mesh add queue --type ", "mesh config get ", "mesh config get retention_a", "mesh no such ",
    "mesh run ", "mesh apply -f ", "mesh ls calls -s shop.", 'mesh run "a b" ', "mesh -- ",
]  # fmt: skip


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_first_and_the_second_answer_are_that_of_click(tmp_path, name):
    shell = Shell(tmp_path, name)
    for line in LINES:
        wanted, _ = shell.tab(line, CLICK)
        assert [shell.tab(line)[0] for _ in range(2)] == [wanted] * 2, line


def test_what_was_answered_is_answered_again_without_click(tmp_path):
    shell = Shell(tmp_path)
    first, loaded = shell.tab("mesh add ")
    assert "plain,queue\n" in first
    assert "click" in loaded

    again, loaded = shell.tab("mesh add q")
    assert again == "plain,queue\n"
    assert {m for m in loaded if m.startswith("meshcode")} == {
        "meshcode", "meshcode.cli", "meshcode.cli.tab",
    }  # fmt: skip
    assert loaded.isdisjoint({"click", "json", "subprocess", "socket", "pathlib2", "inspect"})
    assert shell.tab("mesh add zzz")[0] == "\n"
    assert stat.S_IMODE(shell.file.stat().st_mode) == 0o600


def test_another_home_context_or_folder_is_another_question(tmp_path):
    shell = Shell(tmp_path)
    shell.tab("mesh add ")
    for variable in ("MESH_HOME", "MESH_CONTEXT", "MESH_NODE", "XDG_CONFIG_HOME"):
        other = Shell(tmp_path, **{variable: str(tmp_path / "other")})
        assert "click" in other.tab("mesh add ")[1], variable
    assert "click" not in shell.tab("mesh add ")[1]


def test_options_and_words_are_two_questions(tmp_path):
    shell = Shell(tmp_path)
    words, _ = shell.tab("mesh ")
    options, loaded = shell.tab("mesh -")

    assert "plain,run" in words.split()
    assert options.split()[0] == "plain,--home"
    assert "click" in loaded
    assert shell.tab("mesh --n")[0] == "plain,--node\n"


def test_names_come_from_the_node_and_a_change_is_seen_by_the_next_tab(shell, tmp_path):
    mine = Shell(tmp_path, MESH_HOME=shell.home)
    shell.environment["XDG_CACHE_HOME"] = str(tmp_path)
    # A busy machine may not answer in the time of a Tab, so it is pressed again.
    answer = shell.wait_until(lambda: "shop." in (found := mine.tab("mesh run ")[0]) and found)
    assert "plain,shop.add" in answer.split()
    answer, loaded = mine.tab("mesh run shop.ad")
    assert (answer, "click" in loaded) == ("plain,shop.add\n", False)

    shell("add", "socket", "-n", "shop.added", "-q", "shop.queue1", "-pn", "proc1", "-t", "add")
    try:
        assert shell.wait_until(lambda: "added" in mine.tab("mesh run shop.ad")[0])
    finally:
        shell("delete", "socket", "shop.added", "-y")
    assert "shop.added" not in mine.tab("mesh run shop.ad")[0]


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "meshcode" / "tabs"


def test_an_answer_is_forgotten_after_some_seconds_and_leaves_the_file(here, monkeypatch):
    now = time.time()
    monkeypatch.setattr(tab.time, "time", lambda: now)
    tab.remember("old", [("a", "plain,a")])
    assert tab.read() == {"old": (now, [("a", "plain,a")])}

    later = now + tab.FRESH_S
    monkeypatch.setattr(tab.time, "time", lambda: later)
    assert tab.read() == {}
    tab.remember("new", [("b", "plain,b"), ("c", "plain,c")])
    assert b"old" not in here.read_bytes()
    assert list(tab.read()) == ["new"]
    monkeypatch.setattr(tab.time, "time", lambda: now)  # The clock went back.
    assert tab.read() == {}
    tab.forget()
    assert not here.exists()
    tab.forget()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", b"\x1e", b"\x1e1", b"\x1enan\x1fk", b"\x1ex\x1fk\x1fa", b"\xff\xfe",
        b"\x1e9\x1fk\x1fa",
    ],
)  # fmt: skip
def test_a_damaged_file_is_none(here, content):
    here.parent.mkdir(parents=True)
    here.write_bytes(content)

    assert tab.read() == {}
    tab.remember("k", [("a", "plain,a")])
    assert list(tab.read()) == ["k"]


def test_a_folder_that_cannot_be_written_to_is_no_fault(here, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    tab.remember("k", [("a", "plain,a")])
    assert tab.read() == {}
    tab.forget()


def test_too_large_a_file_is_not_read(here):
    tab.remember("k", [("a" * tab.FILE_BYTES_MAX, "plain")])

    assert tab.read() == {}
