"""What one node knows of flows: their plans, and where their steps are.

The state of a step is one byte, so that those of a hundred thousand fit one message:

    0          this node knows nothing of it
    1 to 7     open here, as `router.states.State` has it
    PARKED     waiting here in a line that cannot move
    KEPT       open at another node; this one keeps it
    11 to 13   it ended
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.errors import BadRequest, LogDamaged, MeshError, UnknownCall
from meshcode.ids import NO_ID, text_of
from meshcode.node.flowindex import is_kept
from meshcode.node.later import Job
from meshcode.node.waits import parked_reason
from meshcode.router import plan
from meshcode.router.envelopes import body_of
from meshcode.router.feeding import step_id
from meshcode.router.records import (
    DONE_HEAD,
    accepted_call,
    outcome_of,
    sequence_key,
    socket_of,
    split_done,
)
from meshcode.router.states import State
from meshcode.store.contract import OPEN
from meshcode.wire.codec import unpack
from meshcode.wire.frame import AT_CODE, AT_FLOW, AT_PARENT, check_envelope, name_bytes

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

Pairs = Sequence[list[Any]]  # A number of a step, the id of a call.

UNKNOWN, PARKED, KEPT = 0, 8, 9
ENDED_STATES = (State.DONE, State.FAILED, State.CANCELLED)
NAMES = {
    **{int(state): state.name for state in State},
    UNKNOWN: "UNKNOWN", PARKED: "PARKED", KEPT: "KEPT",
}  # fmt: skip
# Of what several nodes say of one step the most certain holds: it ended, it is open there, ...
_CERTAIN = bytes((UNKNOWN, KEPT, State.MOVED, PARKED, *range(1, 8), *map(int, ENDED_STATES)))
_RANK = bytes(_CERTAIN.find(code) if code in _CERTAIN else 0 for code in range(256))
_CODE = _CERTAIN + bytes(256 - len(_CERTAIN))

POINTERS_MAX = 8  # Calls whose value is that of the next.
FLOWS_KEPT = 16  # Whose plans and ended steps are remembered; the oldest question goes.
SLICE_STEPS = 256  # Looked up in one go: two milliseconds.
SLICE_BYTES = 1024 * 1024  # The same in bytes read: results may be large.


class Flow(NamedTuple):
    """A flow that was found."""

    id: bytes
    plan: plan.Plan
    submit: bytes  # The envelope of its own call.
    accepted_ms: int
    code: int  # How its own call ended; 0: it has not yet, so it has no steps.
    error: str  # Why it has none and never will.

    @property
    def socket(self) -> str:
        """The socket of its own call: `@flow`, or that of the plain call that began it."""
        return socket_of(self.submit)

    @property
    def others(self) -> list[list[Any]]:
        """Steps that calls of an earlier flow stand for, and these calls."""
        return [[n, step.args] for n, step in enumerate(self.plan.steps) if step.is_done]

    @property
    def sockets(self) -> list[str]:
        """The sockets that it calls, each once."""
        own = [] if self.socket == plan.FLOW else [self.socket]
        called = [step.socket for step in self.plan.steps if step.socket]
        return list(dict.fromkeys([*own, *called]))

    def is_earlier(self, number: int) -> bool:
        """Whether a call of an earlier flow stands for a step; that of a plain call is itself."""
        step = self.plan.steps[number]
        return step.is_done and step.args != self.id

    def socket_of(self, number: int) -> str:
        """The socket of a step; "" when it only gathers, or is a call of an earlier flow."""
        step = self.plan.steps[number]
        return self.socket if step.is_done and step.args == self.id else step.socket

    def step_id(self, number: int) -> bytes:
        """The call that is, or stands for, a step."""
        step = self.plan.steps[number]
        return step.args if step.is_done else step_id(self.id, number)


class Pointed(NamedTuple):
    """A call whose value another one, which has ended, will have: a copy at every socket."""

    id: bytes


class Steps:
    """The calls of a flow's steps, and the codes of those that ended: these stay as they are."""

    __slots__ = ("_flow", "_ids", "codes", "others")

    def __init__(self, flow: bytes, count: int, others: Pairs) -> None:
        """Steps 0 to `count`; `others`: those that calls of an earlier flow stand for."""
        self.others = others
        self.codes = bytearray(count)
        self._flow = flow
        self._ids: list[bytes | None] = [None] * count
        for number, id in others:
            self._ids[number] = id

    def id(self, number: int) -> bytes:
        """The call of a step; worked out when it is first wanted."""
        found = self._ids[number]
        if found is None:
            found = self._ids[number] = step_id(self._flow, number)
        return found

    def all(self) -> Job:
        """A job that returns all of them."""
        for at in range(0, len(self._ids), SLICE_STEPS):
            for number in range(at, min(at + SLICE_STEPS, len(self._ids))):
                self.id(number)
            yield 0
        return list(self._ids)


class FlowBook:
    """Looks flows up."""

    def __init__(self, loop: Loop) -> None:
        """`loop`: whose history and open calls are looked at."""
        self._loop = loop
        self._flows: OrderedDict[bytes, Flow] = OrderedDict()
        self._steps: OrderedDict[bytes, Steps] = OrderedDict()

    @property
    def mine(self) -> str:
        """The name of this node; "" without a mesh."""
        return "" if self._loop.mesh is None else self._loop.mesh.identity.name

    # A flow.

    def find(self, which: bytes | str) -> Flow:
        """The flow that `which` names: the id of its own call, or the beginning of it.

        Raises:
            UnknownCall: no such call is open or kept here.
            BadRequest: it is no flow, or `which` begins several ids.
        """
        id = which if isinstance(which, bytes) and which in self._flows else self._id_of(which)
        known = self._flows.get(id)
        if known is not None:
            self._flows.move_to_end(id)
            return known
        value = self._loop.history.done_record(id)
        if value is not None:
            done = split_done(value)
            submit, accepted_ms, code = done["submit"], done["accepted_ms"], done["code"]
            found = flow_of(id, submit, accepted_ms, code, _error_text(done["outcome"]))
            self.keep(found)
            return found
        accepted_ms, submit = self._open_call(id)
        return flow_of(id, submit, accepted_ms, 0, "")

    def keep(self, flow: Flow) -> None:
        """Remember a flow whose own call ended: nothing of it will change."""
        if flow.code:
            self._flows[flow.id] = flow
            while len(self._flows) > FLOWS_KEPT:
                self._flows.popitem(last=False)

    def sockets_of(self, which: bytes | str) -> list[str]:
        """The sockets that a flow calls, each once.

        Raises:
            MeshError: see `find`.
        """
        return self.find(which).sockets

    def _id_of(self, which: bytes | str) -> bytes:
        try:
            return self._loop.history.find(which)
        except UnknownCall:
            router = self._loop.router
            digits = which.hex() if isinstance(which, bytes) else which.replace("-", "").lower()
            kept = [
                id for id in {*router.replica.by_id, *router.copies} if id.hex().startswith(digits)
            ]
            if len(kept) != 1:
                raise
            return kept[0]

    def _open_call(self, id: bytes) -> tuple[int, bytes]:
        """When an open call was accepted, by whatever node, and its SUBMIT envelope."""
        router = self._loop.router
        call = router.calls.get(id)
        if call is not None:
            return call.accepted_ms, self._loop.history.envelope_of(call)
        inst, copy = router.replica.by_id.get(id), router.copies.get(id)
        sequence = inst.sequence if inst is not None else copy.sequence if copy is not None else 0
        value = self._loop.log.get(OPEN, sequence_key(sequence))
        if value is None:
            raise UnknownCall(f"the record of call {text_of(id)} is not here")
        return accepted_call(value)

    # Its steps.

    def steps(self, flow: bytes, count: int, others: Pairs) -> Steps:
        """The calls of the steps of a flow."""
        known = self._steps.get(flow)
        if known is None or len(known.codes) != count or known.others != others:
            known = self._steps[flow] = Steps(flow, count, others)
            while len(self._steps) > FLOWS_KEPT:
                self._steps.popitem(last=False)
        self._steps.move_to_end(flow)
        return known

    def look(self, steps: Steps) -> Job:
        """A job that returns the codes of all steps, a byte each."""
        found = bytearray(steps.codes)
        size = 0
        for at in range(0, len(found), SLICE_STEPS):
            for n in range(at, min(at + SLICE_STEPS, len(found))):
                if found[n]:
                    continue
                id = steps.id(n)
                value = self._done(id)
                if value is None:
                    found[n] = self._open_code(id)
                    continue
                found[n] = code = self._end_code(value)
                steps.codes[n] = code if code in ENDED_STATES else UNKNOWN
                size += len(value)
                if size > SLICE_BYTES:
                    size = 0
                    yield 0
            yield 0
        return bytes(found)

    def _end_code(self, value: bytes) -> int:
        """How a call ended, by its record; one whose value is that of another call ends with it."""
        found = self._followed(value)
        return 10 + found[1] if isinstance(found, bytes) else (
            self._open_code(found.id) or int(State.GATHERING)
        )

    def _followed(self, value: bytes) -> bytes | Pointed:
        """The record of the call whose value it is, or which call has not ended here."""
        for _ in range(POINTERS_MAX):
            target = plan.result_of(outcome_of(value))
            if target is None:
                break
            ended = self._done(target)
            if ended is None:
                return Pointed(target)
            value = ended
        return value

    def _done(self, id: bytes) -> bytes | None:
        try:
            return self._loop.history.done_record(id)
        except LogDamaged:  # Other nodes may have it whole.
            return None

    def _open_code(self, id: bytes) -> int:
        router = self._loop.router
        call = router.calls.get(id)
        if call is None:
            return KEPT if is_kept(router, id) else UNKNOWN
        if call.state is State.WAITING and parked_reason(router, call.line):
            return PARKED
        return int(call.state)

    def row(self, id: bytes) -> dict[str, Any] | None:
        """What people want to know of a step, if this node knows it."""
        loop = self._loop
        value = self._done(id)
        if value is not None:
            row = loop.history.done_row(id, value)
            known = {"code": self._end_code(value), "node": row["node"]}
        else:
            call = loop.router.calls.get(id)
            if call is None:
                return None
            row = loop.history.open_row(call)
            known = {"code": self._open_code(id), "node": self.mine}
            peer = None if call.worker is None else call.worker.node
            if peer is not None and loop.mesh is not None:
                known["node"] = loop.mesh.name_of(peer)
        names = ("reason", "worker", "commit", "attempts", "started_ms", "finished_ms")
        return {**known, **{name: row[name] for name in names}}

    def finished_ms(self, id: bytes) -> int | None:
        """When a call ended, and that whose value it has, if it is in the history here."""
        value = self._done(id)
        last = None if value is None else self._followed(value)
        return int(DONE_HEAD.unpack_from(last)[6]) if isinstance(last, bytes) else None


def flow_of(id: bytes, submit: bytes, accepted_ms: int, code: int, error: str) -> Flow:
    """The flow of a SUBMIT envelope; a plain call is one of a single step, itself.

    Raises:
        BadRequest: it cannot be read.
        UnknownCall: it is not there: only an outcome is kept, and a peer has the call itself.
    """
    if not submit:
        raise UnknownCall(f"of call {text_of(id)} this node keeps only the outcome, not its steps")
    if name_bytes(submit) != plan.FLOW.encode():
        return Flow(id, plan.Plan.of([plan.Step("", 0, id, plan.DONE_STEP, None)], 0), submit,
                    accepted_ms, 1, "")  # fmt: skip
    return Flow(id, plan.read(submit), submit, accepted_ms, code, error)


def _error_text(outcome: bytes) -> str:
    if outcome[AT_CODE] == int(State.DONE) - 10:
        return ""
    error = unpack(body_of(outcome))
    return str(error.get("text", "")) if isinstance(error, dict) else ""


def merge(one: bytes, other: bytes) -> bytes:
    """Of the codes that two nodes give the same steps, the more certain ones."""
    ranks = bytes(map(max, one.translate(_RANK), other.translate(_RANK)))
    return ranks.translate(_CODE)


def checked_submit(id: bytes, data: object) -> bytes:
    """The SUBMIT envelope of a flow as a peer sent it.

    Raises:
        MeshError: it is none.
    """
    if not isinstance(data, bytes):
        raise BadRequest("a peer sent no envelope")
    row = check_envelope(data)
    if row.id != id:
        raise BadRequest(f"a peer sent call {text_of(row.id)}, asked for {text_of(id)}")
    return data


def beside(loop: Loop, flow: bytes, root: bytes, within: set[bytes]) -> Job:
    """A job that returns the open calls of a flow that are none of `within`, its steps.

    They are what plugs and tasks made of it, and dead letters.  `root` is the flow that its own
    call names; when that is another one, calls are found by their parents.
    """
    calls = loop.router.calls
    nested = root not in (flow, NO_ID)
    whole = None if nested else flow
    found: list[bytes] = []
    within = set(within)
    for at, id in enumerate(sorted(loop.history.flows.beside(root if nested else flow))):
        if id not in within and id in calls and _is_member(loop, id, whole, within):
            found.append(id)
            within.add(id)
        if at % SLICE_STEPS == SLICE_STEPS - 1:
            yield 0
    return found


def _is_member(loop: Loop, id: bytes, flow: bytes | None, within: set[bytes]) -> bool:
    try:
        submit = loop.history.envelope_of(loop.router.calls[id])
    except MeshError:
        return False
    return submit[AT_FLOW] == flow or submit[AT_PARENT] in within
