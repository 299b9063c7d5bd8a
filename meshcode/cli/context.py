"""`mesh context ...`: settings under a name, one for each mesh a person works with."""

from __future__ import annotations

import os
from typing import Any

import click

from meshcode import config
from meshcode.cli import output
from meshcode.cli.config import current
from meshcode.cli.objects import confirm, yes_option
from meshcode.cli.options import command, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.settings import set_values, write
from meshcode.errors import ObjectExists, UnknownObject
from meshcode.nearest import nearest

_COLUMNS = [
    Column("current", "", lambda v: "*" if v else ""), column("name"), column("home"),
    column("node"), column("output"),
]  # fmt: skip


def names() -> list[str]:
    """All contexts."""
    try:
        found = os.listdir(os.path.join(config.user_folder(), "contexts"))
    except OSError:
        return []
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


def _complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    return [name for name in names() if name.startswith(typed)]


_name = click.argument("name", shell_complete=_complete)


def _path(name: str) -> str:
    """The file of a context there is."""
    path = config.context_file(name)
    if not os.path.exists(path):
        near = nearest(name, names())
        hint = f"did you mean {near!r}?" if near else "`mesh context ls` has all"
        raise UnknownObject(f"there is no context {name!r}; {hint}", kind="context", name=name)
    return path


def _row(name: str, chosen: str) -> dict[str, Any]:
    values = config.read(config.context_file(name)) or {}
    shown = {k: config.mask(v) if isinstance(v, str) else v for k, v in values.items()}
    return {"name": name, "current": name == chosen, **shown}


@command()
@_name
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--use", "use_it", is_flag=True, help="Use it from now on.")
def add(name: str, pairs: tuple[str, ...], use_it: bool) -> None:
    """Make a context from settings; `mesh config set KEY VALUE --in NAME` changes it later.

    Examples:
      mesh context add lab home=/srv/lab
      mesh context add prod node=tcp://10.0.0.7:7421 output=json --use
    """
    path = config.context_file(name)
    if os.path.exists(path):
        raise ObjectExists(
            f"there is a context {name!r} already; it is unchanged; change it with"
            f" `mesh config set KEY VALUE --in {name}`",
            kind="context", name=name,
        )  # fmt: skip
    values: dict[str, str | bool | None] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"write KEY=VALUE, this has no '=': {pair!r}")
        config.check(key, value, f"context {name}")
        values[key] = value
    if values:
        set_values(path, values)
    else:
        write(path, "")
    output.write(f"context {name} added")
    if use_it:
        set_values(config.user_file(), {config.CONTEXT: name})
        output.write(f"context {name} is used from now on")


@command()
@_name
def use(name: str) -> None:
    """Use a context from now on: all commands of this user that name no other one.

    Examples:
      mesh context use prod
      mesh --context lab status               for one command
      MESH_CONTEXT=lab mesh status            for one shell
      mesh context use none                   no context any more
    """
    if name == "none":
        set_values(config.user_file(), {config.CONTEXT: None})
        output.write("no context is used from now on")
        return
    _path(name)
    set_values(config.user_file(), {config.CONTEXT: name})
    output.write(f"context {name} is used from now on")
    found = current()
    if found.context != name:
        output.say(f"mesh: {found.context_from} goes before it: here it is {found.context}")


@command()
@listing
def ls(style: Style) -> None:
    """List the contexts; * is the one in use.

    Examples:
      mesh context ls
    """
    chosen = current().context
    rows = [_row(name, chosen) for name in names()]
    output.show("context", rows, _COLUMNS, style, empty="no context; see mesh context add --help")


@command()
@click.argument("name", required=False, shell_complete=_complete)
@styled
def show(name: str | None, style: Style) -> None:
    """Show a context, by default the one in use. Passwords are not shown.

    Examples:
      mesh context show prod
    """
    chosen = current().context
    if name is None and not chosen:
        raise UnknownObject("no context is in use; `mesh context ls` has all", kind="context")
    wanted = name or chosen
    path = _path(wanted)
    row = {**_row(wanted, chosen), "file": path}
    output.show_facts("context", row, [(k, str(v)) for k, v in row.items()], style)


@command()
@_name
@yes_option
def rm(name: str, yes: bool) -> None:
    """Remove a context. The one in use is not removed.

    Examples:
      mesh context rm lab -y
    """
    path = _path(name)
    if (config.read(config.user_file()) or {}).get(config.CONTEXT) == name:
        raise ObjectExists(
            f"context {name!r} is in use; nothing was removed; run `mesh context use none` first",
            kind="context", name=name,
        )  # fmt: skip
    confirm(f"remove context {name}", yes=yes)
    os.unlink(path)
    output.write(f"context {name} removed")
