"""Threads where none may be had: under `ulimit -v`, where each takes a stack, or `ulimit -u`."""

from __future__ import annotations

import errno
import resource
import threading
from typing import Any, Final

import zmq

from meshcode.node.memory import address_space_bytes
from meshcode.store.filesystem import address_space_limit, has_address_space

_LIBZMQ: Final = 2  # What a context of libzmq starts with its first link.
_STACK_BYTES: Final = 8 * 1024 * 1024  # Of a thread, where the system does not say.
_MORE_BYTES: Final = 2 * 1024 * 1024  # What those two take beside their stacks.


class NoThread(OSError):
    """The system gives this process no further thread; the text says what it has."""

    def __init__(self, why: str) -> None:
        limit = address_space_limit()
        has = f"{threading.active_count()} threads of Python"
        if limit:
            has = f"{has} and {address_space_bytes():,} of the {limit:,} bytes of `ulimit -v`"
        super().__init__(errno.EAGAIN, f"{why}; it has {has}")

    def __str__(self) -> str:
        return str(self.strerror)


def start(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        NoThread: it cannot be had; nothing was changed.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise NoThread(f"this process gets no thread for {thread.name!r}") from error


def zmq_context() -> zmq.Context[Any]:
    """A new context, whose first link is to be made at once.

    libzmq starts its threads with that, and ends the whole process where it does not get them.

    Raises:
        NoThread: there is no address space for them.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    stack = _STACK_BYTES if soft == resource.RLIM_INFINITY else soft
    wanted = _LIBZMQ * stack + _MORE_BYTES
    if not has_address_space(wanted):
        raise NoThread(
            f"libzmq needs {_LIBZMQ} threads, and this process gets no {wanted:,} bytes of address"
            " space for them"
        )
    return zmq.Context()
