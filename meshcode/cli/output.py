"""Printing: data to stdout, talk to stderr, each listing in the format that was asked for.

    table   for people; may change
    wide    the same with every field, never cut
    json    {"kind", "schema": 1, "items": [...]}; a contract
    jsonl   one item a line
    yaml    the same document as json
    csv     a line of names, then one line for each item (RFC 4180)
    name    kind/name, one a line

With -q: the names alone, whatever the format.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TextIO

from meshcode.cli import plain, standard
from meshcode.cli.table import draw, facts, least_width
from meshcode.errors import CallerError

SCHEMA = 1  # Of the JSON documents; raised when a field is renamed or removed.
FORMATS = ("table", "wide", "json", "jsonl", "yaml", "csv", "name")

_COLOURS = {
    "DONE": "32", "OK": "32", "start": "32",
    "RUNNING": "36",
    "WAITING": "33", "DELAYED": "33", "PARKED": "33", "HELD": "33", "WARN": "33", "pause": "33",
    "FAILED": "31", "CANCELLED": "31", "FAIL": "31", "stop": "31",
    "suspect": "33", "draining": "33", "building": "33", "away": "31", "failed": "31",
}  # fmt: skip

_colour_wanted = "auto"


class Column(NamedTuple):
    """One column: the key in the item, the title, and how its value is shown in a table."""

    key: str
    title: str
    text: Callable[[Any], str] = lambda value: "" if value is None else str(value)


# With a deployment its CPUs count: the number of the processor is no number of what runs.  A saved
# flow is counted with its pipelines and such, one that runs by its calls.
_TITLES = {"workers": "workers (undeployed)", "steps": "steps as written"}
_ACRONYMS = {"cpus": "CPUs", "id": "ID", "ttl": "TTL", "url": "URL"}
# Of what ends with `_ms` these are no lengths of time: Unix milliseconds.
_MOMENTS = frozenset({
    "accepted_ms", "at_ms", "created_ms", "due_ms", "finished_ms", "made_ms", "ms", "signed_out_ms",
    "since_ms", "started_ms", "taken_ms", "unix_ms", "until_ms", "updated_ms",
})  # fmt: skip


def title_of(key: str) -> str:
    """What a field is called for people."""
    return _TITLES.get(key) or _short(key).replace("_", " ")


def _short(key: str) -> str:
    return key.removesuffix("_ms").removesuffix("_us")


def value_text(key: str, value: Any) -> str:
    """One value for people; empty when there is none."""
    if isinstance(value, str):
        return value
    if value is None or value in ({}, []):
        return ""
    if key in _MOMENTS:
        return plain.local_time(value)
    if isinstance(value, int) and key.endswith(("_ms", "_us")):
        return plain.length_of_time(value if key.endswith("_ms") else value / 1000)
    if isinstance(value, list):
        return ", ".join(value_text(key, v) if isinstance(v, dict) else str(v) for v in value)
    if key == "ended":  # Ids of logins, which only nodes know.
        return f"{len(value)} login{'' if len(value) == 1 else 's'}"
    if isinstance(value, dict):
        return " ".join(
            f"{_short(k)}={value_text(k, v)}" for k, v in value.items() if v is not None
        )
    return str(value)


def column(key: str, title: str | None = None) -> Column:
    """A column that shows `key` as `value_text` does."""
    words = [_ACRONYMS.get(word, word.capitalize()) for word in title_of(key).split()]
    return Column(key, title or " ".join(words), lambda value: value_text(key, value))


class Style(NamedTuple):
    """What -o, -q and --columns asked for."""

    format: str = "table"
    quiet: bool = False
    columns: tuple[str, ...] | None = None

    @property
    def is_text(self) -> bool:
        """Whether it is for people."""
        return self.format in ("table", "wide")


def set_colour(wanted: str) -> None:
    """Choose `auto`, `always` or `never` for the rest of this process."""
    global _colour_wanted
    _colour_wanted = wanted


def has_colour(stream: TextIO) -> bool:
    """Whether to colour `stream`: --color, MESH_COLOR, FORCE_COLOR, NO_COLOR, files, a terminal."""
    wanted = os.environ.get("MESH_COLOR", "") if _colour_wanted == "auto" else _colour_wanted
    if wanted in ("always", "never"):
        return wanted == "always"
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    from meshcode import config

    wanted = str(config.value("color"))
    return stream.isatty() if wanted == "auto" else wanted == "always"


def paint(word: str, stream: TextIO, *, code: str | None = None) -> str:
    """The word in its colour, when there is one and `stream` shows colours."""
    code = code or _COLOURS.get(word.strip())
    return f"\x1b[{code}m{word}\x1b[0m" if code and has_colour(stream) else word


def say(text: str) -> None:
    """Tell the person something: stderr, so that a pipe never sees it."""
    standard.say(text)


def write(text: str) -> None:
    """Data: one line to stdout."""
    sys.stdout.write(text + "\n")


def write_raw(value: Any) -> None:
    """Data: the value as a pipe wants it, byte for byte."""
    sys.stdout.flush()
    sys.stdout.buffer.write(plain.to_raw(value))  # All of it: `standard` sees to that.
    sys.stdout.buffer.flush()


def terminal_columns() -> int | None:
    """The width of the terminal stdout is, or None when it is none: then nothing is cut."""
    if not sys.stdout.isatty():
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except OSError:
        return None


def show(
    kind: str,
    items: Iterable[dict[str, Any]],
    columns: Sequence[Column],
    style: Style,
    *,
    name: str = "name",
    footer: str = "",
    empty: str = "",
    spare: Sequence[Column] = (),
) -> None:
    """Print a listing.

    Args:
        kind: singular, as in `kind/name` and the `kind` of the JSON document.
        items: plain data, one dict each.
        columns: of the table; with --columns, those it names instead, from these or any item key.
        name: the key that identifies an item.
        footer: said under the table only.
        empty: said on stderr when there is no item and a person looks.
        spare: columns that a terminal too narrow for all goes without, first to last.
    """
    rows = list(items)
    if style.quiet:
        write_lines(str(row.get(name, "")) for row in rows)
        return
    if style.format == "name":
        write_lines(f"{kind}/{row.get(name, '')}" for row in rows)
        return
    chosen = _choose(columns, rows, style)
    if style.is_text:
        if not rows and empty:
            say(empty)
        room = terminal_columns() if style.format == "table" else None
        _show_table(rows, chosen, room, spare if style.columns is None else ())
        if footer:
            write(footer)
        return
    if style.columns is not None or style.format == "csv":
        rows = [{c.key: row.get(c.key) for c in chosen} for row in rows]
    show_document(kind, rows, style.format)


def show_document(kind: str, items: Sequence[Any], form: str) -> None:
    """Print items as json, jsonl, yaml or csv."""
    if form == "csv":
        show_csv(items)
        return
    if form == "jsonl":
        write_lines(plain.to_json(item) for item in items)
        return
    document = {"kind": kind, "schema": SCHEMA, "items": list(items)}
    text = plain.to_yaml(document) if form == "yaml" else plain.to_json(document, indent=2) + "\n"
    sys.stdout.write(text)


def show_csv(items: Sequence[Any]) -> None:
    """A line of names, then one line for each item; what is no text or number, as JSON."""
    import csv

    names = list(dict.fromkeys(key for item in items for key in item))
    out = csv.writer(sys.stdout, lineterminator="\n")
    if names:
        out.writerow(names)
    for item in items:
        out.writerow([_csv_cell(item.get(name)) for name in names])


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    return value if isinstance(value, str | float | int) and not isinstance(value, bool) else (
        plain.to_json(value)
    )


def show_facts(
    kind: str, item: dict[str, Any], pairs: Sequence[tuple[str, str]], style: Style
) -> None:
    """Print one object: lines of `name  value` for people, else the document with one item."""
    if style.quiet or style.format == "name":
        name = item.get("name", item.get("id", ""))
        write(str(name) if style.quiet else f"{kind}/{name}")
    elif style.is_text:
        write_lines(facts([p for p in pairs if p[1] != ""]))
    else:
        show_document(kind, [item], style.format)


def write_lines(lines: Iterable[str]) -> None:
    """Data: many lines to stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")


def _choose(columns: Sequence[Column], rows: list[dict[str, Any]], style: Style) -> list[Column]:
    if style.columns is None:
        return _all(columns, rows) if style.format in ("wide", "csv") else list(columns)
    known = {c.key: c for c in columns}
    by_title = {c.title.lower().replace(" ", "_"): c for c in columns}
    extra = {key for row in rows for key in row}
    chosen = []
    for wanted in style.columns:
        found = known.get(wanted) or by_title.get(wanted.lower().replace(" ", "_"))
        if found is None and wanted in extra:
            found = column(wanted)
        if found is None:
            names = ", ".join(sorted(extra.union(known)))
            raise CallerError(f"there is no column {wanted!r} here; the columns are {names}")
        chosen.append(found)
    return chosen


def _all(columns: Sequence[Column], rows: list[dict[str, Any]]) -> list[Column]:
    """The columns of the table, then whatever else the rows have."""
    known = {c.key for c in columns}
    more = dict.fromkeys(key for row in rows for key in row if key not in known)
    return [*columns, *map(column, more)]


def _show_table(
    rows: list[dict[str, Any]], columns: Sequence[Column], room: int | None = None,
    spare: Sequence[Column] = (),
) -> None:  # fmt: skip
    cells = [[c.text(row.get(c.key)) for c in columns] for row in rows]
    for one in spare:
        if room is None or least_width([c.title for c in columns], cells) <= room:
            break
        at = columns.index(one)
        columns = [*columns[:at], *columns[at + 1 :]]
        cells = [[*row[:at], *row[at + 1 :]] for row in cells]
    lines = draw([c.title for c in columns], cells, room=room)
    if has_colour(sys.stdout):
        lines = [_paint_states(line) for line in lines]
    write_lines(lines)


def _paint_states(line: str) -> str:
    painted = []
    for part in line.split(" | "):
        word = part.strip(" |")  # The first and the last cell have the border with them.
        painted.append(part.replace(word, paint(word, sys.stdout), 1) if word else part)
    return " | ".join(painted)
