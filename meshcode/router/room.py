"""Whether a node takes new calls at all: not while it drains, or its disk or memory is full.

What it has accepted is not touched by any of these, and what that causes is never refused.  It
waits while the disk is stuck: outcomes that find no room are in memory, and must not become many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode import errors, limits
from meshcode.replica.peers import EVICTED
from meshcode.router import events, seats
from meshcode.router.effects import Effects

if TYPE_CHECKING:
    from meshcode.router.core import Router


def on_drained(r: Router, event: events.Drained, now_ms: int, out: Effects) -> None:
    """No new calls from here on, and no copies of broadcasts."""
    r.draining = True
    seats.on_drained(r, out)


def on_disk_changed(r: Router, event: events.DiskChanged, now_ms: int, out: Effects) -> None:
    """The disk is fuller, or less full; when it is no more stuck, what waits may begin."""
    was, r.disk_level = r.disk_level, event.level
    r.disk_room = event.left, event.needed
    if was >= limits.DISK_STUCK > event.level:
        for pool in r.pools.values():
            r.touch(pool)


def on_room_changed(r: Router, event: events.RoomChanged, now_ms: int, out: Effects) -> None:
    """Memory is enough for more calls, or for fewer."""
    r.calls_max = event.calls_max


def kept(r: Router) -> int:
    """Open calls of this node and copies of calls, which take memory until they end."""
    return len(r.calls) + len(r.replica.by_id) + len(r.copies)


def busy(r: Router) -> errors.Busy | None:
    """Why this node takes no new calls at all, or None."""
    if r.draining:
        return errors.Busy("this node is draining and takes no new calls; try again or elsewhere")
    if r.disk_level:
        return _disk_full(r)
    if (count := kept(r)) >= r.calls_max:
        return errors.Busy(
            f"this node keeps {count} open calls and copies of calls, it has room for "
            f"{r.calls_max} (the setting `memory`); what it accepted is safe; "
            + _until(r),
            kept=count,
        )
    return None


def _until(r: Router) -> str:
    """When there will be room.  What has ended is kept until each of its voters has heard of it."""
    peers = r.replica.peers
    away = [peer for peer in peers.by_node.values() if not peer.here and peer.state != EVICTED]
    if not away or not r.replica.by_id:
        return "try again when some have ended"
    names = ", ".join(sorted(peers.name_of(peer.node) for peer in away))
    return (
        f"some have ended and are kept until {names} hears of it, which is away: start it, or evict"
        " it if it does not come back (`mesh node evict`); then try again"
    )


def _disk_full(r: Router) -> errors.Busy:
    free, needed = r.disk_room
    amounts = f": {free:,} bytes are free, new calls need {needed:,}" if free < needed else ""
    return errors.Busy(
        f"this node takes no new calls because its disk or log is nearly full{amounts}; what it "
        "accepted is safe; make room on the disk of its home, or let it keep fewer ended calls "
        "(`mesh add setting -n retention_bytes -v SIZE`), then try again",
        level=r.disk_level,
        free=free,
        needed=needed,
    )


__all__ = ["busy", "kept", "on_disk_changed", "on_drained", "on_room_changed"]
