"""Members come and go, this node among them; and what it notices of its own health."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshcode import limits
from meshcode.membership import probing, spreading
from meshcode.membership.events import Added, Evicted, Leaving, Left, Out, SelfHealth, Ticked
from meshcode.membership.member import Member, State
from meshcode.membership.messages import is_node, meta_bytes

if TYPE_CHECKING:
    from meshcode.membership.swim import Swim


def on_added(s: Swim, event: Added, now_ms: int, out: Out) -> None:
    """A new member is suspect with boot 0 until something is heard, then dead if nothing is."""
    assert is_node(event.node), event.node

    if event.node == s.own.node:
        return
    member = s.members.get(event.node)
    if member is not None and member.state == State.EVICTED:
        return
    size = meta_bytes(event.meta)
    if size is None:
        s.count("bad_meta")
    meta = event.meta if size is not None else {}
    if member is not None:
        member.kind = event.kind
        if member.meta_version == (0, 0) and meta != member.meta:
            member.meta, member.meta_bytes = meta, size or 1
            s.report(member, out)
        s.place(member, now_ms)
        return
    if len(s.members) >= limits.SWIM_MEMBERS_MAX:
        s.count("members_full")
        return
    member = Member(event.node, event.kind, meta=meta, meta_bytes=size or 1)
    member.since_ms = member.suspected_ms = now_ms
    s.enter(member, now_ms)
    s.report(member, out)
    if not s.heard:
        spreading.tell(s, s.own.node, now_ms, meta=True)


def on_evicted(s: Swim, event: Evicted, now_ms: int, out: Out) -> None:
    """For ever, whatever arrives late; known before it was added, too."""
    if event.node == s.own.node:
        s.own.state, s.own.since_ms = State.EVICTED, now_ms
        s.report(s.own, out)
        s.fall_silent()
        return
    member = s.members.get(event.node)
    if member is None:
        s.members[event.node] = member = Member(event.node, state=State.DEAD)
    elif member.state == State.EVICTED:
        return
    s.leave(member)
    member.since_ms = now_ms
    s.report(member, out)


def on_leaving(s: Swim, event: Leaving, now_ms: int, out: Out) -> None:
    """This node restarts: it says so to some at once, and to all by gossip."""
    for_ms = min(max(event.for_ms, 1), limits.SWIM_LEAVING_MS_MAX)
    s.own.leaving_until_ms = now_ms + for_ms
    s.timers.arm("leaving", s.own.node, now_ms + for_ms)
    _become(s, State.LEAVING, now_ms, out)


def on_left(s: Swim, _event: Left, now_ms: int, out: Out) -> None:
    """This node goes: the last thing it says."""
    _become(s, State.LEFT, now_ms, out)
    s.fall_silent()


def _become(s: Swim, state: State, now_ms: int, out: Out) -> None:
    """Claim a state of one's own, above all that was claimed before, loudly."""
    s.own.state, s.own.since_ms = state, now_ms
    s.own.incarnation = min(s.own.incarnation + 1, limits.SWIM_INCARNATION_MAX - 1)
    s.digest_cache = None
    spreading.tell(s, s.own.node, now_ms)
    spreading.shout(s, now_ms, out)
    s.report(s.own, out)


def on_leaving_over(s: Swim, node: bytes, now_ms: int, out: Out) -> None:
    """The time a restart was given is over: who is back has a higher boot, or refutes."""
    if node == s.own.node:  # It did not restart after all.
        _become(s, State.ALIVE, now_ms, out)
    elif s.health.sick(now_ms):
        s.timers.arm("leaving", node, s.health.sick_until_ms)
    else:
        probing.accuse(s, s.members[node], now_ms, out)


def on_suspicion_over(s: Swim, node: bytes, now_ms: int, out: Out) -> None:
    """Nobody refuted it in time: dead.  A sick node leaves the verdict to others."""
    member = s.members[node]
    if s.health.sick(now_ms):
        s.timers.arm("suspect", node, s.health.sick_until_ms)
        return
    s.believe(member, State.DEAD, member.boot, member.incarnation, now_ms, out)


def on_self_health(s: Swim, event: SelfHealth, now_ms: int, _out: Out) -> None:
    """The shell measured itself: late, slow or stepped means not to be trusted for a while."""
    if (
        event.loop_lag_ms > limits.SWIM_LOOP_LAG_MS
        or event.commit_ms > limits.SWIM_COMMIT_MS
        or abs(event.clock_step_ms) > limits.SWIM_CLOCK_STEP_MS
    ):
        s.health.fall_ill(now_ms, limits.SWIM_SICK_PROBES * s.params.probe_ms)


def on_ticked(_s: Swim, _event: Ticked, _now_ms: int, _out: Out) -> None:
    """Timers fire after every event; this one has nothing else to do."""
