"""What the four kinds of model object have in common: add, update, delete, get, list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from meshcode.cli import output
from meshcode.cli.labels import having, label_option
from meshcode.cli.options import NONE, OrNone, complete
from meshcode.cli.output import Column, Style, column, title_of, value_text
from meshcode.cli.session import model, objects, session
from meshcode.errors import MeshError, UnknownObject

_HOUSEKEEPING = ("id", "owner", "revision", "created_ms", "updated_ms")  # Shown last.


class Field(NamedTuple):
    """An option of a kind: how it is typed, and the field of the model it sets."""

    flags: tuple[str, ...]
    field: str
    type: click.ParamType[Any]
    help: str
    required: bool = False
    metavar: str | None = None


Then = Callable[[Any, Mapping[str, Any]], None]
# An option with such a metavar names an object of the kind.
_NAMED = frozenset({"network", "plug", "processor", "queue", "scheduler", "socket"})
# The labels of the kinds that have them; `fields` knows how they are typed.
LABELS = Field(("--label",), "labels", click.STRING, "", metavar="KEY=VALUE")


def fields(table: Sequence[Field], *, update: bool = False) -> Callable[[Any], Any]:
    """Add the options of a kind; when updating none is required and `none` takes one away."""

    def decorate(command: Any) -> Any:
        decorated: Any = command
        for field in reversed(table):
            if field is LABELS:
                decorated = label_option(update=update)(decorated)
                continue
            optional = update and not field.required
            names = (field.metavar or "").lower()
            decorated = click.option(
                *field.flags,
                field.field,
                type=OrNone(field.type) if optional else field.type,
                required=field.required and not update,
                metavar=field.metavar,
                help=field.help,
                shell_complete=complete(names) if names in _NAMED else None,
            )(decorated)
        return decorated

    return decorate


_WORD = "meshcode.cli.name"  # In the `meta` of a command: NAME as a word.


def name_option(kind: str) -> Callable[[Any], Any]:
    """Add NAME of a new object, which may also be written `-n NAME`; the command gets it as `name`.

    A person at a terminal is asked for it.
    """

    def keep(ctx: click.Context, _param: click.Parameter, word: str | None) -> None:
        ctx.meta[_WORD] = word

    def decorate(command: Any) -> Any:
        option = click.option(
            "-n", "--name", help=f"Name of the {kind}.", prompt="Name",
            cls=_AskedFor, kind=kind,
        )  # fmt: skip
        word = click.argument(
            "name_word", metavar="NAME", required=False, is_eager=True, expose_value=False,
            callback=keep,
        )
        return word(option(command))

    return decorate


def _is_person() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


class _AskedFor(click.Option):
    """A required name: as a word, as an option, or asked for where a person is there."""

    def __init__(self, *args: Any, kind: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self._usage = f"name one {kind}, as NAME or with -n NAME"

    def prompt_for_value(self, ctx: click.Context) -> Any:
        word = ctx.meta[_WORD]
        if word is not None:
            return word
        if not _is_person():
            raise click.UsageError(self._usage, ctx)
        return click.prompt(str(self.prompt), err=True)

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        found = super().process_value(ctx, value)
        word = ctx.meta[_WORD]
        if word not in (None, found):
            raise click.UsageError(f"{self._usage}; this names {word!r} and {found!r}", ctx)
        return found


def one_name(kind: str, *flags: str, ask: bool = False) -> Callable[[Any], Any]:
    """Add NAME, which may also be written `-n NAME` or, with the id, `--id ID`.

    The command gets it as `name`.  `flags` are further ones for `-n`; with `ask` a person at a
    terminal who gave none is asked for it.
    """

    def decorate(command: Any) -> Any:
        from functools import wraps

        @wraps(command)
        def with_name(*args: Any, **kwargs: Any) -> Any:
            id = kwargs.pop("name_id")
            all_given = (kwargs.pop("name_word"), kwargs.pop("name"), id)
            given = [text for text in all_given if text is not None]
            if not given and ask and _is_person():
                given = [click.prompt("Name", err=True)]
            if len(given) != 1:
                raise click.UsageError(
                    f"name one {kind}, as NAME or with -n NAME"
                    + (f"; this names {' and '.join(map(repr, given))}" if given else ""),
                    click.get_current_context(),
                )
            name = given[0] if id is None else _name_of(kind, id)
            return command(*args, name=name, **kwargs)

        decorated: Any = click.option("--id", "name_id", metavar="ID", help="Its id instead.")(
            click.option(
                "-n", *flags, "--name", shell_complete=complete(kind), help=f"Name of the {kind}."
            )(with_name)
        )
        return click.argument(
            "name_word", metavar="NAME", required=False, shell_complete=complete(kind)
        )(decorated)

    return decorate


def _name_of(kind: str, id: str) -> str:
    """The name of the object of an id: what is shown and asked afterwards is by name."""
    with session() as client:
        return str(one(client, kind, id)["name"])


def exists_ok_option(command: Any) -> Any:
    """Add --exists-ok."""
    return click.option(
        "--exists-ok", is_flag=True,
        help="Succeed when it is there already and has all that is given here.",
    )(command)  # fmt: skip


def yes_option(command: Any) -> Any:
    """Add -y."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def given_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, `none` as None."""
    return {k: None if v is NONE else v for k, v in options.items() if v is not None}


def add(
    kind: str, name: str, options: Mapping[str, Any], style: Style, *, exists_ok: bool,
    dry: bool = False, wait: float | None = None, then: Then | None = None,
) -> None:  # fmt: skip
    """Add an object and say so; with `wait`, once the workers it needs are ready.

    Args:
        then: looks at the object as it is now, and may say something of it.
    """
    given = given_fields(options)
    if exists_ok:
        given["exists_ok"] = True
    with session() as client:
        added = model(client, "add", kind, name, dry=dry, **given)
        done(kind, name, verb_of(added), added, style, dry=dry)
        if then is not None:
            then(client, added)
        wait_for(client, kind, added, None if dry else wait)


def verb_of(added: Mapping[str, Any]) -> str:
    """What became of an object that was to be there, by the answer of the model."""
    return "is there already and is unchanged" if added.get("existed") else "added"


def _changed_verb(changed: Any) -> str:
    """What became of an object that was to be changed; older nodes never say "unchanged"."""
    same = isinstance(changed, dict) and changed.get("unchanged")
    return "is so already and is unchanged" if same else "changed"


def wait_for(
    client: Any, kind: str, item: Mapping[str, Any], seconds: float | None, before: str = ""
) -> None:
    """Wait for the workers that an object needs.

    Args:
        seconds: that are waited at most; None does not wait.
        before: the commit that ran before the change; another one is told.
    """
    if seconds is None:
        return
    from meshcode.cli.waiting import until_level

    sys.stdout.flush()  # What was done is said before the wait.
    name = str(item["name"] if kind == "processor" else item["processor"])
    until_level(client, name, seconds, before)


def commit_before(client: Any, kind: str, name: str, seconds: float | None) -> str:
    """The commit that a processor runs on this node before a change that is to be waited for, as
    `wait_for` takes it; "" when none runs, or nothing is waited for.
    """
    if seconds is None or kind != "processor":
        return ""
    try:
        rows = client.ask("status")["processors"]
    except MeshError:  # Whether it may be changed is another question.
        return ""
    return next((row.get("commit") or "" for row in rows if row["name"] == name), "")


def update(
    kind: str, name: str, options: Mapping[str, Any], style: Style, *, dry: bool = False,
    wait: float | None = None, then: Then | None = None, **fields: Any,
) -> None:  # fmt: skip
    """Change the options that were given and say so; `fields` go with the request; `wait` and
    `then` as for `add`.
    """
    given = given_fields(options)
    if not given:
        raise click.UsageError(
            f"nothing to change: give an option of {kind} {name!r}", click.get_current_context()
        )
    wait = None if dry else wait
    with session() as client:
        before = commit_before(client, kind, name, wait)
        changed = model(client, "update", kind, name, dry=dry, **given, **fields)
        done(kind, name, _changed_verb(changed), changed, style, dry=dry)
        if then is not None:
            then(client, changed)
        wait_for(client, kind, changed, wait, before=before)


def delete(
    kind: str, name: str, *, yes: bool, style: Style, dry: bool = False,
    left: Callable[[Any], str] | None = None, **fields: Any,
) -> None:  # fmt: skip
    """Remove an object, after asking when a person is there; `fields` go with the request.

    Args:
        left: what becomes of what is left behind, said before the question; "" for nothing.
    """
    if left is not None:
        with session() as client:
            told = left(client)
        if told:
            output.say(f"mesh: {told}")
    confirm(f"delete {kind} {name}", yes=yes or dry)
    with session() as client:
        deleted = model(client, "delete", kind, name, dry=dry, **fields)
        done(kind, name, "deleted", deleted, style, dry=dry)


def confirm(what: str, *, yes: bool) -> None:
    """Ask before something is removed.

    Raises:
        click.UsageError: nobody can be asked, and -y was not given.
        click.Abort: the person said no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{what}? Nobody is here to ask; say -y to go ahead", click.get_current_context()
        )
    if not click.confirm(f"{what}?", err=True):
        output.say("mesh: nothing was changed")
        raise click.Abort


def done(
    kind: str, name: str, verb: str, answer: Any, style: Style, *, dry: bool = False
) -> None:
    """Say that something was done; in the other formats, print the object as it is now."""
    if style.is_text:
        output.write(f"{kind} {name} {verb}" + (" (dry run: nothing was changed)" if dry else ""))
        return
    item = answer if isinstance(answer, dict) else {"name": name}
    output.show_facts(kind, {"name": name, **item}, [], style)


def listed(
    kind: str, columns: Sequence[Column], style: Style, *, empty: str, watch: bool = False,
    labels: Sequence[str] = (),
) -> None:  # fmt: skip
    """List the objects of a kind that have these labels; `watch` goes on with what changes."""
    with session() as client:
        if watch:
            _watch(client, lambda: having(objects(client, kind), labels), kind, columns, style)
            return
        rows = having(objects(client, kind), labels)
    empty = f"no {kind} has the label {' and '.join(labels)}" if labels else empty
    output.show(kind, rows, columns, style, empty=empty)


def _watch(
    client: Any, rows_of: Callable[[], list[dict[str, Any]]], kind: str,
    columns: Sequence[Column], style: Style,
) -> None:  # fmt: skip
    from meshcode.cli.watch import watch

    # What a processor does changes without the model.
    channel = "processor" if kind == "processor" else "model"
    watch(client, channel, rows_of, kind, columns, style)


def one(client: Any, kind: str, name: str) -> dict[str, Any]:
    """One object with its `name`.

    Raises:
        UnknownObject: there is none, as the model says.
    """
    found = model(client, "get", kind, name)
    if not isinstance(found, dict):
        raise UnknownObject(f"there is no {kind} {name!r}", kind=kind, name=name)
    return {"name": name, **found}


def show_one(kind: str, name: str, style: Style, *, watch: bool = False) -> None:
    """Print one object: all its options and nothing else; `watch` goes on with what changes."""
    with session() as client:
        item = one(client, kind, name)  # One that is not there is no object to wait for.
        if watch:
            columns = [column(key) for key in item if key not in ("kind", *_HOUSEKEEPING)]
            _watch(
                client, lambda: [r for r in objects(client, kind) if r["name"] == item["name"]],
                kind, columns, style,
            )  # fmt: skip
            return
    output.show_facts(kind, item, pairs_of(item), style)


def pairs_of(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts of an object for people: times as times, name first, housekeeping last."""
    keys = sorted(item, key=lambda key: (key != "name", key in _HOUSEKEEPING))
    return [(title_of(key), value_text(key, item[key])) for key in keys]
