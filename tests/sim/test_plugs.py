"""Plugs, joins, gates and schedules in simulated worlds: they are reached, and rules are missed."""

from __future__ import annotations

from collections import Counter

import pytest

from meshcode.router.records import split_done
from meshcode.sim import mutants_plugs
from meshcode.sim.mesh import mutants_plugs as mesh_mutants
from meshcode.sim.mesh.run import run_seed as run_mesh
from meshcode.sim.mesh.run import run_seeds as run_meshes
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.plugbook import fits, ways
from meshcode.sim.run import run_seed, run_seeds
from meshcode.sim.world import World

QUICK = (
    "error-plug-is-taken-by-results-too",
    "argument-calls-its-socket-alone",
    "choice-of-a-router-is-ignored",
    "value-that-is-named-looks-at-the-next-collector",
)


def test_worlds_have_plugs_joins_gates_and_schedules():
    """A world in which nothing comes along a plug would pass every check."""
    seen: Counter[str] = Counter()
    for seed in range(120):
        world = World(seed)
        world.run()
        book, done = world.checker.plugs, world.checker.durable.done
        for id in book.made if book is not None else ():
            known = book.calls[id]
            seen["ticks"] += id in book.ticks and id in done
            if id in done:
                code = split_done(done[id])["code"]
                seen[f"{known.name if known.name[0] == '@' else 'call'} {code}"] += 1
                seen["joined"] += "named" in known.options and code == 1
                seen["gates asked"] += "edge" in known.options and code == 1
                seen["gates passed"] += "gate" in known.options and code == 1

    assert seen["call 1"] > 100
    assert seen["@join 1"] > 20
    assert seen["@collect 1"] > 10
    assert min(seen[name] for name in ("joined", "ticks", "gates asked", "gates passed")) > 3
    assert seen["@join 3"], "values are cancelled"


def test_meshes_have_plugs_and_joins():
    seen: Counter[str] = Counter()
    for seed in range(12):
        world = MeshWorld(seed)
        world.run()
        book = world.checker.plugs
        for id in book.made if book is not None else ():
            if id not in book.calls:
                continue  # Thought of in a turn that was never synced, at a node that crashed.
            name = book.calls[id].name
            seen[name if name[0] == "@" else "call"] += id in world.checker.recorded

    assert seen["call"] > 40
    assert seen["@join"] > 10
    assert seen["@collect"] > 5


def test_the_reference_of_wiring_is_what_the_model_says():
    """The judge of all plugs: this much of it is written out by hand."""
    snapshot = {
        "sockets": {"a": {}, "b": {}, "t": {"queue": "q", "topic": "a.#"}},
        "queues": {"q": {"type": "topic", "message_ttl_ms": 7}},
        "plugs": {
            "p": {"source": "a", "target": "b", "argument": "x"},
            "q": {"source": "a", "target": "b", "argument": "y"},
            "r": {"source": "a", "target": "b", "queue": "q"},
            "e": {"source": "a", "target": "b", "type": "ERROR"},
        },
        "gates": {"g": {"plug": "q", "mode": "closed"}, "h": {"plug": "q", "mode": "open"}},
    }
    found = {way.key: way for way in ways(snapshot, "a", error=False)}

    assert list(found) == [b"plug:p", b"plug:q", b"plug:r", b"plug:r:t"]
    assert found[b"plug:p"].places == ["x", "y"]
    assert found[b"plug:r"].places == []
    assert found[b"plug:q"].gate is not None
    assert found[b"plug:q"].gate["name"] == "g"
    assert found[b"plug:r:t"].ttl_ms == 7
    assert [way.plug for way in ways(snapshot, "a", error=True)] == ["e"]
    assert fits("a.#", "a")
    assert fits("*.b.#", "a.b.c.d")
    assert not fits("a.*", "a")


@pytest.mark.parametrize("seed", [0, 80, 312, 18101195])
def test_seeds_that_failed_once(seed):
    assert run_seed(seed)[2] == ""


@pytest.mark.parametrize(
    "seed", [0, 9, 34, 59, 98, 154, 298, 460, 1025, 1286, 6644, 10455, 10900, 13476, 18100116]
)
def test_meshes_that_failed_once(seed):
    assert run_mesh(seed)[3] == ""


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_rule_of_plugs_is_caught(name):
    caught = [seed for seed, *_, failure in run_seeds(0, 16, mutant=name) if failure]

    assert caught
    assert run_seed(caught[0])[2] == "", "the rule is whole again"


def test_a_broken_rule_of_plugs_among_nodes_is_caught():
    name = "outcome-is-agreed-to-without-what-it-causes"
    worlds = run_meshes(0, 20, mutant=name)
    caught = next((seed for seed, *_, text in worlds if text), None)

    assert caught is not None
    assert run_mesh(caught)[3] == "", "the rule is whole again"


def test_there_are_enough_mutants_of_plugs():
    assert len(mutants_plugs.BROKEN.plants) >= 15
    assert len(mesh_mutants.BROKEN.plants) >= 8
