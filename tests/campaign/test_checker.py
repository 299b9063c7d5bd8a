"""The checker must catch each kind of violation, or a green campaign means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # It stands alone: no package, nothing of meshcode.
import checker


def line(op: str, kind: str, id_: str, value: Any = None) -> dict[str, Any]:
    """One line of a client's history."""
    return {"t": 0, "client": "c", "op": op, "id": id_, "type": kind, "value": value}


def clean() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Three calls that went well: 1, 2 and 3."""
    history, effects, listing = [], [], []
    for number in (1, 2, 3):
        id_, right = f"id{number}", checker.task(number)
        history += [
            line("submit", "invoke", id_, number),
            line("submit", "ok", id_),
            line("result", "ok", id_, right),
        ]
        effects.append({"id": id_, "attempt": 1, "value": number})
        listing.append({"id": id_, "state": "DONE", "result": right})
    return history, effects, listing


def verdict_of(history: Any, effects: Any, listing: Any) -> checker.Verdict:
    """Judge with the campaign's own task."""
    return checker.check(history, effects, listing, checker.task)


def violations(verdict: checker.Verdict) -> dict[str, int]:
    """Kind -> how many, without those that are empty."""
    found = {name: len(getattr(verdict, name)) for name in checker.Verdict.VIOLATIONS}
    return {name: count for name, count in found.items() if count}


def test_a_clean_history_is_good():
    verdict = verdict_of(*clean())

    assert verdict.good
    assert (verdict.attempted, verdict.acknowledged, verdict.ok) == (3, 3, 3)
    assert (verdict.executions, verdict.executed_twice) == (3, 0)


def test_an_acknowledged_call_without_a_record_is_lost():
    history, effects, listing = clean()
    history = [h for h in history if not (h["id"] == "id2" and h["op"] == "result")]

    del effects[1], listing[1]
    verdict = verdict_of(history, effects, listing)

    assert violations(verdict) == {"lost": 1}


def test_an_answered_call_without_a_record_is_lost_too():
    """The client has its result, but the history forgot the call: the record is the promise."""
    history, effects, listing = clean()

    verdict = verdict_of(history, effects, listing[1:])

    assert violations(verdict) == {"lost": 1}


@pytest.mark.parametrize("state", ["WAITING", "DELAYED", "PARKED", "RUNNING", "HELD"])
def test_a_call_that_did_not_end_is_stuck(state: str):
    history, effects, listing = clean()
    history.pop()  # No result.
    listing[2] = {"id": "id3", "state": state, "result": None}

    assert violations(verdict_of(history, effects, listing)) == {"stuck": 1}


def test_two_records_of_one_call_are_recorded_twice():
    history, effects, listing = clean()

    assert violations(verdict_of(history, effects, [*listing, listing[0]])) == {"recorded_twice": 1}


def test_two_different_answers_are_recorded_twice():
    history, effects, listing = clean()
    history.append(line("result", "fail", "id1", "boom"))

    assert violations(verdict_of(history, effects, listing)) == {"recorded_twice": 1}


def test_the_same_answer_given_to_two_clients_is_no_violation():
    history, effects, listing = clean()
    history.append(line("result", "ok", "id1", checker.task(1)))

    assert verdict_of(history, effects, listing).good


def test_an_execution_repeated_is_allowed_and_counted():
    history, effects, listing = clean()
    verdict = verdict_of(history, [*effects, {"id": "id1", "attempt": 2, "value": 1}], listing)

    assert verdict.good
    assert verdict.executed_twice == 1


def test_a_record_nobody_asked_for_is_unexpected():
    history, effects, listing = clean()
    listing.append({"id": "ghost", "state": "DONE", "result": 1})
    effects.append({"id": "ghost", "attempt": 1, "value": 1})

    assert violations(verdict_of(history, effects, listing)) == {"unexpected": 1}


def test_an_execution_nobody_asked_for_is_unexpected():
    history, effects, listing = clean()
    effects.append({"id": "ghost", "attempt": 1, "value": 1})

    assert violations(verdict_of(history, effects, listing)) == {"unexpected": 1}


def test_a_refused_call_that_ran_is_unexpected():
    history, effects, listing = clean()
    history += [line("submit", "invoke", "id4", 4), line("submit", "fail", "id4", "queue_full")]
    effects.append({"id": "id4", "attempt": 1, "value": 4})

    assert violations(verdict_of(history, effects, listing)) == {"unexpected": 1}


def test_a_wrong_value_on_record_is_caught():
    history, effects, listing = clean()
    history.pop()
    listing[2] = {"id": "id3", "state": "DONE", "result": 7}

    assert violations(verdict_of(history, effects, listing)) == {"wrong_value": 1}


def test_a_wrong_value_given_to_a_client_is_caught():
    history, effects, listing = clean()
    history[2]["value"] = 7

    assert violations(verdict_of(history, effects, listing)) == {"wrong_value": 1}


def test_a_result_without_an_execution_never_ran():
    history, effects, listing = clean()

    assert violations(verdict_of(history, effects[1:], listing)) == {"never_ran": 1}


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_a_task_that_cannot_fail_and_failed_is_told(state: str):
    history, effects, listing = clean()
    history.pop()
    listing[2] = {"id": "id3", "state": state, "result": None}

    assert violations(verdict_of(history, effects, listing)) == {"failed": 1}


def test_what_nobody_knows_counts_for_neither_side():
    """A client was killed after it sent: the call may be there or not."""
    history, effects, listing = clean()
    history += [line("submit", "invoke", "id4", 4), line("submit", "invoke", "id5", 5)]
    history.append(line("submit", "info", "id5"))
    listing.append({"id": "id4", "state": "DONE", "result": checker.task(4)})
    effects.append({"id": "id4", "attempt": 1, "value": 4})

    verdict = verdict_of(history, effects, listing)

    assert verdict.good
    assert (verdict.unknown, verdict.recovered) == (2, 1)


def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path):
    path = tmp_path / "history.jsonl"
    first, second = (json.dumps(line("submit", "ok", name)).encode() for name in ("id1", "id2"))
    path.write_bytes(first + b'\n{"t": 1, "cli\n' + second + b'\n{"t": 1')

    assert [record["id"] for record in checker.read_lines(path)] == ["id1", "id2"]


def test_it_runs_on_a_folder_and_its_exit_status_is_the_verdict(tmp_path: Path):
    history, effects, listing = clean()
    for name, lines in (("history-a", history), ("effects", effects), ("listing", listing[1:])):
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)

    run = subprocess.run(
        [sys.executable, checker.__file__, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert run.returncode == 1
    assert "lost             1" in run.stdout
    assert run.stdout.rstrip().endswith("BROKEN")


# Flows.


def flow() -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """turn(3), turn of that, turn of that; a list of the two; fold of the list and 5."""
    plan = [["turn", [3], None], ["turn", [], 0], ["turn", [], 0],
            ["gather", [], [{"from": 1, "count": 2}]], ["fold", [5], 3]]  # fmt: skip
    ids = [f"step{number}" for number in range(len(plan))]
    first = checker.task(3)
    second = checker.task(first)
    values = [first, second, second, [second, second], (2 * second + 5) % 2147483648]
    history = [
        line("submit", "invoke", "flow", {"plan": plan, "ids": ids, "result": 4}),
        line("submit", "ok", "flow"),
        line("result", "ok", "flow", values[4]),
    ]
    effects = [{"id": ids[n], "attempt": 1, "value": 0} for n in (0, 1, 2, 4)]
    listing = [{"id": id_, "state": "DONE", "result": value}
               for id_, value in zip(ids, values, strict=True)]  # fmt: skip
    return history, effects, [*listing, {"id": "flow", "state": "DONE", "result": None}]


def test_a_flow_that_went_well_is_good():
    verdict = verdict_of(*flow())

    assert verdict.good, verdict.report()
    assert (verdict.flows, verdict.steps, verdict.acknowledged) == (1, 5, 1)


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda h, e, r: r.pop(1), {"half": 1}),
        (lambda h, e, r: r.pop(), {"half": 1, "lost": 1}),
        (lambda h, e, r: r.append(r[2]), {"recorded_twice": 1}),
        (lambda h, e, r: r[3].update(result=[1, 2]), {"wrong_value": 1}),
        (lambda h, e, r: h[2].update(value=7), {"wrong_value": 1}),
        (lambda h, e, r: r[4].update(state="GATHERING"), {"stuck": 1}),
        (lambda h, e, r: r[4].update(state="CANCELLED"), {"failed": 1}),
        (lambda h, e, r: e.pop(0), {"never_ran": 1}),
        (lambda h, e, r: r.append({"id": "step5", "state": "DONE", "result": 1}),
         {"unexpected": 1, "never_ran": 1}),
    ],
    ids=["step lost", "flow lost", "step twice", "step wrong", "answer wrong", "step stuck",
         "step cancelled", "step never ran", "one step more"],
)  # fmt: skip
def test_each_fault_of_a_flow_is_caught(fault: Any, found: dict[str, int]):
    history, effects, listing = flow()
    fault(history, effects, listing)

    verdict = verdict_of(history, effects, listing)

    assert not verdict.good
    assert violations(verdict) == found


def test_a_flow_that_nobody_acknowledged_may_be_missing_as_a_whole():
    history, _, _ = flow()

    assert verdict_of(history[:1], [], []).good
