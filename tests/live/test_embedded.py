"""A node inside another program: functions of the program itself, no code travels."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from meshcode import Node, connect, current_call
from meshcode.errors import (
    BadRequest,
    CallCancelled,
    FolderInUse,
    RemoteError,
    TimeLimit,
    UnknownSocket,
    WaitTimeout,
)
from tests.live.harness import ROOT, until
from tests.test_docs import fenced

GUIDE = fenced((ROOT / "docs/embedding.md").read_text(), "python")


def test_functions_of_the_program_are_called_by_other_processes(tmp_path: Path):
    readings = [20.5, 21.0]
    with Node(str(tmp_path / "node")) as node:
        node.serve("device.read", lambda n: readings[n])
        code = (
            "import sys; from meshcode import connect;"
            "print(connect(sys.argv[1]).socket('device.read')(1))"
        )

        run = subprocess.run(
            [sys.executable, "-c", code, node.address],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

        assert run.stdout == "21.0\n", run.stderr


def test_an_exception_of_the_program_is_raised_at_the_caller(tmp_path: Path):
    def refuse() -> None:
        raise KeyError("no such sensor")

    with Node(str(tmp_path / "node")) as node, connect(node.address) as client:
        node.serve("device.refuse", refuse)

        with pytest.raises(KeyError, match="no such sensor"):
            client.socket("device.refuse")()
        with pytest.raises(UnknownSocket):
            client.socket("device.reed")()


def test_a_call_waits_for_a_function_that_is_served_after_the_restart(tmp_path: Path):
    """It was acknowledged, so it is kept, although nobody offers its socket for a while."""
    release = threading.Event()
    home = str(tmp_path / "node")
    with Node(home) as node, connect(node.address) as client:
        node.serve("device.slow", lambda: release.wait(0.2) and "early", concurrency=1)
        calls = [client.socket("device.slow").submit() for _ in range(5)]
        for call in calls:
            call.wait_accepted(20)
        ids = [call.id for call in calls]

    with Node(home) as node, connect(node.address) as client:
        left = [id for id in ids if client.ask("call.get", id=id)["state"] != "DONE"]
        assert left
        with pytest.raises(WaitTimeout):
            client.call(left[0]).result(0.2)

        node.serve("device.slow", lambda: "late")

        assert {client.call(id).result(30) for id in left} == {"late"}


def test_two_nodes_of_one_program_have_folders_of_their_own(tmp_path: Path):
    with Node(str(tmp_path / "one")) as one, Node(str(tmp_path / "two")) as two:
        one.serve("who", lambda: "one")
        two.serve("who", lambda: "two")
        with connect(one.address) as first, connect(two.address) as second:
            assert (first.socket("who")(), second.socket("who")()) == ("one", "two")

        with pytest.raises(FolderInUse):
            Node(str(tmp_path / "one")).start()


def test_a_temporary_node_leaves_nothing_behind():
    with Node() as node:
        node.serve("echo", lambda value: value)
        with connect(node.address) as client:
            assert list(client.socket("echo").map(range(100))) == list(range(100))
        home = Path(node.home)
        assert home.exists()

    assert not home.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": "a"}, "socket 'y': retries is 'a'; it must be a whole number from 0"),
        ({"time_limit_ms": "5s"}, "time_limit_ms is '5s'; it must be a whole number from 1"),
        ({"concurrency": "a"}, "concurrency is 'a'; it must be a whole number from 1"),
        ({"rate_limit": "foo"}, "rate_limit is 'foo'; it must be like 10/s"),
        ({"rate_limit": 5}, "rate_limit is 5; it must be like 10/s"),
        ({"retry_delay_ms": -5}, "retry_delay_ms is -5; it must be a whole number from 0"),
        ({"priority": 99}, "priority is 99; it must be a whole number from 0"),
        ({"queue": 5}, "queue is 5; it must be 1 to"),
        ({"foo": 3}, "a served function has no option 'foo'; it has: queue, priority"),
        ({"task": "y"}, "a served function has no option 'task'"),
        ({"name": None}, "the socket has no name; give one"),
        ({"name": "e x"}, "the name of a socket is 'e x'"),
        ({"function": 5}, "socket 'y' is to be served by 5, which cannot be called"),
    ],
)
def test_what_sockets_cannot_have_is_refused_and_the_node_goes_on(options, said):
    with Node() as node, connect(node.address) as client:
        node.serve("ok", lambda value: value)

        with pytest.raises(BadRequest, match=said):
            node.serve(**{"name": "y", "function": print, **options})

        assert client.socket("ok")(1) == 1
    with pytest.raises(BadRequest, match=said):  # Before it has started, too.
        Node().serve(**{"name": "y", "function": print, **options})


async def nap(seconds: float) -> list[object]:
    before = current_call().id
    await asyncio.sleep(seconds)
    return [seconds, before == current_call().id]


async def count(n: int):
    for number in range(n):
        await asyncio.sleep(0)
        yield number


async def leave(code: int):
    sys.exit(code)


async def stubborn():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "cleaned up"


def test_async_functions_run_on_one_loop():
    loops = []

    async def which() -> None:
        loops.append(asyncio.get_running_loop())

    with Node() as node, connect(node.address) as client:
        for function in (nap, count, leave, which):
            node.serve(function.__name__, function)
        assert client.socket("nap")(0.01) == [0.01, True]
        assert client.socket("count")(3) == [0, 1, 2]
        with pytest.raises(RemoteError, match="SystemExit: 3"):
            client.socket("leave")(3)
        client.socket("which")()
        client.socket("which")()
        meet = threading.Barrier(2)

        async def both() -> int:
            return await asyncio.to_thread(meet.wait, 20)

        node.serve("both", both)
        calls = [client.socket("both").submit() for _ in range(2)]
        assert sorted(call.result(20) for call in calls) == [0, 1]

    assert len(set(loops)) == 1
    for thread in threading.enumerate():
        if thread.name.startswith("mesh-host"):
            thread.join(20)
    assert loops[0].is_closed()


def test_a_coroutine_is_stopped_at_its_time_limit_and_by_a_cancel():
    with Node() as node, connect(node.address) as client:
        node.serve("nap", nap, time_limit_ms=200)
        node.serve("long", nap)
        node.serve("stubborn", stubborn, time_limit_ms=200)

        with pytest.raises(TimeLimit, match=r"stopped over its time limit, after 0\.\d+ s in its"):
            client.socket("nap")(60)
        assert client.socket("stubborn")() == "cleaned up"

        call = client.socket("long").submit(60)
        until(lambda: client.ask("call.get", id=call.id)["state"] == "RUNNING", 20, "it runs")
        call.cancel()
        with pytest.raises(CallCancelled, match="the call was cancelled after"):
            call.result(20)


def test_what_waits_for_a_busy_loop_is_stopped_before_its_first_step():
    """It ran to its end before: there was no task to cancel, and its thread waits in C."""
    goes_on, ran = threading.Event(), list[str]()

    async def busy() -> None:
        goes_on.wait(60)  # As a program must not.

    async def work() -> None:
        ran.append("work")

    async def items():
        ran.append("items")
        yield 1

    with Node() as node, connect(node.address) as client:
        for function in (busy, work, items):
            node.serve(function.__name__, function)
        node.serve("late", work, time_limit_ms=50)
        first = client.socket("busy").submit()
        until(lambda: client.ask("call.get", id=first.id)["state"] == "RUNNING", 20, "it runs")
        calls = [client.socket(name).submit() for name in ("work", "items", "late")]
        for call in calls:
            asked = {"id": call.id}
            until(lambda a=asked: client.ask("call.get", **a)["state"] == "RUNNING", 20, "it runs")
        for call in calls[:2]:
            call.cancel()
        hosted = node._loop.hosted

        def is_told(call) -> bool:
            """One that was asked to end before its thread took it has ended at once."""
            with hosted._lock:  # Who asks has it until the coroutine is told.
                if call._id in hosted._asked:
                    return True
            return client.ask("call.get", id=call.id)["state"] in ("CANCELLED", "FAILED")

        for call in calls:
            until(partial(is_told, call), 20, "it is to end, or has")

        goes_on.set()

        for call in calls[:2]:
            with pytest.raises(CallCancelled):
                call.result(20)
        with pytest.raises(TimeLimit):
            calls[2].result(20)
        assert first.result(20) is None
    assert ran == []


def test_what_a_function_that_cannot_be_interrupted_has_run_is_told():
    """It waits in C, and the interrupt comes when it is back."""
    with Node() as node, connect(node.address) as client:
        node.serve("sleep", time.sleep, time_limit_ms=100)

        with pytest.raises(TimeLimit) as failure:
            client.socket("sleep")(0.6)

    said = re.match(
        r"the call ran over its time limit: it was asked to end after (0\.\d+) s and ended after "
        r"(\d\.\d+) s; a function of the program is interrupted between two steps of Python",
        failure.value.text,
    )
    assert said, failure.value.text
    assert float(said[1]) < 0.6 <= float(said[2])


def test_a_traceback_shows_the_programs_own_code():
    def refuse() -> None:
        raise ValueError("no")

    with Node() as node, connect(node.address) as client:
        node.serve("refuse", refuse)
        with pytest.raises(ValueError, match="no") as failure:
            client.socket("refuse")()

    told = "".join(failure.value.__notes__)
    assert "in refuse" in told
    assert "hosted.py" not in told


@pytest.mark.parametrize("number", range(len(GUIDE)))
def test_the_examples_of_the_guide_run(tmp_path: Path, number: int):
    """Each is a program; what it prints is what stands behind its `print`s."""
    example = "\n".join(GUIDE[number]).replace("/var/lib/device", str(tmp_path / "device"))

    run = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    shown = re.findall(r"print\(.*  # (.*)$", example, re.M)
    assert shown
    assert (run.stdout.splitlines(), run.returncode) == (shown, 0), run.stderr
