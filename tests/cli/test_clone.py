"""`mesh node clone`, `mesh scheduler start` and the questions of `mesh update processor`."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from meshcode.cli.clone import cloned
from meshcode.cli.processor import FIELDS


@pytest.fixture
def placed(shell):
    """Two deployments on alpha, one of them by its host."""
    shell("add", "network", "-n", "net")
    shell("add", "scheduler", "-n", "even")
    shell("add", "node", "-n", "alpha", "-h", "host-a", "-c", "2", "--network", "net",
          "--scheduler", "even")  # fmt: skip
    shell("add", "processor", "-n", "idle", "-g", "/srv/nothing", "-m", "nothing",
          "-rs", "stop")  # fmt: skip
    shell("add", "deployment", "-n", "idle", "-d", "alpha.one", "-h", "alpha", "-c", "3")
    shell("add", "deployment", "-n", "idle", "-d", "two", "-h", "host-a")
    yield shell
    for name in ("alpha.one", "two", "beta.one", "two@beta"):
        shell.run(["delete", "deployment", name, "-y"])
    for kind, name in (("processor", "idle"), ("node", "beta"), ("network", "net"),
                       ("scheduler", "even")):  # fmt: skip
        shell.run(["delete", kind, name, "-y"])


def test_a_node_gets_what_another_has(placed):
    shown = placed("node", "clone", "alpha", "beta", "-h", "host-b", "--dry-run")[0]
    assert "dry run: 3 to add" in shown

    placed("node", "clone", "alpha", "beta", "-h", "host-b")

    node = placed.json("get", "node", "beta")[0]
    rows = {row["name"]: row for row in placed.json("ls", "deployments")}
    assert (node["host"], node["cpus"], node["scheduler"]) == ("host-b", 2, "even")
    assert (rows["beta.one"]["host"], rows["beta.one"]["cpus"]) == ("beta", 3)
    assert (rows["two@beta"]["host"], rows["two@beta"]["processor"]) == ("beta", "idle")
    again = placed("node", "clone", "alpha", "beta", "-h", "host-b")[0]
    assert "nothing to do" in again
    said = placed("node", "clone", "alpha", "beta", status=6)[1]
    assert "node 'beta' exists already and is another one; nothing was changed" in said
    said = placed("node", "clone", "alhpa", "gamma", status=3)[1]
    assert "nothing is declared of a node 'alhpa'; did you mean 'alpha'?; nothing was" in said
    rows = placed.json("ls", "nodes", "--declared")
    assert [(row["name"], row["host"], row["scheduler"]) for row in rows] == [
        ("alpha", "host-a", "even"), ("beta", "host-b", "even"),
    ]  # fmt: skip


def test_a_node_is_no_copy_of_itself_and_a_name_is_changed_in_whole_parts(placed):
    """`odep@n1` came beside `odep`, twice the workers; of a node `a`, `data` became `dbtb`."""
    for words in ((), ("--export", "json"), ("--dry-run",)):
        said = placed("node", "clone", "alpha", "alpha", *words, status=2)[1]
        assert "alpha is the node itself; give the new node another name" in said
    names = ["data", "a", "a.a-x_a", "alpha@a", "da.a1", "x"]
    model = {"node": {}, "deployment": {name: {"host": "a"} for name in names}}
    assert list(cloned(model, "a", r"b\1", None)["deployment"]) == [
        r"b\1", r"b\1.b\1-x_b\1", r"alpha@b\1", r"da.a1@b\1", r"data@b\1", r"x@b\1",
    ]  # fmt: skip


def test_a_clone_for_another_mesh_has_all_that_it_needs(placed, fresh):
    text = placed("node", "clone", "alpha", "beta", "--export", "json")[0]
    found = json.loads(text)
    assert set(found) == {"networks", "schedulers", "nodes", "processors", "deployments"}
    assert list(found["nodes"]) == ["beta"]
    assert found["deployments"]["beta.one"]["host"] == "beta"
    placed("add", "node", "-n", "beta", "-h", "host-c")  # Of another beta the file has nothing.
    placed("add", "deployment", "-n", "idle", "-d", "beta.other", "-h", "beta")
    assert placed("node", "clone", "alpha", "beta", "--export", "json")[0] == text
    placed("node", "clone", "alpha", "beta", status=6)
    placed("delete", "deployment", "beta.other", "-y")

    fresh("up")
    fresh("apply", "-f", "-", stdin=text.encode())
    assert [row["name"] for row in fresh.json("ls", "deployments")] == ["beta.one", "two@beta"]


def test_scheduler_start_says_what_schedules(placed):
    out, err = placed("scheduler", "start", "-n", "even", "-o", "json")

    rows = json.loads(out)["items"]
    assert [(row["name"], row["asked"], row["deployments"]) for row in rows] == [
        ("alpha", 4, ["alpha.one", "two"]),
    ]  # fmt: skip
    assert "nothing was started" in err
    placed("scheduler", "start", "-n", "evne", status=3)


def type_into(shell, words, lines, seconds=20):
    """Run `mesh` on a terminal and answer each question; what stood on it, and the status."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshcode.cli", *words], stdin=slave, stdout=slave, stderr=slave,
        env=shell.environment, cwd="/", start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    seen, waiting, deadline = b"", list(lines), time.monotonic() + seconds
    asked = 0
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 0.2)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            seen += os.read(master, 65_536)
        except OSError:  # The other side is closed.
            break
        while waiting and seen.count(b"): ") + seen.count(b"]: ") > asked:
            asked += 1
            os.write(master, waiting.pop(0).encode() + b"\n")
    os.close(master)
    return seen.decode(), process.wait(timeout=10)


def test_who_says_no_is_told_that_nothing_was_changed(placed):
    seen, status = type_into(placed, ("delete", "node", "alpha"), ["n"])
    assert status == 130
    assert "delete node alpha? [y/N]: n\r\nmesh: nothing was changed" in seen
    assert placed.json("get", "node", "alpha")[0]["name"] == "alpha"


def test_each_option_is_asked_for_and_return_keeps_it(placed):
    answers = [""] * len(FIELDS)
    answers[1] = "other.module"
    answers[8] = "3"
    answers[10] = "2m"

    seen, status = type_into(placed, ["update", "processor", "idle"], answers)

    assert status == 0, seen
    now = placed.json("get", "processor", "idle")[0]
    assert (now["module"], now["retries"], now["time_limit_ms"]) == ("other.module", 3, 120_000)
    assert (now["git"], now["requested_status"]) == ("file:///srv/nothing", "stop")

    placed("update", "processor", "idle", status=2)  # Nobody is there to be asked.
