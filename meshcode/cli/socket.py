"""`mesh add|update|delete|get socket`, `mesh ls sockets|socket`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import objects, output
from meshcode.cli.labels import selectors_option
from meshcode.cli.objects import LABELS, Field
from meshcode.cli.options import DURATION, NONE, OrNone, command, listing, styled
from meshcode.cli.output import Style, column, value_text
from meshcode.cli.schedule import INTERVAL
from meshcode.cli.session import session
from meshcode.cli.tree import Lines
from meshcode.cli.trees import graph_option, show_graph
from meshcode.cli.waiting import dry_option, wait_options
from meshcode.cli.watch import watch_option
from meshcode.errors import MeshError, NotAllowed

if TYPE_CHECKING:
    from meshcode.client import Client

KIND = "socket"
_TEXT, _INT = click.STRING, click.INT
FIELDS = [
    Field(
        ("-q", "--queue"), "queue", _TEXT, "Queue in front of it.", required=True, metavar="QUEUE"
    ),
    Field(
        ("-pn", "--procname"),
        "processor",
        _TEXT,
        "Processor that runs it.",
        required=True,
        metavar="PROCESSOR",
    ),
    Field(
        ("-t", "--task"),
        "task",
        _TEXT,
        "Function of the module.",
        required=True,
        metavar="FUNCTION",
    ),
    Field(("--priority",), "priority", _INT, "0 to 9; 9 runs first.  [default: 4]", metavar="N"),
    Field(("--topic",), "topic", _TEXT, "Calls of a topic queue it takes.", metavar="PATTERN"),
    Field(
        ("--wait-for-all",), "wait_for_all", click.BOOL,
        "Call it when each of its plugs has brought a value.", metavar="true|false",
    ),
    Field(
        ("--rate-limit",), "rate_limit", _TEXT, "Calls per time: 10/s, 60/m, 5/h.", metavar="RATE"
    ),
    Field(("--concurrency",), "concurrency", _INT, "Calls that may run at once.", metavar="N"),
    Field(
        ("--key-concurrency",),
        "key_concurrency",
        _INT,
        "Calls of one --key that may run at once.",
        metavar="N",
    ),
    Field(("--retries",), "retries", _INT, "Further attempts of a call that failed.", metavar="N"),
    Field(
        ("--retry-delay",), "retry_delay_ms", DURATION, "First delay before a retry; it doubles."
    ),
    Field(("--time-limit",), "time_limit_ms", DURATION, "Longest run time of one attempt."),
    LABELS,
]
COLUMNS = [
    column("name"), column("processor"), column("task"), column("queue"), column("priority"),
    column("rate_limit"), column("concurrency"), column("retries"), column("time_limit_ms"),
]  # fmt: skip


def _interval_option(*, update: bool) -> Any:
    return click.option(
        "-i", "--interval", type=OrNone(INTERVAL) if update else INTERVAL,
        help="Have it called this often, by a schedule of its name; a number alone is seconds.",
    )  # fmt: skip


def _set_interval(name: str, interval: Any, style: Style, *, dry: bool) -> None:
    if interval is None or dry:  # A socket that is not there yet can have no schedule.
        return
    from meshcode.client.objects.schedule import set_interval

    with session() as client:
        made = set_interval(client, name, None if interval is NONE else interval)
    if style.is_text:
        every = "" if made is None else f" every {value_text('interval_ms', made['interval_ms'])}"
        output.write(f"schedule {name}{every}" if every else f"schedule {name} deleted")


def _fitting(client: Any, socket: Mapping[str, Any]) -> None:
    """Say when the code, as this node knows it, defines no such function.

    The model has names only, and the code may get the function later: so it is no error.
    """
    task = str(socket["task"])
    try:
        found = client.ask("task.show", name=socket["name"])
    except MeshError:  # A dry run has no such socket yet, or it may not be seen.
        return
    # Only the public functions of the module itself were looked at.
    known = bool(found.get("module")) and found["task"] == task
    if known and "." not in task and not task.startswith("_") and not found["signature"]:
        output.say(
            f"mesh: the module {found['module']} defines no function {task!r} as its code is now:"
            f" calls of {socket['name']} fail unless it imports one; `mesh update socket -t` gives"
            " another"
        )


@command()
@objects.name_option(KIND)
@objects.fields(FIELDS)
@_interval_option(update=False)
@objects.exists_ok_option
@wait_options
@dry_option
@styled
def add(
    name: str, interval: Any, exists_ok: bool, wait: float | None, dry: bool, style: Style,
    **given: Any,
) -> None:  # fmt: skip
    """Add a socket: the callable endpoint of a task, with a queue in front.

    Examples:
      mesh add socket -n pkg.module.fn -q q1 -pn proc1 -t fn
      mesh add socket -n shop.charge -q q1 -pn shop -t charge --key-concurrency 1 --retries 3
      mesh add socket -n shop.poll -q q1 -pn shop -t poll -i 30s
    """
    objects.add(
        KIND, name, given, style, exists_ok=exists_ok, dry=dry, wait=wait, then=_fitting
    )  # fmt: skip
    _set_interval(name, interval, style, dry=dry)


@command()
@objects.one_name(KIND)
@objects.fields(FIELDS, update=True)
@_interval_option(update=True)
@wait_options
@dry_option
@styled
def update(
    name: str, interval: Any, wait: float | None, dry: bool, style: Style, **given: Any
) -> None:
    """Change a socket; `none` takes a limit away.

    Examples:
      mesh update socket -n shop.charge --rate-limit 60/m
      mesh update socket -n shop.charge --rate-limit none
      mesh update socket shop.poll --interval none
    """
    if interval is None or objects.given_fields(given):
        code = given["task"] is not None or given["processor"] is not None
        then = _fitting if code else None
        objects.update(KIND, name, given, style, dry=dry, wait=wait, then=then)
    _set_interval(name, interval, style, dry=dry)


@command()
@objects.one_name(KIND)
@objects.yes_option
@dry_option
@styled
def delete(name: str, yes: bool, dry: bool, style: Style) -> None:
    """Remove a socket; its waiting calls stay parked until it is back or they are cancelled. How
    many have not ended is said before.

    Examples:
      mesh delete socket shop.charge -y
    """
    objects.delete(
        KIND, name, yes=yes, style=style, dry=dry, left=lambda client: _open_calls(client, name)
    )


def _open_calls(client: Client, name: str) -> str:
    """How many calls of a socket have not ended, and what becomes of them without it."""
    try:
        found = client.ask("mesh.calls", socket=name, unfinished=True, rows=1)
    except NotAllowed:  # Who may change the model need not see calls.
        return ""
    total = found["total"]  # None: too many to count.
    count = total if total is not None else found.get("at_least") or len(found["calls"])
    if not count:
        return ""
    calls, have = ("call", "has") if count == 1 else ("calls", "have")
    return (
        f"{'' if total is not None else 'at least '}{count:,} {calls} of socket {name} {have} not"
        " ended: without it what waits stays parked until it is added again or is cancelled, what"
        f" runs goes on; look with `mesh ls calls -u -s {name}`"
    )


@command()
@objects.one_name(KIND)
@watch_option
@styled
def get(name: str, watch: bool, style: Style) -> None:
    """Show a socket.

    Examples:
      mesh get socket shop.charge -o json
    """
    objects.show_one(KIND, name, style, watch=watch)


@command()
@selectors_option
@watch_option
@listing
def ls_sockets(watch: bool, style: Style, labels: tuple[str, ...]) -> None:
    """List sockets.

    Examples:
      mesh ls sockets
      mesh ls sockets -q
      mesh ls sockets -l team=red
    """
    objects.listed(
        KIND, COLUMNS, style, watch=watch, labels=labels,
        empty="no socket yet; add one: mesh add socket -n NAME -q QUEUE -pn PROCESSOR -t FUNCTION",
    )  # fmt: skip


@command()
@objects.one_name(KIND)
@graph_option
@styled
def ls_socket(name: str, graph: bool, strokes: Lines, style: Style) -> None:
    """Show a socket: its options, and what the node knows of its task; -g: where its results go.

    Examples:
      mesh ls socket shop.charge
      mesh ls socket shop.charge -g
    """
    show_graph(KIND, name, style, strokes, graph=graph, more=_describe)


def _describe(client: Client, item: dict[str, Any]) -> None:
    known = client.ask("socket.describe", name=item["name"])
    for key, value in known.items():
        if key != "source":  # `mesh task code` prints it.
            item.setdefault(key, value)
    signature = item.get("signature")
    if isinstance(signature, dict):
        item["signature"] = signature.get("text", "")
