"""Streams in a mesh of real nodes: run at one, owned by another, used at a third, read anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import limits
from meshcode.client import connect
from meshcode.ids import child_id, parse_id, text_of
from meshcode.router.streams import item_id
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 60.0
COUNT = limits.STREAM_WINDOW + 100
TASKS = '''
"""Tasks of the tests of streams."""

import os
import time

FILE = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def numbers(count):
    """Yield the numbers below `count`."""
    os.write(FILE, b"begun 0\\n")
    for number in range(count):
        yield number


def consume(value):
    """Leave a line; wait while there is a file `hold`, from the hundredth on."""
    while value >= 100 and os.path.exists(os.environ["EFFECTS"] + ".hold"):
        time.sleep(0.005)
    os.write(FILE, f"used {value}\\n".encode())
'''


class Flowing:
    """Three nodes, and what the tasks left behind."""

    def __init__(self, cluster: Cluster, effects: Path) -> None:
        self.cluster = cluster
        self.effects = effects
        self.hold = Path(f"{effects}.hold")

    def said(self, what: str) -> list[int]:
        """The numbers of the lines that begin with a word, in order."""
        lines = [line.split() for line in self.effects.read_text().splitlines()]
        return [int(number) for word, number in lines if word == what]

    def until_used(self, count: int) -> None:
        """Wait until so many items were consumed."""
        until(lambda: len({*self.said("used")}) >= count, SOON_S, self.words)

    def words(self) -> str:
        """For a failure."""
        return f"{len(self.said('used'))} are used\n{self.cluster.words()}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowing]:
    """The generator runs at n2, its consumer at n3; nothing at n1."""
    code = tmp_path_factory.mktemp("code")
    repository = code / "repository"
    make_repository(repository, {"far.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="ms-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as cluster:
        cluster.assemble(NAMES)
        n1 = cluster["n1"]
        env = {"EFFECTS": str(code / "effects")}
        n1.offer("sources", repository, "far", ["numbers"], env=env)
        n1.add(
            "processor", "sinks", git=repository.as_uri(), module="far", branch="main", env=env
        )
        n1.add("socket", "far.consume", processor="sinks", task="consume", queue="q")
        n1.add("plug", "p", source="far.numbers", target="far.consume")
        n1.add("deployment", "d1", processor="sources", host="n2")
        n1.add("deployment", "d2", processor="sinks", host="n3")
        cluster.wait_until_ready(processor="sources", hosts=["n2"])
        cluster.wait_until_ready(processor="sinks", hosts=["n3"])
        yield Flowing(cluster, code / "effects")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def made(shared: Flowing) -> Iterator[Flowing]:
    """The same, with nothing left of the test before."""
    os.truncate(shared.effects, 0)
    yield shared
    shared.hold.unlink(missing_ok=True)


def test_items_come_from_a_peer_in_order_and_are_read_at_every_node(made):
    with connect(made.cluster["n1"].address) as client:
        call = client.socket("far.numbers").submit(COUNT)
        assert list(call.stream(timeout=SOON_S)) == list(range(COUNT))
        made.until_used(COUNT)
        assert call.result(SOON_S)["items"] == COUNT
        assert made.said("used") == list(range(COUNT))
    for name in NAMES:
        with connect(made.cluster[name].address) as client:
            assert list(client.call(call.id).stream(COUNT - 3)) == list(range(COUNT - 3, COUNT))


def test_a_slow_consumer_at_one_node_holds_up_a_generator_at_another(made):
    made.hold.touch()
    with (
        connect(made.cluster["n1"].address) as client,
        connect(made.cluster["n2"].address) as other,
    ):
        call = client.socket("far.numbers").submit(2 * COUNT)
        call.wait_accepted(SOON_S)  # The other node asks its peers for it.
        live = other.call(call.id).stream(timeout=SOON_S)
        assert [next(live) for _ in range(limits.STREAM_WINDOW)] == list(
            range(limits.STREAM_WINDOW)
        )
        made.until_used(100)
        made.hold.unlink()

        assert list(live) == list(range(limits.STREAM_WINDOW, 2 * COUNT))
        made.until_used(2 * COUNT)
        assert len(made.said("used")) == 2 * COUNT


def test_owner_and_runner_die_and_no_item_is_lost_or_made_twice(made):
    killed = ["n1", "n2"]
    made.hold.touch()
    with connect(made.cluster["n1"].address) as client:
        call = client.socket("far.numbers").submit(COUNT)
        call.wait_accepted(SOON_S)
        made.until_used(100)
    for name in killed:
        made.cluster.kill(name)
    made.hold.unlink()
    for name in killed:
        made.cluster.start(name)

    with connect(made.cluster["n3"].address) as client:
        again = client.call(call.id)
        made.until_used(COUNT)
        assert again.result(SOON_S)["items"] == COUNT
        assert list(again.stream(timeout=SOON_S)) == list(range(COUNT))
        rows = until(lambda: recorded(client, call.id), SOON_S, made.words)
    assert sorted(row["id"] for row in rows) == sorted(
        text_of(child_id(item_id(parse_id(call.id), n), b"plug:p")) for n in range(COUNT)
    ), "each item has caused one call"
    assert {row["state"] for row in rows} == {"DONE"}
    assert len(made.said("begun")) > 1, "the generator was begun anew"
    # What had run, and not been reported to an owner that died, is run again.
    assert len(made.said("used")) <= COUNT + len(killed) * limits.STREAM_WINDOW


def recorded(client, call_id):
    """The calls of the consumer that a stream has caused, once all have ended."""
    rows = client.ask("call.list", rows=1_000, socket="far.consume")["calls"]
    mine = [row for row in rows if row["flow"] == call_id]
    return mine if sum(row["state"] == "DONE" for row in mine) >= COUNT else []
