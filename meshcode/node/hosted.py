"""Functions of the host program itself, offered as sockets by an embedded node (`Node.serve`).

No code travels: the functions run in threads of this program.  To the core they are one processor,
`@host`, with one worker of many slots.
"""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from meshcode.errors import MeshError
from meshcode.router.effects import Assignment
from meshcode.router.events import Event, Finished, ProcessorChanged, Report, WorkerJoined
from meshcode.wire.codec import pack, unpack_call
from meshcode.wire.frame import Row, check_envelope, index, seal_frame
from meshcode.wire.kinds import Flag, Outcome
from meshcode.worker import report
from meshcode.worker.context import CallInterrupted, Held, async_call
from meshcode.worker.control import REASONS

HOST_PROCESSOR = "@host"
HOST_WORKER = 0  # Worker ids of processes begin with 1.
THREADS = 8


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
        self._running: dict[bytes, int] = {}  # Call id -> thread id.
        self._lock = threading.Lock()
        self._changed = False
        self._joined = False

    # Called by the host program's threads.

    def serve(self, name: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
        """Offer `function` as socket `name`; options as for a socket in the model."""
        with self._lock:
            self._functions[name] = function
            self._options[name] = options
            self._changed = True
            if not self._threads:
                for number in range(THREADS):
                    thread = threading.Thread(
                        target=self._run, name=f"mesh-host-{number}", daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()
        self._wake()

    # Called by the node's thread.

    def is_mine(self, worker: int) -> bool:
        """Whether a worker id is that of these threads."""
        return worker == HOST_WORKER

    @property
    def ready(self) -> bool:
        """Whether `receive` has something."""
        return bool(self._done)

    def take_changes(self) -> bool:
        """Whether functions were added since the last look."""
        with self._lock:
            changed, self._changed = self._changed, False
            return changed

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
        for assignment in assignments:
            self._work.put(assignment)

    def interrupt(self, call: bytes, reason: str) -> None:
        """Raise CallInterrupted in the thread that runs the call, if it still does."""
        import ctypes  # Late, as most nodes serve no functions of their own: 0.4 MB.

        with self._lock:
            thread = self._running.get(call)
            if thread is not None:
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
        """End the threads once each has finished what it runs."""
        for _ in self._threads:
            self._work.put(None)

    # The threads.

    def _run(self) -> None:
        while (assignment := self._work.get()) is not None:
            _, attempt, _, envelope = assignment
            assert envelope is not None
            try:
                draft = self._call(envelope, attempt)
            except CallInterrupted as late:  # It came when the call had just ended.
                draft = report.failed(check_envelope(envelope), attempt, late, 0)
            data = seal_frame([draft])
            _, rows = index(data)
            row = rows[0]
            self._done.append((
                row.id, row.attempt, row.code, bool(row.flags & Flag.RETRY), row.number, 0,
                data[row.start : row.end],
            ))  # fmt: skip
            self._wake()

    def _call(self, envelope: bytes, attempt: int) -> bytes:
        row = check_envelope(envelope)
        name = envelope[row.name_at : row.meta_at].decode(errors="replace")
        function = self._functions.get(name)
        if function is None:
            return report.refused(row, attempt, report.no_function(name.encode()))
        begun = time.perf_counter_ns()
        with self._lock:
            self._running[row.id] = threading.get_ident()
        try:
            return self._invoke(function, row, envelope, attempt, begun)
        finally:
            with self._lock:
                del self._running[row.id]

    @staticmethod
    def _invoke(
        function: Callable[..., Any], row: Row, envelope: bytes, attempt: int, begun: int
    ) -> bytes:
        held = Held((row, envelope, attempt))
        token = async_call.set(held)
        try:
            args, kwargs = unpack_call(
                envelope[row.body_at : row.end], bool(row.flags & Flag.KWARGS)
            )
            value = function(*args, **kwargs)
            if inspect.isgenerator(value):
                value = list(value)
            run_us = (time.perf_counter_ns() - begun) // 1_000
            return report.outcome(row, attempt, Outcome.DONE, pack(value), run_us)
        except MeshError as error:
            return report.refused(row, attempt, error, (time.perf_counter_ns() - begun) // 1_000)
        except BaseException as error:
            return report.failed(row, attempt, error, (time.perf_counter_ns() - begun) // 1_000)
        finally:
            async_call.reset(token)
            held.call = None


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
