"""One child process that makes or checks a bundle, watched by the node's thread and never waited
for.
"""

from __future__ import annotations

import json
from typing import Any

from meshcode import limits
from meshcode.node.child import Child


class Job:
    """A running `python -m meshcode.worker.bundle`."""

    def __init__(self, request: dict[str, Any], now_ms: int) -> None:
        """Start it; `request` as in the head of `worker/bundle.py`.

        Raises:
            OSError: it cannot be started now.
        """
        self.child = Child("meshcode.worker.bundle", request)
        self.until_ms = now_ms + limits.CODE_JOB_MS_MAX

    def fileno(self) -> int:
        """The descriptor to watch: readable when there is output, or at the end."""
        return self.child.fileno()

    def read(self) -> dict[str, Any] | None:
        """Its answer, or None while it works; afterwards the job is over."""
        if not self.child.read():
            return None
        try:
            answer = json.loads(self.child.output)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            status = self.child.process.returncode
            text = f"the process that handles bundles ended with exit code {status}"
            return {"ok": False, "reason": "died", "text": text}
        return answer

    def end(self) -> None:
        """Kill it when it still runs."""
        if not self.child.is_closed:
            self.child.process.kill()
            self.child.close()
