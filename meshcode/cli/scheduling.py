"""`mesh scheduler start`: the original's loop, which is no process here."""

from __future__ import annotations

import click

from meshcode.cli import objects, output
from meshcode.cli.objects import column
from meshcode.cli.options import command, complete, listing
from meshcode.cli.output import Style
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session


@command(name="start")
@click.option("-n", "--name", shell_complete=complete("scheduler"), help="Only its nodes.")
@listing
def scheduler_start(name: str | None, style: Style) -> None:
    """Show what schedules: every node does it by itself, at once, so there is no loop to start.
    For each declared node: the deployments that it fills and the CPUs they ask for. Nothing is
    changed.

    Examples:
      mesh scheduler start
      mesh scheduler start -n even -o json
    """
    with session() as client:
        if name is not None:
            objects.one(client, "scheduler", name)  # Says what is near when there is none.
        nodes = all_objects(client, "node")
        deployments = all_objects(client, "deployment")
    rows = []
    for node in nodes:
        if name is not None and node["scheduler"] != name:
            continue
        places = {node["name"], node["host"] or node["name"], "*"}
        mine = [d for d in deployments if d["host"] in places]
        rows.append({
            "name": node["name"], "scheduler": node["scheduler"], "cpus": node["cpus"],
            "asked": sum(d["cpus"] for d in mine), "deployments": [d["name"] for d in mine],
        })  # fmt: skip
    output.say(
        "mesh: nothing was started: each node acts on the model by itself, within a second of a"
        " change, and goes on when others are away"
    )
    columns = [column("name"), column("scheduler"), column("cpus", "CPUs"),
               column("asked", "Asked for"), column("deployments")]  # fmt: skip
    output.show("node", rows, columns, style, empty="no node is declared for it")
