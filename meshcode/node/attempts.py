"""How often a password may be tried: so many a minute, of which those count that are looked at.

An attempt counts from its asking on, so many sent at once are no way round.  One that was right is
taken back.  One client has a share of what everybody has together, and who has given none in the
last minute may always give one: else a single client keeps all others from logging in.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TypeVar

from meshcode.errors import Busy

FAILURES_MAX = 5  # Of one user from one client in a minute.
FAILURES_BY_MAX = 30  # From one client, of whomever.
FAILURES_ALL_MAX = 60  # Of everybody: each costs 25 ms of the model process.
FAILURES_KEPT_MAX = 4_096
MINUTE_S = 60.0
_Of = TypeVar("_Of")


@dataclass(slots=True, eq=False)
class Attempt:
    """One password that was given."""

    whose: tuple[str, str]  # The user or object that it is of, and who gave it.
    at_s: float
    open: bool = True  # Nobody has said yet whether it is right.


class Attempts:
    """The passwords that were wrong in the last minute, and those being looked at."""

    def __init__(self) -> None:
        """None."""
        self._of: dict[tuple[str, str], deque[Attempt]] = {}
        self._by: dict[str, deque[Attempt]] = {}  # By who gave them.
        self._all: deque[Attempt] = deque()

    def begin(self, of: str, by: str) -> Attempt:
        """Somebody gives a password; say by `end` what became of it.

        Raises:
            Busy: too many were wrong in the last minute, or are being looked at.
        """
        now_s, whose = time.monotonic(), (of, by)
        self._check(self._of.get(whose, deque()), FAILURES_MAX, now_s)
        mine = self._by.get(by, deque())
        self._check(mine, FAILURES_BY_MAX, now_s)
        if mine:
            self._check(self._all, FAILURES_ALL_MAX, now_s)
        attempt = Attempt(whose, now_s)
        _last(self._of, whose).append(attempt)
        _last(self._by, by).append(attempt)
        self._all.append(attempt)
        return attempt

    @staticmethod
    def _check(attempts: deque[Attempt], most: int, now_s: float) -> None:
        while attempts and attempts[0].at_s < now_s - MINUTE_S:
            attempts.popleft()
        if len(attempts) < most:
            return
        wait_s = int(attempts[0].at_s + MINUTE_S - now_s) + 1
        looked_at = sum(attempt.open for attempt in attempts)
        if looked_at:
            raise Busy(
                f"{len(attempts) - looked_at} passwords were wrong in the last minute and"
                f" {looked_at} are being looked at, together the most is {most}; this one was not"
                f" looked at; try again in 1 s, or in {wait_s} s if those are wrong"
            )
        raise Busy(
            f"{len(attempts)} passwords were wrong in the last minute, the most is {most};"
            f" try again in {wait_s} s"
        )

    def end(self, attempt: Attempt, *, wrong: bool) -> None:
        """It was looked at, or never will be: only a wrong one counts on."""
        attempt.open = False
        if not wrong:
            of, by = self._of.get(attempt.whose), self._by.get(attempt.whose[1])
            for attempts in (of, by, self._all):
                if attempts is not None and attempt in attempts:
                    attempts.remove(attempt)

    def forgive(self, attempt: Attempt) -> None:
        """It was right: the wrong ones before it count no more against who gave it."""
        self.end(attempt, wrong=False)
        left = deque(one for one in self._of.pop(attempt.whose, ()) if one.open)
        if left:
            self._of[attempt.whose] = left


def _last(kept: dict[_Of, deque[Attempt]], of: _Of) -> deque[Attempt]:
    """Those of one, kept; the oldest of too many are forgotten."""
    if of not in kept and len(kept) >= FAILURES_KEPT_MAX:
        del kept[next(iter(kept))]
    return kept.setdefault(of, deque())
