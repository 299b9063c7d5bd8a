"""`mesh scheduler start`: the original's loop, which is no process here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from meshcode.cli import objects, output
from meshcode.cli.options import command, complete, listing
from meshcode.cli.output import Style, column
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session
from meshcode.model.placing import placed


@command(name="start")
@click.option("-n", "--name", shell_complete=complete("scheduler"), help="Only its nodes.")
@listing
def scheduler_start(name: str | None, style: Style) -> None:
    """Show what schedules: every node does it by itself, at once, so there is no loop to start.
    For each declared node: the deployments that it fills and the CPUs they ask for, those that its
    scheduler gives it among them. Nothing is changed.

    Examples:
      mesh scheduler start
      mesh scheduler start -n even -o json
    """
    with session() as client:
        from meshcode.client.places import places  # Not before the node was found.

        if name is not None:
            objects.one(client, "scheduler", name)  # Says what is near when there is none.
        there = places(client)
        found = {kind: all_objects(client, kind) for kind in ("node", "deployment", "scheduler")}
    nodes, deployments = found["node"], found["deployment"]
    shares = shares_of(found)
    rows = []
    for node in nodes:
        if name is not None and node["scheduler"] != name:
            continue
        places = {node["name"], node["host"] or node["name"], "*"}
        mine = {}
        for one in deployments:
            if one["scheduler"]:
                cpus = shares[one["name"]].get(node["name"], 0)
            else:
                cpus = one["cpus"] if one["host"] in places else 0
            if cpus:
                mine[one["name"]] = cpus
        rows.append({
            "name": node["name"], "scheduler": node["scheduler"], "cpus": node["cpus"],
            "asked": sum(mine.values()), "deployments": list(mine),
            "note": "" if there is None or there.has(node) else "no such node in the mesh",
        })  # fmt: skip
    for one in deployments:
        if name in (None, one["scheduler"]) and (told := lacking(one, shares)):
            output.say(f"mesh: {told[0]}; {told[1]}")
    output.say(
        "mesh: nothing was started: each node acts on the model by itself, within a second of a"
        " change, and goes on when others are away"
    )
    columns = [column("name"), column("scheduler"), column("cpus", "CPUs"),
               column("asked", "Asked for"), column("deployments")]  # fmt: skip
    columns += [column("note")] if any(row["note"] for row in rows) else []
    output.show("node", rows, columns, style, empty="no node is declared for it")


def shares_of(found: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, dict[str, int]]:
    """CPUs of each deployment of a scheduler by node; of all objects of node, deployment and
    scheduler.
    """
    return placed({f"{kind}s": {row["name"]: row for row in found[kind]} for kind in found})


def lacking(
    deployment: Mapping[str, Any], shares: Mapping[str, Mapping[str, int]]
) -> tuple[str, str] | None:
    """That a scheduler has no room for all of a deployment, and what to do; None when it has."""
    name, scheduler = deployment["name"], deployment["scheduler"]
    given = sum(shares.get(name, {}).values())
    if not scheduler or given >= deployment["cpus"]:
        return None
    return (
        f"deployment {name} has {given} of {deployment['cpus']} CPUs: the nodes of scheduler"
        f" {scheduler} have no more",
        f"give them --cpus, or it another node: `mesh scheduler add -n {scheduler} -nd NODE`",
    )
