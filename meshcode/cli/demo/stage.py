"""The stage of the demo: a node in a temporary home, the `mesh` command, and what is watched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from meshcode import paths
from meshcode.cli import output, process
from meshcode.client import Client, connect
from meshcode.errors import MeshError, NodeError, WaitTimeout

LOOK_S = 0.02  # Between two looks at the node.
READY_S = 120.0  # For git, the package index and the environment builder on a slow line.
STOP_S = 15.0
COMMAND_S = 60.0


class Stage:
    """A temporary home, the node in it, and every process that was seen to belong to it."""

    def __init__(
        self, folder: Path, *, quiet: bool, more: Mapping[str, str] | None = None, name: str = ""
    ) -> None:
        """Nothing runs yet; `folder` is empty and becomes the home of everything.

        Args:
            more: further environment variables for the node and the commands.
            name: of the node, where there are several: it is told with what is said.
        """
        self.folder = folder
        self.home = str(folder / "home")
        self.quiet = quiet
        self.name = name
        # Whatever database the person uses, the demo has one of its own.
        self._more = {"MESH_MODEL": "", **(more or {})}
        self.node: subprocess.Popen[bytes] | None = None
        self.seen: dict[int, psutil.Process] = {}
        self._log = process.open_log(self.home)

    def say(self, text: str) -> None:
        """Tell the person what happens; stderr."""
        if not self.quiet:
            output.say(text)

    def start_node(self) -> dict[str, Any]:
        """Start the node and wait until it answers; returns its status.

        It dies with this process, however this process dies.
        """
        self.node = process.spawn_node(self.home, self._log, follow_parent=True, more=self._more)
        found = process.wait_until_answers(self.home, self.node)
        self.look(found)
        return found

    def connect(self) -> Client:
        """A new client of the node."""
        return connect(paths.clients_address(self.home))

    def mesh(self, *words: str) -> str:
        """Run the `mesh` command as a person would; returns what it printed.

        Raises:
            NodeError: it failed; the text has what it said.
        """
        told = " ".join(_shown(word) for word in words)
        self.say(f"  {self.name}{' ' if self.name else ''}$ mesh {told}")
        environment = process.node_environment(self.home, self._more)
        found = subprocess.run(
            [sys.executable, "-m", "meshcode.cli", *words],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if found.returncode != 0:
            raise NodeError(
                f"`mesh {told}` ended with status {found.returncode}:"
                f" {found.stderr.strip() or found.stdout.strip()}",
                status=found.returncode,
            )
        return found.stdout.strip()

    def look(self, status: dict[str, Any]) -> None:
        """Remember every process of the node, to prove at the end that all are gone."""
        roots = [status.get("pid"), *(w.get("pid") for w in status.get("workers") or ())]
        for pid in roots:
            if not pid:
                continue
            with contextlib.suppress(psutil.Error):
                root = psutil.Process(int(pid))
                for one in (root, *root.children(recursive=True)):
                    self.seen.setdefault(one.pid, one)

    def wait(
        self, client: Client, wanted: Callable[[dict[str, Any]], bool], what: str, timeout: float
    ) -> dict[str, Any]:
        """Ask for the status until `wanted` is true of it; returns that status.

        Raises:
            WaitTimeout: it did not become true within `timeout` seconds.
            NodeError: the node ended instead.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = dict(client.ask("status"))
            self.look(found)
            if wanted(found):
                return found
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{what} took longer than {timeout:g} s; {_reasons(found)}")
            self.pause()

    def pause(self) -> None:
        """Let a moment pass; a node that ends in it is noticed.

        Raises:
            NodeError: the node ended by itself.
        """
        assert self.node is not None
        try:
            code = self.node.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            return
        raise NodeError(f"the node ended by itself with status {code}; {self.log_end()}")

    def log_end(self) -> str:
        """The end of the node's log, for the text of an error."""
        return "its log ends:\n" + "\n".join(f"  {line}" for line in process.log_tail(self.home))

    def kill_node(self) -> None:
        """`kill -9` of the node, in the middle of whatever it does."""
        assert self.node is not None
        self.node.send_signal(signal.SIGKILL)
        self.node.wait()

    def left_running(self, timeout: float) -> list[str]:
        """Processes of the demo that still run after `timeout` seconds."""
        for one in list(psutil.process_iter()):
            with contextlib.suppress(psutil.Error):
                if one.pid != os.getpid() and any(self.home in word for word in one.cmdline()):
                    self.seen.setdefault(one.pid, one)
        psutil.wait_procs(list(self.seen.values()), timeout=timeout)
        alive = []
        for one in self.seen.values():
            with contextlib.suppress(psutil.Error):
                if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                    alive.append(f"{one.pid} {' '.join(one.cmdline())[:80]}")
        return alive

    def close(self, *, keep: bool) -> None:
        """End what still runs, and remove the folder unless it is to be kept."""
        if self.node is not None and self.node.poll() is None:
            self.node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.node.wait(STOP_S)
            self.node.kill()
            self.node.wait()
        for one in self.seen.values():
            with contextlib.suppress(psutil.Error):
                one.kill()
        self._log.close()
        with contextlib.suppress(OSError, MeshError):
            ipc = paths.ipc_dir(self.home)
            if ipc != paths.run_dir(self.home):
                shutil.rmtree(ipc, ignore_errors=True)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)


def _shown(word: str) -> str:
    """A word as a shell takes it; of an invitation, which is long and a secret, only its kind."""
    import shlex

    return "LINE" if word.startswith("mesh1:") else shlex.quote(word)


def ready_workers(status: dict[str, Any], processor: str) -> list[dict[str, Any]]:
    """The workers of a processor that take calls."""
    return [
        worker
        for worker in status.get("workers") or ()
        if worker.get("processor") == processor and worker.get("state") == "ready"
    ]


def reason_of(status: dict[str, Any], processor: str) -> str:
    """Why a processor's calls cannot move; empty when they can."""
    for one in status.get("processors") or ():
        if one.get("name") == processor:
            return str(one.get("parked") or "")
    return ""


def _reasons(status: dict[str, Any]) -> str:
    found = [f"{p.get('name')}: {p.get('parked') or 'running'}" for p in status["processors"]]
    return "; ".join(found) or "no processor is known"


def columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Rows of `name  text` with the texts in one column."""
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {text}" for name, text in rows]
