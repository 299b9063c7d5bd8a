"""What a node says of calls, asked from outside: its listing, and the outcome of each by its id."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Event
from typing import Any

from meshcode.ids import make_id, parse_id, text_of
from meshcode.wire.codec import pack
from meshcode.wire.frame import Row, envelope
from meshcode.wire.kinds import Kind, Outcome
from tests.live.rawlink import RawLink, body_of

PAGE = 1_000
PATIENCE_S = 30.0  # So long a node may ask its peers for a call that it does not know.
POLL_S = 0.5

STATES: dict[int, str] = {
    Outcome.DONE: "DONE", Outcome.FAILED: "FAILED", Outcome.CANCELLED: "CANCELLED",
    Outcome.MOVED: "MOVED",
}  # fmt: skip


def read_node(
    name: str, link: RawLink, wanted: Iterable[str], patience_s: float = PATIENCE_S
) -> list[dict[str, Any]]:
    """One row per record that the node tells of, and per wanted id that it does not know.

    Args:
        name: goes into each row as `node`.
        link: a link with a session.
        wanted: ids as text.
        patience_s: how long to ask again for what is open or unknown.

    Returns:
        `{"id", "state", "result", "reason", "node"}`; state UNKNOWN when it knows nothing, OPEN
        when it knows the call and neither lists it nor gives an outcome.
    """
    listed = read_listing(link)
    ids = {parse_id(row["id"]) for row in listed} | {parse_id(text) for text in wanted}
    outcomes, unknown = read_outcomes(link, ids, patience_s)
    rows, seen = [], set()
    for row in listed:
        id = parse_id(row["id"])
        seen.add(id)
        rows.append(_row(name, id, row["state"], row.get("reason"), outcomes.get(id)))
    for id in sorted(ids - seen):
        state = "UNKNOWN" if id in unknown else "OPEN"
        rows.append(_row(name, id, state, "", outcomes.get(id)))
    return rows


def _row(
    name: str, id: bytes, state: str, reason: str | None, outcome: tuple[str, Any] | None
) -> dict[str, Any]:
    """Its own outcome says more than a listing that was read a moment earlier."""
    told, result = outcome or (state, None)
    return {
        "id": text_of(id), "node": name, "state": told, "result": result, "reason": reason or "",
    }  # fmt: skip


def read_listing(link: RawLink) -> list[dict[str, Any]]:
    """Every page of `call.list`."""
    rows: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    while page := link.ask("call.list", rows=PAGE, **before)["calls"]:
        rows += page
        before = {"before": page[-1]["id"]}
    return rows


def read_outcomes(
    link: RawLink, ids: set[bytes], patience_s: float = PATIENCE_S
) -> tuple[dict[bytes, tuple[str, Any]], set[bytes]]:
    """The outcomes of these calls, and those that the node knows nothing of.

    It is asked again for as long as something is open or unknown, up to `patience_s`.
    """
    outcomes: dict[bytes, tuple[str, Any]] = {}
    unknown: set[bytes] = set()
    end = time.monotonic() + patience_s
    pause = Event()
    while left := ids - outcomes.keys():
        unknown = set()
        for ask in _batches(sorted(left)):
            unknown |= _ask_some(link, ask, outcomes)
        if time.monotonic() > end:
            break
        pause.wait(POLL_S if len(outcomes) + len(left) == len(ids) else 0)
    return outcomes, unknown - outcomes.keys()


def _batches(ids: list[bytes]) -> Iterable[list[bytes]]:
    return (ids[at : at + PAGE] for at in range(0, len(ids), PAGE))


def _ask_some(
    link: RawLink, ids: list[bytes], outcomes: dict[bytes, tuple[str, Any]]
) -> set[bytes]:
    """Watch these, take what comes until all are told or it is quiet; those it does not know."""
    request = make_id()
    link.send([envelope(Kind.ASK, id=request, name=b"call.watch", body=pack({"ids": ids}))])
    missing, answered = set(ids), False
    unknown: set[bytes] = set()
    end = time.monotonic() + 10.0
    while (missing - unknown and time.monotonic() < end) or not answered:
        rows = link.receive(POLL_S)
        if not rows and (answered or time.monotonic() > end):
            break
        for row, data in rows:
            if row.kind == Kind.OUTCOME:
                outcomes[row.id] = (STATES.get(row.code, str(row.code)), value_of(row, data))
                missing.discard(row.id)
            elif row.kind == Kind.ANSWER and row.id == request:
                answered = True
                answer = body_of(row, data)
                unknown = set(answer["unknown"]) if not row.code else set(ids)
    return unknown


def value_of(row: Row, data: bytes) -> Any:
    """The value of a DONE, of a flow the id of its result; of another end the error's code."""
    body = body_of(row, data)
    if row.code == Outcome.DONE:
        if data[row.name_at : row.meta_at] == b"@flow":  # It says whose outcome is the flow's.
            return text_of(body["result"])
        return body
    return body.get("code") if isinstance(body, dict) else None
