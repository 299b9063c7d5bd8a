"""The gate against getting slower: what it counts, refuses, and never loosens."""

from __future__ import annotations

import pytest

from bench import gate, inproc


def test_the_count_of_callgrind_is_read():
    assert gate.count_of("==7== Events    : Ir\n==7== Collected : 40112\n") == 40112
    with pytest.raises(ValueError, match="no count: valgrind: no such tool"):
        gate.count_of("valgrind: no such tool")


@pytest.mark.parametrize(
    ("count", "limit", "passes", "said"),
    [
        (1_000, 1_000, True, "+0.0 % of the limit 1,000"),
        (1_029, 1_000, True, "+2.9 % of the limit 1,000"),
        (1_031, 1_000, False, "+3.1 % of the limit 1,000, 3% more may be: too slow"),
        (900, 1_000, True, "-10.0 % of the limit 1,000"),
        (900, None, True, "not checked: no limit for this Python and machine"),
    ],
)
def test_a_count_over_its_limit_does_not_pass(count, limit, passes, said):
    good, text = gate.verdict("plain", count, limit)

    assert good is passes
    assert said in text


def test_limits_are_only_ever_lowered():
    limits = {"plain": 100.0, "funnel": 50.0}

    assert gate.lowered(limits, {"plain": 90.4, "funnel": 60.0, "pipeline": 7.0}) == {
        "plain": 90, "funnel": 50, "pipeline": 7,
    }  # fmt: skip


@pytest.mark.parametrize("kind", inproc.kinds())
def test_calls_go_from_hand_to_hand_and_every_part_has_its_share(kind):
    [found] = inproc.measure(kind, rounds=1, runs=1)

    assert set(found) == {"client", "node", "worker", "log"}
    assert all(spent >= 0 for spent in found.values())
    assert sum(found.values()) > 1  # Microseconds: nothing is as quick as that.
