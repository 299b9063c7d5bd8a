"""`mesh add|update|delete|get queue`, `mesh ls queues|queue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import objects, output
from meshcode.cli.labels import having, selectors_option
from meshcode.cli.node import say_of_here, size_text
from meshcode.cli.objects import LABELS, Field
from meshcode.cli.options import DURATION, SIZE, Words, command, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import beside, session
from meshcode.cli.session import objects as all_objects
from meshcode.cli.tree import Lines
from meshcode.cli.trees import graph_option, show_graph
from meshcode.cli.waiting import dry_option
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option

if TYPE_CHECKING:
    from meshcode.client import Client

KIND = "queue"
_LIVE = ("sockets", "waiting", "running", "bytes")
FIELDS = [
    Field(
        ("-t", "--type"),
        "type",
        Words(lambda: ("direct", "topic", "fanout", "broadcast")),
        "direct, topic, fanout or broadcast.  [default: direct]",
        metavar="TYPE",
    ),
    Field(("--network",), "network", click.STRING, "Network it belongs to.", metavar="NETWORK"),
    Field(("--max-length",), "max_length", click.INT, "Calls that may wait.", metavar="N"),
    Field(
        ("--max-length-bytes",), "max_length_bytes", SIZE, "Bytes of calls that may wait: 64MiB."
    ),
    Field(
        ("--message-ttl",), "message_ttl_ms", DURATION, "A call that waits for longer is cancelled."
    ),
    Field(
        ("--expires",), "expires_ms", DURATION,
        "A call not begun so long after it was accepted is cancelled; one that runs goes on.",
    ),
    Field(
        ("--overflow",),
        "overflow",
        click.STRING,
        "When full: reject, or dead-letter to a socket.  [default: reject]",
        metavar="HOW",
    ),
    Field(
        ("--dead-letter",),
        "dead_letter",
        click.STRING,
        "Socket for what does not fit.",
        metavar="SOCKET",
    ),
    LABELS,
]
COLUMNS = [
    column("name"), column("type"), column("waiting"), column("running"),
    Column("bytes", "Waiting Bytes", size_text),
    Column("sockets", "Sockets", lambda names: "" if names is None else str(len(names))),
    column("max_length"), column("max_length_bytes"),
    column("message_ttl_ms"), column("expires_ms"), column("overflow"), column("dead_letter"),
]  # fmt: skip


@command()
@objects.name_option(KIND)
@objects.fields(FIELDS)
@objects.exists_ok_option
@dry_option
@styled
def add(name: str, exists_ok: bool, dry: bool, style: Style, **given: object) -> None:
    """Add a queue: the durable waiting line in front of sockets.

    Examples:
      mesh add queue -n pkg.queue1 -t direct
      mesh add queue -n orders --max-length 100000 --message-ttl 1h
    """
    objects.add(KIND, name, given, style, exists_ok=exists_ok, dry=dry)


@command()
@objects.one_name(KIND)
@objects.fields(FIELDS, update=True)
@dry_option
@styled
def update(name: str, dry: bool, style: Style, **given: object) -> None:
    """Change a queue; `none` takes a limit away.

    Examples:
      mesh update queue -n orders --max-length 200000
      mesh update queue -n orders --message-ttl none
    """
    objects.update(KIND, name, given, style, dry=dry)


@command()
@objects.one_name(KIND)
@objects.yes_option
@dry_option
@styled
def delete(name: str, yes: bool, dry: bool, style: Style) -> None:
    """Remove a queue that no socket uses.

    Examples:
      mesh delete queue orders -y
    """
    objects.delete(KIND, name, yes=yes, style=style, dry=dry)


@command()
@objects.one_name(KIND)
@watch_option
@styled
def get(name: str, watch: bool, style: Style) -> None:
    """Show a queue.

    Examples:
      mesh get queue orders
      mesh get queue orders -o json
    """
    objects.show_one(KIND, name, style, watch=watch)


@command()
@selectors_option
@watch_option
@listing
def ls_queues(watch: bool, style: Style, labels: tuple[str, ...]) -> None:
    """List queues, with what waits and runs there now on this node.

    Examples:
      mesh ls queues
      mesh ls queues -o jsonl
      mesh ls queues -l env=prod
    """
    with session() as client:
        status = _status(client)
        if watch:

            def rows_of() -> list[dict[str, Any]]:
                now = status and client.ask("status", lines=True)
                return having(live_rows(client, now), labels)

            follow(client, "all", rows_of, KIND, COLUMNS, style)
            return
        rows = having(live_rows(client, status), labels)
    empty = "no queue has these labels" if labels else "no queue yet; add one: mesh add queue -n Q"
    output.show(KIND, rows, COLUMNS, style, empty=empty)
    if status is not None:
        say_of_here(status, "Waiting, Running and Waiting Bytes are")


def _status(client: Client) -> dict[str, Any] | None:
    return beside(
        "sockets and what waits and runs there", lambda: client.ask("status", lines=True)
    )


def live_rows(client: Client, status: dict[str, Any] | None) -> list[dict[str, Any]]:
    """All queues with the sockets behind them, and what waits and runs there on this node.

    Args:
        status: of the node, with its lines; None when that may not be seen.
    """
    rows = all_objects(client, KIND)
    if status is None:
        return [{**row, **dict.fromkeys(_LIVE)} for row in rows]
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in status["sockets"]:
        lines.setdefault(line["queue"], []).append(line)
    for row in rows:
        mine = lines.get(row["name"], [])
        row["sockets"] = [line["name"] for line in mine]
        row |= {key: sum(line[key] for line in mine) for key in ("waiting", "running", "bytes")}
    return rows


@command()
@objects.one_name(KIND)
@click.option("-t", "--tree", "graph", is_flag=True, help="The same as -g.")
@graph_option
@styled
def ls_queue(name: str, graph: bool, strokes: Lines, style: Style) -> None:
    """Show a queue, its sockets, and what waits and runs there now on this node.

    Examples:
      mesh ls queue orders
      mesh ls queue orders -g
    """
    show_graph(KIND, name, style, strokes, graph=graph, more=_live)


def _live(client: Client, item: dict[str, Any]) -> None:
    rows = live_rows(client, _status(client))
    item.update(next((row for row in rows if row["name"] == item["name"]), {}))
