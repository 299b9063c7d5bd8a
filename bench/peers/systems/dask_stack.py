"""Dask distributed: a LocalCluster of worker processes with one thread each.

`worker-saturation: inf` is what its documentation of queuing names for throughput of short tasks;
with the default every task waits for a round trip of the scheduler.
"""

from __future__ import annotations

from bench.peers.peer import CHAIN, WAIT_S, Peer


def nop(value: int) -> int:
    """Return what came."""
    return value


def count(values: list[int]) -> int:
    """How many there are."""
    return len(values)


class DaskCluster(Peer):
    """The scheduler is in the client's process, as LocalCluster has it."""

    title = "Dask distributed"
    acknowledged = "in memory of the scheduler"
    settings = "LocalCluster, 1 thread a worker, worker-saturation inf, no dashboard; map, gather"
    keeps = False
    packages = ("distributed", "dask")

    def start(self) -> None:
        """Cluster and client."""
        import dask
        from distributed import Client, LocalCluster

        dask.config.set({"distributed.scheduler.worker-saturation": "inf"})
        self.cluster = LocalCluster(
            n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=str(self.folder),
        )  # fmt: skip
        self.client = Client(self.cluster)

    def stop(self) -> None:
        """Client and cluster."""
        self.client.close()
        self.cluster.close()

    def single(self, value: int) -> int:
        """submit().result()."""
        got: int = self.client.submit(nop, value, pure=False).result(WAIT_S)
        return got

    def bulk(self, count: int) -> list[int]:
        """map, then one gather."""
        return list(self.client.gather(self.client.map(nop, range(count), pure=False)))

    def chains(self, count: int) -> list[int]:
        """Futures as arguments of further calls."""
        futures = self.client.map(nop, range(count), pure=False)
        for _ in range(CHAIN - 1):
            futures = self.client.map(nop, futures, pure=False)
        return list(self.client.gather(futures))

    def fan(self, width: int) -> int:
        """A call with a list of futures."""
        futures = self.client.map(nop, range(width), pure=False)
        got: int = self.client.submit(count, futures, pure=False).result(WAIT_S)
        return got

    def submit(self, value: int) -> None:
        """Nobody acknowledges."""
        self.client.submit(nop, value, pure=False)
