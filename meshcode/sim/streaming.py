"""Generators of a simulated world: how they are drawn, called, and what they yield.

All of it comes from a random source of its own, so that worlds without generators are what they
were.  What a generator yields depends on its call alone: each attempt yields the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from meshcode import limits
from meshcode.router import events
from meshcode.sim.books import Fact
from meshcode.sim.planting import swapped
from meshcode.wire.codec import pack

if TYPE_CHECKING:
    from meshcode.sim.options import Options
    from meshcode.sim.world import World

UNIT_BYTES = 64  # Of an item, in these worlds.
UNITS_MAX = 2  # Of an item.
_AT_ONCE = 3  # Items between two looks at what else there is to do.
_PLUGS_FROM = 20  # The numbers of the plugs that leave generators.


def draw(rng: Random, options: Options) -> None:
    """Half of the worlds with plugs have generators."""
    snapshot = options.snapshot
    if options.routers is None or rng.random() < 0.5:
        return
    targets = [name for name in snapshot["sockets"] if name[0] == "w"]
    names = ["g0", "g1"][: rng.choice((1, 1, 2))]
    for name in names:
        snapshot["sockets"][name] = {
            "processor": rng.choice(list(snapshot["processors"])), "task": "work", "queue": "",
            "concurrency": rng.choice((None, None, None, 1)),
            "retries": rng.choice((None, None, 1, 3)),
            "retry_delay_ms": rng.choice((None, 0, 50)),
            "time_limit_ms": rng.choice((None, None, None, 300)),
        }  # fmt: skip
    ways = [(name, rng.choice(targets)) for name in names for _ in range(rng.choice((1, 1, 2)))]
    ways += [(rng.choice(("s0", *names[:-1])), names[-1])] if rng.random() < 0.4 else []
    for n, (source, target) in enumerate(ways):
        snapshot["plugs"][f"p{_PLUGS_FROM + n}"] = {
            "source": source, "target": target,
            "type": "ERROR" if rng.random() < 0.1 else "RESULT",
            "argument": rng.choice((None, None, None, "a", "b")),
            "queue": "pq" if rng.random() < 0.05 else None,
        }  # fmt: skip
    options.generators = frozenset(names)
    options.stream_calls = rng.randint(1, 5)
    options.stream_window = rng.choice((4, 4, 8, 16))
    options.stream_items_max = rng.choice((3, 12, 12, 40))


@contextmanager
def limited(window: int) -> Iterator[None]:
    """Streams with the window of a world, if it has one, and with small units."""
    units = window or limits.STREAM_WINDOW
    with (
        swapped(limits, "STREAM_WINDOW", lambda _: units),
        swapped(limits, "STREAM_UNIT_BYTES", lambda _: UNIT_BYTES),
    ):
        yield


def count_of(options: Options, id: bytes) -> int:
    """How many items a call of a generator has."""
    return crc32(b"count" + id) % (options.stream_items_max + 1)


def item_of(id: bytes, number: int) -> tuple[bytes, bytes]:
    """The packed value of an item, and its meta: now and then it chooses its plugs."""
    mark = crc32(b"item %d" % number + id)
    value = pack([id[-2:], number, "x" * (mark % 3 * UNIT_BYTES // 2)])
    meta = b""
    if mark % 5 == 0:
        meta = pack({"plugs": [f"p{_PLUGS_FROM + n}" for n in range(4) if mark >> (n + 4) & 1]})
    return value, meta


def units_of(value: bytes) -> int:
    """How much of the window an item takes."""
    return 1 + len(value) // UNIT_BYTES


class Yields:
    """What one attempt of a generator has yielded, and how much more it may."""

    __slots__ = ("attempt", "credit", "id", "next", "stop", "used", "waited", "waits")

    def __init__(self, world: World, id: bytes, attempt: int, fate: str) -> None:
        """Nothing yet; unless it returns, it ends somewhere on its way."""
        self.id = id
        self.attempt = attempt
        count = count_of(world.options, id)
        self.stop = count if fate == "return" else world.streams_rng.randint(0, count)
        self.next = 0
        self.used = 0
        self.credit = world.options.stream_window
        self.waits = False  # It has used up its credit.
        self.waited = False  # It had once: from then on it takes no slot from others.

    def go_on(self, world: World) -> list[events.NewItem]:
        """The next items that it may yield now."""
        items: list[events.NewItem] = []
        while self.next < self.stop and self.used < self.credit and len(items) < _AT_ONCE:
            value, meta = item_of(self.id, self.next)
            world.checker.streams.yields(self.id, self.next)
            items.append((self.id, self.attempt, self.next, value, meta, 0))
            self.next += 1
            self.used += units_of(value)
        self.waits = self.used >= self.credit
        self.waited |= self.waits
        return items

    @property
    def is_over(self) -> bool:
        """Whether it knows that nothing more comes: only with credit left it looks."""
        return self.next >= self.stop and not self.waits

    def outcome(self) -> tuple[Any, bytes]:
        """The value and the meta of its outcome."""
        return {"items": self.next, "stream": self.id}, pack({"items": self.next})


def submit(world: World) -> None:
    """A client calls a generator."""
    rng = world.streams_rng
    client = rng.choice(world.clients)
    if not client.alive:
        return
    id = (1_700_000_000_000 + world.now).to_bytes(6, "big") + rng.randbytes(10)
    name = rng.choice(sorted(world.options.generators))
    world.checker.facts[id] = Fact(id, name, None, b"\x90")
    client.submit([(id, 1)], fresh=world.options.fresh)


__all__ = [
    "UNITS_MAX", "UNIT_BYTES", "Yields", "count_of", "draw", "item_of", "limited", "submit",
    "units_of",
]  # fmt: skip
