"""What becomes of times that clocks leave out or show twice, in real zones."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from meshcode.schedule import parse


def instants(zone: str, options: dict[str, object], after: str, count: int) -> list[str]:
    """The next ticks after a time with its offset, in the words of the zone's clocks."""
    schedule = parse({"timezone": zone, **options})
    tick: int | None = int(datetime.fromisoformat(after).timestamp() * 1000)
    found = []
    for _ in range(count):
        assert tick is not None
        tick = schedule.next_after(tick)
        assert tick is not None
        found.append(f"{datetime.fromtimestamp(tick / 1000, ZoneInfo(zone)):%d %H:%M %z}")
    return found


ROWS = [
    # Berlin: on 29 March 2026 the clock goes from 02:00 to 03:00.
    ("left out: at the first instant after", "Europe/Berlin", "30 2 * * *",
     "2026-03-28T00:00+01:00", ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]),
    ("its beginning left out", "Europe/Berlin", "0 2 * * *",
     "2026-03-28T12:00+01:00", ["29 03:00 +0200", "30 02:00 +0200"]),
    ("its end is there", "Europe/Berlin", "0 3 * * *",
     "2026-03-28T12:00+01:00", ["29 03:00 +0200", "30 03:00 +0200"]),
    ("several left out are one firing", "Europe/Berlin", "*/15 2 * * *",
     "2026-03-28T12:00+01:00", ["29 03:00 +0200", "30 02:00 +0200"]),
    ("left out and shown are one firing when they fall together", "Europe/Berlin", "0 2,3 * * *",
     "2026-03-28T12:00+01:00", ["29 03:00 +0200", "30 02:00 +0200", "30 03:00 +0200"]),
    # On 25 October 2026 from 03:00 to 02:00.
    ("shown twice: at the first", "Europe/Berlin", "30 2 * * *",
     "2026-10-24T12:00+02:00", ["25 02:30 +0200", "26 02:30 +0100"]),
    ("asked between the two", "Europe/Berlin", "30 2 * * *",
     "2026-10-25T02:15+01:00", ["26 02:30 +0100"]),
    ("the hour after is once", "Europe/Berlin", "0 3 * * *",
     "2026-10-24T12:00+02:00", ["25 03:00 +0100", "26 03:00 +0100"]),
    ("several shown twice", "Europe/Berlin", "*/30 2 * * *",
     "2026-10-24T12:00+02:00", ["25 02:00 +0200", "25 02:30 +0200", "26 02:00 +0100"]),
    # No hour is named: an hour is an hour.
    ("each hour in spring", "Europe/Berlin", "0 * * * *",
     "2026-03-29T00:30+01:00", ["29 01:00 +0100", "29 03:00 +0200", "29 04:00 +0200"]),
    ("each half hour in spring", "Europe/Berlin", "30 * * * *",
     "2026-03-29T00:00+01:00", ["29 00:30 +0100", "29 01:30 +0100", "29 03:30 +0200"]),
    ("each hour in autumn", "Europe/Berlin", "0 * * * *", "2026-10-25T01:30+02:00",
     ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"]),
    ("every twenty minutes in autumn", "Europe/Berlin", "*/20 * * * *", "2026-10-25T02:20+02:00",
     ["25 02:40 +0200", "25 02:00 +0100", "25 02:20 +0100", "25 02:40 +0100", "25 03:00 +0100"]),
    # New York: 8 March from 02:00 to 03:00, 1 November from 02:00 to 01:00.
    ("New York in spring", "America/New_York", "15 2 * * *",
     "2026-03-07T12:00-05:00", ["08 03:00 -0400", "09 02:15 -0400"]),
    ("New York in autumn", "America/New_York", "15 1 * * *",
     "2026-10-31T12:00-04:00", ["01 01:15 -0400", "02 01:15 -0500"]),
    # Lord Howe: half an hour; 5 April from 02:00 to 01:30, 4 October from 02:00 to 02:30.
    ("half an hour, shown twice", "Australia/Lord_Howe", "45 1 * * *",
     "2026-04-04T12:00+11:00", ["05 01:45 +1100", "06 01:45 +1030"]),
    ("half an hour, left out", "Australia/Lord_Howe", "15 2 * * *",
     "2026-10-03T12:00+10:30", ["04 02:30 +1100", "05 02:15 +1100"]),
    # Havana: at midnight; 8 March from 00:00 to 01:00, 1 November from 01:00 to 00:00.
    ("midnight left out", "America/Havana", "@daily",
     "2026-03-07T12:00-05:00", ["08 01:00 -0400", "09 00:00 -0400"]),
    ("midnight shown twice", "America/Havana", "@daily",
     "2026-10-31T12:00-04:00", ["01 00:00 -0400", "02 00:00 -0500"]),
    # Saint John's until 2011: at 00:01, so that the day before was shown again.
    ("the day before again", "America/St_Johns", "30 23 * * *",
     "2009-10-31T12:00-02:30", ["31 23:30 -0230", "01 23:30 -0330"]),
    # Apia went over the date line: there was no 30 December 2011.
    ("a day left out", "Pacific/Apia", "0 12 * * *",
     "2011-12-28T13:00-10:00", ["29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400"]),
    # Pyongyang's clocks went forward by half an hour at 23:30 on 4 May 2018.
    ("the end of a day left out", "Asia/Pyongyang", "45 23 * * *",
     "2018-05-04T12:00+08:30", ["05 00:00 +0900", "05 23:45 +0900"]),
    ("no change in UTC", "UTC", "30 2 * * *",
     "2026-03-28T12:00+00:00", ["29 02:30 +0000", "30 02:30 +0000"]),
    ("a zone that never changes", "Asia/Kathmandu", "0 0 * * *",
     "2026-03-28T12:00+00:00", ["29 00:00 +0545", "30 00:00 +0545"]),
    # Beyond the table of the zone its rule holds.
    ("in a hundred years", "Europe/Berlin", "30 2 * * *",
     "2126-03-30T12:00+02:00", ["31 03:00 +0200", "01 02:30 +0200"]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "cron", "after", "expected"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_cron(zone: str, cron: str, after: str, expected: list[str]):
    assert instants(zone, {"cron": cron}, after, len(expected)) == expected


def test_an_interval_does_not_follow_the_clocks():
    found = instants(
        "Europe/Berlin", {"interval_ms": 6 * 3_600_000, "start": "2026-03-28T12:00"},
        "2026-03-28T12:00+01:00", 4,
    )  # fmt: skip

    assert found == ["28 18:00 +0100", "29 00:00 +0100", "29 07:00 +0200", "29 13:00 +0200"]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-07-01T09:00", "01 09:00 +0200"),
        ("2026-07-01 09:00:00", "01 09:00 +0200"),
        ("2026-07-01", "01 00:00 +0200"),
        ("2026-07-01T09:00Z", "01 11:00 +0200"),
        ("2026-07-01T09:00+0530", "01 05:30 +0200"),
        ("2026-03-29T02:30", "29 03:00 +0200"),  # Left out.
        ("2026-10-25T02:30", "25 02:30 +0200"),  # Shown twice.
        ("2026-10-25T02:30+01:00", "25 02:30 +0100"),
    ],
)
def test_a_time(at: str, expected: str):
    assert instants("Europe/Berlin", {"at": at}, "2026-01-01T00:00+00:00", 1) == [expected]
