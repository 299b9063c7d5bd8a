"""Cron expressions: which seconds of which days of a calendar they mean.

    [second] minute hour day month weekday

Nothing here knows of zones: a *wall* is what a clock on a wall shows, in seconds since it showed
1 January 1970.  docs/schedules.md has the syntax for people.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from meshcode.schedule.schedule import DAY_S

CRON_CHARS_MAX = 200
YEARS_MAX = 48  # Between two firings at the most: 29 February on a Friday, over 2100, takes 40.
YEAR_MAX = 9_000  # Where the search ends, with room below the last year that Python knows.

_EPOCH = date(1970, 1, 1).toordinal()
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SHORT = {
    "@YEARLY": "0 0 1 1 *", "@ANNUALLY": "0 0 1 1 *", "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0", "@DAILY": "0 0 * * *", "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *", "@MINUTELY": "* * * * *",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the six fields."""

    name: str
    least: int
    most: int
    words: tuple[str, ...] = ()  # Names of the numbers, from `least`.

    def number(self, text: str, whole: str) -> int:
        """The number that stands in a part of a field; `whole` is the part, for the error."""
        if text in self.words:
            return self.least + self.words.index(text)
        good = text.isascii() and text.isdigit() and len(text) <= 4
        if not good or not self.least <= int(text) <= self.most:
            words = f" or {self.words[0]} to {self.words[-1]}" if self.words else ""
            raise ValueError(
                f"one whose {self.name} is from {self.least} to {self.most}{words},"
                f" not {whole or 'nothing'}"
            )
        return int(text)


_SECOND, _MINUTE, _HOUR = _Kind("second", 0, 59), _Kind("minute", 0, 59), _Kind("hour", 0, 23)
_DAY, _MONTH = _Kind("day", 1, 31), _Kind("month", 1, 12, _MONTHS)
_WEEKDAY = _Kind("weekday", 0, 7, _WEEKDAYS)
_FROM_LAST = re.compile(r"L(?:-([0-9]{1,2}))?")
_NEAREST = re.compile(r"([0-9]{1,2})W")
_LAST_WEEKDAY = re.compile(r"(?:([0-7]|[A-Z]{3})L|L([0-7]|[A-Z]{3}))")


@dataclass(frozen=True, slots=True)
class Cron:
    """What an expression means."""

    text: str  # As `digest` takes it: upper case, single spaces, six fields.
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    from_last: frozenset[int]  # 0 is the last day of the month, 1 the one before.
    nearest: frozenset[int]  # The weekday nearest to this day; 0 is the last weekday of the month.
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday.
    numbered: frozenset[tuple[int, int]]  # Weekday, and which of the month; 0 is the last.
    either: bool  # A day of the month or a weekday will do; else both are needed.

    @property
    def every_hour(self) -> bool:
        """Whether it fires in each hour of its days: then hours pass, and no hour is named."""
        return len(self.hours) == 24

    def from_wall(self, wall: int) -> int | None:
        """The first wall that fires at `wall` or later; None when there is none any more."""
        day, second = divmod(wall, DAY_S)
        found = self._day_from(day)
        if found == day:
            inside = self._second_from(second)
            if inside is not None:
                return day * DAY_S + inside
            found = self._day_from(day + 1)
        if found is None:
            return None
        return found * DAY_S + self.hours[0] * 3600 + self.minutes[0] * 60 + self.seconds[0]

    def _second_from(self, second: int) -> int | None:
        hour, minute, rest = second // 3600, second // 60 % 60, second % 60
        first = self.minutes[0] * 60 + self.seconds[0]
        at = bisect_left(self.hours, hour)
        if at == len(self.hours):
            return None
        if self.hours[at] > hour:
            return self.hours[at] * 3600 + first
        inside = bisect_left(self.minutes, minute)
        if inside < len(self.minutes) and self.minutes[inside] == minute:
            found = bisect_left(self.seconds, rest)
            if found < len(self.seconds):
                return hour * 3600 + minute * 60 + self.seconds[found]
            inside += 1
        if inside < len(self.minutes):
            return hour * 3600 + self.minutes[inside] * 60 + self.seconds[0]
        return self.hours[at + 1] * 3600 + first if at + 1 < len(self.hours) else None

    def _day_from(self, day: int) -> int | None:
        from calendar import monthrange  # Only here: with it come the names of months and days.

        start = date.fromordinal(_EPOCH + day)
        year, month, least = start.year, start.month, start.day
        while year <= min(start.year + YEARS_MAX, YEAR_MAX):
            if month in self.months:
                first, length = monthrange(year, month)
                for number in range(least, length + 1):
                    if self._fires_on(number, (first + number) % 7, length):
                        return date(year, month, number).toordinal() - _EPOCH
            least = 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None

    def _fires_on(self, day: int, weekday: int, length: int) -> bool:
        by_month = day in self.days or (length - day) in self.from_last
        by_month = by_month or (bool(self.nearest) and self._is_nearest(day, weekday, length))
        if by_month and self.either:
            return True
        if not by_month and not self.either:
            return False
        return (
            weekday in self.weekdays
            or (weekday, (day + 6) // 7) in self.numbered
            or (day + 7 > length and (weekday, 0) in self.numbered)
        )

    def _is_nearest(self, day: int, weekday: int, length: int) -> bool:
        if weekday in (0, 6):
            return False
        meant = {day}
        if weekday == 1:  # For Sunday, and for a Saturday that begins the month.
            meant |= {day - 1} if day > 1 else set()
            meant |= {1} if day == 3 else set()
        if weekday == 5:  # For Saturday, and for a Sunday that ends the month.
            meant |= {day + 1} if day < length else set()
            meant |= {length} if day == length - 2 else set()
        last = day + (1 if weekday < 5 else 3) > length
        return bool(meant & self.nearest) or (last and 0 in self.nearest)


def read_cron(value: Any) -> Cron:
    """The meaning of a cron expression.

    Raises:
        ValueError: it is none, or it never fires; the text is what it must be.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > CRON_CHARS_MAX:
        raise ValueError(f"a cron expression like '0 7 * * MON-FRI', of 1 to {CRON_CHARS_MAX}"
                         " characters")  # fmt: skip
    return _read(" ".join(value.upper().split()))


# The model looks at an expression when it is declared, in each snapshot, and when it is used.
@lru_cache(maxsize=1024)
def _read(text: str) -> Cron:
    if text.startswith("@"):
        text = _long(text)
    parts = text.split()
    if len(parts) not in (5, 6):
        raise ValueError(
            "5 fields (minute hour day month weekday), or 6 with seconds first;"
            f" this has {len(parts)}"
        )
    if len(parts) == 5:
        parts.insert(0, "0")
    days, from_last, nearest = _days(parts[3])
    weekdays, numbered = _weekdays(parts[5])
    cron = Cron(
        text=" ".join(parts),
        seconds=_plain(_SECOND, parts[0]),
        minutes=_plain(_MINUTE, parts[1]),
        hours=_plain(_HOUR, parts[2]),
        days=days, from_last=from_last, nearest=nearest,
        months=frozenset(_plain(_MONTH, parts[4])),
        weekdays=weekdays, numbered=numbered,
        # As cron(8) has it: two that are no star are alternatives.
        either=parts[3][0] not in "*?" and parts[5][0] not in "*?",
    )  # fmt: skip
    if cron.from_wall((date(2000, 1, 1).toordinal() - _EPOCH) * DAY_S) is None:
        raise ValueError(
            f"one that fires: no month that it names has a day {parts[3]}"
            + ("" if parts[5][0] in "*?" else f" that is {parts[5]}")
        )
    return cron


def _long(text: str) -> str:
    if text in _SHORT:
        return _SHORT[text]
    known = ", ".join(word.lower() for word in _SHORT)
    if text == "@REBOOT":
        raise ValueError(f"a time, and @reboot is none: a mesh is never started anew; there"
                         f" are {known}")  # fmt: skip
    if text.startswith("@EVERY"):
        raise ValueError(f"a time, and @every is an interval: give interval instead; there"
                         f" are {known}")  # fmt: skip
    raise ValueError(f"five fields, or one of {known}")


def _plain(kind: _Kind, text: str) -> tuple[int, ...]:
    """The numbers of a field that has nothing else: lists, ranges, steps, stars."""
    found: set[int] = set()
    for part in text.split(","):
        found |= _part(kind, part)
    return tuple(sorted(found))


def _part(kind: _Kind, text: str) -> set[int]:
    span, slash, step_text = text.partition("/")
    step = 1
    if slash:
        if not step_text.isascii() or not step_text.isdigit() or int(step_text[:4]) == 0:
            raise ValueError(f"one whose {kind.name} has a step above 0, not {text}")
        step = int(step_text[:4])
        if step > kind.most - kind.least + (kind is not _WEEKDAY):
            raise ValueError(
                f"one whose {kind.name} has a step within {kind.least} to {kind.most}, not {text}"
            )
    low, dash, high = span.partition("-")
    if span == "*" or (span == "?" and kind in (_DAY, _WEEKDAY)):
        first, last = kind.least, 6 if kind is _WEEKDAY else kind.most
    elif not dash:
        first = kind.number(low, text)
        last = kind.most if slash else first
    else:
        first, last = kind.number(low, text), kind.number(high, text)
        if kind is _WEEKDAY and last < first:  # Weeks begin anew: FRI-MON.
            last += 7
        if last < first:
            raise ValueError(
                f"one whose {kind.name} does not go backwards, as {span} does; write"
                f" {low}-{kind.most},{kind.least}-{high}"
            )
    numbers = set(range(first, last + 1, step))
    return {number % 7 for number in numbers} if kind is _WEEKDAY else numbers


def _days(text: str) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    days: set[int] = set()
    from_last: set[int] = set()
    nearest: set[int] = set()
    for part in text.split(","):
        back, near = _FROM_LAST.fullmatch(part), _NEAREST.fullmatch(part)
        if back is not None:
            if int(back[1] or 0) > 30:
                raise ValueError(f"one whose day is at most L-30, not {part}")
            from_last.add(int(back[1] or 0))
        elif part in ("LW", "WL"):
            nearest.add(0)
        elif near is not None:
            nearest.add(_DAY.number(near[1], part))
        else:
            days |= _part(_DAY, part)
    return frozenset(days), frozenset(from_last), frozenset(nearest)


def _weekdays(text: str) -> tuple[frozenset[int], frozenset[tuple[int, int]]]:
    weekdays: set[int] = set()
    numbered: set[tuple[int, int]] = set()
    for part in text.split(","):
        last = _LAST_WEEKDAY.fullmatch(part)
        day, sharp, which = part.partition("#")
        if last is not None:
            numbered.add((_WEEKDAY.number(last[1] or last[2], part) % 7, 0))
        elif sharp:
            if which not in ("1", "2", "3", "4", "5"):
                raise ValueError(f"one whose weekday is the #1 to #5 of the month, not {part}")
            numbered.add((_WEEKDAY.number(day, part) % 7, int(which)))
        elif part == "L":
            raise ValueError("one that says which weekday is the last: 5L or FRIL, not L")
        else:
            weekdays |= _part(_WEEKDAY, part)
    return frozenset(weekdays), frozenset(numbered)
