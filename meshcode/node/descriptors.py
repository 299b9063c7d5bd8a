"""How many descriptors this process has, and what is done before they are used up.

libzmq takes connections by itself, and where it finds no descriptor for the next one of this
machine it ends the whole process (4.3.5, `ipc_listener.cpp`; over TCP it tries again).  So while
few are left, the name of the clients' link is taken away: nobody new finds it, and who is connected
notices nothing.  To unbind the link would cut all of them.

The link has a monitor, which wakes the node's thread at each connection.  Its queue holds a
thousand of them, and libzmq waits when it is full: so it cannot take more than that many between
two looks, however quickly they come.  Where RESERVE_MOST are kept free, they cannot run out.
"""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING, Any, Final

import zmq

from meshcode.peers.ready import next_message

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

START: Final = 40  # A node that starts takes 22, and libzmq more for whoever comes at once.
WANTED: Final = 65_536  # Far more than clients, peers and workers at their limits take.
RESERVE_MOST: Final = 1_280  # Kept free; more than libzmq takes between two looks.
RESERVE_RATIO: Final = 3  # Of a low limit, one in so many is kept free.
_MONITOR: Final = "inproc://descriptors"
_FOLDERS: Final = ("/proc/self/fd", "/dev/fd")

_given: tuple[int, int] | None = None  # The limits before they were raised.


def raise_limit() -> None:
    """Take as many as this process may have.  Not for one that is not the node's own.

    A soft limit of 1,024, which is usual, is meant for programs that use select(2).
    """
    global _given
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        _given = soft, hard


def give_back(pid: int) -> None:
    """Let a process that this one started have the limits this one was given.

    Code of other people may use select(2), or close all that it could have open.
    """
    if _given is not None and hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # It is gone already.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _given)


def limit() -> int:
    """How many this process may have at this moment."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED * RESERVE_RATIO if soft == resource.RLIM_INFINITY else soft


def used() -> int:
    """How many this process has."""
    with contextlib.suppress(OSError):
        if found := os.stat(_FOLDERS[0]).st_size:  # Linux tells it so since 6.2.
            return found
    for folder in _FOLDERS:
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    return limit()  # Nothing can be opened any more, not even to count.


def backlog() -> int:
    """How many connections may wait for libzmq: it takes these even when the name is gone."""
    return max(1, min(100, reserve(limit()) // 4))


def aside(path: str) -> str:
    """Where the name of a link is while nobody new is let in; `mesh` looks for it there."""
    return f"{path}.full"


def reserve(most: int) -> int:
    """How many of `most` are kept free of connections."""
    return min(most // RESERVE_RATIO, RESERVE_MOST)


class _Name:
    """The name of a link on this machine."""

    def __init__(self, address: str, share: int) -> None:
        """Of a link that is bound; taken away when less than 1/`share` of the reserve is left."""
        self._path = address.removeprefix("ipc://")
        self._share = share
        self.is_aside = False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside(self._path))  # Of a node that was killed.

    def look(self, free: int, kept: int) -> bool:
        """Take it away, or put it back; whether one of these was done."""
        kept //= self._share
        if self.is_aside == (free < kept + self.is_aside * (kept // 2)):
            return False
        self.move(to_aside=not self.is_aside)
        return True

    def move(self, *, to_aside: bool) -> None:
        """Take it away, or put it back."""
        if to_aside != self.is_aside:
            self.is_aside = to_aside
            names = self._path, aside(self._path)
            with contextlib.suppress(OSError):
                os.rename(*(names if to_aside else names[::-1]))


class Descriptors:
    """Lets in whoever connects, while there are descriptors for it."""

    def __init__(self, loop: Loop) -> None:
        """The links of `loop` are bound."""
        self._loop = loop
        self._clients = _Name(loop.sessions.address, 1)
        self._workers = _Name(loop.crew.address, 4)
        self.shut_ms = 0  # Since when no new client is let in; 0: whoever comes is.
        watched = loop.sessions.link
        watched.monitor(_MONITOR, zmq.EVENT_ACCEPTED)
        self.monitor: zmq.Socket[Any] = loop.context.socket(zmq.PAIR)
        self.monitor.setsockopt(zmq.RCVHWM, 1)  # The other side's thousand are added to it.
        self.monitor.connect(_MONITOR)

    def look(self, now_ms: int) -> None:
        """Let no new clients in any more, or let them in again."""
        most, found = limit(), used()
        kept = reserve(most)
        self._workers.look(most - found, kept)
        if self._clients.look(most - found, kept):
            self.shut_ms = now_ms if self._clients.is_aside else 0
            self._loop.say(f"open files: {found:,} of {most:,} are in use; " + (
                f"{kept:,} are kept free, so no new client of this machine is let in until"
                f" {kept + kept // 2:,} are; who is connected is served as before; end programs"
                " that keep clients open, or start the node with a higher `ulimit -n`"
                if self.shut_ms else "new clients are let in again"
            ))  # fmt: skip
        self._drain()

    def _drain(self) -> None:
        while next_message(self.monitor) is not None:
            pass

    def facts(self) -> dict[str, int]:
        """For `status`."""
        return {"used": used(), "limit": limit(), "shut_ms": self.shut_ms}

    def close(self) -> None:
        """The links are about to be closed: libzmq removes their names."""
        for name in (self._clients, self._workers):
            name.move(to_aside=False)
        self._drain()
        self._loop.sessions.link.disable_monitor()
        self.monitor.close(0)
