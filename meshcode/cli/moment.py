"""`--at TIME`: a time that a person types, in the time zone of this shell."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import click

_CLOCK = re.compile(r"\d\d:\d\d(:\d\d)?")


class Moment(click.ParamType[Any]):
    """`18:00`, `2026-12-24T18:00`, `2026-12-24T18:00+02:00`: a datetime with a time zone."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The moment; refuses one that is past."""
        if isinstance(value, datetime):
            return value
        now = datetime.now().astimezone()
        try:
            found = moment_of(str(value), now)
        except ValueError as error:
            self.fail(f"{value!r} is not a time; write {error}", param, ctx)
        if found < now:
            from meshcode.cli.plain import length_of_time

            late = length_of_time(int((now - found).total_seconds()) * 1000)
            self.fail(f"{value} is past since {late}; leave it out to begin now", param, ctx)
        return found


MOMENT = Moment()


def moment_of(text: str, now: datetime) -> datetime:
    """The moment that a text means at `now`.

    Raises:
        ValueError: it is none; the text is what it must be.
    """
    from meshcode.schedule.fields import check_time

    try:
        if _CLOCK.fullmatch(text):
            found = _local(f"{now:%Y-%m-%d}T{text}")
            if found > now:
                return found
            # The next day's, and not 24 hours later: clocks may be changed in between.
            return _local(f"{now + timedelta(days=1):%Y-%m-%d}T{text}")
        check_time(text)
    except ValueError:
        raise ValueError("18:00, 2026-12-24T18:00 or 2026-12-24T18:00+02:00") from None
    return _local(text)


def _local(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone() if found.tzinfo is None else found
