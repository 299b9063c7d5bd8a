"""How asyncio waits for what the I/O thread of a client has to say: news, answers, ends, events."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from meshcode.client import lateness
from meshcode.client.call import Call, seconds_of
from meshcode.client.mapping import Flight
from meshcode.client.requests import NOTHING, Ask, Subscription
from meshcode.errors import MeshError, WaitTimeout

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.lateness import Found
    from meshcode.client.options import Seconds
    from meshcode.client.wake import Notice

    Nothing = asyncio.Future[None]

LOOKS_MAX = 64  # Thousands of waits may end at once; the node is not asked about all of them.


async def ask(
    client: Client, operation: str, fields: dict[str, Any], timeout: float | None
) -> Any:
    """See `Client.ask`."""
    done: Nothing = asyncio.get_running_loop().create_future()
    request = Ask(operation, fields, partial(bridge().push, done))
    client.session.begin(request)
    try:
        await asyncio.wait_for(done, timeout)
    except TimeoutError:
        raise client.too_late(operation, timeout) from None
    finally:
        if not request.is_answered:
            client.session.forget(request)
    return request.value()


async def events_of(subscription: Subscription) -> AsyncIterator[Any]:
    """The events of a subscription that was begun, until it ends; leaving closes it."""
    with subscription:
        while True:
            try:
                found = subscription.take()
            except StopIteration:
                return
            if found is NOTHING:
                await told(subscription.news, subscription.has_next)
            else:
                yield found


async def told(notice: Notice, condition: Callable[[], bool]) -> None:
    """As `Notice.wait`, without blocking the loop."""
    ready: Nothing = asyncio.get_running_loop().create_future()
    callback = partial(bridge().push, ready)
    notice.add(callback)
    try:
        if not condition():
            await ready
    finally:
        notice.drop(callback)


async def wait_for_call(call: Call) -> Any:
    """The value of a call, without blocking the loop; raises its error."""
    if not call._code:
        await ended(call)
    return call._outcome()


class Bridge:
    """Brings what the I/O thread has to say into one event loop.

    However many futures are done in one frame, the loop is woken once.
    """

    __slots__ = ("__weakref__", "_done", "_loop", "_woken", "looks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """For `loop`, in whose thread this is made."""
        self._loop = weakref.ref(loop)
        self._done: deque[Nothing] = deque()
        self._woken = False
        self.looks = 0  # Questions that are out about calls whose waits ended.

    def push(self, future: Nothing) -> None:
        """Have `future` done in its loop; from any thread."""
        self._done.append(future)
        if self._woken:
            return
        self._woken = True
        loop = self._loop()
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits in it.
                loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False  # First: what is pushed from here on wakes the loop again.
        done = self._done
        while done:
            future = done.popleft()
            if not future.done():
                future.set_result(None)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = weakref.WeakKeyDictionary()


def bridge() -> Bridge:
    """The one of the loop that runs."""
    loop = asyncio.get_running_loop()
    found = _bridges.get(loop)
    if found is None:
        found = _bridges[loop] = Bridge(loop)
    return found


async def ended(
    call: Call, timeout: Seconds | None = None, of: float | None = None
) -> None:
    """Wait until a call has ended; `of` as in `Call._wait`.

    Raises:
        WaitTimeout: it has not ended in time; it goes on.
    """
    call._begin_wait()
    future: Nothing = asyncio.get_running_loop().create_future()
    callback = partial(bridge().push, future)
    seconds = seconds_of(timeout)
    call._add_callback(callback)
    try:
        if seconds is None:
            await future
        else:
            await asyncio.wait_for(future, seconds)
    except TimeoutError:
        raise await too_late(call, seconds, of) from None
    finally:
        call._drop_callback(callback)


async def too_late(call: Call, seconds: float | None, of: float | None = None) -> WaitTimeout:
    """As `lateness.look` and `too_late`."""
    of = seconds if of is None else of
    found, to_loop = lateness.known_here(call), bridge()
    if found.state or seconds is None or seconds <= 0 or to_loop.looks >= LOOKS_MAX:
        return lateness.too_late(call, of, found)
    to_loop.looks += 1
    try:
        asked = lateness.questions(call)
        found = await _put_questions(call._client, asked, min(seconds, lateness.ASK_S))
    except MeshError:  # Not told, whatever it is: it is the wait that has ended.
        found = lateness.known_here(call)
    finally:
        to_loop.looks -= 1
    return lateness.too_late(call, of, found)


async def _put_questions(client: Client, asked: lateness.Questions, each_s: float) -> Found:
    """As `lateness.put`."""
    answer = None
    while True:
        try:
            operation, fields = asked.send(answer)
        except StopIteration as end:
            found: Found = end.value
            return found
        answer = await ask(client, operation, fields, each_s)


async def news(client: Client, condition: Callable[[], bool], timeout: float | None) -> None:
    """Wait until `condition()`, which is looked at after each frame from the node.

    Raises:
        WaitTimeout: it was not true in time.
    """
    session = client.session
    try:
        async with asyncio.timeout(timeout):
            while not (condition() or session.outbox.gone):
                await told(session.news, lambda: condition() or session.outbox.gone)
    except TimeoutError:
        raise WaitTimeout(f"it was not so within {timeout} s") from None


async def put(client: Client, calls: list[Call], drafts: Sequence[bytes], size: int) -> None:
    """Hand calls over, waiting for room without blocking the loop."""
    outbox = client.session.outbox
    while not outbox.try_put(calls, list(drafts), size):
        await told(outbox.room, outbox.is_empty)


async def fill(flight: Flight) -> None:
    """Submit as much of a map as may be in flight."""
    while (found := flight.next_chunk()) is not None:
        await put(flight.client, *found)
