"""A layer over a tree: what a scan reads of the tree, and what is counted."""

from __future__ import annotations

import pytest

from meshcode.store.contract import DONE
from meshcode.store.memory_log import MemoryLog
from meshcode.store.overlay import Growth, Layer, Over


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


class Counted(MemoryLog):
    """A tree that counts how often it is read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.stage([(DONE, key(number), b"old") for number in range(count)])
        self.sync()
        self.reads = 0

    def scan(self, *given, **more):
        self.reads += 1
        return super().scan(*given, **more)

    def get_many(self, *given):
        self.reads += 1
        return super().get_many(*given)


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_gone_at_the_beginning_is_read_in_large_pieces(reverse):
    """The first call that is left behind 3,000 that were forgotten, which the tree still has."""
    base, layer = Counted(4_000), Layer()
    gone = range(1_000, 4_000) if reverse else range(3_000)
    layer.add(1, [{DONE: {key(number): None for number in gone}}])

    rows = Over(layer, base).scan(DONE, None, reverse=reverse, limit=1)

    assert rows == [(key(999 if reverse else 3_000), b"old")]
    assert base.reads <= 14


def test_one_row_is_read_where_one_is_asked_for():
    base, layer = Counted(4_000), Layer()
    layer.add(1, [{DONE: {key(3_999): b"new"}}])

    assert Over(layer, base).scan(DONE, key(17), limit=1) == [(key(17), b"old")]
    assert base.reads == 1


def test_growth_is_counted_once_for_each_batch():
    base, layer = Counted(10), Layer()
    layer.add(1, [{DONE: {key(3): None, key(4): b"newer", key(20): b"added"}}])

    assert layer.growth(DONE, base) == Growth(0, 4)
    assert layer.growth(DONE, base) == Growth(0, 4)
    assert base.reads == 1

    layer.add(2, [{DONE: {key(20): None, key(21): b"another"}}])

    assert layer.growth(DONE, base) == Growth(0, 6)
    assert layer.growth("open", base) == Growth(0, 0)
    assert base.reads == 2
