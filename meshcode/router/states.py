"""The states of a call and the moves between them, as data.

`docs/states.md` is drawn from these tables by `docs/draw_states.py`; `Router` asserts every move
against `MOVES` and the simulator counts that each is taken.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """Where a call is.  1 to 9 are open; 11 and up are outcomes (10 + wire.kinds.Outcome)."""

    __hash__ = int.__hash__  # That of an Enum is ten times slower, and every move looks into MOVES.

    WAITING = 1  # In the line of its socket.
    DELAYED = 2  # Waits for a time: an ETA, or the delay before a retry.
    RUNNING = 3  # Handed to a worker: begun, or staged behind one that is.
    HELD = 4  # Its attempts are used up by dying workers, or it cannot be read; waits for a person.
    COPYING = 5  # Until a majority of its voters has it on disk.
    ENDING = 6  # Until a majority has agreed to its outcome, or the history was looked at.
    GATHERING = 7  # Until the calls whose results it needs have ended.
    DONE = 11
    FAILED = 12
    CANCELLED = 13
    MOVED = 14


# PARKED is how a WAITING call is shown whose line cannot move: no worker, no code, paused, removed
# from the model.  It belongs to the line, not to the call: no timer, no attempt, no record.
PARKED: Final = "PARKED"

# (from, to): why.  None is "not here yet".
MOVES: dict[tuple[State | None, State], str] = {
    (None, State.WAITING): "accepted",
    (None, State.DELAYED): "accepted with a delay or an ETA",
    (State.WAITING, State.GATHERING): "it needs the results of other calls",
    (State.DELAYED, State.GATHERING): "it needs the results of other calls again",
    (State.HELD, State.GATHERING): "a person asked for a retry; it needs the results again",
    (State.COPYING, State.GATHERING): "a majority has it, and it needs the results of other calls",
    (State.GATHERING, State.WAITING): "all it needs is there",
    (State.GATHERING, State.DELAYED): "all it needs is there, and it has a delay or an ETA",
    (State.GATHERING, State.DONE): "all that it gathers is there",
    (State.GATHERING, State.FAILED): "what it needs failed, or is too large",
    (State.GATHERING, State.CANCELLED): "cancelled, or what it needs was",
    (State.GATHERING, State.ENDING): "it ends without a run, or moves to other voters",
    (State.GATHERING, State.MOVED): "another node took it over",
    (None, State.CANCELLED): "over the limit of its queue: dead-lettered",
    (None, State.COPYING): "accepted, with two more voters",
    (State.COPYING, State.WAITING): "a majority has it",
    (State.COPYING, State.DELAYED): "a majority has it, and it has a delay or an ETA",
    (State.COPYING, State.ENDING): "cancelled, expired or dead-lettered",
    (State.WAITING, State.ENDING): "cancelled or expired, or it moves to other voters",
    (State.DELAYED, State.ENDING): "cancelled or expired, or it moves to other voters",
    (State.HELD, State.ENDING): "cancelled, or it moves to other voters",
    (State.RUNNING, State.ENDING): "returned, raised or cancelled",
    (State.ENDING, State.DONE): "a majority agreed",
    (State.ENDING, State.FAILED): "a majority agreed",
    (State.ENDING, State.CANCELLED): "a majority agreed",
    (State.COPYING, State.MOVED): "another node took it over",
    (State.WAITING, State.MOVED): "another node took it over",
    (State.DELAYED, State.MOVED): "another node took it over",
    (State.RUNNING, State.MOVED): "another node took it over",
    (State.HELD, State.MOVED): "another node took it over",
    (State.ENDING, State.MOVED): "another node took it over, or it moved to other voters",
    (State.WAITING, State.RUNNING): "handed to a worker with credit",
    (State.WAITING, State.CANCELLED): "cancelled, or expired",
    (State.WAITING, State.HELD): "its record in the log cannot be read",
    (State.DELAYED, State.WAITING): "its time came, or a person asked",
    (State.DELAYED, State.CANCELLED): "cancelled, or expired",
    (State.RUNNING, State.WAITING): "its worker is gone or gave it back",
    (State.RUNNING, State.DELAYED): "to be retried",
    (State.RUNNING, State.HELD): "workers died under it too often",
    (State.RUNNING, State.DONE): "returned",
    (State.RUNNING, State.FAILED): "raised, or over its time limit, with no attempts left",
    (State.RUNNING, State.CANCELLED): "cancelled while running",
    (State.HELD, State.WAITING): "a person asked for a retry",
    (State.HELD, State.CANCELLED): "cancelled",
}

OPEN_STATES: Final = (
    State.WAITING, State.DELAYED, State.RUNNING, State.HELD, State.COPYING, State.ENDING,
    State.GATHERING,
)  # fmt: skip


def is_allowed(before: State | None, after: State) -> bool:
    """Whether a call may move from `before` to `after`."""
    return (before, after) in MOVES
