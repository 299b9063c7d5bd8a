"""A node whose descriptors are used up by clients of its own machine."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from meshcode.client import connect
from meshcode.node.descriptors import WANTED, aside, reserve
from tests.live.harness import Mesh, offering, until

MOST = 512


@contextlib.contextmanager
def limited(soft: int) -> Iterator[None]:
    """What is started now may have so many open files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def knock(path: str, count: int, within: contextlib.ExitStack) -> int:
    """Connect so often, without a word, as quickly as can be; how many got in."""
    found = 0
    for _ in range(count):
        one = within.enter_context(socket.socket(socket.AF_UNIX))
        one.setblocking(False)
        try:
            one.connect(path)
        except BlockingIOError:  # Too many wait.
            continue
        except (FileNotFoundError, ConnectionRefusedError):
            break
        found += 1
    return found


@pytest.fixture
def many_files() -> Iterator[None]:
    """This process may open as many files as it needs to use up those of a node."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 4 * MOST), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_connections_that_use_up_descriptors_do_not_end_the_node(fresh: Mesh):
    """libzmq would end the process at the first one for which there is none."""
    assert fresh.process is not None
    node = psutil.Process(fresh.process.pid)
    node.rlimit(psutil.RLIMIT_NOFILE, (MOST, node.rlimit(psutil.RLIMIT_NOFILE)[1]))
    path = fresh.address.removeprefix("ipc://")

    with connect(fresh.address) as client, contextlib.ExitStack() as within:
        until(lambda: not knock(path, 20, within), 20, "nobody new is let in")
        assert Path(aside(path)).exists()

        status = client.ask("status")  # Who was there before is served.
        found = status["descriptors"]
        assert found["limit"] == MOST
        assert MOST - reserve(MOST) <= found["used"] < MOST
        assert found["shut_ms"]
        within.close()
        until(lambda: Path(path).exists(), 20, "it lets in again")

    with connect(fresh.address) as client:
        assert client.ask("status")["pid"] == fresh.process.pid
    assert f"of {MOST} are in use; {reserve(MOST)} are kept free" in fresh.words()
    assert fresh.words().count("open files: ") == 2


def test_a_node_takes_as_many_descriptors_as_it_may_have(tmp_path: Path):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with limited(256), Mesh(tmp_path / "home") as mesh:
        assert mesh.process is not None
        found = psutil.Process(mesh.process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert found == (min(hard, WANTED) if hard >= 0 else WANTED, hard)


def test_workers_have_the_limit_that_the_node_was_given(repository: Path):
    """Code that uses select(2) fails at descriptors of 1,024 and above."""
    with limited(777), offering("live", repository, "live.tasks", ["echo"]) as mesh:
        pids = [worker["pid"] for worker in mesh.ask("status")["workers"]]
        assert {psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] for pid in pids} == {777}
