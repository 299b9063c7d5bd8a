"""The root command and the one place where an error becomes a text and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from meshcode import __version__
from meshcode.cli import output, standard
from meshcode.cli.lazy import LazyGroup
from meshcode.cli.registry import COMMANDS
from meshcode.errors import MeshError, RemoteError, UnknownObject

EXIT_OUTPUT = 74  # EX_IOERR of sysexits.h: stdout could not be written.
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count.
EXIT_PIPE = 141  # 128 + SIGPIPE: the reader went away, as `mesh ls calls | head` does.

_HELP = """Durable calls of functions from git repositories, on a mesh without a broker.

\b
Examples:
  mesh dev                                  a node to try things on
  mesh add queue -n q1
  mesh add processor -n proc1 -g file:///home/me/repo -m pkg.module
  mesh add socket -n pkg.module.fn -q q1 -pn proc1 -t fn
  mesh run pkg.module.fn "some data"
  mesh ls calls

\b
Exit status: 0 done, 1 the task raised, 2 usage, 3 not found, 4 not allowed,
5 cancelled or expired, 6 exists, 7 no node, 9 refused, 74 no output, 124 timeout, 130 Ctrl-C.
"""


def _apply(
    home: str | None, node: str | None, context: str | None, chosen: tuple[str, ...], color: str
) -> None:  # fmt: skip
    """Options go before the environment: --home means its node, whatever MESH_NODE says."""
    for text in chosen:
        _set(text)
    output.set_colour(color)
    if context is not None:
        _choose_context(context)
    if home is not None:
        os.environ["MESH_HOME"] = os.path.abspath(home)
        os.environ.pop("MESH_NODE", None)
    if node is not None:
        os.environ["MESH_NODE"] = node if "://" in node else _addresses_of(node)


def _addresses_of(name: str) -> str:
    """Where the node of that name in the mesh of this home takes clients."""
    from meshcode import paths

    found = paths.peers_addresses()
    if name not in found:
        known = f"it knows {', '.join(sorted(found))}" if found else "it knows none yet"
        raise UnknownObject(
            f"no node {name!r} has told the node of {paths.home()} where it takes clients: {known};"
            " nothing was asked; --node takes a name of these, or an address:"
            " tcp://HOST:PORT?key=KEY",
            kind="node", name=name,
        )  # fmt: skip
    return ",".join(found[name])


def _set(text: str) -> None:
    """Have a setting in the environment, for this process and those it starts."""
    from meshcode import config

    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set is NAME=VALUE, and this has no '=': {text!r}")
    kept = config.check(name, value, "--set", os.getcwd())
    if name == "home":
        os.environ.pop("MESH_NODE", None)
    os.environ[config.KEYS[name].variable] = config.text_of(kept)


def _choose_context(name: str) -> None:
    """Let what follows, other processes among it, find the settings of that context."""
    from meshcode import config

    found = config.settings({"context": name})
    os.environ[config.CONTEXT_VARIABLE] = name
    for setting in found.all():
        if setting.level == "context":
            os.environ[setting.key.variable] = config.text_of(setting.value)
        elif setting.level == "default":  # Another home's node or database.
            os.environ.pop(setting.key.variable, None)


def _contexts(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    from meshcode.cli.context import names

    return [name for name in names() if name.startswith(typed)]


def _settings(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    from meshcode import config

    return [f"{name}=" for name in config.KEYS if name.startswith(typed)]


def root() -> LazyGroup:
    """The `mesh` group with its global options."""
    params: list[click.Parameter] = [
        click.Option(
            ["--home"], metavar="DIR",
            help="Folder of the node.  [env: MESH_HOME; default: ~/.local/share/meshcode]",
        ),
        click.Option(
            ["--node"], metavar="NAME",
            help="Node to talk to: its name in the mesh of this home, or an address.  [env:"
            " MESH_NODE, an address]",
        ),
        click.Option(
            ["--context"], metavar="NAME", shell_complete=_contexts,
            help="Settings of this name: see `mesh context`.  [env: MESH_CONTEXT]",
        ),
        click.Option(
            ["--set", "chosen"], metavar="NAME=VALUE", multiple=True, shell_complete=_settings,
            help="A setting for this command alone; may be repeated.  See `mesh config explain`.",
        ),
        click.Option(
            ["--color"], type=click.Choice(["auto", "always", "never"]), default="auto",
            help="Colour the output.  [env: MESH_COLOR, FORCE_COLOR, NO_COLOR]",
        ),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version,
            help="Print the version.",
        ),
    ]  # fmt: skip
    return LazyGroup("mesh", _HELP, COMMANDS, params=params, callback=_apply)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"mesh {__version__}")
        ctx.exit()


def run(arguments: Sequence[str]) -> int:
    """Run one command line; print its errors; return the exit status."""
    standard.prepare()
    status = 0
    try:
        status = _run(list(arguments) or ["--help"])
        _tell_unread()
        standard.finish()
    except BrokenPipeError:
        standard.give_up()
        return EXIT_PIPE
    except standard.StdoutFailed as error:
        standard.give_up()
        output.say(standard.failure_text(error))
        return status or EXIT_OUTPUT
    return status


def _run(arguments: list[str]) -> int:
    group = root()
    if arguments[0] == "help":  # As people type it elsewhere; it is no command, which has options.
        arguments = [*arguments[1:], "--help"]
    if "_MESH_COMPLETE" in os.environ:  # A Tab that `tab.py` has no answer to.
        group.main(arguments, prog_name="mesh")
    try:
        # Not group.main: it would answer a reader that went away with status 1.
        with group.make_context("mesh", arguments) as context:
            status = group.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        _usage(error)
        return error.exit_code
    except MeshError as error:
        with suppress(standard.StdoutFailed):  # If it cannot be written, that is told after this.
            sys.stdout.flush()
        say_error(error)
        return error.exit_status
    return status if isinstance(status, int) else 0


def _tell_unread() -> None:
    """Say which files of the configuration were left out because they are closed to this user."""
    config = sys.modules.get("meshcode.config")  # Not loaded: no setting was asked for.
    for text in getattr(config, "unread", {}).values():
        output.say(f"mesh: {text}")


def _usage(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        output.say(error.format_message())
        return
    output.say(f"mesh: {error.format_message()}")
    if isinstance(error, click.UsageError) and error.ctx is not None:
        output.say(f"See `{error.ctx.command_path} --help`.")


def say_error(error: MeshError) -> None:
    """Tell the person: of a task that raised, its traceback in the worker, then one line."""
    said = error.text or error.code
    if isinstance(error, RemoteError):
        from meshcode.cli.table import clean

        said = clean(said)
        if error.traceback_text:  # Its first line is the worker's own word.
            output.say(error.traceback_text.rstrip("\n"))
    output.say(f"mesh: {said}")
