"""`mesh queue purge`: the calls that wait in a queue are cancelled, on all nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshcode.cli import objects, output, session
from meshcode.cli.nodes import end_partial
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.waiting import dry_option
from meshcode.errors import MeshError, UnknownObject
from meshcode.listing import whole_page

if TYPE_CHECKING:
    from meshcode.client import Client

PAGE_ROWS = 1_000
# What has not begun and waits for nothing but its turn; steps of flows wait for others.
_WAITING = ("WAITING", "DELAYED", "PARKED")


@command()
@objects.one_name("queue")
@objects.yes_option
@dry_option
@styled
def purge(name: str, yes: bool, dry: bool, style: Style) -> None:
    """Cancel every call that waits in a queue; calls that run go on.

    One that begins in just this moment is interrupted, and counted apart. Calls of a node that
    does not answer stay, and the status is 8; what comes meanwhile may stay, too.

    Examples:
      mesh queue purge q1 -y
      mesh queue purge q1 --dry-run
    """
    with session.session() as client:
        rows = session.objects(client, "socket")
        sockets = [row["name"] for row in rows if row.get("queue") == name]
        if name not in {row["name"] for row in session.objects(client, "queue")}:
            raise UnknownObject(f"there is no queue {name!r}; nothing was cancelled", name=name)
        objects.confirm(f"cancel all calls that wait in queue {name}", yes=yes or dry)
        silent: dict[str, dict[str, Any]] = {}
        ended = Counter[str]()
        for id in [id for socket in sockets for id in _waiting(client, socket, silent)]:
            ended["cancelled" if dry else _cancel(client, id)] += 1
    facts = {"name": name, "cancelled": ended["cancelled"], "late": ended["late"]}
    if style.is_text:
        late = f"; {ended['late']} had begun or ended by then" if ended["late"] else ""
        undone = " (dry run: nothing was changed)" if dry else ""
        output.write(f"queue {name}: {ended['cancelled']} calls cancelled{late}{undone}")
    else:
        output.show_facts("queue", facts, [], style)
    end_partial(list(silent.values()))


def _waiting(client: Client, socket: str, silent: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The ids of the calls of a socket that have not begun; the nodes that did not say."""
    fields: dict[str, Any] = {
        "socket": socket, "unfinished": True, "rows": PAGE_ROWS, "ascending": True, "total": False,
    }  # fmt: skip
    while True:
        found = whole_page(client.ask, "mesh.calls", fields)
        silent |= {row["name"]: row for row in found["silent"]}
        yield from (row["id"] for row in found["calls"] if row["state"] in _WAITING)
        if not found["more"] or not found["calls"]:
            return
        fields["cursor"] = found["calls"][-1]["id"]


def _cancel(client: Client, id: str) -> str:
    """Cancel one call; `late` when that can no longer be."""
    try:
        answer = client.ask("call.cancel", id=id, by=session.who())
    except MeshError as error:
        if error.code not in ("wrong_state", "unknown_call"):
            raise
        return "late"
    return "late" if answer.get("done") == "interrupted" else "cancelled"
