"""A rude network in user space: TCP between named nodes, each direction with its own weather.

One listening port stands for "what SOURCE uses to reach TARGET".  A connection through it has two
streams: bytes that travel SOURCE -> TARGET obey the way (source, target), answers obey the way
(target, source).  So blocking the one way (a, b) stops what a sends on every connection between the
two, whoever opened it, as a real one-way loss does.

    way      delay and jitter, bandwidth, and what becomes of bytes
    flow     they pass
    hold     they wait, as do opening and closing: a partition, or a stalled link
    drop     they are thrown away in silence and the connection stays: half open.  A stream with a
             hole is never continued: when the way flows again, such connections are reset
    refuse   new connections are reset at once, as when the port of a living host is closed
    cut      a reset of what is open now; or after n more bytes

Everything happens on one thread with one asyncio loop; the methods may be called from any thread
and return when the change holds.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

Pair = tuple[str, str]  # (source, target)
T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
CHUNKS_WAITING = 16  # Per stream, 1 MiB; beyond it the sender feels the pressure, as from TCP.
SLICES_PER_S = 20  # A slow link gives its bytes out in so many portions a second.
ANSWER_S = 10.0  # A change that takes longer means that the thread is dead.
RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes close() send RST.

FLOW, HOLD, DROP, REFUSE = "flow", "hold", "drop", "refuse"


@dataclass
class Weather:
    """What becomes of the bytes of one way."""

    mode: str = FLOW
    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # Added to the delay, uniform from 0; the order of bytes is kept.
    bytes_per_s: float = 0.0  # 0 = no limit.
    cut_after: int | None = None  # So many more bytes pass, then a reset.


class Way:
    """One direction between two nodes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.weather = Weather()
        self.passed = 0  # Bytes forwarded.
        self.dropped = 0  # Bytes thrown away.
        self.free_at = 0.0  # When the slow link has sent what it took.
        self._changed: asyncio.Future[None] = loop.create_future()

    def change(self, **fields: Any) -> None:
        """New weather; everyone who waits looks again."""
        for name, value in fields.items():
            setattr(self.weather, name, value)
        self.free_at = 0.0
        self._changed.set_result(None)
        self._changed = self.loop.create_future()

    async def look_again(self, seconds: float | None = None) -> None:
        """Return at the next change, or after `seconds`."""
        await asyncio.wait([self._changed], timeout=seconds)

    async def not_held(self) -> None:
        """Return when bytes need not wait."""
        while self.weather.mode == HOLD:
            await self.look_again()

    async def travelled(self, sent_at: float, luck: float) -> None:
        """Return when bytes that left at `sent_at` have arrived; `luck` in 0..1 is their jitter."""
        while True:
            weather = self.weather
            due = sent_at + (weather.delay_ms + luck * weather.jitter_ms) / 1000
            left = due - self.loop.time()
            if left <= 0:
                return
            await self.look_again(left)

    async def paced(self, size: int) -> None:
        """Return when a slow link has had the time for `size` bytes."""
        if not self.weather.bytes_per_s:
            return
        self.free_at = max(self.free_at, self.loop.time()) + size / self.weather.bytes_per_s
        until = self.free_at
        while self.weather.bytes_per_s and (left := until - self.loop.time()) > 0:
            await self.look_again(left)

    def slice_bytes(self) -> int:
        """How much to send at once."""
        speed = self.weather.bytes_per_s
        return min(CHUNK_BYTES, max(1, int(speed / SLICES_PER_S))) if speed else CHUNK_BYTES


class Connection:
    """A connection through the shaper: two sockets and what is known of them."""

    def __init__(self, pair: Pair, writer: asyncio.StreamWriter) -> None:
        self.pair = pair
        self.writers = [writer]
        self.torn: set[Pair] = set()  # Ways on which it lost bytes.
        self.task: asyncio.Task[None] | None = None

    def reset(self) -> None:
        """RST on both sides, and the end of its task."""
        for writer in self.writers:
            with suppress(OSError):
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()


class Shaper:
    """All ways and ports of one network; see the module."""

    def __init__(self, seed: int = 0) -> None:
        """Start the thread; nothing listens yet."""
        self.rng = Random(seed)
        self.ports: dict[Pair, int] = {}
        self.ways: dict[Pair, Way] = {}
        self.open: set[Connection] = set()
        self.accepted: dict[Pair, int] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shaper", daemon=True)
        self._thread.start()

    def __enter__(self) -> Shaper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Calls from other threads.

    def _now(self, work: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(ANSWER_S)

    def listen(self, source: str, target: str, host: str, port: int) -> int:
        """The port on 127.0.0.1 by which `source` reaches `target` at (host, port)."""
        pair = (source, target)

        async def work() -> int:
            for one in (pair, pair[::-1]):
                self.ways.setdefault(one, Way(self._loop))
            server = await asyncio.start_server(
                lambda r, w: self._begin(pair, (host, port), r, w),
                "127.0.0.1", 0, limit=CHUNK_BYTES,
            )  # fmt: skip
            self._servers.append(server)
            self.ports[pair] = server.sockets[0].getsockname()[1]
            return self.ports[pair]

        return self._now(work)

    def change(self, pairs: Iterable[Pair], **fields: Any) -> None:
        """New weather for these ways: `mode`, `delay_ms`, `jitter_ms`, `bytes_per_s`, `cut_after`.

        A way that drops no more has its torn connections reset.
        """
        chosen = list(pairs)

        async def work() -> None:
            for pair in chosen:
                self.ways[pair].change(**fields)
                if self.ways[pair].weather.mode != DROP:
                    for connection in [c for c in self.open if pair in c.torn]:
                        connection.reset()

        self._now(work)

    def heal(self, pairs: Iterable[Pair] | None = None) -> None:
        """Clear weather for these ways, by default for all."""
        fair = Weather()
        self.change(self.ways if pairs is None else pairs, **vars(fair))

    def cut(self, pairs: Iterable[Pair]) -> int:
        """Reset every connection that was opened along these ways; how many there were."""
        chosen = set(pairs)

        async def work() -> int:
            hit = [c for c in self.open if c.pair in chosen]
            for connection in hit:
                connection.reset()
            return len(hit)

        return self._now(work)

    def figures(self) -> dict[Pair, dict[str, int]]:
        """Per way: bytes `passed` and `dropped`, connections `accepted` and `open`."""

        async def work() -> dict[Pair, dict[str, int]]:
            return {
                pair: {
                    "passed": way.passed, "dropped": way.dropped,
                    "accepted": self.accepted.get(pair, 0),
                    "open": sum(1 for c in self.open if c.pair == pair),
                }
                for pair, way in self.ways.items()
            }  # fmt: skip

        return self._now(work)

    def close(self) -> None:
        """Reset everything, stop listening, end the thread."""
        if self._loop.is_closed():
            return

        async def work() -> None:
            for server in self._servers:
                server.close()
            for connection in list(self.open):
                connection.reset()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._now(work)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    # On the thread.

    def _begin(
        self, pair: Pair, target: tuple[str, int], reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        """A connection gets a task of its own: asyncio would complain when it is cut."""
        connection = Connection(pair, writer)
        connection.task = asyncio.ensure_future(self._accept(connection, target, reader))
        self.open.add(connection)
        self.accepted[pair] = self.accepted.get(pair, 0) + 1

    async def _accept(
        self, connection: Connection, target: tuple[str, int], reader: asyncio.StreamReader
    ) -> None:
        try:
            await self._carry(connection, target, reader)
        except (OSError, asyncio.CancelledError):
            connection.reset()
        finally:
            self.open.discard(connection)
            for one in connection.writers:
                one.close()

    async def _carry(
        self, connection: Connection, target: tuple[str, int], reader: asyncio.StreamReader
    ) -> None:
        pair, back = connection.pair, connection.pair[::-1]
        way = self.ways[pair]
        while way.weather.mode in (HOLD, DROP):  # The first packet does not get through.
            if way.weather.mode == DROP:
                connection.torn.add(pair)
            await way.look_again()
        if way.weather.mode == REFUSE:
            raise ConnectionRefusedError
        try:
            there, far = await asyncio.open_connection(*target, limit=CHUNK_BYTES)
        except OSError:
            await self.ways[back].not_held()  # The refusal travels back.
            raise
        connection.writers.append(far)
        pumps = [
            asyncio.ensure_future(self._pump(connection, pair, reader, far)),
            asyncio.ensure_future(self._pump(connection, back, there, connection.writers[0])),
        ]
        try:
            await asyncio.gather(*pumps)
            while connection.torn:  # Both ends may have gone; neither hears of the other.
                await way.look_again()
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pump(
        self, connection: Connection, pair: Pair, reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        """Carry one stream: read on the one side, write on the other what has travelled."""
        line: asyncio.Queue[tuple[float, float, bytes]] = asyncio.Queue(CHUNKS_WAITING)
        read = asyncio.ensure_future(self._read(reader, line))
        try:
            await self._write(connection, pair, line, writer)
        finally:
            read.cancel()

    async def _read(
        self, reader: asyncio.StreamReader, line: asyncio.Queue[tuple[float, float, bytes]]
    ) -> None:
        """Take bytes with the time they came; empty bytes are the end, by FIN or by RST."""
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await line.put((self._loop.time(), self.rng.random(), data))

    async def _write(
        self, connection: Connection, pair: Pair, line: asyncio.Queue[tuple[float, float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        way = self.ways[pair]
        while True:
            sent_at, luck, data = await line.get()
            await way.travelled(sent_at, luck)
            at = 0
            while at < len(data) or not data:
                await way.not_held()
                if way.weather.mode == DROP:
                    way.dropped += len(data) - at
                    connection.torn.add(pair)
                    break
                if not data:
                    with suppress(OSError):
                        writer.write_eof()
                    return
                at += await self._give(connection, way, data[at : at + way.slice_bytes()], writer)
            if not data:
                return  # The end was dropped: nobody is told of it.

    async def _give(
        self, connection: Connection, way: Way, piece: bytes, writer: asyncio.StreamWriter
    ) -> int:
        """Forward one piece; the connection is reset when its way is to be cut inside it."""
        await way.paced(len(piece))
        left = way.weather.cut_after
        if left is not None:
            piece = piece[:left]
            way.weather.cut_after = left - len(piece)
        try:
            writer.write(piece)
            await writer.drain()
        except OSError:  # The other side has gone; its own stream says so.
            return len(piece)
        way.passed += len(piece)
        if left is not None and not way.weather.cut_after:
            way.weather.cut_after = None
            raise ConnectionResetError
        return len(piece)
