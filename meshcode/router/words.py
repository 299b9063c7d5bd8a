"""What peers say: agreement goes to the replica, all else to the part of the core that knows it.

Every entry has the shape that it must have: the shell lets no other through (`heard`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode.router import copies, events, gathering, joins, sending, work
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router

HANDLERS: Final = {
    int(Kind.OUTCOME_OF): gathering.on_ask,
    int(Kind.OUTCOME_IS): gathering.on_tell,
    int(Kind.ARRIVED): joins.on_arrived,
    int(Kind.CREDIT): sending.on_credit,
    int(Kind.SEATS): work.on_seats,
    int(Kind.GRANT): work.on_grant,
    int(Kind.RUN): work.on_run,
    int(Kind.RAN): work.on_ran,
    int(Kind.TAKEN): work.on_taken,
    int(Kind.INTERRUPT): work.on_interrupt,
    int(Kind.GAVE_BACK): work.on_gave_back,
    int(Kind.HOLDS): work.on_holds,
    int(Kind.KEEP): copies.on_keep,
    int(Kind.KEPT): copies.on_kept,
    int(Kind.DROP): copies.on_drop,
}


def on_peer_said(r: Router, event: events.PeerSaid, now_ms: int, out: Effects) -> None:
    """Take what a peer sent."""
    handler = HANDLERS.get(event.kind)
    if handler is None:
        r.replica.heard(event.node, event.kind, event.entries, now_ms, out)
        return
    if event.node in r.replica.peers.evicted or event.node not in r.replica.peers.by_node:
        r.replica.count("work of an unknown or evicted node")
        return
    for entry in event.entries:
        handler(r, event.node, entry, now_ms, out)


__all__ = ["HANDLERS", "on_peer_said"]
