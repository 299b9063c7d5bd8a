"""Broadcasts: one call that runs once at every worker of its socket.

A broadcast ends as soon as it knows whom it reaches.  Its outcome names one copy for each seat, and
a call that gathers what came of them, in one batch of the log.  What a copy came to, good or bad,
has its place in the value: an error at one worker does not lose what the others said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshcode import errors, limits
from meshcode.ids import child_id
from meshcode.router import ending, feeding, flows, plan, seats
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.line import Line
from meshcode.wire.codec import pack, unpack_call
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_FAILED: Final = int(Outcome.FAILED)
_COPY_BYTES: Final = 256  # Of one more copy, beside its options and arguments.
# Options that a copy does not take over: they are done with, or have no meaning for it.
_NOT_KEPT: Final = (*plan.AT_ROOT, "stream", "expires_ms")


class Reply(NamedTuple):
    """Whose answer something is."""

    socket: str
    node: str
    place: int

    def packed(self, outcome: bytes) -> bytes:
        """An outcome as it stands in the value of a broadcast."""
        what = "value" if outcome[AT_CODE] == _DONE else "error"
        fields = {name: pack(value) for name, value in self._asdict().items()}
        return feeding.map_of({**fields, what: body_of(outcome)})


def replies_of(envelope: bytes) -> list[Reply]:
    """The seats whose answers a call gathers, in order: what is in its SUBMIT envelope."""
    (rows,), _ = unpack_call(body_of(envelope), False)
    return [Reply(*row) for row in rows]


def is_wanted(own: Line, options: dict[str, Any] | None) -> bool:
    """Whether a call to the socket of a line is to reach every worker, by itself or its queue."""
    if options is None:
        return own.casts
    wanted = options.get("broadcast")
    return own.casts and not options.get("copy") if wanted is None else bool(wanted)


def begin_all(r: Router, line: Line, now_ms: int, out: Effects) -> None:
    """Carry out the broadcasts of a line; those that reach nobody yet stay in it.

    One step makes so many copies that others have their turn; the rest begins in the next.
    """
    if seats.untold(r):
        return  # It is offered again when they tell.
    left = []
    while r.copies_left > 0 and (calls := seats.take(r, line, 1, now_ms, out)):
        (call,) = calls
        line.leave_running(call)
        if not _begin(r, call, now_ms, out):
            line.count_in(call)
            left.append(call)
    if r.copies_left <= 0 and line.depth > len(left):
        r.offer_at(line, now_ms + 1)
    for call in reversed(left):
        line.push(call, front=True)


def _begin(r: Router, call: Call, now_ms: int, out: Effects) -> bool:
    """End a broadcast with its copies; False when there is no seat for any."""
    names = flows.reached(r, call)
    found = [
        (Reply(name, node, seat.place), seat)
        for name in names
        for node, seat in seats.known(r, r.lines[name].config.processor)
    ]
    if names and not found:
        return False
    call.gather_for("")
    try:
        copies, plan_id = _copies(r, call, found, now_ms)
    except errors.CallerError as error:
        ending.end_with_error(r, call, _FAILED, error, now_ms, out)
        return True
    args = feeding.list_head(1) + pack([list(reply) for reply, _ in found])
    flows.end_with_copies(r, call, plan_id, copies, {"seats": True}, args, now_ms, out)
    return True


def _copies(
    r: Router, call: Call, found: list[tuple[Reply, seats.Seat]], now_ms: int
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Ids and SUBMIT envelopes of the copies, and what their ids are numbered under.

    Two nodes may have accepted the call and know different seats (P14): then the ids differ, too.

    Raises:
        TooLarge: they are more than one agreement carries, or what one needs is.
    """
    submit = call.sent()
    assert submit is not None
    size = len(found) * (len(submit) + _COPY_BYTES)
    limit = limits.SHARED_BYTES_MAX if r.replica.peers.by_node else limits.BODY_BYTES_MAX
    if size > limit or len(found) > limits.FLOW_STEPS_MAX:
        raise errors.TooLarge(
            f"the broadcast reaches {len(found)} workers, and its copies have {size} bytes "
            f"together, the limit is {limit}; none was made; pass large data by reference, for "
            "instance a path",
            found=size, limit=limit,
        )  # fmt: skip
    given = call.options or {}
    kept = {name: value for name, value in given.items() if name not in _NOT_KEPT}
    if (expires_ms := given.get("expires_ms")) is not None:
        kept["expires_ms"] = max(1, expires_ms - max(0, now_ms - call.accepted_ms))
    plan_id = child_id(call.id, b"seats:" + pack([[*reply, seat.node] for reply, seat in found]))
    copies = []
    for number, (reply, seat) in enumerate(found):
        id = feeding.step_id(plan_id, number)
        options = {**kept, "copy": True, "seat": seats.option_of(seat)}
        copies.append((id, ending.copy_of(submit, id, call.id, reply.socket, options)))
    return copies, plan_id


__all__ = ["Reply", "begin_all", "is_wanted", "replies_of"]
