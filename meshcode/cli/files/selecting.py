"""The part of a document that concerns some nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from meshcode.errors import BadData
from meshcode.model.checks import near
from meshcode.model.steps import Key, targets

Wanted = dict[str, dict[str, dict[str, Any]]]


def select_nodes(
    wanted: Wanted, names: Collection[str], placed: Mapping[str, Collection[str]] | None = None
) -> Wanted:
    """What runs on these nodes, and what that needs.

    Their deployments, and of these the processors; the sockets of these processors and their
    schedules; the plugs between such sockets and their gates; and whatever all of it names, as far
    as the document has it.  Deployments of other nodes are left out.

    Args:
        wanted: kind, name, options.
        names: of nodes.
        placed: processors by node, beside what deployments say.

    Raises:
        BadData: the document has nothing for a node of that name.
    """
    nodes = wanted.get("node", {})
    places = {name: {name, nodes.get(name, {}).get("host") or name} for name in names}
    hosts = set().union(*places.values())
    by_host = {d.get("host", "*") for d in wanted.get("deployment", {}).values()}
    known = nodes.keys() | by_host - {"*"} | (placed or {}).keys()
    for name in names:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise BadData(
                f"the files have no node {name!r}{near(name, known)}; they have: {there};"
                " nothing was changed"
            )
    chosen: set[Key] = {("node", name) for name in names if name in nodes}
    schedulers = {nodes[name].get("scheduler") for name in names if name in nodes} - {None}
    for name, deployment in wanted.get("deployment", {}).items():
        if deployment.get("host", "*") in hosts or deployment.get("scheduler") in schedulers:
            chosen.add(("deployment", name))
            chosen.add(("processor", deployment.get("processor", "")))
    for name in names:
        chosen.update(("processor", processor) for processor in (placed or {}).get(name, ()))
    for name, socket in wanted.get("socket", {}).items():
        if ("processor", socket.get("processor", "")) in chosen:
            chosen.add(("socket", name))
    for name, plug in wanted.get("plug", {}).items():
        ends = {("socket", plug.get("source", "")), ("socket", plug.get("target", ""))}
        if ends <= chosen:
            chosen.add(("plug", name))
    for name, schedule in wanted.get("schedule", {}).items():
        if ("socket", schedule.get("socket", "")) in chosen:
            chosen.add(("schedule", name))
    for name, gate in wanted.get("gate", {}).items():
        if ("plug", gate.get("plug", "")) in chosen:
            chosen.add(("gate", name))
    _follow(wanted, chosen)
    return {
        kind: {name: options for name, options in objects.items() if (kind, name) in chosen}
        for kind, objects in wanted.items()
    }


def _follow(wanted: Wanted, chosen: set[Key]) -> None:
    """Add what is named by what is chosen, however far."""
    todo = list(chosen)
    while todo:
        kind, name = todo.pop()
        for _option, target in targets(kind, wanted.get(kind, {}).get(name, {})):
            if target not in chosen:
                chosen.add(target)
                todo.append(target)
