"""`mesh ls calls`, `mesh call get|cancel|retry`; `mesh ls call` is in `showcall.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import output, plain
from meshcode.cli.awaiting import FLOW_SOCKET
from meshcode.cli.flow import show_cancelled, show_retried
from meshcode.cli.nodes import complete_node, end_partial
from meshcode.cli.options import MOMENT, command, complete, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.result import result_options, wait_and_print
from meshcode.cli.session import objects as all_objects
from meshcode.cli.session import session, who
from meshcode.cli.watch import watch as follow
from meshcode.cli.watch import watch_option
from meshcode.errors import MeshError, WrongState
from meshcode.listing import whole_page
from meshcode.nearest import nearest

if TYPE_CHECKING:
    from meshcode.client import Client

MADE_AGAIN = "made again"  # The event of a call that was tried again as a new one.
LOOKS_MAX = 10  # Requests for one page that is watched.
_STATES = (
    "WAITING", "DELAYED", "PARKED", "GATHERING", "COPYING", "RUNNING", "ENDING", "HELD", "KEPT",
    "ORPHAN", "COPY", "DONE", "FAILED", "CANCELLED", "MOVED",
)  # fmt: skip


def time_column(key: str, title: str) -> Column:
    """A column of Unix milliseconds, shown as local time."""
    return Column(key, title, plain.local_time)


# As the original system lists calls; a call has no owner of its own.
COLUMNS = [
    column("page"), column("row"), Column("socket", "Name"), Column("id", "ID"),
    time_column("updated_ms", "Last Updated"), Column("socket", "Socket"),
    time_column("started_ms", "Started"), time_column("finished_ms", "Finished"), column("state"),
]  # fmt: skip
# Further ones where there is more than one node.
MESH_COLUMNS = [column("node"), column("kept", "Copies")]
# What a narrow terminal goes without, first to last: the name is the socket.
_SPARE = [COLUMNS[0], COLUMNS[5], COLUMNS[4], COLUMNS[1]]
OUTCOME_ONLY = "(outcome only)"  # In the place of the socket.


def updated(row: dict[str, Any]) -> int | None:
    """When something was last noted of a call, in Unix milliseconds."""
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
@click.option(
    "--processor", shell_complete=complete("processor"), help="Only calls of its sockets."
)
@click.option(
    "-n", "--node", shell_complete=complete_node, help="Only calls it owns or has run."
)
@click.option("-f", "--flow", metavar="ID", help="Only calls of this flow.")
@click.option("--since", type=MOMENT, help="Only calls accepted since: 2h, 2026-11-26T14:05.")
@click.option("--until", type=MOMENT, help="Only calls accepted then or before.")
@click.option(
    "--before", metavar="ID", help="Pages begin behind this call: older ones, with -a newer ones."
)
@click.option("--here", is_flag=True, help="Only what this node knows; others are not asked.")
@click.option("-t", "--tracking", is_flag=True, help="Also the flow of each.")
@click.option("-tk", "--task", is_flag=True, help="Also the task of each.")
@watch_option
@listing
def ls_calls(
    page: int, rows: int, unfinished: bool, ascend: bool, ids: bool, socket: str | None,
    state: str | None, processor: str | None, node: str | None, flow: str | None,
    since: int | None, until: int | None, before: str | None, here: bool, tracking: bool,
    task: bool, watch: bool,
    style: Style,
) -> None:  # fmt: skip
    """List the calls of the mesh, newest first: all nodes that are there are asked.

    The order is that of their ids, which begin with a time: a call that was tried again, an item of
    a stream and what comes along a plug have that of the call they come from, and lie beside it.

    KEPT: its owner did not answer; another node keeps it. ORPHAN and COPY do not go on: see `mesh
    recover`. Exit status 8: a node with a link did not answer in time.

    Examples:
      mesh ls calls
      mesh ls calls -u                       those that have not ended
      mesh ls calls --state HELD -s shop.charge
      mesh ls calls -p 2 -r 100 -o json
      mesh ls calls --processor proc1 --since 2h --state FAILED
      mesh ls calls -u -i | xargs -n1 mesh call cancel
    """
    fields: dict[str, Any] = {"page": page, "rows": rows}
    chosen = {
        "unfinished": unfinished or None, "ascending": ascend or None, "socket": socket,
        "state": state.upper() if state else None, "processor": processor, "node": node,
        "since_ms": since, "until_ms": until, "here": here or None,
    }  # fmt: skip
    fields |= {name: value for name, value in chosen.items() if value is not None}
    more = [column("flow")] * tracking + [column("task")] * task
    if ids:
        style = style._replace(quiet=True)
    with session() as client:
        fields |= _called(client, flow=flow, cursor=before)
        if watch:
            _follow(client, fields, [*COLUMNS[2:], *more], style, task=task)
            return
        found = whole_page(client.ask, "mesh.calls", fields)
        tasks = _tasks(client) if task else {}
        _tell_undeclared(client, {} if found["calls"] else fields)
    calls = rows_of_page(found, page, rows)
    calls = [{**call, "task": tasks.get(call["name"])} for call in calls] if task else calls
    footer = _footer(fields, len(calls), found)
    columns = [*COLUMNS, *more, *(MESH_COLUMNS if found["asked"] else [])]
    if style.is_text:
        calls = [{**call, "socket": call["socket"] or OUTCOME_ONLY} for call in calls]
    output.show("call", calls, columns, style, name="id", footer=footer, spare=_SPARE)
    _tell_bare(calls)
    end_partial(found["silent"])


def _called(client: Client, **given: str | None) -> dict[str, str]:
    """The calls that were given, by whole ids: any unique beginning is enough."""
    return {name: client.call(id).id for name, id in given.items() if id is not None}


def _tell_undeclared(client: Any, asked: dict[str, Any]) -> None:
    """No call was found: say so when there is no such socket or processor, which may be why."""
    for kind in ("socket", "processor"):
        name = asked.get(kind)
        if not name:
            continue
        try:
            known = [row["name"] for row in all_objects(client, kind)]
        except MeshError:  # Who may see calls need not see sockets.
            continue
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else f"`mesh ls {kind}s` shows all"
            output.say(f"mesh: no {kind} is named {name!r}; {hint}")


def _tell_bare(calls: list[dict[str, Any]]) -> None:
    bare = sum(bool(call.get("bare")) for call in calls)
    if bare:
        output.say(f"{OUTCOME_ONLY}: of {bare} of these calls their socket, arguments and"
                   " beginning are not kept by who was asked, which was away when they ended;"
                   " other nodes have them")  # fmt: skip


def _tasks(client: Any) -> dict[str, str]:
    """The task of each socket, as the model has it now."""
    return {row["name"]: row["task"] for row in all_objects(client, "socket")}


def _look(client: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """A page that is asked for again and again: not farther than a second of the node's time."""
    return whole_page(client.ask, "mesh.calls", fields, looks=LOOKS_MAX)


def _follow(
    client: Any, fields: dict[str, Any], columns: list[Column], style: Style, *, task: bool
) -> None:
    """The page, and again with what changes; rows have no number, since they move."""
    fields = {**fields, "total": False}
    tasks = _tasks(client) if task else {}

    def look() -> list[dict[str, Any]]:
        rows = rows_of_page(_look(client, fields), 1, fields["rows"])
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
        "updated_ms": updated(call),
        "kept": f"{call['copies']}/{call['copies_of']}" if "copies" in call else "",
    }


def _footer(fields: dict[str, Any], shown: int, found: dict[str, Any]) -> str:
    """The last line: of how many, when that could be counted."""
    page, rows, total = fields["page"], fields["rows"], found["total"]
    hint = f"; `-p {page + 1}` for more" if found["more"] else ""
    if "cursor" in fields:  # What was counted is all there is, and not what is behind a call.
        return f"Page {page} with {shown} records{hint}"
    if total is None:
        least = f", of at least {found['at_least']:,}" if found.get("at_least") else ""
        return f"Page {page} with {shown} records{least}{hint}"
    pages = max(1, -(-total // rows))
    if page > pages:
        there = f"{pages} page{'' if pages == 1 else 's'}"
        return f"There is no page {page}: {there} of {total} total records"
    return f"Page {page} of {pages} of {total} total records"


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
        wait_and_print(client, client.call(id_text), form=form, timeout=timeout, stream=stream)


def _how_it_ended(client: Client, id_text: str) -> WrongState | None:
    """Why there is nothing to do for a call that has ended; None for one that has not."""
    try:
        found = client.ask("mesh.call", id=id_text)
    except MeshError:  # Forgotten, or not to be seen: what was said first is all there is to say.
        return None
    if found["state"] not in ("DONE", "FAILED", "CANCELLED") or found["socket"] == FLOW_SOCKET:
        return None  # Of a flow it was said what became of its steps.
    when = plain.local_time(found.get("finished_ms"))
    return WrongState(
        f"call {found['id']} has ended: it is {found['state']}{f' since {when}' if when else ''};"
        f" nothing was changed; see `mesh ls call {found['id']} -r`"
    )


def _tell_again(client: Client, answer: dict[str, Any]) -> None:
    """Say so when a call was tried again before: what it does may now be done twice."""
    try:
        events = client.ask("mesh.call", id=answer["was"])["events"]
    except MeshError:  # It is made again; that is all there is to say.
        return
    notes = [event["note"] for event in events if event["name"] == MADE_AGAIN]
    before = [note.removeprefix("as ") for note in notes if not note.endswith(answer["id"])]
    if before:
        output.say(f"mesh: call {answer['was']} had been tried again before, as"
                   f" {', '.join(before)}: look with `mesh ls call`")  # fmt: skip


def _act(do: str, id_text: str, style: Style) -> None:
    with session() as client:
        try:
            answer = client.ask(f"call.{do}", id=id_text, by=who())
        except WrongState as error:
            ended = _how_it_ended(client, id_text) if do == "cancel" else None
            raise ended or error from None
        if do == "retry" and isinstance(answer, dict) and answer.get("was"):
            _tell_again(client, answer)
    answer = answer if isinstance(answer, dict) else {"id": id_text}
    if "cancelled" in answer or "again" in answer:
        show = show_cancelled if do == "cancel" else show_retried
        show(answer, style)
        return
    if not style.is_text:
        output.show_facts("call", answer, [], style)
        return
    text = f"call {answer.get('id', id_text)} {answer.get('done', do)}"
    output.write(text + (f", was {answer['was']}" if answer.get("was") else ""))


@command()
@click.argument("id_text", metavar="ID")
@styled
def cancel(id_text: str, style: Style) -> None:
    """Cancel a call: one that waits never begins, one that runs is interrupted. Of a flow, all.

    Examples:
      mesh call cancel 0192f3c1
    """
    _act("cancel", id_text, style)


@command()
@click.argument("id_texts", metavar="ID...", nargs=-1, required=True)
@styled
def retry(id_texts: tuple[str, ...], style: Style) -> None:
    """Let held or delayed calls begin now; an ended one, or flow, begins again as a new one.

    Ended calls stay on record as they ended, and so in `mesh ls calls --state FAILED`; `mesh ls
    call ID` has what one was made again as. Of several ids one that is refused stops none of the
    others; the exit status is that of the last refusal.

    Examples:
      mesh call retry 0192f3c1
      mesh ls calls --state HELD -i | xargs mesh call retry
    """
    refused: MeshError | None = None
    for id_text in id_texts:
        try:
            _act("retry", id_text, style)
        except MeshError as error:
            if refused is not None:
                output.say(f"mesh: {refused}")
            refused = error
    if refused is not None:
        raise refused
