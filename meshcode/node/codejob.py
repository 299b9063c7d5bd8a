"""One child process that makes or checks a bundle, watched by the node's thread and never waited
for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from meshcode import limits


class Job:
    """A running `python -m meshcode.worker.bundle`."""

    def __init__(self, request: dict[str, Any], now_ms: int) -> None:
        """Start it; `request` as in the head of `worker/bundle.py`."""
        self.child = subprocess.Popen(
            [sys.executable, "-m", "meshcode.worker.bundle"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.until_ms = now_ms + limits.CODE_JOB_MS_MAX
        self.output = b""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps(request).encode())  # Far below what a pipe holds.
        self.child.stdin.close()
        os.set_blocking(self.child.stdout.fileno(), False)

    def fileno(self) -> int:
        """The descriptor to watch: readable when there is output, or at the end."""
        assert self.child.stdout is not None
        return self.child.stdout.fileno()

    def read(self) -> dict[str, Any] | None:
        """Its answer, or None while it works; afterwards the job is over."""
        assert self.child.stdout is not None
        while True:
            data = self.child.stdout.read(65_536)
            if data is None:
                return None
            if not data:
                break
            self.output += data
        self.child.stdout.close()
        self.child.wait()
        try:
            answer = json.loads(self.output)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            status = self.child.returncode
            text = f"the process that handles bundles ended with exit code {status}"
            return {"ok": False, "reason": "died", "text": text}
        return answer

    def end(self) -> None:
        """Kill it when it still runs."""
        if self.child.stdout is not None and not self.child.stdout.closed:
            self.child.kill()
            self.child.stdout.close()
            self.child.wait()
