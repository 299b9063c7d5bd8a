"""Frames of clients that were read and are not yet taken whole.

What goes the short way is taken at once, frame by frame.  All else is taken in parts of bounded
work, and a turn takes so much of clients that workers, peers and timers have theirs: the rest waits
here, each session's in order, and the sessions take turns.  Of a frame in parts the core holds the
acknowledgement until it has the last one (`Submitted.part`), and outcomes for its client are held
here until that part is on disk: so an outcome never comes before the acknowledgement of its call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.node.sessions import Arrived
from meshcode.router.effects import Effects
from meshcode.router.events import FIRST, LAST, MIDDLE, WHOLE
from meshcode.router.plan import FLOW
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

TAKEN = "taken"  # What the turn of the last part of a frame lets out, for `Release`.
_SUBMIT = int(Kind.SUBMIT)
_STEP_BYTES = 24  # Of a step of a flow with a short name and argument.


class Rest:
    """A frame from an envelope on."""

    __slots__ = ("arrived", "at")

    def __init__(self, arrived: Arrived) -> None:
        """All of it."""
        self.arrived = arrived
        self.at = 0  # The next envelope.

    @property
    def key(self) -> tuple[int, int]:
        """Client and sequence, by which the frame is acknowledged."""
        return self.arrived.session.id, self.arrived.head.sequence


class Frames:
    """All that waits, and how much the turn may still take."""

    def __init__(self, loop: Loop) -> None:
        """Nothing waits."""
        self._loop = loop
        self._of: dict[int, deque[Rest]] = {}  # By session, whose turn is next first.
        self.count, self.bytes = 0, 0
        self.left = 0  # Work of this turn; below zero: the last frame or part was more than that.
        # Of each frame in parts how many the core has not had, the rest being one; whether any was.
        self._open: dict[tuple[int, int], list[Any]] = {}
        self.held: dict[int, list[bytes]] = {}  # Outcomes, by client with a frame in parts,
        self._holds: dict[int, int] = {}  # and how many it has.

    @property
    def room(self) -> int:
        """How many more frames may be read."""
        full = self.bytes >= limits.TURN_BYTES_MAX
        return 0 if full else limits.TURN_EVENTS_MAX - self.count

    def waits(self, session: int) -> bool:
        """Whether a session's next frame must wait, behind its others or for the next turn."""
        return self.left <= 0 or session in self._of

    def put(self, rest: Rest, *, first: bool = False) -> None:
        """Let a frame wait: behind the others of its session, or before them, for it was begun."""
        found = self._of.setdefault(rest.arrived.session.id, deque())
        if first:
            found.appendleft(rest)
        else:
            found.append(rest)
        self.count += 1
        self.bytes += rest.arrived.head.size

    def next(self) -> Rest | None:
        """The session whose turn it is: its oldest frame, which is not waited for any more."""
        if self.left <= 0 or not self._of:
            return None
        client = next(iter(self._of))
        found = self._of.pop(client)
        rest = found.popleft()
        if found:
            self._of[client] = found  # The others come first.
        self._drop(rest)
        return rest

    def _drop(self, rest: Rest) -> None:
        self.count -= 1
        self.bytes -= rest.arrived.head.size

    # Parts.

    def cut(self, rest: Rest) -> tuple[int, int]:
        """Where the next part of a frame begins and ends; `rest` is what comes after it."""
        begin, arrived, work = rest.at, rest.arrived, 0
        end = len(arrived.kinds)
        for number in range(begin, end):
            work += self._work_of(arrived.kinds[number], arrived.calls[number])
            if work >= limits.PART_WORK_MAX:
                end = number + 1
                break
        self.left -= work
        rest.at = end
        if end < len(arrived.kinds):
            if not begin:
                self._begin(rest.key)
            self._open[rest.key][0] += 1
        return begin, end

    def _work_of(self, kind: int, call: Any) -> int:
        if kind != _SUBMIT:
            return limits.ASK_WORK
        if call[3] == FLOW:
            return limits.CALL_WORK * (1 + len(call[6]) // _STEP_BYTES)
        line = self._loop.router.lines.get(call[3])
        if line is None or not line.spread:
            return limits.CALL_WORK
        bound = self._loop.router.wiring.bound.get(line.config.queue, ())
        return limits.CALL_WORK * (1 + len(bound))

    def _begin(self, key: tuple[int, int]) -> None:
        client = key[0]
        if key in self._open:  # A frame without a sequence, and one that peers are asked about.
            self._open[key][0] += 1
            return
        self._open[key] = [1, False]
        self.held.setdefault(client, [])
        self._holds[client] = self._holds.get(client, 0) + 1

    def part_of(self, key: tuple[int, int]) -> int:
        """The core is about to have a part of a frame, or all of it: which (`Submitted.part`)."""
        parts = self._open.get(key)
        if parts is None:
            return WHOLE
        parts[0] -= 1
        begun, parts[1] = parts[1], True
        if not parts[0]:
            self._end(key)
            return LAST if begun else WHOLE
        return MIDDLE if begun else FIRST

    def skip(self, key: tuple[int, int]) -> bool:
        """The core gets nothing of a part; whether it must hear that the frame has ended."""
        parts = self._open.get(key)
        if parts is None:
            return False
        parts[0] -= 1
        if not parts[0]:
            self._end(key)
        return bool(not parts[0] and parts[1])

    def _end(self, key: tuple[int, int]) -> None:
        del self._open[key]  # What leaves with this turn is not before the acknowledgement.
        self._loop.turns.add(Effects(news=[(TAKEN, {"client": key[0]})]))

    def taken(self, client: int) -> list[bytes]:
        """The last part of a frame is on disk: the outcomes that may leave."""
        count = self._holds.pop(client, 0) - 1
        if count > 0:
            self._holds[client] = count
            return []
        return self.held.pop(client, [])

    def leave(self, clients: Container[int]) -> None:
        """Forget clients that are gone: what of them was not taken is not acknowledged either."""
        for client in [client for client in self._of if client in clients]:
            for rest in self._of.pop(client):
                self._drop(rest)
        for key in [key for key in self._open if key[0] in clients]:
            del self._open[key]
        for client in [client for client in self.held if client in clients]:
            del self.held[client], self._holds[client]
