"""How far this node trusts itself (Lifeguard): the sick observer waits longer and does not accuse.

Two measures.  The *score* 0..8 stretches the node's own probes; it rises with missed acks, missing
nacks and accusations that had to be refuted, and falls with each probe that is answered.  *Sick* is
a time: the node noticed itself late, slow or stepped, so that what it missed says nothing.
"""

from __future__ import annotations

from meshcode import limits


class Health:
    """The state of self-distrust."""

    def __init__(self) -> None:
        self.score = 0
        self.sick_until_ms = 0

    def add(self, delta: int) -> None:
        """Raise or lower the score within 0..8."""
        self.score = min(max(self.score + delta, 0), limits.SWIM_HEALTH_MAX)

    def scale(self, ms: int) -> int:
        """A time of its own probes, stretched by the score."""
        return ms * (self.score + 1)

    def fall_ill(self, now_ms: int, for_ms: int) -> None:
        """The node was caught being late: it distrusts what it sees until `now_ms + for_ms`."""
        self.add(1)
        self.sick_until_ms = max(self.sick_until_ms, now_ms + for_ms)

    def sick(self, now_ms: int) -> bool:
        """Whether it must not accuse now."""
        return now_ms < self.sick_until_ms
