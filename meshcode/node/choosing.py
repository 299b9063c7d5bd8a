"""Which calls a listing is to show: looked at in the bytes of the records, before a row is made.

A row costs 50 us and a look 2 us, and a listing may look at 200,000 records.
"""

from __future__ import annotations

from typing import Any

from meshcode.errors import BadRequest
from meshcode.ids import parse_id, unix_ms_of
from meshcode.node.waits import parked_reason
from meshcode.router import envelopes
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.records import DONE_HEAD
from meshcode.router.states import PARKED, State
from meshcode.wire.frame import name_bytes

FIELDS = ("socket", "processor", "state", "flow", "since_ms", "until_ms")
_FIRST_OUTCOME = 10  # State of an outcome = this + its code.


class Choice:
    """The calls that a request wants, by socket, processor, state, flow and time of acceptance."""

    def __init__(self, router: Router, fields: dict[str, Any]) -> None:
        """Read the fields of a request; those it has not choose everything.

        Raises:
            BadRequest: a field is of the wrong kind.
        """
        self._router = router
        self.is_everything = not any(fields.get(name) not in (None, "") for name in FIELDS)
        self.state = _text(fields, "state")
        self.sockets = self._names(_text(fields, "socket"), _text(fields, "processor"))
        self._since_ms = _number(fields, "since_ms") or 0
        self._until_ms = _number(fields, "until_ms")
        known = State.__members__.get(self.state or "")
        self._code = known - _FIRST_OUTCOME if known is not None else 0
        self.is_open_state = self.state is not None and self._code <= 0  # No outcome can match.
        self.is_unwell = self._code > 1  # Only calls that ended, and not DONE, can match.
        flow = _text(fields, "flow")
        try:
            self._flow = None if flow is None else parse_id(flow)
        except ValueError as error:
            raise BadRequest(f"field 'flow' is no id: {error}") from None

    def _names(self, socket: str | None, processor: str | None) -> set[bytes] | None:
        if processor is None:
            return None if socket is None else {socket.encode()}
        lines = self._router.lines.values()
        names = {line.name for line in lines if line.config.processor == processor}
        return {name.encode() for name in names if socket in (None, name)}

    def takes_done(self, id: bytes, value: bytes) -> bool:
        """Whether it is one of them; `value` is the `done` record."""
        head = DONE_HEAD.unpack_from(value)
        if self.state is not None and head[1] != self._code:
            return False
        at = DONE_HEAD.size + head[8]
        return self.takes_submit(id, value[at : at + head[9]], head[4])

    def takes_open(self, call: Call, envelope: bytes) -> bool:
        """Whether it is one of them; `envelope` is its SUBMIT envelope."""
        if self.state is not None:
            name = call.state.name
            if call.state is State.WAITING and parked_reason(self._router, call.line):
                name = PARKED
            if name != self.state:
                return False
        return self.takes_submit(call.id, envelope, call.accepted_ms)

    def takes_submit(self, id: bytes, submit: bytes, accepted_ms: int) -> bool:
        """All but the state; `submit` is empty when it is not kept here.

        A node takes many calls at one reading of its clock, some made after it: what was made since
        a time was accepted since, whatever was read.
        """
        if not self._since_ms <= max(accepted_ms, unix_ms_of(id)) or (
            self._until_ms is not None and accepted_ms > self._until_ms
        ):
            return False
        if self.sockets is not None and (not submit or name_bytes(submit) not in self.sockets):
            return False
        return self._flow is None or is_of_flow(id, submit, self._flow)


def flow_of(id: bytes, submit: bytes) -> bytes:
    """The flow of a call: that of its SUBMIT envelope, else itself."""
    return envelopes.flow_of(submit) if submit else id


def is_of_flow(id: bytes, submit: bytes, flow: bytes) -> bool:
    """Whether a call belongs to a flow; the root of one may itself belong to another."""
    return id == flow or flow_of(id, submit) == flow


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise BadRequest(f"field {name!r} must be text, it is {value!r}")
    return value


def _number(fields: dict[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadRequest(f"field {name!r} must be a whole number of Unix ms, it is {value!r}")
    return value
