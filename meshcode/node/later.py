"""Work of the node that takes longer than a turn may: done in slices, between turns.

A job is a generator.  It yields

    0       others may have their turn; it goes on in the next round
    n       it need not go on for so many milliseconds
    None    it waits for something that comes by itself: it looks again whenever a round is made
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from typing import Any

Job = Generator[int | None, None, Any]

SLICE_MS = 10  # In one round; a client waits no longer for this than for a slow disk.


def side_by_side(jobs: list[Job]) -> Job:
    """A job that returns what all of these return, in their order.

    They take turns, so that what they wait for is waited for once; none of them may pause.
    """
    found: list[Any] = [None] * len(jobs)
    going = dict(enumerate(jobs))
    while going:
        worked = False
        for at, job in list(going.items()):
            try:
                pause = next(job)
            except StopIteration as end:
                found[at] = end.value
                del going[at]
                continue
            if pause is not None:
                worked = True
                yield 0
        if going and not worked:
            yield None
    return found


class Later:
    """The jobs of one node."""

    def __init__(self) -> None:
        """There are none."""
        self._jobs: deque[tuple[int | None, Job]] = deque()  # Not before; None: in each round.

    def begin(self, job: Job) -> None:
        """Add a job; it begins in this round."""
        self._jobs.append((0, job))

    def run(self, now_ms: int) -> None:
        """Go on with the jobs that are due, until the slice is used up."""
        if not self._jobs:
            return
        end = time.monotonic() + SLICE_MS / 1000
        for _ in range(len(self._jobs)):
            due_ms, job = self._jobs.popleft()
            if due_ms is not None and due_ms > now_ms:
                self._jobs.append((due_ms, job))
                continue
            try:
                pause: int | None = 0
                while pause == 0 and time.monotonic() < end:
                    pause = next(job)
            except StopIteration:
                continue
            self._jobs.append((None if pause is None else now_ms + pause, job))

    def next_due_ms(self, now_ms: int) -> int | None:
        """When a round must be made for a job; None when none must."""
        if not self._jobs:  # Asked in each round.
            return None
        due = [due_ms for due_ms, _ in self._jobs if due_ms is not None]
        return max(min(due), now_ms) if due else None
