"""The bare pump that everything is held against: it pumps, and says so when it does not."""

from __future__ import annotations

import pytest

from bench import pump


def test_the_pump_takes_calls_through_a_log_and_back():
    rate, cpu_us = pump.one_run(0.2)

    assert rate > 100
    assert cpu_us > 0


def test_the_pump_takes_one_call_after_another():
    times = pump.singles_ms(20)

    assert len(times) == 20
    assert min(times) > 0


def test_a_pump_that_has_died_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(pump, "ANSWER_MS", 50)

    with pytest.raises(SystemExit, match=r"has not answered for 0\.05 s"):
        pump.rate(tmp_path, 0.1)
