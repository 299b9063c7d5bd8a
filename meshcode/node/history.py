"""Reading calls for people: open ones from the core, ended ones from the log, as plain dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from meshcode.errors import BadRequest, UnknownCall
from meshcode.ids import ID_BYTES, NO_ID, text_of
from meshcode.node.choosing import Choice, flow_of
from meshcode.node.failedindex import FailedIndex
from meshcode.node.flowindex import TIME_BYTES, Flows
from meshcode.node.knots import knot_of_call
from meshcode.node.meshrows import MADE_AGAIN
from meshcode.node.paging import LOOKED_MAX, Part, cursor_of
from meshcode.node.socketindex import SOCKETS_MAX, SocketIndex
from meshcode.node.turn import Turns
from meshcode.node.waits import parked_reason
from meshcode.router import plan
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.envelopes import body_of, parent_of
from meshcode.router.records import (
    accepted_call,
    outcome_of,
    read_envelope,
    socket_of,
    split_done,
    submit_of_done,
)
from meshcode.router.states import PARKED, State
from meshcode.store.contract import DONE, OPEN, OUTPUT, Log
from meshcode.wire.codec import unpack
from meshcode.wire.frame import AT_PARENT, check_envelope

BESIDE_MAX = 2_000  # Calls looked at for those, 5 ms.
OPEN_SORTED_MAX = 10_000  # Open calls sorted for a listing.
ROWS_READ = 1_024  # Records read at once where only their ids are wanted.
_KEY = itemgetter(0)  # Of a record.
Scan = Callable[..., list[tuple[bytes, bytes]]]  # `Log.scan` of one table.


def _text(id: bytes) -> str | None:
    return None if id == NO_ID else text_of(id)


def _between(which: Any) -> tuple[bytes, bytes]:
    """The first and the last id that begin so; the same when it is a whole one.

    Raises:
        BadRequest: not an id, or too short to be one call's only.
    """
    digits = which.hex() if isinstance(which, bytes) else str(which).replace("-", "").lower()
    if not 4 <= len(digits) <= 32 or digits.strip("0123456789abcdef"):
        raise BadRequest(f"a call id is 4 to 32 hexadecimal digits, this is {which!r}")
    return bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))


def unknown_call(which: bytes | str, unless: str = "") -> UnknownCall:
    """The error of an id, or the beginning of one, that no call has; `unless` ends its text."""
    if isinstance(which, bytes) and len(which) == ID_BYTES:
        return UnknownCall(f"no call {text_of(which)} is open or kept in the history{unless}")
    begins = which.hex() if isinstance(which, bytes) else which
    return UnknownCall(f"no call whose id begins with {begins!r} is open or kept{unless}")


class Chosen(NamedTuple):
    """Which calls a listing has."""

    ids: list[bytes]  # In its order.
    total: int | None  # None: not known, since that would take more than LOOKED_MAX records.
    reach: bytes | None = None  # `ids` is whole up to this call, None: to the last there is.


def asked_of(submit: bytes) -> dict[str, Any]:
    """What was asked for that rows tell: a trace, and what feeds a step of which plan."""
    options = read_envelope(submit)[1] if submit else None
    found = options or {}
    plan = found.get("plan")
    return {
        "trace": found.get("trace"), "feed": found.get("feed"),
        "plan": text_of(plan) if isinstance(plan, bytes) and len(plan) == ID_BYTES else None,
    }  # fmt: skip


def ran_on(meta: dict[str, Any] | None) -> str:
    """The node that ran a call, from the meta of its outcome; "": it never ran, or in no mesh."""
    name = (meta or {}).get("node")
    return name if isinstance(name, str) else ""


class History:
    """The calls of one node, for listings."""

    def __init__(self, router: Router, turns: Turns, log: Log, commits: dict[str, str]) -> None:
        """`commits`: the commit that runs, by processor.

        What is read here may not be on disk yet, so it must leave with the turn (`Turns.add`).
        """
        self._router = router
        self._turns = turns
        self._log = log
        self._commits = commits
        self.flows = Flows(router, turns, log)
        self.failed, self.sockets = FailedIndex(turns, log), SocketIndex(turns, log)

    def envelope_of(self, call: Call) -> bytes:
        """The SUBMIT envelope of an open call; 80 zeros when its record is gone."""
        if call.envelope is not None:
            return call.envelope
        value = self._log.get(OPEN, call.sequence.to_bytes(8, "big"))
        return accepted_call(value)[1] if value else bytes(80)

    def open_row(self, call: Call) -> dict[str, Any]:
        """An open call."""
        line = call.line
        state, reason = call.state.name, call.reason
        if call.state is State.WAITING:
            reason = parked_reason(self._router, line)
            if reason:
                state = PARKED
        envelope = self.envelope_of(call)
        running = call.state is State.RUNNING
        if running:
            reason = reason or knot_of_call(self._router, call)
        events = [{"name": "received", "ms": call.accepted_ms, "note": f"socket {line.name}"}]
        events += [{"name": name, "ms": ms, "note": note} for ms, name, note in call.story or ()]
        if running:
            note = f"attempt {call.attempt}"
            events.append({"name": "prerun", "ms": call.started_ms, "note": note})
        return {
            "id": text_of(call.id),
            "flow": text_of(flow_of(call.id, envelope)),
            "parent": _text(envelope[AT_PARENT]),
            **asked_of(envelope),
            "socket": line.name,
            "task": line.config.task,
            "processor": line.config.processor,
            "state": state,
            "reason": reason,
            "attempts": call.attempt,
            "priority": call.priority,
            "accepted_ms": call.accepted_ms,
            "started_ms": call.started_ms or None if running else None,
            "finished_ms": None,
            "due_ms": call.due_ms if call.state is State.DELAYED else None,
            # Of a peer that runs it, this node does not know which of its workers does.
            "worker": str(call.worker.id) if call.worker and not call.worker.node else None,
            "commit": self._commits.get(line.config.processor),
            "events": events,
        }

    def done_row(self, id: bytes, value: bytes, *, result: bool = False) -> dict[str, Any]:
        """An ended call; `result` adds its value or error.

        Of one that ended while this node was away it may have the outcome only: `bare` is true
        then, and there is no socket, nor when it was accepted.
        """
        done = split_done(value)
        outcome = done["outcome"]
        row = check_envelope(outcome)
        meta = unpack(outcome[row.meta_at : row.body_at]) if row.body_at > row.meta_at else {}
        submit = done["submit"]
        name = socket_of(submit)
        line = self._router.lines.get(name)
        state = State(10 + done["code"]).name
        events = [{"name": event, "ms": ms, "note": note} for ms, event, note in done["story"]]
        if submit:
            note = f"socket {name}"
            events.insert(0, {"name": "received", "ms": done["accepted_ms"], "note": note})
        if done["started_ms"] and (row.number or state == "DONE"):  # Else it never began.
            note = f"attempt {done['attempts']}"
            events.append({"name": "prerun", "ms": done["started_ms"], "note": note})
        note = f"{state} after {row.number} us" if row.number else state
        events.append({"name": "postrun", "ms": done["finished_ms"], "note": note})
        events.sort(key=lambda event: event["ms"])
        found: dict[str, Any] = {
            "id": text_of(id),
            "flow": text_of(flow_of(id, submit) if submit or row.flow == NO_ID else row.flow),
            "parent": _text(submit[AT_PARENT]) if submit else None,
            **asked_of(submit),
            "socket": name,
            "task": line.config.task if line else None,
            "processor": line.config.processor if line else None,
            "state": state,
            "reason": "",
            "attempts": done["attempts"],
            "priority": None,
            "accepted_ms": done["accepted_ms"] or None,
            "started_ms": done["started_ms"] or None,
            "finished_ms": done["finished_ms"],
            "due_ms": None,
            "run_us": row.number,
            "worker": meta.get("worker"),
            "commit": meta.get("commit"),
            "node": ran_on(meta),  # Its record does not say who owned it.
            "events": events,
        }
        if not submit:
            found["bare"] = True
        if state != "DONE":
            error = unpack(outcome[row.body_at :])
            found["reason"] = str(error.get("text", "")) if isinstance(error, dict) else ""
            if result:
                found["error"] = error
        elif result:
            found["result"] = unpack(outcome[row.body_at :])
        return found

    def find(self, which: Any) -> bytes:
        """The id of the one call that `which` names: 16 bytes, or text that begins its id.

        Raises:
            BadRequest: not an id, or too short to be one call's only.
            UnknownCall: no such call is open or kept.
            LogDamaged: there is such a call, and its record fails its checksum.
        """
        low, high = _between(which)
        if low == high:  # A whole id is looked up, so that a damaged record is told.
            if low in self._router.calls or self.done_record(low) is not None:
                return low
            raise unknown_call(low, self._unless_damaged())
        near = chain(self._router.calls, self._turns.fresh_done())
        found = [id for id in near if low <= id <= high]
        found += [id for id, _ in self._log.scan(DONE, low, limit=3) if id <= high]
        if not found:
            raise unknown_call(which, self._unless_damaged())
        if len(set(found)) > 1:
            raise BadRequest(f"{which!r} begins the ids of several calls; give more of it")
        return found[0]

    def _unless_damaged(self) -> str:
        count = len(self._log.damaged())
        if not count:
            return ""
        records = "a damaged record" if count == 1 else f"{count} damaged records"
        return f"; this node's log has {records}: `mesh status` counts them"

    def done_record(self, id: bytes) -> bytes | None:
        """The record of an ended call; also when it ended in a turn that is not yet synced."""
        return self._turns.done_record(id, partial(self._log.get, DONE))

    def get(self, which: Any, *, result: bool = False, output: bool = False) -> dict[str, Any]:
        """One call as a dict."""
        id = self.find(which)
        call = self._router.calls.get(id)
        value = self.done_record(id)
        if value is not None:  # What the history has holds, whatever else is open of it (P14).
            row = self.done_row(id, value, result=result)
            self._add_flow(row, value, result=result)
            self._add_retries(row, id, value)
        else:
            assert call is not None, id.hex()
            row = self.open_row(call)
        if output:
            row["output"] = self.output(id)
        return row

    def _add_retries(self, row: dict[str, Any], id: bytes, value: bytes) -> None:
        """The story of an ended call goes on with the calls that it was made again as."""
        submit = submit_of_done(value)
        if not submit or plan.result_of(outcome_of(value)) is not None:
            return  # What a call has copied itself to is no retry.
        asked = (id, socket_of(submit), body_of(submit))
        for other, accepted_ms, made in self._made_beside(id):
            if made and (parent_of(made), socket_of(made), body_of(made)) == asked:
                note = f"as {text_of(other)}"
                row["events"].append({"name": MADE_AGAIN, "ms": accepted_ms, "note": note})
        row["events"].sort(key=lambda event: event["ms"])

    def _made_beside(self, id: bytes) -> Iterator[tuple[bytes, int, bytes]]:
        """Id, time of acceptance and SUBMIT envelope of what has the time of a call in its id, as
        retries have: of very many, some.
        """
        time, calls, fresh = id[:TIME_BYTES], self._router.calls, self._turns.fresh_done()
        for other in islice(reversed(calls), BESIDE_MAX):
            if other[:TIME_BYTES] == time:
                yield other, calls[other].accepted_ms, self.envelope_of(calls[other])
        rows = self._log.scan(DONE, time.ljust(ID_BYTES, b"\0"), limit=BESIDE_MAX)
        ended = {other: value for other, value in rows if other[:TIME_BYTES] == time} | fresh
        for other, value in ended.items():
            if other[:TIME_BYTES] == time and other not in calls:
                done = split_done(value)
                yield other, done["accepted_ms"], done["submit"]

    def _add_flow(self, row: dict[str, Any], value: bytes, *, result: bool) -> None:
        """The row of a flow's own call says where the flow is: its result is that of a step.

        So does the row of a call that was given to every socket of its queue.
        """
        step = plan.result_of(outcome_of(value))
        if step is None:
            return
        row.pop("result", None)
        ended = self.done_record(step)
        row |= {"flow_result": text_of(step), "flow_state": "UNKNOWN"}
        if ended is not None:
            found = self.done_row(step, ended, result=result)
            row["flow_state"] = found["state"]
            row |= {name: found[name] for name in ("result", "error") if name in found}
        elif step in self._router.calls or step in self._router.replica.by_id:
            row["flow_state"] = "RUNNING"

    def output(self, id: bytes) -> dict[str, Any]:
        """Captured output of all attempts of a call, in order."""
        texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
        for key, value in self._log.scan(OUTPUT, id + bytes(4), limit=100):
            if key[:16] != id:
                break
            for name, data in unpack(value).items():
                texts[name].append(data.decode(errors="replace"))
        return {name: "".join(parts) for name, parts in texts.items()}

    def printed_by(self, which: Any) -> bytes | None:
        """The id of the one call that `which` names and that has printed here.

        A node that ran a call for another one need not know anything else of it.

        Raises:
            BadRequest: as `find`.
        """
        low, high = _between(which)
        near = [key[:16] for key, _ in self._log.scan(OUTPUT, low, limit=100)]
        found = {id for id in near if id <= high}
        return found.pop() if len(found) == 1 else None

    def page(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A page of calls, newest first (oldest first with `ascending`).

        Fields: page (from 1), rows, unfinished, ascending, those of `Choice`, and before (an id:
        only older calls; the quick way through a long history), total (False: do not look at more
        records than it takes).  `total` is None when it is not known; `more` says whether there is
        a further page.  At most LOOKED_MAX records are looked at: when the page is not full by
        then, the answer has a `cursor` and how many calls of the listing were `passed`; with these
        two as fields the same request goes on from there, see `meshcode.listing`.
        """
        part = Part(fields)
        found = self.choose(fields, part.wanted, part.skipped)
        calls = [self.row(id) for id in part.shown(found.ids)]
        told = part.told(found.ids, found.reach)
        total = found.total
        if total is not None and not Choice(self._router, fields).is_everything:
            total += part.passed
        return {"calls": [row for row in calls if row is not None], "total": total, **told}

    def choose(self, fields: dict[str, Any], wanted: int, skipped: int = 0) -> Chosen:
        """The ids of the first `wanted` calls that a request asks for, and how many there are.

        Of the first `skipped` nobody wants to see more than that they are there.
        """
        ascending = bool(fields.get("ascending"))
        choice = Choice(self._router, fields)
        unfinished = bool(fields.get("unfinished")) or choice.is_open_state
        fresh = {} if unfinished else self._turns.fresh_done()
        count = len(self._router.calls) + len(fresh)
        count += 0 if unfinished else self._log.count(DONE)
        start = cursor_of(fields) or (self.find(fields["before"]) if fields.get("before") else None)
        looked_at = min(wanted, LOOKED_MAX) if choice.is_everything else LOOKED_MAX
        some = [] if choice.is_unwell else self._open_ids(looked_at, ascending, start)
        opens = sorted((*some, *fresh), reverse=not ascending)
        if start is not None:
            opens = [id for id in opens if (id > start if ascending else id < start)]
        if choice.is_everything:
            ids = [] if unfinished else self._ended_ids(
                start, ascending, looked_at + 1, max(0, skipped - len(opens))
            )
            if opens:
                ids = sorted({*opens, *ids}, reverse=not ascending)
            more = len(ids) > looked_at
            return Chosen(ids[:looked_at], count, ids[looked_at - 1] if more else None)
        found: list[bytes] = []
        matched = 0
        last: bytes | None = None
        ended = None if unfinished else self._scan_of(choice)
        merged = self._merged(opens, fresh, start, ascending, ended)
        for looked, (id, value) in enumerate(merged):
            if looked >= LOOKED_MAX:
                return Chosen(found, None, found[-1] if matched > len(found) else last)
            last = id
            if not self._takes(choice, id, value):
                continue
            matched += 1
            if len(found) < wanted:
                found.append(id)
            elif fields.get("total") is False:
                return Chosen(found, None, found[-1])
        return Chosen(found, matched, found[-1] if matched > len(found) else None)

    def _ended_ids(
        self, start: bytes | None, ascending: bool, count: int, skipped: int
    ) -> list[bytes]:
        """Ids of the first so many ended calls behind `start`; damaged ones are left out, but for
        the first `skipped`, of which no record is read.
        """
        found: list[bytes] = []
        at = start
        while len(found) < count:
            left = (skipped if len(found) < skipped else count) - len(found)
            limit = min(ROWS_READ, left + 1)  # One more: that at `at` is known.
            if len(found) < skipped:
                batch = self._log.keys(DONE, at, reverse=not ascending, limit=limit)
            else:
                rows = self._log.scan(DONE, at, reverse=not ascending, limit=limit)
                batch = list(map(_KEY, rows))
            if batch and batch[0] == at:
                del batch[0]
            if not batch:
                break
            found += batch
            at = batch[-1]
        return found[:count]

    def _scan_of(self, choice: Choice) -> Scan:
        """How to go through the history for a choice: by an index, where one is of use."""
        if choice.is_unwell and self.failed.is_whole:
            return self.failed.scan
        names = choice.sockets
        if names is not None and len(names) <= SOCKETS_MAX and self.sockets.is_whole:
            return partial(self.sockets.scan, names)
        return partial(self._log.scan, DONE)

    def _takes(self, choice: Choice, id: bytes, value: bytes | None) -> bool:
        if value is not None:
            return choice.takes_done(id, value)
        call = self._router.calls[id]
        return choice.takes_open(call, self.envelope_of(call))

    def row(self, id: bytes) -> dict[str, Any] | None:
        """A call by its whole id; None when it is neither open here nor kept."""
        value = self.done_record(id)
        if value is not None:  # What the history has holds, whatever else is open of it (P14).
            return self.done_row(id, value)
        call = self._router.calls.get(id)
        return None if call is None else self.open_row(call)

    def _open_ids(self, wanted: int, ascending: bool, start: bytes | None) -> list[bytes]:
        """Ids of open calls; of very many, only those accepted first or last from `start` on.

        Calls are accepted nearly in the order of their ids, so a page is right without sorting
        millions.
        """
        calls = self._router.calls
        if len(calls) <= OPEN_SORTED_MAX:
            return list(calls)
        near: Iterator[bytes] = iter(calls) if ascending else reversed(calls)
        if start is not None:
            near = (id for id in near if (id > start if ascending else id < start))
        return list(islice(near, 4 * wanted + OPEN_SORTED_MAX))

    def _merged(
        self,
        opens: list[bytes],
        fresh: dict[bytes, bytes],
        start: bytes | None,
        ascending: bool,
        ended: Scan | None,
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Ids of open and ended calls in one order; the value is None for open ones."""
        at = 0
        cursor = start
        while ended is not None:
            batch = ended(cursor, reverse=not ascending, limit=256)
            if cursor is not None and batch and batch[0][0] == cursor:
                batch = batch[1:]
            if not batch:
                break
            for id, value in batch:
                while at < len(opens) and (opens[at] < id if ascending else opens[at] > id):
                    yield opens[at], fresh.get(opens[at])
                    at += 1
                if at < len(opens) and opens[at] == id:
                    at += 1  # Another instance of it is open here (rule P14); it ends alike.
                if value:
                    yield id, value
            cursor = batch[-1][0]
        for id in opens[at:]:
            yield id, fresh.get(id)
