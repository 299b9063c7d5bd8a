"""Requests to the node that are open: what was asked, and who is told the answer.

The I/O thread calls `answered`, `event` and `failed`; everything else belongs to callers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from meshcode.client.ends import not_to_be_sent
from meshcode.client.wake import Notice
from meshcode.errors import BadRequest, MeshError, from_data
from meshcode.ids import make_id
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import draft
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.doubts import Doubts

# Operations that may be asked twice without harm.  The others are not asked again when the node
# went away with one open: whether it was done must then be looked up.
_SAFE = {
    "status", "call.list", "call.get", "call.cancel", "call.watch", "socket.describe", "task.show",
    "task.code", "subscribe", "unsubscribe", "listen", "drain", "flow.get", "flow.list",
    "flow.cancel", "stream.read", "mesh.call", "mesh.calls",
}  # fmt: skip
_SAFE_MODEL = {"list", "get", "snapshot"}

SUBSCRIPTION_EVENTS_MAX = 10_000  # Events kept for a slow reader; then the oldest go.
SUBSCRIPTION_BYTES_MAX = 64 * 1024 * 1024  # The same in bytes.
_LOST_HEAD = b"\x83" + pack("channel") + pack("lost")  # A node's {"channel": "lost", ...}.
NOTHING: Any = object()  # There is no event yet.
_GOING_ON = ("subscribe", "listen")  # A good answer only says that they began.


class Request:
    """One ASK envelope on its way, and what becomes of its answer; as it is, nothing."""

    __slots__ = ("draft", "id", "operation", "safe", "sent")

    def __init__(self, operation: str, fields: dict[str, Any]) -> None:
        """Pack the request.

        Raises:
            BadData, TooLarge: a field is not plain data.
            BadRequest: the operation is no text.
        """
        if not isinstance(operation, str):
            raise BadRequest(
                f"an operation is a text like 'status', not {operation!r:.80}; nothing was sent"
            )
        self.id = make_id()
        self.operation = operation
        self.safe = operation in _SAFE or (operation == "model" and fields.get("do") in _SAFE_MODEL)
        self.sent = False
        self._pack(fields)

    def _pack(self, fields: dict[str, Any]) -> None:
        body = pack(fields, "the request")
        self.draft = draft(Kind.ASK, id=self.id, name=self.operation.encode(), body=body)

    def answered(self, good: bool, body: bytes) -> bool:
        """Take the ANSWER; whether nothing more comes for this request.  Here nobody needs it."""
        del good, body
        return True

    def failed(self, error: MeshError) -> None:
        """There will be no answer.  Here nobody needs it."""
        del error

    def before_again(self) -> None:
        """Called before it is sent to a node that may not know it."""


class Ask(Request):
    """A request with one answer, for one caller."""

    __slots__ = ("_body", "_callback", "_error", "_good")

    def __init__(
        self, operation: str, fields: dict[str, Any], callback: Callable[[], object]
    ) -> None:
        super().__init__(operation, fields)
        self._callback = callback
        self._good = False
        self._body = b""
        self._error: MeshError | None = None

    def answered(self, good: bool, body: bytes) -> bool:
        """Keep the answer and tell the caller."""
        self._good, self._body = good, body
        self._callback()
        return True

    def failed(self, error: MeshError) -> None:
        """Keep the error and tell the caller."""
        self._error = error
        self._callback()

    @property
    def is_answered(self) -> bool:
        """Whether the answer is there, or will never be."""
        return self._error is not None or self._body != b""

    def value(self) -> Any:
        """The answer, once the callback ran.

        Raises:
            MeshError: the node refused the request, or went away with it.
        """
        if self._error is not None:
            raise self._error
        if self._good:
            return unpack(self._body)
        raise from_data(unpack(self._body))


class Watch(Request):
    """Asks to be told the outcomes of calls; what the node does not know joins the doubts."""

    __slots__ = ("_doubts", "ids")

    def __init__(self, doubts: Doubts, ids: list[bytes]) -> None:
        super().__init__("call.watch", {"ids": ids})
        self._doubts = doubts
        self.ids = ids

    def answered(self, good: bool, body: bytes) -> bool:
        """Tell which calls the node does not know; an error ends them all."""
        if not good:
            self._doubts.pending.lose(self.ids, from_data(unpack(body)))
            return True
        data = unpack(body)
        unknown = data.get("unknown") if isinstance(data, dict) else None
        if unknown:
            self._doubts.add(unknown)
        return True


class Subscription(Request):
    """A request answered by many events: an iterator of their data.

    Closing it, from any thread and also by leaving a `with`, ends it and whoever reads; so does
    dropping it.  Of several threads that read one each event goes to one.  A reader that is too
    slow misses the oldest events and finds `{"dropped": how many}` in their place.
    """

    __slots__ = (
        "__weakref__", "_bytes", "_client", "_dropped", "_ended", "_events", "_fields", "away",
        "began", "error", "news",
    )  # fmt: skip

    def __init__(self, client: Client, operation: str, fields: dict[str, Any]) -> None:
        super().__init__(operation, fields)
        self._client = client  # It stays open while somebody reads.
        self._events: deque[bytes] = deque()
        self._dropped = 0
        self._ended = False
        self._bytes = 0
        self.began = False  # The node has said that events will come.
        self.away = False  # The link went since then, and no node has said it again.
        self.error: MeshError | None = None  # With which it ended.
        self.news = Notice()  # For the reader; told by the I/O thread, or by the one that closes.
        self._fields = fields

    def answered(self, good: bool, body: bytes) -> bool:
        """An error ends it; a good answer may only say that it began."""
        if not good:
            self.error = from_data(unpack(body))
        elif self.operation in _GOING_ON:
            self.began, self.away = True, False
            self.news.tell()
            return False
        else:
            self._keep(body)
        self._end()
        return True

    def event(self, body: bytes, last: bool) -> bool:
        """Keep one event for the reader; whether it was the last."""
        too_many = len(self._events) >= SUBSCRIPTION_EVENTS_MAX
        if too_many or (self._events and self._bytes + len(body) > SUBSCRIPTION_BYTES_MAX):
            self._drop()
        self._keep(body)
        if last:
            self._end()
        else:
            self.news.tell()
        return last

    def _keep(self, body: bytes) -> None:
        self._bytes += len(body)
        self._events.append(body)

    def _drop(self) -> None:
        body = self._events.popleft()
        self._bytes -= len(body)
        # One that tells of others that were lost stands for all of these.
        self._dropped += int(unpack(body)["count"]) if body.startswith(_LOST_HEAD) else 1

    def failed(self, error: MeshError) -> None:
        """The reader gets the events that came, then the error."""
        self.error = error
        self._end()

    def link_lost(self) -> None:
        """The node is gone: nothing is heard before another greeting."""
        self.away = self.began
        self.news.tell()

    def before_again(self) -> None:
        """A node that is asked again must not send the tail that was read already."""
        if self._fields.get("tail"):
            self._pack({**self._fields, "tail": 0})

    def has_next(self) -> bool:
        """Whether `next` would not wait."""
        return bool(self._events or self._ended)

    def wait(self, seconds: float | None, away: bool | None = None) -> bool:
        """Wait until `next` would not, at most so many seconds; whether it would not.

        Args:
            seconds: None waits as long as it takes.
            away: wait no longer, too, when the link is not as this says.
        """

        def is_over() -> bool:
            return self.has_next() or away not in (None, self.away)

        self.news.wait_until(is_over, seconds)
        return self.has_next()

    def wait_news(self, seconds: float | None) -> bool:
        """Wait until it begins, ends or has an event, at most so many seconds; whether it did."""
        return self.news.wait(lambda: self.began or self.has_next(), seconds)

    def _end(self) -> None:
        self._ended = True
        self.news.tell()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while (found := self.take()) is NOTHING:
            self.news.wait(self.has_next, None)
        return found

    def take(self) -> Any:
        """As `next`, and NOTHING instead of waiting."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            return {"dropped": dropped}
        ended = self._ended  # Before looking: what came before the end is read.
        try:
            body = self._events.popleft()
        except IndexError:
            if not ended:
                return NOTHING
            if self.error is not None:
                raise self.error from None
            raise StopIteration from None
        self._bytes -= len(body)
        return unpack(body)

    def close(self) -> None:
        """End the subscription, and whoever reads it, once he has what came before."""
        if not self._ended:
            self._end()
            self._client.session.end_subscription(self)

    def __repr__(self) -> str:
        return f"<Subscription {self.operation} {self.standing}>"

    @property
    def standing(self) -> str:
        """Whether it goes on, in a word for `repr`."""
        if self._ended:
            return "ended" if self.error is None else f"ended: {self.error.code}"
        return "away" if self.away else "open"

    def __getstate__(self) -> None:
        raise not_to_be_sent("a stream of events", "subscribe there with ask_stream()")

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
