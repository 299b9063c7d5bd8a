"""`async def` tasks: many calls at once, on one event loop in a thread of its own.

The main thread calls the function, which only makes the coroutine, and hands it over here; plain
calls go on beside.  At most `calls_max` run at once; the others wait in order.  asyncio is loaded
for the first coroutine only.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic_ns
from types import AsyncGeneratorType
from typing import Any

from meshcode.errors import MeshError
from meshcode.worker import loop as main_loop
from meshcode.worker import report
from meshcode.worker.context import CallInterrupted, Held, Staged, async_call
from meshcode.worker.control import ASYNC_ROWS, ControlPage
from meshcode.worker.outbox import Outbox
from meshcode.worker.streaming import Stream


class AsyncCalls:
    """The coroutines of one worker."""

    def __init__(
        self,
        page: ControlPage,
        outbox: Outbox,
        calls_max: int,
        streams_at: Callable[[Staged], bool],
        wake_main: Callable[[], None],
        leave_fork: Callable[[], None],
    ) -> None:
        self.page = page
        self.leave_fork = leave_fork  # Ends a process that a coroutine forked off.
        self.streams_at = streams_at
        self.wake_main = wake_main  # A worker that is to stop waits for its streams.
        self.streams: dict[bytes, Stream] = {}  # Of async generators that stream.
        self.blocked: dict[bytes, asyncio.Event] = {}  # Those that wait for credit.
        self.outbox = outbox
        self.rows = min(calls_max, ASYNC_ROWS)
        self.free = list(range(self.rows))  # Rows of the control page.
        self.row_of: dict[asyncio.Task[None], int] = {}  # Who has which.
        # Streams without credit: others may have their rows.
        self.aside: dict[asyncio.Task[None], None] = {}
        self.waiting: deque[tuple[Staged, Any]] = deque()  # The main thread appends.
        self.known: dict[bytes, int] = {}  # Ids here, and why to cancel them; 0: not cancelled.
        self.tasks: dict[bytes, asyncio.Task[None]] = {}  # Those that have entered `_one`.
        self.alive: set[asyncio.Task[None]] = set()  # The loop itself only holds them weakly.
        self.scheduled = False
        self.flushing = False
        self.stopping = False
        self.idle = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="meshcode-async", daemon=True)
        self.thread.start()
        os.register_at_fork(after_in_child=self._forked)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def _forked(self) -> None:
        """In a process that a coroutine forked off: end it when it waits, before others go on.

        They run in the worker already, and the loop waits on descriptors that are the worker's.
        """
        if threading.get_ident() == self.thread.ident:
            ready = getattr(self.loop, "_ready", None)  # asyncio has no public word for it.
            if ready is not None:
                ready.clear()
            self.loop.call_soon(os._exit, 0)

    # Called by the main thread.

    def hand_over(self, call: Staged, value: Any) -> None:
        """Run a coroutine or async generator when there is a row for it."""
        self.known[call[0].id] = 0
        self.waiting.append((call, value))
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon_threadsafe(self._pump)

    def cancel(self, call_id: bytes, reason: int) -> bool:
        """Cancel one call; False when it is not here.  Called by the signal handler."""
        if call_id not in self.known:
            return False
        self.known[call_id] = reason
        self.loop.call_soon_threadsafe(self._cancel, call_id)
        return True

    def credit(self, call_id: bytes, attempt: int, units: int) -> None:
        """An async generator may have sent so many units of items in all."""
        stream = self.streams.get(call_id)
        if stream is not None and stream.attempt == attempt:
            stream.take_credit(units)
            if stream.dropped:  # Its id may come again at once.
                self.known.pop(call_id, None)
                self.loop.call_soon_threadsafe(self._drop, stream)
            else:
                self.loop.call_soon_threadsafe(self._unblock, call_id)

    def stop(self) -> None:
        """Begin none that waits, and return when all that run have ended."""
        self.stopping = True
        self.loop.call_soon_threadsafe(self._pump)
        self.idle.wait()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()

    # Called in the loop.

    def _pump(self) -> None:
        self.scheduled = False
        while self.waiting and not self.stopping and (self.free or self._free_one_aside()):
            call, value = self.waiting.popleft()
            if self.known[call[0].id]:
                self._report_waiting(call, value)
                continue
            context = copy_context()
            held = Held(call)
            context.run(async_call.set, held)
            task = self.loop.create_task(self._one(call, value, held), context=context)
            self._take_row(call, task)
            self.alive.add(task)
            task.add_done_callback(self.alive.discard)
        if self.stopping:
            for _call, value in self.waiting:
                _abandon(value)
            self.waiting.clear()
            if len(self.free) == self.rows and not self.tasks:
                self.idle.set()

    def _take_row(self, call: Staged, task: asyncio.Task[None]) -> None:
        row, _frame, attempt = call
        slot = self.row_of[task] = self.free.pop()
        self.page.begin_async(slot, row.id, attempt, monotonic_ns())

    def _free_row(self, task: asyncio.Task[None]) -> None:
        slot = self.row_of.pop(task, None)
        if slot is not None:
            self.page.finish_async(slot)
            self.free.append(slot)

    def _drop(self, stream: Stream) -> None:
        task = self.tasks.pop(stream.row.id, None)
        if task is not None:
            task.cancel()

    def _unblock(self, call_id: bytes) -> None:
        event = self.blocked.get(call_id)
        if event is not None:
            event.set()

    def _cancel(self, call_id: bytes) -> None:
        task = self.tasks.get(call_id)
        if task is not None:
            task.cancel()
            return
        # A task cancelled before its first step would never enter its code and never report; so it
        # is left to `_one`, which looks at `known` first.
        for entry in list(self.waiting):
            if entry[0][0].id == call_id:
                self.waiting.remove(entry)
                self._report_waiting(*entry)

    def _report_waiting(self, call: Staged, value: Any) -> None:
        row, _frame, attempt = call
        _abandon(value)
        reason = self.known.pop(row.id)
        self.outbox.drafts.append(report.interrupted(row, attempt, reason, 0))
        self._flush_soon()

    async def _one(self, call: Staged, value: Any, held: Held) -> None:
        row, _frame, attempt = call
        began = monotonic_ns()
        task = asyncio.current_task()
        assert task is not None
        self.tasks[row.id] = task
        try:
            if self.known[row.id]:
                _abandon(value)
                raise asyncio.CancelledError
            outcome = await self._outcome(call, value, began)
        except BaseException as error:
            run_us = (monotonic_ns() - began) // 1000
            reason = self.known.get(row.id, 0)
            if reason and report.is_of(error, asyncio.CancelledError | CallInterrupted):
                outcome = report.interrupted(row, attempt, reason, run_us)
            else:
                outcome = report.ended_badly(row, attempt, error, run_us)
        self.leave_fork()
        held.call = None  # What it has left running prints to the worker's log from now on.
        if self.tasks.get(row.id) is task:
            del self.tasks[row.id]
            self.known.pop(row.id, None)
        if self.outbox.capture.written or self.outbox.capture.printed:
            self.outbox.end_output(row.id, attempt)
        if outcome:
            self.outbox.drafts.append(outcome)
        self._free_row(task)
        self._flush_soon()
        if self.waiting or self.stopping:
            self._pump()

    async def _outcome(self, call: Staged, value: Any, began: int) -> bytes:
        row, _frame, attempt = call
        if isinstance(value, AsyncGeneratorType) and self.streams_at(call):
            return await self._stream(call, value, began)
        if isinstance(value, AsyncGeneratorType):
            items = main_loop.Items(row, attempt)
            try:
                async for item in value:
                    self.leave_fork()
                    self.outbox.drafts.append(items.add(item))
                    self._flush_soon()
            finally:
                await value.aclose()
            return items.outcome((monotonic_ns() - began) // 1000)
        result = await value
        return report.done(row, attempt, result, (monotonic_ns() - began) // 1000)

    async def _stream(self, call: Staged, generator: Any, began: int) -> bytes:
        """Each item leaves at once; without credit the generator waits."""
        stream = self.streams[call[0].id] = Stream(call)
        event = self.blocked[call[0].id] = asyncio.Event()
        try:
            async for value in generator:
                self.leave_fork()
                try:
                    self.outbox.drafts.append(stream.item(value))
                except MeshError as error:
                    raise report.OwnError(error) from None
                self._flush_soon()
                await self._credit(call, stream, event)
        except asyncio.CancelledError:
            if not stream.dropped:
                raise
            return b""
        finally:
            if self.streams.get(call[0].id) is stream:
                del self.streams[call[0].id], self.blocked[call[0].id]
            self.wake_main()
            await generator.aclose()
        return stream.outcome((monotonic_ns() - began) // 1000)

    def _free_one_aside(self) -> bool:
        """Take the row of a stream that waits for credit; without one it counts as not begun at a
        crash.
        """
        for task in self.aside:
            if task in self.row_of:
                self._free_row(task)
                return True
        return False

    async def _credit(self, call: Staged, stream: Stream, event: asyncio.Event) -> None:
        """Wait until the stream may send more; what its items cause may run in this very worker."""
        if stream.used < stream.credit:
            return
        task = asyncio.current_task()
        assert task is not None
        self.aside[task] = None
        try:
            if self.waiting:
                self._pump()
            while stream.used >= stream.credit:
                event.clear()
                if stream.used >= stream.credit:  # Not given between the two.
                    await event.wait()
        finally:
            del self.aside[task]
        if self.free and task not in self.row_of:
            self._take_row(call, task)

    def _flush_soon(self) -> None:
        # One flush per turn of the loop, however many calls end in it.
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self.flushing = False
        self.outbox.flush()


def _abandon(value: Any) -> None:
    """Drop a coroutine that was never begun, without the warning that it never was."""
    close = getattr(value, "close", None)
    if close is not None:
        close()
