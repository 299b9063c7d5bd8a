"""Maps over an async iterable: its items are awaited while results are.

Loaded with the first one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any, Self

from meshcode.client import aiowaits as waits
from meshcode.client.call import Call, deadline_of, seconds_left
from meshcode.client.lateness import late_item
from meshcode.client.mapping import Flight
from meshcode.client.socket import Socket
from meshcode.errors import WaitTimeout


class Items:
    """The items that were read and not taken yet; as an iterator, those that are here."""

    def __init__(self, iterable: AsyncIterable[Sequence[Any]], most: int) -> None:
        """A task of its own reads, `most` items ahead."""
        self.news = asyncio.Event()  # An item is here, or there are no more.
        self._iterable = iterable
        self._most = most
        self._read: deque[Sequence[Any]] = deque()
        self._room = asyncio.Event()
        self._error: BaseException | None = None
        self._ended = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async for item in self._iterable:
                self._read.append(item)
                self.news.set()
                while len(self._read) >= self._most:
                    self._room.clear()
                    await self._room.wait()
        except (Exception, asyncio.CancelledError) as error:  # After the results before it.
            self._error = error
        finally:
            self._ended = True
            self.news.set()

    @property
    def are_over(self) -> bool:
        """Whether all were read and taken."""
        return self._ended and not self._read

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Sequence[Any]:
        if self._read:
            self._room.set()
            return self._read.popleft()
        if self._error is not None:
            raise self._error
        raise StopIteration

    async def close(self) -> None:
        """Read no more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


async def each_alone(iterable: AsyncIterable[Any]) -> AsyncIterator[Sequence[Any]]:
    """Each item as the only argument of a call."""
    async for item in iterable:
        yield (item,)


async def values(
    socket: Socket, iterable: AsyncIterable[Sequence[Any]], chunk: int, seconds: float | None,
    propagate: bool,
) -> AsyncIterator[Any]:  # fmt: skip
    """The results of a call for each item, in their order; `seconds` are for all results."""
    deadline = deadline_of(seconds)
    items = Items(iterable, chunk)
    flight = Flight(socket, items, chunk)
    try:
        while True:
            items.news.clear()
            are_over = items.are_over
            flight.look_again()
            await waits.fill(flight)
            call = flight.first
            if call is None and are_over:
                flight.take()  # Raises what ended the items.
                return
            if call is None:
                await items.news.wait()
            elif call._code:
                flight.take()
                yield flight.value_of(call, propagate)
            else:
                try:
                    await _either(call, seconds_left(deadline), seconds, items)
                except WaitTimeout as late:
                    raise late_item(flight.taken, late) from None
    finally:
        await items.close()


async def _either(call: Call, left: float | None, seconds: float | None, items: Items) -> None:
    """Wait until the call has ended, or there are more items to submit."""
    ended = asyncio.ensure_future(waits.ended(call, left, seconds))
    more = asyncio.ensure_future(items.news.wait())
    try:
        await asyncio.wait((ended, more), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
    finally:
        ended.cancel()
        more.cancel()
