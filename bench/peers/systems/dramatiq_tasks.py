"""The dramatiq actors, as its worker and its client import them."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RabbitmqBroker(url=os.environ["PEERS_BROKER"], confirm_delivery=True)
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["PEERS_BACKEND"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def nop(value: int) -> int:
    """Return what came."""
    return value


@dramatiq.actor(store_results=True)
def count(values: list[int]) -> int:
    """How many there are."""
    return len(values)
