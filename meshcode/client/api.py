"""The object API: the declared model, and what is live, as Python objects.

    from meshcode.client.api import Processor, Queue, Socket

    shop = Processor("shop", git="/srv/shop", module="shop.orders", concurrency=2)
    price = Socket("shop.price", processor=shop, task="price", queue={"name": "orders"})
    print(price({"id": 1}))

The constructor finds the object of that name, or adds it.  `docs/objects.md` is the guide.
"""

from __future__ import annotations

from meshcode.client.decorators import ProcessorBase
from meshcode.client.flows import funnel, parallel, pipeline, segment
from meshcode.client.objects.kept import File, SavedFlow, Secret, Setting, Version
from meshcode.client.objects.live import Agent, Worker
from meshcode.client.objects.processor import Processor
from meshcode.client.objects.queue import Queue
from meshcode.client.objects.schedule import Schedule
from meshcode.client.objects.socket import Socket
from meshcode.client.objects.task import Argument, Task
from meshcode.client.objects.topology import Deployment, Gate, Network, Node, Plug, Scheduler
from meshcode.client.results import (
    chunk,
    filter,  # noqa: A004 - the name of the original
    flatten,
    get,
    omit,
    select,
    where,
)
from meshcode.client.user import USER

__all__ = [
    "Network", "Scheduler", "Node", "Deployment", "Processor", "Queue", "Socket", "Plug", "Gate",
    "Schedule", "Task", "Argument", "Agent", "Worker", "ProcessorBase", "USER", "Setting",
    "Secret", "File", "SavedFlow", "Version",
    "pipeline", "parallel", "funnel", "segment",
    "select", "where", "flatten", "chunk", "omit", "get", "filter",
]  # fmt: skip
