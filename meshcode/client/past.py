"""What happened before one listened, as far as it is kept: `client.listen(..., since=...)`.

Calls have a history and what they printed, so the channels task and log have a past.  It is read
call by call, the oldest first, and what comes live meanwhile is not told twice.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from meshcode.client.listening import problem_of, with_date
from meshcode.errors import BadRequest, MeshError, NotAllowed, UnknownCall
from meshcode.hearing import PATTERN, heard_names, is_named
from meshcode.ids import parse_id, unix_ms
from meshcode.limits import LISTEN_RESULT_BYTES_MAX
from meshcode.wire.codec import pack

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.options import Seconds

KEPT = ("task", "log")
PAGE_ROWS = 200
SKEW_MS = 60_000  # Clocks of nodes and client may differ by so much.
_STATES = {"prerun": "running"}  # As listeners hear them.
_BEGUN = ("received", "running", "postrun")


def since_ms(since: datetime | Seconds) -> int:
    """Unix milliseconds of a time, or of so many seconds ago.

    Raises:
        BadRequest: it is neither, or a time without a zone.
    """
    now_ms = unix_ms()
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise BadRequest(f"since: {since} has no time zone; nothing is listened to")
        return math.floor(since.timestamp() * 1000)  # Times of calls are whole milliseconds, too.
    total = getattr(since, "total_seconds", None)
    seconds = since if total is None else total()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise BadRequest(
            f"since: it is a time, or how many seconds ago, not {since!r}; nothing is listened to"
        )
    return now_ms - round(seconds * 1000)


def check_kept(channel: str) -> None:
    """Refuse a channel of which nothing is kept.

    Raises:
        BadRequest: it has no past.
    """
    if channel not in KEPT:
        raise BadRequest(
            f"nothing of the channel {channel!r} is kept, only of {' and '.join(KEPT)}; nothing is "
            "listened to; leave `since` out to hear what happens from now on"
        )


class Past:
    """The events of calls that were accepted since a time, and what of them was told already."""

    def __init__(self, client: Client, name: str | None, channel: str, begin_ms: int) -> None:
        """Look up which sockets are meant, and their modules as far as these may be seen.

        Raises:
            MeshError: the node refused.
        """
        check_kept(channel)
        self._client = client
        self._name = name
        self._channel = channel
        self._begin_ms = begin_ms
        self._recent_ms = unix_ms() - SKEW_MS
        self._told: set[tuple[Any, ...]] = set()  # Of what may come live as well.
        self._sockets = {row["name"]: row for row in self._rows("socket")}
        self.left_out: dict[str, NotAllowed] = {}  # What events do not say, and why.
        self._modules: dict[str, Any] = {}
        try:
            self._modules = {row["name"]: row.get("module") for row in self._rows("processor")}
        except NotAllowed as error:
            self.left_out["modules"] = error

    def _rows(self, kind: str) -> list[dict[str, Any]]:
        found = self._client.ask("model", do="list", kind=kind, fields={})
        rows: list[dict[str, Any]] = found.get("items", []) if isinstance(found, dict) else found
        return rows

    def has_told(self, event: dict[str, Any]) -> bool:
        """Whether an event that came live was told from the history."""
        return bool(self._told) and self._key(event) in self._told

    def _key(self, event: dict[str, Any]) -> tuple[Any, ...]:
        call, state, attempt = event.get("call"), event.get("state"), event.get("attempt")
        if self._channel == "log":
            return call, attempt
        if state == "running":
            return call, state, attempt
        return (call, state) if state in _BEGUN else (call, state, event.get("ms"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All events, ordered by time.

        A call that is listed later was made later, so what happened before that can be told.
        """
        waiting: list[tuple[int, int, dict[str, Any]]] = []
        numbers = count()
        for id, events in self._calls():
            made_ms = int.from_bytes(parse_id(id)[:6], "big")
            while waiting and waiting[0][0] < made_ms:
                yield heapq.heappop(waiting)[2]
            for event in events:
                if event["ms"] >= self._recent_ms:
                    self._note(event)
                heapq.heappush(waiting, (event["ms"], next(numbers), with_date(event)))
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _note(self, event: dict[str, Any]) -> None:
        if self._channel == "log":  # All attempts that are recorded were told.
            self._told.update((event["call"], n) for n in range(1, event["attempt"] + 1))
        else:
            self._told.add(self._key(event))

    def _calls(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        fields: dict[str, Any] = {
            "since_ms": self._begin_ms, "ascending": True, "rows": PAGE_ROWS, "total": False,
        }  # fmt: skip
        if self._name is not None and not PATTERN & set(self._name):
            if self._name in self._sockets:
                fields["socket"] = self._name
            elif self._name in {row.get("processor") for row in self._sockets.values()}:
                fields["processor"] = self._name
        while True:
            found = self._client.ask("mesh.calls", **fields)
            for row in found["calls"]:
                if is_named(self._name, self._names(row["socket"])):
                    yield row["id"], self._events(self._whole(row))
            if not found["more"]:
                return
            at = found.get("cursor") or (found["calls"][-1]["id"] if found["calls"] else None)
            if at is None:
                return
            fields["cursor"] = at

    def _names(self, socket: str) -> frozenset[str]:
        row = self._sockets.get(socket, {})
        return heard_names(socket, row.get("processor"), row.get("queue"))

    def _whole(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of a listing with all its events, its value and what it printed, if one may."""
        more = {"output": True} if self._channel == "log" else {"result": True}
        try:
            whole: dict[str, Any] = self._client.ask("mesh.call", id=row["id"], **more)
            return row | whole
        except (NotAllowed, UnknownCall):  # What may be listed need not be read; or it was pruned.
            return row

    def _node(self, row: dict[str, Any]) -> str:
        """Who tells: the owner, or without a mesh this node by its id, as it tells live."""
        if row.get("told_by") == "" and not row.get("node"):
            return str(self._client.node["node"].hex())
        return row.get("node") or ""

    def _events(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        declared = self._sockets.get(row["socket"], {})
        queue, processor = declared.get("queue") or "", declared.get("processor") or ""
        head = {
            "channel": self._channel, "socket": row["socket"], "queue": queue,
            "processor": processor, "room": f"{queue}.{processor}",
            "module": self._modules.get(processor), "task": declared.get("task"),
            "call": row["id"], "flow": row["flow"], "node": self._node(row), "past": True,
        }  # fmt: skip
        if self._channel == "log":
            return [head | line for line in _lines(row)]
        return [head | _event(row, event) for event in row["events"]]


def _event(row: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """One event of a call, as it was heard."""
    state = _STATES.get(told["name"], told["name"])
    event = {"state": state, "ms": told["ms"], "note": told.get("note", "")}
    if state == "received":
        return event | {"note": "", "attempt": min(row["attempts"], 1)}
    if state == "running":
        return event | _running(row, str(event["note"]))
    if state != "postrun":
        return event
    event["note"] = row["state"]
    is_good = row["state"] == "DONE"
    event |= {
        "outcome": row["state"], "error": not is_good, "duration": (row.get("run_us") or 0) / 1e6,
        "worker": row.get("worker"), "commit": row.get("commit"), "attempt": row["attempts"],
        "resultkey": row["id"],
    }  # fmt: skip
    if row.get("error") is not None:
        return event | problem_of(row["error"])
    if "result" not in row:
        return event | ({} if is_good else {"message": row.get("reason")})
    return event | _shown(row["result"])


def _running(row: dict[str, Any], note: str) -> dict[str, Any]:
    """Attempt and worker of a beginning; only the last worker is kept, as PROCESSOR/NUMBER."""
    told = note.removeprefix("attempt ")
    attempt = int(told) if told.isdigit() else row["attempts"]
    number = str(row.get("worker") or "").rpartition("/")[2]
    if attempt != row["attempts"] or not number.isdigit():
        return {"attempt": attempt, "note": "", "worker": None}
    return {"attempt": attempt, "note": f"worker {number}", "worker": int(number)}


def _shown(value: Any) -> dict[str, Any]:
    """A value that is not too large, or the beginning of a longer text, as listeners hear it."""
    try:
        size = len(pack(value))
    except MeshError as error:
        return {"result_problem": error.text}
    if size <= LISTEN_RESULT_BYTES_MAX:
        return {"result": value}
    text = {"result_text": value[:LISTEN_RESULT_BYTES_MAX]} if isinstance(value, str) else {}
    return {"result_bytes": size, **text}


def _lines(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What the attempts that ended have printed.  Lines have no time of their own."""
    ms = row.get("finished_ms") or row.get("started_ms") or row["accepted_ms"]
    attempt = row["attempts"] if row.get("finished_ms") else max(row["attempts"] - 1, 0)
    return [
        {"state": "output", "stream": stream, "text": line, "attempt": attempt, "ms": ms}
        for stream, text in (row.get("output") or {}).items()
        for line in text.splitlines()
    ]


__all__ = ["KEPT", "Past", "check_kept", "since_ms"]
