"""Processors of nodes that exchange code: what the loop does for them, without links."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from meshcode.node.codeshare import CodeShare
from meshcode.node.crew import Crew
from meshcode.node.processors import Processors
from meshcode.wire.codec import pack, unpack
from tests.live.harness import until
from tests.node.code_world import node_id

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
            self._send, self.peers, lambda _processor: self.peers(),
            lambda node: node.rstrip(b".").decode(),
        )  # fmt: skip
        others[self.id] = self

    def now_ms(self) -> int:
        """Node time."""
        return time.monotonic_ns() // 1_000_000

    def peers(self) -> list[bytes]:
        """The other nodes."""
        return [other for other in self.others if other != self.id]

    def _send(self, to: bytes, message: dict[str, Any]) -> bool:
        data = pack(message)
        self.others[to].inbox.append((self.id, data))
        return True

    @property
    def inbox(self) -> list[tuple[bytes, bytes]]:
        """Messages that came and were not read yet."""
        return self.__dict__.setdefault("_inbox", [])

    def messages(self) -> list[dict[str, Any]]:
        """What came and was not read yet."""
        return [unpack(data) for _, data in self.inbox]

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
