"""One child process that mounts code, watched by the node's thread and never waited for."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
from typing import Any

from meshcode import limits
from meshcode.errors import MountFailed
from meshcode.node.child import Child

_DOING = {
    "fetch": "its code is being fetched",
    "environment": "its environment is being built",
}
TRIED_AGAIN = "that is tried again by itself"
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}


def is_scarce(error: OSError) -> bool:
    """Whether this host is short of something for a while, which says nothing of the code."""
    return error.errno in _SCARCE


def why_not_begun(error: MountFailed | OSError) -> str:
    """What to tell of a mount that could not begin."""
    if isinstance(error, MountFailed):
        return error.text
    return f"its code could not be mounted (start): {error}; {TRIED_AGAIN}"


class Mounting:
    """A running `python -m meshcode.worker.mount`."""

    def __init__(self, request: dict[str, Any], code: tuple[Any, ...]) -> None:
        """Start it.

        Args:
            request: as in the head of `worker/mount.py`.
            code: what of the model it was made from.

        Raises:
            OSError: it cannot be started now.
        """
        self.code = code
        self.overrides: dict[str, str] = request["overrides"]
        self.held: str = request["held"]  # The commit that a peer gave.
        self.is_as_others = bool(request["running"])  # They run one, which it takes if it can.
        self.ending = False  # It was told to end, as nobody wants what it makes.
        self._step = "fetch"
        self._import = f"its module {request['module']} is being imported, which may take"
        self._import += f" {request['import_ms'] / 1000:g} s"
        self._kill_ms = 0
        self._child = Child("meshcode.worker.mount", request)

    @property
    def doing(self) -> str:
        """What it does now, for people."""
        return _DOING.get(self._step, self._import)

    def fileno(self) -> int:
        """The descriptor to watch: readable when it says something, or at its end."""
        return self._child.fileno()

    def read(self) -> dict[str, Any] | None:
        """Its last line, or None while it works; afterwards it is over."""
        if self._child.read():
            return self._last(self._child.output.splitlines())
        *whole, _rest = self._child.output.split(b"\n")
        self._step = self._last(whole).get("step") or self._step
        return None

    def _last(self, lines: list[bytes]) -> dict[str, Any]:
        try:
            found = json.loads(lines[-1]) if lines else {}
        except ValueError:
            found = {}
        status = self._child.process.returncode
        if "text" in found or found.get("ok") or status is None:
            return dict(found)
        return {**found, "text": f"the mounting process ended with exit code {status}"}

    def end(self, now_ms: int) -> None:
        """Tell it to end, with all that it started; when it does not, it is killed."""
        if not self.ending:
            self.ending = True
            self._kill_ms = now_ms + limits.MOUNT_END_MS_MAX
            self._child.process.terminate()
        elif now_ms >= self._kill_ms:
            self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Wait until it has ended, as the node does."""
        try:
            self._child.process.wait(limits.MOUNT_END_MS_MAX / 1000)
        except subprocess.TimeoutExpired:
            self._kill()
        self._child.close()
