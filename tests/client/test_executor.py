"""The executor with a real node: real futures, functions found by name, refusals that help."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import importlib
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from meshcode import connect, errors
from meshcode.client import Client, Executor
from tests.live.harness import Mesh, make_repository

TASKS = '''
"""What the executor runs."""

import os
import time


def price(order, *, tax=0):
    return {"n": order["n"], "sum": order["n"] * 2 + tax}


def pid():
    return os.getpid()


def boom(text):
    raise ValueError(text)


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


def unmounted(value):
    return value


class Thing:
    def method(self):
        return 1
'''
INNER = "def inner(value):\n    return value + 1\n"
OUTER = "from exe_inner import inner\n"
WAIT_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, which this process imports from as well."""
    folder = tmp_path_factory.mktemp("code") / "repository"
    files = {"exe_tasks.py": TASKS, "exe_inner.py": INNER, "exe_outer.py": OUTER}
    make_repository(folder, files)
    return folder


@pytest.fixture(scope="module")
def mesh(folder: Path) -> Iterator[Mesh]:
    """A node that offers it."""
    with Mesh() as node:
        node.offer("exe", folder, "exe_tasks", ["price", "pid", "boom", "wait_for"], workers=2)
        node.offer("outer", folder, "exe_outer", ["inner"])
        node.wait_ready("exe", workers=2)
        node.wait_ready("outer")
        yield node


@pytest.fixture
def tasks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the tasks, imported here."""
    monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module("exe_tasks")


@pytest.fixture
def client(mesh: Mesh) -> Iterator[Client]:
    """A client of the node."""
    found = connect(mesh.address, timeout=WAIT_S)
    yield found
    found.close(0)


@pytest.fixture
def executor(client: Client) -> Iterator[Executor]:
    """An executor of that client."""
    with Executor(client) as found:
        yield found


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that `wait_for` waits for."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def test_functions_run_in_workers_and_not_here(executor, tasks):
    future = executor.submit(tasks.price, {"n": 3}, tax=1)

    assert isinstance(future, concurrent.futures.Future)
    assert future.result(WAIT_S) == {"n": 3, "sum": 7}
    assert future.done() and not future.running() and not future.cancelled()
    assert executor.submit(tasks.pid).result(WAIT_S) != tasks.pid()
    assert executor.submit("exe_tasks.price", {"n": 1}).result(WAIT_S)["sum"] == 2
    taxed = functools.partial(functools.partial(tasks.price, {"n": 2}), tax=5)
    assert executor.submit(taxed).result(WAIT_S)["sum"] == 9
    assert executor.submit(taxed, tax=6).result(WAIT_S)["sum"] == 10


def test_a_socket_goes_with_its_options(executor, client):
    later = client.socket("exe_tasks.price").options(delay=3600)

    future = executor.submit(later, {"n": 4})

    future.call.wait_accepted(WAIT_S)
    state = future.call.info()["state"]
    assert future.cancel() and state == "DELAYED"


def test_a_function_is_found_where_a_module_has_it_from_another(executor, folder, tasks):
    """It says it is of exe_inner; the processor mounts exe_outer, which imports it."""
    outer = importlib.import_module("exe_outer")

    assert executor.submit(outer.inner, 1).result(WAIT_S) == 2


def test_the_exception_is_that_of_the_function(executor, tasks):
    future = executor.submit(tasks.boom, "no such order")

    with pytest.raises(ValueError, match="no such order") as caught:
        future.result(WAIT_S)
    assert future.exception(0) is caught.value
    assert "in boom" in caught.value.traceback_text


def test_map_is_that_of_the_library(executor, tasks):
    orders = [{"n": n} for n in range(300)]

    assert [one["n"] for one in executor.map(tasks.price, orders)] == list(range(300))
    assert list(executor.map(tasks.price, orders[:2], timeout=WAIT_S, chunksize=8))
    with pytest.raises(ValueError, match="1 at least, not 0"):
        executor.map(tasks.price, orders, chunksize=0)


def test_map_has_a_timeout(executor, tasks, gate):
    order = {"n": 1}
    for timeout in (timedelta(seconds=WAIT_S), math.inf, None):
        assert list(executor.map(tasks.price, [order], timeout=timeout)) == [{"n": 1, "sum": 2}]
    with pytest.raises(TypeError, match="timeout is seconds, a timedelta or None, not '5s'"):
        executor.map(tasks.price, [order], timeout="5s")
    values = executor.map(tasks.wait_for, [str(gate)], timeout=0.1)

    with pytest.raises(TimeoutError):
        next(values)


def test_wait_and_as_completed_know_the_futures(executor, tasks, gate):
    slow = executor.submit(tasks.wait_for, str(gate))
    quick = [executor.submit(tasks.price, {"n": n}) for n in range(3)]

    done, open_ = concurrent.futures.wait([slow, *quick[:1]], WAIT_S, "FIRST_COMPLETED")
    assert (done, open_) == ({quick[0]}, {slow})
    assert set(concurrent.futures.as_completed(quick, WAIT_S)) == set(quick)
    gate.touch()
    assert list(concurrent.futures.as_completed([slow], WAIT_S)) == [slow]


def test_callbacks_run_once_outside_the_thread_that_reads(executor, tasks, client):
    """A callback makes a call and waits for it: in the reading thread that would never end."""
    told: list[tuple[str, int]] = []
    over = threading.Event()

    def called(future: concurrent.futures.Future) -> None:
        told.append((threading.current_thread().name, client.socket("exe_tasks.pid")()))
        over.set()

    executor.submit(tasks.price, {"n": 1}).add_done_callback(called)

    assert over.wait(WAIT_S)
    assert [name for name, _ in told] == ["mesh-executor"]


def test_a_cancelled_future_cancels_its_call(executor, tasks, gate):
    future = executor.submit(tasks.wait_for, str(gate))
    future.call.wait_accepted(WAIT_S)

    assert future.cancel() and future.cancelled()
    assert future.cancel(), "again is no error"
    assert concurrent.futures.wait([future], WAIT_S).done == {future}
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(WAIT_S)
    with pytest.raises(errors.CallCancelled):
        future.call.result(WAIT_S)


def test_what_has_ended_is_not_cancelled(executor, tasks):
    future = executor.submit(tasks.price, {"n": 1})
    future.result(WAIT_S)

    assert not future.cancel()
    assert future.result(0)["sum"] == 2


def test_a_call_cancelled_by_somebody_else_is_an_error_that_says_so(executor, tasks, gate):
    future = executor.submit(tasks.wait_for, str(gate))
    future.call.cancel(by="ann")

    with pytest.raises(errors.CallCancelled, match="was cancelled"):
        future.result(WAIT_S)


def test_shutdown_waits_and_then_nothing_is_taken(client, tasks):
    executor = Executor(client)
    futures = [executor.submit(tasks.price, {"n": n}) for n in range(20)]

    executor.shutdown()

    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown; nothing was sent"):
        executor.submit(tasks.price, {"n": 1})
    executor.shutdown()
    assert client.socket("exe_tasks.pid")() > 0, "the client is still open"


def test_shutdown_may_cancel_or_not_wait(client, tasks, gate):
    first, second = Executor(client), Executor(client)
    slow, kept = first.submit(tasks.wait_for, str(gate)), second.submit(tasks.wait_for, str(gate))

    first.shutdown(cancel_futures=True)
    second.shutdown(wait=False)

    assert slow.cancelled() and not kept.done()
    gate.touch()
    assert kept.result(WAIT_S) == str(gate)


def test_the_thread_ends_with_the_executor(client, tasks):
    executor = Executor(client)
    future = executor.submit(tasks.price, {"n": 1})
    thread = executor._ends._thread
    assert thread is not None
    del executor

    assert future.result(WAIT_S)["sum"] == 2
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_closed_client_ends_the_futures(mesh, tasks, gate):
    client = connect(mesh.address, timeout=WAIT_S)
    future = Executor(client).submit(tasks.wait_for, str(gate))
    client.close()

    with pytest.raises(errors.WrongState, match="closed"):
        future.result(WAIT_S)


def test_in_asyncio(executor, tasks, gate):
    async def main() -> tuple[object, bool]:
        loop = asyncio.get_running_loop()
        prices = [loop.run_in_executor(executor, tasks.price, {"n": n}) for n in range(3)]
        values = await asyncio.gather(*prices)
        with pytest.raises(TimeoutError):
            slow = loop.run_in_executor(executor, tasks.wait_for, str(gate))
            await asyncio.wait_for(slow, 0.05)
        return [value["n"] for value in values], slow.cancelled()

    assert asyncio.run(main()) == ([0, 1, 2], True)


def _local() -> object:
    def inner() -> None: ...

    return inner


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tasks: lambda: 1, "it is a lambda, which has no name.*write it with def"),
        (lambda tasks: functools.partial(lambda n: n, 1), "it is a lambda"),
        (lambda tasks: _local(), "made inside '_local'.*move it to the top of its module"),
        (lambda tasks: tasks.Thing().method, "a method bound to <exe_tasks.Thing.*as arguments"),
        (lambda tasks: tasks.unmounted, "no socket has the task 'unmounted' of module 'exe_tasks'"),
        (lambda tasks: math.sqrt, "no socket has the task 'sqrt' of module 'math'"),
        (lambda tasks: 7, "a function or the name of a socket is submitted, not 7"),
    ],
)
def test_what_cannot_be_found_is_refused_and_says_what_to_do(executor, tasks, make, said):
    with pytest.raises(TypeError, match=said) as caught:
        executor.submit(make(tasks))
    assert "nothing was sent" in str(caught.value)


def test_only_sockets_of_the_processor_count(client, tasks):
    said = "no socket of processor 'outer' has the task 'price'"
    with Executor(client, "outer") as executor, pytest.raises(TypeError, match=said):
        executor.submit(tasks.price, {"n": 1})
    with Executor(client, processor="exe") as executor:
        assert executor.submit(tasks.price, {"n": 1}).result(WAIT_S)["sum"] == 2


def test_a_function_of_the_program_itself_is_refused(mesh, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from meshcode.client import Executor\n"
        "def mine(): ...\n"
        "try:\n    Executor().submit(mine)\n"
        "except TypeError as error:\n    print(error)\n"
    )
    env = {**mesh.env, "MESH_NODE": mesh.address}
    run = subprocess.run(
        [sys.executable, str(program)], env=env, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip

    assert "of the program itself (__main__), which no processor has" in run.stdout
    assert "move it to a module" in run.stdout
