"""The simulator itself: worlds are good, replay exactly, and broken rules are caught."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from meshcode.sim import mutants
from meshcode.sim.__main__ import main
from meshcode.sim.run import run_seed, run_seeds
from meshcode.sim.world import World

# Each is caught within a few seeds; the whole list is `python -m meshcode.sim --mutants`.
QUICK_MUTANTS = (
    "speak-before-the-sync",
    "ended-lookup-ignored",
    "recovery-forgets-state-records",
    "concurrency-ignored",
    "expiry-ignored-while-delayed",
    "giving-back-counts-an-attempt",
    "requeued-call-is-in-line-twice",
    "dead-letter-has-no-child",
)


def test_three_hundred_worlds_are_good():
    """A smoke test; `--seeds 0:10000` is the net."""
    failures = [(seed, failure) for seed, _, _, failure in run_seeds(0, 300) if failure]

    assert failures == []


def test_worlds_do_something():
    """A generator that draws empty worlds would pass every check."""
    worlds = [World(seed) for seed in range(60)]
    for world in worlds:
        world.run()

    done = [value for world in worlds for value in world.checker.durable.done.values()]
    codes = {value[1] for value in done}
    assert len(done) > 600
    assert codes == {1, 2, 3}
    assert sum(world.disk.boot > 1 for world in worlds) > 10


def test_a_seed_is_a_world_whatever_the_hash_seed():
    """Nothing depends on the order of a set or on an address: a failure is a seed and a commit."""
    code = (
        "from meshcode.sim.run import run_seeds\n"
        "print([(seed, steps, digest) for seed, steps, digest, _ in run_seeds(0, 60)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("1", "4242")
    ]

    assert told[0] == told[1]
    assert len(told[0]) > 600


def test_several_processes_give_the_same_worlds():
    """Results come in the order of the seeds."""
    alone = list(run_seeds(0, 60))
    together = list(run_seeds(0, 60, jobs=2))

    assert together == alone


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_a_broken_rule_is_caught(name):
    """Each mutant breaks one rule of the core; some world must notice."""
    caught = any(failure for *_, failure in run_seeds(0, 150, mutant=name))

    assert caught
    assert run_seed(0)[2] == "", "the rule is whole again"


def test_there_are_enough_mutants():
    """Few rules of the core can be dropped without a mutant that stands for them."""
    assert len(mutants.MUTANTS) >= 30
    assert set(QUICK_MUTANTS) <= set(mutants.MUTANTS)


def test_the_command_tells_a_seed_and_how_to_replay_it(capsys):
    """What a person does with a failure."""
    status = main(["--seeds", "0:30", "--mutant", "speak-before-the-sync"])
    told = capsys.readouterr().out

    assert status == 1
    assert re.search(r"seed \d+: Violation: I1 acknowledged: but not on disk", told)
    assert "replay one with: python -m meshcode.sim --trace SEED" in told


def test_a_trace_tells_the_world(capsys):
    """`--trace SEED` prints the options and everything that happened."""
    status = main(["--trace", "1"])
    told = capsys.readouterr().out

    assert status == 0
    assert "node: boot 1" in told
    assert "seed 1: good" in told


def test_no_mutant_is_caught_because_it_has_another_signature():
    """A function that got one more argument would break its mutant, not its rule."""
    wrong = {}
    for name in mutants.MUTANTS:
        failure = next((failure for *_, failure in run_seeds(0, 6, mutant=name) if failure), "")
        if failure.startswith(("TypeError", "NameError", "AttributeError")):
            wrong[name] = failure

    assert wrong == {}
