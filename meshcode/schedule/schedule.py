"""One schedule: its next tick, what is due, and how much later than its tick a call begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshcode.digest import blake2b
from meshcode.limits import CATCH_UP_MAX, SCHEDULE_LATE_MS, SCHEDULE_UNIX_MS_MAX

if TYPE_CHECKING:
    from meshcode.schedule.cron import Cron
    from meshcode.schedule.zone import Zone

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is to be called.  One of `cron`, `interval_ms` and `at_ms` is given.

    A *tick* is the Unix millisecond at which it fires; jitter delays the call and not the tick.
    """

    zone: Zone
    cron: Cron | None = None
    interval_ms: int | None = None
    at_ms: int | None = None
    jitter_ms: int = 0
    catch_up: str = "none"
    start_ms: int | None = None  # No tick before; an interval counts from here, else from 1970.
    end_ms: int | None = None  # No tick after.
    paused: bool = False

    def next_after(self, unix_ms: int) -> int | None:
        """The first tick after that time; None when there is none, or while it is paused."""
        if self.paused:
            return None
        after = unix_ms if self.start_ms is None else max(unix_ms, self.start_ms - 1)
        if after >= SCHEDULE_UNIX_MS_MAX:
            return None
        found = self._next(max(after, -1))
        if found is None or (self.end_ms is not None and found > self.end_ms):
            return None
        return found

    def may_fire_at(self, unix_ms: int) -> bool:
        """Whether that may be one of its ticks: quick, and false for nearly all that are none."""
        if self.at_ms is not None:
            return unix_ms == self.at_ms
        if self.interval_ms is not None:
            return (unix_ms - (self.start_ms or 0)) % self.interval_ms == 0
        return unix_ms % 1000 == 0

    def due(self, last_ms: int, now_ms: int) -> list[int]:
        """The ticks to be fired now, oldest first.

        Args:
            last_ms: the last tick that was dealt with, or when the schedule came to be.
            now_ms: the time; ticks after it are not due.

        Those that are not in the list are skipped for good: the next `last_ms` is `now_ms`.
        """
        most = CATCH_UP_MAX if self.catch_up == "all" else 1
        found = self._newest(last_ms, now_ms, most)
        if self.catch_up == "none":
            return [tick for tick in found if now_ms - tick <= SCHEDULE_LATE_MS]
        return found

    def jitter_of(self, name: str, tick_ms: int) -> int:
        """How many milliseconds after its tick the call of schedule `name` begins.

        From 0 to `jitter_ms`, the same on every node and after every crash.
        """
        if not self.jitter_ms:
            return 0
        seed = blake2b(f"{tick_ms} {name}".encode(), digest_size=8).digest()
        return int.from_bytes(seed, "big") % (self.jitter_ms + 1)

    def _newest(self, last_ms: int, now_ms: int, most: int) -> list[int]:
        """The newest ticks after `last_ms` up to `now_ms`, at most so many."""
        found = self._between(last_ms, now_ms, most + 1)
        if len(found) <= most:
            return found
        # After `low` there are more than `most`, after `high` there are not.
        low, high = last_ms, now_ms
        while high - low > 1:
            middle = (low + high) // 2
            if len(self._between(middle, now_ms, most + 1)) > most:
                low = middle
            else:
                high = middle
        return self._between(high, now_ms, most)

    def _between(self, after_ms: int, until_ms: int, most: int) -> list[int]:
        found: list[int] = []
        tick = self.next_after(after_ms)
        while tick is not None and tick <= until_ms and len(found) < most:
            found.append(tick)
            tick = self.next_after(tick)
        return found

    def _next(self, after_ms: int) -> int | None:
        if self.at_ms is not None:
            return self.at_ms if self.at_ms > after_ms else None
        if self.interval_ms is not None:
            anchor = self.start_ms or 0
            return anchor + ((after_ms - anchor) // self.interval_ms + 1) * self.interval_ms
        assert self.cron is not None
        find = _by_hours if self.cron.every_hour else _by_walls
        found = find(self.cron, self.zone, after_ms // 1000)
        return None if found is None else found * 1000


def _by_walls(cron: Cron, zone: Zone, after: int) -> int | None:
    """The first instant after `after` at which a wall is shown first, or was left out.

    `Zone.instant` never falls, so walls are taken in their order.
    """
    wall = zone.wall(after) + 1
    while True:
        found = cron.from_wall(wall)
        if found is None:
            return None
        instant = zone.instant(found)
        if instant > after:
            return instant
        # Clocks were put back and show for the second time what has fired: on to what is new.
        low, high = found, found + 2 * DAY_S
        while high - low > 1:
            middle = (low + high) // 2
            if zone.instant(middle) > after:
                high = middle
            else:
                low = middle
        wall = high


def _by_hours(cron: Cron, zone: Zone, after: int) -> int | None:
    """The first instant after `after` at which the clocks show a wall that fires."""
    at = after + 1
    while True:
        offset = zone.offset(at)
        found = cron.from_wall(at + offset)
        if found is None:
            return None
        instant = found - offset
        changed = zone.change(at, min(instant, at + DAY_S))
        if changed is not None:
            at = changed
        elif instant <= at + DAY_S:
            return instant
        else:  # Far away; only what is within a day of a change can be shown twice.
            at = max(at + DAY_S, instant - 2 * DAY_S)
