"""meshcode itself, by its ordinary client library: one node, its log synced, `Socket.map`."""

from __future__ import annotations

from bench.peers.peer import CHAIN, WAIT_S, Peer
from meshcode.client import connect, funnel, pipeline
from tests.live.harness import Mesh, make_repository

MODULE = "peer_tasks"
TASKS = '''
def nop(value=None):
    """Return what came."""
    return value


def count(values):
    """How many there are."""
    return len(values)
'''
FLIGHT = 200  # Pipelines at once.


class MeshNode(Peer):
    """One node and its workers, everything at its defaults."""

    title = "meshcode, one node"
    acknowledged = "synced to the node's log: `local 1/1`"
    settings = "defaults; Socket.map (at most 4,096 in flight), pipeline(), funnel(); ipc"
    packages = ("pyzmq", "lmdb", "msgpack")

    def start(self) -> None:
        """From an empty home: a repository, a node, its model, mounted code, a ready worker."""
        self.mesh = Mesh(self.folder / "home")
        self.mesh.start()
        repository = self.folder / "repository"
        make_repository(repository, {f"{MODULE}.py": TASKS})
        self.mesh.offer("peers", repository, MODULE, ["nop", "count"], workers=self.workers)
        self.mesh.wait_ready("peers", self.workers)
        self._connect()

    def _connect(self) -> None:
        self.client = connect(self.mesh.address)
        self.nop = self.client.socket(f"{MODULE}.nop")
        self.count = self.client.socket(f"{MODULE}.count")

    def stop(self) -> None:
        """The client first, then the node."""
        self.client.close()
        self.mesh.stop()

    def single(self, value: int) -> int:
        """A call, waited for."""
        got: int = self.nop(value)
        return got

    def bulk(self, count: int) -> list[int]:
        """Results in order, with a window of the client's own."""
        return list(self.nop.map(range(count)))

    def chains(self, count: int) -> list[int]:
        """Durable pipelines."""
        made = pipeline([self.nop.p()] * CHAIN)
        found: list[int] = []
        for first in range(0, count, FLIGHT):
            flows = [made(number) for number in range(first, min(count, first + FLIGHT))]
            found += [flow.get(WAIT_S) for flow in flows]
        return found

    def fan(self, width: int) -> int:
        """One durable flow."""
        header = [self.nop.p(number) for number in range(width)]
        got: int = funnel(header, self.count.p())().get(WAIT_S)
        return got

    def rest(self) -> None:
        """The worker is kept and gets no calls."""
        self.mesh.ask("proc", do="pause", name="peers")

    def submit(self, value: int) -> None:
        """Sent alone, and acknowledged."""
        self.nop.submit(value).wait_accepted(WAIT_S)

    def crash(self) -> None:
        """The node; its workers end with it."""
        self.mesh.kill()
        self.mesh.start()

    def waiting(self) -> int:
        """Open calls of the log."""
        open_calls: int = self.mesh.ask("status")["calls"]["open"]
        return open_calls
