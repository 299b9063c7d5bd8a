"""Plugs, joins and schedules on three real nodes, one of which is killed and stays dead."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.client import connect
from meshcode.router.ticking import tick_id
from meshcode.wire.codec import pack_call
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 60.0
TASKS = '''
"""Tasks that leave a line in a file each time they run."""

from meshcode.worker.context import current_call


def _note(path, *words):
    with open(path, "a") as file:
        print(*words, file=file)


def left(path, n):
    """A value for one argument."""
    return {"path": path, "n": n}


def right(path, n):
    """A value for the other."""
    return [path, n]


def both(one, two):
    """Called when both have come."""
    _note(one["path"], "both", one["n"], two[1])
    return one["n"] + two[1]


def tick(path):
    """Called by the clock."""
    _note(path, "tick", current_call().id_text)
'''


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that all run the code."""
    repository = tmp_path_factory.mktemp("code")
    make_repository(repository, {"w/__init__.py": "", "w/tasks.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="mw-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("w", repository, "w.tasks", ["left", "right", "both", "tick"])
        for name in NAMES:
            made["n1"].add("deployment", f"d-{name}", processor="w", host=name)
        for plug, argument in (("left", "one"), ("right", "two")):
            made["n1"].add(
                "plug", plug, source=f"w.tasks.{plug}", target="w.tasks.both", argument=argument
            )
        made.wait_until_ready(processor="w", hosts=NAMES)
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def step(socket: str, *args: object) -> list[object]:
    """One step of a plan."""
    return [f"w.tasks.{socket}", len(args), pack_call(args), None, None]


def lines(path: Path, word: str) -> list[list[str]]:
    """What the tasks noted."""
    if not path.exists():
        return []
    return [line.split()[1:] for line in path.read_text().splitlines() if line.startswith(word)]


def test_joins_and_ticks_happen_once_although_a_node_is_killed(cluster, tmp_path):
    """Flows come in at every node; n2 dies for good while they are under way."""
    path = tmp_path / "notes.txt"
    count = 30
    with connect(cluster["n1"].address) as client:
        cluster["n1"].add(
            "schedule", "s", socket="w.tasks.tick", interval_ms=1000, args=[str(path)]
        )
        began = time.time()
        for n in range(count):
            address = cluster[NAMES[n % 3]].address
            if n == count // 2:
                cluster.kill("n2")
            if n % 3 == 1 and n >= count // 2:
                address = cluster["n3"].address
            with connect(address) as other:
                plan = {"steps": [step("left", str(path), n), step("right", str(path), n)]}
                other.socket("@flow").submit({**plan, "result": 1}).wait_accepted(SOON_S)
        until(
            lambda: len({row[0] for row in lines(path, "both")}) == count,
            SOON_S,
            lambda: f"all {count} pairs: {sorted(lines(path, 'both'))} {cluster.words()}",
            every=0.2,
        )
        until(lambda: time.time() - began > 12, 20, "some ticks", every=0.2)
        cluster["n1"].ask("model", do="update", kind="schedule", name="s",
                          fields={"requested_status": "pause"})  # fmt: skip
        ended = time.time()
        first, last = int(began) + 2, int(ended) - 2

        pairs = Counter(map(tuple, lines(path, "both")))
        assert set(pairs) == {(str(n), str(n)) for n in range(count)}, "each with its own flow"
        for tick_s in range(first, last + 1):
            call = client.call(tick_id("s", tick_s * 1000))
            assert call.result(SOON_S) is None, tick_s
        ran = Counter(row[0] for row in lines(path, "tick"))
        assert len(ran) >= last - first
        # An attempt may be made again when its node dies under it, and only then.
        assert sum(ran.values()) - len(ran) <= 1
        assert sum(pairs.values()) - len(pairs) <= 2


def test_a_flow_that_two_clients_fill_meets_at_its_join(cluster, tmp_path):
    """The original's example: two calls of one flow, made at two nodes."""
    path = tmp_path / "two.txt"
    with connect(cluster["n1"].address) as client:
        plan = {"steps": [step("left", str(path), 1), step("right", str(path), 4)], "result": 1}
        assert client.socket("@flow").submit(plan).result(SOON_S) == [str(path), 4]
        until(
            lambda: lines(path, "both") == [["1", "4"]], SOON_S,
            lambda: f"both: {lines(path, 'both')} {cluster.words()}", every=0.1,
        )  # fmt: skip
