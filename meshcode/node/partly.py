"""What a node knows of a call in part, when a peer may have all of it."""

from __future__ import annotations

from typing import Any

from meshcode.errors import UnknownCall


class Partly(UnknownCall):
    """Peers are asked, as for a call that is unknown here; when none knows better, this is told."""

    def __init__(self, text: str, good: bool, data: Any) -> None:
        """`good` and `data`: the answer; data of an error when it is not good."""
        super().__init__(text)
        self.answer = (good, data)
