"""The token bucket of one socket, in whole milliseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcode.router.config import parse_rate
from meshcode.router.rate import Rate


def test_sixty_a_minute_is_one_each_second():
    """And not sixty in a burst: the bucket holds one second's worth."""
    rate = Rate(*parse_rate("60/m"))

    assert rate.allowed(10_000) == 1
    rate.use(1, 10_000)
    assert rate.allowed(10_000) == 0
    assert rate.next_ms() == 11_000
    assert rate.allowed(10_999) == 0
    assert rate.allowed(11_000) == 1


def test_ten_a_second_may_come_at_once_and_then_every_100_ms():
    """The bucket begins full."""
    rate = Rate(*parse_rate("10/s"))

    assert rate.allowed(5_000) == 10
    rate.use(10, 5_000)
    assert [rate.allowed(5_000 + ms) for ms in (0, 99, 100, 250, 1_000)] == [0, 0, 1, 2, 10]


def test_what_is_not_used_is_lost_above_one_second():
    """A quiet hour does not let an hour's worth through."""
    rate = Rate(*parse_rate("10/s"))
    rate.use(10, 5_000)

    assert rate.allowed(3_600_000) == 10


def test_a_rate_that_is_no_whole_interval_rounds_up():
    """3/s: never three in less than a second."""
    rate = Rate(3, 1_000)
    rate.use(3, 0)

    assert rate.next_ms() == 334
    assert rate.allowed(333) == 0
    assert rate.allowed(334) == 1


@pytest.mark.parametrize(
    ("text", "read"),
    [("10/s", (10, 1_000)), ("60/m", (60, 60_000)), ("5/h", (5, 3_600_000)), ("1/s", (1, 1_000))],
)
def test_rates_people_write(text, read):
    """Count, slash, unit."""
    assert parse_rate(text) == read


@pytest.mark.parametrize("text", ["", "10", "10/", "/s", "10/d", "0/s", "-1/s", "1.5/s", "ten/s"])
def test_what_is_no_rate_is_refused_with_an_example(text):
    """The error shows how it is written and what was given."""
    with pytest.raises(ValueError, match="a rate limit reads like 10/s, 60/m or 5/h") as caught:
        parse_rate(text)

    assert repr(text) in str(caught.value)


@given(
    count=st.integers(1, 5_000),
    per_ms=st.sampled_from((1_000, 60_000, 3_600_000)),
    gaps=st.lists(st.integers(0, 5_000), max_size=40),
)
def test_no_window_holds_more_than_a_burst_and_the_rate(count, per_ms, gaps):
    """For any two begins: calls between them <= burst + elapsed * rate."""
    rate = Rate(count, per_ms)
    begins: list[tuple[int, int]] = []
    now_ms = 1_700_000_000_000
    for gap in gaps:
        now_ms += gap
        calls = rate.allowed(now_ms)
        if calls:
            rate.use(calls, now_ms)
            begins.append((now_ms, calls))

    for at, (from_ms, _) in enumerate(begins):
        total = 0
        for until_ms, calls in begins[at:]:
            total += calls
            assert total * per_ms <= rate.burst * per_ms + (until_ms - from_ms) * count


@given(count=st.integers(1, 5_000), per_ms=st.sampled_from((1_000, 60_000, 3_600_000)))
def test_the_next_millisecond_is_exact(count, per_ms):
    """One is allowed at `next_ms`, none the millisecond before."""
    rate = Rate(count, per_ms)
    rate.use(rate.allowed(7), 7)
    due_ms = rate.next_ms()

    assert rate.allowed(due_ms) >= 1
    assert rate.allowed(due_ms - 1) == 0
