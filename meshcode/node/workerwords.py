"""What a worker says, looked at before the core takes it (docs/decisions/0040).

A worker is somebody's code, and may send any bytes.  What is late or superseded is nobody's fault
and is left to the core.  What no worker of ours ever says is a `BadFrame` here: nothing of its
frame is used, and the worker is ended (`Crew.distrust`).

Outcomes are nearly all that comes, and nearly all alike, so a whole frame of them is looked at by
one call of C; only where that finds something else, each is looked at by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn

from meshcode import limits, native
from meshcode.errors import BadFrame, BadValue
from meshcode.ids import ID_BYTES
from meshcode.router import given, streams
from meshcode.router.events import Yielded
from meshcode.wire.frame import Row, index
from meshcode.wire.kinds import Flag, Kind, Outcome
from meshcode.wire.plainly import unpack_plain_map

if TYPE_CHECKING:
    from meshcode.node.crew import WorkerProcess
    from meshcode.router.core import Router

_OUTCOME: Final = int(Kind.OUTCOME)
_RETRY: Final = int(Flag.RETRY)
_STREAMS: Final = (1, 2)  # stdout and stderr.
_SLACK_MS: Final = 60_000  # Between two clocks of one machine; more than they ever differ by.


def check(data: bytes, worker: WorkerProcess, kinds: bytes, now_ms: int) -> list[Row] | None:
    """Look at a frame of a worker whose bytes are good; its rows if it has more than outcomes.

    Args:
        data: the frame.
        worker: who sent it; it is remembered how its outcomes say who ran a call.
        kinds: of the envelopes in it.
        now_ms: the time.

    Raises:
        BadFrame: something in it is not for a worker to say.
    """
    most_us = max(now_ms - worker.started_ms + _SLACK_MS, 0) * 1_000
    only = kinds.count(_OUTCOME) == len(kinds)
    if only and native.plain_reports(data, worker.who, most_us):
        return None
    rows = index(data)[1]
    for row in rows:
        look = _CHECKS.get(row.kind)
        if look is None:
            _refuse(row, "is of a kind that no worker sends")
        elif row.kind == _OUTCOME:
            _check_outcome(row, data, worker, most_us)
        else:
            look(row, data, worker)
    return None if only else rows


def _refuse(row: Row, why: str) -> NoReturn:
    try:
        kind = Kind(row.kind).name
    except ValueError:
        kind = "envelope"
    about = f" of call {row.id.hex()}" if any(row.id) else ""
    raise BadFrame(f"{kind} (kind {row.kind}){about} {why}", fault="said", offset=row.start)


def _check_outcome(row: Row, data: bytes, worker: WorkerProcess, most_us: int) -> None:
    if not Outcome.DONE <= row.code <= Outcome.CANCELLED:
        _refuse(row, f"has code {row.code}, a worker's has 1 to 3")
    if row.flags & ~_RETRY:
        _refuse(row, f"has flags {row.flags}, a worker's has none but {_RETRY}")
    if row.number > most_us:
        _refuse(row, f"ran {row.number} us, and the worker has been there {most_us} us at most")
    if row.name_at != row.meta_at:
        _refuse(row, "has a name, which only a node gives it")
    meta = data[row.meta_at : row.body_at]
    if meta == worker.who:
        return
    if not given.is_routed(meta):
        _refuse(row, f"has a meta that is none: {meta!r:.100}")
    if row.code == Outcome.DONE and b"plugs" not in meta and b"items" not in meta:
        worker.who = meta


def _check_item(row: Row, data: bytes, _worker: WorkerProcess) -> None:
    meta, size = data[row.meta_at : row.body_at], row.end - row.body_at
    if row.code not in (0, 1) or row.flags or row.name_at != row.meta_at:
        _refuse(row, f"has code {row.code}, flags {row.flags} or a name that no item has")
    if not row.code:
        return  # For the client; it goes no further.
    if not size or size > limits.STREAM_ITEM_BYTES_MAX:
        _refuse(row, f"has {size} bytes, an item has 1 to {limits.STREAM_ITEM_BYTES_MAX}")
    if len(meta) > limits.ROUTE_BYTES_MAX or not given.is_routed(meta):
        _refuse(row, f"has a meta that is none, of {len(meta)} bytes: {meta!r:.100}")


def _check_output(row: Row, _data: bytes, _worker: WorkerProcess) -> None:
    if row.code not in _STREAMS:
        _refuse(row, f"is of stream {row.code}, there are 1 and 2")


def _check_returned(row: Row, _data: bytes, worker: WorkerProcess) -> None:
    size = row.end - row.body_at
    if size % ID_BYTES:
        _refuse(row, f"has {size} bytes, which are no ids of {ID_BYTES}")
    worker.returns += 1
    if worker.returns > worker.interrupts.recalls:
        _refuse(row, f"came {worker.returns} times, it was asked {worker.interrupts.recalls} times")


def _check_ready(row: Row, data: bytes, worker: WorkerProcess) -> None:
    if not worker.setups:
        _refuse(row, "came again, and it was told of no other sockets")
    worker.setups -= 1
    try:
        slots_of(ready(data[row.body_at : row.end]))
    except BadValue as error:
        _refuse(row, f"cannot be read: {error.text}")


_CHECKS: Final[dict[int, Any]] = {
    _OUTCOME: _check_outcome,
    int(Kind.ITEM): _check_item,
    int(Kind.OUTPUT): _check_output,
    int(Kind.RETURNED): _check_returned,
    int(Kind.READY): _check_ready,
}


def check_count(worker: WorkerProcess) -> None:
    """Look at how many outcomes a worker has sent: one for a call, and some that are late.

    Raises:
        BadFrame: it makes them up.
    """
    most = worker.handed + limits.CREDIT_CALLS_MAX
    if worker.calls > most:
        raise BadFrame(
            f"{worker.calls} outcomes came, it was handed {worker.handed} calls", fault="said"
        )


def ready(body: bytes) -> dict[str, Any]:
    """What READY says: who it is.

    It comes first of all, and again when the worker serves other sockets, as it was told to.

    Raises:
        BadValue: it cannot be read, or does not say it.
    """
    found = unpack_plain_map(body)
    if type(found.get("worker")) is not int or type(found.get("token")) is not str:
        raise BadValue("READY says no worker and token; it was dropped")
    return found


def slots_of(body: dict[str, Any]) -> int:
    """How many calls a worker that is ready runs at once.

    Raises:
        BadFrame: it cannot be so many.
    """
    slots = body.get("slots", 1)
    if type(slots) is not int or not 1 <= slots <= limits.ASYNC_CALLS_MAX:
        raise BadFrame(
            f"READY has {slots!r:.40} slots, a worker has 1 to {limits.ASYNC_CALLS_MAX}",
            fault="said",
        )
    return slots


def error_of(body: dict[str, Any]) -> str:
    """Why a worker could not load its code; whatever else is there in place of that."""
    error = body.get("error")
    text = error.get("text") if type(error) is dict else None
    return text if type(text) is str else "its code could not be loaded"


def overdrawn(router: Router, event: Yielded) -> str:
    """How a worker sends items that it was not let, which it is always told before; "" = it does
    not.

    Only items that the core would take count: others are of attempts that were given up.
    """
    worker = router.workers.get(event.worker or 0)
    standing: dict[bytes, list[int]] = {}
    for id, attempt, number, value, _meta, _run in event.items:
        call = None if worker is None else worker.held.get(id)
        if call is None or call.attempt != attempt:
            continue
        now = standing.get(id)
        if now is None:
            now = standing[id] = _standing(router, id, attempt)
        following, used, told = now
        if number != following:
            continue
        if used >= told:
            return f"ITEM {number} of call {id.hex()}: {used} units were sent, {told} may be"
        now[:2] = following + 1, used + streams.units_of(len(value))
    return ""


def _standing(router: Router, id: bytes, attempt: int) -> list[int]:
    """Of a stream: the number of its next item, the units that were sent, and that may be."""
    sending = router.streams.sending.get(id)
    if sending is not None:
        return [sending.next, sending.used, sending.told]
    stream = router.streams.by_call.get(id)
    if stream is None or stream.attempt != attempt:
        return [0, 0, limits.STREAM_WINDOW]
    return [stream.received, stream.used, stream.told]


__all__ = ["check", "check_count", "error_of", "overdrawn", "ready", "slots_of"]
