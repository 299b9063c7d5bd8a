"""`mesh network add|remove`, `mesh scheduler add|remove`: nodes of a network, of a scheduler.

Also what is said when something is declared of a node that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.options import command, complete, styled
from meshcode.cli.output import Style
from meshcode.cli.session import model, session
from meshcode.cli.waiting import dry_option
from meshcode.errors import UnknownObject, WrongState
from meshcode.nearest import nearest


def _options(kind: str, function: Any) -> Any:
    decorated: Any = click.option(
        "-nd", "--node", required=True, shell_complete=complete("node"), help="Name of the node.",
    )(dry_option(styled(function)))  # fmt: skip
    return click.option(
        "-n", "--name", required=True, shell_complete=complete(kind), help=f"Name of the {kind}.",
    )(decorated)  # fmt: skip


def _add(kind: str, name: str, node: str, style: Style, *, dry: bool) -> None:
    """Declare that a node belongs there; one that is not declared yet is."""
    with session() as client:
        from meshcode.client.places import places  # Not before the node was found.

        model(client, "get", kind, name)  # Of the two, this one must be there.
        try:
            item = model(client, "update", "node", node, dry=dry, **{kind: name})
        except UnknownObject:
            item = model(client, "add", "node", node, dry=dry, **{kind: name})
        objects.done("node", node, f"belongs to {kind} {name}", item, style, dry=dry)
        there = None if dry else places(client)
        if there is not None and not there.has(item):
            near = nearest(node, there.names)
            hint = f"; did you mean {near!r}?" if near else ""
            host = f", or on host {item['host']!r}," if item.get("host") else ""
            output.say(
                f"mesh: no node of the name {node!r}{host} is in the mesh{hint}; what it is given"
                f" waits for one; if it is a mistake: `mesh delete node {node}`"
            )


def tell_unplaced(client: Any, deployment: Mapping[str, Any]) -> None:
    """Say so when there is no node where it is to be."""
    from meshcode.client.places import place_problem

    if problem := place_problem(client, deployment):
        output.say(
            f"mesh: {problem}; its CPUs wait for one; if it is a mistake: `mesh update deployment"
            f" {deployment['name']} -h HOST`"
        )


def _remove(kind: str, name: str, node: str, style: Style, *, dry: bool) -> None:
    with session() as client:
        now = objects.one(client, "node", node)
        if now.get(kind) != name:
            there = f"{kind} {now[kind]!r} and not to" if now.get(kind) else f"no {kind}, not to"
            raise WrongState(
                f"node {node!r} belongs to {there} {name!r}; it is unchanged",
                kind="node", name=node,
            )  # fmt: skip
        fields = {kind: None, "revision": now["revision"]}
        item = model(client, "update", "node", node, dry=dry, **fields)
        objects.done("node", node, f"belongs to no {kind}", item, style, dry=dry)


def _commands(kind: str) -> tuple[click.Command, click.Command]:
    def add(name: str, node: str, dry: bool, style: Style) -> None:
        _add(kind, name, node, style, dry=dry)

    def remove(name: str, node: str, dry: bool, style: Style) -> None:
        _remove(kind, name, node, style, dry=dry)

    add.__doc__ = (
        f"Let a node belong to a {kind}; a node not declared yet is added.\n\n"
        f"Examples:\n  mesh {kind} add -n NAME -nd NODE\n"
    )
    remove.__doc__ = (
        f"Take a node out of a {kind}; it stays declared.\n\n"
        f"Examples:\n  mesh {kind} remove -n NAME -nd NODE\n"
    )
    return (
        command(name="add")(_options(kind, add)), command(name="remove")(_options(kind, remove)),
    )  # fmt: skip


network_add, network_remove = _commands("network")
scheduler_add, scheduler_remove = _commands("scheduler")
