"""The simulator of meshes: worlds are good, replay exactly, and broken rules are caught."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from meshcode.replica.core import Replica
from meshcode.sim.mesh.__main__ import main
from meshcode.sim.mesh.mutants import MUTANTS, planted
from meshcode.sim.mesh.run import run_seed, run_seeds
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.planting import swapped

# Each is caught within a few seeds; the whole list is `python -m meshcode.sim.mesh --mutants`.
QUICK_MUTANTS = (
    "peers-are-told-before-the-sync",
    "claimer-waits-for-nobody",
    "forgotten-after-one-phase",
    "given-back-call-is-forgotten",
)


def test_a_hundred_and_fifty_meshes_are_good():
    """A smoke test; `--seeds 0:100000` is the net."""
    failures = [(seed, text) for seed, *_, text in run_seeds(0, 150) if text]

    assert failures == []


def test_meshes_do_something():
    """A generator that draws empty worlds would pass every check."""
    totals: dict[str, int] = {}
    worlds = [MeshWorld(seed) for seed in range(40)]
    for world in worlds:
        world.run()
        for name, count in world.checker.counts.items():
            totals[name] = totals.get(name, 0) + count

    assert totals["executed"] > 200
    assert totals["taken_over"] > 20
    assert totals["forgotten"] > 300
    assert sum(len(world.checker.acked) for world in worlds) > 200
    assert {len(world.nodes) for world in worlds} >= {1, 2, 3, 4, 5}


def test_a_seed_is_a_mesh_whatever_the_hash_seed():
    """Nothing depends on the order of a set or on an address: a failure is a seed and a commit."""
    code = (
        "from meshcode.sim.mesh.run import run_seeds\n"
        "print([result[:3] for result in run_seeds(0, 40)])"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
        for hash_seed in ("1", "4242")
    ]

    assert told[0] == told[1]
    assert len(told[0]) > 400


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_a_broken_rule_is_caught(name):
    """Each mutant breaks one rule of agreement; some world must notice."""
    caught = [seed for seed, *_, text in run_seeds(0, 60, mutant=name) if text]

    assert caught
    assert run_seed(caught[0])[3] == "", "the rule is whole again"


def test_there_are_enough_mutants():
    """Few rules of agreement can be dropped without a mutant that stands for them."""
    assert len(MUTANTS) >= 50
    assert set(QUICK_MUTANTS) <= set(MUTANTS)


def test_every_mutant_can_be_planted_and_is_taken_out_again():
    """A name that moved in the code would leave a mutant that breaks nothing."""
    for name, plants in MUTANTS.items():
        real = [getattr(o, n) if not isinstance(o, dict) else o[n] for o, n, _ in plants]
        with planted(name):
            pass
        now = [getattr(o, n) if not isinstance(o, dict) else o[n] for o, n, _ in plants]
        assert now == real, name


def test_a_rule_is_put_back_after_an_error():
    """A world that fails leaves the code whole for the next one."""
    real = Replica.needed

    with pytest.raises(ZeroDivisionError), swapped(Replica, "needed", lambda _: None):
        raise ZeroDivisionError

    assert Replica.needed is real


def test_the_command_tells_a_seed_and_what_went_wrong(capsys):
    """What a person does with a failure."""
    status = main(["--seeds", "0:20", "--mutant", "claimer-waits-for-nobody"])
    told = capsys.readouterr().out

    assert status == 1
    assert "Violation: I3 dispatch" in told
    assert "replay one with: python -m meshcode.sim.mesh --trace SEED" in told


def test_a_trace_tells_the_mesh(capsys):
    """`--trace SEED` prints everything that happened and the options."""
    status = main(["--trace", "1"])
    told = capsys.readouterr().out

    assert status == 0
    assert "n0: boot 1" in told
    assert "all is well" in told
