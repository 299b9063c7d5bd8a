"""Options that many commands share, and the types of their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from meshcode import config
from meshcode.cli.output import FORMATS, Style
from meshcode.units import parse_duration, parse_size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Duration(click.ParamType[Any]):
    """`500ms`, `5s`, `2m`, `1h`: whole milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds; refuses a number without a unit."""
        if isinstance(value, int):
            return int(value)
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[Any]):
    """`1000`, `64KiB`, `10MB`: whole bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes; KiB is 1024, kB is 1000."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[Any]):
    """`2h` (ago), `2026-11-26`, `2026-11-26T14:05` (local time, or with +01:00 or Z): Unix ms."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since 1970."""
        if isinstance(value, int):
            return value
        import math
        import time
        from datetime import datetime

        try:
            return time.time_ns() // 1_000_000 - parse_duration(str(value))
        except ValueError:
            pass
        try:
            return math.floor(datetime.fromisoformat(str(value)).timestamp() * 1000)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; write 2h (ago), or 2026-11-26T14:05", param, ctx)


class OrNone(click.ParamType[Any]):
    """A value of another type, or `none` to take the option away."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """None for the word `none`, else what the inner type makes of it."""
        if value == "none":
            return NONE
        return self.inner.convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What the inner type offers."""
        return self.inner.shell_complete(ctx, param, incomplete)


class Words(click.ParamType[Any]):
    """Text; a Tab offers the words there are, and who refuses another one says what is near."""

    name = "text"

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self._words = words

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> str:
        """The text as it is."""
        return str(value)

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Those that begin so."""
        from click.shell_completion import CompletionItem  # 14 ms that only a Tab is worth.

        return [CompletionItem(word) for word in self._words() if word.startswith(incomplete)]


class _None:
    """Told apart from an option that was not given."""

    def __repr__(self) -> str:
        return "none"


NONE = _None()
DURATION = Duration()
SIZE = Size()
MOMENT = Moment()


def _columns(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(part.strip() for part in value.split(",") if part.strip())
    if not names:
        raise click.BadParameter("write column names separated by commas")
    return names


def _style_keywords(kwargs: dict[str, Any]) -> Style:
    form = kwargs.pop("output") or config.value("output")
    return Style(form, kwargs.pop("quiet", False), kwargs.pop("columns", None))


def listing(command: Any) -> Any:
    """Add -o, -q and --columns; the command gets them as `style`."""
    from functools import wraps

    @wraps(command)
    def with_style(*args: Any, **kwargs: Any) -> Any:
        return command(*args, style=_style_keywords(kwargs), **kwargs)

    decorated = click.option(
        "--columns", metavar="A,B", callback=_columns, help="Show these columns, in this order."
    )(with_style)
    decorated = click.option("-q", "--quiet", is_flag=True, help="Names or ids only.")(decorated)
    return output_option(decorated)


def styled(command: Any) -> Any:
    """Add -o alone; the command gets it as `style`."""
    from functools import wraps

    @wraps(command)
    def with_style(*args: Any, **kwargs: Any) -> Any:
        return command(*args, style=_style_keywords(kwargs), **kwargs)

    return output_option(with_style)


def output_option(command: Any) -> Any:
    """Add -o / --output with the formats of a listing."""
    return click.option(
        "-o", "--output", type=click.Choice(FORMATS),
        help="Format of the output.  [env: MESH_OUTPUT; default: table]",
    )(command)  # fmt: skip


_NAMES = frozenset({"-n", "--name"})


class Command(click.Command):
    """A command that knows what the original's had in its place (`original.py`)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, which reads `-co` as `-c o`: a flag of the original is looked for before.

        Raises:
            click.UsageError: there is one, and the text says what to do instead.
        """
        takes = {
            flag: isinstance(param, click.Option) and not (param.is_flag or param.count)
            for param in self.params for flag in (*param.opts, *param.secondary_opts)
        }  # fmt: skip
        before, is_named = "", not _NAMES.isdisjoint(args)
        for word in args:
            if word == "--":
                break
            is_value = takes.get(before, False)
            if not is_value and not word.startswith("-"):
                if before == "--password" and is_named:
                    _refuse_password(ctx)
                is_named = True
            before = word
            if word.startswith("-") and word not in takes and not is_value:
                refuse(ctx, word)
        return super().parse_args(ctx, args)


def _refuse_password(ctx: click.Context) -> None:
    """The word behind --password is no name, for there is one: somebody takes it for the password,
    as it was in the original; it is not repeated.
    """
    from meshcode.cli import original

    raise click.UsageError(f"{ctx.command_path}: {original.PASSWORD}", ctx)


def refuse(ctx: click.Context, flag: str) -> None:
    """Refuse a flag that the original's command had, with what to do instead, and one that stands
    behind its command; pass any other.
    """
    from meshcode.cli import original  # Most command lines are right.

    instead = original.of_option(ctx.command_path, flag)
    if instead is not None:
        raise click.UsageError(f"{ctx.command_path} has no {flag}: {instead}", ctx)
    refuse_late(ctx, flag)


def refuse_late(ctx: click.Context, flag: str) -> None:
    """Refuse an option of `mesh` itself behind a command that has none of the name."""
    name = flag.partition("=")[0]
    if any(name in param.opts for param in ctx.command.params):
        return
    for param in ctx.find_root().command.params:
        if isinstance(param, click.Option) and name in param.opts:
            value = "" if param.is_flag else f" {param.make_metavar(ctx)}"
            path = ctx.command_path.partition(" ")[2]
            raise click.UsageError(
                f"{name} goes before the command: `mesh {name}{value} {path} ...`", ctx
            )


def command(**settings: Any) -> Callable[[Any], Any]:
    """`click.command` with the docstring as help, the lines of `Examples:` kept as they are."""

    def decorate(function: Callable[..., Any]) -> Any:
        text = inspect.cleandoc(function.__doc__ or "").replace("\nExamples:", "\n\b\nExamples:")
        make: Any = click.command(**{"cls": Command, **settings}, help=text)
        return make(function)

    return decorate


def complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """A completer of object names: remembered for a moment, silent on any failure."""

    def names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
        from meshcode.cli.session import names_of

        return [name for name in names_of(kind) if name.startswith(typed)]

    return names
