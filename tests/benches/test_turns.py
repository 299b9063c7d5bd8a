"""Two checkouts in turns: both are measured as often, and each by its own code."""

from __future__ import annotations

import pytest

from bench import turns


class Given:
    """A side whose values are given."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.asked: list[tuple[str, float]] = []

    def measure(self, part: str, seconds: float) -> list[float]:
        self.asked.append((part, seconds))
        return [self.values.pop(0), 10.0]


def test_a_ratio_is_of_one_turn_and_the_first_turn_does_not_count(capsys):
    here, there = Given(9.0, 1.0, 3.0, 8.0), Given(5.0, 2.0, 2.0, 4.0)

    turns.compare({turns.HERE: here, turns.THERE: there}, ["single"], 3, 0.5)

    said = capsys.readouterr().out.splitlines()
    assert " ".join(said[1].split()) == "single 2.00 3.00 1.500 (0.500 to 2.000) ms"
    assert said[2].split()[:3] == ["10.00", "10.00", "1.000"]
    assert here.asked == there.asked == [("single", 0.5)] * 4


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["/nowhere"], "/nowhere is no checkout"),
        ([str(turns.ROOT), "walk"], "there is no part 'walk'; there are single, four"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, why, capsys):
    with pytest.raises(SystemExit, match="2"):
        turns.main(words)
    assert why in capsys.readouterr().err


def test_a_checkout_is_measured_by_its_own_code():
    """This one, beside itself: a node and a worker for each, and results that are checked."""
    side = turns.Side(turns.ROOT)
    try:
        value, cpu_us = side.measure("single", 0.1)
    finally:
        side.close()

    assert 0.01 < value < 10_000
    assert cpu_us > 0
    assert side.process.returncode == 0
