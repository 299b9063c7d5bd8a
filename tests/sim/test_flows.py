"""Flows in simulated worlds: they are made, all parts are reached, and custody is linear."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from meshcode.replica import custody
from meshcode.router.records import split_done
from meshcode.sim import mutants_flows
from meshcode.sim.flowbook import FlowBook, step_id
from meshcode.sim.mesh import mutants_flows as mesh_mutants
from meshcode.sim.mesh.run import run_seed as run_mesh
from meshcode.sim.mesh.run import run_seeds as run_meshes
from meshcode.sim.mesh.story import Story
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.plans import Author, DrawnPlan, from_words
from meshcode.sim.run import run_seed, run_seeds
from meshcode.sim.world import World

# Each is caught within a few seeds.
QUICK = (
    "steps-come-after-the-batch-of-their-flow",
    "results-are-fed-in-another-order",
    "retried-step-is-not-fed-again",
    "failure-does-not-spread",
)
QUICK_MESH = (
    "outcome-of-a-flow-is-agreed-to-without-its-steps",
    "outcome-that-a-voter-learns-wakes-nobody",
    "step-that-was-taken-over-is-fed-nothing",
)


def test_worlds_have_flows_of_every_kind_and_end():
    """A world that refuses every plan would pass every check."""
    seen: Counter[str] = Counter()
    for seed in range(80):
        world = World(seed)
        world.run()
        book, done = world.checker.flows, world.checker.durable.done
        for root, plan in book.plans.items():
            seen["spoiled"] += plan.wrong != ""
            seen["accepted"] += root in done
            seen["in another flow"] += book.groups[root] != root
            seen["stands for itself"] += any(step.done for step in plan.steps)
        for id, step in book.steps.items():
            if id in done:
                ran = split_done(done[id])["outcome"] in world.checker.facts[id].executed
                kind = "gathers" if not step.socket else "ran" if ran else "did not run"
                seen[f"{kind}, {done[id][1]}"] += 1

    assert min(seen[name] for name in ("spoiled", "accepted", "stands for itself")) > 5
    assert seen["in another flow"] > 0
    kinds = ("gathers, 1", "gathers, 2", "gathers, 3", "ran, 1", "ran, 2", "did not run, 2")
    assert all(seen[kind] for kind in kinds), seen


def test_meshes_have_flows():
    seen: Counter[str] = Counter()
    for seed in range(30):
        world = MeshWorld(seed)
        world.run()
        checker = world.checker
        for id in checker.flows.steps:
            seen.update(f"step {outcome[13]}" for outcome in checker.seen_of(id))
        seen["flows"] += sum(bool(checker.seen_of(root)) for root in checker.flows.plans)

    assert seen["flows"] > 20
    assert seen["step 1"] > 60
    assert seen["step 2"] and seen["step 3"]


def test_the_reference_gives_what_plain_python_gives():
    """The book is the judge of all flows: this much of it is written out by hand."""
    book, root = FlowBook(), bytes(range(16))
    book.add(root, from_words(["a:1", "b<0:2", "<[0,[1,[]]]"]), root)
    ids = [step_id(root, number) for number in range(3)]
    first, second = book.value(ids[0]), book.value(ids[1])

    assert book.value(root) == [first, [second, []]]
    assert book.needs(ids[2]) == (ids[0], ids[1])
    ranged = DrawnPlan(from_words(["a:1", "a:2", "a:3", "<0"]).steps, 3)
    ranged.steps[3].feed = [{"from": 0, "count": 2, "by": 2}]
    book.add(b"x" * 16, ranged, b"x" * 16)
    assert book.needs(step_id(b"x" * 16, 3)) == (step_id(b"x" * 16, 0), step_id(b"x" * 16, 2))
    again = book.retried(root, lambda one: one == ids[0])
    assert [step.done for step in again.steps] == [ids[0], None, None]


def test_plans_are_drawn_of_every_form():
    """Ranges, nested lists, empty ones, what is needed twice, and every way to spoil a plan."""
    rng = Random(1)
    plans = [
        Author(rng, ["a", "b"], [b"k" * 16], lambda: None, 12).plan(wrong_chance=0.3)
        for _ in range(400)
    ]
    feeds = [step.feed for plan in plans for step in plan.steps]
    lists = [feed for feed in feeds if isinstance(feed, list)]

    assert any(isinstance(one, dict) for feed in lists for one in feed)
    assert any(isinstance(one, list) for feed in lists for one in feed)
    assert any(isinstance(one, bytes) for feed in lists for one in feed)
    assert [] in lists
    assert len({plan.wrong for plan in plans}) == 9
    assert max(len(plan.steps) for plan in plans) > 12


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_rule_of_flows_is_caught(name):
    caught = [seed for seed, *_, failure in run_seeds(0, 100, mutant=name) if failure]

    assert caught
    assert run_seed(caught[0])[2] == "", "the rule is whole again"


@pytest.mark.parametrize("name", QUICK_MESH)
def test_a_broken_rule_of_flows_among_nodes_is_caught(name):
    caught = next((seed for seed, *_, text in run_meshes(0, 60, mutant=name) if text), None)

    assert caught is not None
    assert run_mesh(caught)[3] == "", "the rule is whole again"


def test_there_are_enough_mutants_of_flows():
    assert len(mutants_flows.BROKEN.plants) >= 15
    assert len(mesh_mutants.BROKEN.plants) >= 10


def test_custody_of_a_large_flow_looks_at_each_step_a_few_times(monkeypatch):
    """Its children are confirmed one by one: looking at all of them each time is quadratic."""
    looked = 0
    real = custody._fate

    def fate(*given):
        nonlocal looked
        looked += 1
        return real(*given)

    monkeypatch.setattr(custody, "_fate", fate)
    count = 200
    story = Story()
    story.do_mesh(["3"], {"workers": ""})
    story.do_flow(["n0", "f", *(f"s0:{number}" for number in range(count))], {"from": "ann"})
    story.settle()
    wire = story.world.wire
    for _ in range(12):
        flying, wire.flying = wire.flying, []
        for packet in flying:
            story.world.arrive(packet)
        story.settle()

    assert len(story.world.nodes[1].router.replica.by_id) >= count
    assert looked < 30 * count
