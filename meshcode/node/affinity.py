"""A node keeps its thread off the CPUs to which its workers are pinned.

A pinned worker cannot make way: where the system puts the node's thread on the worker's CPU, both
get half of it while another CPU idles.  So the node leaves these CPUs to the workers as long as it
has others, and is the only node of its machine: several would share what is left.  The committer
and the threads of the links run where there is room: they take a fifth of what the node's thread
takes, a little at a time, and behind it they would wait, and it for them.  Whether the node is
the only one, nodes tell each other by a Unix socket in the abstract namespace (of the network
namespace, so a container sees its own): the first listens there, the others stay connected.

What the node starts meanwhile keeps off them, too: a build takes nothing from calls that run.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshcode.node.crew import WorkerProcess

PLACE = "\0meshcode/node"


class Neighbours:
    """Whether other nodes run on this machine."""

    def __init__(self, place: str = PLACE) -> None:
        """Nothing is known yet; `place` is the address of the socket."""
        self._place = place
        self._first: socket.socket | None = None  # Where this node, as the first, listens.
        self._others: list[socket.socket] = []
        self._guest: socket.socket | None = None  # To the first, while that is another one.

    def is_alone(self) -> bool:
        """Whether this node is the first here and no other is there; to be asked now and then."""
        if self._guest is not None and _has_gone(self._guest):
            self._guest.close()
            self._guest = None
        if self._first is None and self._guest is None:
            self._come()
        if self._first is None:
            return False
        with contextlib.suppress(OSError):  # Nobody is there, or no descriptor is left for one.
            while True:
                self._others.append(self._first.accept()[0])
        for other in [one for one in self._others if _has_gone(one)]:
            self._others.remove(other)
            other.close()
        return not self._others

    def _come(self) -> None:
        """Be the first, or tell the first."""
        try:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:  # No descriptor is left: the next time.
            return
        try:
            link.bind(self._place)
            link.listen(128)
            self._first = link
        except OSError:
            try:
                link.connect(self._place)
                self._guest = link
            except OSError:  # It has just gone, or its queue is full: the next time.
                link.close()

    def close(self) -> None:
        """Leave."""
        for link in (self._first, self._guest, *self._others):
            if link is not None:
                link.close()
        self._first = self._guest = None
        self._others = []


def _has_gone(link: socket.socket) -> bool:
    """Whether the other end is closed; nobody ever writes here."""
    link.setblocking(False)
    try:
        return not link.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True


def cpu_for(processor: str, cpus: Sequence[int], workers: Iterable[WorkerProcess]) -> int:
    """The CPU for one more worker: it has the fewest of its processor, and then the fewest of all.

    Args:
        processor: whose worker is to come.
        cpus: those to choose from, the first of equal ones is taken.
        workers: all that are there; those that are leaving do not count.
    """
    staying = [worker for worker in workers if not worker.stopping]
    beside = Counter(worker.cpu for worker in staying)
    alike = Counter(worker.cpu for worker in staying if worker.processor == processor)
    return min(cpus, key=lambda cpu: (alike[cpu], beside[cpu]))


class Affinity:
    """The CPUs of the thread that calls: the node's own."""

    def __init__(self, neighbours: Neighbours) -> None:
        """As they are now, all CPUs that it may use."""
        self._neighbours = neighbours
        self._all = frozenset(os.sched_getaffinity(0))
        self._now = self._all

    def keep_off(self, workers: Iterable[int | None]) -> None:
        """Leave the CPUs of these workers to them, if this process has others and is alone."""
        is_alone = self._neighbours.is_alone()  # Asked always: so the others hear of this node.
        wanted = self._all.difference(workers) if is_alone else self._all
        wanted = wanted or self._all
        if wanted != self._now:
            self._move(wanted)

    def _move(self, cpus: frozenset[int]) -> None:
        with contextlib.suppress(OSError):  # A container may have taken CPUs away.
            os.sched_setaffinity(0, cpus)
        self._now = cpus

    def close(self) -> None:
        """Use all CPUs again."""
        self._neighbours.close()
        if self._now != self._all:
            self._move(self._all)


__all__ = ["PLACE", "Affinity", "Neighbours", "cpu_for"]
