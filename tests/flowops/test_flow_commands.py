"""`mesh flow`, `mesh doctor flow`, and the operations behind them, on one node."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import connect
from meshcode.errors import BadRequest, MeshError, UnknownCall, WrongState
from meshcode.ids import make_id, parse_id, text_of
from meshcode.wire.codec import pack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind
from tests.flowops.plans import plan_of, result_of, step, submit
from tests.live.harness import Mesh, refusal, until

LARGE = 10_000


def items(node: Mesh, *words: str, status: int = 0) -> list[dict[str, Any]]:
    run = node.mesh(*words, "-o", "json")
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    return list(json.loads(run.stdout)["items"])


def waiting(node: Mesh, gate: Path) -> str:
    """A flow of three steps, of which the first two wait for a file; its id."""
    plan = plan_of(step("t.ready", 1, str(gate)), step("t.ready", 2, str(gate)),
                   step("t.add", feed=[0, 1]))  # fmt: skip
    id = submit(node.address, plan)
    until(lambda: node.ask("flow.get", id=id)["counts"].get("RUNNING") == 2, 20, "it runs")
    return id


def test_the_steps_of_a_flow_are_shown_while_it_runs_and_after(node: Mesh, tmp_path: Path):
    gate = tmp_path / "gate"
    id = waiting(node, gate)

    rows = items(node, "flow", "show", id[:18])
    assert [(row["socket"], row["state"], row["needs"]) for row in rows] == [
        ("t.ready", "RUNNING", ""), ("t.ready", "RUNNING", ""), ("t.add", "GATHERING", "0-1"),
    ]  # fmt: skip
    assert rows[2]["waits"] == [[0, "RUNNING"], [1, "RUNNING"]]
    late = node.mesh("flow", "wait", id, "--timeout", "50ms")
    assert (late.returncode, "mesh doctor flow" in late.stderr) == (124, True)
    text = node.mesh("doctor", "flow", id)
    assert text.returncode == 0
    assert "nothing holds it up" in text.stdout

    gate.touch()

    assert node.mesh("flow", "wait", id).stdout == f"flow {id} DONE\n"
    shown = node.mesh("flow", "show", id)
    assert f"flow {id} DONE: 3 DONE" in shown.stdout
    assert items(node, "flow", "show", id, "-u") == []
    (line,) = [row for row in items(node, "flow", "ls", "-r", "100") if row["id"] == id]
    assert (line["state"], line["steps"], line["done"], line["open"]) == ("DONE", 3, 3, 0)
    assert line["finished_ms"] >= line["accepted_ms"]


def test_the_call_of_a_flow_says_where_its_result_is(node: Mesh):
    id = submit(node.address, plan_of(step("t.add", 1), step("t.add", 2, feed=0)))
    result_of(node, id)

    found = node.ask("call.get", id=id, result=True)

    assert (found["result"], found["flow_state"]) == (3, "DONE")
    assert found["flow_result"] == node.ask("flow.get", id=id)["result"]


def within(node: Mesh, flow: str, parent: str, socket: str, *args: Any) -> bytes:
    """A call as a task of a flow makes it; its id."""
    id, link = make_id(), node.link()
    link.send([envelope(Kind.SUBMIT, id=id, flow=parse_id(flow), parent=parse_id(parent),
                        name=socket.encode(), body=pack_call(args), argc=len(args))])  # fmt: skip
    until(lambda: any(row.kind == Kind.ACCEPTED for row, _ in link.receive(0.1)), 10, "accepted")
    link.close()
    return id


@pytest.mark.parametrize("command", [("flow", "cancel"), ("call", "cancel")], ids=" ".join)
def test_a_flow_is_cancelled_with_what_tasks_made_of_it(node: Mesh, tmp_path: Path, command: Any):
    id = waiting(node, tmp_path / "never")
    child = within(node, id, id, "t.nowhere", 1)
    assert "call" in {row["name"] for row in items(node, "doctor", "flow", id, status=1)}

    run = node.mesh(*command, id)

    assert "2 calls cancelled, 2 interrupted, 0 steps had ended" in run.stdout, run.stderr
    assert node.ask("call.get", id=child)["state"] == "CANCELLED"
    assert node.ask("flow.get", id=id)["counts"] == {"CANCELLED": 3}
    again = node.mesh(*command, id)
    assert again.returncode == WrongState.exit_status
    assert "all 3 steps of flow" in again.stderr
    assert node.mesh("flow", "wait", id).returncode != 0


def test_steps_that_end_while_a_flow_is_cancelled_do_not_count_as_cancelled(
    node: Mesh, tmp_path: Path
):
    count = 20_000
    held = step("t.ready", 1, str(tmp_path / "never"))  # So it has not ended before.
    id = submit(node.address, plan_of(held, *(step("t.add", n) for n in range(1, count))))

    told = node.ask("flow.cancel", id=id)

    found = node.ask("flow.get", id=id)["counts"]
    assert told["cancelled"] <= found["CANCELLED"] + 1, (told, found)  # And the flow's own call.
    each = told["cancelled"] + told["interrupted"] + told["ended"] + told["open"]
    assert count <= each <= count + 1, told  # Each step once, and perhaps that call.


def test_a_flow_within_a_flow_is_cancelled_alone(node: Mesh, tmp_path: Path):
    outer = waiting(node, tmp_path / "never")
    plan = plan_of(step("t.nowhere", 1), step("t.add", 2, feed=0))
    inner = text_of(within(node, outer, outer, "@flow", plan))
    until(lambda: node.ask("flow.get", id=inner)["counts"].get("PARKED"), 20, "it is there")
    child = within(node, outer, node.ask("flow.get", id=inner)["steps"][0][0], "t.nowhere", 1)

    found = node.ask("flow.cancel", id=inner)

    assert (found["cancelled"], found["interrupted"], found["open"]) == (3, 0, 0)
    assert node.ask("call.get", id=child)["state"] == "CANCELLED"
    assert node.ask("flow.get", id=outer)["state"] == "RUNNING"
    assert node.ask("flow.cancel", id=outer)["interrupted"] == 2


def test_a_flow_is_made_again_from_what_failed(node: Mesh, tmp_path: Path):
    file = tmp_path / "file"
    id = submit(node.address, plan_of(
        step("t.add", 1), step("t.fragile", str(file), feed=0), step("t.add", 2),
        step("t.add", feed=[1, 2]),
    ))  # fmt: skip
    with pytest.raises(ValueError, match="no file yet"):
        result_of(node, id)
    assert "mesh flow retry" in node.mesh("doctor", "flow", id).stdout
    file.touch()

    run = node.mesh("flow", "retry", id)

    assert "2 steps again, 2 kept" in run.stdout, run.stderr
    again = run.stdout.split()[1]
    assert result_of(node, again) == 3
    rows = items(node, "flow", "show", again)
    assert [row["socket"] for row in rows] == ["(earlier run)", "t.fragile", "(earlier run)",
                                               "t.add"]  # fmt: skip
    assert node.ask("call.get", id=again)["parent"] == id
    done = node.mesh("call", "retry", again)
    assert (done.returncode, "ended DONE" in done.stderr) == (WrongState.exit_status, True)
    earlier = node.mesh("flow", "retry", again, "--from", "0")
    assert (earlier.returncode, "earlier flow" in earlier.stderr) == (WrongState.exit_status, True)
    third = node.ask("flow.retry", **{"id": id, "from": 0})
    assert (third["again"], third["kept"]) == (3, 1)
    assert result_of(node, third["id"]) == 3
    assert isinstance(refusal(lambda: node.ask("flow.retry", **{"id": id, "from": 4})), BadRequest)


def test_a_wide_flow_is_made_again_by_command_and_by_library(node: Mesh, tmp_path: Path):
    """With the ids of all that is done in its options, what gathers them could not be made."""
    count, file = 1_500, tmp_path / "file"
    branches = [step("t.add", n) for n in range(count)]
    fragile = step("t.fragile", 0, str(file))
    total = step("t.add", feed=[{"from": 0, "count": count + 1}])
    id = submit(node.address, plan_of(*branches, fragile, total))
    with pytest.raises(ValueError, match="no file yet"):
        result_of(node, id)
    with connect(node.address) as client:
        still = client.flow(id).retry()
        with pytest.raises(ValueError, match="no file yet"):
            still.get(timeout=30)
        file.touch()

        run = node.mesh("flow", "retry", id)
        third = client.flow(still.id).retry()

        assert f"2 steps again, {count} kept" in run.stdout, run.stderr
        assert result_of(node, run.stdout.split()[1]) == sum(range(count))
        assert third.get(timeout=30) == sum(range(count))
    assert node.mesh("flow", "show", third.id).returncode == 0


def test_a_flow_that_runs_is_not_made_again(node: Mesh, tmp_path: Path):
    id = waiting(node, tmp_path / "gate")

    error = refusal(lambda: node.ask("flow.retry", id=id))

    assert isinstance(error, WrongState)
    assert "3 of 3 steps are open" in str(error)
    node.ask("flow.cancel", id=id)


def test_the_doctor_names_what_cannot_begin(node: Mesh):
    id = submit(node.address, plan_of(step("t.add", 1), step("t.nowhere", feed=0)))
    until(lambda: node.ask("flow.get", id=id)["counts"].get("PARKED"), 20, "it is parked")

    rows = items(node, "doctor", "flow", id, status=1)

    assert [(row["name"], row["state"]) for row in rows] == [("flow", "OK"), ("step 1", "WARN")]
    assert "t.nowhere" in rows[1]["detail"]
    node.ask("flow.cancel", id=id)


def test_a_value_that_waits_at_a_join_is_named_and_cancelled(node: Mesh):
    id = submit(node.address, plan_of(step("t.left", 1), step("t.add", 2, feed=0)))
    assert result_of(node, id) == 3

    rows = items(node, "doctor", "flow", id, status=1)

    assert [row["name"] for row in rows if row["state"] == "WARN"] == ["call"]
    assert "waits with 'left' for all of" in rows[-1]["detail"]
    run = node.mesh("flow", "cancel", id)
    assert "cancelled, 0 interrupted, 2 steps had ended" in run.stdout, run.stderr
    both = submit(node.address, plan_of(step("t.left", 1), step("t.right", 2)))
    until(lambda: any(row["socket"] == "t.pair" and row["state"] == "DONE"
                      for row in node.ask("mesh.flow", flow=both)["calls"]), 20, "it is joined")
    assert node.ask("flow.get", id=both, rows=True, beside=True)["beside"] == []


def test_a_plain_call_is_a_flow_of_one_step_that_only_a_call_can_make_again(node: Mesh):
    with_socket = submit(node.address, plan_of(step("t.add", 1)))
    step_id = node.ask("flow.get", id=with_socket)["steps"][0][0]

    found = node.ask("flow.get", id=step_id, rows=True)
    assert found["total"] == 1 and found["steps"][0][1] == "t.add"
    assert (found["rows"][0]["socket"], found["rows"][0]["earlier"]) == ("t.add", False)
    error = refusal(lambda: node.ask("flow.retry", id=step_id))
    assert isinstance(error, BadRequest)
    assert "of socket t.add was not submitted as a flow; nothing was changed" in str(error)


def test_what_nobody_knows_is_no_flow(node: Mesh):
    for operation in ("flow.get", "flow.cancel", "flow.retry"):
        unknown = refusal(lambda name=operation: node.ask(name, id=text_of(make_id())))
        assert isinstance(unknown, UnknownCall)


@pytest.mark.parametrize(
    "fields",
    [
        {"id": b"short"}, {"count": -1}, {"count": 1 << 20}, {"count": True}, {"others": {}},
        {"others": [[1, b"x" * 16]]}, {"others": [[0, b"x"]]}, {"others": [[0]]},
        {"numbers": [7]}, {"numbers": "all"}, {"numbers": [0] * 2_000},
    ],
    ids=lambda fields: str(fields)[:30],
)  # fmt: skip
def test_a_bad_question_of_a_peer_is_refused(node: Mesh, fields: dict[str, Any]):
    asked = {"id": make_id(), "count": 1, "others": [], "root": bytes(16)} | fields

    for name in ("flow.share", "flow.stop"):
        if name == "flow.stop" and "numbers" in fields:
            continue
        error: MeshError = refusal(lambda op=name: node.ask(op, **asked))
        assert isinstance(error, BadRequest)


def test_ten_thousand_steps_are_counted_within_a_second_and_survive_a_kill(node: Mesh):
    steps = [step("t.add", n) for n in range(LARGE)]
    id = submit(node.address, plan_of(*steps, step("t.add", feed=[{"from": 0, "count": LARGE}])))
    node.kill()
    node.start()
    took = []
    for _ in range(3):  # Under load: its steps run meanwhile.
        begin = time.monotonic()
        flow = node.ask("flow.get", id=id)
        took.append(time.monotonic() - begin)

    assert min(took) < 1.0, took
    assert len(flow["steps"]) == 1_000
    assert sum(flow["counts"].values()) == flow["total"] == LARGE + 1
    assert result_of(node, id) == sum(range(LARGE))
    whole = node.ask("flow.get", id=id, **{"from": LARGE, "limit": 5})
    assert whole["steps"][0][3] == list(range(LARGE))
    assert whole["counts"] == {"DONE": LARGE + 1}
