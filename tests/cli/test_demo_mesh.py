"""`mesh demo --nodes`: it passes, it leaves nothing, and a planted lie would not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random

import psutil
import pytest

from meshcode.cli.demo.factorlib.work import split
from meshcode.cli.demo.many.judge import Evidence, judge
from meshcode.cli.demo.many.stage import free_port
from meshcode.cli.demo.many.story import prime_pairs
from meshcode.cli.process import node_environment

NODES = ("n2", "n3")  # Those that live; n1 was killed.
CALLS = {f"call-{n}": [3, 5 + n] for n in range(6)}
LOST = "1 calls were acknowledged and have no outcome: call-2"


def value_of(id):
    """What the one execution of a call returned."""
    return {"factors": CALLS[id], "run": f"run-{id}", "node": "n2"}


@pytest.fixture
def evidence():
    """A run without a fault: every call ran once, and both living nodes recorded it."""

    def rows():
        return [{"id": id, "state": "DONE", "result": value_of(id), "events": []} for id in CALLS]

    return Evidence(
        truth=dict(CALLS), acknowledged=dict.fromkeys(CALLS, "quorum 2/3"),
        told={id: value_of(id) for id in CALLS}, read={id: value_of(id) for id in CALLS},
        kept={node: rows() for node in NODES},
        ledger=[f"{id} run-{id} n2 1" for id in CALLS],
    )  # fmt: skip


def remove(evidence, id, *nodes):
    """A node forgets a call."""
    for node in nodes:
        evidence.kept[node] = [row for row in evidence.kept[node] if row["id"] != id]


def row_of(evidence, node, id):
    """What a node recorded of a call."""
    return next(row for row in evidence.kept[node] if row["id"] == id)


def test_a_run_without_a_fault_is_found_good(evidence):
    found = judge(evidence)

    assert found.mismatches == []
    assert found.line == "acknowledged 6, ended 6, lost 0, recorded twice 0"
    assert (found.copies_min, found.copies_max, found.executions, found.again) == (2, 2, 6, 0)


def test_a_lost_call_is_found(evidence):
    """Even when its client had been told a value: it is on no disk any more."""
    remove(evidence, "call-2", *NODES)

    found = judge(evidence)

    assert found.mismatches == [LOST]
    assert found.line == "acknowledged 6, ended 5, lost 1, recorded twice 0"


def test_a_copy_less_is_no_loss(evidence):
    remove(evidence, "call-2", "n2")

    found = judge(evidence)

    assert (found.mismatches, found.lost, found.copies_min) == ([], 0, 1)


def test_a_call_that_is_open_for_ever_is_found(evidence):
    for node in NODES:
        row_of(evidence, node, "call-2")["state"] = "WAITING"

    found = judge(evidence)

    assert found.mismatches == ["1 calls are not DONE somewhere: call-2 is WAITING at n3", LOST]
    assert found.lost == 1


def test_two_nodes_that_recorded_two_executions_are_found(evidence):
    """Both values are right; only the name of the execution tells that it ended twice."""
    evidence.ledger.append("call-2 run-other n3 2")
    row_of(evidence, "n3", "call-2")["result"] = {**value_of("call-2"), "run": "run-other"}

    found = judge(evidence)

    assert found.mismatches == ["1 calls have two outcomes: call-2"]
    assert found.line == "acknowledged 6, ended 6, lost 0, recorded twice 1"


@pytest.mark.parametrize("who", ["told", "read"])
def test_a_client_that_was_told_another_outcome_is_found(evidence, who):
    evidence.ledger.append("call-2 run-other n3 2")
    getattr(evidence, who)["call-2"] = {**value_of("call-2"), "run": "run-other"}

    assert judge(evidence).mismatches == ["1 calls have two outcomes: call-2"]


def test_one_history_with_a_call_twice_is_found(evidence):
    evidence.kept["n2"].append(row_of(evidence, "n2", "call-2"))

    found = judge(evidence)

    assert found.mismatches == ["1 calls are in the history of n2 twice: call-2"]
    assert found.recorded_twice == 1


def test_a_second_execution_alone_is_allowed(evidence):
    """It died with its node, or its report came too late: it ran twice and was recorded once."""
    evidence.ledger.append("call-2 run-other n1 1")

    found = judge(evidence)

    assert (found.mismatches, found.again, found.executions) == ([], 1, 7)


def test_a_wrong_value_is_found(evidence):
    row_of(evidence, "n2", "call-2")["result"]["factors"] = [1, 21]

    found = judge(evidence)

    assert found.mismatches == ["1 calls have another value than the right one: call-2"]
    assert found.wrong == 1


def test_an_outcome_that_nobody_made_is_found(evidence):
    """As one that was taken from another call would be."""
    evidence.ledger.remove("call-2 run-call-2 n2 1")

    assert judge(evidence).mismatches == ["1 calls have an outcome that no execution made: call-2"]


def test_a_call_that_nobody_made_is_found(evidence):
    del evidence.truth["call-2"], evidence.acknowledged["call-2"]

    assert judge(evidence).mismatches == [
        "1 calls were recorded and never made: call-2",
        "1 calls ran and were never made: call-2",
    ]


def test_a_call_that_was_never_acknowledged_is_found(evidence):
    """It was submitted, so its client waits for a word; that it ended all the same is no excuse."""
    del evidence.acknowledged["call-2"]

    found = judge(evidence)

    assert found.mismatches == ["1 calls were not acknowledged: call-2"]
    assert found.line == "acknowledged 5, ended 5, lost 0, recorded twice 0"


def test_an_outcome_that_cannot_be_read_elsewhere_is_found(evidence):
    del evidence.read["call-2"], evidence.told["call-3"]

    assert judge(evidence).mismatches == [
        "1 calls were not told to their client: call-3",
        "1 calls cannot be read at another node: call-2",
    ]


def test_calls_that_were_taken_over_are_counted_once(evidence):
    for node in NODES:
        row_of(evidence, node, "call-2")["events"].append({"name": "taken over"})

    assert judge(evidence).taken_over == 1


def run_demo(folder, *words, **more):
    """`mesh demo` with all that it makes below `folder`."""
    environment = {**node_environment(str(folder / "unused")), "TMPDIR": str(folder), **more}
    return subprocess.run(
        [sys.executable, "-m", "meshcode.cli", "demo", *words],
        check=False, capture_output=True, text=True, env=environment, cwd="/", timeout=240,
    )  # fmt: skip


def left_behind(folder):
    """What still runs, or lies there, of a demo."""
    running = [
        one.pid for one in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in one.info["cmdline"] or ())
    ]  # fmt: skip
    return running, os.listdir(folder)


def test_three_nodes_lose_the_accepting_one_and_nothing_else(short_path):
    found = run_demo(short_path, "--nodes", "3")

    assert found.returncode == 0, found.stdout + found.stderr
    last = found.stdout.splitlines()[-1]
    count = int(last.split()[1].rstrip(","))
    assert last == f"acknowledged {count}, ended {count}, lost 0, recorded twice 0"
    assert "MISMATCH" not in found.stdout
    assert "mesh join LINE" in found.stderr  # The invitation is a secret.
    assert left_behind(short_path) == ([], [])


def test_the_report_for_machines_has_the_same_figures(short_path):
    """In pure Python, so that the whole of it was run once without the compiled module."""
    found = run_demo(short_path, "--nodes", "3", "-o", "json", MESHCODE_PURE="1")

    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    (item,) = json.loads(found.stdout)["items"]
    assert item["mismatches"] == []
    assert item["acknowledged"] == item["ended"] > item["burst_calls"]
    assert (item["lost"], item["recorded_twice"], item["wrong"]) == (0, 0, 0)
    assert sum(item["shares"].values()) == item["burst_calls"]
    assert all(item["shares"][node] > 0 for node in ("n1", "n2", "n3"))
    assert (item["killed"], item["comes_back"], item["copies"]) == ("n1", False, "quorum 2/3")
    assert item["open_at_kill"] > 0
    assert item["went_to"] != item["asked"]
    assert "n1" not in (item["went_to"], item["asked"])
    assert item["copies_min"] >= 2
    assert left_behind(short_path) == ([], [])


@pytest.mark.parametrize("count", ["1", "8"])
def test_too_few_and_too_many_nodes_are_refused(short_path, count):
    found = run_demo(short_path, "--nodes", count)

    assert (found.returncode, found.stdout) == (2, "")
    assert "2<=x<=7" in found.stderr
    assert left_behind(short_path) == ([], [])


def test_the_work_gives_what_the_numbers_were_made_of():
    pairs = prime_pairs(Random(1))
    made = [next(pairs) for _ in range(50)]

    assert len(set(made)) == 50
    assert [split(a * b) for a, b in made] == [list(pair) for pair in made]
    assert [split(n) for n in (2, 4, 9, 12, 97)] == [[2], [2, 2], [3, 3], [2, 2, 3], [97]]


def test_a_port_and_the_next_are_free():
    port = free_port()

    assert 20_000 <= port < 32_000
    assert port % 2 == 0
