"""Real nodes that are one mesh: made, killed, frozen, destroyed, evicted, and asked.

Every node is a process of its own with a folder of its own.  Only processes that were started here
are ever ended, each by its own id.  A node meets its peers through the network it was given
(`MESH_PEER_VIA`, see `network.py`), so that faults between two nodes can be told apart.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from meshcode import paths
from meshcode.errors import MeshError
from tests.live.harness import ROOT, Mesh, until
from tests.live.rawlink import NoAnswer
from tests.mesh.network import Network

READY_S = 60.0
DRAIN_S = 75.0  # A drain may take a minute: reports wait for owners that are heard one way only.
COMMAND_S = 30.0
VIEW_S = 3.0  # A node that does not say in time how it sees the others is asked again.
WORDS_MAX = 3_000  # Of what a node said, shown when something went wrong.
ALIVE = "alive"


class Home(Mesh):
    """One node of a cluster."""

    def __init__(self, home: Path, name: str, network: Network) -> None:
        """Nothing runs yet."""
        super().__init__(home)
        self.name = name
        self.network = network
        self.known: list[psutil.Process] = []  # Everything that ever ran below this node.
        self.frozen = False

    @property
    def env(self) -> dict[str, str]:
        """The environment of the node: its own home, and its own ways to its peers."""
        via = json.dumps(self.network.via(self.name))
        return {**super().env, "MESH_PEER_VIA": via, "MESH_MDNS": "0"}

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the process where this node lives."""
        self.home.mkdir(parents=True, exist_ok=True)
        words = [self.python, "-m", "meshcode.node", "--home", str(self.home), *arguments]
        with self.said.open("ab") as out:
            return subprocess.Popen(
                self.network.command(self.name, words), stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, env=self.env, cwd=self.home, start_new_session=True,
            )  # fmt: skip

    def mesh(
        self, *words: str, given: str | None = None, seconds: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Run `mesh WORDS` for this home, where this node lives."""
        self.home.mkdir(parents=True, exist_ok=True)
        command = [self.python, "-m", "meshcode.cli", *words]
        return subprocess.run(
            self.network.command(self.name, command), input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True, text=True, env=self.env, cwd=self.home, timeout=seconds,
            check=False,
        )  # fmt: skip

    def command(self, *words: str) -> str:
        """Run `mesh WORDS`, which must succeed; what it printed.

        Raises:
            AssertionError: it failed; the text has what it said.
        """
        run = self.mesh(*words)
        shown = " ".join(word if len(word) < 60 else word[:57] + "..." for word in words)
        assert run.returncode == 0, (
            f"{self.name}: `mesh {shown}` gave {run.returncode}: {run.stdout}{run.stderr}"
        )
        return run.stdout

    def ask(self, operation: str, seconds: float = 20.0, **fields: Any) -> Any:
        """Ask the node; after a failure the next question begins with a link of its own."""
        try:
            return super().ask(operation, seconds, **fields)
        except NoAnswer:
            self._drop_link()
            raise

    @property
    def up(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def tree(self) -> list[psutil.Process]:
        """The node and everything below it."""
        if not self.up:
            return []
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            found = [psutil.Process(self.process.pid), *self.children()]
            self.known = [p for p in {*self.known, *found} if p.is_running()]
            return found
        return []

    def signal_tree(self, number: int) -> None:
        """The same signal for the node and all below it, as if its machine did it."""
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill_machine(self) -> None:
        """kill -9 of the node and all below it; returns when they are gone."""
        processes = self.tree()
        self.signal_tree(signal.SIGKILL)
        if self.up:
            self.kill()
        psutil.wait_procs(processes, timeout=5)
        self.frozen = False

    def close(self) -> None:
        """Nothing of this node runs any more."""
        self.kill_machine()
        for process in self.known:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(self.known, timeout=5)
        self._drop_link()
        assert not alive, f"these outlived their node: {alive}"


class Cluster:
    """The nodes of one campaign, in one folder, on one network."""

    def __init__(self, folder: Path, network: Network, names: Sequence[str]) -> None:
        """Nothing runs yet.  `names`: also of nodes that will join later."""
        self.folder = folder
        self.network = network
        self.homes = {name: Home(folder / name, name, network) for name in names}
        self.members: list[str] = []  # Joined, and neither destroyed nor evicted.

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> Home:
        return self.homes[name]

    # Making a mesh.

    def assemble(self, names: Iterable[str], kinds: dict[str, str] | None = None) -> None:
        """`mesh init` on the first, `mesh invite` there and `mesh join` on each other; all start.

        Args:
            names: the first members, in order.
            kinds: name -> core, edge or witness, where it is not core.
        """
        first, *others = names
        home = self[first]
        home.command("init", "--name", first, "--bind", self.network.bind(first))
        home.start()
        self.members.append(first)
        for name in others:
            self.join(name, by=first, kind=(kinds or {}).get(name, "core"))

    def join(self, name: str, *, by: str, kind: str = "core") -> None:
        """Invite a node and let it in; it runs when this returns."""
        line = self[by].command("invite", "--class", kind, "--name", name).strip().splitlines()[-1]
        self[name].command("join", line, "--name", name, "--bind", self.network.bind(name))
        self[name].start()
        self.members.append(name)

    # Faults of a node.

    def kill(self, name: str) -> None:
        """kill -9, the workers with it."""
        self[name].kill_machine()

    def start(self, name: str) -> None:
        """Start it again; returns when it answers."""
        self[name].start(seconds=READY_S)

    def freeze(self, name: str) -> None:
        """SIGSTOP of everything of this node."""
        self[name].signal_tree(signal.SIGSTOP)
        self[name].frozen = True

    def thaw(self, name: str) -> None:
        """SIGCONT; it goes on as if nothing had been."""
        self[name].signal_tree(signal.SIGCONT)
        self[name].frozen = False

    def restart(self, name: str) -> None:
        """SIGTERM, which drains, then start."""
        home = self[name]
        home.tree()
        status = home.stop(DRAIN_S)
        assert status == 0, f"{name} drained with status {status}: {home.words()}"
        home.start(seconds=READY_S)

    def destroy(self, name: str) -> None:
        """The machine burns: the processes and all of the data are gone for good."""
        self.kill(name)
        shutil.rmtree(self[name].home)
        self._leave(name)

    def evict(self, name: str, *, by: str) -> None:
        """Strike it from the mesh for ever, alive or not."""
        self[by].command("node", "evict", name, "--yes")
        self._leave(name)

    def _leave(self, name: str) -> None:
        if name in self.members:
            self.members.remove(name)

    def copy_disk(self, name: str) -> Path:
        """A copy of what is on its disk, as a backup tool takes it: while the node is down."""
        assert not self[name].up, f"{name} runs; a copy of a log in use is no copy"
        there = self.folder / f"{name}.copy"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(paths.data_dir(str(self[name].home)), there)
        return there

    def restore_disk(self, name: str) -> None:
        """Put the old copy back in place of the log: the node has forgotten what it promised."""
        assert not self[name].up, f"{name} runs"
        data = paths.data_dir(str(self[name].home))
        shutil.rmtree(data)
        shutil.copytree(self.folder / f"{name}.copy", data)

    def lose_disk(self, name: str) -> None:
        """The log is gone, the keys are still there: the old identity with an empty memory."""
        assert not self[name].up, f"{name} runs"
        shutil.rmtree(paths.data_dir(str(self[name].home)))

    # Looking.

    def running(self) -> list[str]:
        """Members whose process runs and is not frozen."""
        return [name for name in self.members if self[name].up and not self[name].frozen]

    def view(self, name: str) -> dict[str, str]:
        """How this node sees the others: name -> alive, suspect, away, ..."""
        return {row["name"]: row["state"] for row in self[name].ask("nodes", VIEW_S)["nodes"]}

    def wait_until_ready(
        self, names: Iterable[str] | None = None, *, processor: str = "", workers: int = 1,
        hosts: Iterable[str] | None = None, seconds: float = READY_S,
    ) -> None:  # fmt: skip
        """Wait until these see each other alive and, if told, `hosts` have so many workers up.

        Raises:
            AssertionError: not in time; the text says who lacks what.
        """
        chosen = list(self.running() if names is None else names)
        hosting = set(chosen if hosts is None else hosts)

        def lacking() -> list[str]:
            lacks = []
            for name in chosen:
                try:
                    lacks += self._lacks(
                        name, chosen, processor if name in hosting else "", workers
                    )
                except (MeshError, NoAnswer) as error:
                    lacks.append(f"{name}: {error}")
            return lacks

        until(
            lambda: not lacking(), seconds,
            lambda: f"all are ready: {'; '.join(lacking())}\n{self.words(chosen)}", every=0.1,
        )  # fmt: skip

    def _lacks(self, name: str, others: list[str], processor: str, workers: int) -> list[str]:
        lacks = []
        if len(others) > 1:
            view = self.view(name)
            seen = {other: view.get(other, "unknown") for other in others if other != name}
            lacks += [f"{name} sees {o} {s}" for o, s in seen.items() if s != ALIVE]
        if processor:
            found = len(self[name].ready_workers(processor))
            if found < workers:
                why = self[name].processor(processor).get("parked") or ""
                lacks.append(f"{name} has {found} of {workers} workers of {processor} {why}")
        return lacks

    def is_shut_out(self, name: str) -> bool:
        """Whether no other running member counts this node among the living."""
        others = [other for other in self.running() if other != name]
        return bool(others) and all(self.view(other).get(name) != ALIVE for other in others)

    def words(self, names: Iterable[str] | None = None) -> str:
        """What the nodes printed and logged, for people who look for a fault."""
        texts = []
        for name in self.homes if names is None else names:
            texts.append(f"--- {name}\n{self[name].words()[-WORDS_MAX:]}")
        return "\n".join(texts)

    def close(self) -> None:
        """End everything that was started here, also what is frozen; then the network."""
        problems = []
        for home in self.homes.values():
            try:
                if home.frozen:
                    home.signal_tree(signal.SIGCONT)
                home.close()
            except AssertionError as error:
                problems.append(str(error))
        self.network.close()
        assert not problems, "; ".join(problems)


def product_is_ready() -> str:
    """Why no mesh can be made with this product yet; empty when one can."""
    if not (ROOT / "docs" / "replication.md").exists():
        return "docs/replication.md is not there"
    for words in (["init", "--help"], ["invite", "--help"], ["join", "--help"], ["node", "--help"]):
        run = subprocess.run(
            [sys.executable, "-m", "meshcode.cli", *words], capture_output=True, cwd=ROOT,
            timeout=COMMAND_S, check=False,
        )  # fmt: skip
        if run.returncode:
            return f"`mesh {words[0]}` is not there"
    return ""
