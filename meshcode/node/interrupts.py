"""What the node asks of one worker through its control page: calls to end, others to give back.

The page holds a few cancels that the worker has not taken; a host of calls may be told to end at
once, as all `async def` calls of a worker are when their client goes.  What does not fit waits here
and is asked when the worker has taken some: that shows when something arrives from it, or at the
next look, AGAIN_MS later.  A call's grace begins when it was asked, not before.
"""

from __future__ import annotations

from meshcode.limits import CANCEL_GRACE_MS
from meshcode.worker.control import ControlPage

AGAIN_MS = 20  # Between two looks for room: ten of them in the time that people see as at once.


class Interrupts:
    """What one worker was asked and has not done, and what it is still to be asked."""

    def __init__(self) -> None:
        """Nothing."""
        self.asked: dict[bytes, int] = {}  # Calls asked to end: when their grace is over.
        self.waiting: dict[bytes, str] = {}  # Calls not asked yet: why they shall end.
        self._room_by_ms = 0  # When a worker that made no room for those is taken for broken.
        self._look_ms = 0  # When there may be room for them.
        self.recalls = 0  # How often it was asked to give back what it has not begun.
        # It shall give back what it has not begun of so many calls, and was not asked yet.
        self._recall: int | None = None
        self._recall_number = -1  # Of the one that was asked, in the page.

    def want(self, call: bytes, reason: str) -> None:
        """A call shall end."""
        self.waiting[call] = reason

    def want_recall(self, handed: int) -> None:
        """What has not begun shall come back, of all `handed` calls that were sent to it so far.

        The question is faster than these, which go another way: the worker waits for them with its
        answer, so that none stays there which is behind one that comes back.
        """
        self._recall = handed

    def ended(self, call: bytes) -> None:
        """A call is over, or back."""
        self.asked.pop(call, None)
        self.waiting.pop(call, None)

    @property
    def waits(self) -> bool:
        """Whether something is not asked yet."""
        return bool(self.waiting) or self._recall is not None

    def ask(self, page: ControlPage, now_ms: int) -> bool:
        """Ask what there is room for; whether anything was, and the worker needs its signal."""
        news = False if self._recall is None else self._ask_recall(page, self._recall)
        while self.waiting:
            call = next(iter(self.waiting))
            if not page.ask_cancel(call, self.waiting[call]):
                break
            del self.waiting[call]
            self.asked.setdefault(call, now_ms + CANCEL_GRACE_MS)
            self._room_by_ms = 0
            news = True
        if self.waiting:
            self._room_by_ms = self._room_by_ms or now_ms + CANCEL_GRACE_MS
            self._look_ms = now_ms + AGAIN_MS
        return news

    def _ask_recall(self, page: ControlPage, handed: int) -> bool:
        """Once is enough until it is taken: that a worker is deaf for long fills no page."""
        if page.cancels_taken <= self._recall_number:
            self._recall = None
            return False
        number = page.cancels_asked
        if not page.ask_cancel(handed.to_bytes(16, "little"), "recall"):
            return False
        self._recall, self._recall_number = None, number
        self.recalls += 1
        return True

    def look_due_ms(self) -> int | None:
        """When to look whether there is room; of a recall alone nobody need be in a hurry."""
        return self._look_ms if self.waiting else None

    def overdue_ms(self) -> int | None:
        """When the worker is to be killed, unless it does what it was asked before."""
        times = list(self.asked.values())
        if self.waiting:
            times.append(self._room_by_ms)
        return min(times, default=None)

    def give_up(self) -> None:
        """The worker is killed."""
        self.asked.clear()
        self.waiting.clear()
        self._recall = None
