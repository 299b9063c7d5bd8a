"""`mesh add|update|delete|get deployment`, `mesh ls deployments|deployment`."""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import objects
from meshcode.cli.belonging import tell_unplaced
from meshcode.cli.objects import Field
from meshcode.cli.options import command, complete, listing, styled
from meshcode.cli.output import Style, column
from meshcode.cli.waiting import dry_option, wait_options
from meshcode.cli.watch import watch_option

KIND = "deployment"
FIELDS = [
    Field(
        ("-h", "--hostname"),
        "host",
        click.STRING,
        "Host, or * for any.  [default: *]",
        metavar="HOST",
    ),
    Field(
        ("-sc", "--scheduler"), "scheduler", click.STRING,
        "Scheduler that spreads its CPUs over its nodes, in the place of a host.",
        metavar="SCHEDULER",
    ),
    Field(("-c", "--cpus"), "cpus", click.INT, "CPUs, one worker each.  [default: 1]", metavar="N"),
]
COLUMNS = [
    column("name"), column("processor"), column("host"), column("scheduler"),
    column("cpus"),
]  # fmt: skip


@command()
@click.option(
    "-n", "--name", "processor", required=True, shell_complete=complete("processor"),
    help="Name of the processor.",
)  # fmt: skip
@click.option(
    "-d", "--deployment", "name", help="Name of the deployment.  [default: the processor's]"
)
@objects.fields(FIELDS)
@objects.exists_ok_option
@wait_options
@dry_option
@styled
def add(
    name: str | None, processor: str, exists_ok: bool, wait: float | None, dry: bool, style: Style,
    **given: Any,
) -> None:  # fmt: skip
    """Give a processor CPUs on a host; each CPU gets one pinned worker process.

    Examples:
      mesh add deployment -n proc1 -d proc1-here -h localhost -c 4
      mesh add deployment -n proc1 -d anywhere -c 8
      mesh add deployment -n proc1 -d spread -sc even -c 8
    """
    given["processor"] = processor
    objects.add(
        KIND, name or processor, given, style, exists_ok=exists_ok, dry=dry, wait=wait,
        then=tell_unplaced,
    )


@command()
@objects.one_name(KIND)
@click.option(
    "-pn", "--procname", "processor", metavar="PROCESSOR", shell_complete=complete("processor"),
    help="Another processor.",
)  # fmt: skip
@objects.fields(FIELDS, update=True)
@wait_options
@dry_option
@styled
def update(name: str, wait: float | None, dry: bool, style: Style, **given: Any) -> None:
    """Change a deployment.

    Examples:
      mesh update deployment -n proc1-here -c 2
    """
    objects.update(KIND, name, given, style, dry=dry, wait=wait, then=tell_unplaced)


@command()
@objects.one_name(KIND)
@objects.yes_option
@dry_option
@styled
def delete(name: str, yes: bool, dry: bool, style: Style) -> None:
    """Remove a deployment.

    Examples:
      mesh delete deployment proc1-here -y
    """
    objects.delete(KIND, name, yes=yes, style=style, dry=dry)


@command()
@objects.one_name(KIND)
@watch_option
@styled
def get(name: str, watch: bool, style: Style) -> None:
    """Show a deployment.

    Examples:
      mesh get deployment proc1-here
    """
    objects.show_one(KIND, name, style, watch=watch)


@command()
@watch_option
@listing
def ls_deployments(watch: bool, style: Style) -> None:
    """List deployments.

    Examples:
      mesh ls deployments
    """
    objects.listed(
        KIND, COLUMNS, style, watch=watch,
        empty="no deployment; a processor without one runs its --workers on this node",
    )  # fmt: skip


@command()
@objects.one_name(KIND)
@styled
def ls_deployment(name: str, style: Style) -> None:
    """Show a deployment.

    Examples:
      mesh ls deployment proc1-here
    """
    objects.show_one(KIND, name, style)
