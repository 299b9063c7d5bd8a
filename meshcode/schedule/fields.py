"""From the options of a schedule, as the model has them, to a `Schedule`.

The checks are those of the model, too: each gives the value to keep, or raises ValueError with
what it must be.  A node knows them from its start; calendars, zones and `datetime`, half a MiB, are
loaded with the first schedule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from meshcode.digest import blake2b
from meshcode.errors import BadRequest
from meshcode.limits import (
    SCHEDULE_INTERVAL_MS_MIN,
    SCHEDULE_JITTER_MS_MAX,
    SCHEDULE_TIME_MS_MAX,
    SCHEDULE_UNIX_MS_MAX,
)
from meshcode.schedule.schedule import Schedule

if TYPE_CHECKING:
    from meshcode.schedule.zone import Zone

CATCH_UPS = ("none", "last", "all")
# Options of the model that say nothing about when.
OTHERS = ("name", "socket", "args", "kwargs")

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?))?(Z|[+-]\d\d:?\d\d)?"
)


def check_cron(value: Any) -> str:
    """A cron expression that fires, as it was written."""
    from meshcode.schedule.cron import read_cron

    read_cron(value)
    return str(value)


def check_timezone(value: Any) -> str:
    """The name of a time zone that this machine knows."""
    from meshcode.schedule.zone import read_zone

    return read_zone(value).name


def check_interval(value: Any) -> int:
    """Whole milliseconds between two ticks."""
    return _whole(value, SCHEDULE_INTERVAL_MS_MIN, SCHEDULE_TIME_MS_MAX, "milliseconds (ten years)")


def check_jitter(value: Any) -> int:
    """Whole milliseconds by which a call may be late."""
    return _whole(value, 0, SCHEDULE_JITTER_MS_MAX, "milliseconds (a day)")


def check_catch_up(value: Any) -> str:
    """What becomes of missed ticks."""
    if value not in CATCH_UPS:
        raise ValueError("'none', 'last' or 'all'")
    return str(value)


def check_time(value: Any) -> str:
    """A time, as it was written: a wall of some zone, or with its offset."""
    time_ms(value, None)
    return str(value)


def time_ms(value: Any, zone: Zone | None) -> int:
    """Unix milliseconds of a time like 2026-12-24T18:00, of `zone` unless it says its offset.

    Raises:
        ValueError: it is none; the text is what it must be.
    """
    from datetime import datetime, timedelta

    wanted = "a time like 2026-12-24T18:00, 2026-12-24T18:00:30Z or 2026-12-24T18:00+02:00"
    found = _TIME.fullmatch(value) if isinstance(value, str) and value.isascii() else None
    if found is None:
        raise ValueError(wanted)
    try:
        wall = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}")
        offset = datetime.fromisoformat(f"2000-01-01T00:00{found[3] or 'Z'}").utcoffset()
    except ValueError:
        raise ValueError(f"{wanted}; there is no such day, hour or offset") from None
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall has no zone.
    wall_ms = (wall - epoch) // timedelta(milliseconds=1)
    if found[3] or zone is None:
        assert offset is not None
        unix_ms = wall_ms - offset // timedelta(milliseconds=1)
    else:
        unix_ms = zone.instant(wall_ms // 1000) * 1000 + wall_ms % 1000
    if not 0 <= unix_ms <= SCHEDULE_UNIX_MS_MAX:
        raise ValueError(f"{wanted}, in the years 1970 to 8999")
    return unix_ms


def parse(fields: Mapping[str, Any]) -> Schedule:
    """A schedule from its options.

    Args:
        fields: as the model has them (docs/schedules.md); None is "not given".  `at_ms`, `start_ms`
            and `end_ms` in Unix milliseconds may stand for `at`, `start` and `end`, and `paused`
            for `requested_status`.  What is called is not looked at.

    Raises:
        BadRequest: there is no such schedule; `field` has which option is wrong.
    """
    from meshcode.schedule.cron import read_cron
    from meshcode.schedule.zone import read_zone

    given = {key: value for key, value in fields.items() if value is not None}
    for key in given:
        if key not in _KNOWN and key not in OTHERS:
            raise _bad(key, f"a schedule has no option {key!r:.80}; it has: {', '.join(_KNOWN)}")
    zone = _checked(given, "timezone", read_zone, "UTC")
    at_ms, start_ms, end_ms = (_time(given, key, zone) for key in ("at", "start", "end"))
    cron = _checked(given, "cron", read_cron, None)
    interval_ms = _checked(given, "interval_ms", check_interval, None)
    kinds = [key for key in ("cron", "interval_ms", "at_ms", "at") if key in given]
    if len(kinds) != 1:
        wanted = "give one of cron, interval and at"
        if not kinds:
            raise _bad("cron", f"it has no time; {wanted}")
        raise _bad("cron", f"it has {' and '.join(kinds)}; {wanted}, and none for the others")
    schedule = Schedule(
        zone, cron, interval_ms, at_ms,
        jitter_ms=_checked(given, "jitter_ms", check_jitter, 0),
        # What is to happen once is not to be lost because the mesh was down.
        catch_up=_checked(given, "catch_up", check_catch_up, "none" if at_ms is None else "last"),
        start_ms=start_ms, end_ms=end_ms, paused=_paused(given),
    )  # fmt: skip
    _check_together(schedule)
    return schedule


def digest(found: Schedule) -> bytes:
    """8 bytes that change when the ticks do: with everything but jitter and catch_up."""
    text = "" if found.cron is None else found.cron.text
    zone = found.zone.name if text else ""
    facts = (text, zone, found.interval_ms, found.at_ms, found.start_ms, found.end_ms, found.paused)
    return blake2b(repr(facts).encode(), digest_size=8).digest()


def _paused(given: Mapping[str, Any]) -> bool:
    status, paused = given.get("requested_status", "start"), given.get("paused", False)
    if status not in ("start", "pause"):
        raise _bad("requested_status", f"requested_status is {status!r:.80}; it must be 'start' or"
                                       " 'pause'")  # fmt: skip
    if not isinstance(paused, bool):
        raise _bad("paused", f"paused is {paused!r:.80}; it must be true or false")
    return paused or status == "pause"


def _check_together(schedule: Schedule) -> None:
    start, end, interval = schedule.start_ms, schedule.end_ms, schedule.interval_ms
    if schedule.at_ms is not None and (start is not None or end is not None):
        field = "start" if start is not None else "end"
        raise _bad(field, f"it fires once, at a time, and has {field} too; give one")
    if start is not None and end is not None and end < start:
        raise _bad("end", f"the end is {_length(start - end)} before the start;"
                          " give a later one")  # fmt: skip
    if interval is not None and schedule.jitter_ms >= interval:
        raise _bad("jitter_ms", f"the jitter is {schedule.jitter_ms} ms and the interval is"
                                f" {interval} ms; give a shorter jitter")  # fmt: skip
    if end is not None and not schedule.paused and schedule.next_after(-1) is None:
        raise _bad("end", "it never fires: its first time is after its end;"
                          " give a later end")  # fmt: skip


def _length(ms: int) -> str:
    """A length of time in the unit that people would take."""
    for unit, name in ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if ms >= 2 * unit:
            return f"{round(ms / unit, 1):.12g} {name}"
    return f"{ms / 1000:g} s"


def _time(given: Mapping[str, Any], key: str, zone: Zone) -> int | None:
    unix = f"{key}_ms"
    if key in given and unix in given:
        raise _bad(key, f"it has {key} and {unix}; give one")
    found: int | None
    if unix in given:
        found = _checked(given, unix, _unix_ms, None)
    else:
        found = _checked(given, key, lambda value: time_ms(value, zone), None)
    return found


def _unix_ms(value: Any) -> int:
    return _whole(value, 0, SCHEDULE_UNIX_MS_MAX, "Unix milliseconds")


def _checked(given: Mapping[str, Any], key: str, check: Callable[[Any], Any], default: Any) -> Any:
    if key not in given and default is None:
        return None
    value = given.get(key, default)
    try:
        return check(value)
    except ValueError as exc:
        raise _bad(key, f"{key} is {_shown(value)}; it must be {exc}") from None


def _whole(value: Any, least: int, most: int, unit: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"a whole number from {least} to {most} {unit}")
    return value


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # An integer of thousands of digits.
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def _bad(field: str, text: str) -> BadRequest:
    return BadRequest(text, field=field)


_KNOWN = (
    "cron", "interval_ms", "at", "at_ms", "timezone", "jitter_ms", "catch_up", "start", "start_ms",
    "end", "end_ms", "paused", "requested_status",
)  # fmt: skip
