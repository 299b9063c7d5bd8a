"""The same rules by brute force: every minute of the time asked for is looked at, one by one."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def shown(unix_s: int, zone: str) -> datetime:
    """What the clock shows."""
    return datetime.fromtimestamp(unix_s, ZoneInfo(zone)).replace(tzinfo=None)


@cache
def walls(zone: str, start_s: int, end_s: int) -> list[datetime]:
    """What it shows at every whole minute."""
    return [shown(now, zone) for now in range(start_s, end_s, 60)]


class Plain:
    """A cron expression of numbers, lists, ranges and steps, read in the dullest way."""

    def __init__(self, text: str) -> None:
        minute, hour, day, month, weekday = text.split()
        self.minutes = self._numbers(minute, 0, 59)
        self.hours = self._numbers(hour, 0, 23)
        self.days = self._numbers(day, 1, 31)
        self.months = self._numbers(month, 1, 12)
        self.weekdays = {number % 7 for number in self._numbers(weekday, 0, 7)}
        self.either = not day.startswith("*") and not weekday.startswith("*")

    @staticmethod
    def _numbers(text: str, least: int, most: int) -> set[int]:
        found = set()
        for part in text.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            for number in range(least, most + 1):
                start = least if span == "*" else int(first)
                end = most if span == "*" or (step and not last) else int(last or first)
                if start <= number <= end and (number - start) % int(step or 1) == 0:
                    found.add(number)
        return found

    def fires(self, wall: datetime) -> bool:
        """Whether a wall fires."""
        if wall.minute not in self.minutes or wall.hour not in self.hours:
            return False
        if wall.month not in self.months:
            return False
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either else day and weekday


def ticks(text: str, zone: str, start: datetime, end: datetime) -> list[int]:
    """Unix seconds of all ticks from `start` to before `end`, both whole minutes."""
    cron = Plain(text)
    start_s, end_s = (int(moment.timestamp()) for moment in (start, end))
    found = []
    newest = max(walls(zone, start_s - 2 * 86_400, start_s))
    for count, wall in enumerate(walls(zone, start_s, end_s)):
        if len(cron.hours) == 24:  # Hours pass: whatever the clock shows, whenever it does.
            fires = cron.fires(wall)
        else:  # A named hour: what was left out fires now, what was shown before does not.
            fires = False
            while newest < wall:
                newest += MINUTE
                fires = fires or cron.fires(newest)
        if fires:
            found.append(start_s + 60 * count)
    return found
