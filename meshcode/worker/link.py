"""A worker's one link to its node: a DEALER that nothing here waits for.

Of pyzmq a worker needs so little that it takes the libzmq that pyzmq brought, without pyzmq around
it (native/link.c): two MiB less of each worker.  Where there is no such file (a pyzmq built against
the system's libzmq, no C twin, another system), pyzmq does the same.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Protocol

from meshcode import native
from meshcode.limits import FRAME_BYTES_MAX

_WAKES_READ = 4096  # Wakes that count as one.
LINGER_MS = 5_000  # For the last outcomes to reach a node that is slow to read.


class Dealer(Protocol):
    """A connected DEALER socket; no method but `close` waits."""

    def file(self) -> int:
        """The descriptor that tells of changes (ZMQ_FD)."""

    def readable(self) -> bool:
        """Whether a frame has arrived."""

    def send(self, frame: bytes) -> None:
        """Send one frame."""

    def receive(self) -> bytes | None:
        """A frame that has arrived; None when none has."""

    def close(self) -> None:
        """Let what was sent arrive, for LINGER_MS at most, and close."""


class _Pyzmq:
    """The twin of what `native.dealer` makes, by pyzmq."""

    def __init__(self, address: str, linger_ms: int, message_bytes_max: int) -> None:
        import zmq

        self.zmq = zmq
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, linger_ms)
        self.socket.setsockopt(zmq.SNDHWM, 0)  # The node's credit bounds what is on its way.
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, message_bytes_max)
        self.socket.connect(address)

    def file(self) -> int:
        return int(self.socket.getsockopt(self.zmq.FD))

    def readable(self) -> bool:
        return bool(self.socket.getsockopt(self.zmq.EVENTS) & self.zmq.POLLIN)

    def send(self, frame: bytes) -> None:
        self.socket.send(frame, self.zmq.NOBLOCK)

    def receive(self) -> bytes | None:
        try:
            return self.socket.recv(self.zmq.NOBLOCK)
        except self.zmq.Again:
            return None

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def bundled_libzmq(packages: str) -> str | None:
    """The libzmq that pyzmq's wheel has put beside itself; None where there is not just one.

    Args:
        packages: the folder that holds the package `zmq`.
    """
    folder = os.path.join(packages, "pyzmq.libs")
    try:
        found = [name for name in os.listdir(folder) if name.startswith("libzmq")]
    except OSError:
        return None
    return os.path.join(folder, found[0]) if len(found) == 1 else None


def connect(address: str, packages: str) -> Dealer:
    """A socket connected to `address`, by libzmq alone where that can be, else by pyzmq.

    Args:
        packages: the folder that holds the package `zmq`.

    Raises:
        OSError: libzmq refused the address; from pyzmq it is a ZMQError.
    """
    library = bundled_libzmq(packages)
    made: Dealer | None = None
    if library is not None:
        made = native.dealer(library, address, LINGER_MS, FRAME_BYTES_MAX)
    return made or _Pyzmq(address, LINGER_MS, FRAME_BYTES_MAX)


class Link:
    """The worker's one link to its node.  All but `wait` are called with the outbox's lock held.

    The main thread waits on the link's descriptor and not in libzmq, because other threads send
    meanwhile.  That descriptor tells of changes only, and a send may use up such a telling: so who
    sends from another thread looks whether something has arrived, and wakes the main thread.

    A signal wakes it through the same pipe: one that arrives just before the main thread begins to
    wait would else be handled when it has waited.
    """

    def __init__(self, address: str, packages: str) -> None:
        self.dealer = connect(address, packages)
        self.wake_file, self.wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self.wake_end, warn_on_full_buffer=False)
        self.poll = select.poll()
        self.poll.register(self.dealer.file(), select.POLLIN)
        self.poll.register(self.wake_file, select.POLLIN)
        self.main_thread = threading.get_ident()

    def send(self, frame: bytes) -> None:
        """Send one frame; never waits."""
        self.dealer.send(frame)
        if threading.get_ident() != self.main_thread and self.dealer.readable():
            self.wake()

    def receive(self) -> Iterator[bytes]:
        """All frames that have arrived."""
        while (frame := self.dealer.receive()) is not None:
            if threading.get_ident() != self.main_thread:
                # The main thread may be waiting for just this; it takes the lock and then looks.
                self.wake()
            yield frame

    def wait(self) -> None:
        """Wait until something may have arrived.  Signals are handled meanwhile."""
        for file, _events in self.poll.poll():
            if file == self.wake_file:
                os.read(file, _WAKES_READ)

    def wake(self) -> None:
        """Let the main thread look around; from any thread or signal handler."""
        with contextlib.suppress(BlockingIOError):  # Full: it will be woken.
            os.write(self.wake_end, b"w")

    def close(self) -> None:
        """Let what was sent arrive, for LINGER_MS at most, and close."""
        self.dealer.close()
