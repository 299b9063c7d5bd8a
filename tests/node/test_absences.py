"""What people are told of members that go and come back."""

from __future__ import annotations

import pytest

from meshcode.node.absences import Absences

NODE = b"3" * 16


def told(absences: Absences, *states: str, by: str = "") -> list[str]:
    """What is said of n3 in these states, one after another."""
    return [absences.sentence(NODE, "n3", state, by) for state in states]


@pytest.mark.parametrize(
    ("state", "word"), [("dead", "away"), ("leaving", "leaving"), ("left", "left")]
)
def test_who_went_and_is_back_is_told_once_each(state, word):
    absences = Absences()

    assert told(absences, "alive", "suspect", state) == ["", "", f"node n3 is {word}"]
    assert absences.gone == {NODE}
    assert told(absences, "alive", "alive") == ["node n3 is alive again", ""]
    assert not absences.gone


def test_what_another_says_of_a_member_that_answers_is_its_word_alone():
    absences = Absences()
    told(absences, "alive")

    assert told(absences, "dead", by="n2") == [
        "node n2 says that node n3 is away, which answers here"
    ]
    assert told(absences, "alive") == ["node n3 is alive after all"]


@pytest.mark.parametrize(("before", "by"), [("suspect", "n2"), ("alive", ""), ("leaving", "n2")])
def test_what_is_seen_here_too_is_so(before, by):
    """It was missed here before another one said so, or it is this node that asked in vain."""
    absences = Absences()
    told(absences, "alive", before)

    assert told(absences, "dead", by=by) == ["node n3 is away"]
