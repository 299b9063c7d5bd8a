"""Names for the completion of a shell: asked once, remembered, never in the way."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from types import SimpleNamespace

import pytest

from meshcode.cli import names, session

NEAR, FAR = "ipc:///run/x", "tcp://203.0.113.7:7420"


@pytest.fixture
def tab(monkeypatch, tmp_path):
    """A shell with a cache of its own, a node that counts questions, and a clock."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = SimpleNamespace(asked=[], behind=[], now=time.time(), names=["a"], fails=False)

    def ask(kind, seconds):
        found.asked.append((kind, seconds))
        if found.fails:
            raise TimeoutError
        return list(found.names)

    monkeypatch.setattr(names.time, "time", lambda: found.now)
    monkeypatch.setattr(names, "_refresh_behind", found.behind.append)
    found.press = lambda where: names.of("queue", where, ask, near_s=0.15)
    return found


def test_a_second_tab_asks_nobody_and_a_later_one_does(tab):
    assert (tab.press(NEAR), tab.press(NEAR)) == (["a"], ["a"])
    assert tab.asked == [("queue", 0.15)]

    tab.names, tab.now = ["a", "b"], tab.now + names.FRESH_S
    assert tab.press(NEAR) == ["a", "b"]
    assert stat.S_IMODE(names.file_of(NEAR).stat().st_mode) == 0o600


def test_a_far_node_is_asked_behind_the_shell(tab):
    assert tab.press(FAR) == ["a"]
    assert tab.asked == [("queue", names.FIRST_S)]

    tab.now += 60
    assert tab.press(FAR) == ["a"]
    assert (len(tab.asked), tab.behind) == (1, ["queue"])

    tab.now += names.STALE_S
    tab.fails = True
    assert tab.press(FAR) == []


def test_a_change_is_seen_by_the_next_tab(tab):
    tab.press(NEAR)
    tab.names = ["a", "b"]

    names.forget(NEAR)

    assert tab.press(NEAR) == ["a", "b"]
    assert tab.press(FAR) == ["a", "b"]  # Each node has a file of its own.


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"queue": 5}', b'{"queue": [1, null]}'])
def test_a_damaged_file_is_none(tab, content):
    path = names.file_of(NEAR)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    assert tab.press(NEAR) == ["a"]
    assert tab.press(NEAR) == ["a"]
    assert len(tab.asked) == 1


def test_a_folder_that_cannot_be_written_to_is_no_fault(tab, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert tab.press(NEAR) == ["a"]


def test_names_of_a_real_node_are_completed_and_remembered(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("MESH_HOME", shell.home)
    monkeypatch.delenv("MESH_NODE", raising=False)  # A command of an earlier test may have set it.
    shell.environment["XDG_CACHE_HOME"] = str(tmp_path)
    # What is asked here is whether it answers; a busy machine does not in the time of a Tab.
    monkeypatch.setattr(session, "COMPLETE_S", 5.0)
    first = shell.wait_until(lambda: session.names_of("socket"))
    with monkeypatch.context() as patched:
        patched.setattr(session, "asked_names", None)  # Nobody is asked.
        assert session.names_of("socket") == first
    assert "shop.add" in first
    assert len(os.listdir(tmp_path / "meshcode" / "names")) == 1

    shell("add", "queue", "-n", "late")
    try:
        assert "late" in shell.wait_until(lambda: session.names_of("queue"))
    finally:
        shell("delete", "queue", "late", "-y")
    assert "late" not in shell.wait_until(lambda: session.names_of("queue"))


def test_asking_behind_the_shell_runs_no_file_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("open('ran', 'w').close()\n")
    children = []
    start = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *words, **how: children.append(start(*words, **how))
    )
    names._refresh_behind("queue")

    children[0].wait(20)
    assert not (tmp_path / "ran").exists()
