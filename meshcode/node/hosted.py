"""Functions of the host program itself, offered as sockets by an embedded node (`Node.serve`).

No code travels: the functions run in threads of this program, `async def` ones on one event loop.
To the core they are one processor, `@host`, with one worker of many slots.  The threads are started
as calls need them: where the program may have few, calls wait for those that there are.
"""

from __future__ import annotations

import contextlib
import inspect
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from meshcode.errors import NodeError, TimeLimit
from meshcode.node import threads
from meshcode.node.hostloop import HostLoop, is_asynchronous, was_cancelled
from meshcode.router.effects import Assignment
from meshcode.router.events import Event, Finished, ProcessorChanged, Report, WorkerJoined
from meshcode.wire.codec import pack, unpack_call
from meshcode.wire.frame import Row, check_envelope, index, seal_frame
from meshcode.wire.kinds import Flag, Outcome
from meshcode.worker import report
from meshcode.worker.context import CallInterrupted, Held, async_call
from meshcode.worker.control import REASON_TIME_LIMIT, REASONS

HOST_PROCESSOR = "@host"
HOST_WORKER = 0  # Worker ids of processes begin with 1.
THREADS = 8  # At most; a thread that was started stays.
_LATE_NS = 100_000_000  # From being asked to end to the end: longer is told.
_WHEN = (
    "a function of the program is interrupted between two steps of Python, not while it waits "
    "outside of it (time.sleep, a read)"
)


class Hosted:
    """The served functions and the threads that run them."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` makes the node's thread look at `receive` and `take_changes`."""
        self._wake = wake
        self._functions: dict[str, Callable[..., Any]] = {}
        self._options: dict[str, dict[str, Any]] = {}
        self._work: queue.SimpleQueue[Assignment | None] = queue.SimpleQueue()
        self._done: deque[Report] = deque()
        self._threads: list[threading.Thread] = []
        self._spare = 0  # Threads, less the calls that were handed to them and have not ended.
        self._running: dict[bytes, int] = {}  # Call id -> thread id; 0: not begun.
        self._asked: dict[bytes, tuple[int, int]] = {}  # Of those: why and when they are to end.
        self._coroutines = HostLoop()
        self._ended = 0  # Of the threads.
        self._closed = False
        self._lock = threading.Lock()
        self._untold: list[threading.Event] = []  # Who waits until the core knows a function.
        self._joined = False

    # Called by the host program's threads.

    def serve(
        self, name: str, function: Callable[..., Any], options: dict[str, Any]
    ) -> threading.Event:
        """Offer `function` as socket `name`; options as for a socket in the model.

        Returns:
            Is set once calls of it are taken, or the node has ended.

        Raises:
            NodeError: not even one thread can be started; nothing was changed.
        """
        known = threading.Event()
        with self._lock:
            if self._closed:
                known.set()
                return known
            if not self._threads:
                try:
                    self._grow()
                except threads.NoThread as error:
                    raise NodeError(
                        f"the function of socket {name!r} is not served: {error}; nothing was"
                        " changed; end some threads, or raise `ulimit -v` or `ulimit -u`"
                    ) from error
            # Made anew, as the node's thread goes over them meanwhile.
            self._functions = {**self._functions, name: function}
            self._options = {**self._options, name: options}
            self._untold.append(known)
        self._wake()
        return known

    def is_caller(self) -> bool:
        """Whether the thread that asks runs these functions."""
        return threading.current_thread() in self._threads or self._coroutines.is_caller()

    # Called by the node's thread.

    def is_mine(self, worker: int) -> bool:
        """Whether a worker id is that of these threads."""
        return worker == HOST_WORKER

    @property
    def ready(self) -> bool:
        """Whether `receive` has something."""
        return bool(self._done)

    def take_changes(self) -> list[threading.Event]:
        """Who waits for functions that were added since the last look."""
        with self._lock:
            untold, self._untold = self._untold, []
            return untold

    def joins(self) -> list[Event]:
        """The events that make the core know the threads and the signatures."""
        signatures = {name: signature_data(f) for name, f in self._functions.items()}
        events: list[Event] = []
        if not self._joined:
            self._joined = True
            events.append(WorkerJoined(HOST_WORKER, HOST_PROCESSOR, THREADS))
        return [*events, ProcessorChanged(HOST_PROCESSOR, "", signatures)]

    def places(self) -> dict[str, int]:
        """One place for all threads together: they are one process."""
        return {HOST_PROCESSOR: 1} if self._functions else {}

    def overlay(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """The model snapshot with the served functions added as sockets of `@host`."""
        if not self._functions:
            return snapshot
        sockets = dict(snapshot["sockets"])
        for name, options in self._options.items():
            sockets[name] = {"processor": HOST_PROCESSOR, "task": name, "queue": "", **options}
        processors = {**snapshot["processors"], HOST_PROCESSOR: {}}
        return {**snapshot, "sockets": sockets, "processors": processors}

    def start(self, assignments: list[Assignment]) -> None:
        """Hand calls to the threads."""
        with self._lock:
            self._running.update((call, 0) for call, *_ in assignments)
            self._spare -= len(assignments)
            self._staff()
        for assignment in assignments:
            self._work.put(assignment)

    def interrupt(self, call: bytes, reason: str) -> None:
        """Cancel the coroutine of a call, or raise CallInterrupted in the thread that runs it; one
        that has not begun will not.
        """
        import ctypes  # Late, as most nodes serve no functions of their own: 0.4 MB.

        with self._lock:
            thread = self._running.get(call)
            if thread is not None and call not in self._asked:  # Once, as in a worker.
                self._asked[call] = REASONS[reason], time.perf_counter_ns()
                if not thread or self._coroutines.cancel(call):
                    return
                error = type("CallInterrupted", (CallInterrupted,), {
                    "__init__": lambda self: CallInterrupted.__init__(self, REASONS[reason])
                })  # fmt: skip
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(error)
                )

    def receive(self) -> list[Event]:
        """What the threads finished."""
        reports: list[Report] = []
        while self._done:
            reports.append(self._done.popleft())
        return [Finished(HOST_WORKER, reports)] if reports else []

    def close(self) -> None:
        """End the threads once each has finished what it runs; nobody waits for the core."""
        with self._lock:
            self._closed = True
        for known in self.take_changes():
            known.set()
        for _ in self._threads:
            self._work.put(None)

    # Who calls these two has the lock.

    def _grow(self) -> None:
        thread = threading.Thread(
            target=self._run, name=f"mesh-host-{len(self._threads)}", daemon=True
        )
        threads.start(thread)
        self._threads.append(thread)
        self._spare += 1

    def _staff(self) -> None:
        """Start the threads that are missing, as far as they can be had: what is left waits."""
        with contextlib.suppress(threads.NoThread):
            while self._spare < 0 and len(self._threads) < THREADS and not self._closed:
                self._grow()

    # The threads.

    def _run(self) -> None:
        while (assignment := self._work.get()) is not None:
            _, attempt, _, envelope = assignment
            assert envelope is not None
            data = seal_frame([self._outcome(envelope, attempt)])
            _, rows = index(data)
            row = rows[0]
            with self._lock:  # Before it is told: the next call needs no further thread.
                self._spare += 1
                self._staff()
            self._done.append((
                row.id, row.attempt, row.code, bool(row.flags & Flag.RETRY), row.number, 0,
                data[row.start : row.end],
            ))  # fmt: skip
            self._wake()
        with self._lock:
            self._ended += 1
            if self._ended == len(self._threads):
                self._coroutines.close()

    def _outcome(self, envelope: bytes, attempt: int) -> bytes:
        row = check_envelope(envelope)
        begun = time.perf_counter_ns()
        try:
            try:
                return self._call(row, envelope, attempt, begun)
            finally:
                with self._lock:
                    self._running.pop(row.id, None)
        except CallInterrupted:  # It came when the function had just returned.
            return self._interrupted(row, attempt, begun)
        finally:
            with self._lock:
                self._running.pop(row.id, None)  # Also where the interrupt came just before.
                self._asked.pop(row.id, None)

    def _call(self, row: Row, envelope: bytes, attempt: int, begun: int) -> bytes:
        name = envelope[row.name_at : row.meta_at].decode(errors="replace")
        function = self._functions.get(name)
        if function is None:
            return report.refused(row, attempt, report.no_function(name.encode()))
        with self._lock:
            if row.id in self._asked:  # While it waited for a thread.
                return report.interrupted(row, attempt, self._asked[row.id][0], 0)
            self._running[row.id] = threading.get_ident()
        held = Held((row, envelope, attempt))
        token = async_call.set(held)
        try:
            args, kwargs = unpack_call(
                envelope[row.body_at : row.end], bool(row.flags & Flag.KWARGS)
            )
            value = function(*args, **kwargs)
            if is_asynchronous(value):
                value = self._coroutines.run(row.id, value)
            if inspect.isgenerator(value):
                value = list(value)
            return report.done(row, attempt, value, (time.perf_counter_ns() - begun) // 1_000)
        except BaseException as error:
            if self._was_interrupted(row, error):
                return self._interrupted(row, attempt, begun)
            run_us = (time.perf_counter_ns() - begun) // 1_000
            return report.ended_badly(row, attempt, error, run_us, function, envelope)
        finally:
            async_call.reset(token)
            held.call = None

    def _was_interrupted(self, row: Row, error: BaseException) -> bool:
        """Whether the call ended because it was asked to."""
        return row.id in self._asked and (
            report.is_of(error, CallInterrupted) or was_cancelled(error)
        )

    def _interrupted(self, row: Row, attempt: int, begun: int) -> bytes:
        ended = time.perf_counter_ns()
        run_us = (ended - begun) // 1_000
        reason, asked = self._asked[row.id]
        if ended - asked < _LATE_NS:
            return report.interrupted(row, attempt, reason, run_us)
        said = f"it was asked to end after {(asked - begun) / 1e9:.3f} s and ended after"
        said = f"{said} {run_us / 1e6:.3f} s; {_WHEN}"
        if reason != REASON_TIME_LIMIT:
            data = {"code": "cancelled", "text": f"the call was cancelled: {said}", "fields": {}}
            return report.outcome(row, attempt, Outcome.CANCELLED, pack(data), run_us)
        over = TimeLimit(
            f"the call ran over its time limit: {said}", type="TimeLimit", run_us=run_us
        )
        flags = int(Flag.RETRY)
        return report.outcome(row, attempt, Outcome.FAILED, pack(over.to_data()), run_us, flags)


_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "posonly",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "pos",
    inspect.Parameter.KEYWORD_ONLY: "kwonly",
    inspect.Parameter.VAR_POSITIONAL: "varargs",
    inspect.Parameter.VAR_KEYWORD: "varkw",
}


def signature_data(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's signature as plain data (router/signature.py); anything goes when unknown."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {"args": [["args", "varargs", False], ["kwargs", "varkw", False]], "text": "(...)"}
    args = []
    for p in signature.parameters.values():
        many = p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        args.append([p.name, _KINDS[p.kind], p.default is p.empty and not many])
    return {"args": args, "text": str(signature)}
