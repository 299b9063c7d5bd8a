"""Servers and workers as children: own port on loopback, own folder, ended by their process id."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.peers import tree
from bench.peers.peer import Unavailable

START_S = 60.0
STOP_S = 10.0
ROOT = Path(__file__).resolve().parent.parent.parent


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now.

    It lies below those that the kernel gives to outgoing connections: otherwise one of these, even
    that of a client that waits for this very server, may have it when the server wants it.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = list(range(max(1_024, min(lowest - 20_000, 12_000)), lowest))
    for port in random.sample(ports, len(ports)):
        with socket.socket() as link:
            try:
                link.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Unavailable(f"no port between {ports[0]} and {lowest} is free")


def program(name: str, *more: str) -> str:
    """The path of a server's program: beside this Python, on PATH, or in one of `more` folders.

    Raises:
        Unavailable: it is not installed.
    """
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", ""), "/usr/sbin", *more])
    found = shutil.which(name, path=path)
    if found is None:
        raise Unavailable(f"{name} is not installed; on Debian: apt-get install {name}")
    return found


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as link:
        link.settimeout(0.5)
        return link.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One started program, its words in a file."""

    def __init__(
        self, words: Sequence[str], folder: Path, name: str,
        env: dict[str, str] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """Started in `folder`; what it says goes to NAME.said there."""
        self.name = name
        self.said = folder / f"{name}.said"
        with self.said.open("ab") as out:
            self.process = subprocess.Popen(
                list(words), cwd=more.pop("cwd", folder), stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env={**os.environ, **(env or {})}, **more,
            )  # fmt: skip

    def until(self, ready: Callable[[], bool], seconds: float = START_S) -> None:
        """Wait for `ready()`.

        Raises:
            Unavailable: the program ended, or was not ready within `seconds`; with its last words.
        """
        end = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise Unavailable(f"{self.name} ended with {self.process.returncode}: {self.end()}")
            if time.monotonic() > end:
                raise Unavailable(f"{self.name} was not ready within {seconds} s: {self.end()}")
            time.sleep(0.01)

    def end(self) -> str:
        """The end of what it said."""
        return self.said.read_text(errors="replace")[-600:].strip()

    def kill(self) -> None:
        """kill -9 of it and of all below it; returns when they are gone."""
        pids = tree.tree_of(self.process.pid)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        while any(tree.is_alive(pid) for pid in pids):
            time.sleep(0.005)

    def stop(self) -> None:
        """Ask it to end, and kill it when it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()


def worker(folder: Path, name: str, *words: str, env: dict[str, str] | None = None) -> Child:
    """A worker: `python WORDS` of this environment, with this checkout importable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return Child([sys.executable, *words], folder, name, {"PYTHONPATH": path, **(env or {})})


def says_version(*words: str) -> str:
    """The first line of what a program says of its version."""
    run = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    return (run.stdout or run.stderr).strip().splitlines()[0]
