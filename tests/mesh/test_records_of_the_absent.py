"""What is known of calls that a node was not there for: when they ended, or while it is away."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.client import connect
from meshcode.errors import RemoteError
from tests.live.harness import make_repository, until
from tests.mesh.cluster import Cluster, Home
from tests.mesh.network import LoopbackNetwork

NAMES = ["n1", "n2", "n3"]
SOON_S = 30.0
SEEN_S = 60.0  # From a kill to a take-over: suspicion, rank and jitter, on a busy machine.
TASKS = '''
"""Tasks of these tests."""

import os
import time


def where():
    return os.getppid()


def echo(value):
    return value


def refuse(value):
    raise ValueError(f"not {value}")


def rest(seconds):
    time.sleep(seconds)
    return seconds
'''.replace("time.sleep", "time." + "sleep")  # It is the task that rests, not this test.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that run the same code."""
    repository = tmp_path_factory.mktemp("code")
    make_repository(repository, {"t.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="ma-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("proc", repository, "t", ["echo", "refuse", "rest", "where"])
        made.wait_until_ready(processor="proc")
        yield made
    shutil.rmtree(folder, ignore_errors=True)


def items(home: Home, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(home.command(*words, "-o", "json"))["items"])


def test_calls_that_ended_while_a_node_was_away_are_told_whole_by_it(cluster: Cluster):
    cluster.kill("n3")
    with connect(cluster["n1"].address) as there:
        good = there.socket("t.echo").submit(5)
        bad = there.socket("t.refuse").submit(6)
        assert good.result(SOON_S) == 5
        with pytest.raises(RemoteError):
            bad.result(SOON_S)
    cluster.start("n3")
    cluster.wait_until_ready(processor="proc")
    n3 = cluster["n3"]
    own = until(lambda: items(n3, "ls", "calls", "--here"), SOON_S, "n3 learns of the outcomes")
    until(lambda: len(items(n3, "ls", "calls", "--here")) == 2, SOON_S, "of both")
    assert own[0]["bare"] is True and own[0]["socket"] == "" and own[0]["accepted_ms"] is None
    assert "(outcome only)" in n3.command("ls", "calls", "--here")

    rows = {row["id"]: row for row in items(n3, "ls", "calls")}
    assert [rows[id]["socket"] for id in (good.id, bad.id)] == ["t.echo", "t.refuse"]
    assert all(row["accepted_ms"] and "bare" not in row for row in rows.values())
    assert rows[good.id]["copies"] == 3
    heard = n3.command("listen", "-n", "t.echo", "--since", "10m", "--timeout", "0s")
    assert [json.loads(line)["state"] for line in heard.splitlines()] == [
        "received", "running", "postrun",
    ]  # fmt: skip
    with connect(n3.address) as here:
        assert here.call(good.id).info()["socket"] == "t.echo"
        again = here.call(bad.id).retry()
        assert again["was"] == bad.id
        with pytest.raises(RemoteError, match="not 6"):
            here.call(again["id"]).result(SOON_S)


def test_of_an_ended_call_every_node_names_the_one_that_ran_it(cluster: Cluster):
    with connect(cluster["n3"].address) as here:
        call = here.socket("t.where").submit()
        node = call.result(SOON_S)
        (ran_on,) = [name for name in NAMES if cluster[name].process.pid == node]
        late = here.socket("t.echo").options(delay=3600).submit(1)
        assert late.wait_accepted() and late.cancel()["done"] == "cancelled"

    for name in NAMES:
        home = cluster[name]
        row = until(
            lambda home=home: items(home, "ls", "call", call.id), SOON_S, "it is known there"
        )[0]
        assert (row["node"], f"ran on: {ran_on}" in home.command("ls", "call", call.id)) == (
            ran_on, True,
        )  # fmt: skip
        for other in NAMES:
            listed = [row["id"] for row in items(home, "ls", "calls", "-n", other)]
            assert (call.id in listed) == (other == ran_on)
        assert items(home, "ls", "call", late.id)[0]["node"] == "", "nobody ran it"


def test_what_nobody_who_is_there_keeps_whole_is_said_to_be_so(cluster: Cluster):
    (bare, *_) = items(cluster["n3"], "ls", "calls", "--here", "-r", "1", "-a")
    assert bare["bare"]
    for name in ("n1", "n2"):
        cluster.kill(name)
    n3 = cluster["n3"]
    until(lambda: not n3.ask("mesh.status")["up"], SOON_S, "n3 is alone")

    run = n3.mesh("call", "retry", bare["id"])

    assert run.returncode and "keeps only its outcome" in run.stderr
    assert n3.ask("call.get", id=bare["id"])["state"] == bare["state"]
    assert "(outcome only)" in n3.command("ls", "call", bare["id"])
    for name in ("n1", "n2"):
        cluster.start(name)
    cluster.wait_until_ready(processor="proc")
