"""Streams at a real node: through plugs to slow consumers, over kills, read from any position."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode import limits
from meshcode.client import connect, connect_async
from meshcode.errors import CallCancelled, UnknownCall, WaitTimeout
from meshcode.ids import parse_id
from meshcode.router.streams import item_id
from tests.live.harness import ROOT, Mesh, until

SOON_S = 30.0

TASKS = '''
import asyncio
import os
import time

FILE = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def numbers(count, pause=0.0):
    """Yield the numbers below `count`."""
    for number in range(count):
        os.write(FILE, f"made {number}\\n".encode())
        time.sleep(pause)
        yield number


async def anumbers(count):
    for number in range(count):
        yield number


def plain(count):
    yield from range(count)


def fails(count):
    yield from range(count)
    raise ValueError("no more")


def double(value):
    return 2 * value


def consume(value):
    """Leave a line; wait while there is a file `hold`."""
    while os.path.exists(os.environ["EFFECTS"] + ".hold"):
        time.sleep(0.005)
    os.write(FILE, f"used {value}\\n".encode())
    return value
'''

READER = """
import sys
from meshcode.client import connect
with connect(sys.argv[1]) as client:
    for value in client.call(sys.argv[2]).stream(int(sys.argv[3])):
        print(value, flush=True)
"""


class Flowing:
    """One node with a generator, what it leads to, and what these did."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.effects = mesh.home / "effects"

    @property
    def hold(self) -> Path:
        """The consumers wait while this file is there."""
        return Path(f"{self.effects}.hold")

    def said(self, what: str) -> list[int]:
        """The numbers of the lines that begin with a word, in order."""
        if not self.effects.exists():
            return []
        lines = [line.split() for line in self.effects.read_text().splitlines()]
        return [int(number) for word, number in lines if word == what]

    def is_idle(self) -> bool:
        """Whether no call is open."""
        return not self.mesh.ask("status")["calls"]["open"]

    def plug(self, source: str, target: str) -> None:
        """Lead what one socket yields or returns to another."""
        self.mesh.add("plug", f"{source}-{target}", source=f"s.{source}", target=f"s.{target}")


def flowing(mesh: Mesh) -> Flowing:
    """Numbers go to `consume`; the generator and its consumer have a processor each."""
    repository = mesh.repository({"s.py": TASKS})
    env = {"EFFECTS": str(mesh.home / "effects")}
    sources = ["numbers", "anumbers", "plain", "fails"]
    mesh.offer("sources", repository, "s", sources, env=env, workers=1)
    mesh.add("processor", "sinks", git=repository.as_uri(), module="s", branch="main", env=env)
    for task in ("double", "consume"):
        mesh.add("socket", f"s.{task}", processor="sinks", task=task, queue="q")
    found = Flowing(mesh)
    found.plug("numbers", "double")
    found.plug("double", "consume")
    mesh.wait_ready("sources", 1)
    mesh.wait_ready("sinks", 1)
    return found


@pytest.fixture
def alone(fresh: Mesh) -> Flowing:
    """A node that the test may kill."""
    return flowing(fresh)


@pytest.fixture(scope="module")
def shared() -> Iterator[Flowing]:
    """A node for all others."""
    with Mesh() as mesh:
        yield flowing(mesh)


@pytest.fixture
def made(shared: Flowing) -> Iterator[Flowing]:
    """The same, with nothing left of the test before."""
    yield shared
    shared.hold.unlink(missing_ok=True)
    until(shared.is_idle, SOON_S, "nothing is left of the test")
    os.truncate(shared.effects, 0)


def test_every_item_flows_through_the_chain_in_order_and_is_read_by_anyone(made):
    count = 1_000
    with connect(made.mesh.address) as client:
        call = client.socket("s.numbers").submit(count)
        assert list(call.stream(timeout=SOON_S)) == list(range(count))
        assert call.result(SOON_S) == {"items": count, "stream": parse_id(call.id)}
        until(lambda: len(made.said("used")) == count, SOON_S, "all are used")

        assert made.said("used") == [2 * n for n in range(count)]
        assert list(client.call(call.id).stream(990)) == list(range(990, count))
        assert list(call.items(SOON_S)) == list(range(count))
        row = client.ask("call.get", id=item_id(parse_id(call.id), 7), result=True)
        assert (row["state"], row["result"], row["socket"]) == ("DONE", 7, "@item")
        assert row["parent"] == row["flow"] == call.id
    late = [sys.executable, "-c", READER, made.mesh.address, call.id, "995"]
    said = subprocess.check_output(late, env=made.mesh.env, cwd=ROOT, text=True)
    assert said.split() == ["995", "996", "997", "998", "999"]


def test_a_slow_consumer_holds_up_the_generator_at_the_end_of_the_chain(made):
    made.hold.touch()
    count = 3 * limits.STREAM_WINDOW
    with connect(made.mesh.address) as client:
        call = client.socket("s.numbers").submit(count)
        until(lambda: len(made.said("made")) >= limits.STREAM_WINDOW, SOON_S, "the window is full")
        # In the worker of the generator, which has nothing to do while that waits.
        assert client.socket("s.plain").submit(1).result(SOON_S) == [0]

        assert len(made.said("made")) == limits.STREAM_WINDOW
        with pytest.raises(WaitTimeout, match=f"item {limits.STREAM_WINDOW} of call"):
            list(call.stream(limits.STREAM_WINDOW, timeout=0.1))
        assert made.said("used") == []

        made.hold.unlink()
        assert call.result(SOON_S)["items"] == count
        until(lambda: len(made.said("used")) == count, SOON_S, "all are used")
        assert made.said("used") == [2 * n for n in range(count)]


def test_kills_of_workers_and_node_lose_and_double_nothing(alone):
    """The generator begins anew each time; what it yields again is known."""
    count = 1_500
    with connect(alone.mesh.address) as client:
        call = client.socket("s.numbers").submit(count)
        call.wait_accepted(SOON_S)
        until(lambda: len(alone.said("used")) > 100, SOON_S, "the first are used")
        for worker in alone.mesh.ready_workers():
            os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: len(alone.said("used")) > 300, SOON_S, "it goes on")
        alone.mesh.kill()
        alone.mesh.start()

        assert call.result(2 * SOON_S)["items"] == count
        assert list(call.stream(timeout=SOON_S)) == list(range(count))
        until(lambda: len({*alone.said("used")}) == count, SOON_S, "all are used")
        until(lambda: not client.ask("status")["calls"]["open"], SOON_S, "all have ended")
        status = client.ask("status")
    assert status["done"] == 1 + 3 * count, "each item, and each call of it, is recorded once"
    assert alone.said("made").count(0) > 1, "the generator was begun anew"


def test_what_its_items_cause_runs_in_the_only_worker_there_is(made):
    made.mesh.add("socket", "s.here", processor="sources", task="consume", queue="q")
    made.mesh.add("plug", "h", source="s.anumbers", target="s.here")
    made.mesh.add("socket", "s.too", processor="sources", task="plain", queue="q")
    made.mesh.add("plug", "g", source="s.too", target="s.here")
    with connect(made.mesh.address) as client:
        for task in ("too", "anumbers"):
            before = len(made.said("used"))
            call = client.socket(f"s.{task}").submit(3 * limits.STREAM_WINDOW)

            assert call.result(SOON_S)["items"] == 3 * limits.STREAM_WINDOW
            until(
                lambda: len(made.said("used")) == before + 3 * limits.STREAM_WINDOW,  # noqa: B023
                SOON_S,
                "all are used",
            )
            assert made.said("used")[before:] == list(range(3 * limits.STREAM_WINDOW))


def test_whoever_calls_can_ask_for_a_stream_and_read_it_while_it_runs(made):
    with connect(made.mesh.address) as client:
        plain = client.socket("s.plain")
        assert plain.submit(3).result(SOON_S) == [0, 1, 2]
        assert list(plain.submit(3).stream()) == [0, 1, 2], "the items of a list"
        assert list(client.socket("s.double").submit(2).stream()) == [4]

        call = plain.options(stream=True).submit(5)
        assert list(call.stream()) == [0, 1, 2, 3, 4]
        assert list(call.stream(9)) == []
        assert call.result()["items"] == 5

        failing = client.socket("s.fails").options(stream=True).submit(2)
        found = []
        with pytest.raises(ValueError, match="no more"):
            found.extend(iter_into(failing.stream(timeout=SOON_S), found))
        assert found == [0, 1]
        with pytest.raises(UnknownCall):
            next(client.call("0192f3c1-a0b0-7c4d-8e5f-001122334455").stream(timeout=SOON_S))


def iter_into(values, found):
    """Append one by one, so that what came before an error is there."""
    for value in values:
        found.append(value)
    return []


def test_a_cancelled_stream_ends_and_its_items_stay(made):
    made.hold.touch()
    with connect(made.mesh.address) as client:
        call = client.socket("s.numbers").submit(10_000)
        until(lambda: len(made.said("made")) == limits.STREAM_WINDOW, SOON_S, "the window is full")

        call.cancel()

        with pytest.raises(CallCancelled):
            call.result(SOON_S)
        made.hold.unlink()
        until(lambda: len(made.said("used")) == limits.STREAM_WINDOW, SOON_S, "all are used")
        found: list[int] = []
        with pytest.raises(CallCancelled):
            iter_into(call.stream(), found)
        assert found == list(range(limits.STREAM_WINDOW))
        assert len(made.said("made")) == limits.STREAM_WINDOW


def test_asyncio_reads_streams_too(made):
    async def main() -> None:
        async with await connect_async(made.mesh.address) as client:
            call = await client.socket("s.anumbers").options(stream=True).submit(700)
            assert [value async for value in call.stream(timeout=SOON_S)] == list(range(700))
            assert [value async for value in call.stream(698)] == [698, 699]
            assert [value async for value in call.items()] == list(range(700))
            plain = await client.socket("s.plain").submit(2)
            assert [value async for value in plain.stream()] == [0, 1]

    asyncio.run(main())


def test_items_are_used_in_order_although_their_generator_and_the_node_are_killed(alone):
    count = 1_500
    with connect(alone.mesh.address) as client:
        call = client.socket("s.numbers").submit(count)
        call.wait_accepted(SOON_S)
        until(lambda: len(alone.said("used")) > 100, SOON_S, "the first are used")
        [worker] = alone.mesh.ready_workers("sources")
        os.kill(worker["pid"], signal.SIGKILL)
        until(lambda: len(alone.said("used")) > 300, SOON_S, "it goes on")
        alone.mesh.kill()
        alone.mesh.start()
        until(lambda: len({*alone.said("used")}) == count, SOON_S, "all are used")

    assert list(dict.fromkeys(alone.said("used"))) == [2 * n for n in range(count)]
