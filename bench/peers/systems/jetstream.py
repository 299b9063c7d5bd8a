"""NATS JetStream as a task queue: a work-queue stream on file, publish with ack, pull consumer.

It has no results, chains or funnels; the worker replies by a plain message to the caller's inbox,
as the documentation of request and reply has it.  Publishing many is `publish_async`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, TypeVar

from bench.peers.peer import WAIT_S, Peer
from bench.peers.servers import Child, free_port, listens, program, says_version, worker
from bench.peers.systems.jetstream_worker import STREAM, SUBJECT

T = TypeVar("T")
WINDOW = 1_000  # Calls whose result has not come.


class JetStream(Peer):
    """The server's default: synced every two minutes."""

    title = "NATS JetStream, default sync"
    acknowledged = "written to the stream's file; synced every 2 minutes"
    settings = "file store, work queue, publish_async, batches of 200, uvloop; reply by message"
    sync = "2m"
    has_chains = False
    has_fan = False
    packages = ("nats-py",)

    def start(self) -> None:
        """Server, stream, worker, client."""
        import uvloop

        self.loop = uvloop.new_event_loop()
        self.program = program("nats-server")
        self.port = free_port()
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{self.folder}/store", sync_interval: {self.sync} }}\n'
        )
        self._serve()
        self.loop.run_until_complete(self._connect())
        self.worker = worker(
            self.folder, "nats-worker", "-m", "bench.peers.systems.jetstream_worker", self.url
        )

    @property
    def url(self) -> str:
        """Of the server."""
        return f"nats://127.0.0.1:{self.port}"

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        done: T = self.loop.run_until_complete(work)
        return done

    def _serve(self) -> None:
        config = str(self.folder / "nats.conf")
        self.server = Child([self.program, "-c", config], self.folder, "nats-server")
        self.server.until(lambda: listens(self.port))

    async def _connect(self) -> None:
        import nats
        from nats.js.api import RetentionPolicy, StorageType

        self.client = await nats.connect(self.url)
        self.stream = self.client.jetstream()
        await self.stream.add_stream(
            name=STREAM, subjects=[SUBJECT], storage=StorageType.FILE,
            retention=RetentionPolicy.WORK_QUEUE,
        )  # fmt: skip
        self.inbox = self.client.new_inbox()
        self.results: dict[int, asyncio.Future[int]] = {}
        self.next = 0
        await self.client.subscribe(self.inbox, cb=self._came)

    async def _came(self, message: Any) -> None:
        number, value = json.loads(message.data)
        self.results.pop(number).set_result(value)
        self.room.release()

    def stop(self) -> None:
        """Worker, client, server."""
        self.worker.stop()
        self.loop.run_until_complete(self.client.close())
        self.loop.close()
        self.server.stop()

    def versions(self) -> list[str]:
        """With the server's."""
        return [*super().versions(), says_version(self.program, "--version").replace(": v", " ")]

    async def _send(self, value: int) -> tuple[Any, asyncio.Future[int]]:
        self.next += 1
        result = self.results[self.next] = self.loop.create_future()
        data = json.dumps([self.inbox, self.next, value]).encode()
        return await self.stream.publish_async(SUBJECT, data), result

    async def _all(self, count: int) -> list[int]:
        self.room = asyncio.Semaphore(WINDOW)
        acks, results = [], []
        for value in range(count):
            await self.room.acquire()
            ack, result = await self._send(value)
            acks.append(ack)
            results.append(result)
        await asyncio.wait_for(asyncio.gather(*acks), WAIT_S)
        return await asyncio.wait_for(asyncio.gather(*results), WAIT_S)

    def single(self, value: int) -> int:
        """Published and acknowledged, then replied to."""
        return self._run(self._one(value))

    async def _one(self, value: int) -> int:
        self.room = asyncio.Semaphore(WINDOW)
        ack, result = await self._send(value)
        await asyncio.wait_for(ack, WAIT_S)
        return await asyncio.wait_for(result, WAIT_S)

    def bulk(self, count: int) -> list[int]:
        """Every publish acknowledged, every result back."""
        return self._run(self._all(count))

    def rest(self) -> None:
        """Without a worker."""
        self.worker.stop()

    def submit(self, value: int) -> None:
        """Acknowledged."""
        data = json.dumps([self.inbox, 0, value]).encode()
        self.loop.run_until_complete(self.stream.publish(SUBJECT, data, timeout=WAIT_S))

    def crash(self) -> None:
        """The server."""
        self.server.kill()
        self._serve()

    def waiting(self) -> int:
        """Messages of the stream."""
        return self._run(self._messages())

    async def _messages(self) -> int:
        import nats

        client = await nats.connect(self.url)
        info = await client.jetstream().stream_info(STREAM)
        await client.close()
        return int(info.state.messages)


class JetStreamAlways(JetStream):
    """What its documentation names for those who need each publish on disk."""

    title = "NATS JetStream, sync always"
    acknowledged = "synced to the stream's file"
    sync = "always"
