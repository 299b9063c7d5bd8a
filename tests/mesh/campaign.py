"""The mesh campaign: real nodes, a rude network, clients under load, an outside judge.

    python -m tests.mesh.campaign [--scenarios a,b|all] [--seconds 60] [--seed N]
                                  [--mode loopback|netns|auto] [--jobs 1] [--keep DIR] [--list]

For each scenario a mesh is made with the real commands, clients call through all of its nodes, the
plan of the scenario is carried out, everything heals, every node is asked what it knows, and
`history.py` judges.  Exit status 1 when anything was lost, recorded twice, stuck or wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from threading import Event

from meshcode.errors import MeshError
from tests.campaign.checker import read_lines, task
from tests.live.harness import ROOT, make_repository, until
from tests.live.rawlink import NoAnswer
from tests.mesh.cluster import Cluster, product_is_ready
from tests.mesh.composed import parts_of
from tests.mesh.faults import Player
from tests.mesh.history import Verdict, check, read_folder
from tests.mesh.network import LoopbackNetwork, NamespaceNetwork
from tests.mesh.reading import PATIENCE_S, read_node
from tests.mesh.scenarios import BY_NAME, SCENARIOS, Scenario, names_of, plan_of
from tests.mesh.task import CHAIN, FILES, FOLD, MODULE, PLUGS, PROCESSOR, SOCKET, TASKS

STOP = Event()  # Set when the command is told to stop while scenarios run on other threads.
COMPOSED = 2  # Of a hundred calls flows, and as many chains of plugs.
SOON_S = 30.0
HEAL_S = 120.0  # The promise is judged this long after the last fault.
WORDS_MAX = 1_000  # Of what a client printed.


@dataclass
class Result:
    """How one scenario went."""

    scenario: Scenario
    mode: str = ""
    seed: int = 0
    faults: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None
    problems: list[str] = field(default_factory=list)  # What kept it from being judged, or late.
    folder: Path | None = None

    @property
    def good(self) -> bool:
        """Judged, and nothing was broken."""
        return self.verdict is not None and self.verdict.good and not self.problems


class Load:
    """The client processes of one scenario."""

    def __init__(self, folder: Path, cluster: Cluster, scenario: Scenario, seed: int) -> None:
        """Nothing runs yet."""
        self.folder = folder
        self.cluster = cluster
        self.scenario = scenario
        self.seed = seed
        self.rng = Random(f"{seed} load")
        self.clients: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """A client for each node, by default at that node; all know all core nodes."""
        kinds = dict(self.scenario.kinds)
        names = names_of(self.scenario)[0]
        core = [name for at, name in enumerate(names) if at not in kinds]
        for at, name in enumerate(names):
            if kinds.get(at) == "witness":
                continue
            edge = kinds.get(at) == "edge"
            known = [name] if edge else core
            first = 0 if edge or self.scenario.at_first else core.index(name)
            for _ in range(self.scenario.clients):
                acks = self.scenario.acks
                ack = self.rng.choice(acks) if self.clients else acks[0]
                self._start_one(known, first, ack=None if edge else ack)

    def _start_one(self, names: list[str], first: int, ack: str | None) -> None:
        number = len(self.clients)
        config = {
            "addresses": [[name, self.cluster[name].address] for name in names], "first": first,
            "history": str(self.folder / f"history-{number}.jsonl"), "seed": self.seed,
            "socket": SOCKET, "fold": FOLD, "chain": CHAIN,
            "plugs": PLUGS, "composed": COMPOSED, "ack": ack,
            "rate": self.rng.randint(*self.scenario.rate),
        }  # fmt: skip
        file = self.folder / f"client-{number}.json"
        file.write_text(json.dumps(config))
        module = "tests.mesh.library_client" if self.scenario.library else "tests.mesh.client"
        with file.with_suffix(".txt").open("wb") as out:
            self.clients.append(subprocess.Popen(
                [sys.executable, "-m", module, str(file)], stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, cwd=ROOT, env=self.cluster.homes[names[0]].env,
            ))  # fmt: skip

    def words_of(self, number: int) -> str:
        """What a client printed, which is nothing while all is well."""
        return (self.folder / f"client-{number}.txt").read_text()[-WORDS_MAX:]

    def watch(self) -> None:
        """Raise when a client ended by itself, or when all is to end."""
        if STOP.is_set():
            raise RuntimeError("told to stop")
        for number, client in enumerate(self.clients):
            assert client.poll() is None, f"client {number} ended: {self.words_of(number)}"

    def finish(self, gone: set[str], seconds: float = HEAL_S) -> list[str]:
        """Tell them to stop, and wait for their last outcomes; what went wrong."""
        aside = self.folder / "stop.new"
        aside.write_text(json.dumps(sorted(gone)))
        aside.rename(self.folder / "stop")
        end = time.monotonic() + seconds
        problems = []
        for number, client in enumerate(self.clients):
            try:
                status = client.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                problems.append(f"client {number} still waits after {seconds:.0f} s of peace")
            else:
                if status:
                    problems.append(f"client {number}: {self.words_of(number)}")
        self.close()
        return problems

    def close(self) -> None:
        """No client runs any more."""
        for client in self.clients:
            if client.poll() is None:
                client.kill()
                client.wait()


def make_cluster(folder: Path, scenario: Scenario, mode: str, seed: int) -> Cluster:
    """The nodes of a scenario, one mesh, with the code and its workers up."""
    first, spares = names_of(scenario)
    names = [*first, *spares]
    network = (NamespaceNetwork if mode == "netns" else LoopbackNetwork)(names, seed)
    cluster = Cluster(folder, network, names)
    try:
        if scenario.nodes == 1:
            cluster.start(first[0])
            cluster.members.append(first[0])
        else:
            kinds = {first[at]: kind for at, kind in scenario.kinds}
            cluster.assemble(first, kinds)
            cluster.wait_until_ready()
        offer(folder, cluster, first[0])
        witnesses = {first[at] for at, kind in scenario.kinds if kind == "witness"}
        cluster.wait_until_ready(processor=PROCESSOR, hosts=set(first) - witnesses)
        wait_for_plugs(cluster)
    except BaseException:
        cluster.close()
        raise
    return cluster


def offer(folder: Path, cluster: Cluster, name: str) -> None:
    """Declare the code of the campaign at this node; `folder` holds its repository and effects."""
    (folder / "effects").mkdir(exist_ok=True)
    if not (folder / "repository").exists():
        make_repository(folder / "repository", FILES)
    cluster[name].offer(
        PROCESSOR, folder / "repository", MODULE, TASKS, workers=1, retries=1_000,
        retry_delay_ms=5, env={"EFFECTS": str(folder / "effects")},
    )  # fmt: skip
    for plug, (source, target) in zip(PLUGS, pairwise(CHAIN), strict=True):
        cluster[name].add("plug", plug, source=source, target=target)


def wait_for_plugs(cluster: Cluster) -> None:
    """Wait until every node knows the chain: an outcome goes by the model of its node."""
    wanted = set(PLUGS)

    def known(name: str) -> set[str]:
        return {row["name"] for row in cluster[name].ask("model", do="list", kind="plug")}

    def lacking() -> list[str]:
        return [name for name in cluster.running() if not wanted <= known(name)]

    until(lambda: not lacking(), SOON_S, lambda: f"all know the plugs, not {lacking()}")


def export(folder: Path, cluster: Cluster, patience_s: float = PATIENCE_S) -> None:
    """Write what every running member says of every call that a client knows."""
    paths = sorted(folder.glob("history-*.jsonl"))
    lines = [line for path in paths for line in read_lines(path)]
    wanted = {line["id"] for line in lines}
    wanted |= {id_ for line in lines for id_ in parts_of(line.get("value"))}
    for name in cluster.running():
        link = cluster[name].link()
        try:
            rows = read_node(name, link, wanted, patience_s)
        finally:
            link.close()
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"listing-{name}.jsonl").write_text(text)


def run_in(folder: Path, result: Result, seconds: float) -> None:
    """One scenario in a folder; fills in the result.  Nothing runs afterwards."""
    scenario, seed = result.scenario, result.seed
    cluster = make_cluster(folder, scenario, result.mode, seed)
    load = Load(folder, cluster, scenario, seed)
    player = Player(cluster, folder / "faults.jsonl", seed)
    try:
        load.start()
        player.play(plan_of(scenario, seed, seconds), load.watch)
        player.heal()
        result.problems += load.finish(player.gone)
        export(folder, cluster)
        result.faults = player.count
        result.verdict = check(*read_folder(folder), task)
        if not result.good:
            (folder / "words.txt").write_text(cluster.words())
    except BaseException:
        (folder / "words.txt").write_text(cluster.words())
        raise
    finally:
        load.close()
        cluster.close()


def run(scenario: Scenario, args: argparse.Namespace) -> Result:
    """One scenario in a folder of its own, kept when it failed or when it was asked for."""
    result = Result(scenario, mode_of(scenario, args.mode), args.seed)
    folder = Path(tempfile.mkdtemp(prefix="mm-"))  # Short: the paths of Unix sockets are.
    began = time.monotonic()
    try:
        run_in(folder, result, args.seconds)
    except (AssertionError, NoAnswer, MeshError, OSError, RuntimeError, subprocess.SubprocessError):
        result.problems.append(traceback.format_exc())
    except BaseException:  # Told to stop: nobody will look into the folder.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    result.seconds = time.monotonic() - began
    row = {
        "scenario": scenario.name, "seed": result.seed, "mode": result.mode, "good": result.good,
        "problems": result.problems, "verdict": result.verdict and result.verdict.row(),
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(row, indent=1))
    if args.keep:
        result.folder = args.keep / f"{scenario.name}-{result.seed}"
        shutil.copytree(folder, result.folder, ignore=shutil.ignore_patterns("*.ipc"))
        shutil.rmtree(folder, ignore_errors=True)
    elif result.good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        result.folder = folder
    return result


def run_all(scenarios: list[Scenario], args: argparse.Namespace) -> Iterator[Result]:
    """Their results in order; several at a time when it was asked for."""
    if args.jobs == 1:  # On this thread, so that a signal ends it at once.
        yield from (run(scenario, args) for scenario in scenarios)
        return
    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            yield from pool.map(lambda scenario: run(scenario, args), scenarios)
        finally:
            STOP.set()


def mode_of(scenario: Scenario, asked: str) -> str:
    """The network for a scenario: namespaces where they can do it and this process may."""
    if asked != "auto":
        return asked
    fits = scenario.needs <= NamespaceNetwork.can
    return "netns" if fits and NamespaceNetwork.possible() else "loopback"


def unfit(scenario: Scenario, mode: str) -> str:
    """Why a scenario cannot be run; empty when it can."""
    missing = product_is_ready() if scenario.nodes > 1 else ""
    if missing:
        return missing
    kind = NamespaceNetwork if mode == "netns" else LoopbackNetwork
    if lacks := scenario.needs - kind.can:
        return f"{mode} cannot do: {', '.join(sorted(lacks))}"
    if mode == "netns" and not NamespaceNetwork.possible():
        return "network namespaces need root"
    return ""


HEAD = (
    f"{'scenario':<18} {'mode':<8} {'nodes':>5} {'faults':>6} {'acked':>7} {'ended':>7} {'lost':>5}"
    f" {'twice':>5} {'stuck':>5} {'wrong':>5} {'other':>5} {'ran twice':>9} {'last s':>7} verdict"
)


def line_of(result: Result) -> str:
    """One line of the table."""
    verdict = result.verdict or Verdict()
    named = ("lost", "recorded_twice", "stuck", "wrong_value")
    lost, twice, stuck, wrong = (len(getattr(verdict, name)) for name in named)
    others = sum(len(getattr(verdict, n)) for n in Verdict.VIOLATIONS if n not in named)
    return (
        f"{result.scenario.name:<18} {result.mode:<8} {result.scenario.nodes:>5}"
        f" {result.faults:>6} {sum(verdict.acknowledged.values()):>7} {verdict.ended:>7}"
        f" {lost:>5} {twice:>5} {stuck:>5} {wrong:>5} {others:>5} {verdict.executed_twice:>9}"
        f" {verdict.last_outcome_s:>7.1f} {'good' if result.good else 'BROKEN'}"
    )


def show(result: Result) -> None:
    """The line, and what went wrong."""
    print(line_of(result), flush=True)
    if result.good:
        return
    for problem in result.problems:
        print("    " + problem.rstrip().replace("\n", "\n    "))
    if result.verdict is not None:
        print("    " + result.verdict.report().replace("\n", "\n    "))
    print(f"    seed {result.seed}; everything is in {result.folder}", flush=True)


def chosen_of(words: str) -> list[Scenario]:
    """The scenarios that a command line names."""
    if words == "all":
        return list(SCENARIOS)
    names = words.split(",")
    if wrong := [name for name in names if name not in BY_NAME]:
        raise SystemExit(f"no scenario {', '.join(wrong)}; there are {', '.join(BY_NAME)}")
    return [BY_NAME[name] for name in names]


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenarios", default="all", help="names with commas, or all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults, per scenario")
    parser.add_argument("--seed", type=int, default=None, help="default: drawn and printed")
    parser.add_argument("--mode", choices=("loopback", "netns", "auto"), default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="scenarios at the same time")
    parser.add_argument("--keep", type=Path, help="folder to keep everything in")
    parser.add_argument("--list", action="store_true", help="print the scenarios and stop")
    args = parser.parse_args(arguments)
    chosen = chosen_of(args.scenarios)
    if args.list:
        for scenario in chosen:
            print(f"{scenario.name:<18} {scenario.nodes} nodes  {scenario.what}")
        return 0
    if args.seed is None:
        args.seed = int.from_bytes(os.urandom(3), "big")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that everything is ended.
    fit, left_out = [], []
    for scenario in chosen:
        why = unfit(scenario, mode_of(scenario, args.mode))
        left_out += [f"{scenario.name}: {why}"] if why else []
        fit += [] if why else [scenario]
    print(f"seed {args.seed}\n{HEAD}", flush=True)
    results = []
    for result in run_all(fit, args):
        show(result)
        results.append(result)
    for line in left_out:
        print(f"left out: {line}")
    passed = sum(result.good for result in results)
    print(f"{passed} passed, {len(results) - passed} failed, {len(left_out)} left out")
    return 0 if passed == len(results) and results else 1


if __name__ == "__main__":
    sys.exit(main())
