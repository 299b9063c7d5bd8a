"""A worker of pgqueuer.

python -m bench.peers.systems.pgqueuer_worker URL
"""

from __future__ import annotations

import asyncio
import sys

import asyncpg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer

BATCH = 1_000


async def work(url: str) -> None:
    """Serve until ended."""
    queue = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

    @queue.entrypoint("nop")
    async def nop(job: Job) -> None:
        """It keeps no results."""
        assert job.payload is not None

    await queue.run(batch_size=BATCH)
    await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
