"""Reading the items of a stream, from any position: `Call.stream`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from meshcode.client.call import seconds_of
from meshcode.client.doubts import PAUSE_S, PAUSE_S_MAX, UNKNOWN_PATIENCE_S
from meshcode.client.wake import Waiter
from meshcode.errors import MeshError, NoNode, UnknownCall, WaitTimeout
from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from meshcode.client.aio import AsyncCall
    from meshcode.client.call import Call
    from meshcode.client.options import Seconds

READ = "stream.read"
ANSWER_S = 1.0  # For the answer of a node that is there, after it has waited itself.


class Reading:
    """Where one reader is, and what the node has given it."""

    def __init__(self, call: Call, first: int, timeout: Seconds | None) -> None:
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
        self.timeout = seconds_of(timeout)
        self.end: int | None = None
        self.streamed = True
        self._since = time.monotonic()
        self._unknown_since: float | None = None  # When a node began to say that it knows it not.
        self._pause_s = PAUSE_S

    def fields(self) -> dict[str, Any]:
        """Of the next question."""
        found: dict[str, Any] = {"from": self.number}
        left = self._left()
        if left is not None:
            found["wait_ms"] = int(1_000 * left)
        return found

    def answer_s(self) -> float | None:
        """How long to wait for the answer: a node that is there answers in time by itself."""
        left = self._left()
        if left is None:
            return None
        return left + ANSWER_S if self.call._client.is_linked else left

    def _left(self) -> float | None:
        if self.timeout is None:
            return None
        return max(0.0, self.timeout - (time.monotonic() - self._since))

    def take(self, answer: dict[str, Any]) -> Iterator[Any]:
        """The values of an answer, in order.

        Raises:
            WaitTimeout: there was none, and time is over.
        """
        self._unknown_since, self._pause_s = None, PAUSE_S
        self.end = answer.get("end")
        self.streamed = bool(answer.get("streamed", True))
        for body in answer["items"]:
            self.number += 1
            yield unpack(body)
            self._since = time.monotonic()  # The reader's own time does not count.
        if self.end is None:
            self._check_time()

    def pause_s(self, error: UnknownCall) -> float:
        """How long to wait before a node is asked again that does not know a call that was known.

        The one that had it may be gone, and taking over takes time: as for results (`Doubts`).

        Raises:
            UnknownCall: patience is over.
            WaitTimeout: time is over.
        """
        now = time.monotonic()
        if self._unknown_since is None:
            self._unknown_since = now
        if now - self._unknown_since >= UNKNOWN_PATIENCE_S:
            raise error
        self._check_time()
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, PAUSE_S_MAX)
        return pause_s

    def _check_time(self) -> None:
        if self._left() == 0:
            raise self._too_late()

    def unanswered(self, error: MeshError) -> MeshError:
        """What to raise when no answer came in time, or none can."""
        return error if self.timeout is None else self._too_late()

    def _too_late(self) -> WaitTimeout:
        call = self.call
        if call._client.is_linked:
            now = "the call goes on: ask again with"
        else:
            now = f"the node at {call._client.address} is away: when it is back, ask again with"
        return WaitTimeout(
            f"item {self.number} of call {call.id} has not come within {self.timeout} s; "
            f"{now} stream({self.number}), from anywhere by its id",
            id=call.id,
        )

    def rest(self, value: Any) -> list[Any]:
        """What is left when the items are no calls of their own."""
        if self.streamed:
            return []
        return value[self.number :] if isinstance(value, list) else [value][self.number :]


def read(call: Call, first: int, timeout: Seconds | None) -> Iterator[Any]:
    """See `Call.stream`."""
    reading = Reading(call, first, timeout)
    try:
        call.wait_accepted(timeout)
    except NoNode as error:  # Of a call found by its id, for which the node is asked.
        raise reading.unanswered(error) from None
    while reading.end is None:
        try:
            answer = call._client.ask(
                READ, timeout=reading.answer_s(), id=call._id, **reading.fields()
            )
        except UnknownCall as error:
            Waiter().wait(reading.pause_s(error))
            continue
        except (NoNode, WaitTimeout) as error:
            raise reading.unanswered(error) from None
        yield from reading.take(answer)
    yield from reading.rest(call.result(timeout))


async def read_async(call: AsyncCall, first: int, timeout: Seconds | None) -> AsyncIterator[Any]:
    """See `Call.stream`."""
    import asyncio  # Loaded by now.  A program without it may be interrupted while it loads.

    from meshcode.client.aiowaits import ask

    reading = Reading(call.sync, first, timeout)
    try:
        await call.wait_accepted(timeout)
    except NoNode as error:
        raise reading.unanswered(error) from None
    while reading.end is None:
        fields = {"id": call.sync._id, **reading.fields()}
        try:
            answer = await ask(call.sync._client, READ, fields, reading.answer_s())
        except UnknownCall as error:
            await asyncio.sleep(reading.pause_s(error))
            continue
        except (NoNode, WaitTimeout) as error:
            raise reading.unanswered(error) from None
        for value in reading.take(answer):
            yield value
    for value in reading.rest(await call.result(timeout)):
        yield value


def is_streamed(call_id: bytes, value: Any) -> bool:
    """Whether the value of a call says that its items are calls of their own."""
    return isinstance(value, dict) and value.get("stream") == call_id and "items" in value


__all__ = ["Reading", "is_streamed", "read", "read_async"]
