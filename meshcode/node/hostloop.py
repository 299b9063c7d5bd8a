"""One event loop in a thread of its own, for `async def` functions of the host program.

One for all of them, as in a worker: connections and locks that they share belong to one loop.
The thread of `hosted.py` that has the call waits meanwhile, so no more run at once than there are.
"""

from __future__ import annotations

import inspect
import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode.node import threads

if TYPE_CHECKING:
    import asyncio


def is_asynchronous(value: Any) -> bool:
    """Whether what a function returned has to be run by an event loop."""
    return inspect.isawaitable(value) or inspect.isasyncgen(value)


def was_cancelled(error: BaseException) -> bool:
    """Whether a coroutine ended because its task was cancelled."""
    loaded = sys.modules.get("asyncio")
    return loaded is not None and issubclass(type(error), loaded.CancelledError)


class _Begun:
    """A call that the loop has, or is about to get; touched by its thread only."""

    __slots__ = ("_is_cancelled", "_task")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def begin(self, task: asyncio.Task[Any]) -> None:
        """The loop has made the task of it."""
        self._task = task
        if self._is_cancelled:
            task.cancel()

    def cancel(self) -> None:
        """Cancel the task, or have it cancelled before its first step."""
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()


class HostLoop:
    """Runs coroutines and async generators; its thread starts with the first."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begun: dict[bytes, _Begun] = {}  # By call.
        self._thread: threading.Thread | None = None
        self._trouble: BaseException | None = None  # Why there is no loop.
        self._begins = threading.Lock()
        self._ready = threading.Event()  # There is a loop, or it is known that there is none.
        self._stop: Callable[[], None] = lambda: None

    def run(self, call: bytes, work: Any) -> Any:
        """The value of a coroutine, or all items of an async generator; its exception is raised.

        Called by the thread that runs the call.
        """
        try:
            loop = self._running_loop()
        except BaseException:
            _abandon(work)
            raise
        ends, begun = queue.SimpleQueue[Any](), _Begun()

        def begin() -> None:
            task = loop.create_task(_end_of(work))
            task.add_done_callback(ends.put)
            begun.begin(task)

        self._begun[call] = begun  # From here on it can be cancelled, however busy the loop is.
        try:
            loop.call_soon_threadsafe(begin)  # In the context of this thread, for `current_call`.
            task = ends.get()
        except BaseException:  # An interrupt that was asked for just before.
            loop.call_soon_threadsafe(begun.cancel)
            raise
        finally:
            del self._begun[call]
        if task.cancelled():  # Before its first step.
            _abandon(work)
            return task.result()
        value, error = task.result()
        if error is not None:
            raise error
        return value

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, once its thread has it; an interrupt may come between any two lines of this."""
        with self._begins:
            if self._thread is None or not self._thread.is_alive():
                self._ready.clear()
                self._thread = threading.Thread(
                    target=self._serve, name="mesh-host-async", daemon=True
                )
                threads.start(self._thread)
            self._ready.wait()
            if self._loop is None:
                raise self._trouble or RuntimeError("the event loop of async functions has ended")
            return self._loop

    def cancel(self, call: bytes) -> bool:
        """Cancel the coroutine of a call, from any thread; False when it has none."""
        begun = self._begun.get(call)
        if begun is None or self._loop is None:
            return False
        self._loop.call_soon_threadsafe(begun.cancel)
        return True

    def is_caller(self) -> bool:
        """Whether the thread that asks is the one of the loop."""
        return threading.current_thread() is self._thread

    def close(self) -> None:
        """End the loop, and whatever the functions have left running in it."""
        self._stop()

    def _serve(self) -> None:
        import asyncio  # Late, as most programs serve plain functions only.

        with asyncio.Runner() as runner:
            try:
                loop = runner.get_loop()
            except BaseException as error:  # No descriptors.
                self._trouble = error
                self._ready.set()
                return
            stopped = asyncio.Event()
            self._stop = lambda: loop.call_soon_threadsafe(stopped.set) and None
            self._loop = loop
            self._ready.set()
            runner.run(_until(stopped))


def _abandon(work: Any) -> None:
    """Drop a coroutine that was not begun, without the warning that it never was."""
    if inspect.iscoroutine(work):
        work.close()


async def _until(stopped: asyncio.Event) -> None:
    await stopped.wait()


async def _end_of(work: Any) -> tuple[Any, BaseException | None]:
    """Value and error: SystemExit must not end the loop of all others."""
    try:
        if inspect.isasyncgen(work):
            return [item async for item in work], None
        return await work, None
    except BaseException as error:
        return None, error
