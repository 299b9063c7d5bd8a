"""Streams in simulated meshes: they are reached, and seeds that have failed stay mended."""

from __future__ import annotations

from collections import Counter

import pytest

from meshcode.ids import child_id
from meshcode.sim.mesh.mutants import planted
from meshcode.sim.mesh.streams import FROM_SEED
from meshcode.sim.mesh.world import MeshWorld
from meshcode.sim.streaming import count_of
from meshcode.sim.violation import Violation
from meshcode.wire.kinds import Outcome


def test_meshes_have_generators_that_peers_run_and_new_owners_begin_again():
    """A mesh in which nobody yields would pass every check."""
    seen: Counter[str] = Counter()
    worlds = [MeshWorld(seed) for seed in range(FROM_SEED, FROM_SEED + 60)]
    for world in [one for one in worlds if one.options.generators][:12]:
        world.run()
        c = world.checker
        seen["worlds"] += 1
        seen["generators"] += len(c.streams.calls & c.recorded.keys())
        seen["items"] += len(c.streams.known.keys() & c.recorded.keys())
        seen["caused"] += len(c.streams.of.keys() - c.streams.known.keys())
        seen["taken over"] += sum(id in c.take_overs for id in c.streams.calls)
        seen["run twice"] += sum(c.runs.get(id, 0) > 1 for id in c.streams.calls)

    assert seen["worlds"] == 12
    assert seen["generators"] > 20
    assert seen["items"] > 100
    assert seen["caused"] > 100
    assert seen["taken over"] > 2
    assert seen["run twice"] > 2


def test_worlds_from_before_streams_have_none():
    assert not any(MeshWorld(seed).options.generators for seed in range(60))


@pytest.mark.parametrize(
    ("seed", "mutant"),
    [
        (1000013, "calls-behind-a-generator-keep-peers-from-a-free-worker"),
        (1000012, "item-of-an-earlier-attempt-is-made-again-by-an-owner"),
        (1000115, "end-that-is-told-twice-forgets-what-a-stream-comes-from"),
    ],
)
def test_a_seed_that_found_a_fault_passes_and_fails_with_the_fault(seed: int, mutant: str):
    MeshWorld(seed).run()
    with planted(mutant), pytest.raises(Violation, match=r"I2|I4|I5|I9|plug"):
        MeshWorld(seed).run()


def test_a_person_gives_an_item_one_home_more_and_nobody_another():
    """Its generator had ended, two of three who kept the item burned before it had."""
    world = MeshWorld(1015176)
    world.run()
    c = world.checker
    again = c.streams.known.keys() & c.recovered.keys()

    assert again, "of this world a person recovers items"
    for id in again:
        assert len(c.roots[id]) == 2
        assert id in c.recorded
        assert id not in c.runs, "nobody runs an item"
    own = next(
        child_id(call, b"item/%d" % 0)
        for call in sorted(c.streams.calls & c.recorded.keys())
        if c.recorded[call][13] == Outcome.DONE and count_of(c.streams.options, call)
    )
    c.roots[own].add(b"of a person")
    c.recovered[own] = 1
    c.streams.finish()
    c.roots[own].add(b"a third home")
    with pytest.raises(Violation, match="is kept under several homes: 3"):
        c.streams.finish()
