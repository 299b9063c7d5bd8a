"""Cron expressions: which days and times they mean, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meshcode.schedule import parse

FROM = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000) - 1

# What it is, the expression, its first ticks from 1 January 2026, a Thursday.
MEANINGS = [
    ("every minute", "* * * * *", "01-01 00:00:00, 01-01 00:01:00"),
    ("every second", "* * * * * *", "01-01 00:00:00, 01-01 00:00:01"),
    ("seconds first", "30 15 10 * * *", "01-01 10:15:30, 01-02 10:15:30"),
    ("every ten seconds", "*/10 * * * * *", "01-01 00:00:00, 01-01 00:00:10"),
    ("a list", "0 6,18 * * *", "01-01 06:00:00, 01-01 18:00:00, 01-02 06:00:00"),
    ("a range", "0 9-11 * * *", "01-01 09:00:00, 01-01 10:00:00, 01-01 11:00:00, 01-02 09:00:00"),
    ("a step of a range", "0 8-12/2 * * *", "01-01 08:00:00, 01-01 10:00:00, 01-01 12:00:00"),
    ("a step from", "0 20/2 * * *", "01-01 20:00:00, 01-01 22:00:00, 01-02 20:00:00"),
    ("a step of all", "*/25 3 * * *", "01-01 03:00:00, 01-01 03:25:00, 01-01 03:50:00"),
    ("ranges in a list", "0 1-2,22-23 * * *", "01-01 01:00:00, 01-01 02:00:00, 01-01 22:00:00"),
    ("out of order", "0 18,6 * * *", "01-01 06:00:00, 01-01 18:00:00"),
    ("twice the same", "0 6,6,6 * * *", "01-01 06:00:00, 01-02 06:00:00"),
    ("leading zeros", "05 007 * * *", "01-01 07:05:00"),
    ("a month by name", "0 0 1 mar *", "03-01 00:00:00, 2027-03-01 00:00:00"),
    ("months by name", "0 0 1 FEB-APR *", "02-01 00:00:00, 03-01 00:00:00, 04-01 00:00:00"),
    ("a weekday by name", "0 0 * * Mon", "01-05 00:00:00, 01-12 00:00:00"),
    ("working days", "0 0 * * MON-FRI", "01-01 00:00:00, 01-02 00:00:00, 01-05 00:00:00"),
    ("a week-end", "0 0 * * SAT-SUN", "01-03 00:00:00, 01-04 00:00:00, 01-10 00:00:00"),
    ("over the week-end", "0 0 * * FRI-MON", "01-02 00:00:00, 01-03 00:00:00, 01-04 00:00:00,"
     " 01-05 00:00:00, 01-09 00:00:00"),
    ("Sunday is 0", "0 0 * * 0", "01-04 00:00:00"),
    ("and 7", "0 0 * * 7", "01-04 00:00:00"),
    ("Saturday and Sunday", "0 0 * * 6-7", "01-03 00:00:00, 01-04 00:00:00, 01-10 00:00:00"),
    ("all days", "0 0 * * 0-7", "01-01 00:00:00, 01-02 00:00:00, 01-03 00:00:00, 01-04 00:00:00"),
    ("every other weekday", "0 0 * * */2", "01-01 00:00:00, 01-03 00:00:00, 01-04 00:00:00"),
    ("a question mark", "0 0 ? * TUE", "01-06 00:00:00"),
    ("a question mark for weekdays", "0 0 6 * ?", "01-06 00:00:00"),
    ("either", "0 0 13 * FRI", "01-02 00:00:00, 01-09 00:00:00, 01-13 00:00:00"),
    ("both, after a star", "0 0 */6 * MON", "01-19 00:00:00, 04-13 00:00:00"),
    ("the last day", "0 0 L * *", "01-31 00:00:00, 02-28 00:00:00, 03-31 00:00:00"),
    ("three days before", "0 0 L-3 * *", "01-28 00:00:00, 02-25 00:00:00"),
    ("the first and the last", "0 0 1,L * *", "01-01 00:00:00, 01-31 00:00:00, 02-01 00:00:00"),
    ("the last working day", "0 0 LW * *", "01-30 00:00:00, 02-27 00:00:00, 03-31 00:00:00"),
    ("nearest, to a Saturday", "0 0 17W * *", "01-16 00:00:00"),
    ("nearest, to a Sunday", "0 0 18W * *", "01-19 00:00:00"),
    ("nearest, on a working day", "0 0 15W * *", "01-15 00:00:00"),
    ("nearest to a Sunday that begins the month", "0 0 1W 2 *", "02-02 00:00:00"),
    ("nearest to a Saturday that begins the month", "0 0 1W 8 *", "08-03 00:00:00"),
    ("nearest to a Sunday that ends the month", "0 0 31W 5 *", "05-29 00:00:00"),
    ("the second Tuesday", "0 0 * * TUE#2", "01-13 00:00:00, 02-10 00:00:00"),
    ("the fifth Friday", "0 0 * * 5#5", "01-30 00:00:00, 05-29 00:00:00"),
    ("the last Friday", "0 0 * * 5L", "01-30 00:00:00, 02-27 00:00:00"),
    ("the last Friday, by name", "0 0 * * FRIL", "01-30 00:00:00, 02-27 00:00:00"),
    ("the last Friday, as croniter has it", "0 0 * * L5", "01-30 00:00:00, 02-27 00:00:00"),
    ("the last Sunday", "0 0 * * 7L", "01-25 00:00:00, 02-22 00:00:00"),
    ("the first Monday or Thursday", "0 0 * * MON#1,THU#1", "01-01 00:00:00, 01-05 00:00:00"),
    ("a leap day", "0 0 29 2 *", "2028-02-29 00:00:00, 2032-02-29 00:00:00"),
    ("a leap day or the fifth Friday", "0 0 29 2 FRI#5", "2028-02-29 00:00:00"),
    ("five Sundays of a February", "0 0 * 2 SUN#5", "2032-02-29 00:00:00, 2060-02-29 00:00:00"),
    ("the 31st", "0 0 31 * *", "01-31 00:00:00, 03-31 00:00:00, 05-31 00:00:00"),
    ("@yearly", "@yearly", "01-01 00:00:00, 2027-01-01 00:00:00"),
    ("@annually", "@annually", "01-01 00:00:00, 2027-01-01 00:00:00"),
    ("@monthly", "@monthly", "01-01 00:00:00, 02-01 00:00:00"),
    ("@weekly", "@weekly", "01-04 00:00:00, 01-11 00:00:00"),
    ("@daily", "@Daily", "01-01 00:00:00, 01-02 00:00:00"),
    ("@midnight", "@midnight", "01-01 00:00:00, 01-02 00:00:00"),
    ("@hourly", "@hourly", "01-01 00:00:00, 01-01 01:00:00"),
    ("@minutely", " @minutely ", "01-01 00:00:00, 01-01 00:01:00"),
    ("spaces and tabs", "  0\t7   * * * ", "01-01 07:00:00"),
]


@pytest.mark.parametrize(("cron", "expected"), [row[1:] for row in MEANINGS],
                         ids=[row[0] for row in MEANINGS])  # fmt: skip
def test_the_first_ticks(cron: str, expected: str):
    schedule = parse({"cron": cron})
    wanted = expected.split(", ")
    found = []
    tick: int | None = FROM
    for _ in wanted:
        assert tick is not None
        tick = schedule.next_after(tick)
        assert tick is not None
        moment = datetime.fromtimestamp(tick / 1000, UTC)
        found.append(f"{moment:%m-%d %H:%M:%S}" if moment.year == 2026 else f"{moment:%Y-%m-%d %T}")

    assert found == wanted
