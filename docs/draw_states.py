"""Draws docs/states.md from the tables in meshcode/router/states.py.

`python docs/draw_states.py` writes the page; `tests/router/test_states.py` fails when it is old.
"""

from __future__ import annotations

from pathlib import Path

from meshcode.router.states import MOVES, OPEN_STATES, State

PAGE = Path(__file__).parent / "states.md"

_HEAD = """\
# States of a call

Drawn by `docs/draw_states.py` from `meshcode/router/states.py`; do not edit. The core asserts every
move against that table.

A call is *open* from its acceptance until its outcome; an outcome is chosen once and never left.
PARKED is not a state of its own: it is how a WAITING call is shown whose line cannot move at all
(no worker, no code, paused, stopped, draining, socket removed), with the reason. It has no timer,
counts no attempt and writes no record.

| state | open | what it means |
|---|---|---|
"""

_MEANING = {
    State.WAITING: "in the line of its socket",
    State.DELAYED: "waits for a time: an ETA, or the delay before a retry",
    State.RUNNING: "handed to a worker: begun, or staged behind one that is",
    State.HELD: "workers died under it too often, or it cannot be read; waits for a person",
    State.COPYING: "accepted here; a second disk is still to say that it has it",
    State.ENDING: (
        "it has ended here; a second voter is still to agree to the outcome, or the history is "
        "looked at first"
    ),
    State.GATHERING: "a step of a flow; calls whose results it needs have not ended",
    State.DONE: "the function returned; the result is kept",
    State.FAILED: "the function raised, or was stopped over its time limit, for the last time",
    State.CANCELLED: "a person ended it, or it expired, or its queue overflowed",
    State.MOVED: "another node has it now (with several nodes)",
}


def draw() -> str:
    """The whole page."""
    rows = [
        f"| {state.name} | {'yes' if state in OPEN_STATES else 'no'} | {_MEANING[state]} |"
        for state in State
    ]
    moves = [
        f"| {'-' if before is None else before.name} | {after.name} | {why} |"
        for (before, after), why in MOVES.items()
    ]
    arrows = [
        f"    {'[*]' if before is None else before.name} --> {after.name}: {_short(why)}"
        for (before, after), why in MOVES.items()
    ]
    ends = [
        f"    {state.name} --> [*]"
        for state in State
        if state not in OPEN_STATES and any(after is state for _, after in MOVES)
    ]
    return (
        _HEAD
        + "\n".join(rows)
        + "\n\n## Moves\n\n| from | to | when |\n|---|---|---|\n"
        + "\n".join(moves)
        + "\n\n```mermaid\nstateDiagram-v2\n"
        + "\n".join(arrows + ends)
        + "\n```\n"
    )


def _short(why: str) -> str:
    """Colons and commas end a label of the diagram."""
    return why.replace(":", " -").replace(",", "")


if __name__ == "__main__":
    PAGE.write_text(draw())
