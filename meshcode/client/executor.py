"""An executor of `concurrent.futures` whose functions run in the mesh.

    with Executor() as executor:
        future = executor.submit(shop.orders.price, {"id": 1})
        print(future.result())

A function is found by its module and name among the sockets; nothing is sent but its arguments.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from threading import Condition, Thread, current_thread
from typing import TYPE_CHECKING, Any

from meshcode.client.call import Call, seconds_of, user_name
from meshcode.client.default import default_client
from meshcode.client.naming import Names
from meshcode.client.objects.base import name_of
from meshcode.client.requests import Request
from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.objects.processor import Processor
    from meshcode.client.options import Seconds


class Future(concurrent.futures.Future[Any]):
    """The future of one call; `call` is its handle.

    It is pending until the call has ended: whether a worker has begun it only the node knows.  What
    was added with `add_done_callback` runs in one thread of the executor, so it must not wait for
    other futures of the same executor.
    """

    call: Call  # Set before anyone else has the future.

    def cancel(self) -> bool:
        """Give the future up and ask the node to cancel the call, without waiting for either.

        A call that runs is interrupted, but one that was about to end may end well; the future is
        cancelled all the same, and `call` says how the call ended.

        Returns:
            False when it had ended.
        """
        if not super().cancel():
            return False
        call = self.call
        with contextlib.suppress(MeshError):  # The client is closed: nobody can be asked.
            request = Request("call.cancel", {"id": call._id, "by": user_name()})
            call._client.session.begin(request)
        return True


class Executor(concurrent.futures.Executor):
    """Runs functions of mounted modules in the mesh; best used in a `with`."""

    def __init__(
        self, client: Client | None = None, processor: Processor | str | None = None
    ) -> None:
        """Nothing is sent yet.

        Args:
            client: whose node is asked; without it the process-wide one.
            processor: a `Processor` or a name: functions are looked for only among its sockets.
        """
        self._client = client
        self._names = Names(name_of(processor))
        self._ends = Ends()
        self._is_shut = False
        self._pid = os.getpid()
        # A thread that waits for the ends of an executor that nobody has any more ends with them.
        weakref.finalize(self, self._ends.close).atexit = False

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Call `fn` in the mesh without waiting for it.

        Args:
            fn: a function of a module that a processor has, a `functools.partial` of one, a
                `Socket` (with its options), or the name of a socket.
            args: plain data.
            kwargs: plain data.

        Returns:
            A future; its exception is that of `Call.result`.

        Raises:
            TypeError: `fn` cannot be found by name, or no socket has it; the text says what to do.
            RuntimeError: the executor is shut down, or was made before a fork.
            NoNode: no node answers.
            BadData, TooLarge: as `Socket.submit`.
        """
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown; nothing was sent")
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this executor belongs to process {self._pid}, the parent of this one; "
                "nothing was sent; make an executor here"
            )
        socket, first, named = self._names.target(fn, self._client or default_client())
        future = Future()
        future.call = socket.submit(*first, *args, **{**named, **kwargs})
        self._ends.expect(future)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: Seconds | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """As `map(fn, *iterables)`: all is submitted now, the values come in order.

        Leaving the iterator early cancels what has not ended.  `Socket.map` is for iterables that
        are long or endless.

        Args:
            fn: as for `submit`.
            iterables: read to the end of the shortest.
            timeout: seconds or a timedelta from now until the last value.
            chunksize: not used: calls are sent together anyway.

        Raises:
            TimeoutError: from the iterator.
            ValueError: `chunksize` is under 1.
            as `submit`.
        """
        if chunksize < 1:
            raise ValueError(f"chunksize is 1 at least, not {chunksize}; nothing was sent")
        return super().map(fn, *iterables, timeout=seconds_of(timeout))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more.  The client stays open, and calls go on if nobody waits.

        Args:
            wait: return when all futures are done.
            cancel_futures: cancel those that are not.
        """
        self._is_shut = True
        if cancel_futures:
            for future in self._ends.expected():
                future.cancel()
        self._ends.close()
        if wait:
            self._ends.wait()

    def __repr__(self) -> str:
        where = "" if self._client is None else f" {self._client.address}"
        stands = "shut" if self._is_shut else "open"
        return f"<Executor{where} {stands}, {len(self._ends.expected())} not done>"


class Ends:
    """The futures that are not done, and a thread that tells each the end of its call.

    A thread of its own, because what is called when a future is done may take its time, and the
    thread that reads from the node must not wait.
    """

    def __init__(self) -> None:
        """No thread runs before the first future."""
        self._queue: SimpleQueue[Future | None] = SimpleQueue()
        self._open: dict[int, Future] = {}
        self._changed = Condition()
        self._thread: Thread | None = None
        self._closed = False

    def expect(self, future: Future) -> None:
        """Tell `future` when its call has ended.

        Raises:
            RuntimeError: the executor was shut down meanwhile; the call goes on.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError(
                    f"the executor was shut down; call {future.call.id} was sent and goes on"
                )
            self._open[id(future)] = future
            if self._thread is None:
                self._thread = Thread(target=self._run, name="mesh-executor", daemon=True)
                self._thread.start()
        future.add_done_callback(self._given_up)
        future.call._add_callback(partial(self._queue.put, future))

    def expected(self) -> list[Future]:
        """Those not done."""
        with self._changed:
            return list(self._open.values())

    def close(self) -> None:
        """Nothing more is expected; the thread ends with the last future."""
        with self._changed:
            self._closed = True
        self._queue.put(None)

    def wait(self) -> None:
        """Until all are done, and what they call then has returned."""
        if current_thread() is self._thread:
            return  # Asked by what a future called: the others are told after this returns.
        with self._changed:
            self._changed.wait_for(lambda: not self._open)

    def _given_up(self, future: concurrent.futures.Future[Any]) -> None:
        """Those who wait for a future that was cancelled are told by the thread too."""
        if future.cancelled():
            assert isinstance(future, Future)
            self._queue.put(future)

    def _run(self) -> None:
        while True:
            future = self._queue.get()
            if future is not None and id(future) in self._open:  # Only this thread takes from it.
                _tell(future)
                with self._changed:
                    del self._open[id(future)]
                    self._changed.notify_all()
            del future
            with self._changed:
                if self._closed and not self._open:
                    return


def _tell(future: Future) -> None:
    """The end of a call, or that it was given up, for its future; once."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = future.call._outcome()
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)
