"""Code put in the place of a task's on a real node: it runs, it shows, it goes."""

from __future__ import annotations

import json

import pytest

FIX = b"""
import sys
_SCALE = 10


def _helped(number):
    return number * _SCALE


def add(left, right=0, *, scale=1, more=0):
    '''The sum, ten times.'''
    return _helped(left + right) * scale + more
"""


@pytest.fixture
def overridden(shell):
    shell("update", "task", "proc1.add", "--code", "-", "--wait", stdin=FIX)
    yield shell
    shell.run(["update", "task", "proc1.add", "--no-code", "--wait"])


def test_an_override_runs_shows_and_goes(overridden):
    shell = overridden
    # Another signature, and a private helper: both are those of the override.
    assert shell("run", "shop.add", "2", "3", "-k", "more=7")[0] == "57\n"
    assert shell("run", "shop.do_this", "x")[0] == "Do this: x\n"

    listed = {row["name"]: row for row in shell.json("ls", "tasks")}
    shown = shell.json("task", "show", "shop.add")[0]
    assert listed["add"]["override"].startswith("by ")
    assert listed["do_this"]["override"] is None
    assert shown["commit"].endswith("+override") and len(shown["commit"]) == 12 + len("+override")
    assert "_helped(left + right)" in shell("task", "code", "shop.add")[0]

    shell("update", "task", "shop.add", "--no-code", "--wait")
    assert shell("run", "shop.add", "2", "3")[0] == "5\n"
    assert "override" not in shell.json("task", "show", "shop.add")[0]["commit"]


def test_a_call_shows_that_an_override_ran_it(overridden):
    id = overridden("run", "shop.add", "1", "--no-wait")[0].strip()
    overridden("call", "get", id)

    call = overridden.json("ls", "call", "--id", id)[0]

    assert call["commit"].endswith("+override")


def test_one_that_does_not_load_leaves_what_runs(shell):
    try:
        said = shell("update", "task", "proc1.boom", "--code", "-", "--wait", status=1,
                     stdin=b"import nowhere\ndef boom(t): return 'fixed'")[1]  # fmt: skip
        assert "No module named 'nowhere'" in said
        assert "keeps running" in said
        assert "take the override away with `mesh update task proc1.boom --no-code`" in said
        assert "and its older code goes on, as what was changed cannot run" in said
        assert "mesh update processor" not in said
        found = json.loads(shell.run(["doctor", "-o", "json"])[1])["items"]
        (row,) = [row for row in found if "nowhere" in row["detail"]]
        assert "`mesh update task proc1.boom --no-code`" in row["fix"]
        assert "\n" not in row["detail"] and " / " in row["detail"]
        assert "ValueError: x" in shell("run", "shop.boom", "x", status=1)[1]
    finally:
        shell("update", "task", "proc1.boom", "--no-code", "--wait")


def test_a_task_is_named_as_task_show_takes_it(shell):
    out = shell("update", "task", "do_this", "--code", "-", "--dry-run",
                stdin=b"def do_this(text): return text")[0]  # fmt: skip
    assert "proc1.do_this" in out
    assert "no socket is named 'nothing'" in (
        shell("update", "task", "nothing", "--no-code", status=3)[1]
    )


def test_what_cannot_stand_for_a_task_is_refused_and_nothing_is_changed(shell):
    said = shell("update", "task", "proc1.add", "--code", "-", status=2, stdin=b"def (:")[1]
    assert "line 1 is no Python" in said
    said = shell("update", "task", "proc1.add", "--no-code", status=3)[1]
    assert "no override is named 'proc1.add'" in said
    shell("update", "task", "nobody.add", "--code", "-", status=3, stdin=FIX)
    shell("update", "task", "proc1.add", status=2)
    assert json.loads(shell("export", "overrides", "-o", "json")[0] or "{}") == {}
