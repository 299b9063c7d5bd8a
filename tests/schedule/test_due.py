"""What is to be fired: catch-up, start and end, pause, jitter, and the digest of the timing."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.limits import CATCH_UP_MAX, SCHEDULE_LATE_MS
from meshcode.schedule import Schedule, digest, parse

MINUTE, HOUR = 60_000, 3_600_000
NOON = 1_774_000_800_000 // HOUR * HOUR
YEAR = 365 * 24 * HOUR


def hourly(**options: Any) -> Schedule:
    return parse({"cron": "@hourly", **options})


def test_a_tick_is_due_at_its_time_and_not_before():
    schedule = hourly()

    assert schedule.due(NOON - 1, NOON) == [NOON]
    assert schedule.due(NOON - 1, NOON - 1) == []
    assert schedule.due(NOON, NOON) == []
    assert schedule.due(NOON, NOON + HOUR - 1) == []


@pytest.mark.parametrize("fields", [
    {"cron": "*/7 * * * * *"}, {"interval_ms": 1_700}, {"at_ms": NOON + 3},
    {"interval_ms": 1_700, "start_ms": NOON - 55}, {"cron": "@hourly", "jitter_ms": 5_000},
    {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
], ids=str)  # fmt: skip
def test_every_tick_is_at_a_time_that_may_be_one(fields):
    schedule = parse(fields)
    at_ms, found = NOON - 1, []
    while at_ms is not None and len(found) < 20:
        at_ms = schedule.next_after(at_ms)
        found += [] if at_ms is None else [at_ms]

    assert found
    assert all(map(schedule.may_fire_at, found))
    assert sum(map(schedule.may_fire_at, range(NOON, NOON + 1_700))) <= 2


def test_a_little_late_is_not_missed():
    assert hourly().due(NOON - 1, NOON + SCHEDULE_LATE_MS) == [NOON]
    assert hourly().due(NOON - 1, NOON + SCHEDULE_LATE_MS + 1) == []


def test_without_catch_up_only_the_newest_is_fired():
    every_second = parse({"interval_ms": 1_000})

    assert every_second.due(NOON, NOON + 5_500) == [NOON + 5_000]
    assert hourly().due(NOON, NOON + 5 * HOUR + 30 * MINUTE) == []


def test_the_last_stands_for_all_that_were_missed():
    schedule = hourly(catch_up="last")

    assert schedule.due(NOON, NOON + 5 * HOUR + 30 * MINUTE) == [NOON + 5 * HOUR]
    assert schedule.due(NOON, NOON + 5 * YEAR + 1) == [NOON + 5 * YEAR]


def test_all_that_were_missed_oldest_first():
    found = hourly(catch_up="all").due(NOON, NOON + 5 * HOUR + 30 * MINUTE)

    assert found == [NOON + hour * HOUR for hour in range(1, 6)]


def test_of_too_many_the_newest_are_made_up_for():
    found = hourly(catch_up="all").due(NOON, NOON + YEAR)

    assert len(found) == CATCH_UP_MAX
    assert found == [NOON + YEAR - back * HOUR for back in reversed(range(CATCH_UP_MAX))]


def test_bursts_are_counted_as_they_fall():
    """Each minute of one day a year: the newest are of the last burst alone."""
    schedule = parse({"cron": "* * 1 1 *", "catch_up": "all"})
    found = schedule.due(0, 50 * YEAR)

    assert len(found) == CATCH_UP_MAX
    assert found[-1] - found[0] == (CATCH_UP_MAX - 1) * MINUTE
    assert schedule.next_after(found[-1]) is not None
    assert schedule.next_after(found[-1]) > 50 * YEAR  # type: ignore[operator]


def test_years_of_seconds_are_skipped_in_an_instant():
    schedule = parse({"cron": "* * * * * *", "catch_up": "last", "timezone": "Europe/Berlin"})
    begun = time.process_time()

    assert schedule.due(0, 50 * YEAR) == [50 * YEAR]
    assert time.process_time() - begun < 0.2  # Measured: 0.001; one by one it would take hours.


@given(
    st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "30 2 29 2 *", "0 */5 1-7 * MON"]),
    st.integers(0, 2 * YEAR),
    st.integers(0, 40 * 24 * HOUR),
    st.sampled_from(["none", "last", "all"]),
)
@settings(max_examples=100)
def test_due_is_what_a_list_of_all_ticks_says(cron: str, last: int, length: int, catch_up: str):
    schedule = parse({"cron": cron, "timezone": "Europe/Berlin", "catch_up": catch_up})
    now = last + length
    ticks, tick = [], schedule.next_after(last)
    while tick is not None and tick <= now:
        ticks.append(tick)
        tick = schedule.next_after(tick)
    wanted = {
        "none": [tick for tick in ticks[-1:] if now - tick <= SCHEDULE_LATE_MS],
        "last": ticks[-1:],
        "all": ticks[-CATCH_UP_MAX:],
    }

    assert schedule.due(last, now) == wanted[catch_up]


@given(st.lists(st.integers(0, 100 * HOUR), min_size=2, max_size=20), st.integers(1, 50))
@settings(max_examples=100)
def test_no_tick_is_fired_twice_however_often_one_looks(looks: list[int], minutes: int):
    schedule = parse({"interval_ms": minutes * MINUTE, "catch_up": "all"})
    times = [NOON + look for look in sorted(looks)]
    fired = []
    for last, now in pairwise(times):
        fired += schedule.due(last, now)

    assert fired == sorted(set(fired))
    if (times[-1] - times[0]) // (minutes * MINUTE) < CATCH_UP_MAX:
        assert fired == schedule.due(times[0], times[-1])


def test_an_interval_is_counted_from_its_start_and_does_not_drift():
    schedule = parse({"interval_ms": 7_000, "start_ms": NOON + 123})

    assert schedule.next_after(0) == NOON + 123
    assert schedule.next_after(NOON + 123) == NOON + 7_123
    assert schedule.next_after(NOON + 123 + 7_000_000 + 6_999) == NOON + 123 + 7_007_000
    assert parse({"interval_ms": 7_000}).next_after(20_999) == 21_000
    assert parse({"interval_ms": 7_000}).next_after(-1) == 0


def test_no_tick_before_the_start_or_after_the_end():
    schedule = hourly(start_ms=NOON, end_ms=NOON + 2 * HOUR)

    assert schedule.next_after(0) == NOON
    assert schedule.next_after(NOON + HOUR) == NOON + 2 * HOUR
    assert schedule.next_after(NOON + 2 * HOUR) is None
    assert hourly(start_ms=NOON + 1).next_after(0) == NOON + HOUR


def test_a_time_fires_once_even_when_it_was_missed():
    once = parse({"at_ms": NOON})

    assert once.next_after(NOON - 1) == NOON
    assert once.next_after(NOON) is None
    assert once.due(NOON - HOUR, NOON + YEAR) == [NOON]
    assert once.due(NOON, NOON + YEAR) == []
    assert parse({"at_ms": NOON, "catch_up": "none"}).due(NOON - HOUR, NOON + HOUR) == []


@pytest.mark.parametrize("pause", [{"paused": True}, {"requested_status": "pause"}])
def test_nothing_is_due_while_it_is_paused(pause: dict[str, Any]):
    schedule = hourly(catch_up="all", **pause)

    assert schedule.paused
    assert schedule.next_after(NOON) is None
    assert schedule.due(NOON, NOON + YEAR) == []


def test_time_ends_in_the_year_9000():
    end = 221_845_392_000_000

    assert hourly().next_after(end) is None
    assert parse({"cron": "0 0 29 2 *"}).next_after(end - HOUR) is None
    assert hourly().next_after(-(10**15)) == 0


def test_jitter_is_the_same_everywhere_and_spread_evenly():
    schedule = hourly(jitter_ms=10_000)
    found = [schedule.jitter_of("night", NOON + hour * HOUR) for hour in range(2_000)]

    assert found[:3] == [schedule.jitter_of("night", NOON + hour * HOUR) for hour in range(3)]
    assert found[0] == 5436, "another release must not give another time"
    assert 0 <= min(found) < 50
    assert 9_950 < max(found) <= 10_000
    assert 4_700 < sum(found) / len(found) < 5_300
    assert schedule.jitter_of("day", NOON) != schedule.jitter_of("night", NOON)
    assert hourly().jitter_of("night", NOON) == 0


def test_the_digest_changes_with_the_ticks_alone():
    fields = {"cron": "0 7 * * MON-FRI", "timezone": "Europe/Berlin", "socket": "a"}
    same = [
        {**fields, "cron": "0  0 7 * * mon-fri"}, {**fields, "socket": "b", "args": [1]},
        {**fields, "jitter_ms": 5}, {**fields, "catch_up": "all"}, {**fields, "end": None},
        {**fields, "requested_status": "start"},
    ]  # fmt: skip
    others = [
        {**fields, "cron": "1 7 * * MON-FRI"}, {**fields, "timezone": "Europe/London"},
        {**fields, "start": "2026-01-01"}, {**fields, "end": "2099-01-01"},
        {**fields, "requested_status": "pause"}, {"interval_ms": 1_000}, {"interval_ms": 1_001},
        {"at_ms": 1}, {"at_ms": 2},
    ]  # fmt: skip

    mark = digest(parse(fields))
    assert len(mark) == 8
    assert {digest(parse(other)) for other in same} == {mark}
    assert len({mark, *(digest(parse(other)) for other in others)}) == len(others) + 1
    assert digest(parse({"at": "1970-01-01T00:00:01Z"})) == digest(parse({"at_ms": 1_000}))
