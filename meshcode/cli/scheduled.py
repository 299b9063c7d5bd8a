"""Whether the arguments of schedules fit the code that they call, as a node knows it now.

The model has names only, and the code may get the argument later: so what does not fit is no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshcode.cli import output
from meshcode.errors import MeshError

ARGC_MAX = 254  # What a call tells of its positional arguments.
SOCKETS_MAX = 200  # Looked at for one report.


def tell(client: Any, schedule: Mapping[str, Any]) -> None:
    """Say so when the arguments of a schedule do not fit the function of its socket."""
    for _name, text in unfit(client, [schedule]):
        output.say(f"mesh: {text}")


def unfit(client: Any, schedules: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Schedules whose calls the node would refuse, with what is wrong with them."""
    known: dict[str, Any] = {}
    for schedule in schedules:
        socket = str(schedule["socket"])
        if socket not in known:
            if len(known) >= SOCKETS_MAX:
                return
            known[socket] = _signature(client, socket)
        trouble = _trouble(known[socket], schedule)
        if trouble:
            name = str(schedule["name"])
            yield name, (
                f"schedule {name!r} calls {socket}{known[socket]['text']}, which {trouble} as its"
                " code is now: its calls fail; `mesh update schedule` with --args and --kwargs"
                " gives others"
            )


def _signature(client: Any, socket: str) -> Any:
    """None while nobody knows it: a dry run has no such socket yet, or it may not be seen."""
    try:
        return client.ask("task.show", name=socket).get("signature")
    except MeshError:
        return None


def _trouble(signature: Any, schedule: Mapping[str, Any]) -> str | None:
    if not signature:
        return None
    from meshcode.router.signature import Signature

    args, kwargs = schedule.get("args") or (), schedule.get("kwargs") or {}
    return Signature(signature).problem(min(len(args), ARGC_MAX), list(kwargs))
