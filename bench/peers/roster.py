"""The systems that are measured, and where each is made."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import NamedTuple

from bench.peers.peer import Peer

OURS = "meshcode"


class Entry(NamedTuple):
    """Where a system is defined, and whether it needs the peers' environment."""

    module: str
    maker: str
    needs_environment: bool = True


SYSTEMS = {
    OURS: Entry("mesh", "MeshNode", False),
    "celery-redis": Entry("celery_stack", "CeleryRedis"),
    "celery-redis-always": Entry("celery_stack", "CeleryRedisAlways"),
    "celery-rabbit": Entry("celery_stack", "CeleryRabbit"),
    "dramatiq-rabbit": Entry("dramatiq_stack", "DramatiqRabbit"),
    "nats": Entry("jetstream", "JetStream"),
    "nats-always": Entry("jetstream", "JetStreamAlways"),
    "pgqueuer": Entry("pgqueuer_stack", "PgQueuerStack"),
    "dbos": Entry("dbos_stack", "DbosPostgres"),
    "dask": Entry("dask_stack", "DaskCluster"),
    "ray": Entry("ray_stack", "RayActor"),
    "pool": Entry("pool", "ChunkedPool", False),
    "pool-futures": Entry("pool", "FuturesPool", False),
}


def make(name: str, folder: Path, workers: int) -> Peer:
    """The system of that name, not started."""
    entry = SYSTEMS[name]
    module = importlib.import_module(f"bench.peers.systems.{entry.module}")
    made: Peer = getattr(module, entry.maker)(folder, workers)
    return made


def chosen(only: str | None) -> list[str]:
    """The names of `--only a,b`, in the order of the table; all without it.

    Raises:
        ValueError: a name is not known.
    """
    if not only:
        return list(SYSTEMS)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    for name in wanted:
        if name not in SYSTEMS:
            raise ValueError(f"there is no system {name!r}; there are {', '.join(SYSTEMS)}")
    return [name for name in SYSTEMS if name in wanted]
