"""The interface that every measured system has, so that one runner can measure them all.

A system lives in a process of its own (`drive.py`), which is its client: servers and workers are
children of it.  Nothing here is timed; `drive.py` does that, the same way for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import metadata
from pathlib import Path

CHAIN = 10  # Steps.
WAIT_S = 60  # For any one result; longer is a failure, and a row says so.


class Unavailable(Exception):
    """This system cannot be measured here; the text says why."""


class Peer(ABC):
    """One system with its servers, one pool of workers and one client."""

    title = ""
    # What an acknowledged submit means, by the system's own documentation.
    acknowledged = ""
    # How it is set up and why: what its documentation recommends for many short tasks.
    settings = ""
    # Tasks pass a process that is neither client nor worker.
    brokered = True
    # It claims to keep tasks when its servers die, so `crash` and `waiting` make sense.
    keeps = True
    has_chains = True
    has_fan = True
    packages: tuple[str, ...] = ()

    def __init__(self, folder: Path, workers: int) -> None:
        """Everything it writes belongs in `folder`; `workers` is the count of worker processes."""
        self.folder = folder
        self.workers = workers

    def versions(self) -> list[str]:
        """Name and version of all that takes part."""
        return [f"{name} {metadata.version(name)}" for name in self.packages]

    @abstractmethod
    def start(self) -> None:
        """Start servers, workers and the client.

        Raises:
            Unavailable: it cannot be had here.
        """

    @abstractmethod
    def stop(self) -> None:
        """End what `start` started."""

    @abstractmethod
    def single(self, value: int) -> int:
        """One no-op call, waited for."""

    @abstractmethod
    def bulk(self, count: int) -> list[int]:
        """So many no-op calls in the bulk way of its documentation; their results, in order."""

    def chains(self, count: int) -> list[int]:
        """So many chains of ten no-ops, in flight together; the results, in order."""
        raise Unavailable("it has no chains")

    def fan(self, width: int) -> int:
        """Calls side by side, then one with all their results, which says how many there were."""
        raise Unavailable("it has no funnel")

    # For the check of what is on disk.

    def rest(self) -> None:
        """From here on no task is run, so that all that is synced is synced for a submit.

        What keeps nothing on disk need not rest: whatever it syncs would be one too many.
        """
        assert not self.keeps

    @abstractmethod
    def submit(self, value: int) -> None:
        """Submit one call and return when it is acknowledged; nobody asks for its result."""

    def crash(self) -> None:
        """kill -9 of whatever holds the tasks, then start it again on the same files."""
        raise Unavailable("nothing of it is kept on disk")

    def waiting(self) -> int:
        """How many submitted tasks the system knows and has not run."""
        raise Unavailable("nothing of it is kept on disk")
