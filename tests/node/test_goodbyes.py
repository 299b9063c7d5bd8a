"""Good-byes of other nodes, heard by a real membership core."""

from __future__ import annotations

import pytest

from meshcode.node.goodbyes import Goodbyes
from tests.membership.test_rules import ANN, BOB, LEAVING, LEFT, Node, claim


class Heard(Node):
    """A core whose changes are told to `Goodbyes`, as a node does."""

    def __init__(self) -> None:
        super().__init__(ANN, BOB)
        self.goodbyes = Goodbyes()
        self.changes.clear()

    def states(self) -> list[str]:
        """What Ann was said to be meanwhile."""
        new, self.changes = self.changes, []
        for node, state, boot, _ in new:
            self.goodbyes.heard(node, state, boot)
        return [state for node, state, *_ in new if node == ANN]

    def said(self) -> bool:
        return self.goodbyes.said(self.swim, ANN)


def test_a_node_that_was_stopped_has_said_good_bye_also_after_its_minute():
    """`mesh down` says that it will be back; then it is dead like one whose power failed."""
    node = Heard()
    node.hear(ANN, "news", [claim(ANN, LEAVING, incarnation=1, detail=60_000)], i=1)
    node.run(120_000, answering=(BOB,))

    assert node.states() == ["leaving", "suspect", "dead"]
    assert node.said()


def test_a_node_that_left_has_said_good_bye():
    node = Heard()
    node.hear(ANN, "news", [claim(ANN, LEFT, incarnation=1)], i=1)

    assert node.states() == ["left"] and node.said()


def test_a_node_that_fell_silent_has_not():
    node = Heard()
    node.run(120_000, answering=(BOB,))

    assert node.states() == ["suspect", "dead"] and not node.said()


@pytest.mark.parametrize("fields", [{"b": 2}, {"i": 2}])
def test_a_node_that_came_back_and_fell_silent_then_has_not(fields):
    """In a new life, or because it did not go after all."""
    node = Heard()
    node.hear(ANN, "news", [claim(ANN, LEAVING, incarnation=1, detail=60_000)], i=1)
    node.hear(ANN, "news", **fields)
    node.run(120_000, answering=(BOB,))

    assert node.states() == ["leaving", "alive", "suspect", "dead"]
    assert not node.said()
