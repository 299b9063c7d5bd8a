"""Other nodes come, go and are evicted; and calls that replication reads back from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode import limits
from meshcode.replica.peers import ALIVE, DEAD, EVICTED, LEFT
from meshcode.router import births, copies, events, replicated, seats, work
from meshcode.router.effects import Effects
from meshcode.router.envelopes import id_of
from meshcode.router.records import outcome_of

if TYPE_CHECKING:
    from meshcode.router.core import Router


def on_peer_changed(r: Router, event: events.PeerChanged, now_ms: int, out: Effects) -> None:
    """Membership says something new of a node."""
    known = r.replica.peers.by_node.get(event.node)
    before = (known.state, known.boot) if known is not None else ("", 0)
    peer = r.replica.peers.change(
        event.node, event.state, event.boot, event.kind, event.domain, event.name, now_ms
    )
    if (peer.state, peer.boot) == before:
        return
    if peer.state in (DEAD, LEFT, EVICTED):
        work.lose_peer(r, event.node, f"node {peer.name or event.node.hex()[:12]} is {peer.state}",
                       now_ms, out)  # fmt: skip
    elif before[1] and peer.boot > before[1]:
        work.lose_peer(r, event.node, f"node {peer.name} was started again", now_ms, out)
    r.replica.changed(event.node, now_ms, out)
    seats.peer_changed(r, peer, before[1])
    if r.uncopied and copies.keeper_of(r) is None:
        copies.lost_keeper(r, out)
    if peer.state == ALIVE:
        work.peer_is_here(r, event.node)
        r.widen_from_ms = now_ms + limits.WIDEN_AFTER_MS
        lone = (call.id for call in r.calls.values() if call.inst is None)
        r.narrow.update(dict.fromkeys(lone))  # Those of an earlier boot are on no list yet.
        for pool in r.pools.values():
            work.grant(r, pool, now_ms, out, again=True)
        seats.tell(r, out)


def on_peer_returned(r: Router, event: events.PeerReturned, now_ms: int, out: Effects) -> None:
    """What a peer has not answered is said again now, and not when its time comes."""
    if event.node in r.replica.peers.by_node:
        r.replica.changed(event.node, now_ms, out)
        for pool in r.pools.values():
            work.grant(r, pool, now_ms, out, again=True)
        seats.tell(r, out)


def on_read(r: Router, event: events.Read, now_ms: int, out: Effects) -> None:
    """Calls that replication asked for."""
    several = len({id_of(one[2]) for one in event.calls}) < len(event.calls)  # Of one id.
    filed: dict[bytes, bytes] = {}  # Outcomes that this very event puts into the history.
    for sequence, accepted_ms, submit, ended in event.calls:
        before = len(out.records)
        known = ended or (filed.get(id_of(submit), b"") if several else b"")
        copy = r.copies.get(id_of(submit)) if r.copies else None
        if copy is not None and copy.sequence == sequence:
            copies.read(r, copy, accepted_ms, submit, known, now_ms, out)
        else:
            r.replica.read(sequence, accepted_ms, submit, known, now_ms, out)
        for table, key, value in out.records[before:] if several else ():
            if table == "done" and value is not None:
                filed[key] = outcome_of(value)


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Once a second: calls kept alone are widened, grants and questions repeated."""
    replicated.widen_some(r, now_ms, out)
    if r.copies:
        copies.tick(r, now_ms, out)
    again = now_ms - r.grants_ms >= limits.GRANT_AGAIN_MS
    if again:
        r.grants_ms = now_ms
    for pool in r.pools.values():
        work.grant(r, pool, now_ms, out, again=again)
    if again:
        seats.tell(r, out)
    work.ask_peers(r, now_ms, out)
    if r.births:
        births.tick(r, now_ms, out)
