"""The history that a client of the campaign writes; `history.py` reads it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


class Notes:
    """Lines in a file, each written before what follows from it happens."""

    def __init__(self, path: Path) -> None:
        """Go on at the end; a line that a kill cut short is closed."""
        self.client = path.stem
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, b"\n")
        self._waiting: list[str] = []

    def add(
        self, op: str, kind: str, id: str, value: Any = None, *, level: str | None = None,
        node: str = "",
    ) -> None:  # fmt: skip
        """One line for the next `write`."""
        self._waiting.append(json.dumps({
            "t": time.time(), "client": self.client, "op": op, "type": kind, "id": id,
            "value": value, "level": level, "node": node,
        }))  # fmt: skip

    def write(self) -> None:
        """Write what waits."""
        if self._waiting:
            text = "".join(line + "\n" for line in self._waiting)
            self._waiting.clear()
            os.write(self._file, text.encode())
