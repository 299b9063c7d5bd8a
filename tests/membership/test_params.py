"""The table of times."""

from __future__ import annotations

import pytest

from meshcode.membership.params import EDGE, LAN, WAN, profile_of, retransmissions, slower


@pytest.mark.parametrize(
    ("params", "seconds"),
    [(LAN, (4.0, 6.8, 10.8)), (WAN, (30.0, 51.0, 81.0)), (EDGE, (90.0, 90.0, 90.0))],
)
def test_the_least_suspicion_is_that_of_the_table(params, seconds):
    least = [params.suspicion_ms(live, 99) / 1_000 for live in (3, 50, 500)]

    assert least == pytest.approx(seconds, abs=0.06)


def test_a_suspicion_shrinks_from_six_times_to_the_least_with_each_confirmation():
    times = [LAN.suspicion_ms(10, accusers) for accusers in (1, 2, 3, 4)]

    assert times[0] == 24_000
    assert times[2:] == [4_000, 4_000]
    assert 4_000 < times[1] < 24_000


def test_where_nobody_can_confirm_nobody_is_waited_for():
    assert LAN.suspicion_ms(2, 1) == 4_000


def test_a_pair_uses_the_slower_profile():
    assert slower(LAN, EDGE) is slower(EDGE, WAN) is EDGE
    assert profile_of("core", {"timing": "wan"}) is WAN
    assert profile_of("edge", {"timing": "lan"}) is EDGE, "meta can only ask for more patience"
    assert profile_of("witness", {"timing": 3}) is LAN


def test_news_is_passed_on_more_often_in_larger_meshes():
    assert [retransmissions(live) for live in (0, 1, 2, 50, 500)] == [0, 4, 4, 8, 12]
