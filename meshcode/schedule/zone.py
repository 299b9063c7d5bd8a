"""Time zones: from a wall to the instant it means, and back.

An *instant* is in Unix seconds; a *wall* is what the clock shows then, as `cron.py` counts it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from meshcode.nearest import nearest
from meshcode.schedule.schedule import DAY_S

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall has no zone.
# Not the same on every node, or with leap seconds in them.
_NOT_ZONES = ("localtime", "posixrules", "Factory", "leapseconds", "tzdata.zi")


def read_zone(value: Any) -> Zone:
    """The zone of that IANA name.

    Raises:
        ValueError: there is none; the text is what it must be.
    """
    import zoneinfo

    good = isinstance(value, str) and 0 < len(value) <= 64 and value not in _NOT_ZONES
    good = good and not value.startswith(("posix/", "right/"))
    try:
        if good:  # `zoneinfo` keeps those that were read.
            return Zone(zoneinfo.ZoneInfo(value), value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise ValueError(f"the name of a time zone like Europe/Berlin or UTC{_near(value)}")


def _near(value: Any) -> str:
    import zoneinfo

    # Short ones are near to many: who writes CEST does not mean EST.
    if not isinstance(value, str) or not 5 <= len(value) <= 64:
        return ""
    lower = {name.lower(): name for name in zoneinfo.available_timezones() if "/" in name}
    lower |= {name.rpartition("/")[2]: whole for name, whole in lower.items()}
    found = nearest(value.lower(), lower, cutoff=0.75)
    return f"; did you mean {lower[found]!r}?" if found else ""


class Zone:
    """A zone: what its clocks show at which instant."""

    __slots__ = ("_info", "name")

    def __init__(self, info: Any, name: str) -> None:
        """`info` is a `zoneinfo.ZoneInfo`."""
        self._info = info
        self.name = name

    def offset(self, instant: int) -> int:
        """How many seconds its clocks are ahead of UTC at an instant."""
        moment = datetime.fromtimestamp(instant, self._info)
        return _seconds(moment.utcoffset())

    def wall(self, instant: int) -> int:
        """What its clocks show at an instant."""
        return instant + self.offset(instant)

    def instant(self, wall: int) -> int:
        """When its clocks first show this, or first show something later.

        Clocks that are put forward leave walls out: those mean the first instant afterwards.
        """
        moment = (_EPOCH + timedelta(seconds=wall)).replace(tzinfo=self._info)
        before = _seconds(moment.utcoffset())
        if self.offset(wall - before) == before:
            return wall - before
        after = _seconds(moment.replace(fold=1).utcoffset())
        low, high = sorted((wall - before, wall - after))
        found = self.change(low, high)
        return high if found is None else found

    def change(self, low: int, high: int) -> int | None:
        """The first instant after `low`, up to `high`, at which the offset is another.

        None when the offset is the same at both; at most a day apart, it was the same between.
        """
        start = self.offset(low)
        if self.offset(high) == start:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle) == start:
                low = middle
            else:
                high = middle
        return high


def _seconds(offset: timedelta | None) -> int:
    return 0 if offset is None else offset.days * DAY_S + offset.seconds
