"""Celery with Redis or RabbitMQ.

From its optimizing guide: for many short tasks a prefetch multiplier of 64 or 128; `acks_late` is
what brings back the task of a worker that died.  JSON, the prefork pool and transient result keys
in Redis are the defaults or what the guide of backends recommends (`rpc://` knows no chords).
"""

from __future__ import annotations

import json
import os
from typing import Any

from bench.peers.peer import CHAIN, WAIT_S, Peer
from bench.peers.servers import Child, worker
from bench.peers.systems.rabbit_server import Rabbit
from bench.peers.systems.redis_server import Redis

SETTINGS = {
    "task_acks_late": True,
    "worker_prefetch_multiplier": 128,
    "broker_connection_retry_on_startup": True,
}
GROUP = 2_000  # Tasks of a group at most.


class _Celery(Peer):
    packages: tuple[str, ...] = ("celery", "kombu")
    fsync = "everysec"
    rabbit: Rabbit | None = None
    workers_child: Child | None = None

    def _brokers(self) -> str:
        """Start what is needed; the URL of the broker."""
        self.redis = Redis(self.folder, self.fsync)
        return self.redis.url + "/0"

    def start(self) -> None:
        """Servers, then the worker, then this client."""
        extra: dict[str, Any] = {}
        broker = self._brokers()
        if self.rabbit is not None:
            extra["broker_transport_options"] = {"confirm_publish": True}
        os.environ["PEERS_BROKER"] = broker
        os.environ["PEERS_BACKEND"] = self.redis.url + "/1"
        os.environ["PEERS_SETTINGS"] = json.dumps({**SETTINGS, **extra})
        self._work()
        from bench.peers.systems import celery_tasks

        self.tasks = celery_tasks

    def _work(self) -> None:
        self.workers_child = worker(
            self.folder, "celery-worker", "-m", "celery", "-A", "bench.peers.systems.celery_tasks",
            "worker", "--pool", "prefork", "--concurrency", str(self.workers), "--loglevel",
            "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat",
        )  # fmt: skip

    def stop(self) -> None:
        """Worker first."""
        if self.workers_child is not None:
            self.workers_child.stop()
        if self.rabbit is not None:
            self.rabbit.child.stop()
        self.redis.child.stop()

    def single(self, value: int) -> int:
        """delay().get()."""
        got: int = self.tasks.nop.delay(value).get(WAIT_S)
        return got

    def bulk(self, count: int) -> list[int]:
        """A group, and its results joined in one read of the backend."""
        from celery import group

        found: list[int] = []
        for first in range(0, count, GROUP):
            values = range(first, min(count, first + GROUP))
            found += group(self.tasks.nop.s(value) for value in values)().get(WAIT_S)
        return found

    def chains(self, count: int) -> list[int]:
        """Canvas chains, all in flight."""
        from celery import chain

        nop = self.tasks.nop
        sent = [chain(nop.s(n), *[nop.s() for _ in range(CHAIN - 1)])() for n in range(count)]
        return [result.get(WAIT_S) for result in sent]

    def fan(self, width: int) -> int:
        """A chord."""
        from celery import chord

        header = [self.tasks.nop.s(value) for value in range(width)]
        got: int = chord(header)(self.tasks.count.s()).get(WAIT_S)
        return got

    def rest(self) -> None:
        """Without a worker."""
        assert self.workers_child is not None
        self.workers_child.stop()

    def submit(self, value: int) -> None:
        """Returns when the transport has taken the message."""
        self.tasks.nop.delay(value)


class CeleryRedis(_Celery):
    """The persistence that Redis recommends: an append-only file, synced each second."""

    title = "Celery + Redis, AOF everysec"
    acknowledged = "in the server's memory; synced about once a second"
    settings = "prefork, acks_late, prefetch 128, JSON, group().get(), chord; broker and results"

    def versions(self) -> list[str]:
        """With the server's."""
        return [*super().versions(), self.redis.version()]

    def crash(self) -> None:
        """The server that has the queue."""
        self.redis.child.kill()
        self.redis.start()

    def waiting(self) -> int:
        """Length of the list that is the queue."""
        return self.redis.length("celery")


class CeleryRedisAlways(CeleryRedis):
    """The same, synced before each answer."""

    title = "Celery + Redis, AOF always"
    acknowledged = "synced to the append-only file"
    fsync = "always"


class CeleryRabbit(_Celery):
    """Durable queue, persistent messages, confirmed; results in Redis as above."""

    title = "Celery + RabbitMQ, confirms"
    acknowledged = "confirmed by the broker: a persistent message is on its disk"
    settings = "as with Redis; confirm_publish; results in Redis, AOF everysec"
    packages = ("celery", "kombu", "amqp")

    def _brokers(self) -> str:
        super()._brokers()
        self.rabbit = Rabbit(self.folder)
        return self.rabbit.url

    def versions(self) -> list[str]:
        """With the servers'."""
        assert self.rabbit is not None
        return [*super().versions(), self.rabbit.version(), self.redis.version()]

    def crash(self) -> None:
        """The broker."""
        assert self.rabbit is not None
        self.rabbit.child.kill()
        self.rabbit.start()

    def waiting(self) -> int:
        """Messages of the queue."""
        assert self.rabbit is not None
        return self.rabbit.length("celery")
