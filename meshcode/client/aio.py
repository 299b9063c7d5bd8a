"""The client for asyncio: the same I/O thread, its news brought into the event loop in batches.

    client = await connect_async()
    value = await client.socket("shop.clean")("some text")

No call blocks the loop.  Cancelling a task that waits, also by a timeout or a task group, does not
cancel the call: it was sent, and goes on.  `await call.cancel()` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from meshcode.client import aiowaits as waits
from meshcode.client.call import Call, deadline_of, seconds_left, seconds_of, user_name
from meshcode.client.client import ASK_S, CLOSE_S, CONNECT_S, Client, no_node, tell_aside
from meshcode.client.default import default_client
from meshcode.client.lateness import late_item
from meshcode.client.listening import LISTEN_S, Listening
from meshcode.client.mapping import CHUNK, Flight, check_chunk
from meshcode.client.requests import Subscription
from meshcode.client.session import UP
from meshcode.client.socket import Socket
from meshcode.client.streams import is_streamed, read_async
from meshcode.errors import MeshError, UnknownCall, WaitTimeout
from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from datetime import datetime

    from meshcode.client.flows.aio import AsyncFlow
    from meshcode.client.flows.composition import Composition, Segment, Signature
    from meshcode.client.keys import Key
    from meshcode.client.options import Seconds


async def connect_async(
    address: str | Sequence[str] | None = None,
    *,
    timeout: Seconds | None = CONNECT_S,
    curve: Sequence[Key] | None = None,
) -> AsyncClient:
    """As `connect`, for asyncio.

    Raises:
        NoNode: nothing answered in time; the text names every address and what was wrong there.
        BadRequest: an address or a key is not one.
    """
    seconds = seconds_of(timeout)
    client = Client(address, curve=curve)
    session = client.session
    try:
        await waits.news(client, lambda: session.phase is UP or session.outbox.gone, seconds)
    except WaitTimeout:
        error = no_node(session, seconds)
        await AsyncClient(client).close(0)
        raise error from None
    except BaseException:
        client.session.stop(0)
        raise
    return AsyncClient(client)


class AsyncClient:
    """A connection to a node for asyncio; `connect_async` makes one."""

    def __init__(self, client: Client) -> None:
        """Wrap a client; both may be used side by side."""
        self.sync = client

    @property
    def address(self) -> str:
        """As `Client.address`."""
        return self.sync.address

    @property
    def addresses(self) -> list[str]:
        """As `Client.addresses`."""
        return self.sync.addresses

    @property
    def is_linked(self) -> bool:
        """As `Client.is_linked`."""
        return self.sync.is_linked

    @property
    def node(self) -> dict[str, Any]:
        """As `Client.node`."""
        return self.sync.node

    def socket(self, name: str) -> AsyncSocket:
        """A socket to call, by its name in the model.  Nothing is sent yet."""
        return AsyncSocket(name, self)

    async def call(self, call_id: str | bytes) -> AsyncCall:
        """A call made earlier, perhaps by another process; see `Client.call`."""
        if isinstance(call_id, str) and len(call_id.replace("-", "")) < 32:
            call_id = (await self.ask("call.get", id=call_id))["id"]
        return AsyncCall(self.sync.call(call_id))

    async def flow(self, flow_id: str | bytes) -> AsyncFlow:
        """A flow that was submitted earlier, perhaps by another process; see `Client.flow`."""
        from meshcode.client.flows.aio import AsyncFlow

        return AsyncFlow(self.sync.flow((await self.call(flow_id)).sync._id))

    async def submit(self, composition: Composition, /, *args: Any, **kwargs: Any) -> AsyncFlow:
        """As `Client.submit`; waits only while the window of the client is full."""
        from meshcode.client.flows.aio import AsyncFlow
        from meshcode.client.flows.submitting import prepare_run

        call, data = prepare_run(composition, args, kwargs, self.sync)
        await waits.put(self.sync, [call], [data], len(data))
        return AsyncFlow(call)

    async def ask(
        self, operation: str, /, *, timeout: Seconds | None = ASK_S, **fields: Any
    ) -> Any:
        """As `Client.ask`."""
        return await waits.ask(self.sync, operation, fields, seconds_of(timeout))

    async def ask_stream(self, operation: str, /, **fields: Any) -> AsyncIterator[Any]:
        """As `Client.ask_stream`; the subscription begins with the first event awaited."""
        subscription = Subscription(self.sync, operation, fields)
        self.sync.session.begin_subscription(subscription)
        async for event in waits.events_of(subscription):
            yield event

    async def listen(
        self, name: str | None = None, channel: str = "task", *,
        since: datetime | Seconds | None = None, timeout: Seconds | None = LISTEN_S,
    ) -> Listening:  # fmt: skip
        """As `Client.listen`, without blocking the loop: `async for event in await ...`."""
        from meshcode.client.past import check_kept, since_ms

        seconds = seconds_of(timeout)
        begin_ms = None if since is None else since_ms(since)
        if since is not None:
            check_kept(channel)
        listening = Listening(self.sync, name, channel)
        heard = listening.subscription
        try:
            async with asyncio.timeout(seconds):
                while not (heard.began or heard.has_next()):
                    await waits.told(heard.news, lambda: heard.began or heard.has_next())
        except BaseException as error:
            listening.close()
            if isinstance(error, TimeoutError):
                raise self.sync.too_late("listen", seconds) from None
            raise
        listening.check()
        if begin_ms is not None:
            await asyncio.to_thread(listening.look_back, begin_ms)
        return listening

    async def close(self, timeout: Seconds | None = CLOSE_S) -> None:
        """As `Client.close`, without blocking the loop."""
        await asyncio.get_running_loop().run_in_executor(None, self.sync.close, timeout)

    def __repr__(self) -> str:
        return f"<Async{repr(self.sync)[1:]}"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            await self.close()
            return
        try:
            await self.close()
        except WaitTimeout as error:
            tell_aside(error)


class AsyncSocket:
    """A function of the mesh: `await client.socket("shop.clean")("some text")`."""

    __slots__ = ("_client", "sync")

    def __init__(self, name: str | Socket, client: AsyncClient | None = None) -> None:
        """Without a client, the process-wide one; that connects in the first call."""
        if isinstance(name, Socket):
            self.sync = name
        else:
            self.sync = Socket(name, None if client is None else client.sync)

    @property
    def name(self) -> str:
        """The name of the socket."""
        return self.sync.name

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and wait: its value, or its exception raised here.

        A task that is cancelled here leaves a call that goes on; who wants to find it again
        submits and awaits the handle.
        """
        return await (await self.submit(*args, **kwargs))

    async def broadcast(self, /, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """As `Socket.broadcast`."""
        found: list[dict[str, Any]] = await self.options(broadcast=True)(*args, **kwargs)
        return found

    async def submit(self, /, *args: Any, **kwargs: Any) -> AsyncCall:
        """As `Socket.submit`: waits only while the window of the client is full."""
        client = await self._ready_client()
        call, data = self.sync._prepare(client, args, kwargs)
        await waits.put(client, [call], [data], len(data))
        return AsyncCall(call)

    def p(self, /, *args: Any, **kwargs: Any) -> Signature:
        """As `Socket.p`."""
        return self.sync.p(*args, **kwargs)

    def options(
        self,
        *,
        priority: int | None = None,
        delay: Seconds | None = None,
        eta: datetime | None = None,
        retries: int | None = None,
        retry_delay: Seconds | None = None,
        time_limit: Seconds | None = None,
        expires: Seconds | None = None,
        key: str | None = None,
        ack: str | None = None,
        trace: str | None = None,
        topic: str | None = None,
        stream: bool | None = None,
        broadcast: bool | None = None,
    ) -> AsyncSocket:
        """A copy of this socket whose calls have these options; see `Socket.options`."""
        return AsyncSocket(self.sync.options(
            priority=priority, delay=delay, eta=eta, retries=retries, retry_delay=retry_delay,
            time_limit=time_limit, expires=expires, key=key, ack=ack, trace=trace,
            topic=topic, stream=stream, broadcast=broadcast,
        ))  # fmt: skip

    async def map(
        self,
        iterable: Iterable[Any] | AsyncIterable[Any],
        *,
        chunk: int = CHUNK,
        timeout: Seconds | None = None,
        propagate: bool = True,
    ) -> AsyncIterator[Any]:
        """As `Socket.map`; nothing is submitted before the first value is awaited.

        An async iterable is read by a task of its own, up to `chunk` items ahead; its items leave
        as they come.
        """
        arguments: Any
        if isinstance(iterable, AsyncIterable):
            from meshcode.client.asyncitems import each_alone

            arguments = each_alone(iterable)
        else:
            arguments = ((item,) for item in iterable)
        async for value in self.starmap(
            arguments, chunk=chunk, timeout=timeout, propagate=propagate
        ):
            yield value

    async def starmap(
        self,
        iterable: Iterable[Sequence[Any]] | AsyncIterable[Sequence[Any]],
        *,
        chunk: int = CHUNK,
        timeout: Seconds | None = None,
        propagate: bool = True,
    ) -> AsyncIterator[Any]:
        """As `map`, with each item a sequence of arguments."""
        check_chunk(chunk)
        await self._ready_client()
        seconds = seconds_of(timeout)
        if isinstance(iterable, AsyncIterable):
            from meshcode.client import asyncitems

            async for value in asyncitems.values(self.sync, iterable, chunk, seconds, propagate):
                yield value
            return
        deadline = deadline_of(seconds)
        flight = Flight(self.sync, iter(iterable), chunk)
        await waits.fill(flight)
        while (call := flight.take()) is not None:
            if not call._code:
                try:
                    await waits.ended(call, seconds_left(deadline), seconds)
                except WaitTimeout as late:
                    raise late_item(flight.taken - 1, late) from None
            yield flight.value_of(call, propagate)
            await waits.fill(flight)

    def chunks(self, items: Iterable[Any], size: int) -> Segment:
        """As `Socket.chunks`."""
        return self.sync.chunks(items, size)

    async def describe(self) -> dict[str, Any]:
        """As `Socket.describe`."""
        client = AsyncClient(await self._ready_client())
        answer: dict[str, Any] = await client.ask("socket.describe", name=self.name)
        return answer

    def __repr__(self) -> str:
        return f"Async{self.sync!r}"

    async def _ready_client(self) -> Client:
        if self.sync._client is not None:
            return self.sync._client
        return await asyncio.get_running_loop().run_in_executor(None, default_client)


class AsyncCall:
    """A handle of one call for asyncio: `await call` gives its value or raises its error."""

    __slots__ = ("sync",)

    def __init__(self, call: Call) -> None:
        """Wrap a call; both handles may be used side by side."""
        self.sync = call

    @property
    def id(self) -> str:
        """The id as text."""
        return self.sync.id

    @property
    def socket(self) -> str:
        """The name of the socket; empty for a call found again by its id."""
        return self.sync.socket

    @property
    def accepted(self) -> str | None:
        """What the node said is true of the call; None before that."""
        return self.sync.accepted

    @property
    def state(self) -> str:
        """What this client knows; see `Call.state`."""
        return self.sync.state

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.sync.done()

    def __await__(self) -> Generator[Any, None, Any]:
        return waits.wait_for_call(self.sync).__await__()

    async def result(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """As `Call.result`."""
        call = self.sync
        if not call._code:
            await waits.ended(call, timeout)
        return call._outcome(propagate)

    async def get(self, timeout: Seconds | None = None, propagate: bool = True) -> Any:
        """As `result`."""
        return await self.result(timeout, propagate)

    async def exception(self, timeout: Seconds | None = None) -> MeshError | None:
        """As `Call.exception`."""
        call = self.sync
        if not call._code:
            await waits.ended(call, timeout)
        return call.exception(0)

    async def wait_accepted(self, timeout: Seconds | None = None) -> str:
        """As `Call.wait_accepted`."""
        call, seconds = self.sync, seconds_of(timeout)
        if call._accepted is None and call._is_known():  # Found by its id.
            await waits.ask(call._client, "call.get", {"id": call._id}, seconds)
            return "accepted"
        with contextlib.suppress(WaitTimeout):
            await waits.news(call._client, call._is_answered, seconds)
        return call.wait_accepted(0)

    async def items(self, timeout: Seconds | None = None) -> AsyncIterator[Any]:
        """As `Call.items`; `timeout` is for each next item."""
        call, seconds = self.sync, seconds_of(timeout)
        call._begin_wait()
        given = 0
        while True:
            found = call._next_item(given)
            if found is not None:
                yield unpack(found)
                given += 1
            elif call._code:
                break
            else:
                try:
                    await waits.news(call._client, partial(call._has_item, given), seconds)
                except WaitTimeout:
                    raise await waits.too_late(call, seconds) from None
        if is_streamed(call._id, call._outcome()):
            async for item in self.stream(given, seconds):
                yield item
            return
        for item in call._rest(given, seconds):
            yield item

    def stream(self, first: int = 0, timeout: Seconds | None = None) -> AsyncIterator[Any]:
        """As `Call.stream`."""
        return read_async(self, first, timeout)

    async def status(self) -> str:
        """As `Call.status`, which is a property: here it is `await call.status()`."""
        if not self.sync._code and self.sync._is_known():
            return str((await self.info())["state"])
        return self.sync.status

    async def info(self) -> dict[str, Any]:
        """As `Call.info`."""
        record: dict[str, Any] = await self._ask("call.get")
        return record

    async def events(self) -> list[dict[str, Any]]:
        """As `Call.events`."""
        events: list[dict[str, Any]] = (await self._ask("mesh.call")).get("events", [])
        return events

    async def output(self) -> dict[str, Any]:
        """As `Call.output`."""
        record = await self._ask("mesh.call", output=True)
        output: dict[str, Any] = record.get("output") or {"stdout": "", "stderr": ""}
        return output

    async def cancel(self, by: str | None = None) -> Any:
        """As `Call.cancel`."""
        return await self._ask("call.cancel", by=by or user_name())

    async def retry(self, by: str | None = None) -> AsyncCall:
        """As `Call.retry`."""
        again = self.sync._again(await self._ask("call.retry", by=by or user_name()))
        return self if again is self.sync else AsyncCall(again)

    async def _ask(self, operation: str, **fields: Any) -> Any:
        call = self.sync
        call._check_refused()
        try:
            return await AsyncClient(call._client).ask(operation, id=call._id, **fields)
        except UnknownCall:
            call._check_refused()  # That was on its way.
            raise

    def __repr__(self) -> str:
        return f"<Async{repr(self.sync)[1:]}"
