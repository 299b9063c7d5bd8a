"""How often passwords may be tried, one by one and all at once."""

from __future__ import annotations

import pytest

from meshcode.errors import Busy
from meshcode.node import attempts
from meshcode.node.attempts import FAILURES_ALL_MAX, FAILURES_BY_MAX, FAILURES_MAX, Attempts


def test_attempts_count_from_their_asking_so_many_at_once_are_no_way_round():
    found = Attempts()
    open_ = [found.begin("ann", "local") for _ in range(FAILURES_MAX)]

    with pytest.raises(Busy, match="0 passwords were wrong in the last minute and 5 are being"):
        found.begin("ann", "local")
    for one in open_[:3]:
        found.end(one, wrong=True)
    with pytest.raises(Busy, match="3 passwords were wrong in the last minute and 2 are being"):
        found.begin("ann", "local")
    for one in open_[3:]:
        found.end(one, wrong=True)
    with pytest.raises(Busy, match="5 passwords were wrong in the last minute, the most is 5"):
        found.begin("ann", "local")
    assert found.begin("ann", "elsewhere").open
    assert found.begin("joe", "local").open


def test_what_was_right_or_not_looked_at_is_taken_back():
    found = Attempts()
    for _ in range(3 * FAILURES_ALL_MAX):
        found.end(found.begin("ann", "local"), wrong=False)

    for _ in range(FAILURES_MAX - 1):
        found.end(found.begin("ann", "local"), wrong=True)
    found.forgive(found.begin("ann", "local"))
    assert all(found.begin("ann", "local").open for _ in range(FAILURES_MAX))


def test_a_right_password_takes_back_nothing_that_is_looked_at():
    found = Attempts()
    first, *_ = [found.begin("ann", "local") for _ in range(FAILURES_MAX)]
    found.forgive(first)

    found.begin("ann", "local")
    with pytest.raises(Busy):
        found.begin("ann", "local")


def test_of_all_together_there_are_so_many():
    found = Attempts()
    for number in range(FAILURES_ALL_MAX):
        found.begin(f"user {number}", f"key {number % 3}")

    with pytest.raises(Busy, match=f"{FAILURES_ALL_MAX} are being looked at"):
        found.begin("another", "key 1")


def test_no_client_keeps_the_others_from_logging_in():
    """One listed key of nobody took all that a node looks at in a minute."""
    found = Attempts()
    for number in range(FAILURES_BY_MAX):
        found.end(found.begin(f"user {number}", "nobody"), wrong=True)
    with pytest.raises(Busy, match=f"{FAILURES_BY_MAX} passwords were wrong .* the most is"):
        found.begin("another", "nobody")

    for number in range(FAILURES_ALL_MAX - FAILURES_BY_MAX):
        found.end(found.begin(f"user {number}", f"key {number % 2}"), wrong=True)
    found.forgive(found.begin("joe", "joe's own key"))
    found.end(found.begin("joe", "joe's own key"), wrong=True)
    with pytest.raises(Busy, match=f"{FAILURES_ALL_MAX + 1} passwords were wrong"):
        found.begin("joe", "joe's own key")


def test_a_minute_later_there_may_be_more(monkeypatch):
    found = Attempts()
    for _ in range(FAILURES_MAX):
        found.end(found.begin("ann", "local"), wrong=True)
    monkeypatch.setattr(attempts, "MINUTE_S", 0.0)

    assert found.begin("ann", "local").open
