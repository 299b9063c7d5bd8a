"""Broadcasts in the simulators: worlds that have them pass, and a rule that is broken is seen."""

from __future__ import annotations

from collections import Counter

import pytest

from meshcode.router import events
from meshcode.router.records import split_done
from meshcode.sim import mutants, mutants_casts
from meshcode.sim.castbook import Places
from meshcode.sim.flowbook import body_of
from meshcode.sim.mesh import mutants as all_mesh_mutants
from meshcode.sim.mesh import mutants_casts as mesh_mutants
from meshcode.sim.mesh.run import run_seed as run_mesh
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.run import run_seed
from meshcode.sim.world import World
from meshcode.wire.codec import unpack


def worlds_with_broadcasts(count: int) -> list[int]:
    return [seed for seed in range(count) if World(seed).crew]


def meshes_with_broadcasts(count: int) -> list[int]:
    return [seed for seed in range(count) if MeshWorld(seed).options.crew is not None]


def test_worlds_of_one_node_have_every_way_in_which_a_copy_ends():
    ways: Counter[str] = Counter()
    for seed in worlds_with_broadcasts(60):
        world = World(seed)
        world.run()
        for cast in world.checker.casts.casts.values():
            for id in cast.copies:
                done = world.checker.durable.done.get(id)
                ways["open" if done is None else _way(split_done(done)["outcome"])] += 1

    assert ways["value"] > 20 and {"remote", "seat_gone", "cancelled"} <= ways.keys(), ways


def _way(outcome: bytes) -> str:
    return "value" if outcome[13] == 1 else str(unpack(body_of(outcome))["code"])


def test_meshes_reach_many_nodes_and_lose_some():
    ways: Counter[str] = Counter()
    nodes: set[int] = set()
    for seed in meshes_with_broadcasts(50):
        world = MeshWorld(seed)
        world.run()
        book = world.checker.casts
        for id, seat in book.copies.items():
            nodes.add(seat.node)
            if id in world.checker.recorded:
                ways[_way(world.checker.recorded[id])] += 1

    assert ways["value"] > 50 and ways["seat_gone"] and len(nodes) > 3, ways


# Failed once: copies were staged behind a call that was stuck; the last was a false alarm.
@pytest.mark.parametrize("seed", [1245, 1257, 1300, 1704, 1745, 1924, 3401])
def test_worlds_that_failed_once(seed):
    assert run_seed(seed)[2] == ""


@pytest.mark.parametrize("name", mutants_casts.BROKEN.plants)
def test_a_broken_rule_of_broadcasts_is_caught(name):
    caught = None
    with mutants.planted(name):
        for seed in worlds_with_broadcasts(120):
            if run_seed(seed)[2]:
                caught = seed
                break

    assert caught is not None
    assert run_seed(caught)[2] == "", "the rule is whole again"


@pytest.mark.parametrize("name", mesh_mutants.BROKEN.plants)
def test_a_broken_rule_of_broadcasts_among_nodes_is_caught(name):
    caught = None
    with all_mesh_mutants.planted(name):
        for seed in meshes_with_broadcasts(240):
            if run_mesh(seed)[3]:
                caught = seed
                break

    assert caught is not None
    assert run_mesh(caught)[3] == "", "the rule is whole again"


def test_the_checker_seats_workers_as_the_rule_says():
    """Who sits stays; a free place goes to the oldest that stands; fewer places, fewer seats."""
    places = Places()
    places.told(events.CrewChanged({"p": 2}))
    for worker in (1, 2, 3):
        places.told(events.WorkerJoined(worker, "p"))
    assert places.sits == {("p", 0): 1, ("p", 1): 2}

    places.told(events.WorkerLeaving(1))
    assert places.sits == {("p", 1): 2, ("p", 0): 3}

    places.told(events.CrewChanged({"p": 1}))
    assert places.sits == {("p", 0): 3}
