"""Programs that a mount starts: each is a group of its own, and none outlives what began it.

A mount that is told to end (SIGTERM) leaves by an exception, so that whatever it has begun is ended
and what is half made is removed on the way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

GRACE_S = 2.0  # git takes its lock files away, and builders their folders, when they are asked.


class Ended(BaseException):
    """This process was told to end; no `Exception`, so that nothing handles it as a failure."""


class _State:
    starting = False  # A program is being started: there is nothing yet that could be ended.
    asked = False


def end_when_told() -> None:
    """From now on SIGTERM raises `Ended` in the main thread."""
    signal.signal(signal.SIGTERM, _told)


def _told(_number: int, _frame: object) -> None:
    if _State.starting:
        _State.asked = True
    else:
        raise Ended


@contextlib.contextmanager
def group(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a group of its own; an exception in the block ends all of the group first."""
    _State.starting = True
    try:
        process = subprocess.Popen(command, start_new_session=True, **how)
    except BaseException:
        _State.starting = False
        raise
    try:
        _State.starting = False
        if _State.asked:
            raise Ended
        yield process
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    kill(process)


def kill(process: subprocess.Popen[bytes]) -> int:
    """End a program and all that it started, at once; its exit status."""
    _signal(process, signal.SIGKILL)
    return process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # Nobody of it is left.
        os.killpg(process.pid, number)
