"""Passing news on: with every message, by gossip while there is any, and whole tables on demand.

News is only *that* a member has news.  The claim itself is made when it is sent, so that nobody
passes on what he no longer believes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.digest import blake2b
from meshcode.membership.events import Contact, Out
from meshcode.membership.member import Member, State
from meshcode.membership.messages import Claim, claim_bytes, claim_of
from meshcode.membership.params import retransmissions

if TYPE_CHECKING:
    from meshcode.membership.swim import Swim

_DIGEST_ROW = struct.Struct("<16sQQBQQ")


class Batch:
    """Claims for one message, within its bounds."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.named: set[bytes] = set()
        self.bytes = 0

    def add(self, member: Member, now_ms: int, *, with_meta: bool) -> bool:
        """Take a claim in; False when there is no room.  One member is named once."""
        if member.node in self.named or member.boot == 0:  # Of boot 0 there is nothing to tell.
            return True
        size = claim_bytes(member, with_meta=with_meta)
        full = len(self.claims) >= limits.SWIM_UPDATES_MAX
        if full or self.bytes + size > limits.SWIM_BYTES_MAX:
            return False
        self.claims.append(claim_of(member, now_ms, with_meta=with_meta))
        self.named.add(member.node)
        self.bytes += size
        return True


class News:
    """Of whom there is news, how often each was passed on, and whether its meta is part of it."""

    def __init__(self) -> None:
        self.told: dict[bytes, int] = {}
        self.with_meta: set[bytes] = set()

    def add(self, node: bytes, *, meta: bool) -> None:
        """There is something new to say of a member; counting starts again."""
        self.told[node] = 0
        if meta:
            self.with_meta.add(node)

    def drop(self, node: bytes) -> None:
        """There is nothing more to say of it."""
        self.told.pop(node, None)
        self.with_meta.discard(node)

    def clear(self) -> None:
        """There is nobody to tell."""
        self.told.clear()
        self.with_meta.clear()

    def fill(self, s: Swim, batch: Batch, to: bytes, now_ms: int) -> None:
        """Put what was told least into a message to `to`, and count it as told."""
        times_max = retransmissions(s.live)
        for node in sorted(self.told, key=self.told.__getitem__):
            if node != to and not batch.add(
                s.table_row(node), now_ms, with_meta=node in self.with_meta
            ):
                break
            self.told[node] += 1  # Its own news counts as told to it: with two nodes it must end.
            if self.told[node] >= times_max:
                self.drop(node)


def send(
    s: Swim, to: Member, kind: str, now_ms: int, out: Out,
    *, about: Member | None = None, **fields: Any,
) -> None:  # fmt: skip
    """Send one message, with what its receiver must hear first and then the news.

    A member that is believed to be anything but alive is told so, whatever the message: only it can
    refute that.
    """
    batch = _begun(s, to, now_ms)
    if about is not None:
        batch.add(about, now_ms, with_meta=False)
    if to.live and s.news.told:
        s.news.fill(s, batch, to.node, now_ms)
    emit(s, to.node, kind, out, batch, **fields)


def _begun(s: Swim, to: Member, now_ms: int) -> Batch:
    """What a message must say in any case.

    A message alone says that its sender is alive.  One that is about to restart says that too each
    time, or whoever did not hear of it would accuse it at the same incarnation, and be believed.
    """
    batch = Batch()
    for member in (s.own, to):
        if member.state != State.ALIVE:
            batch.add(member, now_ms, with_meta=False)
    return batch


def emit(s: Swim, to: bytes, kind: str, out: Out, batch: Batch, **fields: Any) -> None:
    """Put a message with exactly these claims into `out`."""
    message = {"k": kind, "b": s.own.boot, "i": s.own.incarnation, **fields}
    if batch.claims:
        message["u"] = batch.claims
    out.sends.append((to, message))


def tell(s: Swim, node: bytes, now_ms: int, *, meta: bool = False) -> None:
    """There is news of a member: it goes out with everything, and by gossip from now on."""
    if s.table_row(node).boot == 0:
        return
    s.news.add(node, meta=meta)
    if not s.timers.armed("gossip", None):
        s.timers.arm("gossip", None, max(now_ms, s.gossiped_ms + s.params.gossip_ms))


def on_gossip(s: Swim, _of: Any, now_ms: int, out: Out) -> None:
    """A round of gossip; no further one when there is no news left."""
    s.gossiped_ms = now_ms
    listeners = s.pick(limits.SWIM_GOSSIP_FANOUT, lambda member: member.live)
    if not listeners:
        s.news.clear()  # Whoever comes gets the whole table.
        return
    for member in listeners:
        batch = _begun(s, member, now_ms)
        s.news.fill(s, batch, member.node, now_ms)
        if batch.claims:
            emit(s, member.node, "news", out, batch)
    if s.news.told:
        s.timers.arm("gossip", None, now_ms + s.params.gossip_ms)


def shout(s: Swim, now_ms: int, out: Out) -> None:
    """Tell some members at once what this node says of itself: it may be gone in a moment."""
    for member in s.pick(limits.SWIM_TELL_MAX, lambda member: member.live):
        send(s, member, "news", now_ms, out, about=s.own)


# Whole tables.


def digest(s: Swim) -> bytes:
    """Eight bytes that are equal exactly when two tables say the same."""
    if s.digest_cache is None:
        rows = [
            _DIGEST_ROW.pack(m.node, m.boot, m.incarnation, m.state, *m.meta_version)
            for m in sorted((s.own, *s.members.values()), key=lambda m: m.node)
            if m.boot and m.state != State.EVICTED
        ]
        s.digest_cache = blake2b(b"".join(rows), digest_size=8).digest()
    return s.digest_cache


def on_sync_due(s: Swim, _of: Any, now_ms: int, out: Out) -> None:
    """Compare tables with one member, whichever."""
    s.arm_sync(now_ms)
    for member in s.pick(1, lambda member: member.state == State.ALIVE):
        send(s, member, "sync", now_ms, out, d=digest(s))


def on_contact(s: Swim, event: Contact, now_ms: int, out: Out) -> None:
    """A new session, perhaps after a long time: compare tables, whatever was believed."""
    member = s.members.get(event.node)
    if member is not None and member.state != State.EVICTED:
        send(s, member, "sync", now_ms, out, d=digest(s))


def on_sync(s: Swim, sender: Member, message: dict[str, Any], now_ms: int, out: Out) -> None:
    """A member compares: if the tables differ, both send theirs whole."""
    if message["d"] != digest(s):
        push(s, sender, now_ms, out, answer=True)


def on_push(s: Swim, sender: Member, message: dict[str, Any], now_ms: int, out: Out) -> None:
    """A member's table (its claims are merged already); it may want ours."""
    if message["r"]:
        push(s, sender, now_ms, out, answer=False)


def push(s: Swim, to: Member, now_ms: int, out: Out, *, answer: bool) -> None:
    """Send the whole table in as many messages as it takes; the last one asks for an answer."""
    if to.pushed_ms is not None and now_ms - to.pushed_ms < limits.SWIM_PUSH_GAP_MS:
        return
    to.pushed_ms = now_ms
    batches = [Batch()]
    for member in (s.own, to, *s.members.values()):
        if member.state == State.EVICTED:
            continue
        if not batches[-1].add(member, now_ms, with_meta=True):
            batches.append(Batch())
            batches[-1].add(member, now_ms, with_meta=True)
    for number, batch in enumerate(batches, 1):
        emit(s, to.node, "push", out, batch, r=answer and number == len(batches))
