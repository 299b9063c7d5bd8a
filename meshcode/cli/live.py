"""What goes on now: `mesh ls workers|stats|cpus|work`."""

from __future__ import annotations

from typing import Any

import click

from meshcode.cli import output, plain
from meshcode.cli.call import COLUMNS as CALL_COLUMNS
from meshcode.cli.call import rows_of_page
from meshcode.cli.node import say_of_here, size_text
from meshcode.cli.nodes import end_partial
from meshcode.cli.objects import one
from meshcode.cli.options import command, complete, listing
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import beside, session
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option
from meshcode.listing import whole_page

_WORKER_COLUMNS = [
    column("id", "Worker"), column("processor"), column("state"), column("pid"),
    Column("cpu", "CPU", lambda v: "" if v is None else str(v)),
    column("calls"), column("holds"), Column("resident", "Memory", size_text),
    Column("commit", "Runs", plain.short_commit),
]  # fmt: skip
_NODE = column("node")
_LIVELY = ("calls", "holds", "resident")  # They change with every call; -w does not follow them.


@command()
@click.option(
    "-n", "--name", shell_complete=complete("processor"), help="Only of this processor.",
)  # fmt: skip
@watch_option
@listing
def ls_workers(name: str | None, watch: bool, style: Style) -> None:
    """List worker processes, of all nodes of the mesh.

    Numbers are those of their node, so `mesh worker kill` is for those of this one. -w follows
    those of this node. Runs is the commit of its code. Exit status 8: a node with a link did not
    tell its workers in time.

    Examples:
      mesh ls workers
      mesh ls workers -n proc1 --columns id,pid,processor
      mesh ls workers -w -o jsonl             one line for each that comes or goes
    """

    def of_name(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if name in (None, row["processor"])]

    def rows_of() -> list[dict[str, Any]]:
        return of_name(client.ask("status").get("workers") or [])

    def steady() -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in _LIVELY} for row in rows_of()]

    def look_for_processor() -> None:
        if name is not None:  # Refuses one that is not there.
            beside(f"whether there is a processor {name!r}", lambda: one(client, "processor", name))

    with session() as client:
        if watch:
            if not rows_of():
                look_for_processor()
            columns = [c for c in _WORKER_COLUMNS if c.key not in _LIVELY]
            follow(client, "processor", steady, "worker", columns, style, name="id")
            return
        found = client.ask("mesh.workers")
        nodes = [{"name": found["this"], "workers": rows_of()}, *found["nodes"]]
        rows = [{**row, "node": at["name"]} for at in nodes for row in of_name(at["workers"])]
        if not rows:
            look_for_processor()
    output.show(
        "worker", rows, [*([_NODE] if found["this"] else []), *_WORKER_COLUMNS], style, name="id",
        empty=f"no worker of {name!r}: `mesh ls processor {name}` shows it" if name
        else "no worker; a processor with sockets gets them: see `mesh status`",
    )  # fmt: skip
    end_partial(found["silent"])


_STAT_COLUMNS = [
    column("name", "Socket"), column("queue"), column("processor"), column("waiting"),
    column("running"), Column("bytes", "Waiting Bytes", size_text),
    Column("usual_us", "Usual Run", lambda v: "" if v is None else plain.length_of_time(v / 1000)),
    column("parked", "Why It Waits"),
]  # fmt: skip


@command()
@listing
def ls_stats(style: Style) -> None:
    """List sockets with what waits and runs there now, on this node.

    Examples:
      mesh ls stats
      mesh ls stats -o json | jq '.items[] | select(.waiting > 1000) | .name'
    """
    with session() as client:
        found = client.ask("status", lines=True)
    output.show("stat", found["sockets"], _STAT_COLUMNS, style, empty="no socket yet")
    say_of_here(found, "these figures are")


_CPU_COLUMNS = [
    column("name", "CPU"), column("processor"), column("worker"), column("state"), column("pid"),
    column("calls"), Column("resident", "Memory", size_text),
]  # fmt: skip


@command()
@listing
def ls_cpus(style: Style) -> None:
    """List the CPUs of this node with the workers pinned to them.

    Examples:
      mesh ls cpus
    """
    with session() as client:
        found = client.ask("status", lines=True)
    rows: list[dict[str, Any]] = []
    for cpu in found["cpus"]:
        here = [w for w in found["workers"] if w["cpu"] == cpu]
        rows += [{**w, "name": str(cpu), "worker": w["id"]} for w in here] or [{"name": str(cpu)}]
    output.show("cpu", rows, _CPU_COLUMNS, style)
    say_of_here(found, "these CPUs are")


@command()
@listing
def ls_work(style: Style) -> None:
    """List the calls that run now, at most 1,000.

    Examples:
      mesh ls work
    """
    with session() as client:
        found = whole_page(client.ask, "mesh.calls", {"rows": 1000, "state": "RUNNING"})
    rows = rows_of_page(found, 1, 1000)
    columns = [*CALL_COLUMNS[2:], Column("due_ms", "Due", plain.local_time)]
    output.show("call", rows, columns, style, name="id", empty="nothing runs")
    end_partial(found["silent"])
