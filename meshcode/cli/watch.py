"""`-w`: print, and go on with what changes, as the node tells of it; until Ctrl-C."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from meshcode.cli import output, plain
from meshcode.cli.output import Column, Style

Rows = list[dict[str, Any]]
_BETWEEN_S = 0.1  # At least, between two looks.
_FORMATS = ("table", "wide", "jsonl", "name")


def watch_option(command: Any) -> Any:
    """Add -w / --watch."""
    return click.option(
        "-w", "--watch", is_flag=True, help="Go on, and print what changes, until Ctrl-C."
    )(command)


def bursts(client: Any, channel: str) -> Iterator[None]:
    """Once now, then after each burst of events of a channel."""
    pause = threading.Event()
    with client.ask_stream("subscribe", channel=channel) as stream:
        yield  # What is asked now comes after the subscription, so nothing falls in between.
        looked_s = time.monotonic()
        for _ in stream:
            # The first event is followed at once; of a storm only so much is looked at.
            pause.wait(looked_s + _BETWEEN_S - time.monotonic())
            while stream.has_next():
                next(stream)
            looked_s = time.monotonic()
            yield


def watch(
    client: Any,
    channel: str,
    rows_of: Callable[[], Rows],
    kind: str,
    columns: Sequence[Column],
    style: Style,
    *,
    name: str = "name",
    key: str = "",
    watched: Sequence[str] = (),
) -> None:
    """Print a listing, and again whenever it is another one; with jsonl the rows that changed.

    Args:
        client: of this command.
        channel: of the node's events, after which to look again.
        rows_of: looks.
        kind, columns, style, name: as for `output.show`.
        key: tells items apart; `name` when left out.
        watched: another of these is a change; any of the item when left out.
    """
    check(style)
    known: dict[str, dict[str, Any]] = {}
    is_first = True
    for _ in bursts(client, channel):
        now = {str(row[key or name]): row for row in rows_of()}
        changes = list(_changes(known, now, watched))
        if changes or is_first:
            _print(changes, list(now.values()), kind, columns, style, name)
            sys.stdout.flush()
        known, is_first = now, False


def check(style: Style) -> None:
    """Refuse a format that has an end.

    Raises:
        click.UsageError: json, yaml and csv are one document.
    """
    if style.format not in _FORMATS:
        raise click.UsageError(
            f"--watch prints {', '.join(_FORMATS)}, not {style.format}: that is one document",
            click.get_current_context(),
        )


def _changes(
    known: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]], watched: Sequence[str]
) -> Iterator[dict[str, Any]]:
    at_ms = time.time_ns() // 1_000_000
    for key in [*now, *(key for key in known if key not in now)]:
        row = now.get(key)
        if row is None:
            yield {"change": "deleted", "at_ms": at_ms, **known[key]}
        elif key not in known:
            yield {"change": "added", "at_ms": at_ms, **row}
        elif _seen(row, watched) != _seen(known[key], watched):
            yield {"change": "changed", "at_ms": at_ms, **row}


def _seen(row: dict[str, Any], watched: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in watched if name in row} if watched else row


def _print(
    changes: Rows, rows: Rows, kind: str, columns: Sequence[Column], style: Style, name: str
) -> None:
    if style.is_text and not style.quiet:
        output.write(plain.local_time(time.time_ns() // 1_000_000))
        output.show(kind, rows, columns, style, name=name)
        return
    if style.columns is not None:
        style = style._replace(columns=("change", *style.columns))
    output.show(kind, changes, [Column("change", "Change"), *columns], style, name=name)
