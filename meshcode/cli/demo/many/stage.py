"""The stage of several nodes: a home, a port and a process for each, made into one mesh."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from pathlib import Path

from meshcode.cli.demo import repository
from meshcode.cli.demo.stage import Stage
from meshcode.client import Client, connect
from meshcode.errors import NodeError

FACTORLIB = Path(__file__).parent.with_name("factorlib")
LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000, 2)  # Below those that systems give to outgoing connections.
PORTS_TRIED_MAX = 200
# Peers are found by the invitation, at their own addresses, whatever the person's shell says.
APART = {"MESH_MDNS": "0", "MESH_PEER_VIA": ""}


class Host(Stage):
    """One node of the mesh, in a folder of its own; the folder has the node's name."""

    def __init__(self, folder: Path, name: str, *, quiet: bool) -> None:
        """Nothing runs yet; `folder` is that of the whole demo."""
        super().__init__(folder / name, quiet=quiet, more=APART, name=name)
        self.killed = False  # For good.

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self.node is not None and self.node.poll() is None

    def kill_for_good(self) -> int:
        """`kill -9` of the node, never to be started again; returns what its process id was."""
        assert self.node is not None
        pid = self.node.pid
        self.say(f"  {self.name} $ kill -9 {pid}        (the node that accepted the calls)")
        self.kill_node()
        self.killed = True
        return pid


class Hosts:
    """All nodes of the demo."""

    def __init__(self, folder: Path, count: int, *, quiet: bool) -> None:
        """Nothing runs yet.

        Args:
            folder: empty; everything is made in it.
            count: of nodes, 2 or more.
        """
        self.folder = folder
        self.all = [Host(folder, f"n{n + 1}", quiet=quiet) for n in range(count)]
        self.first = self.all[0]

    @property
    def living(self) -> list[Host]:
        """Those that were not killed for good."""
        return [host for host in self.all if not host.killed]

    def assemble(self) -> None:
        """`mesh init` on the first; on the others `mesh join` with a line of `mesh invite`.

        Every node runs when this returns.

        Raises:
            NodeError: a command failed, or there is no free port.
        """
        first, *others = self.all
        first.mesh("init", "--name", first.name, "--bind", f"tcp://{LOOPBACK}:{free_port()}")
        first.start_node()
        for host in others:
            line = first.mesh("invite", "--name", host.name).splitlines()[-1]
            bind = f"tcp://{LOOPBACK}:{free_port()}"
            host.mesh("join", line, "--name", host.name, "--bind", bind)
            host.start_node()

    def connect(self) -> Client:
        """A client that begins at the first node, and knows where else it may go."""
        return connect([address_of(host) for host in self.all])

    def stop(self) -> None:
        """`mesh down` of every node that runs."""
        for host in self.living:
            if host.up:
                host.mesh("down")

    def left_running(self, timeout: float) -> list[str]:
        """Processes of any node that still run after `timeout` seconds for each."""
        return [text for host in self.all for text in host.left_running(timeout)]

    def close(self, *, keep: bool) -> None:
        """End what still runs, and remove the folder unless it is to be kept."""
        for host in self.all:
            host.close(keep=keep)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_ends(self) -> str:
        """The end of every node's log, for the text of an error."""
        return "\n".join(f"{host.name}: {host.log_end()}" for host in self.all)


def address_of(host: Host) -> str:
    """Where clients reach a node."""
    from meshcode import paths

    return paths.clients_address(host.home)


def free_port() -> int:
    """A port of this machine that is free, and the one after it, which the join link takes.

    Raises:
        NodeError: none was found.
    """
    start = int.from_bytes(os.urandom(2), "big")
    for n in range(PORTS_TRIED_MAX):
        port = PORTS[(start + n) % len(PORTS)]
        if _is_free(port) and _is_free(port + 1):
            return port
    raise NodeError(
        f"of {PORTS_TRIED_MAX} ports from {PORTS[0]} to {PORTS[-1]} at {LOOPBACK} none is free;"
        " end what holds them"
    )


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def make_repository(folder: Path) -> str:
    """A git repository with the code of the demo; returns its commit."""
    package = folder / FACTORLIB.name
    package.mkdir(parents=True)
    for source in sorted(FACTORLIB.glob("*.py")):
        shutil.copyfile(source, package / source.name)
    repository.git(folder, "init", "-q", "-b", "main")
    repository.git(folder, "add", ".")
    repository.git(folder, "commit", "-q", "-m", f"{FACTORLIB.name}: take numbers apart")
    return repository.git(folder, "rev-parse", "HEAD")
