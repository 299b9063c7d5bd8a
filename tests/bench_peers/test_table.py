"""The table: medians, ratios by round, who counts as durable, what is said of gaps."""

from __future__ import annotations

import json

import pytest

from bench.peers import table
from bench.peers.roster import SYSTEMS, chosen
from bench.peers.syncs import Check, Count, Tally
from bench.peers.table import Row, number
from bench.peers.tree import Memory
from bench.peers.turn import Sample

MIB = Memory(30.0, 20.0)


def sample(rate: float, *, ms: float = 1.0, **more: float) -> Sample:
    """One turn."""
    return Sample(
        start_s=1.0, idle=MIB, loaded=MIB, calls=100, rate=rate, cpu_us=more.pop("cpu_us", 10.0),
        singles_ms=[ms] * 99 + [50 * ms], **more,
    )  # fmt: skip


def row(name: str, *rates: float, syncs: int = 0, brokered: bool = True, **more: float) -> Row:
    """A system with a turn for each rate."""
    facts = {
        "brokered": brokered, "keeps": True, "acknowledged": "somewhere", "settings": "as it comes",
    }  # fmt: skip
    samples = {turn: sample(rate, **more) for turn, rate in enumerate(rates)}
    check = Check(Count(100, 2.0, Tally({"fsync": syncs}, 1_000)), 150, 200)
    return Row(name, facts, samples, check)


OURS = row("meshcode", 1_000, 3_000, 2_000, syncs=200, brokered=False, ms=2.0, chains=50.0)
DURABLE = row("slow", 10, 20, 40, syncs=100, chains=100.0, cpu_us=20.0)
QUICK = row("quick", 500, 500, 500, syncs=1)
MEMORY = row("memory", 9_000, 9_000, 9_000, brokered=False)
ROWS = [OURS, DURABLE, QUICK, MEMORY]


def cells(text: str, name: str, which: int = 0) -> list[str]:
    """The words of the line of a system in the table of that number."""
    block = text.split("\n\n")[1 + which]
    return next(line for line in block.splitlines() if line.startswith(name)).split("  ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "0.00"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_figures_have_three_digits(value: float | None, text: str):
    assert number(value) == text


def test_a_ratio_is_of_what_ran_in_the_same_round():
    """1000/10, 3000/20, 2000/40: the median of those, not the ratio of the medians, 2000/20."""
    assert table.ratios(DURABLE, OURS, table.rate) == [100, 150, 50]
    assert table.ratio(DURABLE, OURS, table.rate) == "100x"


def test_rounds_that_one_of_both_missed_have_no_ratio():
    late = Row("late", DURABLE.facts, {1: sample(30), 7: sample(1)})

    assert table.ratios(late, OURS, table.rate) == [100]


def test_only_what_was_counted_as_synced_is_durable():
    assert [one.name for one in ROWS if one.durable] == ["meshcode", "slow"]


def test_the_lines_below_compare_with_the_best_of_each_kind():
    durable, brokered, every = table.summary(ROWS)

    assert "slow, 20.0 calls/s; meshcode / it: 100.00 (median of 3; 50.00 to 150.00)" in durable
    assert durable.endswith("it takes 2.00 times the CPU a call")
    assert "quick, 500 calls/s; meshcode / it: 4.00 (median of 3; 2.00 to 6.00)" in brokered
    assert "memory, 9,000 calls/s; meshcode / it: 0.22 (median of 3; 0.11 to 0.33)" in every


def test_without_a_rival_or_without_ours_the_lines_say_so():
    assert all(line.endswith("none was measured") for line in table.summary([OURS]))
    assert table.summary([QUICK])[1].endswith("quick, 500 calls/s")


def test_the_table_has_medians_spreads_and_gaps():
    text = table.report(ROWS, "head")
    speed = [word.strip() for word in cells(text, "slow") if word]
    cost = [word.strip() for word in cells(text, "quick", 1) if word]

    assert speed == [
        "slow", "20.0", "10.0 to 40.0", "100x", "1.00", "50.0", "100", "0.50x", "-", "20.0",
    ]  # fmt: skip
    assert cost == [
        "quick", "20.0", "20.0", "1.00", "0.00", "10.0", "0.01 in 2.0 s", "150 of 200", "somewhere",
    ]  # fmt: skip


def test_what_a_peer_does_better_is_said():
    lines = table.slower(ROWS)

    assert "calls/s: meshcode 2,000; better: memory 9,000" in lines
    assert "p50 ms: meshcode 2.00; better: slow 1.00, quick 1.00, memory 1.00" in lines
    assert "chains/s: meshcode 50.0; better: slow 100" in lines
    assert not any(line.startswith("idle") for line in lines), "equal is not better"


def test_a_system_that_could_not_be_measured_is_named_with_the_reason():
    away = Row("away", reason="round 1: away-server is not installed")

    for markdown in (False, True):
        text = table.report([OURS, away], "head", markdown=markdown)
        assert "away: round 1: away-server is not installed" in text
    assert "best durable peer (synced before the acknowledgement): none was measured" in text


def test_markdown_has_as_many_cells_in_each_line():
    block = table.report(ROWS, "head", markdown=True).split("\n\n")[1]

    assert {line.count("|") for line in block.splitlines()} == {len(table.SPEED) + 1}


def test_the_raw_numbers_are_plain_data():
    raw = json.loads(json.dumps(table.raw(ROWS, "a\nb")))

    assert raw["head"] == ["a", "b"]
    assert [one["durable"] for one in raw["rows"]] == [True, True, False, False]
    assert raw["rows"][1]["samples"]["2"]["rate"] == 40
    assert raw["rows"][1]["check"]["count"]["tally"]["calls"] == {"fsync": 100}


def test_systems_are_chosen_by_name_in_the_order_of_the_table():
    assert chosen(None) == list(SYSTEMS)
    assert chosen("pool, meshcode") == ["meshcode", "pool"]
    with pytest.raises(ValueError, match="there is no system 'celry'"):
        chosen("celry")
