"""`mesh ls call`: one call with all that is known of it, and the flow that it belongs to."""

from __future__ import annotations

from typing import Any

import click

from meshcode import config
from meshcode.cli import flowgraph, output, plain
from meshcode.cli.call import COLUMNS, LOOKS_MAX, OUTCOME_ONLY, time_column, updated
from meshcode.cli.nodes import end_partial, tell_silent
from meshcode.cli.options import command, complete
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import session
from meshcode.cli.table import clean, clean_lines, draw
from meshcode.cli.tree import ASCII, Lines, ascii_option
from meshcode.errors import BadValue, CallerError, UnknownCall
from meshcode.listing import whole_page

EVENT_COLUMNS = [column("name"), time_column("ms", "Time"), column("note")]
PROVENANCE = [
    column("id", "Call"), column("task"), column("parent", "Parent"), column("flow", "Flow"),
]  # fmt: skip
TREE_COLUMNS = [
    Column("branch", "Call"), column("socket"), column("state"), column("node"),
    column("kept", "Copies"), time_column("started_ms", "Started"),
    time_column("finished_ms", "Finished"),
]  # fmt: skip
_DRAWINGS = ("dot", "mermaid")
ROWS_MAX = 1_000  # Calls among which the one accepted last is sought.


@command()
@click.argument("id_word", metavar="[ID]", required=False)
@click.option("--id", "id_given", metavar="ID", help="Id of the call, or its beginning.")
@click.option(
    "-n", "--name", metavar="SOCKET", shell_complete=complete("socket"),
    help="The call of this socket that was accepted last.",
)
@click.option("-r", "--result", is_flag=True, help="Include the result or the error.")
@click.option("--events/--no-events", default=True, help="Include the events.  [default: yes]")
@click.option(
    "--output", "--captured", "captured", is_flag=True, help="Include what the task printed."
)
@click.option("-t", "--tree", is_flag=True, help="What it has caused, each call below its cause.")
@click.option("-g", "--graph", is_flag=True, help="Its whole flow, drawn with joins.")
@click.option("-f", "--flow", "whole", is_flag=True, help="All calls of its flow, as they began.")
@ascii_option
@click.option(
    "-o", "form", type=click.Choice((*output.FORMATS, *_DRAWINGS)),
    help="Format of the output; dot and mermaid draw.  [env: MESH_OUTPUT; default: table]",
)
def ls_call(
    id_word: str | None,
    id_given: str | None,
    name: str | None,
    result: bool,
    events: bool,
    captured: bool,
    tree: bool,
    graph: bool,
    whole: bool,
    strokes: Lines,
    form: str | None,
) -> None:
    """Show a call: details, provenance, events; any unique beginning of its id will do.

    Every node that is there tells what it knows of it, so a take-over is among the events.  In a
    graph, more than 4 calls alike are one line; of a flow, a node tells 2,000 calls at most, those
    that have not ended well first.

    Examples:
      mesh ls call --id 0192f3c1             also: mesh ls job
      mesh ls call 0192f3c1 -r --output
      mesh ls call 0192f3c1 --tree
      mesh ls call 0192f3c1 -g
      mesh ls call 0192f3c1 -g -o dot | dot -Tsvg > flow.svg
      mesh ls call -n shop.clean -o json
    """
    if sum(given is not None for given in (id_word, id_given, name)) != 1:
        raise click.UsageError("name one call, as ID or with --id ID")
    if tree + graph + whole > 1:
        raise click.UsageError("give one of --tree, --graph and --flow")
    if form in _DRAWINGS and not tree:
        graph = True
    with session() as client:
        which = id_word or id_given or _newest(client, str(name))
        if not tree + graph + whole:
            call = _ask(client, which, result=result, captured=captured)
        else:
            call = client.ask("mesh.call", id=which)
            found = _flow_of(client, call)
    if not tree + graph + whole:
        _show_one(call, Style(form or config.value("output")), events=events)
        return
    calls = flowgraph.forward(found["calls"], call["id"]) if tree else found["calls"]
    if form in _DRAWINGS:
        nodes = flowgraph.graph(calls)
        output.write_lines(flowgraph.dot(nodes) if form == "dot" else flowgraph.mermaid(nodes))
    elif graph:
        _show_graph(calls, Style(form or config.value("output")), strokes)
    else:
        _show_tree(calls, Style(form or config.value("output")), in_order=whole)
    _tell_cut(found)
    end_partial(found["silent"])


def _ask(client: Any, which: str, *, result: bool, captured: bool) -> dict[str, Any]:
    """One call; a result that cannot be read here, for want of a package, is left out and told."""
    try:
        call: dict[str, Any] = client.ask("mesh.call", id=which, result=result, output=captured)
        if result:
            _add_result_of_flow(client, call)
    except BadValue as error:
        if "missing" not in error.fields:
            raise
        output.say(f"mesh: its result is not shown: {error}")
        call = client.ask("mesh.call", id=which, output=captured)
    if "result" in call:
        from meshcode.cli.result import named_stream

        call["result"] = named_stream(call["result"], call.get("result_step", call["id"]))
    return call


def _newest(client: Any, socket: str) -> str:
    """The id of the call of a socket that was accepted last.

    Listings are by the time in the id; a call that was made by another one, as by a retry, has that
    of its origin.  So it is sought among all that were accepted since the first of the list was.

    Raises:
        UnknownCall: it has none.
    """
    calls = whole_page(client.ask, "mesh.calls", {"socket": socket, "rows": 1})["calls"]
    if not calls:
        raise UnknownCall(
            f"no call of socket {socket!r} is open or kept; `mesh ls sockets` has all sockets"
        )
    (first,) = calls
    if first.get("accepted_ms"):
        since = {"socket": socket, "since_ms": first["accepted_ms"], "rows": ROWS_MAX}
        later = whole_page(client.ask, "mesh.calls", since | {"total": False}, looks=LOOKS_MAX)
        calls = [call for call in later["calls"] if call.get("accepted_ms")] or calls
    return str(max(calls, key=lambda call: call["accepted_ms"] or 0)["id"])


def _add_result_of_flow(client: Any, call: dict[str, Any]) -> None:
    """The result of a flow is that of the step which its own outcome names."""
    if not call.get("flow_result"):
        return
    step = client.ask("mesh.call", id=call["flow_result"], result=True)
    call["result_step"], call["result_state"] = step["id"], step["state"]
    call |= {key: step[key] for key in ("result", "error") if key in step}


def _flow_of(client: Any, call: dict[str, Any]) -> dict[str, Any]:
    """The flow of a call."""
    found: dict[str, Any] = client.ask("mesh.flow", flow=call["flow"])
    return {**found, "calls": flowgraph.as_declared(found["calls"], found["total"])}


def _tell_cut(found: dict[str, Any]) -> None:
    shown, total = len(found["calls"]), found["total"]
    if total > shown:
        counts = ", ".join(f"{count:,} {state}" for state, count in found["states"].items())
        output.say(f"{shown:,} of {total:,} calls of the flow are shown; it has {counts}")


# A flow.


def _show_graph(calls: list[dict[str, Any]], style: Style, strokes: Lines) -> None:
    if not style.is_text:
        rows = [{**call, "needs": flowgraph.needs_of(call)} for call in calls]
        output.show("call", rows, TREE_COLUMNS, style, name="id")
        return
    nodes = flowgraph.graph(calls)
    lines = flowgraph.width(nodes)
    if lines > flowgraph.LANES_MAX:
        raise CallerError(
            f"the graph has {lines} lines beside each other, at most {flowgraph.LANES_MAX} are"
            " drawn as text; use -o dot or -o mermaid, or --flow for a list"
        )
    drawn = flowgraph.ASCII if strokes == ASCII else flowgraph.UTF8
    output.write_lines(flowgraph.draw(nodes, drawn))


def _show_tree(calls: list[dict[str, Any]], style: Style, *, in_order: bool) -> None:
    """The calls of a flow, each below its cause, or those first that began first."""
    rows = [
        {**call, "depth": depth, "branch": "  " * depth + str(call["id"]),
         "kept": f"{call['copies']}/{call['copies_of']}"}
        for depth, call in as_tree(calls)
    ]  # fmt: skip
    if in_order:
        rows.sort(key=lambda row: row.get("started_ms") or float("inf"))
    output.show("call", rows, TREE_COLUMNS, style, name="id")


def as_tree(calls: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Depth and call, each cause followed by what it caused; whose cause is unknown are roots.

    The cause of a step is the first step that feeds it, else its parent.
    """
    known = {call["id"] for call in calls}
    below: dict[str | None, list[dict[str, Any]]] = {}
    for call in calls:
        causes = (*flowgraph.needs_of(call), call.get("parent"))
        cause = next((id for id in causes if id in known and id != call["id"]), None)
        below.setdefault(cause, []).append(call)
    found: list[tuple[int, dict[str, Any]]] = []
    stack = [(0, call) for call in reversed(below.get(None, []))]
    while stack:
        depth, call = stack.pop()
        found.append((depth, call))
        stack += [(depth + 1, child) for child in reversed(below.pop(call["id"], []))]
    return found


# One call.


def _show_one(call: dict[str, Any], style: Style, *, events: bool) -> None:
    tell_silent(call.pop("silent"))
    call = {**call, "name": call.get("socket"), "updated_ms": updated(call)}
    if not events:
        call.pop("events", None)
    if style.is_text:
        _show_call(call)
    else:
        output.show_facts("call", call, [], style)


def _show_call(call: dict[str, Any]) -> None:
    room = output.terminal_columns()
    columns = [c for c in COLUMNS if c.key not in ("page", "row")]
    _table(columns, [{**call, "socket": call["socket"] or OUTCOME_ONLY}], room)
    if call.get("bare"):
        output.say(f"{OUTCOME_ONLY}: no node that answered keeps the call itself")
    facts = ("processor", "worker", "commit", "attempts", "priority", "trace", "reason")
    pairs = [(key, output.value_text(key, call.get(key))) for key in facts]
    if call["copies_of"] > 1:
        names = ", ".join(call["voters"])
        pairs.append(("kept", f"{call['copies']} of {call['copies_of']} copies: {names}"))
    who = "owner" if call.get("know") in ("owned", "kept") else "ran on"
    pairs += [(who, call.get("node") or ""), ("runs on", call.get("runs_on") or "")]
    if call.get("due_ms"):
        pairs.append(("due", plain.local_time(call["due_ms"])))
    if call.get("run_us"):
        pairs.append(("ran for", plain.length_of_time(call["run_us"] / 1000)))
    if call.get("result_step"):
        pairs.append(("result step", f"{call['result_step']} ({call['result_state']})"))
    output.write_lines(f"{name}: {clean(value)}" for name, value in pairs if value)
    output.write("Provenance")
    _table(PROVENANCE, [{**call, "parent": call.get("parent") or "None"}], room)
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
        output.write(clean_lines((trace or error.get("text") or str(error)).rstrip("\n")))
    for stream, text in (call.get("output") or {}).items():
        if text:
            output.write(f"Output ({stream})")
            output.write(str(text).rstrip("\n"))


def _table(columns: list[Column], rows: list[dict[str, Any]], room: int | None) -> None:
    cells = [[c.text(row.get(c.key)) for c in columns] for row in rows]
    output.write_lines(draw([c.title for c in columns], cells, room=room))
