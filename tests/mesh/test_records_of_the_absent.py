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
from meshcode.errors import CallCancelled, RemoteError
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


def count(number):
    for n in range(number):
        time.sleep(0.05)
        yield n
'''.replace("time.sleep", "time." + "sleep")  # It is the task that rests, not this test.


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that run the same code."""
    repository = tmp_path_factory.mktemp("code")
    make_repository(repository, {"t.py": TASKS})
    folder = Path(tempfile.mkdtemp(prefix="ma-"))
    with Cluster(folder, LoopbackNetwork(NAMES), NAMES) as made:
        made.assemble(NAMES)
        made["n1"].offer("proc", repository, "t", ["echo", "refuse", "count", "where"])
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
        assert again.id != bad.id
        with pytest.raises(RemoteError, match="not 6"):
            again.result(SOON_S)


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
    bare = next(row for row in items(cluster["n3"], "ls", "calls", "--here") if row.get("bare"))
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


def test_a_call_of_a_node_that_died_is_known_to_those_that_keep_it(cluster: Cluster):
    with connect([cluster["n1"].address, cluster["n2"].address]) as there:
        late = there.socket("t.echo").options(delay=3600).submit(1)
        stream = there.socket("t.count").options(stream=True).submit(30)
        assert late.wait_accepted(SOON_S) and stream.wait_accepted(SOON_S)
        n3 = cluster["n3"]
        until(lambda: items(n3, "ls", "call", late.id)[0]["copies"] == 3, SOON_S, "all have it")
        reader = stream.stream(timeout=SEEN_S)
        assert next(reader) == 0
        cluster.kill("n1")
        seen_by_a_new_reader(cluster, late.id, stream.id)
        assert list(reader) == list(range(1, 30)), "it went on at another node"

    def cancelled() -> bool:
        n3.mesh("call", "cancel", late.id)
        return items(n3, "ls", "call", late.id)[0]["state"] == "CANCELLED"

    until(cancelled, SEEN_S, "it is taken over and ends")
    cluster.start("n1")
    cluster.wait_until_ready(processor="proc")


def seen_by_a_new_reader(cluster: Cluster, late: str, stream: str) -> None:
    """What n3 says of calls of n1, which has just died."""
    n3 = cluster["n3"]
    with connect(n3.address) as here:
        kept = here.call(late)
        assert kept.wait_accepted(SOON_S) == "accepted"
        assert kept.info()["state"] in ("KEPT", "DELAYED"), "the latter when it was taken over"
        run = n3.mesh("call", "cancel", late)
        if run.returncode:  # Else somebody has taken it over already.
            assert "and nobody who answers owns it" in run.stderr
            assert "taken over in a minute at most" in run.stderr
        assert list(here.call(stream).stream(timeout=SEEN_S)) == list(range(30))


def test_a_call_that_waits_for_its_copies_can_be_cancelled(cluster: Cluster):
    """Its other voters died before that was noticed: it ends when one of them is back."""
    n1 = cluster["n1"]
    for name in ("n2", "n3"):
        cluster.kill(name)
    with connect(n1.address) as client:
        call = client.socket("t.where").submit()
        until(lambda: client.ask("call.get", id=call.id)["state"] == "COPYING", SOON_S, "it waits")
        assert n1.command("call", "cancel", call.id) == f"call {call.id} cancelled\n"
        assert client.ask("call.get", id=call.id)["state"] == "ENDING"
        cluster.start("n2")
        with pytest.raises(CallCancelled):
            call.result(SEEN_S)
        assert client.ask("call.get", id=call.id)["state"] == "CANCELLED"
    cluster.start("n3")
    cluster.wait_until_ready(processor="proc")


def test_calls_that_lost_their_majority_are_shown_as_what_they_are(cluster: Cluster):
    """The last test here: two of the three nodes are gone for good after it."""
    n1 = cluster["n1"]
    with connect(n1.address) as here, connect(cluster["n2"].address) as there:
        own = here.socket("t.echo").options(delay=3600).submit(1)
        theirs = there.socket("t.echo").options(delay=3600).submit(2)
        for call in (own, theirs):
            assert call.wait_accepted(SOON_S).startswith("quorum")
    until(lambda: items(n1, "ls", "call", own.id)[0]["copies"] == 3, SOON_S, "all have it")
    until(lambda: items(n1, "ls", "call", theirs.id)[0]["copies"] == 3, SOON_S, "all have it")
    for name in ("n2", "n3"):
        cluster.kill(name)
    client = connect(n1.address)
    try:
        uncopied = client.socket("t.echo").submit(3)  # n1 believes that they are there.
        until(
            lambda: "n2, n3 are to keep it, too, and are away"
            in (client.ask("call.get", id=uncopied.id)["reason"].replace("n3, n2", "n2, n3")),
            SEEN_S,
            "it says why it is not acknowledged",
        )
    finally:
        client.close(0)
    until(lambda: not n1.ask("mesh.status")["up"], SOON_S, "n1 is alone")
    said = n1.mesh("node", "evict", "n2", "--yes")
    assert " 0 go on with a majority" in said.stdout + said.stderr
    n1.command("node", "evict", "n3", "--yes")

    rows = {row["id"]: row for row in items(n1, "ls", "calls", "-u")}
    for id in (own.id, theirs.id):
        row = rows[id]
        assert (row["state"], row["reason"]) == (
            "ORPHAN", "evicted: n2, n3; it may have run before",
        ) or row["reason"] == "evicted: n3, n2; it may have run before"  # fmt: skip
        assert (row["copies"], row["copies_of"], row["voters"]) == (1, 3, ["n1"])
        assert "kept: 1 of 3 copies: n1" in n1.command("ls", "call", id)
        waited = n1.mesh("call", "get", id, "--timeout", "1s")
        assert "does not go on: it is ORPHAN" in waited.stderr
        assert f"mesh recover --force {id}" in waited.stderr
        refused = n1.mesh("call", "cancel", id)
        assert refused.returncode and f"mesh recover --force {id}" in refused.stderr
    assert {row["id"] for row in items(n1, "ls", "calls", "--state", "ORPHAN")} == set(rows)
    assert {row["id"] for row in items(n1, "recover")} == set(rows)
