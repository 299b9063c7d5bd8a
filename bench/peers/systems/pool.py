"""`concurrent.futures.ProcessPoolExecutor`: the floor.  No server, nothing on disk."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor

from bench.peers.peer import Peer


def nop(value: int) -> int:
    """Return what came."""
    return value


def count(values: list[int]) -> int:
    """How many there are."""
    return len(values)


class _Pool(Peer):
    acknowledged = "in memory of the caller only"
    brokered = False
    keeps = False
    has_chains = False

    def start(self) -> None:
        """The processes start with the first task."""
        self.executor = ProcessPoolExecutor(self.workers)

    def stop(self) -> None:
        """Ends the processes."""
        self.executor.shutdown(cancel_futures=True)

    def versions(self) -> list[str]:
        """That of Python is in the head."""
        return []

    def single(self, value: int) -> int:
        """A future, waited for."""
        return self.executor.submit(nop, value).result()

    def fan(self, width: int) -> int:
        """Gathered by the client and given to one more call."""
        return self.executor.submit(count, self._all(list(range(width)))).result()

    def _all(self, values: list[int]) -> list[int]:
        return [future.result() for future in [self.executor.submit(nop, v) for v in values]]

    def submit(self, value: int) -> None:
        """Into a queue of this process."""
        self.executor.submit(nop, value)


class ChunkedPool(_Pool):
    """The documentation: "for very long iterables, a large chunksize can improve performance"."""

    title = "ProcessPoolExecutor, map in chunks of 100"
    settings = "executor.map(chunksize=100): 100 calls are one message"

    def bulk(self, count: int) -> list[int]:
        """A hundred calls a message."""
        return list(self.executor.map(nop, range(count), chunksize=100))


class FuturesPool(_Pool):
    """A future for each call, as one has it when the calls are not all there at once."""

    title = "ProcessPoolExecutor, a future each"
    settings = "executor.submit for each call"

    def bulk(self, count: int) -> list[int]:
        """A message a call."""
        return self._all(list(range(count)))
