"""Everything that can be wrong with a schedule, and what is said of it, word for word.

What each row is answered stands in `bad_input.txt`, for people to read.
`python -m tests.schedule.test_bad_input` writes it anew; look at what differs before it is kept.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcode.errors import BadRequest
from meshcode.schedule import digest, parse

FILE = Path(__file__).with_name("bad_input.txt")

CRONS: list[Any] = [
    "", " ", 5, None, ["* * * * *"], True, b"* * * * *", "x" * 201,
    "*", "* * * *", "* * * * * * *", "every day", "@", "@dayly", "@reboot", "@every 5m",
    "60 * * * *", "-1 * * * *", "1.5 * * * *", "x * * * *", "* 24 * * *", "* * 0 * *",
    "* * 32 * *", "* * * 0 *", "* * * 13 *", "* * * JANUARY *", "* * * MON *", "* * * * 8",
    "* * * * MONDAY", "* * * * JAN", "60 * * * * *", "L * * * *", "* ? * * *", "* * * ? *",
    "*/0 * * * *", "*/ * * * *", "*/x * * * *", "*/-5 * * * *", "*/61 * * * *", "*/2/2 * * * *",
    "*/10000000000 * * * *", ", * * * *", "1, * * * *", ",1 * * * *", "1,,2 * * * *",
    "5-1 * * * *", "* 22-2 * * *", "* * * NOV-FEB *", "1- * * * *", "-5 * * * *", "1-2-3 * * * *",
    "** * * * *", "1* * * * *", "٣ * * * *", "99999999999999999999 * * * *",
    "0 0 L-31 * *", "0 0 L- * *", "0 0 32W * *", "0 0 0W * *", "0 0 W * *", "0 0 1-5W * *",
    "0 0 * * L", "0 0 * * MON#0", "0 0 * * MON#6", "0 0 * * #2", "0 0 * * MON#", "0 0 * * 8#1",
    "0 0 * * 9L", "0 0 * * XYZL", "0 0 * * LXX", "H * * * *", "R * * * *",
    "0 0 30 2 *", "0 0 31 2 ?", "0 0 30,31 FEB *", "0 0 31 2,4,6,9,11 *", "0 0 L-30 4 *",
    "0 0 31W 4 *", "0 0 L-29 2 *",
]  # fmt: skip
DAILY = {"cron": "@daily"}
OPTIONS: list[dict[str, Any]] = [
    {}, {"timezone": "UTC"}, {**DAILY, "interval_ms": 1_000}, {**DAILY, "at": "2026-01-01"},
    {"interval_ms": 1_000, "at_ms": 5}, {**DAILY, "interval_ms": 1_000, "at_ms": 5},
    {**DAILY, "colour": "red"}, {**DAILY, 5: 5}, {**DAILY, "tz": "UTC"},
    {"interval_ms": 0}, {"interval_ms": 99}, {"interval_ms": -1_000}, {"interval_ms": 1.5e3},
    {"interval_ms": True}, {"interval_ms": "5s"}, {"interval_ms": 1 << 62},
    {"interval_ms": 10**5000},
    {**DAILY, "timezone": "Mars"}, {**DAILY, "timezone": "Europe/Berln"},
    {**DAILY, "timezone": "berlin"}, {**DAILY, "timezone": "CEST"}, {**DAILY, "timezone": ""},
    {**DAILY, "timezone": "+01:00"}, {**DAILY, "timezone": "../etc/passwd"},
    {**DAILY, "timezone": "/etc/passwd"}, {**DAILY, "timezone": "Europe"},
    {**DAILY, "timezone": "right/UTC"}, {**DAILY, "timezone": "localtime"},
    {**DAILY, "timezone": 5}, {**DAILY, "timezone": "a\0b"}, {**DAILY, "timezone": "x" * 300},
    {**DAILY, "timezone": "\ud800"},
    {**DAILY, "jitter_ms": -1}, {**DAILY, "jitter_ms": 86_400_001}, {**DAILY, "jitter_ms": "1s"},
    {"interval_ms": 1_000, "jitter_ms": 1_000}, {**DAILY, "catch_up": "some"},
    {**DAILY, "catch_up": 5}, {**DAILY, "catch_up": ["all"]},
    {"at": "tomorrow"}, {"at": ""}, {"at": 5}, {"at": "18:00"}, {"at": "2026-13-01"},
    {"at": "2026-02-30T10:00"}, {"at": "2026-01-01T24:01"}, {"at": "2026-01-01T10:00+25:00"},
    {"at": "2026-1-1"}, {"at": "20260101"}, {"at": "2026-01-01T10"}, {"at": "1969-12-31"},
    {"at": "9999-01-01"}, {"at": "2026-01-01T10:00 Europe/Berlin"}, {"at_ms": -1},
    {"at_ms": 1 << 62}, {"at_ms": "5"}, {"at": "2026-01-01", "at_ms": 5},
    {"at": "2026-01-01", "start": "2026-01-01"}, {"at": "2026-01-01", "end": "2026-01-01"},
    {**DAILY, "start": "soon"}, {**DAILY, "end": "never"},
    {**DAILY, "start": "2026-01-02", "end": "2026-01-01"}, {**DAILY, "start_ms": 5, "start": "x"},
    {"cron": "0 0 29 2 *", "start": "2026-03-01", "end": "2027-03-01"},
    {"interval_ms": 3_600_000, "start_ms": 5_000, "end_ms": 4_000},
    {**DAILY, "requested_status": "stop"}, {**DAILY, "requested_status": 5},
    {**DAILY, "paused": 1}, {**DAILY, "paused": "no"},
]  # fmt: skip


def lines() -> list[str]:
    """Each row and its answer; one that is taken says so, and the test below fails."""
    found = []
    for fields in [*({"cron": cron} for cron in CRONS), *OPTIONS]:
        try:
            parse(fields)
            answer = "-: TAKEN"
        except BadRequest as error:
            answer = f"{error.fields['field']}: {error.text}"
        found.append(f"{_short(fields)}\n    {answer}".encode("ascii", "backslashreplace").decode())
    return found


def _short(fields: dict[Any, Any]) -> str:
    if fields.get("interval_ms") == 10**5000:
        return "{'interval_ms': 10**5000}"
    return repr({k: v[:40] if isinstance(v, str) else v for k, v in fields.items()})


def test_every_wrong_schedule_is_told_exactly():
    found = lines()

    assert len(found) >= 140
    assert not [line for line in found if line.endswith("TAKEN")]
    assert "\n".join(found) + "\n" == FILE.read_text()


WORDS = st.text(st.sampled_from("0123456789*/,-#?LW @MONDAYJ"), max_size=20)
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30), WORDS,
    st.binary(max_size=5), st.lists(st.integers(), max_size=2),
    st.sampled_from(["UTC", "2026-01-01"]),
)  # fmt: skip
OPTION = st.sampled_from(
    ["cron", "interval_ms", "at", "at_ms", "timezone", "jitter_ms", "catch_up", "start", "start_ms",
     "end", "end_ms", "paused", "requested_status", "other"]
)  # fmt: skip


@given(st.dictionaries(OPTION, ANYTHING, max_size=4))
@settings(max_examples=300)
def test_anything_is_a_schedule_or_refused(fields: dict[str, Any]):
    try:
        schedule = parse(fields)
    except BadRequest as error:
        assert error.fields["field"] in (*fields, "cron")
        return

    assert len(digest(schedule)) == 8
    first = schedule.next_after(-1)
    assert first is None or schedule.next_after(first - 1) == first


@given(st.lists(WORDS, min_size=5, max_size=6).map(" ".join))
@settings(max_examples=300)
def test_any_cron_expression_fires_or_is_refused(text: str):
    try:
        schedule = parse({"cron": text})
    except BadRequest:
        return

    assert schedule.next_after(0) is not None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Beirut"])
def test_what_cannot_be_is_refused_as_fast_as_what_can(zone: str):
    """No search of years for what never fires."""
    begun = time.process_time()
    for _ in range(20):
        with pytest.raises(BadRequest):
            parse({"cron": "* * 31 2,4,6,9,11 *", "timezone": zone})

    assert time.process_time() - begun < 1.0  # Measured: 0.05.


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
