"""Streams in simulated worlds of one node: they are reached, and rules of them are missed."""

from __future__ import annotations

from collections import Counter

import pytest

from meshcode.router.records import split_done
from meshcode.sim import mutants_streams
from meshcode.sim.run import run_seed, run_seeds
from meshcode.sim.world import World

QUICK = (
    "item-is-over-when-its-own-call-is",
    "items-take-no-plugs",
    "end-of-a-stream-takes-its-plugs-too",
    "generator-that-waits-keeps-its-worker",
    "many-generators-of-a-socket-are-put-aside",
)


def test_worlds_have_generators_whose_items_cause_calls():
    """A world in which nobody yields would pass every check."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        world = World(seed)
        world.run()
        book, done = world.checker.streams, world.checker.durable.done
        for id, (call, _) in book.known.items():
            seen["items"] += id in done
            ended = id in done and call in done
            seen["of what ended badly"] += ended and split_done(done[call])["code"] > 1
        seen["caused"] += sum(id in done for id, item in book.of.items() if id != item)
        for id in done:
            seen["generators"] += book.is_generator(world.checker.facts[id].name)
            deaths = split_done(done[id])["attempts"] > 1
            seen["again"] += book.is_generator(world.checker.facts[id].name) and deaths

    assert seen["items"] > 200
    assert seen["caused"] > 200
    assert seen["generators"] > 40
    assert min(seen["again"], seen["of what ended badly"]) > 4


@pytest.mark.parametrize("seed", [663, 703, 987, 989, 1072])
def test_seeds_that_failed_once(seed):
    assert run_seed(seed)[2] == ""


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_rule_of_streams_is_caught(name):
    caught = next((seed for seed, *_, text in run_seeds(0, 40, mutant=name) if text), None)

    assert caught is not None
    assert run_seed(caught)[2] == "", "the rule is whole again"


def test_there_are_enough_mutants_of_streams():
    assert len(mutants_streams.BROKEN.plants) >= 12
