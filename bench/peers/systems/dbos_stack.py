"""DBOS on Postgres: durable workflows as a library, in the process that calls them.

Its documentation starts workflows with `start_workflow` where the program itself runs them; queues
are for what must be limited, and are polled.
"""

from __future__ import annotations

from typing import Any

from bench.peers.peer import CHAIN, Peer
from bench.peers.systems.postgres_server import Postgres

FLIGHT = 500  # Workflows whose result has not come.


def _workflows() -> Any:
    """The functions, known to DBOS."""
    from dbos import DBOS

    class Workflows:
        """As a program would have them."""

        @staticmethod
        @DBOS.step()
        def step(value: int) -> int:
            """Return what came."""
            return value

        @staticmethod
        @DBOS.workflow()
        def nop(value: int) -> int:
            """Return what came."""
            return value

        @staticmethod
        @DBOS.workflow()
        def chain(value: int) -> int:
            """Ten durable steps."""
            for _ in range(CHAIN):
                value = Workflows.step(value)
            return value

        @staticmethod
        @DBOS.workflow()
        def fan(width: int) -> int:
            """Children side by side, then how many results there are."""
            children = [DBOS.start_workflow(Workflows.nop, value) for value in range(width)]
            return len([child.get_result() for child in children])

    return Workflows


class DbosPostgres(Peer):
    """Client and worker are one process."""

    title = "DBOS + Postgres"
    acknowledged = "committed: synced to the write-ahead log"
    settings = "start_workflow in the client's process, its own threads; a chain is 10 steps"
    packages = ("dbos", "psycopg")

    def start(self) -> None:
        """Server, then the library."""
        from dbos import DBOS

        self.postgres = Postgres(self.folder)
        DBOS(config={
            "name": "peers", "system_database_url": self.postgres.url, "log_level": "WARNING",
        })  # fmt: skip
        self.flows = _workflows()
        DBOS.launch()

    def stop(self) -> None:
        """Library, then server."""
        from dbos import DBOS

        DBOS.destroy()
        self.postgres.child.stop()

    def versions(self) -> list[str]:
        """With the server's."""
        return [*super().versions(), self.postgres.version()]

    def single(self, value: int) -> int:
        """Called, as a function."""
        got: int = self.flows.nop(value)
        return got

    def _all(self, flow: Any, count: int) -> list[int]:
        from dbos import DBOS

        found: list[int] = []
        for first in range(0, count, FLIGHT):
            values = range(first, min(count, first + FLIGHT))
            handles = [DBOS.start_workflow(flow, value) for value in values]
            found += [handle.get_result() for handle in handles]
        return found

    def bulk(self, count: int) -> list[int]:
        """Handles, then their results."""
        return self._all(self.flows.nop, count)

    def chains(self, count: int) -> list[int]:
        """Workflows of ten steps."""
        return self._all(self.flows.chain, count)

    def fan(self, width: int) -> int:
        """A workflow of workflows."""
        got: int = self.flows.fan(width)
        return got

    def rest(self) -> None:
        """Submits go to a queue that no process takes from."""
        from dbos import DBOSClient

        self.client = DBOSClient(system_database_url=self.postgres.url)

    def submit(self, value: int) -> None:
        """Enqueued."""
        self.client.enqueue({"queue_name": "rests", "workflow_name": "nop"}, value)

    def crash(self) -> None:
        """Every process of the server."""
        self.postgres.child.kill()
        self.postgres.start()

    def waiting(self) -> int:
        """Rows."""
        return self.postgres.ask(
            "SELECT count(*) FROM dbos.workflow_status WHERE status = 'ENQUEUED'"
        )
