"""Broadcasts with real workers: every one of them runs the call, and says what it knows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from meshcode.client import Client, connect
from meshcode.client.flows import pipeline
from meshcode.errors import BadRequest, CallCancelled, WrongState
from tests.live.harness import ROOT, Mesh, offering, until

SOON_S = 30.0
WORKERS = 3
TASKS = '''
"""Tasks that look at, and change, what one worker process keeps."""

import os
import time

kept = {}


def put(name, value):
    """Load something into this worker."""
    kept[name] = value
    return os.getpid()


def get(name):
    """What this worker has."""
    return [os.getpid(), kept.get(name)]


def fail_if(name):
    """Raise where it is not there."""
    return kept[name]


def sleep(seconds):
    """Be busy."""
    time.sleep(seconds)
    return os.getpid()


def count(replies):
    """A step of a flow that is fed a broadcast."""
    return len(replies)


def die_once(path):
    """The first worker that runs it dies of it."""
    try:
        open(path, "x").close()
    except FileExistsError:
        return os.getpid()
    os._exit(3)
'''
NAMES = ["put", "get", "fail_if", "sleep", "count", "die_once"]


@pytest.fixture(scope="module")
def node() -> Iterator[Mesh]:
    """A node with three workers of the tasks above."""
    files = {"work/__init__.py": "", "work/tasks.py": TASKS}
    with offering("work", files, "work.tasks", NAMES, workers=WORKERS) as made:
        yield made


@pytest.fixture
def client(node: Mesh) -> Iterator[Client]:
    """A client of it."""
    with connect(node.address) as made:
        until(lambda: len(ready(node)) == WORKERS, SOON_S, "all workers are ready")
        yield made


def ready(node: Mesh) -> list[int]:
    """The processes that can take calls."""
    return [row["pid"] for row in node.ask("status")["workers"] if row["state"] == "ready"]


def values(replies: list[dict]) -> list:
    return [reply["value"] for reply in replies]


def test_every_worker_runs_it_once_and_keeps_what_it_loaded(node: Mesh, client: Client):
    pids = client.socket("work.tasks.put").broadcast("model", 7)

    assert sorted(values(pids)) == sorted(ready(node))
    assert [(one["socket"], one["place"]) for one in pids] == [
        ("work.tasks.put", place) for place in range(WORKERS)
    ]
    again = client.socket("work.tasks.get").broadcast("model")
    assert values(again) == [[pid, 7] for pid in values(pids)], "each place is one worker"


def test_an_error_at_one_worker_stands_in_its_place(client: Client):
    client.socket("work.tasks.put")("here", 1)

    replies = client.socket("work.tasks.fail_if").broadcast("here")

    bad = [one["error"] for one in replies if "error" in one]
    assert [one["value"] for one in replies if "value" in one] == [1]
    assert [error["fields"]["type"] for error in bad] == ["KeyError"] * (WORKERS - 1)


def test_the_call_is_listed_with_its_copies_below_it(node: Mesh, client: Client):
    call = client.socket("work.tasks.get").options(broadcast=True).submit("model")
    call.result(SOON_S)

    rows = client.ask("call.list", flow=call.id, limit=100)["calls"]
    copies = [row for row in rows if row["parent"] == call.id and row["socket"] != "@gather"]
    assert len(copies) == WORKERS and {row["socket"] for row in copies} == {"work.tasks.get"}
    assert call.info()["flow_state"] == "DONE"
    run = subprocess.run(
        [sys.executable, "-m", "meshcode.cli", "ls", "call", call.id, "--tree"],
        env=node.env, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.count("work.tasks.get") == 1 + WORKERS


def test_cancelling_it_ends_every_copy(client: Client):
    call = client.socket("work.tasks.sleep").options(broadcast=True).submit(60)
    ids = running(client, call.id, WORKERS)

    answer = client.call(call.id).cancel()

    assert answer["done"] == "cancelled" and answer["interrupted"] == WORKERS
    with pytest.raises(CallCancelled):
        call.result(SOON_S)
    assert {client.call(id).exception(SOON_S).code for id in ids} == {"cancelled"}
    with pytest.raises(WrongState):
        client.call(call.id).cancel()


def running(client: Client, flow: str, count: int) -> list[str]:
    """The ids of a flow's running calls, when there are so many."""

    def ids() -> list[str]:
        rows = client.ask("call.list", flow=flow, limit=100)["calls"]
        return [row["id"] for row in rows if row["state"] == "RUNNING"]

    until(lambda: len(ids()) == count, SOON_S, lambda: f"{count} run: {ids()}")
    return ids()


def test_who_takes_the_place_of_a_dead_worker_runs_its_copy(node: Mesh, client: Client, tmp_path):
    before = ready(node)

    replies = client.socket("work.tasks.die_once").broadcast(str(tmp_path / "died"))

    assert len(values(replies)) == WORKERS and len(set(values(replies))) == WORKERS
    assert len(set(values(replies)) & set(before)) == WORKERS - 1


def test_a_place_that_is_taken_away_ends_its_copy_with_an_error(node: Mesh, client: Client):
    replies = until(scaled_down(node, client), SOON_S, "two said it, one is gone")

    assert sorted("error" in one for one in replies) == [False, False, True]
    [error] = [one["error"] for one in replies if "error" in one]
    assert error["code"] == "seat_gone" and "has 2 workers for processor work" in error["text"]
    workers = {"workers": WORKERS}
    node.ask("model", do="update", kind="processor", name="work", fields=workers)
    until(lambda: len(ready(node)) == WORKERS, SOON_S, "all workers are back")


def scaled_down(node: Mesh, client: Client) -> Callable[[], list[dict]]:
    """A broadcast that waits behind busy workers while one of them is taken away."""
    busy = client.socket("work.tasks.sleep").options(broadcast=True).submit(2)
    running(client, busy.id, WORKERS)
    call = client.socket("work.tasks.get").options(broadcast=True).submit("model")
    call.wait_accepted(SOON_S)
    node.ask("model", do="update", kind="processor", name="work", fields={"workers": 2})
    return lambda: call.result(SOON_S)


def test_a_queue_that_broadcasts_and_a_call_that_does_not(node: Mesh, client: Client):
    node.add("queue", "all", type="broadcast")
    node.add("socket", "every", processor="work", task="get", queue="all")
    node.wait_ready("work")

    assert len(client.socket("every")("model")) == WORKERS
    plain = client.socket("every").options(broadcast=False)("model")
    assert len(plain) == 1 and isinstance(plain[0][0], int), "as of a fanout queue with one socket"


def test_a_broadcast_within_a_flow_feeds_the_next_step(client: Client):
    put = client.socket("work.tasks.put").options(broadcast=True)

    made = pipeline(put.p("flow", 1), client.socket("work.tasks.count").p())

    assert client.submit(made).get(SOON_S) == WORKERS


def test_the_command_prints_what_each_worker_said(node: Mesh):
    words = ["run", "work.tasks.get", "model", "--broadcast", "-o", "json"]
    run = subprocess.run(
        [sys.executable, "-m", "meshcode.cli", *words],
        env=node.env, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    replies = json.loads(run.stdout)
    assert [one["place"] for one in replies] == list(range(WORKERS))
    words = ["task", "run", "-s", "work.tasks.get", "-d", "'model'", "--broadcast", "-o", "json"]
    run = subprocess.run(
        [sys.executable, "-m", "meshcode.cli", *words],
        env=node.env, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(run.stdout)) == WORKERS


def test_what_cannot_be_is_refused_before_anything_is_sent(client: Client):
    socket = client.socket("work.tasks.get")

    with pytest.raises(BadRequest, match="it is True or False, not 1; nothing was sent"):
        socket.options(broadcast=1)
    with pytest.raises(BadRequest, match="option broadcast: does not go with stream"):
        socket.options(broadcast=True, stream=True)
