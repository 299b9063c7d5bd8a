"""One call as its caller sees it: its id, whether it is safe, how it ended.

A `Call` costs eight words until someone waits for it: the I/O thread stores the bytes of the
outcome, and they are decoded when the result is asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from math import isnan, nan
from threading import Lock
from typing import TYPE_CHECKING, Any

from meshcode.client.wake import Waiter
from meshcode.errors import MeshError, UnknownCall, WaitTimeout, from_data
from meshcode.ids import text_of
from meshcode.wire.codec import pack, unpack
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.options import Seconds

# How a call ended, in `_code`: 0 not yet, an `Outcome`, or one of these two.
REFUSED = 5  # The node did not accept it.
LOST = 6  # This client cannot learn how it ends: closed, or unknown to the node.

SECONDS_MAX = 1_000_000_000  # Of a wait: thirty years.

_DONE = int(Outcome.DONE)
_STATES = {1: "DONE", 2: "FAILED", 3: "CANCELLED", 4: "MOVED", 5: "REFUSED", 6: "LOST"}

_register = Lock()  # Guards every call's list of callbacks; held for a few instructions only.


def renew_lock() -> None:
    """For a forked child: another thread of the parent may have held the lock."""
    global _register
    _register = Lock()


class _Decoded:
    """The value of a call, in the place of its bytes."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Call:
    """A handle of one call.  Dropping it does not end the call; `Client.call(id)` finds it again.

    Any thread may use it.  In asyncio, `await call` is `call.result()` without blocking the loop.
    """

    __slots__ = (
        "__weakref__", "_accepted", "_body", "_callbacks", "_client", "_code", "_id", "_items",
        "_socket",
    )  # fmt: skip

    def __init__(self, client: Client, call_id: bytes, socket: str) -> None:
        """Made by `Socket.submit` and `Client.call`."""
        self._client = client
        self._id = call_id
        self._socket = socket
        self._code = 0
        self._body: Any = None
        self._accepted: str | None = None
        self._callbacks: list[Callable[[], object]] | None = None
        self._items: dict[int, bytes] | None = None

    # What is known here, without asking anyone.

    @property
    def id(self) -> str:
        """The id as text: print it, keep it, give it to `Client.call` in another process."""
        return text_of(self._id)

    @property
    def socket(self) -> str:
        """The name of the socket; empty for a call found again by its id."""
        return self._socket

    @property
    def accepted(self) -> str | None:
        """What the node said is true of the call, for instance "local 1/1"; None before that."""
        return None if self._code == REFUSED else self._accepted

    @property
    def state(self) -> str:
        """What this client knows: SENT, ACCEPTED, then DONE, FAILED, CANCELLED, REFUSED or LOST.

        `info()["state"]` asks the node, which also knows WAITING, PARKED, RUNNING and HELD.
        """
        if self._code:
            return _STATES[self._code]
        return "SENT" if self._accepted is None else "ACCEPTED"

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        self._begin_wait()
        return self._code != 0

    def __repr__(self) -> str:
        return f"<Call {self.id} {self._socket} {self.state}>"

    def __getstate__(self) -> None:
        raise TypeError(
            f"call {self.id} is followed by a client of this process, and that cannot go to "
            "another one; send its `id`, and find the call there with `connect().call(id)`"
        )

    # Waiting.

    def result(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """Wait for the call to end; its value.

        Args:
            timeout: seconds or a timedelta; None waits as long as it takes, over restarts of the
                node too.  What waits so for a HELD call is told the logger `meshcode` once.
            propagate: False returns the error instead of raising it.

        Raises:
            WaitTimeout: it has not ended in time; the text says where it is, and what it waits for.
            RemoteError: the task raised.  For a built-in exception it is that type too, so
                `except ValueError` works; a note has the traceback in the worker.
            CallCancelled: it was cancelled or expired.
            CallerError: it was refused; the text says why.
        """
        if not self._code:
            self._wait(timeout)
        return self._outcome(propagate)

    def get(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """As `result`."""
        return self.result(timeout, propagate)

    def exception(self, timeout: Seconds | None = None) -> MeshError | None:
        """Wait for the call to end; its error, or None when it has a value.

        Raises:
            WaitTimeout: it has not ended in time; it goes on.
        """
        if not self._code:
            self._wait(timeout)
        return None if self._code == _DONE else self._error()

    def wait_accepted(self, timeout: Seconds | None = None) -> str:
        """Wait until the node has the call on disk; what is true then, as `accepted` says.

        Raises:
            CallerError: it was refused; the text says why.
            WaitTimeout: no answer in time.  The call may still be accepted later.
        """
        client, seconds = self._client, seconds_of(timeout)
        if not client.session.wait_news(self._is_answered, seconds):
            raise WaitTimeout(
                f"call {self.id} to {self._socket} was not acknowledged within {seconds} s "
                f"by the node at {client.address}; it is sent again as soon as that answers",
                id=self.id,
            )
        if self._code in (REFUSED, LOST):
            raise self._error()
        return self._accepted or "accepted"  # The outcome may come with the acknowledgement lost.

    def items(self, timeout: Seconds | None = None) -> Iterator[Any]:
        """The items of a generator task, each as soon as it is there, in order.

        When the call is retried, items after those already given come from the new attempt.  For
        a task that is no generator: the items of the list it returned, or its one value.  Those of
        a stream come once it has ended; `stream` reads them as they come.

        Args:
            timeout: seconds to wait for each next item.

        Raises:
            WaitTimeout: no item in time.
            MeshError: as `result`, after the items that came before the failure.
        """
        self._begin_wait()
        seconds = seconds_of(timeout)
        given = 0
        while True:
            found = self._next_item(given)
            if found is not None:
                yield unpack(found)
            elif self._code:
                break
            elif self._client.session.wait_news(partial(self._has_item, given), seconds):
                continue
            else:
                from meshcode.client.lateness import look, too_late

                raise too_late(self, seconds, look(self, seconds))
            given += 1
        yield from self._rest(given, seconds)

    def stream(self, first: int = 0, timeout: Seconds | None = None) -> Iterator[Any]:
        """The items of a stream from number `first` on, in order, as they come or long after.

        Any number may read, at any time and from any process: the items are kept as long as other
        results.  For a call that does not stream: the items of its list, or its one value.

        Args:
            first: counted from 0.
            timeout: seconds to wait for each next item.

        Raises:
            WaitTimeout: no item in time; the call goes on.
            MeshError: as `result`, after the items that came before the failure.
            ResultExpired: the item is not kept any more.
        """
        from meshcode.client.streams import read

        return read(self, first, timeout)

    def __await__(self) -> Generator[Any, None, Any]:
        from meshcode.client.aiowaits import wait_for_call

        return wait_for_call(self).__await__()

    # Asking the node.

    @property
    def status(self) -> str:
        """How it stands now: SENT when the node has not got it yet, then WAITING, PARKED, DELAYED,
        RUNNING or HELD, as the node says, and how it ended.  `state` asks nobody.
        """
        if self._code:
            return self.state
        return str(self.info()["state"]) if self._is_known() else "SENT"

    def info(self) -> dict[str, Any]:
        """The node's record of the call: state, reason, attempts, times, worker, commit, ...

        Raises:
            CallerError: it was refused, so there is none; the text says why.
        """
        record: dict[str, Any] = self._ask_node("call.get")
        return record

    def events(self) -> list[dict[str, Any]]:
        """What happened to it, oldest first: `{"name", "ms", "note"}`, ms in Unix milliseconds."""
        record = self._ask_node("mesh.call")
        events: list[dict[str, Any]] = record.get("events", [])
        return events

    def output(self) -> dict[str, Any]:
        """What the task printed: `{"stdout": text, "stderr": text}`."""
        # What it printed is kept where it ran.
        record = self._ask_node("mesh.call", output=True)
        output: dict[str, Any] = record.get("output") or {"stdout": "", "stderr": ""}
        return output

    def cancel(self, by: str | None = None) -> Any:
        """Ask the node to end it: a waiting call at once, a running one by interrupting it.

        Raises:
            WrongState: it has ended already.
        """
        return self._ask_node("call.cancel", by=by or user_name())

    def retry(self, by: str | None = None) -> Call:
        """Ask the node to try a HELD, delayed or ended call again now, with fresh attempts.

        Returns the call to wait for: this one, or a new one where this has ended, for how that
        ended stays on record.

        Raises:
            WrongState: there is nothing to retry.
        """
        return self._again(self._ask_node("call.retry", by=by or user_name()))

    def _again(self, answer: dict[str, Any]) -> Call:
        """The call that the node says is tried again."""
        id = answer.get("id", self.id)
        return self if id == self.id else self._client.call(id)

    # For the package.

    def _ask_node(self, operation: str, **fields: Any) -> Any:
        """Ask the node about the call; its refusal when it never got as far as being one."""
        self._check_refused()
        try:
            return self._client.ask(operation, id=self._id, **fields)
        except UnknownCall:
            self._check_refused()  # That was on its way.
            raise

    def _check_refused(self) -> None:
        """Raise the error with which the node refused the call, if it did."""
        if self._code == REFUSED:
            raise self._error()

    def _begin_wait(self) -> None:
        """A submitted call is told of its end anyway."""

    def _wait(self, timeout: Seconds | None, of: float | None = None) -> None:
        """Wait for the end; `of`: how long the caller waits, when `timeout` is what is left."""
        seconds = seconds_of(timeout)
        if not self._ends_within(seconds):
            from meshcode.client.lateness import look, too_late

            raise too_late(self, seconds if of is None else of, look(self, seconds))

    def _ends_within(self, seconds: float | None) -> bool:
        """Wait for the end; whether it came.  Nobody is asked why it did not."""
        self._begin_wait()
        waiter = Waiter()
        self._add_callback(waiter.set)
        if seconds is None:
            from meshcode.client.lateness import wait_patiently

            wait_patiently(self, waiter)
        elif not waiter.wait(seconds):
            self._drop_callback(waiter.set)
        return self._code != 0

    def _outcome(self, propagate: bool = True) -> Any:
        code, body = self._code, self._body
        if type(body) is _Decoded:
            return body.value
        if code == _DONE:
            value = unpack(body)
            self._body = _Decoded(value)  # One store, so that no thread sees half of it.
            return value
        error = self._error()
        if propagate:
            raise error
        return error

    def _error(self) -> MeshError:
        if self._code == REFUSED:
            self._client.session.pending.unheard.pop(self._id, None)
        error = from_data(unpack(self._body))
        error.fields.setdefault("call", self.id)
        return error

    def _end(self, code: int, body: bytes) -> None:
        """For the I/O thread, once; a second end is ignored."""
        if self._code:
            return
        self._body = body
        self._code = code
        if self._callbacks is not None:
            self._run_callbacks()

    def _end_with(self, error: MeshError) -> None:
        self._end(LOST, pack(error.to_data()))

    def _add_callback(self, callback: Callable[[], object]) -> None:
        """Run `callback` once when the call has ended, in the I/O thread or at once in this one."""
        with _register:
            if self._callbacks is None:
                self._callbacks = [callback]
            else:
                self._callbacks.append(callback)
        # Look again: the I/O thread sets the code first and looks for callbacks then.
        if self._code:
            self._run_callbacks()

    def _drop_callback(self, callback: Callable[[], object]) -> None:
        with _register:
            if self._callbacks and callback in self._callbacks:
                self._callbacks.remove(callback)

    def _run_callbacks(self) -> None:
        with _register:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def _flow_to_come(self) -> Call | None:
        """The flow that this is a step of and that has not begun, as far as is known here."""
        return None

    def _began(self) -> None:
        """If it is a flow, its steps exist now."""

    def _is_unwatched(self) -> bool:
        """Whether its end must be asked for; once."""
        return False

    def _is_known(self) -> bool:
        """Whether the node has said that it has the call."""
        return self._accepted is not None

    def _is_answered(self) -> bool:
        return self._accepted is not None or self._code != 0

    def _has_item(self, n: int) -> bool:
        return self._code != 0 or (self._items is not None and n in self._items)

    def _next_item(self, n: int) -> bytes | None:
        return self._items.pop(n, None) if self._items else None

    def _rest(self, given: int, timeout: float | None) -> Iterable[Any]:
        """What is left of an ended call's items; raises its error."""
        value = self._outcome()
        if isinstance(value, list):
            return value[given:]
        from meshcode.client.streams import is_streamed

        if is_streamed(self._id, value):
            return self.stream(given, timeout)
        return [] if given else [value]


class FoundCall(Call):
    """A call found again by its id; the node is asked for its outcome when someone wants it."""

    __slots__ = ("_watched",)

    def __init__(self, client: Client, call_id: bytes) -> None:
        super().__init__(client, call_id, "")
        self._watched = False

    @property
    def state(self) -> str:
        """As `Call.state`, and UNKNOWN before it has ended: `info()["state"]` asks the node."""
        return _STATES[self._code] if self._code else "UNKNOWN"

    def wait_accepted(self, timeout: Seconds | None = None) -> str:
        """Ask the node whether it has the call; it was accepted earlier or it is unknown.

        Raises:
            UnknownCall: the node has no such call.
        """
        self._client.ask("call.get", timeout=seconds_of(timeout), id=self._id)
        return "accepted"

    def _is_known(self) -> bool:
        return True  # It knew it once, or will say that it does not.

    def _is_unwatched(self) -> bool:
        was, self._watched = self._watched, True
        return not was

    def _begin_wait(self) -> None:
        if self._is_unwatched():
            self._client.session.watch(self)


def user_name() -> str:
    """Who asks: the name of the user, for the record of the call."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"


def seconds_of(timeout: Any) -> float | None:
    """How long a wait may be: seconds, as a number or a timedelta; None = without an end.

    More than SECONDS_MAX are these: what waits for the system takes no more.

    Raises:
        TypeError: it is none of these, or no number (nan).
    """
    if timeout is None:
        return None
    if isinstance(timeout, int | float):
        seconds: float = timeout
    else:
        total = getattr(timeout, "total_seconds", None) or getattr(timeout, "__float__", None)
        seconds = nan if total is None else float(total())
    seconds = min(seconds, SECONDS_MAX)  # First: a whole number may be too large for isnan.
    if isnan(seconds):
        raise TypeError(f"timeout is seconds, a timedelta or None, not {timeout!r:.80}")
    return seconds


def deadline_of(timeout: Seconds | None) -> float | None:
    """The moment a wait ends, on the monotonic clock; None = never.

    Raises:
        TypeError: as `seconds_of`.
    """
    seconds = seconds_of(timeout)
    return None if seconds is None else time.monotonic() + seconds


def seconds_left(deadline: float | None) -> float | None:
    """Seconds until `deadline`, at least 0."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
