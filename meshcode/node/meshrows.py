"""Rows of calls as several nodes tell them: checked, made small for a message, and merged to one.

Nothing here knows a node; peers may be of another version, or bad, so every field that is used is
looked at first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshcode.errors import TooLarge
from meshcode.limits import SHARED_BYTES_MAX
from meshcode.wire.codec import pack

Row = dict[str, Any]

# What is known where, the most certain first: an outcome where the call ran, an outcome elsewhere,
# an open call at its owner, a call that is kept.  A `bare` outcome, one without its call, is behind
# other outcomes.
ENDED_HERE, TOLD, OWNED, KEPT = "ended here", "told", "owned", "kept"
RANKS = (ENDED_HERE, TOLD, OWNED, KEPT)
# What an outcome alone does not tell.
OF_THE_CALL = ("socket", "task", "processor", "flow", "parent", "plan", "feed", "trace",
               "accepted_ms")  # fmt: skip
MADE_AGAIN = "made again"  # The event of an ended call that a person let be tried again.
EVENTS_SHARED_MAX = 8  # Of one row in a list of up to ROWS_MAX: some 4 KiB a row at most.
TEXT_SHARED_MAX = 200  # Characters.


# Several nodes.


def in_order(rows: Iterable[Row], *, ascending: bool) -> list[Row]:
    """By id, which is by the time it was made."""
    return sorted(rows, key=lambda row: str(row["id"]), reverse=not ascending)


def merged(groups: Iterable[tuple[str, list[Row]]]) -> list[Row]:
    """One row for each call, from the rows of several nodes: (name of the node, its rows).

    The most certain row stays, with the events of all; an outcome's copies are the nodes that have
    it in their history.  A call that is only KEPT is left out when its owner answered and knows
    nothing open of it: it has ended there, and its voters have not all heard of it.
    """
    by_id: dict[str, list[tuple[str, Row]]] = {}
    answered: set[str] = set()
    for name, rows in groups:
        answered.add(name)
        for row in rows:
            by_id.setdefault(str(row["id"]), []).append((name, row))
    every = (merge_one(found) for found in by_id.values())
    return [
        row
        for row in every
        if row["know"] != KEPT or row["node"] not in answered or row["node"] in row["kept_by"]
    ]


def merge_one(found: list[tuple[str, Row]]) -> Row:
    """The row of one call, from (name of the node, its row) of at least one node."""
    ranked = sorted(found, key=_rank)
    name, best = ranked[0]
    row = dict(best)
    if row["know"] in (ENDED_HERE, TOLD):
        ended = [who for who, other in found if other["know"] in (ENDED_HERE, TOLD)]
        voters = max((other["voters"] for _, other in found), key=len)
        row["kept_by"] = sorted(ended)
        row["copies"] = len(ended)
        row["copies_of"] = max(len(voters), len(ended))
        row["voters"] = voters if len(voters) > 1 else sorted(ended)
        whole = next((other for _, other in ranked if other["socket"]), None)
        if not row["socket"] and whole is not None:
            row |= {name: whole.get(name) for name in OF_THE_CALL}
            row.pop("bare", None)
        row["attempts"] = max(one.get("attempts") or 0 for _, one in ranked)  # A keeper says 1.
        if not row.get("started_ms"):  # A voter may not have heard when it began.
            row["started_ms"] = next(
                (one["started_ms"] for _, one in ranked if one.get("started_ms")), None
            )
    else:
        row["kept_by"] = sorted({who for who, _ in found})
    row["told_by"] = name
    row["events"] = _events([other for _, other in ranked])
    if any("output" in other for _, other in ranked):
        row["output"] = joined(other.get("output") for _, other in ranked)
    return row


def joined(outputs: Iterable[Any]) -> dict[str, str]:
    """What a call printed, put together: each node that ran an attempt has that of its own."""
    texts = {"stdout": "", "stderr": ""}
    for output in outputs:
        if is_output(output):
            texts = {name: text + output[name] for name, text in texts.items()}
    return texts


def is_output(output: Any) -> bool:
    """Whether it is what a node says a call printed."""
    return isinstance(output, dict) and all(
        isinstance(output.get(name), str) for name in ("stdout", "stderr")
    )


def _rank(item: tuple[str, Row]) -> tuple[bool, bool, int, int]:
    """How certain a row is, the best first; of two owners the later one."""
    row = item[1]
    ended = row["know"] in (ENDED_HERE, TOLD)
    bare = ended and not row["socket"]
    return not ended, bare, RANKS.index(row["know"]), -int(row.get("epoch") or 0)


def _events(rows: list[Row]) -> list[dict[str, Any]]:
    """The events of all rows in the order of their times; each once."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    names: set[str] = set()
    for row in rows:
        for event in row.get("events") or ():
            # Begin and end are told once, by the most certain row: other clocks differ a little.
            if event["name"] in ("received", "postrun") and event["name"] in names:
                continue
            # So is what only its note tells apart: which node accepted it when, differs.
            ms = None if event["name"] == MADE_AGAIN else event["ms"]
            found.setdefault((event["name"], ms, event["note"]), event)
        names |= {event["name"] for event in row.get("events") or ()}
    return sorted(found.values(), key=lambda event: event["ms"] or 0)


# What a peer sent, and what it is sent.


def are_rows(rows: Any) -> bool:
    """Whether a peer sent rows that can be merged with ours."""
    return isinstance(rows, list) and all(map(is_row, rows))


def is_row(row: Any) -> bool:
    """Whether it is one such row."""
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(name), str) for name in ("id", "node", "socket", "state"))
        and row.get("know") in RANKS
        and all(isinstance(row.get(name), int) for name in ("copies", "copies_of"))
        and isinstance(row.get("epoch", 0), int)
        and isinstance(row.get("kind", ""), str)
        and isinstance(row.get("voters"), list)
        and all(isinstance(name, str) for name in row["voters"])
        and isinstance(row.get("events"), list)
        and all(map(_is_event, row["events"]))
    )


def _is_event(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and all(isinstance(event.get(name), str) for name in ("name", "note"))
        and isinstance(event.get("ms"), int)
    )


def slim(row: Row) -> Row:
    """A row of a list for a peer: many of them must fit into one message.

    The first event and the newest stay; texts are cut.
    """
    events = row["events"]
    if len(events) > EVENTS_SHARED_MAX:
        events = [events[0], *events[1 - EVENTS_SHARED_MAX :]]
    cut = [{**event, "note": event["note"][:TEXT_SHARED_MAX]} for event in events]
    return row | {"events": cut, "reason": str(row["reason"])[:TEXT_SHARED_MAX]}


def fitting(row: Row) -> Row:
    """One row for a peer; a result or output too large for one message is left out."""
    try:
        size = len(pack(row))
    except TooLarge:
        size = SHARED_BYTES_MAX + 1
    if size <= SHARED_BYTES_MAX:
        return row
    row = {name: value for name, value in row.items() if name not in ("result", "error", "output")}
    return slim(row) | {"left_out": f"more than {SHARED_BYTES_MAX} bytes; `mesh call get` has it"}
