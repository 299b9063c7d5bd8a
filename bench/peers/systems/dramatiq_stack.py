"""dramatiq with RabbitMQ and results in Redis.

Queues are durable and messages persistent by its defaults; `confirm_delivery` makes `send` wait for
the broker's confirmation.  Eight threads a process are its default.
"""

from __future__ import annotations

import os

from bench.peers.peer import CHAIN, WAIT_S, Peer
from bench.peers.servers import worker
from bench.peers.systems.rabbit_server import Rabbit
from bench.peers.systems.redis_server import Redis

GROUP = 2_000
WAIT_MS = WAIT_S * 1_000


class DramatiqRabbit(Peer):
    """One broker, one backend, one worker process of eight threads."""

    title = "dramatiq + RabbitMQ, confirms"
    acknowledged = "confirmed by the broker: a persistent message is on its disk"
    settings = "confirm_delivery, 8 threads a process, group, pipeline; results in Redis, everysec"
    packages = ("dramatiq", "pika")

    def start(self) -> None:
        """Servers, worker, client."""
        self.redis = Redis(self.folder, "everysec")
        self.rabbit = Rabbit(self.folder)
        os.environ["PEERS_BROKER"] = self.rabbit.url
        os.environ["PEERS_BACKEND"] = self.redis.url + "/1"
        # Its log of each message is INFO; the command has no switch below that.
        self.worker = worker(
            self.folder, "dramatiq-worker", "-m", "dramatiq",
            "bench.peers.systems.dramatiq_tasks", "--processes", str(self.workers),
            "--threads", "8",
        )  # fmt: skip
        from bench.peers.systems import dramatiq_tasks

        self.tasks = dramatiq_tasks

    def stop(self) -> None:
        """Worker first."""
        self.worker.stop()
        self.tasks.broker.close()
        self.rabbit.child.stop()
        self.redis.child.stop()

    def versions(self) -> list[str]:
        """With the servers'."""
        return [*super().versions(), self.rabbit.version(), self.redis.version()]

    def single(self, value: int) -> int:
        """send().get_result()."""
        got: int = self.tasks.nop.send(value).get_result(block=True, timeout=WAIT_MS)
        return got

    def _all(self, count: int) -> list[int]:
        from dramatiq import group

        found: list[int] = []
        for first in range(0, count, GROUP):
            values = range(first, min(count, first + GROUP))
            sent = group([self.tasks.nop.message(value) for value in values]).run()
            found += sent.get_results(block=True, timeout=WAIT_MS)
        return found

    def bulk(self, count: int) -> list[int]:
        """Groups."""
        return self._all(count)

    def chains(self, count: int) -> list[int]:
        """Its pipelines, all in flight."""
        from dramatiq import pipeline

        nop = self.tasks.nop
        sent = [
            pipeline([nop.message(n), *[nop.message() for _ in range(CHAIN - 1)]]).run()
            for n in range(count)
        ]
        return [one.get_result(block=True, timeout=WAIT_MS) for one in sent]

    def fan(self, width: int) -> int:
        """A group; its callbacks get no results, so the client passes them on."""
        message = self.tasks.count.send(self._all(width))
        got: int = message.get_result(block=True, timeout=WAIT_MS)
        return got

    def rest(self) -> None:
        """Without a worker."""
        self.worker.stop()

    def submit(self, value: int) -> None:
        """Confirmed."""
        self.tasks.nop.send(value)

    def crash(self) -> None:
        """The broker."""
        self.rabbit.child.kill()
        self.rabbit.start()

    def waiting(self) -> int:
        """Messages of the queue."""
        return self.rabbit.length("default")
