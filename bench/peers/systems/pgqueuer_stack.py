"""pgqueuer on Postgres: jobs in a table, woken by NOTIFY.

It keeps no results, so what comes back to the client is that a job has ended well, by its
CompletionWatcher.  Many jobs are enqueued by one statement, as its documentation recommends.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from bench.peers.peer import WAIT_S, Peer
from bench.peers.servers import worker
from bench.peers.systems.postgres_server import Postgres

STATEMENT = 1_000  # Jobs enqueued by one.


class PgQueuerStack(Peer):
    """One worker process of asyncio."""

    title = "pgqueuer + Postgres"
    acknowledged = "committed: synced to the write-ahead log"
    settings = "1,000 jobs a statement, batch_size 1,000, uvloop; completion watched, no results"
    has_chains = False
    has_fan = False
    packages = ("pgqueuer", "asyncpg")

    def start(self) -> None:
        """Server, tables, worker, client."""
        import uvloop

        self.postgres = Postgres(self.folder)
        self.loop = uvloop.new_event_loop()
        self.loop.run_until_complete(self._connect())
        self.worker = worker(
            self.folder, "pgqueuer-worker", "-m", "bench.peers.systems.pgqueuer_worker",
            self.postgres.url,
        )  # fmt: skip

    async def _connect(self) -> None:
        import asyncpg
        from pgqueuer import AsyncpgDriver, Queries
        from pgqueuer.core.completion import CompletionWatcher

        self.queries = Queries(AsyncpgDriver(await asyncpg.connect(self.postgres.url)))
        await self.queries.install()
        driver = AsyncpgDriver(await asyncpg.connect(self.postgres.url))
        self.watcher = CompletionWatcher(
            driver, queries=Queries(driver), debounce=timedelta(milliseconds=5)
        )
        await self.watcher.__aenter__()

    def stop(self) -> None:
        """Worker, then server; its connections end with it."""
        self.worker.stop()
        self.postgres.child.stop()

    def versions(self) -> list[str]:
        """With the server's."""
        return [*super().versions(), self.postgres.version()]

    async def _run(self, values: list[int]) -> list[int]:
        ended: list[asyncio.Future[str]] = []
        for first in range(0, len(values), STATEMENT):
            part = values[first : first + STATEMENT]
            payloads: list[bytes | None] = [str(value).encode() for value in part]
            ids = await self.queries.enqueue(["nop"] * len(part), payloads, [0] * len(part))
            ended += [self.watcher.wait_for(number) for number in ids]
        states = await asyncio.wait_for(asyncio.gather(*ended), WAIT_S)
        return [v for v, state in zip(values, states, strict=True) if state == "successful"]

    def _ended(self, values: list[int]) -> list[int]:
        done: list[int] = self.loop.run_until_complete(self._run(values))
        return done

    def single(self, value: int) -> int:
        """One job, until it has ended."""
        return self._ended([value])[0]

    def bulk(self, count: int) -> list[int]:
        """Statements of a thousand."""
        return self._ended(list(range(count)))

    def rest(self) -> None:
        """Without a worker."""
        self.worker.stop()

    def submit(self, value: int) -> None:
        """A statement of its own."""
        self.loop.run_until_complete(self.queries.enqueue("nop", str(value).encode()))

    def crash(self) -> None:
        """Every process of the server."""
        self.postgres.child.kill()
        self.postgres.start()

    def waiting(self) -> int:
        """Rows."""
        return self.postgres.ask("SELECT count(*) FROM pgqueuer WHERE status = 'queued'")
