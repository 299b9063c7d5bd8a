"""Hearing what happens on the nodes of a mesh, as it happens.

    with client.listen("shop", "task") as events:
        for event in events:
            print(event["state"], event.get("result"))

`docs/listening.md` has the channels and the fields of their events.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshcode.client.ends import not_to_be_sent
from meshcode.client.requests import Subscription
from meshcode.errors import MeshError, NotAllowed
from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from meshcode.client.client import Client
    from meshcode.client.options import Seconds
    from meshcode.client.past import Past

CHANNELS = ("task", "log", "state", "queue", "stats")
LISTEN_S = 30.0  # For the nodes to say that they tell; they answer in milliseconds.


class Listening:
    """The events of one channel: an iterator, and an asynchronous one.

    It goes on until it is closed, also over restarts of the node; what happens meanwhile is not
    heard.  A reader that is too slow finds `{"channel": "lost", "count": n, "node": name}` in the
    place of what it has missed; the name is empty when this client let it go.
    """

    def __init__(self, client: Client, name: str | None, channel: str) -> None:
        """Begin to listen, without waiting for the nodes; see `Client.listen`."""
        fields = {"channel": channel} if name is None else {"channel": channel, "name": name}
        self._client = client
        self._name = name
        self._channel = channel
        self._past: Past | None = None
        self._old: Iterator[dict[str, Any]] = iter(())
        # The next event, or how it ends: taken from there to see whether it was told already.
        self._ahead: dict[str, Any] | Exception | None = None
        self._subscription = Subscription(client, "listen", fields)
        client.session.begin_subscription(self._subscription)

    @property
    def subscription(self) -> Subscription:
        """The events as they come."""
        return self._subscription

    def begin(self, timeout: float | None = LISTEN_S) -> Listening:
        """Wait until the nodes tell: what happens after this is heard.

        Raises:
            MeshError: the node refused.
            NoNode, WaitTimeout: it did not answer within `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        subscription = self._subscription
        while not (subscription.began or subscription.has_next()):
            left = None if end is None else end - time.monotonic()
            if (left is not None and left <= 0) or not subscription.wait_news(left):
                self.close()
                raise self._client.too_late("listen", timeout)
        self.check()
        return self

    def look_back(self, begin_ms: int) -> None:
        """Tell what happened since then first.  It is read from the history while it is told.

        Raises:
            MeshError: the node refused; nothing is listened to any more.
        """
        from meshcode.client.past import Past

        try:
            self._past = Past(self._client, self._name, self._channel, begin_ms)
        except BaseException:
            self.close()
            raise
        self._old = iter(self._past)

    @property
    def left_out(self) -> dict[str, NotAllowed]:
        """What events of the past do not say, since this user may not see it, and why."""
        return {} if self._past is None else self._past.left_out

    def check(self) -> None:
        """Raise the error with which the node refused, if it did."""
        error = self._subscription.error
        if error is not None and not self._subscription.began:
            raise error

    @property
    def is_away(self) -> bool:
        """Whether the link to the node is lost: nothing is heard until it is back."""
        return self._subscription.away

    def wait(self, seconds: float | None, away: bool | None = None) -> bool:
        """Wait until there is an event, at most so many seconds; whether there is one, or an end.

        Args:
            seconds: None waits as long as it takes.
            away: wait no longer, too, when `is_away` is not this.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while not self.has_next() and away in (None, self.is_away):
            left = None if end is None else end - time.monotonic()
            if not self._subscription.wait(left, away):
                break
        return self.has_next()

    def has_next(self) -> bool:
        """Whether `next` would not wait."""
        if self._past is None:
            return self._subscription.has_next()
        if self._ahead is None:
            self._ahead = next(self._old, None)
        while self._ahead is None and self._subscription.has_next():
            try:
                event = readable(next(self._subscription))
            except (StopIteration, MeshError) as error:
                self._ahead = error
            else:
                self._ahead = None if self._past.has_told(event) else event
        return self._ahead is not None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._past is None:
            return readable(next(self._subscription))
        self.wait(None)
        event, self._ahead = self._ahead, None
        if isinstance(event, Exception):
            raise event
        assert event is not None
        return event

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        import asyncio

        from meshcode.client.aiowaits import events_of

        while (old := await asyncio.to_thread(next, self._old, None)) is not None:
            yield old
        async for event in events_of(self._subscription):
            found = readable(event)
            if self._past is None or not self._past.has_told(found):
                yield found

    def close(self) -> None:
        """Listen no more; whoever reads, in another thread or task, comes to the end."""
        self._subscription.close()

    def __repr__(self) -> str:
        name = "" if self._name is None else f" {self._name}"
        return f"<Listening {self._channel}{name} {self._subscription.standing}>"

    def __getstate__(self) -> None:
        raise not_to_be_sent("what listens", "call listen() there")

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def listen(
    name: str | None = None, channel: str = "task", *, since: datetime | Seconds | None = None,
    timeout: Seconds | None = LISTEN_S,
) -> Listening:  # fmt: skip
    """`Client.listen` of the process-wide client."""
    from meshcode.client.default import default_client

    return default_client().listen(name, channel, since=since, timeout=timeout)


def readable(event: Any) -> dict[str, Any]:
    """An event as people and programs read it: with its date, and its value or error unpacked."""
    if not isinstance(event, dict):
        return {"channel": "", "event": event}
    if "dropped" in event:
        return {"channel": "lost", "count": event["dropped"], "node": ""}
    with_date(event)
    packed = event.pop("packed", None)
    if packed is not None:
        try:
            value = unpack(packed)
        except MeshError as error:  # For instance an array where there is no numpy.
            event["result_problem"] = error.text
        else:
            event |= problem_of(value) if event.get("error") else {"result": value}
    return event


def with_date(event: dict[str, Any]) -> dict[str, Any]:
    """An event with its time in ISO 8601, too."""
    if isinstance(event.get("ms"), int):
        at = datetime.fromtimestamp(event["ms"] / 1000, UTC)
        event["date"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def problem_of(data: Any) -> dict[str, Any]:
    """What of error data is told."""
    fields = data.get("fields") if isinstance(data, dict) else None
    if not isinstance(fields, dict):
        return {"message": str(data)}
    found = {"message": data.get("text"), "code": data.get("code"), "type": fields.get("type")}
    if fields.get("traceback"):
        found["traceback"] = fields["traceback"]
    return found
