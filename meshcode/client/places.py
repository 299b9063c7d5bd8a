"""Whether there is a node where a deployment is to be.

The model has only the name of a host, and the node may come later: so one that is not there is no
error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.errors import MeshError
from meshcode.nearest import nearest

if TYPE_CHECKING:
    from meshcode.client.client import Client

_ANY = (None, "", "*", "localhost")


class Places(NamedTuple):
    """What a deployment may call the nodes that there are."""

    known: Collection[str]  # Names, hosts, and names of the nodes declared for these.
    silent: Collection[str]  # Nodes that did not tell their host.


def places(client: Client) -> Places | None:
    """Ask which there are; None when that may not be seen."""
    try:
        rows = [row for row in client.ask("nodes", ask=True)["nodes"] if row["state"] != "evicted"]
        declared = client.ask("model", do="list", kind="node", fields={})
    except MeshError:
        return None
    known = {"localhost"}
    for row in rows:
        known |= {str(row["name"]), str(row.get("host") or row["name"])}
    known |= {str(row["name"]) for row in declared if row.get("host") in known}
    return Places(known, [str(row["name"]) for row in rows if not row.get("host")])


def missing(there: Places | None, deployment: Mapping[str, Any]) -> str | None:
    """What is said of a deployment on a host that no node has; None when there is one."""
    host = deployment.get("host")
    if there is None or deployment.get("scheduler") or host in _ANY or host in there.known:
        return None
    near = nearest(str(host), there.known)
    hint = f"; did you mean {near!r}?" if near else ""
    silent = f" ({', '.join(there.silent)} did not tell a host)" if there.silent else ""
    return f"no node has the name or the host {host!r}{silent}{hint}"


def place_problem(client: Client, deployment: Mapping[str, Any]) -> str | None:
    """As `missing`, asked now; only of one on a host is anything asked."""
    if deployment.get("scheduler") or deployment.get("host") in _ANY:
        return None
    return missing(places(client), deployment)


__all__ = ["Places", "missing", "place_problem", "places"]
