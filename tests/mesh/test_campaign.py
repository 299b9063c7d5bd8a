"""The campaign itself: it runs on what the product can do, and it sees what nodes do wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import pytest

from meshcode.ids import make_id, text_of
from tests.campaign.checker import read_lines, task
from tests.live.harness import ROOT, until
from tests.mesh.campaign import Load, export, offer
from tests.mesh.cluster import Cluster, product_is_ready
from tests.mesh.faults import Player
from tests.mesh.history import check, read_folder
from tests.mesh.network import LoopbackNetwork
from tests.mesh.reading import read_node
from tests.mesh.scenarios import Act, Scenario
from tests.mesh.task import PROCESSOR

NAMES = ["n1", "n2"]
SOON_S = 30.0
SCENARIO_S = 240.0


def campaign(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "tests.mesh.campaign", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=SCENARIO_S, check=False,
    )  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, for Unix sockets."""
    made = Path(tempfile.mkdtemp(prefix="mm-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def strangers(folder: Path) -> Iterator[Cluster]:
    """Two nodes that know nothing of each other, both with the code: no mesh at all."""
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as cluster:
        for name in NAMES:
            cluster.start(name)
            offer(folder, cluster, name)
            cluster.wait_until_ready([name], processor=PROCESSOR)
            cluster.members.append(name)
        yield cluster


def load_of(folder: Path, cluster: Cluster, nodes: int = 2, *, library: bool = False) -> Load:
    """One slow client for each node."""
    scenario = Scenario(
        "t", "A test.", lambda draw: [], nodes=nodes, acks=(None,), rate=(50, 50), library=library,
        at_first=True,
    )  # fmt: skip
    return Load(folder, cluster, scenario, seed=1)


def answered(folder: Path) -> int:
    """How many outcomes the clients have been given."""
    history = read_folder(folder)[0]
    return sum(1 for line in history if line["op"] == "result")


def test_one_node_killed_under_load_keeps_its_promises():
    run = campaign(
        "--scenarios", "single", "--seconds", "8", "--seed", "7", "--mode", "loopback"
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed, 0 failed, 0 left out" in run.stdout


def test_a_mesh_loses_nothing_when_the_node_that_took_the_calls_burns():
    if why := product_is_ready():
        pytest.skip(why)
    run = campaign("--scenarios", "acceptor-destroyed", "--seconds", "15", "--seed", "7")

    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed, 0 failed, 0 left out" in run.stdout


def test_nodes_that_are_no_mesh_are_caught(folder: Path, strangers: Cluster):
    """The negative control of the whole: without replication a burnt node loses its calls."""
    load = load_of(folder, strangers)
    player = Player(strangers, folder / "faults.jsonl", seed=1)
    try:
        load.start()
        until(lambda: answered(folder) > 50, SOON_S, "calls are answered")
        load.watch()
        # As `destroy`, but it is not told to the judge that local promises went with the disk.
        strangers.destroy("n1")
        player.note("kill", ("n1",))
        before = answered(folder)
        until(lambda: answered(folder) > before + 50, SOON_S, "the clients go to the other node")
        player.heal()
        load.finish(set(), seconds=3)
        export(folder, strangers, patience_s=1)
        verdict = check(*read_folder(folder), task)
    finally:
        load.close()

    assert len(verdict.lost) > 50, verdict.report()
    assert "n1" in verdict.lost[0]
    assert not verdict.stuck
    assert not verdict.wrong_value

    lines = read_folder(folder)
    burnt = [{"t": 0.0, "do": "destroy", "nodes": ["n1"]}]
    excused = check(lines[0], lines[1], lines[2], burnt, task)
    assert not excused.lost  # They were `local`, and it was said so.
    assert excused.lost_local == len(verdict.lost)


@pytest.mark.parametrize("library", [False, True], ids=["wire", "library"])
def test_clients_write_down_what_they_were_told(folder: Path, library: bool):
    with Cluster(folder, LoopbackNetwork(["n1"]), ["n1"]) as cluster:
        cluster.start("n1")
        cluster.members.append("n1")
        offer(folder, cluster, "n1")
        cluster.wait_until_ready(processor=PROCESSOR)
        load = load_of(folder, cluster, 1, library=library)
        load.start()
        try:
            until(lambda: answered(folder) > 30, SOON_S, "calls are answered")
            assert load.finish(set()) == []
        finally:
            load.close()
        export(folder, cluster, patience_s=1)

    verdict = check(*read_folder(folder), task)
    assert verdict.good, verdict.report()
    assert verdict.acknowledged == {"local": verdict.attempted}
    assert verdict.ended == verdict.attempted > 30
    effects = read_lines(folder / "effects" / "n1.jsonl")
    assert {line["node"] for line in effects} == {"n1"}


def test_a_node_that_is_asked_says_what_it_knows_and_what_it_does_not(
    folder: Path, strangers: Cluster
):
    load = load_of(folder, strangers, 1)
    load.start()
    try:
        until(lambda: answered(folder) > 5, SOON_S, "calls are answered")
        load.finish(set())
    finally:
        load.close()
    ids = [line["id"] for line in read_folder(folder)[0] if line["op"] == "result"]
    made_up = text_of(make_id())

    rows = {}
    for name in NAMES:
        link = strangers[name].link()
        found = read_node(name, link, [*ids, made_up], patience_s=0.5)
        rows[name] = {row["id"]: row["state"] for row in found}
        link.close()

    assert rows["n1"] == {**dict.fromkeys(ids, "DONE"), made_up: "UNKNOWN"}
    assert rows["n2"] == dict.fromkeys([*ids, made_up], "UNKNOWN")


def test_acts_are_done_in_order_written_down_and_healed(folder: Path):
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as cluster:
        for name in NAMES:
            cluster.start(name)
            cluster.members.append(name)
        player = Player(cluster, folder / "faults.jsonl", seed=1)
        pair = [["n1", "n2"]]
        looks = []
        player.play([
            Act(0.1, "freeze", ("n1",)),
            Act(0.2, "kill", ("n2",)),
            Act(0.3, "block", (), {"pairs": pair}),
            Act(0.3, "slow", (), {"pairs": pair, "delay_ms": 5}),
            Act(0.4, "cut_after", (), {"pairs": pair, "size": 9}),
        ], lambda: looks.append(1))  # fmt: skip
        assert cluster.running() == []
        weather = cluster.network.shaper.ways["n1", "n2"].weather  # type: ignore[attr-defined]
        assert (weather.mode, weather.delay_ms, weather.cut_after) == ("hold", 5, 9)

        player.heal()

        assert cluster.running() == NAMES
        weather = cluster.network.shaper.ways["n1", "n2"].weather  # type: ignore[attr-defined]
        assert (weather.mode, weather.delay_ms, weather.cut_after) == ("flow", 0, None)
        player.kill_for_good("n2")
        player.heal()
        assert cluster.running() == ["n1"]
    done = [json.loads(line)["do"] for line in (folder / "faults.jsonl").read_text().splitlines()]
    assert done == ["freeze", "kill", "block", "slow", "cut_after", "healed", "healed"]
    assert len(looks) >= 5
    assert player.rng.random() == Random(1).random()


def test_a_client_that_ends_by_itself_is_noticed(folder: Path):
    with Cluster(folder, LoopbackNetwork(["n1"]), ["n1"]) as cluster:
        load = load_of(folder, cluster, 1)
        load.start()
        (folder / "client-0.json").write_text("{}")
        load.clients[0].kill()
        load.clients[0].wait()
        with pytest.raises(AssertionError, match="client 0 ended"):
            load.watch()
        load.close()


def test_told_to_stop_it_ends_everything_that_it_started():
    run = subprocess.Popen(
        [sys.executable, "-m", "tests.mesh.campaign", "--scenarios", "single", "--seconds", "600",
         "--mode", "loopback"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    mine = psutil.Process(run.pid)

    def started() -> list[psutil.Process]:
        with suppress(psutil.Error):  # Some end while they are looked at.
            below = mine.children(recursive=True)
            if any("tests.mesh.client" in process.cmdline() for process in below):
                return below
        return []

    try:
        below = until(started, SOON_S, "a node and a client run")
    finally:
        run.terminate()
        status = run.wait(SOON_S)

    assert status == 143
    until(lambda: not any(p.is_running() for p in below), SOON_S, "nothing runs any more")


def test_the_command_refuses_a_scenario_that_is_not_there():
    run = campaign("--scenarios", "halves,nonsense")

    assert run.returncode == 1
    assert "no scenario nonsense; there are acceptor-destroyed, " in run.stderr


def test_the_command_lists_its_scenarios_and_says_what_it_leaves_out():
    listed = campaign("--list")
    assert listed.returncode == 0
    assert len(listed.stdout.splitlines()) >= 22

    run = campaign("--scenarios", "cables-pulled", "--mode", "loopback", "--seconds", "1")
    assert run.returncode == 1  # Nothing was shown.
    assert "left out: cables-pulled: " in run.stdout
    assert "0 passed, 0 failed, 1 left out" in run.stdout
