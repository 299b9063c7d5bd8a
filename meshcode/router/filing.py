"""A call that has ended enters the history: its record, and what the two indexes need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode.router.effects import Effects
from meshcode.router.records import done_ops, socket_of, stretch_of

if TYPE_CHECKING:
    from meshcode.router.core import Router


def file(r: Router, id: bytes, record: bytes, submit: bytes, out: Effects) -> None:
    """Write a `done` record; plain calls have a way of their own (`plain.finish`).

    Args:
        submit: the SUBMIT envelope that is in the record; nothing when there is none.
    """
    out.records += done_ops(id, record)
    socket = socket_of(submit)
    line = r.lines.get(socket)
    if line is not None:
        entry = line.entry_of(id, r.forgotten)
    else:
        entry = socket.encode() + b"\0" + stretch_of(id) if socket else b""
    if entry:
        out.records.append(("socket", entry, b""))


__all__ = ["file"]
