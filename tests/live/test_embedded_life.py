"""A node inside another program, and what that does meanwhile: forks, threads, its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from meshcode import Node, connect
from meshcode.errors import RemoteError
from tests.live.harness import ROOT

CHILD_LEAVES = """
import os, sys
from meshcode import Node, connect
from meshcode.errors import NodeError

with Node() as node:
    node.serve("one", lambda: 1)
    child = os.fork()
    if not child:
        for ask in (node.start, lambda: node.serve("two", lambda: 2)):
            try:
                ask()
            except NodeError as error:
                print(error, flush=True)
        sys.exit(0)
    os.waitpid(child, 0)
    print(os.path.isdir(node.home))
    with connect(node.address) as client:
        print(client.socket("one").submit().result(timeout=20), flush=True)
print(os.path.isdir(node.home))
"""


def test_a_child_that_was_forked_leaves_the_parents_node_alone():
    run = subprocess.run(
        [sys.executable, "-c", CHILD_LEAVES],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    lines = run.stdout.splitlines()
    assert lines[2:] == ["True", "1", "False"], run.stdout + run.stderr
    for line in lines[:2]:
        assert "this node runs in process" in line
        assert "forked" in line


def test_functions_are_served_from_many_threads_while_the_node_runs():
    """The node's thread goes over the functions while others are added."""
    with Node() as node, connect(node.address) as client:

        def serve(thread: int) -> None:
            for number in range(200):
                node.serve(f"t{thread}.f{number}", lambda value, number=number: value + number)

        threads = [threading.Thread(target=serve, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        names = [f"t{thread}.f199" for thread in range(6)]
        assert [client.socket(name).submit(1).result(30) for name in names] == [200] * 6


NEVER_STOPPED = """
import gc, os, sys
from meshcode import Node

dropped, started, kept = Node(), Node().start(), Node()
homes = [node.home for node in (dropped, started, kept)]
del dropped
gc.collect()
print(*(os.path.isdir(home) for home in homes))
child = os.fork()
if not child:
    sys.exit(0)  # With all that is done at the end of a program.
os.waitpid(child, 0)
print(*(os.path.isdir(home) for home in homes))
print(*homes)
"""


def test_a_temporary_node_that_is_never_stopped_leaves_nothing_behind():
    run = subprocess.run(
        [sys.executable, "-c", NEVER_STOPPED],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    before, after, homes = run.stdout.splitlines()
    assert (before, after) == ("False True True", "False True True"), run.stderr
    assert [os.path.exists(home) for home in homes.split()] == [False] * 3


def test_a_function_that_was_served_is_known():
    """The node looked at what clients said before it looked at what was served just then."""
    with Node() as node, connect(node.address) as client:
        for number in range(300):
            node.serve(f"f{number}", lambda number=number: number)
            assert client.socket(f"f{number}").submit().result(20) == number


def test_who_serves_while_the_node_ends_does_not_wait_for_it():
    node = Node()
    served = threading.Event()

    def serve() -> None:
        for number in range(10_000):
            node.serve(f"f{number % 50}", lambda: 1)
            if number > 100:
                served.set()

    with node:
        threads = [threading.Thread(target=serve) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert served.wait(60)
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)


def test_a_function_serves_another():
    with Node() as node, connect(node.address) as client:
        node.serve("more", lambda name: node.serve(name, lambda: name))
        for name in ("one", "two"):
            client.socket("more").submit(name).result(20)
            assert client.socket(name).submit().result(20) == name


def test_a_function_that_stops_its_own_node_is_told_that_it_cannot():
    """It waited for itself until the grace of 60 s was over."""
    node = Node()

    async def later() -> None:
        await asyncio.sleep(0)
        node.stop()

    node.serve("quit", node.stop)
    node.serve("later", later)
    node.serve("one", lambda: 1)
    with node, connect(node.address) as client:
        for name in ("quit", "later"):
            with pytest.raises(RemoteError, match=r"NodeError: .* cannot stop it.*main thread"):
                client.socket(name).submit().result(20)
        assert client.socket("one").submit().result(20) == 1


def test_a_function_that_outlives_its_node_writes_into_no_file_of_the_program(tmp_path: Path):
    """When it ended it woke a node that was gone: through a number that was another's by then."""
    began, goes_on = threading.Event(), threading.Event()
    node = Node(str(tmp_path / "node"))
    node.serve("slow", lambda: began.set() or goes_on.wait(60))
    with node:
        with connect(node.address) as client:
            client.socket("slow").submit().wait_accepted(20)
        assert began.wait(20)
        threads = [one for one in threading.enumerate() if one.name.startswith("mesh-host-")]
        for _ in range(2):  # The second time is at once: what runs is not waited for.
            node._loop.stop()
    opened = [os.open(tmp_path / str(n), os.O_CREAT | os.O_RDWR) for n in range(64)]

    goes_on.set()
    for thread in threads:
        thread.join(20)

    assert threads and not any(thread.is_alive() for thread in threads)
    assert [os.fstat(fd).st_size for fd in opened] == [0] * 64
    for fd in opened:
        os.close(fd)
