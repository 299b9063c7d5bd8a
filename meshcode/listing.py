"""Whole pages of calls, for whoever asks a node for listings; words that stand in some of them.

A node looks at a bounded number of records for one request, so that no call waits long for it.  A
page that is not full by then is asked for again, from where the node has stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

ORPHAN, COPY = LOST = ("ORPHAN", "COPY")  # States of a call that waits for `mesh recover`.
# Kind -> what lists all objects of it, behind `mesh ls`, where that is not its plural.
LISTED = {"override": "tasks", "node": "nodes --declared"}  # `ls nodes` has those that run.


def where(listing: str, count: int) -> str:
    """Where the names are that one was not among: what `mesh ls` of it shows, and how many."""
    return f"`mesh ls {listing}` shows {f'all {count}' if count else 'none'}"


def whole_page(
    ask: Callable[..., dict[str, Any]],
    operation: str,
    fields: dict[str, Any],
    looks: int | None = None,
) -> dict[str, Any]:
    """A page of `call.list` or `mesh.calls`, however far its calls lie.

    Args:
        ask: as `Client.ask`.
        operation: its name.
        fields: of the request.
        looks: requests at most; None goes on until the page is full or the history ends.

    Returns:
        The answer, as that of one request.  It still has a `cursor` when `looks` were not enough.

    Raises:
        what `ask` raises.
    """
    found = ask(operation, **fields)
    calls, silent = list(found["calls"]), {row["name"]: row for row in found.get("silent", ())}
    asked = 1
    while "cursor" in found and len(calls) < found["rows"] and (looks is None or asked < looks):
        more = {"cursor": found["cursor"], "passed": found["passed"]}
        found = ask(operation, **{**fields, **more})
        calls += found["calls"]
        silent |= {row["name"]: row for row in found.get("silent", ())}
        asked += 1
    whole = {**found, "calls": calls}
    return whole | {"silent": list(silent.values())} if "silent" in found else whole

