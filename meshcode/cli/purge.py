"""`mesh queue purge`: the calls that wait in a queue are cancelled, on all nodes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshcode.cli import objects, output, session
from meshcode.cli.nodes import end_partial
from meshcode.cli.options import command, styled
from meshcode.cli.output import Style
from meshcode.cli.waiting import dry_option
from meshcode.client.asking import AHEAD, ask_each
from meshcode.client.client import ASK_S
from meshcode.errors import MeshError
from meshcode.listing import whole_page

if TYPE_CHECKING:
    from meshcode.client import Client

PAGE_ROWS = 1_000
TELL_S = 5.0  # Between words on how far it is.
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
        objects.one(client, "queue", name)  # Says what is near when there is none.
        rows = session.objects(client, "socket")
        sockets = [row["name"] for row in rows if row.get("queue") == name]
        objects.confirm(f"cancel all calls that wait in queue {name}", yes=yes or dry)
        silent: dict[str, dict[str, Any]] = {}
        waiting = (id for socket in sockets for id in _waiting(client, socket, silent))
        ended = Counter({"cancelled": sum(1 for _ in waiting)}) if dry else Counter[str]()
        if not dry:
            _cancel(client, name, waiting, ended)
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


def _cancel(client: Client, queue: str, ids: Iterator[str], ended: Counter[str]) -> None:
    """Cancel these calls and count them; `late` are those for which it came too late."""
    by = session.who()
    each = ({"id": id, "by": by} for id in ids)
    tell_at = time.monotonic() + TELL_S
    try:
        for answer in ask_each(client, "call.cancel", each, timeout=ASK_S):
            ended[_done(answer)] += 1
            if time.monotonic() >= tell_at:
                tell_at += TELL_S
                output.say(f"queue {queue}: {ended['cancelled']} calls cancelled so far")
    except BaseException:
        output.say(
            f"queue {queue}: {ended['cancelled']} calls are cancelled, and up to {AHEAD} more that"
            " were asked for; the others wait as before; the same command goes on"
        )
        raise


def _done(answer: Any) -> str:
    """What became of one call; `late` when it could no longer be cancelled."""
    if not isinstance(answer, MeshError):
        return "late" if answer.get("done") == "interrupted" else "cancelled"
    if answer.code not in ("wrong_state", "unknown_call"):
        raise answer
    return "late"
