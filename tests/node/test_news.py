"""What a node tells those who watch it, and how often it looks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from meshcode.node.news import BETWEEN_MS, News, differences
from meshcode.router.effects import Effects


class World:
    """As much of a loop as News looks at."""

    def __init__(self, *channels):
        self.told, self.looks = [], 0
        self.status = {"p": "starting"}
        self.snapshot = {"number": 7}
        self.mesh = None
        self.listeners = SimpleNamespace(wants=lambda channel: channel in channels)
        self.turns = SimpleNamespace(add=self._add)
        self.processors = SimpleNamespace(progress=self._progress, by_name=self.status)
        self.news = News(self)

    def _add(self, effects: Effects):
        self.told += effects.news

    def _progress(self, name):
        self.looks += 1
        return {"status": self.status[name]}


def test_differences_of_two_snapshots():
    before = {"number": 1, "queues": {"a": {"x": 1}, "b": {}}, "sockets": {"s": {}}}
    after = {"number": 2, "queues": {"a": {"x": 2}, "c": {}}, "sockets": {"s": {}}, "gates": {}}

    assert differences(before, after) == [
        ("queue", "a", "changed"), ("queue", "b", "deleted"), ("queue", "c", "added"),
    ]  # fmt: skip


def test_nobody_listens_nothing_is_looked_at():
    world = World()

    world.news.model_changed({"queues": {}}, {"queues": {"a": {}}})
    world.news.look(0)

    assert (world.told, world.looks, world.news.next_due_ms()) == ([], 0, None)


def test_who_begins_to_listen_is_told_at_once():
    world = World("processor")

    world.news.begin("processor")
    world.news.begin("log")  # None of these.

    assert world.told == [("processor", {"number": 7, "changes": []})]


def test_a_change_is_told_once():
    world = World("processor")
    world.news.begin("processor")
    world.told.clear()
    world.status["p"] = "running"

    world.news.look(0)
    world.news.look(BETWEEN_MS)

    assert world.told == [("processor", {"number": 7, "changes": [["p", "running"]]})]
    del world.status["p"]
    world.news.look(2 * BETWEEN_MS)
    assert world.told[-1][1]["changes"] == [["p", "gone"]]


@pytest.mark.parametrize("turns", [1, 100])
def test_many_turns_are_one_look_and_none_is_forgotten(turns):
    world = World("processor")
    world.news.begin("processor")
    world.news.look(0)
    looks = world.looks
    world.status["p"] = "running"

    for _ in range(turns):
        world.news.look(BETWEEN_MS - 1)

    assert world.looks == looks
    assert world.news.next_due_ms() == BETWEEN_MS  # The loop wakes then, whatever else happens.
    world.news.look(BETWEEN_MS)
    assert world.told[-1][1]["changes"] == [["p", "running"]]
    assert world.news.next_due_ms() is None


def test_a_change_of_the_model_is_for_both_who_watch_it_and_who_watch_processors():
    world = World("model", "processor")

    world.news.model_changed({"queues": {}}, {"queues": {"a": {}}})

    event = {"number": 7, "changes": [["queue", "a", "added"]]}
    assert world.told == [("model", event), ("processor", event)]
