"""`Socket.map`: many calls of one function, batched on the wire and bounded in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.client.call import LOST, Call, deadline_of, seconds_left, seconds_of
from meshcode.errors import NOTHING_SENT, BadRequest, CallerError, WaitTimeout
from meshcode.ids import NO_ID

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.options import Seconds
    from meshcode.client.socket import Socket

CHUNK = 256  # Items sent together.
FLIGHT_CALLS_MAX = 4096  # Calls in flight: half a window, so that others may submit beside a map.
FLIGHT_BEGINS = 64
FLIGHT_BYTES_MAX = 64 * 1024 * 1024  # Of results in flight, judged by the largest one seen.


def check_chunk(chunk: int) -> None:
    """Raise BadRequest when no map can send so many items together."""
    if type(chunk) is not int or chunk < 1:
        raise BadRequest(
            f"a chunk has at least 1 item, not {chunk!r:.80}: a whole number; {NOTHING_SENT}"
        )


class Chunk(NamedTuple):
    """What the next items of a map were made to."""

    calls: list[Call]
    drafts: list[bytes]  # Their envelopes.
    size: int  # Bytes of these.
    unfit: list[tuple[int, CallerError]]  # Items that are no plain data or too large, by place.
    error: Exception | None  # What ended the items, if anything did.


class Unsent(Call):
    """In the place of an item that cannot be sent: a call that there is not, ended with why."""

    __slots__ = ("error",)

    def __init__(self, socket: Socket, number: int, error: CallerError) -> None:
        """`error` says that nothing was sent; that is so of this item only."""
        super().__init__(socket.client, NO_ID, socket.name)
        self._code = LOST
        text = error.text.replace(NOTHING_SENT, "this item was not sent")
        self.error = type(error)(f"item {number} (from 0): {text}", **error.fields, item=number)

    def _outcome(self, propagate: bool = True) -> CallerError:
        if propagate:
            raise self.error
        return self.error


class Flight:
    """The calls of one map that were submitted and not taken yet.

    It begins with FLIGHT_BEGINS calls in flight, and with every result taken one more may be, up to
    FLIGHT_CALLS_MAX: large results show themselves before many of them are on their way.
    """

    __slots__ = (
        "_arguments",
        "_calls",
        "_chunk",
        "_largest",
        "_limit",
        "_more",
        "_read",
        "_socket",
        "error",
        "taken",
    )

    def __init__(self, socket: Socket, arguments: Iterator[Sequence[Any]], chunk: int) -> None:
        """Nothing is submitted yet."""
        self._socket = socket
        self._arguments = arguments
        self._chunk = chunk
        self._limit = FLIGHT_BEGINS
        self._largest = 1
        self._calls: deque[Call] = deque()
        self._read = 0  # Items.
        self.taken = 0  # Of these.
        self._more = True
        self.error: Exception | None = None  # What ended the items: raised after the results.

    def next_chunk(self) -> tuple[list[Call], list[bytes], int] | None:
        """The next calls to hand over, or None when enough are in flight or there are no more."""
        socket = self._socket
        limit = min(self._limit, max(1, FLIGHT_BYTES_MAX // self._largest))
        while self._more:
            room = limit - len(self._calls)
            if room < max(1, min(self._chunk, limit // 2)):
                return None
            chunk = socket._prepare_many(socket.client, self._arguments, min(self._chunk, room))
            self.error = chunk.error
            self._more = chunk.error is None and bool(chunk.calls or chunk.unfit)
            self._line_up(chunk)
            if chunk.calls:
                return chunk.calls, chunk.drafts, chunk.size
        return None

    def _line_up(self, chunk: Chunk) -> None:
        """The results come in the order of the items, and so do those that there cannot be."""
        line = list(chunk.calls)
        for place, error in chunk.unfit:
            line.insert(place, Unsent(self._socket, self._read + place, error))
        self._read += len(line)
        self._calls.extend(line)

    @property
    def client(self) -> Client:
        """Whose calls these are."""
        return self._socket.client

    def fill(self) -> int:
        """Submit as much as may be in flight; returns after how many results to look again."""
        outbox = self.client.session.outbox
        while (found := self.next_chunk()) is not None:
            outbox.put_many(*found)
        # Each result makes room for one more, and for two while the limit grows.
        return min(self._chunk, self._limit // 2, max(1, FLIGHT_BYTES_MAX // self._largest)) // 2

    def look_again(self) -> None:
        """There may be items now, although there was none."""
        self._more = self.error is None

    @property
    def first(self) -> Call | None:
        """The oldest call in flight, which stays there."""
        return self._calls[0] if self._calls else None

    def take(self) -> Call | None:
        """The oldest call in flight, or None at the end.

        Raises:
            Exception: what ended the items.
        """
        if self._calls:
            self.taken += 1
            return self._calls.popleft()
        if self.error is not None:
            raise self.error
        return None

    def value_of(self, call: Call, propagate: bool) -> Any:
        """The outcome of a call that has ended."""
        if self._limit < FLIGHT_CALLS_MAX:
            self._limit += 1
        if type(call._body) is bytes and len(call._body) > self._largest:
            self._largest = len(call._body)
        return call._outcome(propagate)


def map_calls(
    socket: Socket,
    arguments: Iterator[Sequence[Any]],
    *,
    chunk: int,
    timeout: Seconds | None,
    propagate: bool,
) -> Iterator[Any]:
    """Submit the first calls now; the rest as results are taken.  See `Socket.map`."""
    seconds = seconds_of(timeout)
    deadline = deadline_of(seconds)
    flight = Flight(socket, arguments, chunk)
    flight.fill()
    return _results(flight, seconds, deadline, propagate)


def _results(
    flight: Flight, seconds: float | None, deadline: float | None, propagate: bool
) -> Iterator[Any]:
    left = 0  # Results until there may be room for more calls.
    while (call := flight.take()) is not None:
        if not call._code:
            try:
                call._wait(seconds_left(deadline), seconds)
            except WaitTimeout as late:
                from meshcode.client.lateness import late_item

                raise late_item(flight.taken - 1, late) from None
        yield flight.value_of(call, propagate)
        left -= 1
        if left <= 0:
            left = flight.fill()
