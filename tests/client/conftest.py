"""Peers for the client tests: each is a process of its own on an ipc link of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshcode.client import Client, connect, requests

ROOT = Path(__file__).resolve().parent.parent.parent
SOON_S = 15.0  # Long enough for a busy machine; no test waits so long when all is well.


class Peer:
    """One echo node that can be killed and started again at the same address."""

    def __init__(
        self,
        window: int = 8192,
        echoes: bool = True,
        *,
        log: Path | None = None,
        address: str | None = None,
        **options: object,
    ) -> None:
        """`log` is shared by the peers of one mesh; `options` are those of EchoNode."""
        self._folder = tempfile.TemporaryDirectory(prefix="mc-")
        self.address = address or f"ipc://{self._folder.name}/clients.ipc"
        self._arguments = [
            str(log or f"{self._folder.name}/log"), str(window), "echoes" if echoes else "-",
            json.dumps(options),
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Peer:
        """Start the process; clients that wait for it find it by themselves."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        script = str(ROOT / "tests/client/echo_node.py")
        self.process = subprocess.Popen(
            [sys.executable, script, self.address, *self._arguments], env=env
        )
        return self

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: it is there and says nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def remove(self) -> None:
        """End it and delete its folder."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self._folder.cleanup()


@pytest.fixture(autouse=True)
def asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests ask of the peer may be asked twice."""
    more = {"test.count", "test.publish", "test.release", "test.reset"}
    monkeypatch.setattr(requests, "_SAFE", requests._SAFE | more)


@pytest.fixture(scope="session")
def shared_peer() -> Iterator[Peer]:
    """One running echo node for all tests that do not kill it."""
    found = Peer().start()
    yield found
    found.remove()


@pytest.fixture
def peer(shared_peer: Peer) -> Peer:
    """A running echo node that has forgotten everything."""
    with connect(shared_peer.address, timeout=SOON_S) as client:
        client.ask("test.reset")
    return shared_peer


@pytest.fixture
def make_peer() -> Iterator[Callable[..., Peer]]:
    """Makes echo nodes that are not started yet."""
    made: list[Peer] = []

    def make(**options: object) -> Peer:
        made.append(Peer(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for found in made:
        found.remove()


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    """A client of `peer`."""
    found = connect(peer.address, timeout=SOON_S)
    yield found
    found.close(0)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so; fails with `what` when it is not in time."""
    end = time.monotonic() + SOON_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"not within {SOON_S} s: {what}"
        pause.wait(0.005)
