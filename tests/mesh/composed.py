"""What one call of a client is to cause: the steps of a flow, the calls along a chain of plugs.

Told by the value of its line in the history, which names every id; worked out in plain Python:

    {"plan": [[function, arguments, feed], ...], "ids", "result"}    a flow; its own value is the
                id of the step whose value is that of the flow
    {"chain": [id, ...], "first": value}     each call gets the value of the one before it, the
                first of `chain` that of the call itself
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.campaign.checker import GATHER, values_of


class Due(NamedTuple):
    """What is known of one call before anybody ran it."""

    value: Any
    idle: bool = False  # No worker runs it.


def due_of(id: str, argument: Any, task: Callable[[Any], Any]) -> dict[str, Due]:
    """Of a call and all that it causes, what each must give."""
    if not isinstance(argument, dict):
        return {id: Due(task(argument))}
    if "plan" in argument:
        values, ids = values_of(argument["plan"]), argument["ids"]
        steps = zip(ids, values, argument["plan"], strict=True)
        due = {one: Due(value, idle=step[0] == GATHER) for one, value, step in steps}
        return {id: Due(ids[argument["result"]], idle=True)} | due
    value, found = argument["first"], {}
    for one in (id, *argument["chain"]):
        value = task(value)
        found[one] = Due(value)
    return found


def parts_of(argument: Any) -> list[str]:
    """The ids of the calls that a call causes."""
    if not isinstance(argument, dict):
        return []
    return list(argument.get("ids") or argument.get("chain") or ())


def last_of(argument: Any) -> str | None:
    """The one that a client waits for besides; None = only for the call itself."""
    if not isinstance(argument, dict):
        return None
    if "plan" in argument:
        return str(argument["ids"][argument["result"]])
    return str(argument["chain"][-1])


__all__ = ["Due", "due_of", "last_of", "parts_of"]
