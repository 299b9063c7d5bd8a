"""What task code may ask about the call it runs in.

from meshcode.worker.context import current_call

def charge(order):
    key = current_call().key or current_call().id_text
"""

from __future__ import annotations

import sys
import threading
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


class Held:
    """The call that a coroutine or a thread belongs to: None once it has ended."""

    __slots__ = ("call",)

    def __init__(self, call: Staged | None) -> None:
        self.call = call

    def now(self) -> Staged | None:
        """The call, while it goes on."""
        return self.call


class _HeldOfMain(Held):
    """The same of a call of the main thread, which tells nobody that it has ended."""

    __slots__ = ()

    def now(self) -> Staged | None:
        call, running = self.call, main_call[0]
        assert call is not None
        key = call[0][ID], call[2]
        if running is not None and (running[0][ID], running[2]) == key:
            return call
        return call if key in generators else None


# The call of the main thread, so that entering a call costs one list store; async calls have theirs
# in a context variable, because many run at once.
main_call: list[Staged | None] = [None]
async_call: ContextVar[Held | None] = ContextVar("meshcode_call", default=None)
# Id and attempt of the main thread's generators: they go on between two items, too.
generators: set[tuple[bytes, int]] = set()
MAIN = threading.main_thread().ident  # Fixed: in a process forked off by another thread as well.
_OF_THREAD = "_meshcode_call"  # Attribute of a `Thread`: what it holds.


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

    It is no `Exception`, so `except Exception` lets it through.  Clean up and let it go on: a call
    that catches it and returns is DONE with what it returned, and a worker whose call does not end
    is killed after CANCEL_GRACE_MS.
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


def _lean(call: Staged) -> Staged:
    """The same without its arguments: a thread may hold it for as long as the process lives."""
    row, frame, attempt = named(call)
    begin = row.start
    lean = row._replace(
        start=0, name_at=row.name_at - begin, meta_at=row.meta_at - begin,
        body_at=row.body_at - begin, end=row.body_at - begin,
    )  # fmt: skip
    return lean, frame[begin : row.body_at], attempt


def _held() -> Held | None:
    """What the code that asks belongs to."""
    held = async_call.get()
    if held is not None:
        return held
    if threading.get_ident() == MAIN:
        call = main_call[0]
        return None if call is None else _HeldOfMain(_lean(call))
    return getattr(threading.current_thread(), _OF_THREAD, None)


def running_call() -> Staged | None:
    """The staged call this code belongs to; a thread belongs to the call that started it, while
    that goes on.
    """
    held = async_call.get()
    if held is None and threading.get_ident() == MAIN:
        call = main_call[0]
    else:
        held = held or _held()
        call = None if held is None else held.now()
    return None if call is None else named(call)


def threads_inherit() -> None:
    """From now on threads of this process belong to the call that starts them.

    Those of `concurrent.futures` (and so of asyncio's executors) serve many calls: there it is the
    call that submitted the work.
    """
    start = threading.Thread.start

    def start_held(self: threading.Thread) -> None:
        setattr(self, _OF_THREAD, _held())
        pools = sys.modules.get("concurrent.futures.thread")
        if pools is not None:
            _items_inherit(pools)
        start(self)

    start_held.__name__, start_held.__doc__ = start.__name__, start.__doc__
    threading.Thread.start = start_held  # type: ignore[method-assign]


def _items_inherit(pools: Any) -> None:
    """Work that is submitted to a pool of threads belongs to whoever submits it.

    Called before the first thread of any pool starts.  The work it starts for is in its queue
    already, without a mark: it belongs to the call that started the thread.
    """
    item = getattr(pools, "_WorkItem", None)
    if item is None or hasattr(item, _OF_THREAD):
        return
    setattr(item, _OF_THREAD, None)
    make, run = item.__init__, item.run

    def make_held(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        setattr(self, _OF_THREAD, _held())

    def run_held(self: Any, *args: Any) -> None:
        thread = threading.current_thread()
        own = vars(thread).get(_OF_THREAD)
        setattr(thread, _OF_THREAD, vars(self).get(_OF_THREAD, own))
        try:
            run(self, *args)
        finally:
            setattr(thread, _OF_THREAD, None)  # The next one is somebody else's.

    item.__init__, item.run = make_held, run_held


def current_call() -> CallInfo:
    """The call this code runs in.

    Raises:
        RuntimeError: the code runs outside of any call, for instance while its module is imported.
    """
    staged = running_call()
    if staged is None:
        raise RuntimeError(
            "there is no current call: this code was not called through a socket, or is a thread "
            "or coroutine whose call has ended"
        )
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
