"""Whole meshes from seeds: the rules hold, and each broken one is noticed."""

from __future__ import annotations

import pytest

from tests.membership.cluster import Cluster, main, run_seed, run_seeds
from tests.membership.mutants import MUTANTS, planted

# Each is caught within a few seeds; the whole list is `python -m tests.membership.cluster
# --mutants`.
QUICK_MUTANTS = (
    "accusations-are-not-refuted",
    "a-higher-boot-is-no-news",
    "the-newest-claim-wins",
    "an-evicted-member-is-only-dead",
    "a-suspicion-has-no-end",
    "meta-is-not-sent",
    "a-refuted-suspicion-still-ends",
    "a-new-boot-is-not-reported",
)


def test_three_hundred_worlds_are_good():
    """A smoke test; `--seeds 0:10000` is the net."""
    assert [(seed, failure) for seed, failure in run_seeds(0, 300) if failure] == []


def test_worlds_do_something():
    """A generator that draws empty worlds would pass every check."""
    worlds = [Cluster(seed) for seed in range(30)]
    for world in worlds:
        world.run()

    assert sum(host.boot > 1 for world in worlds for host in world.hosts.values()) > 10
    assert sum(len(world.checks.evicted) for world in worlds) > 20
    assert sum(len(world.checks.died_ms) for world in worlds) > 10
    assert sum(bool(world.checks.resumed_ms) for world in worlds) > 3


def test_a_seed_is_a_world():
    """A failure report is a seed and a commit."""

    def lived(seed: int) -> tuple[int, list[object]]:
        world = Cluster(seed)
        world.run()
        rows = [host.swim.table() for host in world.hosts.values() if host.swim is not None]
        return world.steps, [*rows]

    assert lived(7) == lived(7)


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_a_broken_rule_is_caught(name: str):
    with planted(name):
        caught = any(failure for _, failure in run_seeds(0, 40))

    assert caught
    assert run_seed(0) == "", "the rule is whole again"


def test_there_are_enough_mutants():
    assert len(MUTANTS) >= 12
    assert set(QUICK_MUTANTS) <= set(MUTANTS)


def test_the_command_tells_a_bad_seed(capsys):
    status = main(["--seeds", "0:2", "--mutant", "meta-is-not-sent"])

    assert status == 1
    assert "seed 0: Violation" in capsys.readouterr().out
