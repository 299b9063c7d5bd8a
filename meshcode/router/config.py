"""The part of the model that the router acts on: limits and defaults per socket.

Comes as the plain data of a model snapshot (`docs/model.md`) and is read once per change, so that
the hot path sees attributes and no dictionaries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000}


def parse_rate(text: str) -> tuple[int, int]:
    """Read `10/s`, `60/m` or `5/h` as (calls, milliseconds).

    Raises:
        ValueError: anything else, or a count below 1.
    """
    count, slash, unit = text.partition("/")
    if not slash or unit not in UNIT_MS or not count.isdigit() or int(count) < 1:
        raise ValueError(f"a rate limit reads like 10/s, 60/m or 5/h, this is {text!r}")
    return int(count), UNIT_MS[unit]


@dataclass(slots=True, eq=False)
class SocketConfig:
    """What the model says of one socket, its queue and its processor, merged."""

    name: str
    processor: str
    task: str
    queue: str
    queue_type: str
    priority: int | None
    rate: tuple[int, int] | None
    concurrency: int | None
    key_concurrency: int | None
    retries: int | None
    retry_delay_ms: int | None
    time_limit_ms: int | None
    max_length: int | None
    max_length_bytes: int | None
    message_ttl_ms: int | None
    expires_ms: int | None
    dead_letter: str | None
    dead_letter_overflow: bool
    guest: bool = False

    @classmethod
    def of(cls, name: str, snapshot: dict[str, Any]) -> SocketConfig:
        """Read socket `name` of a snapshot; its own values go before its processor's."""
        socket = snapshot["sockets"][name]
        queue = snapshot.get("queues", {}).get(socket.get("queue"), {})
        processor = snapshot.get("processors", {}).get(socket["processor"], {})

        def first(field: str) -> Any:
            value = socket.get(field)
            return processor.get(field) if value is None else value

        rate = first("rate_limit")
        return cls(
            name=name,
            processor=socket["processor"],
            task=socket["task"],
            queue=socket.get("queue") or "",
            queue_type=queue.get("type") or "direct",
            priority=socket.get("priority"),
            rate=parse_rate(rate) if rate else None,
            concurrency=socket.get("concurrency"),
            key_concurrency=socket.get("key_concurrency"),
            retries=first("retries"),
            retry_delay_ms=first("retry_delay_ms"),
            time_limit_ms=first("time_limit_ms"),
            max_length=queue.get("max_length"),
            max_length_bytes=queue.get("max_length_bytes"),
            message_ttl_ms=queue.get("message_ttl_ms"),
            expires_ms=queue.get("expires_ms"),
            dead_letter=queue.get("dead_letter"),
            dead_letter_overflow=queue.get("overflow") == "dead-letter",
        )

    def without_limits(self) -> SocketConfig:
        """The same socket for calls of peers: only how a call runs; the owner holds the limits."""
        return replace(
            self.addressed(),
            guest=True,
            queue_type=self.queue_type,
            message_ttl_ms=None,
            expires_ms=None,
            dead_letter=None,
        )

    def addressed(self) -> SocketConfig:
        """The same socket for broadcasts and their copies: these go nowhere else, and once to each
        worker, so they count in no limit of rate, concurrency or length.
        """
        return replace(
            self,
            queue_type="direct",
            rate=None,
            concurrency=None,
            key_concurrency=None,
            max_length=None,
            max_length_bytes=None,
            dead_letter_overflow=False,
        )
