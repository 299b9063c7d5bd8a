"""What a worker process gives up, and ties itself to, before any task code is loaded."""

from __future__ import annotations

import os
import signal
import sys

from meshcode import native

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def _prctl(option: int, value: int) -> None:
    try:
        native.prctl(option, value)
    except OSError as error:
        raise OSError(error.errno, f"prctl({option}, {value}): {error.strerror}") from None


def tie_to_parent(parent: int | None) -> None:
    """Die by SIGKILL when the parent's thread that started this process ends.

    Args:
        parent: the expected parent's process id; when it is already gone, this process exits.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if parent is not None and os.getppid() != parent:
        os._exit(4)  # The parent died before the line above.


def drop_privileges() -> None:
    """No program started from here can gain privileges (set-uid files do not work)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def own_group() -> None:
    """Become the leader of a process group, so that all descendants can be ended at once."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def pin(cpu: int | None) -> int | None:
    """Run on this one CPU only; returns it, or None when there is no such CPU to run on."""
    if cpu is None or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError:  # Taken away by a container's limits since the node chose it.
        return None
    return cpu
