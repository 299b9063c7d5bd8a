"""How often a refusal is told and answered, and which keys are kept out for a while.

A stranger may knock a thousand times a second; people are told once a minute, and it is answered
once a second.  Pure, and bounded whatever keys come.
"""

from __future__ import annotations

from collections import Counter

from meshcode import limits

_KEPT = 4 * limits.PEERS_MAX  # Entries of each table; it is cleared when it is full.


class Refusals:
    """What was told, answered and blocked lately."""

    def __init__(self) -> None:
        """Nobody was refused."""
        self.counts: Counter[str] = Counter()
        self._told: dict[tuple[bytes, str], int] = {}
        self._answered: dict[bytes, int] = {}
        # Key -> until when.  Replaced whole: the ZAP handler's thread reads it.
        self._blocked: dict[bytes, int] = {}

    def may_tell(self, what: bytes, why: str, now_ms: int) -> bool:
        """Whether this refusal is news; false = it was told within PEER_RETELL_MS, and counted."""
        if now_ms < self._told.get((what, why), 0):
            self.counts["not_told_again"] += 1
            return False
        if len(self._told) >= _KEPT:
            self._told.clear()
        self._told[what, why] = now_ms + limits.PEER_RETELL_MS
        return True

    def may_answer(self, who: bytes, now_ms: int) -> bool:
        """Whether this node or key is answered; false = it was within PEER_ANSWER_MS."""
        if now_ms < self._answered.get(who, 0):
            self.counts["not_answered_again"] += 1
            return False
        if len(self._answered) >= _KEPT:
            self._answered.clear()
        self._answered[who] = now_ms + limits.PEER_ANSWER_MS
        return True

    def block(self, key: bytes, now_ms: int) -> None:
        """Keep a member's key out for PEER_BLOCK_MS."""
        self.counts["blocked"] += 1
        self._blocked = {**self._blocked, key: now_ms + limits.PEER_BLOCK_MS}

    def is_blocked(self, key: bytes) -> bool:
        """Whether a key is kept out now; any thread may ask."""
        return key in self._blocked

    def tick(self, now_ms: int) -> None:
        """Let in again whose time is over."""
        if self._blocked:
            self._blocked = {k: until for k, until in self._blocked.items() if until > now_ms}
