"""Reading the items of a stream, from any position: `Call.stream`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from meshcode.errors import WaitTimeout
from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from meshcode.client.aio import AsyncCall
    from meshcode.client.call import Call

READ = "stream.read"


class Reading:
    """Where one reader is, and what the node has given it."""

    def __init__(self, call: Call, first: int, timeout: float | None) -> None:
        """At item `first`.

        Args:
            call: the generator's.
            first: from 0.
            timeout: seconds to wait for each item.
        """
        if first < 0:
            raise ValueError(f"items are counted from 0, there is no item {first}")
        self.call = call
        self.number = first
        self.timeout = timeout
        self.end: int | None = None
        self.streamed = True
        self._since = time.monotonic()

    def fields(self) -> dict[str, Any]:
        """Of the next question."""
        found: dict[str, Any] = {"from": self.number}
        if self.timeout is not None:
            left = self.timeout - (time.monotonic() - self._since)
            found["wait_ms"] = max(0, int(1_000 * left))
        return found

    def take(self, answer: dict[str, Any]) -> Iterator[Any]:
        """The values of an answer, in order.

        Raises:
            WaitTimeout: there was none, and time is over.
        """
        self.end = answer.get("end")
        self.streamed = bool(answer.get("streamed", True))
        for body in answer["items"]:
            self.number += 1
            yield unpack(body)
            self._since = time.monotonic()  # The reader's own time does not count.
        waited = time.monotonic() - self._since
        if self.end is None and self.timeout is not None and waited >= self.timeout:
            raise WaitTimeout(
                f"item {self.number} of call {self.call.id} has not come within {self.timeout} s; "
                f"the call goes on: ask again with stream({self.number}), from anywhere by its id",
                id=self.call.id,
            )

    def rest(self, value: Any) -> list[Any]:
        """What is left when the items are no calls of their own."""
        if self.streamed:
            return []
        return value[self.number :] if isinstance(value, list) else [value][self.number :]


def read(call: Call, first: int, timeout: float | None) -> Iterator[Any]:
    """See `Call.stream`."""
    reading = Reading(call, first, timeout)
    call.wait_accepted(timeout)
    while reading.end is None:
        answer = call._client.ask(READ, timeout=None, id=call._id, **reading.fields())
        yield from reading.take(answer)
    yield from reading.rest(call.result())


async def read_async(call: AsyncCall, first: int, timeout: float | None) -> AsyncIterator[Any]:
    """See `Call.stream`."""
    reading = Reading(call.sync, first, timeout)
    await call.wait_accepted(timeout)
    while reading.end is None:
        for value in reading.take(await call._ask(READ, **reading.fields())):
            yield value
    for value in reading.rest(await call.result()):
        yield value


def is_streamed(call_id: bytes, value: Any) -> bool:
    """Whether the value of a call says that its items are calls of their own."""
    return isinstance(value, dict) and value.get("stream") == call_id and "items" in value


__all__ = ["Reading", "is_streamed", "read", "read_async"]
