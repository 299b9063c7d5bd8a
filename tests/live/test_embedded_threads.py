"""Threads of a program that serves functions: as few as its calls need, and where it gets none."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from meshcode import Node, connect
from tests.live.harness import ROOT, until

PRELUDE = """
import resource, threading
from meshcode import Node, connect
from meshcode.errors import MeshError, NodeError
from meshcode.node import daemon
from tests.live.harness import until

def leave(more):
    limit = size() + more if more else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
"""
NO_THREAD_TO_SERVE = """
with Node() as node, connect(node.address) as client:
    leave(4_000_000)
    try:
        node.serve("one", lambda: 1)
    except NodeError as error:
        print(error)
    leave(None)
    node.serve("one", lambda: 1)
    print(client.socket("one").submit().result(20))
"""
ONE_THREAD_ALONE = """
with Node() as node, connect(node.address) as client:
    first, release, ran = threading.Event(), threading.Event(), []
    node.serve("wait", lambda: first.set() or release.wait(20))
    node.serve("one", lambda: 1)
    node.serve("limited", lambda: ran.append("limited"), time_limit_ms=50)
    node.serve("cancelled", lambda: ran.append("cancelled"))
    leave(4_000_000)
    node.serve("two", lambda: 2)
    waits = client.socket("wait").submit()
    assert first.wait(20)
    calls = [client.socket(name).submit() for name in ("one", "two", "one", "limited", "cancelled")]
    until(lambda: client.ask("call.get", id=calls[-1].id)["state"] == "RUNNING", 20, "it runs")
    calls[-1].cancel()
    asked = node._loop.hosted._asked
    until(lambda: len(asked) == 2, 20, lambda: f"{len(asked)} are to end")
    release.set()
    print(waits.result(20), [call.result(20) for call in calls[:3]])
    for call in calls[3:]:
        try:
            call.result(20)
        except MeshError as error:
            print(error.code)
    print(ran, sum(one.name.startswith("mesh-host-") for one in threading.enumerate()))
"""
NO_THREAD_FOR_THE_LOOP = """
async def one():
    return 1

with Node() as node, connect(node.address) as client:
    node.serve("one", one)
    leave(4_000_000)
    try:
        client.socket("one").submit().result(20)
    except MeshError as error:
        print(error)
    leave(None)
    print(client.socket("one").submit().result(20))
"""
NO_THREADS_FOR_LIBZMQ = """
resource.setrlimit(resource.RLIMIT_AS, (2 * (size() + 18_000_000), resource.RLIM_INFINITY))
node = Node()
try:
    node.start()
except NodeError as error:
    print(error)
leave(None)
with node, connect(node.address) as client:
    node.serve("one", lambda: 1)
    print(client.socket("one").submit().result(20))
"""


def printed(program: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def host_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("mesh-host-")]


def test_threads_are_started_as_calls_need_them():
    for thread in host_threads():  # Of other tests.
        thread.join(20)
    meet = threading.Barrier(3)
    with Node() as node, connect(node.address) as client:
        node.serve("one", lambda: 1)
        node.serve("meet", lambda: meet.wait(20))
        assert len(host_threads()) == 1
        for _ in range(20):
            assert client.socket("one").submit().result(20) == 1
        assert len(host_threads()) == 1

        calls = [client.socket("meet").submit() for _ in range(3)]
        assert sorted(call.result(20) for call in calls) == [0, 1, 2]
        assert len(host_threads()) == 3

        release = threading.Event()
        node.serve("wait", lambda: release.wait(20))
        calls = [client.socket("wait").submit() for _ in range(20)]
        until(lambda: len(host_threads()) == 8, 20, lambda: f"{len(host_threads())} threads")
        release.set()
        assert [call.result(20) for call in calls] == [True] * 20
        assert len(host_threads()) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_a_function_for_which_no_thread_can_be_had_is_not_served():
    said, result = printed(NO_THREAD_TO_SERVE)

    assert said.startswith("the function of socket 'one' is not served: this process gets no")
    assert "bytes of `ulimit -v`; nothing was changed; end some threads, or raise" in said
    assert result == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_calls_wait_for_the_threads_that_there_are():
    """What is to end before it has a thread does not begin: it was forgotten that it was asked."""
    assert printed(ONE_THREAD_ALONE) == ["True [1, 2, 1]", "time_limit", "cancelled", "[] 1"]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_a_start_without_address_space_is_refused_before_libzmq_ends_the_process():
    said, result = printed(NO_THREADS_FOR_LIBZMQ)

    assert "no node can be started on" in said and "libzmq needs 2 threads" in said, said
    assert result == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not kept elsewhere")
def test_a_coroutine_for_whose_loop_no_thread_can_be_had_fails_and_the_next_one_asks_again():
    said, result = printed(NO_THREAD_FOR_THE_LOOP)

    assert said.startswith("NoThread: this process gets no thread for 'mesh-host-async'")
    assert result == "1"
