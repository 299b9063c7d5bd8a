"""Processors of two nodes without the git server: the second mounts what the first has."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from meshcode.node.codeshare import CodeShare
from meshcode.node.crew import Crew
from meshcode.node.processors import Processors
from meshcode.wire.codec import pack, unpack
from tests.live.harness import until
from tests.node.code_world import node_id
from tests.worker.conftest import Repo

MOUNT_S = 60.0
Network = dict[bytes, "Host"]


class Host:
    """What the loop does for processors, as far as mounting goes; workers are real."""

    def __init__(self, name: str, folder: Path, others: Network) -> None:
        self.id = node_id(name)
        self.others = others
        (folder / "run").mkdir(parents=True)
        (folder / "log").mkdir()
        self.context: zmq.Context[Any] = zmq.Context()
        address = f"ipc:///tmp/mesh-test-{os.getpid()}-{name}"
        self.crew = Crew(self.context, address, folder / "run", 1, "ipc:///nowhere")
        self.said: list[str] = []
        self.saved: dict[str, Any] = {}
        self.processors = Processors(
            self.crew, folder / "code", name, lambda event: self.said.append(event.reason),
            self.saved.__setitem__,
        )  # fmt: skip
        self.share: CodeShare = self.processors.share_with(
            self._send, lambda: [other for other in others if other != self.id],
            lambda node: node.rstrip(b".").decode(),
        )  # fmt: skip
        others[self.id] = self

    def now_ms(self) -> int:
        """Node time."""
        return time.monotonic_ns() // 1_000_000

    def _send(self, to: bytes, message: dict[str, Any]) -> bool:
        data = pack(message)
        self.others[to].inbox.append((self.id, data))
        return True

    @property
    def inbox(self) -> list[tuple[bytes, bytes]]:
        """Messages that came and were not read yet."""
        return self.__dict__.setdefault("_inbox", [])

    def turn(self) -> None:
        """One round of the loop, without its links."""
        rows, self.inbox[:] = list(self.inbox), []
        for source, data in rows:
            assert self.share.received(source, unpack(data), self.now_ms()) == ""
        watched = self.processors.descriptors()
        for fd in select.select(list(watched), [], [], 0)[0]:
            self.processors.hear(watched[fd], self.now_ms())
        self.share.tick(self.now_ms())
        self.processors.reconcile(self.now_ms())

    def close(self) -> None:
        """End workers and children."""
        self.processors.stop_all("the test ends", self.now_ms(), 0)
        self.crew.close()
        self.context.destroy(0)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Callable[[str], Host]]:
    """Makes nodes that reach each other."""
    network: Network = {}
    yield lambda name: Host(name, tmp_path / name, network)
    for host in network.values():
        host.close()


def run(hosts: list[Host], done: Callable[[], Any]) -> None:
    """All take turns until `done`."""

    def turn() -> Any:
        for host in hosts:
            host.turn()
        return done()

    until(turn, MOUNT_S, lambda: json.dumps([host.said for host in hosts], indent=1))


def model(url: str, **fields: Any) -> dict[str, Any]:
    """A snapshot with one processor."""
    return {"processors": {"p": {"git": url, "module": "m", **fields}}}


def test_a_processor_is_mounted_from_a_peer_when_its_server_is_gone(
    hosts: Callable[[str], Host], tmp_path: Path
):
    """Then its model pins a commit that nobody has: the old code keeps running."""
    repo = Repo(tmp_path / "repo")
    head = repo.commit({"m.py": "def f(x): return x\n"})
    url = f"file://{repo.folder}"
    a, b = hosts("a"), hosts("b")
    a.processors.apply(model(url))
    run([a], lambda: a.processors.commits)
    assert a.processors.held()[0][:2] == (url, "branch")
    repo.folder.rename(tmp_path / "gone")

    b.processors.apply(model(url))
    run([a, b], lambda: b.processors.commits)

    assert b.processors.commits == {"p": head}
    assert list(b.processors.by_name["p"].mount["tasks"]) == ["f"]
    assert b.saved["p"]["mount"]["url"] == url
    first = next(text for text in b.said if "could not be mounted (fetch)" in text)
    assert f"there is no repository at {url}" in first
    assert f"its git server cannot be reached; waiting for commit {head[:12]} from node a" in b.said
    assert b.said[-1] == "its workers are starting"
    assert b.crew.by_id, "a worker was started"

    b.processors.apply(model(url, commit="d" * 40))
    told = "none of 1 other nodes has commit " + "d" * 40 + " mounted"
    run([a, b], lambda: told in b.said[-1])
    assert b.said[-1].endswith(f"the code of commit {head[:12]} keeps running")
    assert b.processors.status_of("p") == "failed"
    assert b.processors.commits == {"p": head}


def test_a_failed_build_asks_no_peer(hosts: Callable[[str], Host], tmp_path: Path):
    """The commit came; what is wrong with it a peer cannot mend."""
    repo = Repo(tmp_path / "repo")
    repo.commit({"m.py": "def f(x): return x\n"})
    a, b = hosts("a"), hosts("b")
    b.processors.apply(model(str(repo.folder), module_path="nowhere"))

    run([a, b], lambda: b.processors.status_of("p") == "failed")

    assert "could not be mounted (environment)" in b.said[-1]
    assert not b.share.searches and not b.share.busy("p")


def test_what_is_stopped_meanwhile_is_not_looked_for(hosts: Callable[[str], Host], tmp_path: Path):
    url = f"file://{tmp_path}/none"
    a, b = hosts("a"), hosts("b")
    b.processors.apply(model(url))
    until(lambda: b.turn() or b.share.busy("p"), MOUNT_S, "a search")
    assert b.processors.status_of("p") == "building"
    assert a.inbox

    b.processors.apply(model(url, requested_status="stop"))
    b.turn()

    assert not b.share.busy("p")
    assert b.processors.status_of("p") == "stopped"
