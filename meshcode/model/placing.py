"""Where deployments go: which declared nodes a machine is, and what a scheduler gives to each.

Pure, and worked out alike by every node from what is declared alone, never from who is there: so
nothing moves because a node is away for a moment, and nobody has to decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from heapq import heapify, heappop, heapreplace
from itertools import repeat
from typing import Any

_Objects = Mapping[str, Mapping[str, Any]]  # Options of the objects of a kind, by name.
ANYWHERE = "*"


def means(where: str, name: str, host: str, others: Collection[str]) -> bool:
    """Whether a host that is written somewhere is a running node: by its name, else its machine's.

    Args:
        where: the host; `localhost` is a node without a mesh only.
        name: of the node in its mesh; empty without one.
        host: of its machine.
        others: names of the other nodes of the mesh, which mean these.
    """
    if where == "localhost":
        return not name
    return where != "" and where in (name, host) and where not in others


def names_here(nodes: _Objects, name: str, host: str, others: Collection[str]) -> list[str]:
    """The declared nodes that a running node is: the one of its name, else those of its host.

    Args:
        nodes: that are declared; what is declared of one of `others` is not this one.
        name, host, others: as for `means`.
    """
    own = name or host
    if own in nodes:
        return [own]
    return [
        declared for declared, node in sorted(nodes.items())
        if declared not in others and means(node.get("host") or "", name, host, others)
    ]  # fmt: skip


def cpus_here(nodes: _Objects, here: Collection[str]) -> int | None:
    """So many CPUs the declared nodes `here` have together; None when nobody said."""
    declared = [nodes[name].get("cpus") for name in here]
    return sum(declared) if declared and None not in declared else None


def placed(snapshot: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """For each deployment of a scheduler: its CPUs on each declared node that has some of them.

    A node with `cpus` is given no more than these, counting deployments that name it or its host;
    what no node has room for is not placed.  Deployments come in the order of their names.

    BALANCED gives each CPU to the node with the fewest, EFFICIENT to the first, by name, with room.
    """
    nodes: _Objects = snapshot.get("nodes") or {}
    deployments: _Objects = snapshot.get("deployments") or {}
    by_scheduler: dict[str, list[str]] = {}
    for name, deployment in sorted(deployments.items()):
        if deployment.get("scheduler"):
            by_scheduler.setdefault(deployment["scheduler"], []).append(name)
    if not by_scheduler:
        return {}
    asked: dict[str, int] = {}
    for deployment in deployments.values():
        if not deployment.get("scheduler"):
            host = deployment.get("host") or ANYWHERE
            asked[host] = asked.get(host, 0) + deployment["cpus"]
    found: dict[str, dict[str, int]] = {}
    for scheduler, names in sorted(by_scheduler.items()):
        places = _places((snapshot.get("schedulers") or {}).get(scheduler) or {}, {
            name: (_taken(asked, name, node), node.get("cpus"))
            for name, node in nodes.items() if node.get("scheduler") == scheduler
        })  # fmt: skip
        for name in names:
            given = found[name] = {}
            for _ in range(deployments[name]["cpus"]):
                place = next(places, None)
                if place is None:
                    break
                given[place] = given.get(place, 0) + 1
    return found


def _taken(asked: Mapping[str, int], name: str, node: Mapping[str, Any]) -> int:
    host = node.get("host")
    named = {name, host} - {None}
    return sum(asked.get(str(place), 0) for place in named) + asked.get(ANYWHERE, 0)


def _places(
    scheduler: Mapping[str, Any], rooms: Mapping[str, tuple[int, int | None]]
) -> Iterator[str]:
    """The nodes that get the CPUs, one after another, until none has room."""
    if scheduler.get("strategy") == "EFFICIENT":
        for name, (taken, cpus) in sorted(rooms.items()):
            yield from repeat(name) if cpus is None else repeat(name, max(0, cpus - taken))
        return
    heap = [(taken, name) for name, (taken, cpus) in rooms.items() if cpus is None or taken < cpus]
    heapify(heap)
    while heap:
        taken, name = heap[0]
        cpus = rooms[name][1]
        yield name
        if cpus is None or taken + 1 < cpus:
            heapreplace(heap, (taken + 1, name))
        else:
            heappop(heap)
