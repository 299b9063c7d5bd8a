"""The judge must catch each kind of lie, or a green campaign means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.campaign.checker import task
from tests.live.harness import ROOT
from tests.mesh.history import Verdict, check

NODES = ("n1", "n2", "n3")


class World:
    """Three calls that went well on three nodes; tests plant one lie each."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.effects: list[dict[str, Any]] = []
        self.listings: list[dict[str, Any]] = []
        self.faults: list[dict[str, Any]] = [{"t": 50.0, "do": "kill", "nodes": ["n1"]}]
        for number in (1, 2, 3):
            self.call(number)

    def call(self, number: int, level: str = "quorum", asked: str = "quorum") -> str:
        """A call from its submit to its end, known to all nodes."""
        id_ = f"id{number}"
        self.say("submit", "invoke", id_, number, level=asked)
        self.say("submit", "ok", id_, level=level, node="n1")
        self.say("result", "ok", id_, task(number), t=60.0 + number)
        self.effects.append({"id": id_, "attempt": 1, "node": "n1", "value": number, "unix_ms": 1})
        for node in NODES:
            self.list(id_, node, "DONE", task(number))
        return id_

    def say(self, op: str, kind: str, id_: str, value: Any = None, **fields: Any) -> None:
        """A line of a client."""
        line = {"t": 10.0, "client": "c", "op": op, "type": kind, "id": id_, "value": value}
        self.history.append({**line, **fields})

    def list(self, id_: str, node: str, state: str, result: Any = None, reason: str = "") -> None:
        """A line of a node."""
        self.listings.append(
            {"id": id_, "node": node, "state": state, "result": result, "reason": reason}
        )

    def forget(self, id_: str, *nodes: str) -> None:
        """These nodes say nothing of the call."""
        self.listings = [
            line for line in self.listings if line["id"] != id_ or line["node"] not in nodes
        ]

    def unanswer(self, id_: str) -> None:
        """No client was given the outcome."""
        self.history = [h for h in self.history if (h["id"], h["op"]) != (id_, "result")]

    def judge(self) -> Verdict:
        """The verdict."""
        return check(self.history, self.effects, self.listings, self.faults, task)


def violations(world: World) -> dict[str, int]:
    """Kind -> how many, without those that are empty."""
    verdict = world.judge()
    found = {name: len(getattr(verdict, name)) for name in Verdict.VIOLATIONS}
    assert verdict.good == (not any(found.values()))
    return {name: count for name, count in found.items() if count}


@pytest.fixture
def world() -> World:
    return World()


def test_a_clean_history_is_good(world: World):
    verdict = world.judge()

    assert violations(world) == {}
    assert (verdict.attempted, verdict.acknowledged, verdict.ended) == (3, {"quorum": 3}, 3)
    assert (verdict.executions, verdict.executed_twice, verdict.lagging) == (3, 0, 0)


def test_the_time_from_the_last_fault_to_the_last_outcome(world: World):
    assert world.judge().last_outcome_s == pytest.approx(13.0)

    world.faults.append({"t": 70.0, "do": "healed", "nodes": []})
    assert world.judge().last_outcome_s == 0.0


def test_acknowledged_and_known_to_no_node_is_lost(world: World):
    world.unanswer("id2")
    world.forget("id2", *NODES)

    assert violations(world) == {"lost": 1}


def test_an_outcome_was_given_out_and_no_node_knows_it(world: World):
    world.forget("id2", *NODES)

    assert violations(world) == {"lost": 1}


def test_an_outcome_without_an_acknowledgement_is_a_promise_too(world: World):
    world.history = [h for h in world.history if (h["id"], h["type"]) != ("id2", "ok")]
    world.say("result", "ok", "id2", task(2))
    world.forget("id2", *NODES)

    assert violations(world) == {"lost": 1}


def test_one_node_that_knows_it_is_enough(world: World):
    world.forget("id2", "n1", "n3")

    assert violations(world) == {}


@pytest.mark.parametrize("act", ["destroy", "evict", "kill_for_good", "lose_disk", "restore_disk"])
def test_local_work_of_a_node_taken_away_is_in_the_bargain(world: World, act: str):
    world.call(4, level="local")
    world.forget("id4", *NODES)
    assert violations(world) == {"lost": 1}

    world.faults.append({"t": 51.0, "do": act, "nodes": ["n1"]})

    assert violations(world) == {}
    assert world.judge().lost_local == 1


@pytest.mark.parametrize("level", ["quorum", "all"])
def test_a_higher_level_holds_when_its_node_is_taken_away(world: World, level: str):
    world.call(4, level=level)
    world.forget("id4", *NODES)
    world.faults.append({"t": 51.0, "do": "destroy", "nodes": ["n1"]})

    assert violations(world) == {"lost": 1}


def test_local_at_one_node_and_again_at_another_that_stands_is_a_promise(world: World):
    world.call(4, level="local")
    world.say("submit", "ok", "id4", level="local", node="n2")
    world.forget("id4", *NODES)
    world.faults.append({"t": 51.0, "do": "destroy", "nodes": ["n1"]})

    assert violations(world) == {"lost": 1}


@pytest.mark.parametrize("state", ["WAITING", "DELAYED", "RUNNING", "HELD", "ORPHAN"])
def test_open_everywhere_is_stuck(world: World, state: str):
    world.unanswer("id3")
    world.forget("id3", *NODES)
    world.list("id3", "n1", state, reason="no worker")
    world.list("id3", "n2", state)

    assert violations(world) == {"stuck": 1}
    assert world.judge().stuck == [f"id3: {state} at n1 (no worker), {state} at n2"]


def test_an_outcome_given_out_that_no_node_has_on_record_is_stuck(world: World):
    world.forget("id3", *NODES)
    world.list("id3", "n2", "WAITING")

    assert violations(world) == {"stuck": 1}


def test_open_at_one_node_and_ended_at_another_only_lags(world: World):
    world.forget("id3", "n2")
    world.list("id3", "n2", "WAITING")

    assert violations(world) == {}
    assert world.judge().lagging == 1


def test_two_nodes_with_two_outcomes(world: World):
    """The lie that replication must never tell: each side of a partition recorded its own."""
    world.forget("id1", "n3")
    world.list("id1", "n3", "FAILED")

    assert violations(world) == {"recorded_twice": 1, "failed": 1}


def test_two_nodes_with_two_values(world: World):
    world.forget("id1", "n3")
    world.list("id1", "n3", "DONE", 17)

    assert violations(world) == {"recorded_twice": 1, "wrong_value": 1}


def test_a_client_was_told_another_outcome_than_is_stored(world: World):
    world.unanswer("id1")
    world.say("result", "fail", "id1", {"code": "worker_died"})

    assert violations(world) == {"recorded_twice": 1}


def test_two_clients_were_told_two_errors(world: World):
    world.unanswer("id1")
    world.forget("id1", *NODES)
    world.list("id1", "n1", "FAILED")
    world.say("result", "fail", "id1", "one")
    assert violations(world) == {"failed": 1}  # A listing without the error agrees with any.

    world.say("result", "fail", "id1", "other")

    assert violations(world) == {"failed": 1, "recorded_twice": 1}


def test_two_records_at_one_node(world: World):
    world.list("id1", "n2", "DONE", task(1))

    assert violations(world) == {"recorded_twice": 1}


def test_a_record_that_moved_is_no_record_of_its_own(world: World):
    """MOVED closes one set of voters; the call goes on at another."""
    world.list("id1", "n2", "MOVED")

    assert violations(world) == {}


def test_the_same_outcome_told_twice_is_no_lie(world: World):
    world.say("result", "ok", "id1", task(1))

    assert violations(world) == {}


def test_an_execution_repeated_is_allowed_and_counted(world: World):
    world.effects.append({"id": "id1", "attempt": 1, "node": "n2", "value": 1, "unix_ms": 9})

    assert violations(world) == {}
    assert world.judge().executed_twice == 1


def test_wrong_values_by_a_client_and_by_a_node(world: World):
    world.unanswer("id1")
    world.say("result", "ok", "id1", 7)
    world.forget("id2", *NODES)
    world.list("id2", "n1", "DONE", 8)
    world.unanswer("id2")

    assert violations(world) == {"wrong_value": 2, "recorded_twice": 1}


def test_done_without_an_execution_never_ran(world: World):
    del world.effects[0]

    assert violations(world) == {"never_ran": 1}


def test_records_and_executions_that_nobody_asked_for(world: World):
    world.list("ghost", "n1", "DONE", 1)
    world.effects.append({"id": "ghost", "attempt": 1, "node": "n1", "value": 1, "unix_ms": 1})
    world.effects.append({"id": "shade", "attempt": 1, "node": "n1", "value": 1, "unix_ms": 1})

    assert violations(world) == {"unexpected": 2}


def test_a_refused_call_that_ran(world: World):
    world.say("submit", "invoke", "id4", 4)
    world.say("submit", "fail", "id4", "queue_full")
    assert violations(world) == {}

    world.effects.append({"id": "id4", "attempt": 1, "node": "n1", "value": 4, "unix_ms": 1})

    assert violations(world) == {"unexpected": 1}


def test_a_task_that_cannot_fail_and_failed_everywhere(world: World):
    world.unanswer("id3")
    world.forget("id3", *NODES)
    world.list("id3", "n1", "CANCELLED")
    world.list("id3", "n2", "CANCELLED")

    assert violations(world) == {"failed": 1}


def test_a_living_node_that_knows_nothing_of_an_ended_call(world: World):
    world.forget("id3", "n3")
    world.list("id3", "n3", "UNKNOWN")

    assert violations(world) == {"unreadable": 1}


def test_strict_was_asked_and_local_given(world: World):
    world.call(4, level="local", asked="strict")

    assert violations(world) == {"untrue_level": 1}


def test_what_nobody_knows_counts_for_neither_side(world: World):
    """A client gave up: its call may be there or not."""
    world.say("submit", "invoke", "id4", 4)
    world.say("submit", "invoke", "id5", 5)
    world.say("submit", "info", "id5")
    world.list("id4", "n1", "DONE", task(4))
    world.effects.append({"id": "id4", "attempt": 1, "node": "n1", "value": 4, "unix_ms": 1})

    assert violations(world) == {}
    verdict = world.judge()
    assert (verdict.unknown, verdict.recovered) == (2, 1)


def test_it_runs_on_a_folder_and_its_exit_status_is_the_verdict(world: World, tmp_path: Path):
    def run() -> subprocess.CompletedProcess[str]:
        (tmp_path / "effects").mkdir(exist_ok=True)
        for name, lines in (
            ("history-c", world.history), ("effects/n1", world.effects),
            ("listing-n1", world.listings), ("faults", world.faults),
        ):  # fmt: skip
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (tmp_path / f"{name}.jsonl").write_text(text + '{"id": "cut sh')
        return subprocess.run(
            [sys.executable, "-m", "tests.mesh.history", str(tmp_path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    good = run()
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.rstrip().endswith("verdict          good")

    world.forget("id2", *NODES)
    broken = run()
    assert broken.returncode == 1
    assert "lost             1" in broken.stdout
    assert broken.stdout.rstrip().endswith("BROKEN")


def test_the_verdict_as_plain_data(world: World):
    world.forget("id2", *NODES)

    row = json.loads(json.dumps(world.judge().row()))

    assert (row["lost"], row["stuck"], row["good"]) == (1, 0, False)
    assert row["acknowledged"] == {"quorum": 3}


# What a call causes: steps of a flow, calls along a chain of plugs.

PLAN = [["turn", [5], None], ["turn", [], 0], ["gather", [], [0, 1]], ["fold", [3], 2]]
STEPS = ["s0", "s1", "s2", "s3"]
LINKS = ["c1", "c2"]


def composed() -> World:
    """The three calls, a flow, and a chain, all of them well."""
    world = World()
    first = task(5)
    values = [first, task(first), [first, task(first)]]
    values.append((first + task(first) + 3) % 2147483648)
    add_composed(world, "flow", {"plan": PLAN, "ids": STEPS, "result": 3}, STEPS, values)
    add_composed(world, "c0", {"chain": LINKS, "first": 8}, LINKS, chained(8)[1:])
    return world


def chained(value: int) -> list[int]:
    """What the three calls of a chain give."""
    return [value := task(value) for _ in range(3)]


def add_composed(
    world: World, id_: str, value: Any, ids: list[str], values: list[Any]
) -> None:
    """A call that was sent, and what it causes."""
    own = "s3" if "plan" in value else task(value["first"])
    world.say("submit", "invoke", id_, value, level="quorum")
    world.say("submit", "ok", id_, level="quorum", node="n1")
    world.say("result", "ok", id_, own)
    for one, result in [(id_, own), *zip(ids, values, strict=True)]:
        if one not in ("flow", "s2"):
            world.effects.append({"id": one, "attempt": 1, "node": "n1", "value": 0, "unix_ms": 1})
        for node in NODES:
            world.list(one, node, "DONE", result)


def test_flows_and_chains_that_went_well_are_good():
    verdict = composed().judge()

    assert verdict.good, verdict.report()
    assert (verdict.attempted, verdict.parts) == (5, 6)


@pytest.mark.parametrize("id_", ["s0", "s2", "c2"])
def test_a_part_of_an_acknowledged_call_that_nobody_knows_is_lost(id_: str):
    world = composed()
    world.forget(id_, *NODES)

    assert [text.split(":")[0] for text in world.judge().lost] == [id_]


@pytest.mark.parametrize("id_", ["flow", "s1", "s3", "c1"])
def test_a_wrong_value_of_a_part_is_seen(id_: str):
    world = composed()
    world.forget(id_, "n2")
    world.list(id_, "n2", "DONE", 1)
    verdict = world.judge()

    assert [text.split(":")[0] for text in verdict.wrong_value] == [id_]
    assert [text.split(":")[0] for text in verdict.recorded_twice] == [id_]


def test_a_part_that_does_not_end_is_stuck():
    world = composed()
    world.forget("c2", *NODES)
    world.list("c2", "n1", "WAITING")

    assert [text.split(":")[0] for text in world.judge().stuck] == ["c2"]


def test_a_call_along_plugs_that_nobody_caused_is_unexpected():
    world = composed()
    world.list("c3", "n1", "DONE", 1)

    assert [text.split(":")[0] for text in world.judge().unexpected] == ["c3"]


def test_a_step_that_is_done_and_never_ran_is_seen():
    world = composed()
    world.effects = [line for line in world.effects if line["id"] != "s1"]

    assert [text.split(":")[0] for text in world.judge().never_ran] == ["s1"]
