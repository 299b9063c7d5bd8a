"""Whether what the mesh calls by itself, by plugs and schedules, fits the code as a node knows it.

The model has names only, and the code may get the argument later: so what does not fit is no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.client.client import Client

ARGC_MAX = 254  # What a call tells of its positional arguments.


class Shape(NamedTuple):
    """What is known of a call before it is made."""

    socket: str
    argc: int
    keywords: Sequence[str]


def plug_problem(client: Client, plug: Mapping[str, Any]) -> str | None:
    """Why what comes along a plug fails: its target has not the argument that it fills."""
    target, argument = str(plug["target"]), plug.get("argument")
    signature = (_shown(client, name=target).get("signature") or {}) if argument else {}
    parameters = signature.get("args") or ()
    by_name = [name for name, kind, _required in parameters if kind in ("pos", "kwonly")]
    if not signature or argument in by_name or "varkw" in [row[1] for row in parameters]:
        return None
    return (
        f"{target}{signature['text']} has no argument {argument!r} as its code is now: what comes"
        " along this plug fails"
    )


def schedule_problem(client: Client, schedule: Mapping[str, Any]) -> str | None:
    """Why the calls of a schedule fail: the function of its socket does not take its arguments."""
    said = misfit(client, shape_of(schedule))
    return None if said is None else f"schedule {str(schedule['name'])!r} calls {said}"


def shape_of(schedule: Mapping[str, Any]) -> Shape:
    """The shape of its calls."""
    args, kwargs = schedule.get("args") or (), schedule.get("kwargs") or {}
    return Shape(str(schedule["socket"]), min(len(args), ARGC_MAX), tuple(kwargs))


def misfit(client: Client, shape: Shape) -> str | None:
    """What the node would say of calls of this shape; None when it would take them."""
    found = _shown(client, name=shape.socket, argc=shape.argc, keywords=list(shape.keywords))
    problem = found.get("problem")
    if not problem:
        return None
    return (
        f"{shape.socket}{found['signature']['text']}, which {problem} as its code is now: its calls"
        " fail"
    )


def _shown(client: Client, **fields: Any) -> dict[str, Any]:
    """Nothing while nobody knows it: there is no such socket yet, or it may not be seen."""
    try:
        found: dict[str, Any] = client.ask("task.show", **fields)
    except MeshError:
        return {}
    return found
