"""A worker of JetStream: a durable pull consumer that replies by a message.

python -m bench.peers.systems.jetstream_worker URL
"""

from __future__ import annotations

import contextlib
import json
import sys

import nats
import nats.errors
import uvloop

STREAM, SUBJECT, DURABLE = "CALLS", "calls.nop", "workers"
BATCH = 200


async def work(url: str) -> None:
    """Serve until ended."""
    client = await nats.connect(url)
    pulled = await client.jetstream().pull_subscribe(SUBJECT, durable=DURABLE, stream=STREAM)
    while True:
        with contextlib.suppress(nats.errors.TimeoutError):
            for message in await pulled.fetch(BATCH, timeout=30):
                reply, number, value = json.loads(message.data)
                await client.publish(reply, json.dumps([number, value]).encode())
                await message.ack()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
