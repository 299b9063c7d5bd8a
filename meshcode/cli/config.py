"""`mesh config ...`: the settings, where each came from, and changing them."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from meshcode import config
from meshcode.cli import output
from meshcode.cli.options import command, listing
from meshcode.cli.output import Style, column
from meshcode.cli.settings import connection_problems, set_values
from meshcode.errors import CallerError, MeshError

_COLUMNS = [
    column("name", "Setting"), column("value"), column("level", "From"), column("where"),
    column("variable"),
]  # fmt: skip
_ASKED = ("home", "node", "model", "output", "color")


def current() -> config.Settings:
    """The settings of this command line."""
    given = click.get_current_context().find_root().params
    color = given.get("color")
    flags = {name: given.get(name) for name in ("home", "node", "context")}
    flags["color"] = None if color == "auto" else color
    chosen: dict[str, str | None] = {}
    for text in given.get("chosen") or ():
        name, _, value = text.partition("=")
        chosen[name] = config.text_of(config.check(name, value, "--set", os.getcwd()))
    return config.settings({**chosen, **{k: v for k, v in flags.items() if v is not None}})


def _complete_key(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    return [name for name in config.KEYS if name.startswith(typed)]


_key = click.argument("name", metavar="KEY", shell_complete=_complete_key)


def _one(name: str) -> config.Key:
    if name == config.CONTEXT:
        raise click.UsageError("the context in use is chosen with `mesh context use NAME`")
    if name not in config.KEYS:
        config.check(name, "", "mesh config")  # Which says what is near.
    return config.KEYS[name]


def _where_options(function: Any) -> Any:
    for flag, text in (
        ("--system", f"Change {config.SYSTEM_FILE}."),
        ("--project", f"Change {config.PROJECT_FILE} in this folder."),
    ):
        function = click.option(flag, is_flag=True, help=text)(function)
    return click.option("--in", "in_context", metavar="CONTEXT", help="Change this context.")(
        function
    )


def _file(project: bool, system: bool, in_context: str | None) -> str:
    if project + system + (in_context is not None) > 1:
        raise click.UsageError("give one of --project, --system and --in")
    if system:
        return config.SYSTEM_FILE
    if project:
        return os.path.join(os.getcwd(), config.PROJECT_FILE)
    return config.user_file() if in_context is None else config.context_file(in_context)


@command()
@click.argument("name", metavar="[KEY]", required=False, shell_complete=_complete_key)
@listing
def explain(name: str | None, style: Style) -> None:
    """Show each setting, its value, and where that came from. Passwords are not shown.

    Examples:
      mesh config explain
      mesh config explain model
      mesh --context prod config explain -o json
    """
    found = current()
    names = list(config.KEYS) if name is None else [_one(name).name]
    rows = [
        {"name": s.key.name, "value": config.shown(s), "level": s.level, "where": s.where,
         "variable": s.key.variable, "text": s.key.text}
        for s in map(found.get, names)
    ]  # fmt: skip
    output.show("setting", rows, _COLUMNS, style)
    for text in found.left_out:
        output.say(f"mesh: {text}")


@command()
@_key
def get(name: str) -> None:
    """Print the value of a setting. Passwords are not shown.

    Examples:
      mesh config get home
    """
    output.write(config.shown(current().get(_one(name).name)))


@command(name="set")
@_key
@click.argument("value")
@_where_options
def set_(name: str, value: str, project: bool, system: bool, in_context: str | None) -> None:
    """Write a setting into the user's file, or another one.

    Examples:
      mesh config set output json
      mesh config set home /srv/mesh --system
      mesh config set node "tcp://10.0.0.7:7421?key=KEY" --in prod
    """
    path = _file(project, system, in_context)
    set_values(path, {_one(name).name: value})
    output.write(f"{name} is {config.mask(value)} in {path}")
    _tell_overruled(name, path)


def _tell_overruled(name: str, path: str) -> None:
    """Say so when a higher level hides what was just written."""
    found = current().get(name)
    if found.where != path:
        output.say(f"mesh: {found.where} goes before it: {name} is {config.shown(found)} here")


@command()
@_key
@_where_options
def unset(name: str, project: bool, system: bool, in_context: str | None) -> None:
    """Take a setting out of a file. One that is no setting any more, too, if it is there.

    Examples:
      mesh config unset output
      mesh config unset model --project
    """
    path = _file(project, system, in_context)
    if set_values(path, {name: None}):
        output.write(f"{name} is not set in {path}")
        return
    if name != config.CONTEXT:
        _one(name)
    output.write(f"{name} was not set in {path}; nothing was written")


@command()
def validate() -> None:
    """Read every file of the configuration; status 2 and all faults when something is wrong.

    Examples:
      mesh config validate
    """
    folder = os.path.join(config.user_folder(), "contexts")
    try:
        contexts = sorted(n for n in os.listdir(folder) if n.endswith(".toml"))
    except OSError:
        contexts = []
    faults, seen = [], 0
    paths = [config.user_file(), config.SYSTEM_FILE, *(os.path.join(folder, n) for n in contexts)]
    for path in paths:
        try:
            values = config.read(path)
            seen += values is not None
            faults += connection_problems(values or {}, path)
        except CallerError as error:
            faults.append(error.text)
    try:
        found = current()
        faults += found.left_out
        for layer in found.layers:
            if layer.where not in paths:
                faults += connection_problems(layer.values, layer.where)
    except CallerError as error:
        if error.text not in faults:
            faults.append(error.text)
    config.unread.clear()  # Among the faults already.
    known = {key.variable for key in config.KEYS.values()}
    odd = sorted(n for n in os.environ if n.startswith("MESH_") and n not in known | _OTHERS)
    faults += [f"${name} of the environment is no setting" for name in odd]
    for text in faults:
        output.say(f"mesh: {text}")
    if faults:
        click.get_current_context().exit(CallerError.exit_status)
    output.write(f"the configuration is well: {seen} files of user, contexts and system")


_OTHERS = {config.CONTEXT_VARIABLE, "MESH_PEER_VIA"}


@command()
@listing
def path(style: Style) -> None:
    """List the files of the configuration, those that go first on top.

    Examples:
      mesh config path
    """
    found = current()
    used = {layer.level: layer.where for layer in found.layers}
    places = {
        "project": used.get("project") or os.path.join(os.getcwd(), config.PROJECT_FILE),
        "context": used.get("context") or os.path.join(config.user_folder(), "contexts"),
        "user": config.user_file(),
        "system": config.SYSTEM_FILE,
    }
    rows = [
        {"name": where, "level": level, "used": level in used} for level, where in places.items()
    ]
    output.show(
        "file", rows, [column("level"), column("name", "File"), column("used", "Is There")], style
    )


@command()
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
def init(pairs: tuple[str, ...]) -> None:
    """Ask for the settings and write the user's file; with KEY=VALUE nothing is asked.

    Examples:
      mesh config init
      mesh config init home=/srv/mesh output=json
    """
    values: dict[str, str | bool | None] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"write KEY=VALUE, this has no '=': {pair!r}")
        values[_one(name).name] = value
    if not pairs:
        values = _ask()
    if not values:
        output.write("every setting stays as it is; nothing was written")
        return
    set_values(config.user_file(), values)
    count = f"{len(values)} setting{'' if len(values) == 1 else 's'}"
    output.write(f"{count} written to {config.user_file()}")


def _ask() -> dict[str, str | bool | None]:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to ask; give KEY=VALUE, like home=/srv/mesh")
    found = current()
    values: dict[str, str | bool | None] = {}
    for name in _ASKED:
        setting = found.get(name)
        while True:
            answer = click.prompt(
                f"{setting.key.text} {name}", default=config.shown(setting), err=True
            )
            try:
                config.check(name, answer, name)
                break
            except MeshError as error:
                output.say(f"mesh: {error.text}")
        if answer != config.shown(setting):  # Enter keeps what is there.
            values[name] = answer
    return values
