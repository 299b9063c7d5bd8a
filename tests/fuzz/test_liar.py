"""A member that sends anything: what is of a wrong shape is left out, and the core never fails."""

from __future__ import annotations

import traceback
from collections import Counter
from random import Random
from typing import Any

import pytest

from meshcode import native
from meshcode.router import events, heard, heardmany
from meshcode.sim.mesh.world import MeshWorld
from meshcode.wire.kinds import Kind
from tests.fuzz.liar import Liar, copy_of, lies, listened, plain, tell

SEEDS = range(60, 84)
LIES = 60  # To each core that was copied.
COMPARED = 20_000
EVERY = 400  # Entries until the next is.


def test_all_that_nodes_say_is_let_through(monkeypatch):
    """One by one and together, as it comes."""
    seen: Counter[int] = Counter()

    def each(world: MeshWorld, sender: int, kind: int, entry: list[Any]) -> None:
        seen[kind] += 1
        one = plain(entry)
        assert heard.good_of(kind, [one]) == [one], (world.seed, Kind(kind).name, entry)
        many = [plain(entry) for _ in range(8)]
        assert heard.good_of(kind, many) is many

    listened(monkeypatch, each)
    for seed in SEEDS:
        MeshWorld(seed).run()

    lacking = {Kind(kind).name for kind in heard.SHAPES.keys() - seen.keys()}
    # Streams have worlds of their own (tests/router/several.py looks at their items).
    rare = {"CHILD", "CHILD_SAYS", "INTERRUPT", "OVERTAKEN", "NEED", "PREPARE"}
    assert lacking <= rare | {"ITEMS", "CREDIT"}


def test_no_lie_ends_a_core_that_is_at_work(monkeypatch):
    """Whatever is let through; and time goes on for the core that was lied to."""
    told: Counter[bool] = Counter()
    failed: dict[str, str] = {}
    count = 0
    liar = Liar(1)

    def each(world: MeshWorld, sender: int, kind: int, entry: list[Any]) -> None:
        nonlocal count
        liar.said.append((world.nodes[sender].id, kind, entry))
        count += 1
        if count % EVERY:
            return
        node = Random(count).choice([one for one in world.nodes if one.up])
        router, now_ms = copy_of(node), node.now_ms
        said = []
        try:
            for lie in lies(liar, LIES):
                said.append(lie)
                told[tell(router, now_ms, lie)] += 1
            for _ in range(20):
                now_ms += 5_000
                router.step(events.Ticked(), now_ms)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = "".join(traceback.format_exception(error)[-6:])
            failed.setdefault(f"{place.filename}:{place.lineno}", f"{text}{said[-1]!r:.900}")

    listened(monkeypatch, each)
    for seed in SEEDS:
        MeshWorld(seed).run()

    assert not failed, "\n\n".join(failed.values())
    assert told[True] > 300 and told[False] > 300, told


@pytest.mark.skipif(native.TWIN == "pure", reason="there is only one way without C")
def test_the_way_in_c_says_of_truth_and_lies_what_the_columns_say(monkeypatch):
    told: Counter[tuple[int, bool]] = Counter()
    liar, heardmany_ = Liar(2), heardmany.ALL_PLAIN

    def each(world: MeshWorld, sender: int, kind: int, entry: list[Any]) -> None:
        liar.said.append((world.nodes[sender].id, kind, entry))
        if kind not in heardmany_ or sum(told.values()) > COMPARED:
            return
        true = plain(entry)
        for _, other, lie in [(b"", kind, true), *lies(liar, 3)]:
            batch = [true, true, lie if other == kind else true, true]
            found = native.plain_words(kind, batch)
            assert found is heardmany_[kind](batch), (world.seed, Kind(kind).name, lie)
            told[kind, found] += 1

    listened(monkeypatch, each)
    for seed in SEEDS:
        MeshWorld(seed).run()

    for kind in (Kind.STORE, Kind.PROPOSE):
        assert min(told[int(kind), True], told[int(kind), False]) > 50
    assert native.plain_words(int(Kind.TOLD), []) is None
    assert native.plain_words(int(Kind.STORE), []) is True
