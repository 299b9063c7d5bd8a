"""The search for the next tick against looking at every minute, over years and zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.schedule import parse
from tests.schedule.walls import ticks

# Both hemispheres, a shift of half an hour, one at midnight, one of two hours, a day left out,
# rules that were changed by law, one that has winter time as its rule, and none at all.
ZONES = [
    "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe",
    "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll", "Pacific/Apia", "Africa/Casablanca",
    "Europe/Dublin", "Asia/Beirut", "America/Havana", "Asia/Pyongyang", "UTC",
]  # fmt: skip


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def field(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span, number.map(str)), st.integers(1, most - least))
    part = st.one_of(number.map(str), span, step.map(lambda pair: f"{pair[0]}/{pair[1]}"))
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), st.one_of(st.just("*"), field(1, 28)),
    st.one_of(st.just("*"), field(1, 12)), st.one_of(st.just("*"), field(0, 7)),
).map(" ".join)  # fmt: skip

# Times when some clock of ZONES is changed, and any others.
CHANGES = [
    _day(2026, 3, 29), _day(2026, 10, 25), _day(2026, 3, 8), _day(2026, 11, 1),
    _day(2018, 11, 4), _day(2018, 2, 17), _day(2026, 4, 4), _day(2026, 10, 3),
    _day(2009, 3, 8), _day(2009, 11, 1), _day(2011, 12, 29), _day(2025, 2, 23),
    _day(2025, 4, 6), _day(2015, 8, 14), _day(2018, 5, 4), _day(2027, 3, 27),
]  # fmt: skip
STARTS = st.one_of(
    st.tuples(st.sampled_from(CHANGES), st.integers(-2_000, 2_000)).map(
        lambda pair: pair[0] + timedelta(minutes=pair[1])
    ),
    st.integers(0, 45_000_000).map(lambda minutes: _day(1975, 1, 1) + timedelta(minutes=minutes)),
)


def found_by_search(text: str, zone: str, start: datetime, end: datetime) -> list[int]:
    schedule = parse({"cron": text, "timezone": zone})
    now, until = (int(t.timestamp()) * 1000 for t in (start, end))
    found = []
    tick = schedule.next_after(now - 1)
    while tick is not None and tick < until:
        found.append(tick // 1000)
        tick = schedule.next_after(tick)
    return found


@given(EXPRESSIONS, st.sampled_from(ZONES), STARTS)
@settings(max_examples=200)
def test_three_days_of_any_expression(text: str, zone: str, start: datetime):
    end = start + timedelta(days=3)

    assert found_by_search(text, zone, start, end) == ticks(text, zone, start, end)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana"])
@pytest.mark.parametrize(
    "text", ["30 2 * * *", "*/20 * * * *", "15,45 0-3 * * *", "0 */5 1-7 * 1", "30 1 1,15 * 0"]
)
def test_a_year_of_a_few(text: str, zone: str):
    start, end = _day(2026, 1, 1), _day(2027, 1, 1)

    assert found_by_search(text, zone, start, end) == ticks(text, zone, start, end)


@given(EXPRESSIONS, st.sampled_from(ZONES), STARTS, st.integers(0, 2 * 86_400_000))
@settings(max_examples=200)
def test_ticks_rise_and_are_the_same_wherever_one_begins(
    text: str, zone: str, start: datetime, later: int
):
    schedule = parse({"cron": text, "timezone": zone})
    now = int(start.timestamp()) * 1000

    first, second = schedule.next_after(now), schedule.next_after(now + later)

    assert first is not None
    assert second is not None
    assert now < first <= second
    assert first == second or first <= now + later
    assert schedule.next_after(first - 1) == first
