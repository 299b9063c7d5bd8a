"""`mesh flow ls|show|cancel|retry|wait`: flows that were submitted, open or ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from meshcode.cli import awaiting, output, plain
from meshcode.cli.nodes import end_partial, tell_silent
from meshcode.cli.options import DURATION, command, listing, styled
from meshcode.cli.output import Column, Style, column
from meshcode.cli.session import session, tell_without, who
from meshcode.errors import BadRequest, MeshError, NotAllowed, WaitTimeout
from meshcode.listing import whole_page

if TYPE_CHECKING:
    from meshcode.client import Client

STEPS_SHOWN = 1_000


def _time(key: str, title: str) -> Column:
    return Column(key, title, plain.local_time)


LS_COLUMNS = [
    column("id", "ID"), column("state"), column("steps", "Steps"), column("done"), column("failed"),
    column("open"), _time("accepted_ms", "Accepted"), _time("finished_ms", "Finished"),
]  # fmt: skip
STEP_COLUMNS = [
    column("step"), column("id", "ID"), column("socket"), column("state"), column("needs"),
    column("worker"), column("node"), _time("started_ms", "Started"),
    _time("finished_ms", "Finished"), column("reason"),
]  # fmt: skip


@command()
@click.option(
    "-p", "--page", type=click.IntRange(1), default=1, show_default=True, help="Page to show."
)
@click.option(
    "-r", "--rows", type=click.IntRange(1, 100), default=10, show_default=True,
    help="Flows per page.",
)  # fmt: skip
@listing
def ls(page: int, rows: int, style: Style) -> None:
    """List flows, newest first, with how many of their steps are done.

    Examples:
      mesh flow ls
      mesh flow ls -p 2 -r 50
      mesh flow ls -o json
    """
    with session() as client:
        found = flow_page(client, {"page": page, "rows": rows})
    items = [summary(flow) for flow in found["calls"]]
    tell_without({
        f"steps of {flow['id']}": flow["needs"] for flow in found["calls"] if flow["needs"]
    })  # fmt: skip
    output.show(
        "flow", items, LS_COLUMNS, style, name="id",
        empty=f"there is no page {page} of flows" if page > 1
        else "no flows; see docs/flows.md for how to make one",
    )  # fmt: skip
    end_partial(found["silent"])


def flow_page(client: Client, fields: dict[str, Any]) -> dict[str, Any]:
    """What the node answers to `flow.list` with these fields."""
    try:
        return whole_page(client.ask, "flow.list", fields)
    except BadRequest:  # A node of an older version, which is asked for flow after flow.
        found = whole_page(client.ask, "mesh.calls", {**fields, "socket": "@flow"})
    for row in found["calls"]:
        try:
            told = client.ask("flow.get", id=row["id"], limit=0) | {"needs": None}
        except NotAllowed as error:
            told = {"result": None, "counts": None, "total": None, "needs": error.fields["right"]}
        row.update(told)
    return found


def summary(flow: dict[str, Any]) -> dict[str, Any]:
    """One line about a flow; without figures when its steps are not told."""
    counts, total = flow["counts"], flow["total"]
    done = failed = left = None
    if counts is not None:
        done = counts.get("DONE", 0)
        failed = counts.get("FAILED", 0) + counts.get("CANCELLED", 0)
        left = total - done - failed
    return {
        "id": flow["id"], "state": flow["state"], "steps": total, "done": done, "failed": failed,
        "open": left, "counts": counts, "accepted_ms": flow["accepted_ms"],
        "finished_ms": flow["finished_ms"], "result": flow["result"],
    }  # fmt: skip


@command()
@click.argument("id_text", metavar="ID")
@click.option("--from", "first", type=click.IntRange(0), default=0, help="Begin with this step.")
@click.option("-u", "--unfinished", is_flag=True, help="Only steps that have not ended.")
@listing
def show(id_text: str, first: int, unfinished: bool, style: Style) -> None:
    """Show the steps of a flow: where each is, who ran it and when; 1,000 at a time.

    Examples:
      mesh flow show 0192f3c1
      mesh flow show 0192f3c1 -u
      mesh flow show 0192f3c1 -o json
    """
    fields = {"from": first, "limit": STEPS_SHOWN, "rows": True, "open": unfinished}
    with session() as client:
        flow = client.ask("flow.get", id=id_text, **fields)
    rows = [_row(row, told) for row, told in zip(flow["rows"], flow["steps"], strict=True)]
    counts = ", ".join(f"{count} {state}" for state, count in flow["counts"].items())
    footer = f"flow {flow['id']} {flow['state']}: {counts}"
    if len(rows) == STEPS_SHOWN:
        footer += f"; `--from {first + STEPS_SHOWN}` for more"
    output.show("step", rows, STEP_COLUMNS, style, name="id", footer=footer)
    end_partial(flow["silent"])


def _row(row: dict[str, Any], told: list[Any]) -> dict[str, Any]:
    needs = told[3]
    shown = "many" if needs is None else _ranges(needs)
    socket = row["socket"] or ("(earlier run)" if row["earlier"] else "(gather)")
    return {**row, "socket": socket, "needs": shown}


def _ranges(numbers: list[Any]) -> str:
    """`0-3, 7`: the numbers of steps as people read them; other calls by their ids."""
    parts: list[list[Any]] = []
    for number in numbers:
        if isinstance(number, bytes):
            parts.append([number.hex()])
        elif parts and isinstance(parts[-1][-1], int) and parts[-1][-1] + 1 == number:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


@command()
@click.argument("id_text", metavar="ID")
@styled
def cancel(id_text: str, style: Style) -> None:
    """Cancel a flow: every call of it that has not ended, on all nodes.

    Exit status 8: some could not be reached; they go on.

    Examples:
      mesh flow cancel 0192f3c1
    """
    with session() as client:
        show_cancelled(client.ask("flow.cancel", id=id_text, by=who()), style)


def show_cancelled(answer: dict[str, Any], style: Style) -> None:
    """Say what was cancelled, and what could not be."""
    if style.is_text:
        output.write(
            f"flow {answer['id']}: {answer['cancelled']} calls cancelled, {answer['interrupted']}"
            f" interrupted, {answer['ended']} steps had ended"
        )
    else:
        output.show_facts("flow", answer, [], style)
    left = answer["open"] + answer["kept"]
    if left:
        output.say(
            f"mesh: {left} calls of the flow have not ended: they run on, or their node does not"
            " answer; look with `mesh flow show -u`, and cancel it again"
        )
        tell_silent(answer["silent"])
        click.get_current_context().exit(8)
    end_partial(answer["silent"])


@command()
@click.argument("id_text", metavar="ID")
@click.option(
    "--from", "first", type=click.IntRange(0), help="Make this step and all after it again, too."
)
@styled
def retry(id_text: str, first: int | None, style: Style) -> None:
    """Make a flow again without the steps that are done: a new flow, with the code of now.

    Examples:
      mesh flow retry 0192f3c1
      mesh flow retry 0192f3c1 --from 2
    """
    with session() as client:
        fields = {} if first is None else {"from": first}
        show_retried(client.ask("flow.retry", id=id_text, by=who(), **fields), style)


def show_retried(answer: dict[str, Any], style: Style) -> None:
    """Say which flow it is now."""
    if not style.is_text:
        output.show_facts("flow", answer, [], style)
        return
    output.write(
        f"flow {answer['id']} submitted, was {answer['was']}: {answer['again']} steps again,"
        f" {answer['kept']} kept"
    )


@command()
@click.argument("id_text", metavar="ID")
@click.option("--timeout", type=DURATION, help="Give up waiting after this; the flow goes on.")
def wait(id_text: str, timeout: int | None) -> None:
    """Wait until a flow has ended and say how; its error becomes the exit status.

    Examples:
      mesh flow wait 0192f3c1 --timeout 5m
    """
    end = None if timeout is None else time.monotonic() + timeout / 1000

    def left() -> float | None:
        return None if end is None else max(0.0, end - time.monotonic())

    with session() as client:
        flow = client.ask("flow.get", id=id_text, limit=0)
        try:
            # It has steps only when the first has ended.
            for call in (client.call(flow["id"]), client.call(flow["result"])):
                awaiting.wait(client, call, left())
                call.result()
        except WaitTimeout:
            raise WaitTimeout(
                f"flow {flow['id']} has not ended within {plain.length_of_time(timeout or 0)}; it"
                f" goes on: `mesh doctor flow {flow['id']}` says what it waits for",
                id=flow["id"],
            ) from None
        except MeshError as error:
            output.say(f"mesh: flow {flow['id']} did not end well: {error}")
            raise
    output.write(f"flow {flow['id']} DONE")
