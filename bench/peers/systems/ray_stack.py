"""Ray: an actor on one CPU, which its documentation names as quicker than tasks for small work.

Its workers run at nice 15 unless told otherwise; here they run as everybody's do.
"""

from __future__ import annotations

import os
from typing import Any

from bench.peers.peer import CHAIN, WAIT_S, Peer


class RayActor(Peer):
    """As many actors as workers; calls go to them in turn."""

    title = "Ray, actor"
    acknowledged = "in memory of its processes"
    settings = "one actor a worker, no dashboard, workers at nice 0; ray.get of a list"
    brokered = False  # Calls of an actor go to its process.
    keeps = False
    packages = ("ray",)

    def start(self) -> None:
        """A node of its own."""
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }  # fmt: skip
        import ray

        ray.init(
            num_cpus=self.workers, include_dashboard=False, log_to_driver=False,
            logging_level="ERROR", _temp_dir=str(self.folder),
        )  # fmt: skip

        class Worker:
            """What the actor can do."""

            def nop(self, value: int) -> int:
                """Return what came."""
                return value

            def count(self, *values: int) -> int:
                """How many there are."""
                return len(values)

        self.ray = ray
        self.actors: list[Any] = [
            ray.remote(num_cpus=1)(Worker).remote() for _ in range(self.workers)
        ]

    def stop(self) -> None:
        """The node."""
        self.ray.shutdown()

    def single(self, value: int) -> int:
        """ray.get of one."""
        got: int = self.ray.get(self.actors[0].nop.remote(value), timeout=WAIT_S)
        return got

    def _send(self, values: Any) -> list[Any]:
        actors, many = self.actors, len(self.actors)
        return [actors[n % many].nop.remote(value) for n, value in enumerate(values)]

    def bulk(self, count: int) -> list[int]:
        """Everything sent, then one get."""
        found: list[int] = self.ray.get(self._send(range(count)), timeout=WAIT_S)
        return found

    def chains(self, count: int) -> list[int]:
        """References as arguments of further calls."""
        references: Any = range(count)
        for _ in range(CHAIN):
            references = self._send(references)
        found: list[int] = self.ray.get(references, timeout=WAIT_S)
        return found

    def fan(self, width: int) -> int:
        """References as the arguments of one call."""
        references = self._send(range(width))
        got: int = self.ray.get(self.actors[0].count.remote(*references), timeout=WAIT_S)
        return got

    def submit(self, value: int) -> None:
        """Nobody acknowledges."""
        self.actors[0].nop.remote(value)
