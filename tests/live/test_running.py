"""How calls run on real workers: at once, one by one, ended early, streamed, replaced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcode.client import Client, connect
from meshcode.client.requests import Request
from meshcode.errors import CallCancelled, TimeLimit, WrongState
from meshcode.limits import ASYNC_CALLS_MAX
from tests.live.harness import Mesh, make_repository, offering, until

TASKS = '''
import asyncio
import os
import time


def affinity():
    return [os.getpid(), sorted(os.sched_getaffinity(0))]


async def meet(path, many):
    """Ends only when `many` of it run at once."""
    with open(path, "a") as file:
        file.write("x")
    while os.path.getsize(path) < many:
        await asyncio.sleep(0.005)
    return many


async def hold(seconds):
    await asyncio.sleep(seconds)
    return os.getpid()


def nap(seconds):
    time.sleep(seconds)
    return seconds


def count(number):
    for value in range(number):
        yield value * value
'''
NAMES = ["affinity", "meet", "hold", "nap", "count"]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the tasks above."""
    folder = tmp_path_factory.mktemp("running")
    make_repository(folder, {"run/__init__.py": "", "run/tasks.py": TASKS})
    return folder


@pytest.fixture(scope="module")
def client(code: Path) -> Iterator[Client]:
    """A client of a node with two workers, one of them for plain tasks only."""
    with Mesh() as mesh:
        mesh.offer("mixed", code, "run.tasks", NAMES)
        mesh.add("processor", "plain", git=code.as_uri(), module="run.tasks", workers=2)
        for task in ("nap", "affinity"):
            mesh.add("socket", f"plain.{task}", processor="plain", task=task, queue="q")
        mesh.wait_ready("mixed")
        mesh.wait_ready("plain", 2)
        with connect(mesh.address) as connected:
            yield connected


def test_async_tasks_run_beside_each_other_in_one_worker(client: Client, tmp_path: Path):
    """None of the ten can end before all ten have begun."""
    path = str(tmp_path / "met")
    calls = [client.socket("run.tasks.meet").submit(path, 10) for _ in range(10)]
    assert [call.result(30) for call in calls] == [10] * 10


def test_a_worker_is_pinned_to_one_cpu(client: Client):
    _, cpus = client.socket("run.tasks.affinity")()
    assert len(cpus) == 1


def test_a_generator_streams_and_its_result_is_the_list(client: Client):
    call = client.socket("run.tasks.count").submit(5)
    assert list(call.items(timeout=30)) == [0, 1, 4, 9, 16]
    assert call.result(30) == [0, 1, 4, 9, 16]


def test_a_call_over_its_time_limit_is_stopped_and_the_worker_goes_on(client: Client):
    before = client.socket("run.tasks.affinity")()[0]
    limited = client.socket("run.tasks.nap").options(time_limit=0.2)
    said = r"after 0\.\d+ s in its function; its node counts from when"
    with pytest.raises(TimeLimit, match=said):
        limited.submit(60).result(30)
    assert client.socket("run.tasks.affinity")()[0] == before


def test_a_running_call_is_cancelled(client: Client):
    call = client.socket("run.tasks.nap").submit(60)
    until(lambda: call.info()["state"] == "RUNNING", 30, "the call runs")
    call.cancel("a test")
    with pytest.raises(CallCancelled):
        call.result(30)
    names = [event["name"] for event in call.info()["events"]]
    assert (names[0], names[-1]) == ("received", "postrun")
    assert "cancel asked" in names


def test_a_cancel_of_a_call_that_has_ended_says_how_it_did(client: Client):
    call = client.socket("run.tasks.affinity").submit()
    assert call.result(20)

    with pytest.raises(WrongState, match=f"call {call.id} ended DONE and keeps its outcome"):
        call.cancel()


def test_as_many_as_a_worker_runs_are_cancelled_at_once_and_it_goes_on(client: Client):
    """More than its control page has room for; a call beside them is none the wiser."""
    hold = client.socket("run.tasks.hold")
    beside = hold.submit(8)
    calls = [hold.submit(600) for _ in range(ASYNC_CALLS_MAX - 1)]
    until(lambda: all(c.info()["state"] == "RUNNING" for c in calls), 30, "all run", every=0.1)

    for call in calls:  # As one turn of the node, without waiting for each.
        request = Request("call.cancel", {"id": call._id, "by": "a test"})
        client.session.begin(request)
    for call in calls:
        with pytest.raises(CallCancelled):
            call.result(30)

    assert beside.result(30) == client.socket("run.tasks.affinity")()[0]
    assert beside.info()["attempts"] == 1


def test_short_calls_staged_behind_a_long_one_go_to_the_other_worker(client: Client):
    """They were staged because calls of this socket used to be short."""
    nap = client.socket("plain.nap")
    assert list(nap.map([0] * 50)) == [0] * 50
    long = nap.submit(20)
    began = time.monotonic()
    assert list(nap.map([0] * 200)) == [0] * 200
    assert time.monotonic() - began < 15, "they waited for the long call"
    long.cancel("a test")
    with pytest.raises(CallCancelled):
        long.result(30)


def test_a_worker_is_replaced_after_its_calls_and_nothing_is_lost(code: Path):
    short = offering("short", code, "run.tasks", ["affinity"], recycle_calls=20)
    with short as mesh, connect(mesh.address) as client:
        affinity = client.socket("run.tasks.affinity")
        first = affinity()[0]
        calls = [affinity.submit() for _ in range(60)]
        assert all(call.result(30) for call in calls)
        fresh = until(lambda: affinity()[0] != first, 30, "another worker")
        assert fresh


def test_no_worker_is_given_a_call_that_comes_after_its_last(code: Path):
    """They are counted as outcomes come, not now and then."""
    fresh = offering("fresh", code, "run.tasks", ["affinity"], recycle_calls=1)
    with fresh as mesh, connect(mesh.address) as client:
        affinity = client.socket("run.tasks.affinity")
        pids = [affinity()[0] for _ in range(6)]
        assert len(set(pids)) == 6, pids
