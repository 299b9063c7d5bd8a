"""Flows over four nodes, three of which keep each: seen, ended and made again at any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshcode.errors import UnknownCall, WrongState
from tests.flowops.plans import plan_of, result_of, step, submit
from tests.live.harness import refusal, until
from tests.mesh.cluster import Cluster

TAKE_OVER_S = 60.0  # From a kill to a take-over on a busy machine.


def held(count: int, gate: Path, *, then: int = 0) -> dict:
    """So many steps that wait for a file, what is added to each, and their sum."""
    first = [step("t.ready", n, str(gate)) for n in range(count)]
    second = [step("t.add", then, feed=n) for n in range(count)]
    every = [{"from": count, "count": count}]
    return plan_of(*first, *second, step("t.add", feed=every))


def counts(four: Cluster, name: str, id: str) -> dict[str, int]:
    """How many steps are in which state, as this node finds it."""
    return four[name].ask("flow.get", id=id)["counts"]


def outside(four: Cluster, id: str) -> list[str]:
    """The nodes that do not keep the flow."""
    return sorted({*four.members} - {*four["n1"].ask("mesh.call", id=id)["voters"]})


def test_a_flow_is_seen_alike_from_every_node(four: Cluster, tmp_path: Path):
    gate = tmp_path / "gate"
    id = submit(four["n1"].address, held(20, gate, then=1))
    for name in four.members:
        until(lambda at=name: counts(four, at, id).get("GATHERING") == 21, 20, "they are there")
        flow = four[name].ask("flow.get", id=id, rows=True)
        assert (flow["state"], flow["total"], flow["silent"]) == ("RUNNING", 41, [])
        assert flow["rows"][40]["waits"][0] == [20, "GATHERING"]

    gate.touch()

    for name in four.members:
        assert result_of(four[name], id) == sum(range(20)) + 20
        # Its outcome may not be everywhere yet: whoever knows it tells.
        flow = four[name].ask("flow.get", id=id[:20], rows=True)
        assert (flow["state"], flow["counts"]) == ("DONE", {"DONE": 41})
        # Whoever owned a step knows when it began, and that is told to the others.
        assert all(row["node"] in four.members for row in flow["rows"][:40])
        assert all(row["worker"] and row["started_ms"] for row in flow["rows"][:40])


def test_a_flow_is_cancelled_from_a_node_that_has_none_of_it(four: Cluster, tmp_path: Path):
    id = submit(four["n2"].address, held(20, tmp_path / "never"))
    (other,) = outside(four, id)
    until(lambda: counts(four, other, id).get("RUNNING"), 20, "it runs")

    found = four[other].ask("flow.cancel", id=id, by="ann")

    assert found["cancelled"] + found["interrupted"] == 41
    assert (found["open"], found["kept"], found["ended"]) == (0, 0, 0)
    for name in four.members:
        flow = four[name].ask("flow.get", id=id)
        assert (flow["state"], flow["counts"]) == ("CANCELLED", {"CANCELLED": 41})
    assert isinstance(refusal(lambda: four["n1"].ask("call.cancel", id=id)), WrongState)


def test_a_flow_that_failed_is_made_again_at_another_node(four: Cluster, tmp_path: Path):
    file = tmp_path / "file"
    steps = [step("t.add", 1), step("t.fragile", str(file), feed=0), step("t.add", 5),
             step("t.add", feed=[1, 2])]  # fmt: skip
    id = submit(four["n1"].address, plan_of(*steps))
    with pytest.raises(ValueError, match="no file yet"):
        result_of(four["n1"], id)
    file.touch()

    (other,) = outside(four, id)

    again = four[other].ask("flow.retry", id=id, by="ann")

    assert (again["again"], again["kept"], again["was"]) == (2, 2, id)
    assert result_of(four["n2"], again["id"]) == 6
    done = four["n2"].ask("flow.get", id=again["id"], rows=True)
    assert [row["earlier"] for row in done["rows"]] == [True, False, True, False]
    assert done["counts"] == {"DONE": 4}


def test_flows_are_listed_alike_at_every_node(four: Cluster):
    ids = [submit(four[name].address, plan_of(step("t.add", 1), step("t.add", feed=0)))
           for name in four.members]  # fmt: skip
    for id in ids:
        assert result_of(four["n1"], id) == 1

    for name in four.members:
        answer = four[name].ask("flow.list", rows=len(ids))
        assert [row["id"] for row in answer["calls"]] == sorted(ids, reverse=True)
        assert all(row["counts"] == {"DONE": 2} for row in answer["calls"])
        assert answer["silent"] == []
        assert answer["more"]


def test_nobody_knows_it(four: Cluster):
    error = refusal(lambda: four["n1"].ask("flow.get", id="0192f3c1-0000-7000-8000-000000000000"))

    assert isinstance(error, UnknownCall)
    assert "nor does any of the 3 peers" in str(error)


def test_a_flow_goes_on_when_the_node_that_accepted_it_is_killed(four: Cluster, tmp_path: Path):
    """The last test: the machine does not come back."""
    gate = tmp_path / "gate"
    id = submit(four["n1"].address, held(30, gate, then=1))
    until(lambda: counts(four, "n2", id).get("RUNNING"), 20, "it runs")

    four.kill("n1")
    gate.touch()

    assert result_of(four["n2"], id, TAKE_OVER_S) == sum(range(30)) + 30
    for name in ("n2", "n3", "n4"):
        flow = four[name].ask("flow.get", id=id)
        assert (flow["state"], flow["counts"]) == ("DONE", {"DONE": 61})
        assert [row["name"] for row in flow["silent"]] == ["n1"]
