"""`async def` functions in a simulated mesh: an event loop whose time is that of the world.

Each simulated worker has a loop of its own, as a worker process has.  `asyncio.sleep` and timeouts
let simulated time pass; a worker that is killed never goes on, not even to clean up.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import BadRequest
from meshcode.testing.simulated import (
    End,
    FunctionNode,
    FunctionWorker,
    ended,
    ended_badly,
    ended_by,
    execution,
)
from meshcode.wire.frame import check_envelope
from meshcode.worker.context import Held, async_call

if TYPE_CHECKING:
    from meshcode.router.effects import Assignment

# Without time passing; a function that looks again and again is let to find that it has.
ROUNDS_MAX = 10_000
CLOSES_MAX = 10
_OUTSIDE = (
    "create_connection", "create_server", "create_unix_connection", "create_unix_server",
    "create_datagram_endpoint", "connect_accepted_socket", "connect_read_pipe",
    "connect_write_pipe", "subprocess_exec", "subprocess_shell", "getaddrinfo", "getnameinfo",
    "sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept", "add_reader",
    "add_writer",
)  # fmt: skip


class _Selector(selectors.BaseSelector):
    """Waits for nothing: it says when the loop would wait next, and for how long."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.loop: SimulatedLoop | None = None
        self.rounds = 0
        self.pause_s: float | None = None  # Until the next timer; None when there is none.

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Nothing is ever ready; the loop stops when it has nothing to do now."""
        assert self.loop is not None
        self.rounds += 1
        if timeout is None or timeout > 0 or self.rounds > ROUNDS_MAX:
            self.pause_s = 0.0 if timeout == 0 else timeout
            self.loop.stop()
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """There are no files here."""
        del events, data
        raise ValueError(f"a simulated mesh does not wait for {fileobj!r}")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """There are none here."""
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """None."""
        return {}


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop that runs what is due and then returns."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing is to be done; `clock` gives seconds."""
        super().__init__()
        self.clock = clock
        self._selector = _Selector()
        self._selector.loop = self
        for name in _OUTSIDE:
            setattr(self, name, _refused(name))

    def time(self) -> float:
        """Simulated seconds."""
        return self.clock()

    def turn(self) -> float | None:
        """Run what is due now; seconds until more is, None when nothing waits for a time."""
        selector, outer = self._selector, asyncio._get_running_loop()
        selector.rounds, selector.pause_s = 0, None
        asyncio._set_running_loop(None)  # The test itself may be asynchronous.
        try:
            self.run_forever()
        finally:
            asyncio._set_running_loop(outer)
        return selector.pause_s

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run it at once: a thread would have the real clock."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        del event_list

    def _write_to_self(self) -> None:
        """There is no thread to wake."""

    def __del__(self) -> None:  # The world may be dropped with coroutines that never ended.
        """Nothing is left open: it has no files."""


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise BadRequest(
            f"a function of a simulated mesh has no network and no processes, and {name} needs "
            "one; give the test what it would get, or use the fixture mesh"
        )

    return refuse


class AsyncWorker(FunctionWorker):
    """A worker of an `async def` function: many calls at once."""

    slots = limits.ASYNC_CALLS_MAX

    def __init__(self, node: FunctionNode, number: int, processor: str) -> None:
        """Starting."""
        super().__init__(node, number, processor)
        world = node.world
        self.loop = SimulatedLoop(lambda: world.now / 1000)
        self.attempts: dict[bytes, int] = {}  # Of what it has begun.
        self.tasks: dict[bytes, asyncio.Task[None]] = {}
        self.reasons: dict[bytes, str] = {}  # Why calls are to end.
        self.fault: BaseException | None = None  # Not the function's: it ends the test.
        # Its tasks hold each other only weakly, and must not be cleaned up before the test is over.
        world.abandons.append(self.abandon)

    @property
    def begun(self) -> list[bytes]:
        """The calls that it runs."""
        return list(self.attempts)

    def _next(self) -> None:
        while self.alive and self.staged and len(self.attempts) < self.slots:
            id, attempt, _, data = self.staged.pop(0)
            assert data is not None
            self.attempts[id] = attempt
            self._begin(id, attempt, data)

    def _begin(self, id: bytes, attempt: int, data: bytes) -> None:
        held = Held((check_envelope(data), data, attempt))  # For `current_call`.
        one = self._one(id, attempt, execution(self.node, attempt, data), held)
        context = copy_context()
        context.run(async_call.set, held)
        task = self.tasks[id] = self.loop.create_task(one, context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # kill -9 says nothing.
        self._turn()

    def _turn(self) -> None:
        """Let the coroutines go on; again when one of them waits for a time."""
        if not self.alive:
            return
        pause_s = self.loop.turn()
        if self.fault is not None:
            raise self.fault
        if pause_s is not None:
            self.node.world.after(max(1, math.ceil(pause_s * 1000)), self._turn)

    async def _one(
        self, id: bytes, attempt: int, run: Callable[[], Any], held: Held
    ) -> None:
        async def value() -> Any:
            made = run()
            if inspect.isasyncgen(made):
                return [item async for item in made]
            return await made if inspect.isawaitable(made) else made

        try:
            end = await self._awaited(id, value())
        except BaseException as error:
            self.fault = error
            return
        finally:
            held.call = None
        world = self.node.world
        if end is None:
            world.after(0, self.die, self.begun)
        else:
            world.after(world.rng.randint(*world.takes_ms[self.processor]), self._ended,
                        id, attempt, end)  # fmt: skip

    async def _awaited(self, id: bytes, value: Coroutine[Any, Any, Any]) -> End | None:
        """How a coroutine ends; None when the worker dies of it."""
        try:
            return ended(await value)
        except BaseException as error:
            if id in self.reasons and isinstance(error, asyncio.CancelledError):
                return ended_by(self.reasons[id])
            return ended_badly(error)

    def _ended(self, id: bytes, attempt: int, end: End) -> None:
        if not self.alive or self.attempts.get(id) != attempt:
            return
        del self.attempts[id]
        self.tasks.pop(id, None)
        self.reasons.pop(id, None)
        self._tell(id, attempt, end)

    def interrupt(self, id: bytes, why: str) -> None:
        """A call is to stop: what it awaits raises, and who goes on all the same is killed."""
        if not self.alive:
            return
        waiting: list[Assignment] = [one for one in self.staged if one[0] == id]
        self.staged = [one for one in self.staged if one[0] != id]
        for _, attempt, _, _ in waiting:
            self._tell(id, attempt, ended_by(why))
        task = self.tasks.get(id)
        if task is not None and not task.done():
            self.reasons[id] = why
            task.cancel()
            self._turn()
            world = self.node.world
            world.after(limits.CANCEL_GRACE_MS, self._late, id, self.attempts.get(id))

    def abandon(self) -> None:
        """The test is over: let coroutines that did not end go, whatever they clean up."""
        self.alive = False
        for task in self.tasks.values():
            coroutine = task.get_coro()
            for _ in range(CLOSES_MAX):
                with contextlib.suppress(BaseException):  # One that awaits while it cleans up.
                    coroutine.close()
        self.tasks.clear()
        self.loop.close()

    def _late(self, id: bytes, attempt: int | None) -> None:
        if attempt is not None and self.attempts.get(id) == attempt:
            self.die(self.begun)
