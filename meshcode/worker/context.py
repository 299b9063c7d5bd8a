"""What task code may ask about the call it runs in.

from meshcode.worker.context import current_call

def charge(order):
    key = current_call().key or current_call().id_text
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple

from meshcode.ids import NO_ID, text_of
from meshcode.native.layout import Column, Row
from meshcode.wire.frame import row_at

# One staged call: its row, the bytes that it is a row of, the attempt.
# In the main thread's way the row has these columns only; who wants all fields by name: `named`.
Staged = tuple[Any, bytes, int]
STAGED = bytes([
    Column.START, Column.FLAGS, Column.BODY_AT, Column.END, Column.ID, Column.FLOW, Column.NAME,
])  # fmt: skip
ID = Row._fields.index("id")
assert STAGED[ID] == Column.ID, "the id stands where it does in a whole row"

# The call of the main thread, so that entering a call costs one list store; async calls have theirs
# in a context variable, because many run at once.
main_call: list[Staged | None] = [None]
async_call: ContextVar[Staged | None] = ContextVar("meshcode_call", default=None)


class CallInfo(NamedTuple):
    """The facts of one attempt of one call."""

    id: bytes  # 16 bytes, the same for every attempt.
    attempt: int  # 1 for the first try.
    socket: str
    flow: bytes  # Id of the root call of the flow.
    key: str | None  # The caller's concurrency key.
    parent: bytes | None = None  # Id of the call that caused this one; None for a root.
    traceparent: str | None = None  # W3C, of this attempt: to hand to other systems.

    @property
    def id_text(self) -> str:
        """The call's id as people see it.

        It is the idempotency key to hand to other systems: all attempts of a call share it.
        """
        return text_of(self.id)


class Route:
    """A result that chooses the plugs it goes along; return it from a task.

    return Route(order, plugs=["large"] if order["total"] > 100 else ["small"])

    Whoever called the task gets `result`.  An object of your own with the attributes `result` and
    `plugs` says the same without importing meshcode.
    """

    __slots__ = ("plugs", "result")

    def __init__(self, result: Any, plugs: list[str]) -> None:
        """`plugs`: names of plugs of the task's socket; those that it does not have are ignored."""
        self.result = result
        self.plugs = plugs


class DoNotRetry(Exception):
    """Raise it, or a subclass, to say that trying again cannot help: no retry is made.

    An exception class of your own with the attribute `do_not_retry = True` says the same without
    importing meshcode.
    """


class CallInterrupted(BaseException):
    """Raised inside a running call that was cancelled or ran over its time limit.

    It is no `Exception`, so `except Exception` lets it through.  Clean up and let it go on: a
    worker whose call does not end is killed after CANCEL_GRACE_MS.
    """

    def __init__(self, reason: int) -> None:
        said = "the call was cancelled" if reason == 1 else "the call is over its time limit"
        super().__init__(said)
        self.reason = reason


def named(call: Staged) -> Staged:
    """The same with all fields of its row, by name."""
    row, frame, attempt = call
    if type(row) is Row:
        return call
    start, _, _, end, *_ = row
    return *row_at(frame, start, end), attempt


def running_call() -> Staged | None:
    """The staged call this code belongs to; threads of a task count as its main call."""
    call = async_call.get() or main_call[0]
    return None if call is None else named(call)


def current_call() -> CallInfo:
    """The call this code runs in.

    Raises:
        RuntimeError: the code runs outside of any call, for instance while its module is imported.
    """
    staged = running_call()
    if staged is None:
        raise RuntimeError("there is no current call: this code was not called through a socket")
    row, frame, attempt = staged
    key = trace = None
    if row.meta_at < row.body_at:
        from meshcode.wire.codec import unpack
        from meshcode.wire.traceparent import child_of

        options = unpack(frame[row.meta_at : row.body_at])
        if isinstance(options, dict):
            key = options.get("key")
            trace = child_of(options.get("trace"), row.id, attempt)
    socket = frame[row.name_at : row.meta_at].decode("utf-8", "replace")
    flow = row.flow if row.flow != NO_ID else row.id
    parent = row.parent if row.parent != NO_ID else None
    return CallInfo(row.id, attempt, socket, flow, key, parent, trace)
