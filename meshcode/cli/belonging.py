"""`mesh network add|remove`, `mesh scheduler add|remove`: nodes of a network, of a scheduler.

Also what is said when something is declared of a node that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from meshcode.cli import objects, output
from meshcode.cli.options import command, complete, styled
from meshcode.cli.output import Style
from meshcode.cli.session import model, session
from meshcode.cli.waiting import dry_option
from meshcode.errors import MeshError, UnknownObject, WrongState
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
        model(client, "get", kind, name)  # Of the two, this one must be there.
        try:
            item = model(client, "update", "node", node, dry=dry, **{kind: name})
        except UnknownObject:
            item = model(client, "add", "node", node, dry=dry, **{kind: name})
        objects.done("node", node, f"belongs to {kind} {name}", item, style, dry=dry)
        known = None if dry else nodes_known(client)
        if known is not None and not known.has(item):
            near = nearest(node, known.names)
            hint = f"; did you mean {near!r}?" if near else ""
            host = f", or on host {item['host']!r}," if item.get("host") else ""
            output.say(
                f"mesh: no node of the name {node!r}{host} is in the mesh{hint}; what it is given"
                f" waits for one; if it is a mistake: `mesh delete node {node}`"
            )


class Known(NamedTuple):
    """The nodes there are."""

    names: frozenset[str]  # And those of the declared nodes that the node asked is.
    hosts: frozenset[str] | None  # Of their machines; None while some nodes do not tell.

    def has(self, node: Mapping[str, Any]) -> bool:
        """Whether a declared node is one of them, or may be."""
        host = node.get("host")
        if node["name"] in self.names or host in self.names:
            return True
        return bool(host) and (self.hosts is None or host in self.hosts)


def nodes_known(client: Any) -> Known | None:
    """The nodes there are; None when that may not be seen."""
    try:
        rows, mine = client.ask("nodes", ask=True)["nodes"], client.ask("status")["declared"]
    except MeshError:
        return None
    rows = [row for row in rows if row["state"] != "evicted"]
    hosts = {row.get("host") for row in rows}
    return Known(
        frozenset({row["name"] for row in rows} | set(mine)),
        None if None in hosts else frozenset(hosts),
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
