"""What members say: every message checked whole, then its claims merged, then answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.membership import probing, spreading
from meshcode.membership.events import Out, Received
from meshcode.membership.member import Member, State
from meshcode.membership.messages import Claim, meta_bytes, trouble_with

if TYPE_CHECKING:
    from meshcode.membership.swim import Swim


def _on_news(_s: Swim, _from: Member, _m: dict[str, Any], _now_ms: int, _out: Out) -> None:
    """Its claims were all it had to say."""


_ON_KIND: dict[str, Callable[[Swim, Member, dict[str, Any], int, Out], None]] = {
    "ping": probing.on_ping,
    "ack": probing.on_ack,
    "ask": probing.on_ask,
    "nack": probing.on_nack,
    "news": _on_news,
    "sync": spreading.on_sync,
    "push": spreading.on_push,
}


def on_received(s: Swim, event: Received, now_ms: int, out: Out) -> None:
    """Take one message, or ignore it whole and count why."""
    sender, message = s.members.get(event.sender), event.message
    if sender is None or sender.state == State.EVICTED:
        s.count("unknown_sender" if sender is None else "evicted_sender")
        return
    if trouble_with(message):
        s.count("bad_message")
        return
    if message["b"] < sender.boot:
        _answer_the_past(s, sender, now_ms, out)
        return
    s.heard = True
    s.believe(sender, State.ALIVE, message["b"], message["i"], now_ms, out)
    for claim in message.get("u", ()):
        merge(s, sender, claim, now_ms, out)
    _ON_KIND[message["k"]](s, sender, message, now_ms, out)


def _answer_the_past(s: Swim, sender: Member, now_ms: int, out: Out) -> None:
    """A late message of an earlier boot, or a node with an old disk: only the latter learns."""
    s.count("old_boot")
    batch = spreading.Batch()
    batch.add(sender, now_ms, with_meta=False)
    spreading.emit(s, sender.node, "news", out, batch)


def merge(s: Swim, sender: Member, claim: Claim, now_ms: int, out: Out) -> None:
    """Believe one claim of a message if it is larger than what is believed."""
    node, state, boot, incarnation, detail, meta = claim
    if node == s.own.node:
        _about_me(s, State(state), boot, incarnation, meta, now_ms)
        return
    member = s.members.get(node)
    if member is None:
        s.count("unknown_node")
        return
    if member.state == State.EVICTED:
        return
    accusers: tuple[bytes, ...] = ()
    if state == State.SUSPECT:
        known = (a for a in detail if a in s.members or a == s.own.node)
        accusers = tuple(known) or (sender.node,)
    leaving_ms = detail if state == State.LEAVING else 0
    s.believe(member, State(state), boot, incarnation, now_ms, out, accusers, leaving_ms)
    if meta is not None and (meta[0], meta[1]) > member.meta_version:
        member.meta_version = (meta[0], meta[1])
        member.meta, member.meta_bytes = meta[2], meta_bytes(meta[2]) or 1
        s.digest_cache = None
        s.place(member, now_ms)
        spreading.tell(s, node, now_ms, meta=True)
        s.report(member, out)


def _about_me(
    s: Swim, state: State, boot: int, incarnation: int, meta: list[Any] | None, now_ms: int
) -> None:
    """What others say of this node; what is not so is outbid, which only this node can."""
    if boot != s.own.boot:
        if boot > s.own.boot:  # Not to be outbid: the store decides which boot is real.
            s.newer_self_boot = max(s.newer_self_boot, boot)
            s.count("newer_self")
        else:
            spreading.tell(s, s.own.node, now_ms)
        return
    if (incarnation, int(state)) > (s.own.incarnation, int(s.own.state)):
        if state in (State.SUSPECT, State.DEAD):
            s.health.add(1)  # Someone found it slow (Lifeguard).
        s.own.incarnation = min(incarnation + 1, limits.SWIM_INCARNATION_MAX)
        s.digest_cache = None
        spreading.tell(s, s.own.node, now_ms)
    if meta is not None and meta[0] == s.own.boot:
        mine = s.own.meta_version[1]
        if meta[1] > mine or (meta[1] == mine and meta[2] != s.own.meta):
            s.bump_meta(meta[1])
            spreading.tell(s, s.own.node, now_ms, meta=True)
