"""The part of the model that the router acts on: limits and defaults per socket.

Comes as the plain data of a model snapshot (`docs/model.md`) and is read once per change, so that
the hot path sees attributes and no dictionaries.
"""

from __future__ import annotations

from typing import Any

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}


def parse_rate(text: str) -> tuple[int, int]:
    """Read `10/s`, `60/m` or `5/h` as (calls, milliseconds).

    Raises:
        ValueError: anything else, or a count below 1.
    """
    count, slash, unit = text.partition("/")
    if not slash or unit not in UNIT_MS or not count.isdigit() or int(count) < 1:
        raise ValueError(f"a rate limit reads like 10/s, 60/m or 5/h, this is {text!r}")
    return int(count), UNIT_MS[unit]


class SocketConfig:
    """What the model says of one socket, its queue and its processor, merged."""

    __slots__ = (
        "concurrency",
        "dead_letter",
        "dead_letter_overflow",
        "expires_ms",
        "guest",
        "key_concurrency",
        "max_length",
        "max_length_bytes",
        "message_ttl_ms",
        "name",
        "priority",
        "processor",
        "queue",
        "queue_type",
        "rate",
        "retries",
        "retry_delay_ms",
        "task",
        "time_limit_ms",
    )

    def __init__(self, name: str, snapshot: dict[str, Any]) -> None:
        """Read socket `name` of a snapshot; its own values go before its processor's."""
        socket = snapshot["sockets"][name]
        queue = snapshot.get("queues", {}).get(socket.get("queue"), {})
        processor = snapshot.get("processors", {}).get(socket["processor"], {})

        def first(field: str) -> Any:
            value = socket.get(field)
            return processor.get(field) if value is None else value

        self.name = name
        self.guest = False
        self.processor: str = socket["processor"]
        self.task: str = socket["task"]
        self.queue: str = socket.get("queue") or ""
        self.queue_type: str = queue.get("type") or "direct"
        self.priority: int | None = socket.get("priority")
        rate = first("rate_limit")
        self.rate: tuple[int, int] | None = parse_rate(rate) if rate else None
        self.concurrency: int | None = socket.get("concurrency")
        self.key_concurrency: int | None = socket.get("key_concurrency")
        self.retries: int | None = first("retries")
        self.retry_delay_ms: int | None = first("retry_delay_ms")
        self.time_limit_ms: int | None = first("time_limit_ms")
        self.max_length: int | None = queue.get("max_length")
        self.max_length_bytes: int | None = queue.get("max_length_bytes")
        self.message_ttl_ms: int | None = queue.get("message_ttl_ms")
        self.expires_ms: int | None = queue.get("expires_ms")
        self.dead_letter: str | None = queue.get("dead_letter")
        self.dead_letter_overflow: bool = queue.get("overflow") == "dead-letter"

    @classmethod
    def without_limits(cls, own: SocketConfig) -> SocketConfig:
        """The same socket for calls of peers: only how a call runs; the owner holds the limits."""
        guest = cls.addressed(own)
        guest.guest = True
        guest.queue_type = own.queue_type
        guest.message_ttl_ms = guest.expires_ms = guest.dead_letter = None
        return guest

    @classmethod
    def addressed(cls, own: SocketConfig) -> SocketConfig:
        """The same socket for broadcasts and their copies: these go nowhere else, and once to each
        worker, so they count in no limit of rate, concurrency or length.
        """
        found = cls.__new__(cls)
        for name in cls.__slots__:
            setattr(found, name, getattr(own, name))
        found.queue_type = "direct"
        found.rate = found.concurrency = found.key_concurrency = None
        found.max_length = found.max_length_bytes = None
        found.dead_letter_overflow = False
        return found
