"""`mesh add|update|delete|get schedule`, `mesh ls schedules`, `mesh schedule pause|resume`."""

from __future__ import annotations

import time
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.data import parse_json
from meshcode.cli.noun import Noun, entries
from meshcode.cli.objects import Field
from meshcode.cli.options import DURATION, command, styled
from meshcode.cli.output import Style, column
from meshcode.cli.scheduled import tell
from meshcode.cli.session import model, session
from meshcode.cli.waiting import dry_option
from meshcode.errors import BadData
from meshcode.schedule import parse
from meshcode.units import parse_duration

_TEXT = click.STRING


class Interval(click.ParamType[Any]):
    """A duration; a number alone is seconds, as the original system has them."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole milliseconds."""
        text = str(value)
        try:
            return parse_duration(f"{text}s" if text.isdecimal() else text)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Json(click.ParamType[Any]):
    """A value as JSON has it."""

    name = "json"

    def __init__(self, flag: str) -> None:
        self._flag = flag

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; whether it is a list or a map is the model's to say."""
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value, source=self._flag)
        except BadData as error:
            self.fail(error.text, param, ctx)


INTERVAL = Interval()


class _Schedules(Noun):
    """Says so when a schedule was added that never fires."""

    def _add(self, what: str, example: str) -> click.Command:
        made = super()._add(what, example)
        add = made.callback
        assert add is not None

        def add_and_tell(**given: Any) -> None:
            add(**given)
            timing = {field.field: given[field.field] for field in self._fields}
            schedule = parse(timing)
            if not schedule.paused and schedule.next_after(time.time_ns() // 1_000_000) is None:
                output.say(f"mesh: it has no time to come: schedule {given['name']} never fires")

        made.callback = add_and_tell
        return made


SCHEDULE = _Schedules(
    "schedule",
    [
        Field(
            ("-s", "--socket"), "socket", _TEXT, "Socket that is called.", required=True,
            metavar="SOCKET",
        ),
        Field(
            ("-c", "--cron"), "cron", _TEXT,
            "minute hour day month weekday, or second first; @daily and the like.", metavar="CRON",
        ),
        Field(
            ("-i", "--interval"), "interval_ms", INTERVAL,
            "Time from one call to the next; a number alone is seconds.",
        ),
        Field(
            ("--at",), "at", _TEXT, "Once, at a time: 2026-12-24T18:00 in its time zone, or with Z"
            " or +02:00.", metavar="TIME",
        ),
        Field(
            ("-tz", "--timezone"), "timezone", _TEXT, "Like Europe/Berlin.  [default: UTC]",
            metavar="ZONE",
        ),
        Field(
            ("--jitter",), "jitter_ms", DURATION,
            "Begin each call up to this much later, so that not all begin at once.",
        ),
        Field(
            ("--catch-up",), "catch_up", click.Choice(["none", "last", "all"]),
            "What is called for times when no node was up.  [default: none; with --at: last]",
        ),
        Field(("--start",), "start", _TEXT, "Not before; intervals count from it.", metavar="TIME"),
        Field(("--end",), "end", _TEXT, "Not after.", metavar="TIME"),
        Field(
            ("--args",), "args", Json("--args"), "Arguments of each call, as a JSON list.",
            metavar="JSON",
        ),
        Field(
            ("--kwargs",), "kwargs", Json("--kwargs"), "Keyword arguments, as a JSON object.",
            metavar="JSON",
        ),
        Field(
            ("-rs", "--requested-status"), "requested_status", click.Choice(["start", "pause"]),
            "Whether it fires.  [default: start]",
        ),
    ],
    [
        column("name"), column("socket"), column("cron"), column("interval_ms"), column("at"),
        column("timezone"), column("requested_status", "Wanted"), column("catch_up"),
        column("args"), column("kwargs"),
    ],
    what="a socket is called by itself: by cron, at an interval, or once.",
    example="nightly -s shop.report -c '0 3 * * *' -tz Europe/Berlin",
    then=tell,
)  # fmt: skip


def _set(name: str, status: str, style: Style, *, dry: bool) -> None:
    with session() as client:
        item = model(client, "update", "schedule", name, dry=dry, requested_status=status)
        objects.done("schedule", name, f"{status}d" if status == "pause" else "goes on", item,
                     style, dry=dry)  # fmt: skip


@command()
@objects.one_name("schedule")
@dry_option
@styled
def pause(name: str, dry: bool, style: Style) -> None:
    """Let a schedule fire no more until it is resumed; what it would have fired is skipped.

    Examples:
      mesh schedule pause nightly
    """
    _set(name, "pause", style, dry=dry)


@command()
@objects.one_name("schedule")
@dry_option
@styled
def resume(name: str, dry: bool, style: Style) -> None:
    """Let a paused schedule go on with its next time.

    Examples:
      mesh schedule resume nightly
    """
    _set(name, "start", style, dry=dry)


globals().update(entries({"schedule": SCHEDULE}))
