"""Whether there is a node for what is declared: a node, or a deployment on a host.

The model has names only, and the node may come later: so one that is not there is no error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.errors import MeshError
from meshcode.nearest import nearest

if TYPE_CHECKING:
    from meshcode.client.client import Client

_Row = Mapping[str, Any]  # Of an object.
_ANY = (None, "", "*", "localhost")


class Places(NamedTuple):
    """The nodes there are."""

    names: Collection[str]
    hosts: Collection[str]  # What a host that is written somewhere may be: also their names.
    silent: Collection[str]  # Nodes that did not tell the host of their machine.

    def has(self, node: _Row) -> bool:
        """Whether a declared node is one of them, or may be one that did not tell its host."""
        host = node.get("host")
        return node["name"] in self.names or host in self.hosts or bool(host and self.silent)

    def all_names(self, declared: Iterable[_Row]) -> set[str]:
        """What a deployment may name: also those of the `declared` nodes that are there."""
        return {*self.names, *self.hosts, *(str(row["name"]) for row in declared if self.has(row))}


def places(client: Client) -> Places | None:
    """Ask which there are; None when that may not be seen."""
    try:
        answer = client.ask("nodes", ask=True)
    except MeshError:
        return None
    rows = [row for row in answer["nodes"] if row["state"] != "evicted"]
    hosts = {str(row["host"]) for row in rows if row.get("host")}
    if answer["mesh"] is None:  # The name of a node without a mesh is its host.
        names, hosts = hosts, hosts | {"localhost"}
    else:
        names = {str(row["name"]) for row in rows}
    return Places(names, names | hosts, [str(row["name"]) for row in rows if not row.get("host")])


def missing(there: Places | None, deployment: _Row, declared: Iterable[_Row]) -> str | None:
    """What is said of a deployment on a host that no node has; None when there is one.

    Args:
        there: the nodes; None when they may not be seen, and nothing is said.
        declared: all nodes that are declared.
    """
    host = deployment.get("host")
    if there is None or not _asks_host(deployment) or host in (known := there.all_names(declared)):
        return None
    near = nearest(str(host), known)
    hint = f"; did you mean {near!r}?" if near else ""
    silent = f" ({', '.join(there.silent)} did not tell a host)" if there.silent else ""
    return f"no node has the name or the host {host!r}{silent}{hint}"


def place_problem(client: Client, deployment: _Row) -> str | None:
    """As `missing`, asked now; only of one on a host is anything asked."""
    if not _asks_host(deployment):
        return None
    try:
        declared = client.ask("model", do="list", kind="node", fields={})
    except MeshError:
        return None
    return missing(places(client), deployment, declared)


def _asks_host(deployment: _Row) -> bool:
    return not deployment.get("scheduler") and deployment.get("host") not in _ANY


__all__ = ["Places", "missing", "place_problem", "places"]
