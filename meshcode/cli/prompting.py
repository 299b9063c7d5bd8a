"""Asking a person for each option of an object, with what it has now in brackets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from meshcode.cli import output
from meshcode.cli.objects import LABELS, Field
from meshcode.cli.options import OrNone
from meshcode.cli.output import value_text


def wanted(prompt: bool, given: Mapping[str, Any]) -> bool:
    """Whether to ask: when told to, or when nothing was given and a person is there."""
    nothing = all(value is None for value in given.values())
    return prompt or (nothing and sys.stdin.isatty() and sys.stderr.isatty())


def ask(table: Sequence[Field], now: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `given`, and for the others what the person types.

    Return keeps what is there, `none` takes it away.  Nothing is sent before all was asked.

    Args:
        table: the options that can be changed.
        now: the object as it is.
        given: what was said on the command line already; it is not asked.

    Raises:
        click.Abort: the person ended it; nothing was changed.
    """
    found = dict(given)
    output.say("Return keeps what is in brackets, none takes it away, Ctrl-C changes nothing.")
    for field in table:
        if given.get(field.field) is not None or field is LABELS:  # They are a map, not a word.
            continue
        kept = value_text(field.field, now.get(field.field))
        typed = click.prompt(
            f"{field.flags[-1].lstrip('-')} ({_meaning(field)})",
            default=kept, show_default=bool(kept), err=True,
            value_proc=_reader(field, kept),
        )  # fmt: skip
        if typed is not _KEPT:
            found[field.field] = typed
    return found


def _meaning(field: Field) -> str:
    """Its help up to the default, which the prompt shows by itself."""
    return field.help.partition("  [")[0].removesuffix(".")


_KEPT = object()


def _reader(field: Field, kept: str) -> Any:
    kind: Any = field.type if field.required else OrNone(field.type)

    def read(text: str) -> Any:
        if text == kept:
            return _KEPT
        return kind.convert(text, None, click.get_current_context())

    return read
