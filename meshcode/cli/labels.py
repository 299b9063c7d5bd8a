"""Labels: `--label KEY=VALUE` of an object, and `-l KEY=PATTERN` of a listing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from meshcode.cli.options import NONE

Rows = list[dict[str, Any]]


def label_option(*, update: bool = False) -> Any:
    """Add --label; the command gets all of an object's labels as `labels`, or None."""
    text = "A word to find and to privilege it by"
    return map_option("--label", "labels", "KEY=VALUE", text, update=update)


def map_option(flag: str, name: str, metavar: str, text: str, *, update: bool) -> Any:
    """Add an option that is given once for each entry of a map; the command gets all, or None."""
    more = "; all it is to have, or `none`" if update else "; may be repeated"
    return click.option(
        flag, name, multiple=True, metavar=metavar, callback=_map, help=f"{text}{more}."
    )


def _map(_ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> Any:
    if not given:
        return None
    if given == ("none",):
        return NONE
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"write {param.metavar}, this has no '=': {text!r}")
        if key in found:
            raise click.BadParameter(f"{key} is given twice: {found[key]!r} and {value!r}")
        found[key] = value
    return found


def selectors_option(command: Any) -> Any:
    """Add -l; the command gets what it was given as `labels`."""
    return click.option(
        "-l", "--label", "labels", multiple=True, metavar="KEY=PATTERN", callback=_selectors,
        help="Only those with this label; all of them when repeated.",
    )(command)  # fmt: skip


def _selectors(
    _ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    if not given:
        return ()
    from meshcode.model.usercheck import check_selector

    try:
        return tuple(check_selector(text) for text in given)
    except ValueError as error:
        raise click.BadParameter(f"write {error}") from None


def having(rows: Iterable[dict[str, Any]], selectors: Sequence[str]) -> Rows:
    """The objects that have a label for each of the selectors."""
    if not selectors:
        return list(rows)
    from meshcode.model.usercheck import has_label

    return [row for row in rows if all(has_label(row.get("labels"), one) for one in selectors)]
