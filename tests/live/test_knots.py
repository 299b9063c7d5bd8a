"""Calls that wait for calls of their own processor, where no worker is left for these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import Call, Client, connect
from tests.live.harness import Mesh, until

TASKS = '''
import os
import time
from meshcode import Socket, parallel


def echo(value):
    return value


def nap(seconds):
    time.sleep(seconds)


def again(value):
    return Socket("knots.echo")(value)


def together(path):
    """Calls on when two of it run."""
    with open(path, "a") as file:
        file.write("x")
    while os.path.getsize(path) < 2:
        time.sleep(0.005)
    return Socket("two.echo")(1)


def twice(value):
    return Socket("other.again")(value)


def fan(count):
    return parallel(Socket("knots.echo").p(i) for i in range(count))().get()
'''
NAMES = ["echo", "nap", "again", "twice", "fan"]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """A node with two processors on the same code, with one worker each."""
    with Mesh() as mesh:
        folder = mesh.repository({"knots.py": TASKS})
        mesh.offer("mine", folder, "knots", NAMES)
        mesh.add("processor", "other", git=folder.as_uri(), module="knots", workers=1)
        mesh.add("socket", "other.again", processor="other", task="again", queue="q")
        mesh.add("processor", "two", git=folder.as_uri(), module="knots", workers=2)
        for task in ("echo", "together"):
            mesh.add("socket", f"two.{task}", processor="two", task=task, queue="q")
        mesh.wait_ready("two", 2)
        mesh.wait_ready("mine")
        mesh.wait_ready("other")
        yield mesh
        mesh.stop()


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    with connect(mesh.address) as client:
        yield client


def child(client: Client, parent: Call) -> dict[str, Any]:
    """The waiting call that `parent` has made, by way of others or not, once that is told."""

    def found() -> Any:
        rows = client.ask("call.list", state="PARKED")["calls"]
        return next((row for row in rows if row["socket"] == "knots.echo"), None)

    return dict(until(found, 20, lambda: f"{parent.id}: {client.ask('call.list')}"))


SAID = (
    "processor mine: its one place runs a call that called mine again; while it waits for that, no "
    "other call of mine can begin; give it more workers (`mesh update processor -w`), call another"
    " processor, or make it a flow"
)


@pytest.mark.parametrize("task", ["again", "twice", "fan"])
def test_a_call_that_waits_for_its_own_processor_is_told(mesh: Mesh, client: Client, task: str):
    """Itself, by way of another processor, and for a flow that it has submitted."""
    call = client.socket(f"knots.{task}").submit(1)

    row = child(client, call)

    assert row["reason"] == SAID
    [mine] = [p for p in client.ask("status")["processors"] if p["name"] == "mine"]
    assert mine["knot"] == SAID
    said = mesh.mesh("doctor", "flow", row["flow"]).stdout
    assert "cannot begin: processor mine: its one place runs a call" in said
    assert "nothing holds it up" not in said
    assert SAID in mesh.mesh("doctor").stdout.replace("\n", " ")
    assert call.info()["reason"] == SAID
    call.cancel()
    until(call.done, 30, "it is cancelled")
    until(lambda: not client.ask("call.list", state="PARKED")["calls"], 30, "nothing is parked")
    assert client.ask("status")["processors"][0]["knot"] == ""


def test_all_places_are_told(client: Client, tmp_path: Path):
    calls = [client.socket("two.together").submit(str(tmp_path / "met")) for _ in range(2)]

    found = until(lambda: client.ask("call.list", state="PARKED")["calls"], 20, "the two wait")

    assert [row["socket"] for row in found] == ["two.echo"] * 2
    said = "all its 2 places run calls that called two again; while these wait, no other call"
    assert said in found[0]["reason"]
    calls[0].cancel()
    assert calls[1].result(30) == 1


def test_who_waits_for_the_call_hears_of_it(mesh: Mesh):
    run = mesh.mesh("run", "knots.again", "1", "--timeout", "4s")

    assert f"runs and may never end: {SAID}" in " ".join(run.stderr.split())
    mesh.mesh("call", "cancel", run.stderr.split("call ")[1].split()[0])


def test_what_waits_behind_a_long_call_is_not_a_knot(client: Client):
    long = client.socket("knots.nap").submit(60)
    waits = client.socket("knots.echo").submit(1)
    until(lambda: waits.info()["state"] == "WAITING", 20, "it comes back from behind the long one")

    assert waits.info()["reason"] == ""
    long.cancel()
    assert waits.result(30) == 1
