"""Windows by count, time and gaps, over plain and async iterables."""

from __future__ import annotations

import asyncio
from itertools import count, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcode.windows import by_count, by_gap, by_time

TIMES = st.lists(st.integers(0, 1_000)).map(sorted)


def at(item):
    return item


async def arriving(items):
    for item in items:
        yield item


def collected(windows):
    """All windows of an async iterable."""

    async def main():
        return [window async for window in windows]

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("size", "step", "windows"),
    [
        (2, None, [[0, 1], [2, 3], [4]]),
        (3, 1, [[0, 1, 2], [1, 2, 3], [2, 3, 4]]),
        (3, 2, [[0, 1, 2], [2, 3, 4]]),
        (2, 3, [[0, 1], [3, 4]]),
        (1, 4, [[0], [4]]),
        (5, None, [[0, 1, 2, 3, 4]]),
        (9, None, [[0, 1, 2, 3, 4]]),
        (4, 3, [[0, 1, 2, 3], [3, 4]]),
    ],
)
def test_windows_of_a_count(size, step, windows):
    assert list(by_count(range(5), size, step)) == windows
    assert collected(by_count(arriving(range(5)), size, step)) == windows
    assert list(by_count([], size, step)) == []


@given(st.lists(st.integers()), st.integers(1, 9))
def test_windows_of_a_count_are_the_slices_of_a_list(items, size):
    wanted = [items[n : n + size] for n in range(0, len(items), size)]

    assert list(by_count(items, size)) == wanted


def test_windows_of_seconds_by_the_time_of_the_items():
    items = [0, 1, 9.9, 10, 35, 39, 40]

    assert list(by_time(items, 10, key=at)) == [[0, 1, 9.9], [10], [35, 39], [40]]
    assert collected(by_time(arriving(items), 10, key=at))[-1] == [40]
    assert list(by_time([], 10, key=at)) == []


def test_windows_of_seconds_by_the_clock():
    ticks = iter([100.0, 100.9, 101.0, 103.5])

    assert list(by_time("abcd", 1, clock=lambda: next(ticks))) == [["a", "b"], ["c"], ["d"]]


def test_what_is_late_comes_in_the_window_that_is_open():
    assert list(by_time([0, 12, 3, 14, 21], 10, key=at)) == [[0], [12, 3, 14], [21]]
    assert list(by_gap([0, 30, 3, 33, 60], 10, key=at)) == [[0], [30, 3, 33], [60]]


def test_sessions_end_with_a_gap():
    items = [0, 5, 14, 24, 33, 50]

    assert list(by_gap(items, 10, key=at)) == [[0, 5, 14], [24, 33], [50]]
    assert collected(by_gap(arriving(items), 10, key=at)) == [[0, 5, 14], [24, 33], [50]]
    assert list(by_gap([], 10, key=at)) == []


@given(TIMES, st.integers(1, 50))
def test_nothing_is_lost_and_each_window_is_as_it_says(times, seconds):
    for kind in (by_time, by_gap):
        windows = list(kind(times, seconds, key=at))
        assert [one for window in windows for one in window] == times
        assert all(windows)
    for window in by_time(times, seconds, key=at):
        assert len({one // seconds for one in window}) == 1
    sessions = list(by_gap(times, seconds, key=at))
    for window in sessions:
        assert all(b - a < seconds for a, b in pairwise(window))
    for before, after in pairwise(sessions):
        assert after[0] - before[-1] >= seconds


def test_an_endless_source_is_read_only_as_far_as_needed():
    assert list(islice(by_count(count(), 2), 2)) == [[0, 1], [2, 3]]
    assert next(by_time(count(), 5, key=at)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_window_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=f"at least 1 item, not {wrong}"):
        by_count([], wrong)
    with pytest.raises(ValueError, match="the step of a window"):
        by_count([], 1, wrong)
    with pytest.raises(ValueError, match=f"more than 0 seconds, not {wrong}"):
        by_time([], wrong)
    with pytest.raises(ValueError, match=f"more than 0 seconds, not {wrong}"):
        by_gap([], wrong)
