"""A program of ours that is asked one thing, watched by the node's thread and never waited for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Child:
    """A running `python -P -m MODULE` with a session of its own."""

    def __init__(self, module: str, request: dict[str, Any]) -> None:
        """Start it and give it its request.

        Raises:
            OSError: it cannot be started: no descriptor, memory or process is left for it.
        """
        # A file in memory, not a pipe: writing it waits for nobody, and fails for no reason of the
        # child's, however large the request and however early that ends.
        with os.fdopen(os.memfd_create("request"), "w+b") as given:
            given.write(json.dumps(request).encode())
            given.seek(0)
            self.process = subprocess.Popen(
                # -P: the folder in which a program embeds the node is no place for its modules.
                [sys.executable, "-P", "-m", module],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.output = b""  # What it has said so far.
        assert self.process.stdout is not None
        self._said = self.process.stdout
        os.set_blocking(self._said.fileno(), False)

    def fileno(self) -> int:
        """The descriptor to watch: readable when there is output, or at the end."""
        return self._said.fileno()

    def read(self) -> bool:
        """Take what it says; whether it has ended, and is cleared away."""
        while (data := self._said.read(65_536)) is not None:
            if not data:
                self.close()
                return True
            self.output += data
        return False

    @property
    def is_closed(self) -> bool:
        """Whether it is cleared away."""
        return self._said.closed

    def close(self) -> None:
        """Wait for its end, which has come or must come, and clear it away."""
        self._said.close()
        self.process.wait()
