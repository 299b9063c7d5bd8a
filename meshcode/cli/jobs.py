"""`mesh ls jobs`: the next runs of every schedule, and the calls that wait for a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from meshcode.cli import output, plain
from meshcode.cli.call import rows_of_page
from meshcode.cli.nodes import end_partial
from meshcode.cli.options import command, listing
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import beside, objects, session
from meshcode.errors import BadRequest
from meshcode.listing import whole_page
from meshcode.model.kinds import FIELDS
from meshcode.schedule import Schedule, parse

CALLS_MAX = 1_000
_COLUMNS = [
    Column("due_ms", "Due", plain.local_time), column("schedule"), column("socket"),
    column("state"), column("id", "ID"),
]  # fmt: skip


@command()
@click.option(
    "-n", "--next", "count", type=click.IntRange(1, 1_000), default=5, show_default=True,
    help="Next runs of each schedule.",
)  # fmt: skip
@listing
def ls_jobs(count: int, style: Style) -> None:
    """List what is to run: the next runs of each schedule, and the calls that wait for a time: an
    ETA, or the delay before a retry; of those at most 1,000.

    A schedule that is paused, or has no further time, has one row without a time.

    Examples:
      mesh ls jobs
      mesh ls jobs -n 1 --columns schedule,due_ms
      mesh ls jobs -o json | jq '.items[] | select(.schedule == "nightly") | .due_ms'
    """
    with session() as client:
        found = whole_page(client.ask, "mesh.calls", {"rows": CALLS_MAX, "state": "DELAYED"})
        schedules = beside("schedules", lambda: objects(client, "schedule")) or []
    now_ms = time.time_ns() // 1_000_000
    calls = rows_of_page(found, 1, CALLS_MAX)
    rows = [{"schedule": None, **call, "name": call["id"]} for call in calls]
    for item in schedules:
        rows += runs_of(item, now_ms, count)
    rows.sort(key=lambda row: (row["due_ms"] is None, row["due_ms"] or 0, str(row["name"])))
    output.show(
        "job", rows, _COLUMNS, style,
        empty="nothing is to run; add a schedule: mesh add schedule --help",
    )  # fmt: skip
    end_partial(found["silent"])


def runs_of(item: Mapping[str, Any], now_ms: int, count: int) -> Iterator[dict[str, Any]]:
    """The next runs of a schedule, as rows."""
    row = {
        "name": item["name"], "schedule": item["name"], "socket": item["socket"],
        "state": "SCHEDULED", "due_ms": None, "id": None,
    }  # fmt: skip
    try:
        schedule = parse({option: item.get(option) for option in FIELDS["schedule"]})
    except BadRequest as error:  # The time zones of this machine are older than the node's.
        yield {**row, "state": "UNKNOWN", "reason": error.text}
        return
    ticks = ticks_of(schedule, str(item["name"]), now_ms, count)
    for due_ms in ticks:
        yield {**row, "due_ms": due_ms}
    if not ticks:
        yield {**row, "state": "PAUSED" if schedule.paused else "ENDED"}


def ticks_of(schedule: Schedule, name: str, now_ms: int, count: int) -> list[int]:
    """When the calls of its next ticks begin, jitter included."""
    found: list[int] = []
    tick = schedule.next_after(now_ms)
    while tick is not None and len(found) < count:
        found.append(tick + schedule.jitter_of(name, tick))
        tick = schedule.next_after(tick)
    return sorted(found)
