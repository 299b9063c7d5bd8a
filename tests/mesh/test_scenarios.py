"""Every plan can be carried out: its acts exist, its order makes sense, its network can do it."""

from __future__ import annotations

import inspect

import pytest

from tests.mesh import network
from tests.mesh.faults import Player
from tests.mesh.history import FOR_GOOD
from tests.mesh.network import LoopbackNetwork, NamespaceNetwork
from tests.mesh.scenarios import BY_NAME, SCENARIOS, Act, Scenario, names_of, plan_of

SEEDS = range(20)
SECONDS = 60.0
SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
PAIRED = {"block", "fair", "slow", "half_open", "refuse", "cut", "cut_after", "pull"}
NEEDS = {
    "block": network.BLOCK, "half_open": network.HALF, "refuse": network.REFUSED,
    "cut": network.CUT, "cut_after": network.CUT, "pull": network.CABLE, "slow": network.SPEED,
}  # fmt: skip


def test_there_are_enough_scenarios_and_each_has_a_name_of_its_own():
    assert len(SCENARIOS) >= 22
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(scenario.what.endswith(".") for scenario in SCENARIOS)


@SCENARIO
def test_a_plan_is_the_same_for_the_same_seed_and_lies_inside_the_time(scenario: Scenario):
    for seed in SEEDS:
        acts = plan_of(scenario, seed, SECONDS)
        assert acts == plan_of(scenario, seed, SECONDS)
        assert acts, seed
        assert acts[0].at_s > 0
        assert acts[-1].at_s <= SECONDS
    assert len({repr(plan_of(scenario, seed, SECONDS)) for seed in SEEDS}) > 1 or not any(
        "rng" in line for line in inspect.getsource(scenario.plan).splitlines()
    )


@SCENARIO
def test_every_act_can_be_done_by_a_network_that_fits(scenario: Scenario):
    known = set(names_of(scenario)[0]) | set(names_of(scenario)[1])
    for seed in SEEDS:
        for act in plan_of(scenario, seed, SECONDS):
            method = getattr(Player, act.do)
            assert ("pairs" in act.how) == (act.do in PAIRED), act
            wanted = set(inspect.signature(method).parameters) - {"self", "weather", "name"}
            given = set(act.how) - {"delay_ms", "jitter_ms", "bytes_per_s"}
            assert wanted == given, act
            assert set(act.nodes) <= known
            assert {name for pair in act.how.get("pairs", ()) for name in pair} <= known
            if act.do in NEEDS:
                assert NEEDS[act.do] in scenario.needs, act
    assert scenario.needs <= LoopbackNetwork.can or scenario.needs <= NamespaceNetwork.can


@SCENARIO
def test_acts_on_nodes_fit_what_the_node_is_at_that_moment(scenario: Scenario):
    """Nobody starts what runs, kills what is gone, freezes what is down."""
    for seed in SEEDS:
        state = dict.fromkeys(names_of(scenario)[0], "up")
        for act in plan_of(scenario, seed, SECONDS):
            for name in act.nodes:
                before, after = TURNS[act.do]
                assert state.get(name, "new") in before.split(), (seed, act, state)
                state[name] = after or state.get(name, "new")


TURNS = {
    "kill": ("up out", "down"),
    "kill_for_good": ("up", "gone"),
    "start": ("down", "up"),
    "freeze": ("up", "frozen"),
    "thaw": ("frozen", "up"),
    "restart": ("up", "up"),
    "drain": ("up", "down"),
    "kill_worker": ("up down", ""),
    "destroy": ("up", "gone"),
    "evict": ("up gone", "out"),
    "expect_shut_out": ("out", ""),
    "join": ("new", "up"),
    "copy_disk": ("down", ""),
    "restore_disk": ("down", "other"),
    "lose_disk": ("down", "other"),
    "return_shut_out": ("other", "gone"),
}


@SCENARIO
def test_a_majority_is_never_taken_away_for_good(scenario: Scenario):
    for seed in SEEDS:
        acts = plan_of(scenario, seed, SECONDS)
        gone = {name for act in acts if act.do in FOR_GOOD for name in act.nodes}
        assert len(gone) <= max(0, (scenario.nodes - 1) // 2)


def test_faults_of_every_kind_occur():
    done = {act.do for one in SCENARIOS for act in plan_of(one, 1, SECONDS)}

    assert done >= set(TURNS) | PAIRED - {"fair"}


def test_any_fault_of_everything_leaves_a_majority_up():
    scenario = BY_NAME["everything"]
    for seed in range(200):
        out: set[str] = set()
        for act in plan_of(scenario, seed, SECONDS):
            out |= set(act.nodes) if act.do in ("kill", "freeze") else set()
            out -= set(act.nodes) if act.do in ("start", "thaw") else set()
            assert len(out) <= 2, (seed, act)


def test_an_act_says_what_it_is():
    act = Act(1.0, "kill", ("n1",))

    assert (act.at_s, act.do, act.nodes, act.how) == (1.0, "kill", ("n1",), {})
