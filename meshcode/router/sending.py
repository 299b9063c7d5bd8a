"""Streams that run here for another node: their items on the way to it.

Whatever passes between nodes may be lost, doubled or late.  So an item is kept until its owner has
said that it was taken, and is sent again; the owner takes them in order only.  What the call came
to is reported when all its items have arrived.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.router import holding, streams, work
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router

_ITEMS: Final = int(Kind.ITEMS)


class Sending:
    """What one guest has yielded and its owner has not taken."""

    __slots__ = (
        "attempt", "final", "kept", "next", "owner", "parked_ms", "run", "said_ms", "told", "used",
    )  # fmt: skip

    def __init__(self, owner: bytes, attempt: int, run: int, now_ms: int) -> None:
        """Nothing yet.

        Args:
            owner: the node that is sent the items.
            attempt: as the owner counts.
            run: of all that this node begins: an attempt that was given back may come again.
        """
        self.owner = owner
        self.attempt = attempt
        self.run = run
        self.kept: deque[tuple[int, bytes, bytes]] = deque()  # Number, value, meta.
        self.next = 0
        self.used = 0
        self.told = limits.STREAM_WINDOW
        self.parked_ms = 0
        self.said_ms = now_ms  # When the owner was last sent something, or was heard.
        self.final: list[Any] | None = None  # What is reported when all items are taken.


def take(
    r: Router, call: Call, number: int, value: bytes, meta: bytes, now_ms: int, out: Effects
) -> None:
    """A guest has yielded its next item."""
    assert call.owner is not None
    found = r.streams.sending.get(call.id)
    if found is None:
        attempt = call.owner_attempt or call.attempt
        r.streams.runs += 1
        run = r.boot << 32 | r.streams.runs
        found = r.streams.sending[call.id] = Sending(call.owner, attempt, run, now_ms)
    if number != found.next:
        return
    found.next += 1
    found.used += streams.units_of(len(value))
    found.kept.append((number, value, meta))
    entry = [call.id, found.attempt, number, value, meta, found.run]
    out.peer.append((found.owner, _ITEMS, entry))
    if found.used >= found.told and not found.parked_ms and call.worker is not None:
        found.parked_ms = now_ms
        streams.park(r, call.worker, call, now_ms)
        work.generator_waits(r, call.worker, call, out)


def on_credit(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The owner has taken items, or lets more come; or it knows nothing of such a run."""
    id, attempt, told, taken, run = entry
    found = r.streams.sending.get(id)
    if found is None or (found.owner, found.attempt, found.run) != (node, attempt, run):
        return
    guest = r.guests.get(id)
    if told == streams.NOT_MINE:
        drop(r, id, now_ms)
        return
    found.said_ms = now_ms
    while found.kept and found.kept[0][0] < taken:
        found.kept.popleft()
    if told > found.told and guest is not None and guest.worker is not None:
        found.told = told
        out.credits.append((guest.worker.id, id, guest.attempt, told))
        if found.parked_ms and found.used < told:
            streams.resume(r, guest.worker, guest, now_ms - found.parked_ms, now_ms)
            found.parked_ms = 0
    if found.final is not None and not found.kept:
        del r.streams.sending[id]
        work.keep_report(r, id, found.owner, found.final, out)


def hold_report(r: Router, id: bytes, entry: list[Any], out: Effects) -> bool:
    """Whether a report waits for items that are on their way; then it is kept here."""
    found = r.streams.sending.get(id)
    if found is None:
        return False
    if not found.kept or not entry[1]:  # All are taken; or the worker died, and begins anew.
        del r.streams.sending[id]
        return False
    found.final = entry
    _ask(found, id, out)
    return True


def _ask(found: Sending, id: bytes, out: Effects) -> None:
    """Where does the owner stand?"""
    entry = [id, found.attempt, found.next, b"", b"", found.run]
    out.peer.append((found.owner, _ITEMS, entry))


def is_run_of(r: Router, id: bytes, node: bytes, attempt: int) -> bool:
    """Whether a stream runs here for this very attempt of its owner."""
    found = r.streams.sending.get(id)
    return found is not None and (found.owner, found.attempt) == (node, attempt)


def drop(r: Router, id: bytes, now_ms: int) -> bool:
    """Stop a stream that runs here for nobody any more; whether there was one."""
    found = r.streams.sending.get(id)
    if found is None:
        return False
    guest = r.guests.pop(id, None)
    if guest is not None and guest.worker is not None:
        streams.run_for_nobody(r, guest)
        holding.take_back(r, guest, guest.worker, now_ms)
    del r.streams.sending[id]
    return True


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Say again what the owners have not answered for a while."""
    for id, found in r.streams.sending.items():
        if now_ms - found.said_ms < limits.HOLDS_ASK_MS or not (found.kept or found.parked_ms):
            continue
        if not r.replica.peers.is_here(found.owner):
            continue
        found.said_ms = now_ms
        for number, value, meta in found.kept:
            entry = [id, found.attempt, number, value, meta, found.run]
            out.peer.append((found.owner, _ITEMS, entry))
        _ask(found, id, out)


__all__ = ["Sending", "drop", "hold_report", "is_run_of", "on_credit", "take", "tick"]
