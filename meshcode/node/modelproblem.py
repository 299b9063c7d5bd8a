"""Whether the database of the model can be read and written, as its process last said.

The node goes on without it by the snapshot it has, so nobody would notice but who changes
something: it is in the node's log, in its status and in `mesh doctor`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class ModelProblem:
    """What is wrong with the database of one node."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Nothing that is known of; `say` puts a sentence into the node's log."""
        self._say = say
        self.text = ""  # As its process said it; "" while all is well.
        self.since_ms = 0  # When it was first not all well; kept while the words for it change.

    def hear(self, message: dict[str, Any], now_ms: int) -> None:
        """Look at a message of the model process."""
        error = message.get("error")
        if "id" not in message and error is not None:
            if error["text"] != self.text:
                if not self.text:  # Other words for it (a look fails elsewhere) are no new outage.
                    self.since_ms = now_ms
                self.text = str(error["text"])
                self._say(f"the model's database: {self.text}")
        elif self.text and (message.get("back") or message.get("ok") or message.get("snapshot")):
            self.text, self.since_ms = "", 0
            self._say("the model's database can be used again")

    def facts(self) -> dict[str, Any] | None:
        """Of a status: why the database cannot be used and since when; None while it can."""
        return {"text": self.text, "since_ms": self.since_ms} if self.text else None
