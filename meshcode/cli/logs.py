"""`mesh logs`: what tasks printed, as it is printed."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from meshcode.cli import output, plain
from meshcode.cli.options import command, complete
from meshcode.cli.session import session
from meshcode.errors import NotAllowed


@command()
@click.argument("socket", required=False, shell_complete=complete("socket"))
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--call", "call_id", metavar="ID", help="Only this call.")
@click.option(
    "--tail",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Begin with so many older pieces of output.",
)
@click.option(
    "--channel", type=click.Choice(["log", "task", "state"]), default="log", show_default=True,
    help="log: what tasks print; task: results; state: every change of a call.",
)  # fmt: skip
@click.option("-o", "form", type=click.Choice(["text", "jsonl"]), default="text", show_default=True)
def logs(
    socket: str | None, follow: bool, call_id: str | None, tail: int, channel: str, form: str
) -> None:
    """Print what the calls of a socket wrote to stdout and stderr; -f follows.

    Only what ran on the node that is asked. Of a whole mesh: `mesh listen -n SOCKET --channel log`,
    with --since for the past, and `mesh ls call ID --output`.

    Examples:
      mesh logs shop.clean
      mesh logs shop.clean -f
      mesh logs shop.clean -f -o jsonl | jq .text
      mesh logs --call 0192f3c1
    """
    if socket is None and call_id is None:
        raise click.UsageError("name a SOCKET, or one call with --call ID")
    fields: dict[str, Any] = {"channel": channel, "tail": tail}
    with session() as client:
        if socket is not None:
            with suppress(NotAllowed):  # Who may hear a socket need not see its signature.
                # Refuses an unknown name, and says which is near.
                client.ask("socket.describe", name=socket)
            fields["socket"] = socket
        if call_id is not None:
            fields["call"] = client.ask("call.get", id=call_id)["id"]
        _tell_others(client)
        with client.ask_stream("subscribe", **fields) as stream:
            if not follow:
                # The older lines come before the answer to any later question.
                client.ask("whoami")
                stream.close()
            for event in stream:
                _print(event, form)
                sys.stdout.flush()


def _tell_others(client: Any) -> None:
    """Where else there is something: in a mesh, calls run on any node."""
    try:
        rows = client.ask("nodes")["nodes"]
    except NotAllowed:  # Who may read a socket's log need not see the nodes.
        return
    others = sum(not row["this"] and row["state"] != "evicted" for row in rows)
    if others:
        output.say(
            f"mesh: of what ran on this node; the mesh has {others} other"
            f" node{'' if others == 1 else 's'}: `mesh listen --channel log` hears all of them"
        )


def _print(event: Any, form: str) -> None:
    if form == "jsonl" or not isinstance(event, dict):
        output.write(plain.to_json(event))
        return
    if "dropped" in event:
        output.say(f"mesh: {event['dropped']} events were not read in time and are left out")
        return
    head = f"{plain.local_time(event.get('ms'))} {str(event.get('call') or '')[:13]}"
    if "text" not in event:
        output.write(f"{head} {event.get('socket')} {event.get('name')} {event.get('note', '')}")
        return
    for line in str(event["text"]).splitlines():
        output.write(f"{head} {line}")
