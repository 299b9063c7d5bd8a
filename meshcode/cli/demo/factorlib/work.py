"""Taking numbers apart: work whose answer the demo knows, because it made the numbers."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event
from typing import Any

from meshcode.worker.context import current_call

_PAUSE = Event()  # Never set: waiting for it is waiting.


def split(number: int) -> list[int]:
    """The prime factors of a number, smallest first, found by trying."""
    found, tried = [], 2
    while tried * tried <= number:
        if number % tried:
            tried += 1 if tried == 2 else 2
        else:
            found.append(tried)
            number //= tried
    return [*found, number]


def factor(number: int, pause_ms: int, ledger: str) -> dict[str, Any]:
    """Split a number, wait as for an answer from elsewhere, and leave a line that says who did it.

    What is returned names this one execution, so that two outcomes of two executions are never the
    same by chance.
    """
    found = split(number)
    _PAUSE.wait(pause_ms / 1000)
    call, run, node = current_call(), os.urandom(8).hex(), node_of(ledger)
    note(ledger, f"{call.id_text} {run} {node} {call.attempt}")
    return {"factors": found, "run": run, "node": node}


def node_of(ledger: str) -> str:
    """The node this runs on: its code lies below a folder of that name, beside the ledger."""
    return Path(__file__).relative_to(Path(ledger).parent).parts[0]


def note(ledger: str, line: str) -> None:
    """Add one line to a file that outlives this process: the side effect that the demo counts.

    One write of a short line to a file opened to append is never mixed with another's.
    """
    handle = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
