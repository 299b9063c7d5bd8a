"""Command groups that import a command only when it runs.

The registry holds names, help lines and where the command lives, so `mesh --help` imports nothing
but click.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

ALIASES = {"list": "ls", "rm": "delete"}


class Command(NamedTuple):
    """A command: `module:attribute` and its help line."""

    target: str
    help: str


class Group(NamedTuple):
    """A group of commands: its help line and its entries by name."""

    help: str
    entries: Mapping[str, Any]


class LazyGroup(click.Group):
    """A click group over registry entries."""

    def __init__(self, name: str, help_text: str, entries: Mapping[str, Any], **more: Any) -> None:
        super().__init__(name=name, help=help_text, **more)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names in registry order."""
        return list(self.entries)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Load the command of that name or alias; None when there is none."""
        name = cmd_name if cmd_name in self.entries else ALIASES.get(cmd_name, cmd_name)
        entry = self.entries.get(name)
        if entry is None:
            return None
        if isinstance(entry, Group):
            return LazyGroup(name, entry.help, entry.entries)
        module, _, attribute = entry.target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or refuse with the nearest names."""
        wanted = args[0]
        is_there = wanted.startswith("-") or self.get_command(ctx, wanted) is not None
        if not is_there and not ctx.resilient_parsing:  # A Tab is no place to say so.
            raise click.UsageError(self._no_such(ctx, wanted), ctx)
        return super().resolve_command(ctx, args)

    def _no_such(self, ctx: click.Context, wanted: str) -> str:
        from difflib import get_close_matches

        from meshcode.cli import original

        instead = original.of_command(f"{ctx.command_path} {wanted}")
        if instead is not None:
            return f"{ctx.command_path} has no command {wanted!r}: {instead}"
        known = [*self.entries, *(a for a, name in ALIASES.items() if name in self.entries)]
        near = get_close_matches(wanted.lower(), known, n=3, cutoff=0.6)
        if near:
            return (
                f"{ctx.command_path} has no command {wanted!r}; did you mean {' or '.join(near)}?"
            )
        return f"{ctx.command_path} has no command {wanted!r}; it has {', '.join(self.entries)}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, after a look for a flag of the original in front of the command."""
        if args and args[0].startswith("-") and args[0] not in self._flags():
            from meshcode.cli import original

            instead = original.of_option(ctx.command_path, args[0])
            if instead is not None:
                raise click.UsageError(f"{ctx.command_path} has no {args[0]}: {instead}", ctx)
        return super().parse_args(ctx, args)

    def _flags(self) -> set[str]:
        return {"--help", *(flag for param in self.params for flag in param.opts)}

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Names and help lines from the registry alone, then the options of the group."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.entries.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the entries from the registry alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.entries.items()])
