"""What a process pays and owes: start-up, the default client, forks, the end of the program."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from meshcode import Socket, errors
from meshcode.client import default_client
from meshcode.client.freshids import FreshIds
from meshcode.ids import unix_ms_of
from tests.client.conftest import ROOT, SOON_S

# Each of these costs a process milliseconds or megabytes that calling a function does not need.
FORBIDDEN = (
    "asyncio", "sqlalchemy", "git", "lmdb", "click", "psutil", "zeroconf", "psycopg2", "numpy",
    "dataclasses", "inspect", "ssl", "http", "socket", "subprocess", "logging", "tempfile",
    "concurrent.futures", "importlib.metadata", "meshcode.node", "meshcode.model",
    "meshcode.router", "meshcode.store", "meshcode.worker", "meshcode.cli", "meshcode.client.aio",
)  # fmt: skip


def python(code: str, address: str = "ipc:///nowhere") -> subprocess.CompletedProcess[str]:
    """Run a small program with MESH_NODE set."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "MESH_NODE": address}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=SOON_S,
        check=False,
    )  # fmt: skip


def test_importing_and_calling_loads_nothing_heavy(peer):
    run = python(
        "import sys, zmq; before = set(sys.modules)\n"  # pyzmq loads more in later Pythons.
        "from meshcode import connect, Socket\n"
        "with connect() as client: assert client.socket('echo')(1) == 1\n"
        "print(*sorted(set(sys.modules) - before))",
        peer.address,
    )

    assert run.returncode == 0, run.stderr
    loaded = run.stdout.split()
    assert "meshcode.client.session" in loaded
    assert [name for name in FORBIDDEN if name in loaded] == []


def test_importing_meshcode_loads_no_client():
    run = python(
        "import meshcode, sys; print('zmq' in sys.modules, 'meshcode.client' in sys.modules)"
    )

    assert run.stdout.split() == ["False", "False"]


def test_the_process_wide_client_is_made_once(peer, monkeypatch):
    monkeypatch.setenv("MESH_NODE", peer.address)

    assert Socket("echo")("x") == "x"
    assert default_client() is default_client()
    first = default_client()
    first.close()
    assert Socket("echo")("y") == "y"
    assert default_client() is not first
    default_client().close()


def test_without_a_node_a_program_says_so():
    run = python("from meshcode import connect\nconnect(timeout=0.05)", "ipc:///tmp/no-such-node")

    assert run.returncode == 1
    assert "NoNode: no node answers at ipc:///tmp/no-such-node" in run.stderr


def test_the_end_of_a_program_tells_refusals_that_nobody_asked_about(peer):
    run = python("from meshcode import Socket\n[Socket('refuse').submit(i) for i in range(3)]",
                 peer.address)  # fmt: skip

    assert run.stdout == "" and run.stderr == (
        "meshcode: 3 calls were refused and nobody asked what became of them; the first: the line "
        "of refuse has 10 calls, its limit is 10; `result()` or `wait_accepted()` of a call "
        "raises this\n"
    )


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Of Python 3.12 on: a fork beside threads.
from meshcode import Socket, errors
from meshcode.client import default_client

later = Socket("later").submit(1)
later.wait_accepted()
parent = default_client()
ids = [Socket("echo").submit(0).id]
read, write = os.pipe()
child = os.fork()
if child == 0:
    said = []
    try:
        parent.ask("status")
    except errors.WrongState as error:
        said.append("was forked" in str(error))
    try:
        later.result()
    except errors.WrongState as error:
        said.append("was forked" in str(error))
    said.append(Socket("echo")("in the child") == "in the child")
    said.append(default_client() is not parent)
    os.write(write, repr(said).encode())
    sys.exit(0)
_, status = os.waitpid(child, 0)
print(os.read(read, 1000).decode(), status)
parent.ask("test.release")
print(later.result(10), Socket("echo")("in the parent"))
"""


def test_a_forked_child_makes_its_own_connection(peer):
    """The parent's link and thread are not the child's; using them would mix two streams."""
    run = python(FORK, peer.address)

    assert run.stderr == ""
    assert run.stdout == "[True, True, True, True] 0\n1 in the parent\n"


def test_a_forked_child_that_closes_its_parents_client_does_nothing(peer):
    """It has none of the parent's calls to wait for, whatever the parent still waits for."""
    run = python(
        """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from meshcode import connect
client = connect()
mute = client.socket("mute").submit(1)
child = os.fork()
if child == 0:
    client.close()
    with client: pass
    os._exit(0)
print(os.waitpid(child, 0)[1], client.socket("echo")("of the parent"))
client.close(0)
""",
        peer.address,
    )

    assert (run.stdout, run.stderr) == ("0 of the parent\n", "")


def test_a_socket_that_was_called_goes_to_other_processes_and_a_call_does_not(peer):
    run = python(
        """
import copy, multiprocessing, pickle
from concurrent.futures import ProcessPoolExecutor
from meshcode import Socket, connect, connect_async
from meshcode.client import AsyncSocket
from meshcode.client.api import Socket as Declared

if __name__ == "__main__":
    echo = Socket("echo").options(priority=9)
    echo(0)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool: print(list(pool.map(echo, range(5))))
    with spawn.Pool(2) as pool: print(pool.map(echo, range(5)))
    for one in (echo, Declared("echo"), AsyncSocket("echo").sync):
        twin = pickle.loads(pickle.dumps(one))
        print(type(twin) is type(one), twin.name, twin._options)
    client = connect()
    own = client.socket("echo")
    print(copy.copy(own)("copied"))
    for one in (own, own.submit(1), AsyncSocket(own), client.call(own.submit(1).id)):
        try:
            pickle.dumps(one)
        except TypeError as error:
            print(error)
""",
        peer.address,
    )

    lines = run.stdout.splitlines()
    assert run.stderr == "" and lines[:2] == ["[0, 1, 2, 3, 4]"] * 2
    assert lines[2:6] == [
        "True echo {'priority': 9}", "True echo {}", "True echo {}", "copied",
    ]  # fmt: skip
    of_socket, of_call, of_async, of_found = lines[6:]
    assert of_socket == of_async and "send Socket('echo'), which calls through" in of_socket
    assert "find the call there with `connect().call(id)`" in of_call
    assert "send its `id`" in of_found


def test_a_parameter_may_be_called_self(peer, client):
    for socket in (client.socket("report"), Socket("report", client)):
        assert socket(1, self=2)["kwargs"] == socket.submit(1, self=2).result()["kwargs"]
    assert client.socket("report").p(self=2)(1).get(SOON_S)


def test_a_fork_while_other_threads_submit_cannot_hang_the_child(peer):
    """Whatever lock a thread of the parent holds at that moment, the child has its own."""
    run = python(
        """
import os, threading
from meshcode import Socket
stop = threading.Event()
def work():
    while not stop.is_set():
        list(Socket("noop").map(range(200)))
threads = [threading.Thread(target=work) for _ in range(3)]
Socket("noop")()
for thread in threads: thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if Socket("echo")(5) == 5 else 1)
    print(os.waitpid(child, 0)[1])
stop.set()
for thread in threads: thread.join()
""",
        peer.address,
    )

    assert run.stdout.split() == ["0"] * 10, run.stderr


def test_what_was_submitted_is_sent_before_the_program_ends(peer, client):
    run = python(
        "from meshcode import Socket\nfor n in range(1000): Socket('never').submit(n)",
        peer.address,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert client.ask("test.count")["open"] == 1000


CHILD = """
import multiprocessing, sys, threading
from meshcode import Socket, connect

def submit(many):
    for n in range(many): Socket("never").submit(n)

def submit_late(many):
    "When all but this thread has ended, through a client that is there since before."
    threading.main_thread().join()
    submit(many)

def work(many, late):
    submit(many)
    if late: threading.Thread(target=submit_late, args=[late]).start()

def main(method, many, late):
    process = multiprocessing.get_context(method).Process(target=work, args=[many, late])
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("late", [0, 100])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_child_of_multiprocessing_submitted_is_sent_before_it_ends(
    peer, client, tmp_path, method, late
):
    """No `atexit` runs in it; and like a program it waits for its threads first."""
    (tmp_path / "child.py").write_text(CHILD)

    run = python(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"import child; child.main({method!r}, 1000, {late})",
        peer.address,
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert client.ask("test.count")["open"] == 1000 + late


def test_a_program_says_at_its_end_what_was_not_acknowledged(peer):
    run = python(
        "from meshcode import Socket, client\n"
        "client.client.CLOSE_S = 0.05\n"
        "Socket('mute').submit(1)",
        peer.address,
    )

    assert "meshcode: 1 call was not acknowledged by the node" in run.stderr
    assert "before this program ended; it may or may not be accepted" in run.stderr


def test_ids_are_unique_and_ascend():
    maker = FreshIds()
    ids = [maker() for _ in range(20_000)]

    assert ids == sorted(set(ids))
    assert all(len(id) == 16 for id in ids)
    assert {id[6] >> 4 for id in ids} == {7}
    assert {id[8] >> 6 for id in ids} == {0b10}
    assert 0 <= unix_ms_of(ids[-1]) - unix_ms_of(ids[0]) < 60_000


def test_ids_of_many_threads_are_unique():
    maker = FreshIds()
    found: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append([maker() for _ in range(5_000)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id for ids in found for id in ids}) == 20_000


def test_ids_ascend_when_the_clock_is_set_back(monkeypatch):
    times = iter([5_000_000_000, 2_000_000_000, 6_000_000_000])
    monkeypatch.setattr("meshcode.client.freshids.time.time_ns", lambda: next(times))
    maker = FreshIds()

    ids = [maker(), maker(), maker()]

    assert ids == sorted(ids)
    assert [unix_ms_of(id) for id in ids] == [5000, 5000, 6000]


def test_the_public_names_are_there():
    import meshcode
    import meshcode.client as module

    assert meshcode.connect is module.connect
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError):
        module.nonsense
    assert issubclass(errors.NoNode, errors.CallerError)
