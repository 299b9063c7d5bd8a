"""Does what a plan says to real nodes and their network, and writes down what it did, when."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from meshcode.errors import MeshError
from tests.live.harness import until
from tests.live.rawlink import NoAnswer
from tests.mesh.cluster import DRAIN_S, Cluster
from tests.mesh.network import LoopbackNetwork, NamespaceNetwork
from tests.mesh.scenarios import Act
from tests.mesh.shapes import Pair

SHUT_OUT_S = 30.0  # So long the others may take to see that a node is none of them.
STAYS_OUT_S = 10.0  # And so long it must stay like that.


class Player:
    """The hands of one scenario.  Each method is an act of `scenarios.py`."""

    def __init__(self, cluster: Cluster, file: Path, seed: int) -> None:
        """`file` gets a line for each act, when it is done."""
        self.cluster = cluster
        self.network = cluster.network
        self.file = file
        self.rng = Random(seed)
        self.count = 0
        self.down: set[str] = set()  # Not running, and to be started in the end.
        self.gone: set[str] = set()  # Taken away for good.

    def play(self, acts: list[Act], watch: Callable[[], None]) -> None:
        """Do the acts at their times; `watch` is called between them and may raise.

        An act that takes long makes the next one late; none is left out.
        """
        begin = time.monotonic()
        for act in acts:
            self._wait(begin + act.at_s, watch)
            self.do(act)

    def rest(self, seconds: float, watch: Callable[[], None]) -> None:
        """Let the load run."""
        self._wait(time.monotonic() + seconds, watch)

    @staticmethod
    def _wait(moment: float, watch: Callable[[], None]) -> None:
        def reached() -> bool:
            watch()
            return time.monotonic() >= moment

        left = max(0.0, moment - time.monotonic())
        until(reached, left + 60, "the moment of the next act", every=0.05)

    def do(self, act: Act) -> None:
        """One act."""
        if "pairs" in act.how:
            pairs = [(a, b) for a, b in act.how["pairs"]]
            how = {name: value for name, value in act.how.items() if name != "pairs"}
            getattr(self, act.do)(pairs, **how)
        else:
            for name in act.nodes:
                getattr(self, act.do)(name)
        self.note(act.do, act.nodes, **act.how)

    def note(self, do: str, nodes: tuple[str, ...] = (), **how: object) -> None:
        """A line for the judge."""
        self.count += 1
        with self.file.open("a") as file:
            file.write(json.dumps({"t": time.time(), "do": do, "nodes": nodes, **how}) + "\n")

    # Nodes.

    def kill(self, name: str) -> None:
        """kill -9, workers and all."""
        self.cluster.kill(name)
        if name not in self.gone:
            self.down.add(name)

    def kill_for_good(self, name: str) -> None:
        """kill -9, and nobody ever starts it again."""
        self.cluster.kill(name)
        self._take_away(name)

    def start(self, name: str) -> None:
        """Start it again."""
        if not self.cluster[name].up:
            self.cluster.start(name)
        self.down.discard(name)

    def kill_worker(self, name: str) -> None:
        """kill -9 of one of its workers."""
        pids = sorted(self.cluster[name].worker_pids()) if self.cluster[name].up else []
        if pids:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(self.rng.choice(pids)).kill()

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self.cluster.freeze(name)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.cluster.thaw(name)

    def restart(self, name: str) -> None:
        """Drain, then start."""
        self.cluster.restart(name)

    def drain(self, name: str) -> None:
        """Drain, and stay away."""
        self.cluster[name].tree()
        status = self.cluster[name].stop(DRAIN_S)
        assert status == 0, f"{name} drained with status {status}: {self.cluster.words([name])}"
        self.down.add(name)

    def destroy(self, name: str) -> None:
        """Its machine burns."""
        self.cluster.destroy(name)
        self._take_away(name)

    def copy_disk(self, name: str) -> None:
        """A backup of its log, while it is down."""
        self.cluster.copy_disk(name)

    def restore_disk(self, name: str) -> None:
        """The backup is put back."""
        self.cluster.restore_disk(name)
        self._take_away(name)

    def lose_disk(self, name: str) -> None:
        """Its log is gone, its keys are not."""
        self.cluster.lose_disk(name)
        self._take_away(name)

    def return_shut_out(self, name: str) -> None:
        """It is started with a memory that is not its own, and must not be let in."""
        home = self.cluster[name]
        home.process = home.spawn()
        self._must_be_out(name)
        self.cluster.kill(name)

    def expect_shut_out(self, name: str) -> None:
        """It runs, and nobody counts it."""
        self._must_be_out(name)

    def _must_be_out(self, name: str) -> None:
        home = self.cluster[name]
        what = f"{name} is shut out; {self.cluster.words([name])}"
        until(lambda: not home.up or self._is_out(name), SHUT_OUT_S, what, every=0.2)
        end = time.monotonic() + STAYS_OUT_S

        def stayed() -> bool:
            assert not home.up or self._is_out(name), f"{name} was shut out and is in again"
            return time.monotonic() >= end

        until(stayed, STAYS_OUT_S + 30, what, every=0.2)

    def _is_out(self, name: str) -> bool:
        try:
            return self.cluster.is_shut_out(name)
        except (MeshError, NoAnswer):  # A node that was asked is busy with another fault.
            return False

    # The mesh.

    def join(self, name: str) -> None:
        """A new node is invited by a member that runs."""
        self.cluster.join(name, by=self._somebody())

    def evict(self, name: str) -> None:
        """A member that runs strikes it from the mesh."""
        self.cluster.evict(name, by=self._somebody(but=name))
        self._take_away(name)

    def _somebody(self, but: str = "") -> str:
        return next(name for name in self.cluster.running() if name != but)

    def _take_away(self, name: str) -> None:
        self.gone.add(name)
        self.down.discard(name)
        if name in self.cluster.members:
            self.cluster.members.remove(name)

    # The network.

    def block(self, pairs: list[Pair]) -> None:
        """What these sources send is not heard."""
        self.network.block(pairs)

    def fair(self, pairs: list[Pair]) -> None:
        """No fault there any more."""
        self.network.fair(pairs)

    def slow(self, pairs: list[Pair], **weather: float) -> None:
        """Delay, jitter, bandwidth."""
        assert isinstance(self.network, LoopbackNetwork | NamespaceNetwork)
        self.network.slow(pairs, **weather)

    def half_open(self, pairs: list[Pair]) -> None:
        """Bytes vanish."""
        assert isinstance(self.network, LoopbackNetwork)
        self.network.half_open(pairs)

    def refuse(self, pairs: list[Pair]) -> None:
        """Connections are refused."""
        assert isinstance(self.network, LoopbackNetwork)
        self.network.refuse(pairs)

    def cut(self, pairs: list[Pair]) -> None:
        """Connections are reset."""
        assert isinstance(self.network, LoopbackNetwork)
        self.network.cut(pairs)

    def cut_after(self, pairs: list[Pair], size: int) -> None:
        """A connection is reset after so many bytes."""
        assert isinstance(self.network, LoopbackNetwork)
        self.network.cut_after(pairs, size)

    def pull(self, pairs: list[Pair]) -> None:
        """The cables between them are pulled."""
        assert isinstance(self.network, NamespaceNetwork)
        self.network.pull(pairs)

    # The end.

    def heal(self) -> None:
        """Fair weather, everybody awake, and who is down and not gone is started."""
        self.network.heal()
        for name, home in self.cluster.homes.items():
            if home.frozen:
                self.cluster.thaw(name)
        for name in sorted(self.down):
            self.start(name)
        self.note("healed")
