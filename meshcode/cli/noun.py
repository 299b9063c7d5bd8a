"""The six commands of a kind of object that needs nothing of its own, made from one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from meshcode.cli import objects
from meshcode.cli.labels import selectors_option
from meshcode.cli.objects import Field
from meshcode.cli.options import command, listing, styled
from meshcode.cli.output import Column, Style
from meshcode.cli.waiting import dry_option
from meshcode.cli.watch import watch_option


class Noun:
    """`mesh add|update|delete|get KIND`, `mesh ls KINDs|KIND`.

    Args:
        kind: as the model names it.
        fields: its options.
        columns: of the listing.
        what: a sentence for the help of `add`: what one is.
        example: the options of an example.
        adapt: makes options of the model of those that were typed, given the name.
        update: further options of `update`.
        then: looks at an object that was added or changed, and may say something of it.
    """

    def __init__(
        self, kind: str, fields: Sequence[Field], columns: Sequence[Column], *, what: str,
        example: str, adapt: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
        update: Sequence[Field] = (), then: objects.Then | None = None,
    ) -> None:  # fmt: skip
        self.kind = kind
        self._then = then
        self._adapt = adapt or (lambda _name, given: given)
        self._more = update
        self._fields = fields
        self.columns = columns
        self.add = self._add(what, example)
        self.update = self._update(example)
        self.delete = self._delete()
        self.get = self._show("get")
        self.ls_one = self._show("ls")
        self.ls_all = self._ls_all()

    def _add(self, what: str, example: str) -> click.Command:
        @objects.name_option(self.kind)
        @objects.fields(self._fields)
        @objects.exists_ok_option
        @dry_option
        @styled
        def add(name: str, exists_ok: bool, dry: bool, style: Style, **given: Any) -> None:
            options = self._adapt(name, given)
            objects.add(
                self.kind, name, options, style, exists_ok=exists_ok, dry=dry, then=self._then
            )

        return _made(add, "add", f"Add a {self.kind}: {what}", f"add {self.kind} -n {example}")

    def _update(self, example: str) -> click.Command:
        @objects.one_name(self.kind)
        @objects.fields([*self._fields, *self._more], update=True)
        @dry_option
        @styled
        def update(name: str, dry: bool, style: Style, **given: Any) -> None:
            options = self._adapt(name, given)
            objects.update(self.kind, name, options, style, dry=dry, then=self._then)

        text = f"Change a {self.kind}; `none` takes an option away."
        return _made(update, "update", text, f"update {self.kind} -n {example}")

    def _delete(self) -> click.Command:
        @objects.one_name(self.kind)
        @objects.yes_option
        @dry_option
        @styled
        def delete(name: str, yes: bool, dry: bool, style: Style) -> None:
            objects.delete(self.kind, name, yes=yes, style=style, dry=dry)

        return _made(delete, "delete", f"Remove a {self.kind}.", f"delete {self.kind} NAME -y")

    def _show(self, verb: str) -> click.Command:
        @objects.one_name(self.kind)
        @watch_option
        @styled
        def show(name: str, watch: bool, style: Style) -> None:
            objects.show_one(self.kind, name, style, watch=watch)

        return _made(show, self.kind, f"Show a {self.kind}.", f"{verb} {self.kind} NAME -o json")

    def _ls_all(self) -> click.Command:
        labelled = objects.LABELS in self._fields

        @selectors_option if labelled else _as_it_is
        @watch_option
        @listing
        def ls_all(watch: bool, style: Style, labels: tuple[str, ...] = ()) -> None:
            objects.listed(
                self.kind, self.columns, style, watch=watch, labels=labels,
                empty=f"no {self.kind} yet; add one: mesh add {self.kind} --help",
            )  # fmt: skip

        return _made(ls_all, f"{self.kind}s", f"List {self.kind}s.", f"ls {self.kind}s")


def _as_it_is(function: Any) -> Any:
    return function


def _made(function: Any, name: str, text: str, example: str) -> click.Command:
    function.__doc__ = f"{text}\n\nExamples:\n  mesh {example}\n"
    made: click.Command = command(name=name)(function)
    return made


def entries(nouns: Mapping[str, Noun]) -> dict[str, click.Command]:
    """The commands of a module by the names the registry gives them: `add_plug`, `ls_plugs`."""
    found = {}
    for kind, noun in nouns.items():
        for verb in ("add", "update", "delete", "get"):
            found[f"{verb}_{kind}"] = getattr(noun, verb)
        found[f"ls_{kind}"] = noun.ls_one
        found[f"ls_{kind}s"] = noun.ls_all
    return found
