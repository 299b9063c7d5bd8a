"""How long the node has said nothing although something is expected of it.  Pure."""

from __future__ import annotations


class Quiet:
    """Since when there is no word, and whether the node was asked for one.  Monotonic seconds."""

    __slots__ = ("_asked", "_owed", "since")

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.since = 0.0  # The last word of the node, or the first of ours after it.
        self._owed = False  # Something was sent since the last word.
        self._asked = 0.0  # When it was asked for a word; 0 = not since the last one.

    def heard(self, now: float) -> None:
        """The node has said something, or waiting for it begins anew."""
        self.since = now
        self._owed = False
        self._asked = 0.0

    def told(self, now: float) -> None:
        """Something was sent; the node owes an answer from the first such moment on."""
        if not self._owed:
            self._owed = True
            self.since = now

    def asked(self, now: float) -> None:
        """The node was asked for a word, or could not even be asked."""
        self._asked = now

    @property
    def is_asked(self) -> bool:
        """Whether a question is out that any living node answers at once."""
        return self._asked > 0

    def next_question(self, interval_s: float) -> float:
        """When to ask for a word if none comes."""
        return (self._asked or self.since) + interval_s
