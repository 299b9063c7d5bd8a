"""A worker's link: the same by libzmq alone and by pyzmq."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from meshcode import native
from meshcode.worker import link as link_module
from meshcode.worker.link import Link, bundled_libzmq

PACKAGES = os.path.dirname(os.path.dirname(importlib.util.find_spec("zmq").origin or ""))
TWINS = ["pyzmq"]
if native.TWIN == "c" and sys.platform == "linux" and bundled_libzmq(PACKAGES):
    TWINS.append("libzmq")


@pytest.fixture(params=TWINS)
def packages(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the link looks for libzmq: the environment, or a folder without one."""
    return PACKAGES if request.param == "libzmq" else str(tmp_path)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVTIMEO, 20_000)
    socket.bind(f"ipc://{tmp_path}/node")
    yield socket
    socket.close()
    context.term()


@pytest.fixture
def link(packages: str, router: zmq.Socket[bytes], tmp_path: Path) -> Iterator[Link]:
    made = Link(f"ipc://{tmp_path}/node", packages)
    yield made
    made.close()
    signal.set_wakeup_fd(-1)
    os.close(made.wake_file)
    os.close(made.wake_end)


def arrived(link: Link) -> list[bytes]:
    """What has arrived when something has."""
    while not (found := list(link.receive())):
        link.wait()
    return found


def test_it_is_by_libzmq_alone_where_that_is_there(link: Link, packages: str):
    assert type(link.dealer).__name__ == ("Dealer" if packages == PACKAGES else "_Pyzmq")


@pytest.mark.parametrize("size", [0, 1, 33, 70_000, 5_000_000])
def test_frames_go_and_come_as_they_are(link: Link, router: zmq.Socket[bytes], size: int):
    data = os.urandom(size)
    assert list(link.receive()) == []

    link.send(data)
    route, heard = router.recv_multipart()
    router.send_multipart([route, heard])

    assert heard == data
    assert arrived(link) == [data]
    assert list(link.receive()) == []


def test_all_that_arrived_comes_in_order(link: Link, router: zmq.Socket[bytes]):
    link.send(b"hello")
    route, _ = router.recv_multipart()
    sent = [b"%d" % number for number in range(5000)]
    for one in sent:
        router.send_multipart([route, one])

    found: list[bytes] = []
    while len(found) < len(sent):
        found += arrived(link)

    assert found == sent


def test_what_was_sent_arrives_although_the_link_is_closed(
    packages: str, router: zmq.Socket[bytes], tmp_path: Path
):
    link = Link(f"ipc://{tmp_path}/node", packages)
    for number in range(100):
        link.send(b"%d" % number)
    link.dealer.close()
    link.dealer.close()  # Nothing more.

    assert [router.recv_multipart()[1] for _ in range(100)] == [b"%d" % n for n in range(100)]


def test_a_frame_over_the_limit_ends_the_connection(
    packages: str, router: zmq.Socket[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(link_module, "FRAME_BYTES_MAX", 1000)
    link = Link(f"ipc://{tmp_path}/node", packages)
    link.send(b"hello")
    route, _ = router.recv_multipart()

    ended = router.get_monitor_socket(zmq.Event.DISCONNECTED)
    router.send_multipart([route, b"x" * 1000])
    router.send_multipart([route, b"y" * 1001])
    assert ended.poll(20_000)
    ended.close()
    router.disable_monitor()

    assert arrived(link) == [b"x" * 1000]
    assert list(link.receive()) == []
    link.close()


def test_a_signal_that_came_before_the_wait_ends_it(link: Link):
    """Else a cancel that comes as the worker begins to wait is heard with the next frame."""
    heard: list[int] = []
    guard = threading.Timer(20, lambda: (heard.append(0), link.wake()))
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    guard.start()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        while not heard:
            pass
        link.wait()
    finally:
        guard.cancel()
        signal.signal(signal.SIGUSR1, before)

    assert heard == [signal.SIGUSR1]


def test_more_wakes_than_a_pipe_holds_are_no_error(link: Link):
    for _ in range(100_000):  # More than the pipe holds.
        link.wake()

    while link.poll.poll(0):
        link.wait()
        assert list(link.receive()) == []  # The link's own descriptor is quiet when it was asked.


@pytest.mark.skipif("libzmq" not in TWINS, reason="no libzmq by itself here")
def test_what_is_no_libzmq_is_left_to_pyzmq(tmp_path: Path):
    """In a process of its own, for what is loaded stays."""

    from meshcode.native import _objects as other

    script = (
        "import sys; from meshcode.native import dealer\n"
        "print(dealer(sys.argv[1], 'inproc://x', 0, 1000))\n"
    )
    for library in (other.__file__, str(tmp_path / "none.so")):
        ran = subprocess.run(
            [sys.executable, "-c", script, library], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout) == (0, "None\n"), ran.stderr


@pytest.mark.skipif("libzmq" not in TWINS, reason="no libzmq by itself here")
def test_a_bad_address_is_an_error_of_the_system():
    library = bundled_libzmq(PACKAGES)
    assert library is not None
    with pytest.raises(OSError, match="nonsense"):
        native.dealer(library, "nonsense", 0, 1000)
    closed = native.dealer(library, "ipc:///nowhere/at/all", 0, 1000)
    closed.close()
    for use in (closed.readable, closed.receive, closed.file, lambda: closed.send(b"x")):
        with pytest.raises(ValueError, match="closed"):
            use()
