"""The membership core of one node: `step(event, now_ms) -> Out` is the only door.

There is no clock, link, thread or random source in here: `now_ms`, messages and the rng come in.
What is believed of a member is the largest claim heard, ordered by boot, incarnation and state
(`member.Key`).  So the order of messages does not matter, a claim about an older boot never counts,
and only the member itself can undo an accusation, by a higher incarnation.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from meshcode import limits
from meshcode.errors import TooLarge
from meshcode.membership import coming, events, hearing, probing, spreading
from meshcode.membership.events import Event, Out
from meshcode.membership.health import Health
from meshcode.membership.member import Member, Row, State
from meshcode.membership.messages import meta_bytes
from meshcode.membership.params import Params, profile_of, slower
from meshcode.membership.timers import Timers

_ON_EVENT: dict[type, Callable[[Swim, Any, int, Out], None]] = {
    events.Received: hearing.on_received,
    events.Added: coming.on_added,
    events.Evicted: coming.on_evicted,
    events.Leaving: coming.on_leaving,
    events.Left: coming.on_left,
    events.SelfHealth: coming.on_self_health,
    events.Ticked: coming.on_ticked,
    events.Contact: spreading.on_contact,
    events.Lost: probing.on_lost,
}
_ON_TIMER: dict[str, Callable[[Swim, Any, int, Out], None]] = {
    "probe": probing.on_probe_due,  # of a profile
    "direct": probing.on_direct_over,  # of a probe
    "end": probing.on_probe_over,  # of a probe
    "relay": probing.on_relay_over,  # of a probe for another
    "knock": probing.on_knock_due,
    "gossip": spreading.on_gossip,
    "sync": spreading.on_sync_due,
    "suspect": coming.on_suspicion_over,  # of a member
    "leaving": coming.on_leaving_over,  # of a member, or of this node
}


class Swim:
    """All members as one node sees them."""

    def __init__(
        self, me: bytes, boot: int, rng: Random, *, kind: str = "core",
        meta: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """A node that knows nobody yet.

        Args:
            me: this node's id, 16 bytes.
            boot: how often its store was opened, from 1; durable before it is used.
            rng: for rounds and choices; seeded in tests.
            kind: "core", "witness" or "edge".
            meta: what the others should know of it: plain data of at most 1 KiB.

        Raises:
            TooLarge: the meta is not small plain data.
        """
        assert 1 <= boot <= limits.SWIM_NUMBER_MAX, boot

        meta = dict(meta or {})
        self.own = Member(me, kind, state=State.ALIVE, boot=boot, meta=meta)
        self.own.meta_bytes = _checked_bytes(meta)
        self.own.meta_version = (boot, 1)
        self.params: Params = profile_of(kind, meta)
        self.rng = rng
        self.members: dict[bytes, Member] = {}
        self.order: list[bytes] = []  # The keys of `members`, to choose from.
        self.live = 1  # Members not known to be gone, this node included.
        self.health = Health()
        self.timers = Timers()
        self.news = spreading.News()
        self.rotations: dict[str, probing.Rotation] = {}
        self.probes: dict[int, probing.Probe] = {}
        self.probed: dict[bytes, int] = {}  # Of whom a probe is open: its sequence number.
        self.relays: dict[int, probing.Relay] = {}
        self.seq = rng.getrandbits(31)  # So that an answer to an earlier boot fits no question.
        self.gossiped_ms = -self.params.gossip_ms
        self.digest_cache: bytes | None = None
        self.heard = False  # Whether any member ever said anything.
        self.silent = False  # After Left, or when this node itself was evicted.
        self.newer_self_boot = 0  # Above the own boot: another process or disk has this identity.
        self.counters: dict[str, int] = {}

    def step(self, event: Event, now_ms: int) -> Out:
        """Let `event` happen at node time `now_ms`, which never goes back.

        A step that comes later than the time it was due shows that this node did not watch; what
        it missed is then not held against anyone.
        """
        out = Out()
        if self.silent:
            return out
        due_ms = self.timers.next_due_ms()
        if due_ms is not None and now_ms - due_ms > limits.SWIM_LOOP_LAG_MS:
            self._resumed(now_ms - due_ms, now_ms)
        _ON_EVENT[type(event)](self, event, now_ms, out)
        while not self.silent and (due := self.timers.pop_due(now_ms)) is not None:
            _ON_TIMER[due[0]](self, due[1], now_ms, out)
        return out

    def next_due_ms(self) -> int | None:
        """When the shell must send `Ticked` at the latest; None when nothing waits for time."""
        return None if self.silent else self.timers.next_due_ms()

    def set_meta(self, meta: dict[str, Any], now_ms: int) -> None:
        """Change what the others should know of this node; the same again is no news.

        Call it rarely: every change is gossiped to all members.

        Raises:
            TooLarge: it is not small plain data; the old meta stays.
        """
        size = _checked_bytes(meta)
        if meta == self.own.meta:
            return
        self.own.meta, self.own.meta_bytes = dict(meta), size
        self.bump_meta(self.own.meta_version[1])
        self.params = profile_of(self.own.kind, meta)
        for member in self.members.values():
            self.place(member, now_ms)
        spreading.tell(self, self.own.node, now_ms, meta=True)

    def table(self) -> list[Row]:
        """All members for a listing, this node first, evicted ones included."""
        return [
            Row(m.node, m.kind, m.state.word, m.since_ms, m.rtt_mean_ms, m.boot, m.incarnation,
                m.meta)
            for m in (self.own, *self.members.values())
        ]  # fmt: skip

    def state_of(self, node: bytes) -> str | None:
        """What is believed of a member; None when it is none."""
        member = self.own if node == self.own.node else self.members.get(node)
        return None if member is None else member.state.word

    # What the handlers share.

    def table_row(self, node: bytes) -> Member:
        """A member, or this node itself."""
        return self.own if node == self.own.node else self.members[node]

    def count(self, what: str) -> None:
        """Count something that was ignored."""
        self.counters[what] = self.counters.get(what, 0) + 1

    def pick(self, count: int, fits: Callable[[Member], bool]) -> list[Member]:
        """Up to `count` random members that fit: by chance when many do, else by looking at all."""
        order, found = self.order, {}
        if len(order) > 4 * count:
            for _ in range(3 * count):
                member = self.members[order[int(self.rng.random() * len(order))]]
                if fits(member):
                    found[member.node] = member
                    if len(found) == count:
                        return list(found.values())
        fitting = [member for node in order if fits(member := self.members[node])]
        return self.rng.sample(fitting, min(count, len(fitting)))

    def arm_sync(self, now_ms: int) -> None:
        """The next comparison of tables, at a time that drifts apart from the others'."""
        wait_ms = int(self.params.sync_ms * (0.75 + self.rng.random() / 2))
        self.timers.arm("sync", None, now_ms + wait_ms)

    def believe(
        self, member: Member, state: State, boot: int, incarnation: int, now_ms: int, out: Out,
        accusers: tuple[bytes, ...] = (), leaving_ms: int = 0,
    ) -> None:  # fmt: skip
        """Merge one claim into the table: it counts if it is larger than what is believed.

        An equal suspicion counts too if it names an accuser that was not yet known.
        """
        key = (boot, incarnation, int(state))
        if member.state == State.EVICTED or key < member.key:
            return
        if key == member.key:
            more = tuple(a for a in accusers if a not in member.accusers)
            room = limits.SWIM_ACCUSERS_MAX - len(member.accusers)
            if state == State.SUSPECT and more and room > 0:
                member.accusers += more[:room]
                self._arm_suspicion(member)
                spreading.tell(self, member.node, now_ms)
            return
        changed = (state, boot) != (member.state, member.boot)
        member.boot, member.incarnation = boot, incarnation
        member.accusers = accusers if state == State.SUSPECT else ()
        member.leaving_until_ms = now_ms + leaving_ms if state == State.LEAVING else 0
        self.digest_cache = None
        if changed:
            member.since_ms = now_ms
            self._turn(member, state)
        if state == State.SUSPECT:
            member.suspected_ms = now_ms
            self._arm_suspicion(member)
        elif state == State.LEAVING:
            self.timers.arm("leaving", member.node, member.leaving_until_ms)
        elif state == State.DEAD and not self.timers.armed("knock", None):
            self.timers.arm("knock", None, now_ms + self.params.reconnect_ms)
        spreading.tell(self, member.node, now_ms)
        if changed:
            self.report(member, out)

    def report(self, member: Member, out: Out) -> None:
        """Tell the rest of the node what is believed of a member now."""
        change = (member.node, member.state.word, member.boot, member.meta)
        if out.changes and out.changes[-1][:3] == change[:3]:
            out.changes.pop()  # The same with older meta.
        out.changes.append(change)

    def _turn(self, member: Member, state: State) -> None:
        """Change the state and nothing else of a member; timers of the old one end."""
        was_live = member.live
        member.state = state
        self.live += member.live - was_live
        self.timers.cancel("suspect", member.node)
        self.timers.cancel("leaving", member.node)
        if not member.live and (seq := self.probed.get(member.node)) is not None:
            probing.forget(self, seq)

    def _arm_suspicion(self, member: Member) -> None:
        accusers = max(1, len(member.accusers))
        wait_ms = member.params.suspicion_ms(self.live, accusers)
        self.timers.arm("suspect", member.node, member.suspected_ms + wait_ms)

    # Places of members.

    def enter(self, member: Member, now_ms: int) -> None:
        """A member of which nothing was heard takes its place."""
        self.members[member.node] = member
        self.order.append(member.node)
        self.live += 1
        self._arm_suspicion(member)
        self.place(member, now_ms)
        if not self.timers.armed("sync", None):
            self.arm_sync(now_ms)

    def leave(self, member: Member) -> None:
        """A member is evicted: nothing is asked of it, or for it, any more."""
        self._turn(member, State.EVICTED)
        self.news.drop(member.node)
        self.digest_cache = None
        for seq, relay in list(self.relays.items()):
            if member.node in (relay.asker, relay.node):
                del self.relays[seq]
                self.timers.cancel("relay", seq)
        if member.rotation:
            self.order.remove(member.node)
            self.rotations[member.rotation].remove(member.node)
            member.rotation = ""

    def place(self, member: Member, now_ms: int) -> None:
        """Find the slower profile of the pair, and put the member into its rotation."""
        member.params = params = slower(self.params, profile_of(member.kind, member.meta))
        if member.rotation == params.name:
            return
        if member.rotation:
            self.rotations[member.rotation].remove(member.node)
        member.rotation = params.name
        rotation = self.rotations.setdefault(params.name, probing.Rotation(self.rng))
        rotation.add(member.node)
        if not self.timers.armed("probe", params.name):
            wait_ms = int(params.probe_ms * self.rng.random())  # Not all nodes in step.
            self.timers.arm("probe", params.name, now_ms + wait_ms)

    def bump_meta(self, counter: int) -> None:
        """This node's meta is newer than any that was claimed with `counter`."""
        self.own.meta_version = (self.own.boot, min(counter + 1, limits.SWIM_NUMBER_MAX))
        self.digest_cache = None

    def fall_silent(self) -> None:
        """This node says and hears nothing any more."""
        self.silent = True
        self.timers.clear()

    def _resumed(self, late_ms: int, now_ms: int) -> None:
        """This node did not run for a while: that time counts for nobody."""
        self.health.fall_ill(now_ms, limits.SWIM_SICK_PROBES * self.params.probe_ms)
        for seq, probe in list(self.probes.items()):
            self.members[probe.node].last_seq = 0
            probing.forget(self, seq)
        for seq in self.relays:
            self.timers.cancel("relay", seq)
        self.relays.clear()
        for member in self.members.values():
            if member.state == State.SUSPECT:
                member.suspected_ms += late_ms
                self._arm_suspicion(member)
            elif member.state == State.LEAVING:
                member.leaving_until_ms += late_ms
                self.timers.arm("leaving", member.node, member.leaving_until_ms)
        if late_ms > self.params.probe_ms and self.members:
            self.timers.arm("sync", None, now_ms)  # Much may have happened meanwhile.


def _checked_bytes(meta: dict[str, Any]) -> int:
    size = meta_bytes(meta)
    if size is None:
        raise TooLarge(
            f"the meta of this node must be plain data of at most {limits.SWIM_META_BYTES_MAX} "
            f"bytes and {limits.SWIM_META_DEPTH_MAX} levels; it is unchanged; shorten it"
        )
    return size
