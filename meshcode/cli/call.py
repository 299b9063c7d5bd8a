"""`mesh ls calls|call`, `mesh call get|cancel|retry`."""

from __future__ import annotations

from typing import Any

import click

from meshcode import config
from meshcode.cli import objects, output, plain
from meshcode.cli.nodes import end_partial, tell_silent
from meshcode.cli.objects import column
from meshcode.cli.options import command, complete, listing, styled
from meshcode.cli.output import Column, Style
from meshcode.cli.run import result_options, wait_and_print
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session, who
from meshcode.cli.table import clean, draw
from meshcode.cli.tree import Branch, Lines, ascii_option, vertical
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option

_STATES = (
    "WAITING", "DELAYED", "PARKED", "COPYING", "RUNNING", "ENDING", "HELD", "KEPT", "DONE",
    "FAILED", "CANCELLED",
)  # fmt: skip


def _time(key: str, title: str) -> Column:
    return Column(key, title, plain.local_time)


# As the original system lists calls; a call has no owner of its own.
COLUMNS = [
    column("page"), column("row"), Column("socket", "Name"), Column("id", "ID"),
    _time("updated_ms", "Last Updated"), Column("socket", "Socket"),
    _time("started_ms", "Started"), _time("finished_ms", "Finished"), column("state"),
]  # fmt: skip
# Further ones where there is more than one node.
MESH_COLUMNS = [column("node"), column("kept", "Copies")]
EVENT_COLUMNS = [column("name"), _time("ms", "Time"), column("note")]


def _updated(row: dict[str, Any]) -> int | None:
    times = [row.get(k) for k in ("accepted_ms", "started_ms", "finished_ms")]
    times += [event.get("ms") for event in row.get("events") or ()]
    return max((t for t in times if t), default=None)


@command()
@click.option(
    "-p", "--page", type=click.IntRange(1), default=1, show_default=True, help="Page to show."
)
@click.option(
    "-r",
    "--rows",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="Calls per page.",
)
@click.option("-u", "--unfinished", is_flag=True, help="Only calls that have not ended.")
@click.option("-a", "--ascend", is_flag=True, help="Oldest first.")
@click.option("-i", "--id", "--ids", "ids", is_flag=True, help="Ids only, one a line.")
@click.option(
    "-s", "--socket", shell_complete=complete("socket"), help="Only calls of this socket."
)
@click.option(
    "--state", type=click.Choice(_STATES, case_sensitive=False), help="Only calls in this state."
)
@click.option("--here", is_flag=True, help="Only what this node knows; others are not asked.")
@click.option("-t", "--tracking", is_flag=True, help="Also the flow of each.")
@click.option("-tk", "--task", is_flag=True, help="Also the task of each.")
@watch_option
@listing
def ls_calls(
    page: int,
    rows: int,
    unfinished: bool,
    ascend: bool,
    ids: bool,
    socket: str | None,
    state: str | None,
    here: bool,
    tracking: bool,
    task: bool,
    watch: bool,
    style: Style,
) -> None:
    """List the calls of the mesh, newest first: all nodes that are there are asked.

    KEPT: its owner did not answer; another node keeps it. Exit status 8: a node with a link did
    not answer in time.

    Examples:
      mesh ls calls
      mesh ls calls -u                       those that have not ended
      mesh ls calls --state HELD -s shop.charge
      mesh ls calls -p 2 -r 100 -o json
      mesh ls calls -u -i | xargs -n1 mesh call cancel
    """
    fields: dict[str, Any] = {"page": page, "rows": rows}
    if unfinished:
        fields["unfinished"] = True
    if ascend:
        fields["ascending"] = True
    if socket is not None:
        fields["socket"] = socket
    if state is not None:
        fields["state"] = state.upper()
    if here:
        fields["here"] = True
    more = [column("flow")] * tracking + [column("task")] * task
    if ids:
        style = style._replace(quiet=True)
    with session() as client:
        if watch:
            _follow(client, fields, [*COLUMNS[2:], *more], style, task=task)
            return
        found = client.ask("mesh.calls", **fields)
        tasks = _tasks(client) if task else {}
    calls = rows_of_page(found, page, rows)
    calls = [{**call, "task": tasks.get(call["name"])} for call in calls] if task else calls
    total = None if found["asked"] or socket or state else found.get("total")
    footer = _footer(page, rows, len(calls), total, more=found.get("more"))
    columns = [*COLUMNS, *more, *(MESH_COLUMNS if found["asked"] else [])]
    output.show("call", calls, columns, style, name="id", footer=footer)
    end_partial(found["silent"])


def _tasks(client: Any) -> dict[str, str]:
    """The task of each socket, as the model has it now."""
    return {row["name"]: row["task"] for row in all_objects(client, "socket")}


def _follow(
    client: Any, fields: dict[str, Any], columns: list[Column], style: Style, *, task: bool
) -> None:
    """The page, and again with what changes; rows have no number, since they move."""
    tasks = _tasks(client) if task else {}

    def look() -> list[dict[str, Any]]:
        rows = rows_of_page(client.ask("mesh.calls", **fields), 1, fields["rows"])
        for row in rows:
            del row["page"], row["row"]
            row["task"] = tasks.get(row["name"])
        return rows

    follow(client, "state", look, "call", columns, style, name="id")


def rows_of_page(found: dict[str, Any], page: int, rows: int) -> list[dict[str, Any]]:
    """The calls of an answer, with their place in the listing."""
    return [_as_row(c, page, at) for at, c in enumerate(found["calls"], (page - 1) * rows + 1)]


def _as_row(call: dict[str, Any], page: int, row: int) -> dict[str, Any]:
    return {
        **call,
        "name": call.get("socket"),
        "page": page,
        "row": row,
        "updated_ms": _updated(call),
        "kept": f"{call['copies']}/{call['copies_of']}" if "copies" in call else "",
    }


def _footer(page: int, rows: int, shown: int, total: int | None, *, more: bool | None) -> str:
    """The last line; `total` is None when what matches is not counted: it would read everything."""
    if total is None:
        is_more = shown == rows if more is None else more
        hint = f"; `-p {page + 1}` for more" if is_more else ""
        return f"Page {page} with {shown} records{hint}"
    pages = max(1, -(-total // rows))
    return f"Page {page} of {pages} of {total} total records"


@command()
@click.argument("id_word", metavar="[ID]", required=False)
@click.option("--id", "id_given", metavar="ID", help="Id of the call, or its beginning.")
@click.option("-r", "--result", is_flag=True, help="Include the result or the error.")
@click.option("--events/--no-events", default=True, help="Include the events.  [default: yes]")
@click.option(
    "--output", "--captured", "captured", is_flag=True, help="Include what the task printed."
)
@click.option("-t", "--tree", is_flag=True, help="All calls of its flow, below their parents.")
@click.option("-g", "--graph", is_flag=True, help="The same, drawn as a tree.")
@click.option("-f", "--flow", "in_order", is_flag=True, help="The same, in the order of starting.")
@ascii_option
@click.option(
    "-o", "form", type=click.Choice(output.FORMATS),
    help="Format of the output.  [env: MESH_OUTPUT; default: table]",
)  # fmt: skip
def ls_call(
    id_word: str | None,
    id_given: str | None,
    result: bool,
    events: bool,
    captured: bool,
    tree: bool,
    graph: bool,
    in_order: bool,
    strokes: Lines,
    form: str | None,
) -> None:
    """Show a call: details, provenance, events; any unique beginning of its id will do.

    Every node that is there tells what it knows of it, so a take-over is among the events.

    Examples:
      mesh ls call --id 0192f3c1
      mesh ls call 0192f3c1 -r --output
      mesh ls call 0192f3c1 --tree
      mesh ls call 0192f3c1 -g
      mesh ls call 0192f3c1 -o json
    """
    if (id_word is None) == (id_given is None):
        raise click.UsageError("name one call, as ID or with --id ID")
    style = Style(form or config.value("output"))
    with session() as client:
        call = client.ask("mesh.call", id=id_word or id_given, result=result, output=captured)
        whole = tree or graph or in_order
        flow = client.ask("mesh.flow", flow=call["flow"]) if whole else None
    if flow is not None:
        if graph and style.is_text:
            output.write_lines(line for root in branches(flow["calls"])
                               for line in vertical(root, strokes))  # fmt: skip
        else:
            _show_tree(flow["calls"], style, in_order=in_order)
        end_partial(flow["silent"])
        return
    tell_silent(call.pop("silent"))
    call = {**call, "name": call.get("socket"), "updated_ms": _updated(call)}
    if not events:
        call.pop("events", None)
    if not style.is_text:
        output.show_facts("call", call, [], style)
        return
    _show_call(call)


TREE_COLUMNS = [
    Column("branch", "Call"), column("socket"), column("state"), column("node"),
    column("kept", "Copies"), _time("started_ms", "Started"), _time("finished_ms", "Finished"),
]  # fmt: skip


def branches(calls: list[dict[str, Any]]) -> list[Branch]:
    """The calls of a flow as trees."""
    found: list[Branch] = []
    for depth, call in reversed(as_tree(calls)):  # Children come before their parents now.
        here = [branch for branch in found if branch.kind == str(depth + 1)]
        found = [branch for branch in found if branch.kind != str(depth + 1)]
        label = f"{call['state']}, {call['id']}"
        found.insert(0, Branch(str(depth), str(call.get("socket")), label, tuple(here)))
    return [_named(branch) for branch in found]


def _named(branch: Branch) -> Branch:
    """Kinds were depths while it was made."""
    return branch._replace(kind="call", below=tuple(map(_named, branch.below)))


def _show_tree(calls: list[dict[str, Any]], style: Style, *, in_order: bool) -> None:
    """The calls of a flow, each below its parent, or those first that began first."""
    rows = [
        {**call, "depth": depth, "branch": "  " * depth + str(call["id"]),
         "kept": f"{call['copies']}/{call['copies_of']}"}
        for depth, call in as_tree(calls)
    ]  # fmt: skip
    if in_order:
        rows.sort(key=lambda row: row.get("started_ms") or float("inf"))
    output.show("call", rows, TREE_COLUMNS, style, name="id")


def as_tree(calls: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Depth and call, each parent followed by its children; whose parent is unknown are roots."""
    known = {call["id"] for call in calls}
    below: dict[str | None, list[dict[str, Any]]] = {}
    for call in calls:
        parent = call.get("parent") if call.get("parent") != call["id"] else None
        below.setdefault(parent if parent in known else None, []).append(call)
    found: list[tuple[int, dict[str, Any]]] = []
    stack = [(0, call) for call in reversed(below.get(None, []))]
    while stack:
        depth, call = stack.pop()
        found.append((depth, call))
        stack += [(depth + 1, child) for child in reversed(below.pop(call["id"], []))]
    return found


def _show_call(call: dict[str, Any]) -> None:
    room = output.terminal_columns()
    columns = [c for c in COLUMNS if c.key not in ("page", "row")]
    _table(columns, [call], room)
    facts = ("processor", "worker", "commit", "attempts", "priority", "reason")
    pairs = [(key, objects.value_text(key, call.get(key))) for key in facts]
    if call["copies_of"] > 1:
        names = ", ".join(call["voters"])
        pairs.append(("kept", f"{call['copies']} of {call['copies_of']} copies: {names}"))
    pairs += [(title, call.get(key) or "") for title, key in (("owner", "node"),
                                                             ("runs on", "runs_on"))]  # fmt: skip
    if call.get("due_ms"):
        pairs.append(("due", plain.local_time(call["due_ms"])))
    if call.get("run_us"):
        pairs.append(("ran for", plain.length_of_time(call["run_us"] / 1000)))
    output.write_lines(f"{name}: {clean(value)}" for name, value in pairs if value)
    output.write("Provenance")
    provenance = [column("id", "Call"), column("parent", "Parent"), column("flow", "Flow")]
    _table(provenance, [{**call, "parent": call.get("parent") or "None"}], room)
    if "events" in call:
        output.write("Events")
        _table(EVENT_COLUMNS, call["events"], room)
    if "result" in call:
        output.write("Result")
        output.write_raw(call["result"])
    if call.get("error"):
        error = call["error"]
        output.write("Error")
        trace = (error.get("fields") or {}).get("traceback")
        output.write((trace or error.get("text") or str(error)).rstrip("\n"))
    for stream, text in (call.get("output") or {}).items():
        if text:
            output.write(f"Output ({stream})")
            output.write(str(text).rstrip("\n"))


def _table(columns: list[Column], rows: list[dict[str, Any]], room: int | None) -> None:
    cells = [[c.text(row.get(c.key)) for c in columns] for row in rows]
    output.write_lines(draw([c.title for c in columns], cells, room=room))


@command()
@click.argument("id_text", metavar="ID")
@result_options
def get(id_text: str, form: str, timeout: int | None, stream: bool) -> None:
    """Wait for a call and print its result, as the command that made it would have.

    Examples:
      mesh call get 0192f3c1
      mesh call get 0192f3c1 --timeout 30s -o json
    """
    with session() as client:
        wait_and_print(client.call(id_text), form=form, timeout=timeout, stream=stream)


def _act(do: str, id_text: str, style: Style) -> None:
    with session() as client:
        answer = client.ask(f"call.{do}", id=id_text, by=who())
    answer = answer if isinstance(answer, dict) else {"id": id_text}
    if not style.is_text:
        output.show_facts("call", answer, [], style)
        return
    text = f"call {answer.get('id', id_text)} {answer.get('done', do)}"
    output.write(text + (f", was {answer['was']}" if answer.get("was") else ""))


@command()
@click.argument("id_text", metavar="ID")
@styled
def cancel(id_text: str, style: Style) -> None:
    """Cancel a call: one that waits never begins, one that runs is interrupted.

    Examples:
      mesh call cancel 0192f3c1
    """
    _act("cancel", id_text, style)


@command()
@click.argument("id_text", metavar="ID")
@styled
def retry(id_text: str, style: Style) -> None:
    """Let a held or delayed call begin now; an ended one begins again as a new call.

    Examples:
      mesh call retry 0192f3c1
    """
    _act("retry", id_text, style)
