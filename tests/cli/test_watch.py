"""`--watch`, `--wait` and `--dry-run` against a real node."""

from __future__ import annotations

import csv
import io
import json
import signal

import pytest


@pytest.fixture
def begun(shell):
    """Commands that go on; ended with the test, whatever it does."""
    found = []

    def begin(*words):
        found.append(shell.start(*words))
        return found[-1]

    yield begin
    for process in found:
        process.kill()
        process.communicate()


def end(process):
    """Ctrl-C; its exit status."""
    process.send_signal(signal.SIGINT)
    return process.wait(20)


def test_a_listing_is_followed_without_asking_again_and_again(shell, begun):
    watching = begun("ls", "queues", "-w", "-o", "jsonl")
    first = json.loads(watching.stdout.readline())
    assert (first["change"], first["name"]) == ("added", "shop.queue1")

    shell("add", "queue", "-n", "w1")
    assert _change(watching) == ("added", "w1", None)
    shell("update", "queue", "-n", "w1", "--max-length", "5")
    assert _change(watching) == ("changed", "w1", 5)
    shell("delete", "queue", "w1", "-y")
    assert _change(watching) == ("deleted", "w1", 5)

    assert end(watching) == 130


def _change(watching):
    row = json.loads(watching.stdout.readline())
    return row["change"], row["name"], row["max_length"]


def test_one_object_is_followed(shell, begun):
    shell("add", "network", "-n", "w2")
    watching = begun("get", "network", "w2", "-w", "-o", "jsonl")
    assert json.loads(watching.stdout.readline())["change"] == "added"

    shell("add", "network", "-n", "w3")  # No change of that one.
    shell("update", "network", "-n", "w2", "--description", "seen")

    assert json.loads(watching.stdout.readline())["description"] == "seen"
    assert end(watching) == 130
    for name in ("w2", "w3"):
        shell("delete", "network", name, "-y")


def test_it_goes_on_after_a_restart_of_the_node(fresh):
    fresh("up")
    watching = fresh.start("ls", "queues", "-w", "-o", "jsonl")
    try:
        fresh("add", "queue", "-n", "before")
        assert _change(watching) == ("added", "before", None)
        fresh("down")
        fresh("up")
        fresh("add", "queue", "-n", "after")
        assert _change(watching) == ("added", "after", None)
        assert end(watching) == 130
    finally:
        watching.kill()
        watching.communicate()


def test_a_table_is_printed_whole_and_one_document_is_refused(shell, begun):
    watching = begun("ls", "networks", "-w")
    watching.stdout.readline()  # The time.
    assert watching.stdout.readline().startswith("+--")
    assert end(watching) == 130

    _, err = shell("ls", "networks", "-w", "-o", "json", status=2)

    assert "--watch prints table, wide, jsonl, name, not json" in err


def test_a_processor_is_followed_to_its_workers_and_waited_for(shell, repository, begun):
    """What it does changes without the model: that is told, too."""
    watching = begun("ls", "processors", "-w", "-o", "jsonl", "--columns", "name,status")
    assert json.loads(watching.stdout.readline())["name"] == "proc1"

    out, _ = shell(
        "add", "processor", "-n", "w4", "-g", repository.as_uri(), "-m", "shop.tasks", "--wait",
        "--timeout", "60s",
    )  # fmt: skip

    assert out == "processor w4 added\n"
    row = next(p for p in shell.json("status")[0]["processors"] if p["name"] == "w4")
    assert (row["ready"], row["status"]) == (1, "running")
    seen = []
    while "running" not in seen:
        line = json.loads(watching.stdout.readline())
        if line["name"] == "w4":
            seen.append(line["status"])
    assert seen[0] != "running"  # It was seen on its way.
    end(watching)

    before = {w["pid"] for w in shell.json("ls", "workers") if w["processor"] == "w4"}
    shell("proc", "restart", "w4", "--wait", "--timeout", "60s")
    after = {w["pid"] for w in shell.json("ls", "workers") if w["processor"] == "w4"}
    assert (len(after), after & before) == (1, set())

    shell("proc", "stop", "w4", "--wait")
    assert not [w for w in shell.json("ls", "workers") if w["processor"] == "w4"]
    shell("proc", "remove", "w4", "-y", "--wait")


def test_a_wait_that_is_too_long_is_124_and_changes_nothing(shell, repository):
    _, err = shell(
        "add", "processor", "-n", "w5", "-g", repository.as_uri(), "-m", "shop.tasks", "--wait",
        "--timeout", "1ms", status=124,
    )  # fmt: skip

    assert "processor w5 has 0 of 1 workers ready after 1ms" in err
    assert "the change holds and the node goes on" in err
    assert shell.json("get", "processor", "w5")
    shell("proc", "remove", "w5", "-y")


def test_code_that_cannot_be_had_ends_the_wait_at_once(shell, tmp_path):
    _, err = shell(
        "add", "processor", "-n", "w6", "-g", f"file://{tmp_path}/none", "-m", "a", "--wait",
        "--timeout", "60s", status=1,
    )  # fmt: skip

    assert "processor w6 is in the model, and cannot run: its code could not be mounted" in err
    shell("proc", "remove", "w6", "-y")


def test_a_dry_run_checks_and_changes_nothing(shell):
    before = [shell.json("ls", f"{kind}s") for kind in ("queue", "socket", "processor")]

    said = [
        shell(*line.split(), "--dry-run")[0]
        for line in (
            "add queue -n dry", "update queue -n shop.queue1 --max-length 7",
            "delete socket shop.add", "add socket -n dry -q shop.queue1 -pn proc1 -t add",
            "proc stop proc1", "proc restart proc1", "add network -n dry",
        )
    ]

    assert all("(dry run: nothing was changed)" in text for text in said)
    assert [shell.json("ls", f"{kind}s") for kind in ("queue", "socket", "processor")] == before
    assert shell.json("ls", "networks") == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("add queue -n shop.queue1", 6),
        ("add socket -n s -q nope -pn proc1 -t add", 3),
        ("delete queue shop.queue1", 6),
        ("update queue -n shop.queue1 --max-length 0", 2),
    ],
)
def test_a_dry_run_is_refused_as_the_real_one_is(shell, line, status):
    _, dry = shell(*line.split(), "--dry-run", status=status)
    _, real = shell(*line.split(), *(["-y"] if "delete" in line else []), status=status)

    assert dry == real


def test_csv_and_wide_have_every_field(shell):
    rows = list(csv.DictReader(io.StringIO(shell("ls", "sockets", "-o", "csv")[0])))
    wide = shell("ls", "sockets", "-o", "wide")[0].splitlines()

    names = [row["name"] for row in rows]
    assert names == [item["name"] for item in shell.json("ls", "sockets")]
    assert rows[0]["task"] == names[0].removeprefix("shop.")
    assert {"revision", "created_ms", "owner"} <= rows[0].keys()
    assert "| Revision " in wide[1]
    assert len(wide) == len(rows) + 4
    chosen = shell("ls", "sockets", "-o", "csv", "--columns", "task,name")[0].splitlines()
    assert chosen[0] == "task,name"
