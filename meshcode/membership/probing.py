"""Finding out who answers: a direct probe, then some through others, then a suspicion."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.membership.events import Lost, Out
from meshcode.membership.member import Member, State
from meshcode.membership.params import PROFILES
from meshcode.membership.spreading import send

if TYPE_CHECKING:
    from meshcode.membership.swim import Swim

RELAY_SHARE = 0.6  # Of what is left of a probe: so long relays wait before they say nack.


@dataclass(slots=True)
class Probe:
    """One open question: does this member answer?"""

    node: bytes
    end_ms: int
    relays: set[bytes] = field(default_factory=set)  # Who was asked to probe it too.
    nacks: set[bytes] = field(default_factory=set)  # Who of them answered that it did not.


@dataclass(slots=True)
class Relay:
    """A probe for someone else."""

    asker: bytes
    seq: int  # The asker's.
    node: bytes


class Rotation:
    """Members of one profile in shuffled rounds: each is probed once per round."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._round: list[bytes] = []
        self._at = 0

    def add(self, node: bytes) -> None:
        """Put a new member somewhere into the running round."""
        self._round.insert(self._rng.randint(self._at, len(self._round)), node)

    def remove(self, node: bytes) -> None:
        """Take a member out."""
        index = self._round.index(node)
        del self._round[index]
        if index < self._at:
            self._at -= 1

    def __len__(self) -> int:
        return len(self._round)

    def next(self) -> bytes:
        """Whose turn it is; not to be asked when empty."""
        if self._at >= len(self._round):
            self._rng.shuffle(self._round)
            self._at = 0
        self._at += 1
        return self._round[self._at - 1]


def on_probe_due(s: Swim, profile: str, now_ms: int, out: Out) -> None:
    """The next member of a profile is probed."""
    rotation = s.rotations[profile]
    if not len(rotation):
        return
    s.timers.arm("probe", profile, now_ms + s.health.scale(PROFILES[profile].probe_ms))
    if s.own.state != State.ALIVE:
        return  # About to restart: it would not be there to hear the answer.
    for _ in range(len(rotation)):
        member = s.members[rotation.next()]
        if member.state in (State.ALIVE, State.SUSPECT) and member.node not in s.probed:
            start(s, member, now_ms, out)
            return


def on_lost(s: Swim, event: Lost, now_ms: int, out: Out) -> None:
    """The transport lost a session: ask at once instead of when its turn comes."""
    member = s.members.get(event.node)
    probing = s.own.state == State.ALIVE and event.node not in s.probed
    if member is not None and member.state in (State.ALIVE, State.SUSPECT) and probing:
        start(s, member, now_ms, out)


def start(s: Swim, member: Member, now_ms: int, out: Out) -> None:
    """Ask a member directly."""
    timeout_ms = s.health.scale(member.timeout_ms())
    end_ms = now_ms + max(s.health.scale(member.params.probe_ms), 2 * timeout_ms)
    seq = ping(s, member, now_ms, out)
    s.probes[seq] = Probe(member.node, end_ms)
    s.probed[member.node] = seq
    s.timers.arm("direct", seq, now_ms + timeout_ms)
    s.timers.arm("end", seq, end_ms)


def ping(s: Swim, member: Member, now_ms: int, out: Out) -> int:
    """Send one ping; returns its sequence number."""
    s.seq += 1
    member.last_seq = s.seq
    member.last_sent_ms = now_ms
    send(s, member, "ping", now_ms, out, q=s.seq)
    return s.seq


def on_direct_over(s: Swim, seq: int, now_ms: int, out: Out) -> None:
    """No direct answer in time: ask others to ask."""
    probe = s.probes[seq]
    member = s.members[probe.node]
    wait_ms = min(max(int((probe.end_ms - now_ms) * RELAY_SHARE), 1), limits.SWIM_RELAY_MS_MAX)
    relays = s.pick(
        member.params.indirect,
        lambda other: other.state == State.ALIVE and other.node != probe.node,
    )
    for relay in relays:
        probe.relays.add(relay.node)
        send(s, relay, "ask", now_ms, out, q=seq, t=probe.node, w=wait_ms)


def on_probe_over(s: Swim, seq: int, now_ms: int, out: Out) -> None:
    """Nobody reached it.

    Relays that did not even say nack are a sign that the fault is here (Lifeguard).  A node that
    knows itself sick accuses nobody.
    """
    probe = s.probes[seq]
    forget(s, seq)
    member = s.members[probe.node]
    if member.boot:  # Never heard of: it may be off, which says nothing about this node.
        s.health.add(len(probe.relays) - len(probe.nacks) if probe.relays else 1)
    accusable = member.boot and member.state in (State.ALIVE, State.SUSPECT)
    if accusable and not s.health.sick(now_ms):
        accuse(s, member, now_ms, out)


def accuse(s: Swim, member: Member, now_ms: int, out: Out) -> None:
    """This node found a member silent: say so, to the member itself first."""
    accusers = (s.own.node,)
    s.believe(member, State.SUSPECT, member.boot, member.incarnation, now_ms, out, accusers)
    send(s, member, "news", now_ms, out)


def on_knock_due(s: Swim, _of: Any, now_ms: int, out: Out) -> None:
    """Ask one of the dead, whichever: after a partition both sides believe the other dead."""
    for member in s.pick(1, lambda member: member.state == State.DEAD):
        ping(s, member, now_ms, out)
        s.timers.arm("knock", None, now_ms + s.params.reconnect_ms)


def forget(s: Swim, seq: int) -> None:
    """A probe is over, one way or the other."""
    probe = s.probes.pop(seq)
    del s.probed[probe.node]
    s.timers.cancel("direct", seq)
    s.timers.cancel("end", seq)


# What members send.


def on_ping(s: Swim, sender: Member, message: dict[str, Any], now_ms: int, out: Out) -> None:
    """A member asks whether this node is there."""
    send(s, sender, "ack", now_ms, out, q=message["q"])


def on_ask(s: Swim, sender: Member, message: dict[str, Any], now_ms: int, out: Out) -> None:
    """A member asks this node to probe another."""
    member = s.members.get(message["t"])
    if member is None or member.state == State.EVICTED or member is sender:
        s.count("unknown_node")
        return
    if len(s.relays) >= limits.SWIM_RELAYS_MAX:
        s.count("relay_refused")
        return
    seq = ping(s, member, now_ms, out)
    s.relays[seq] = Relay(sender.node, message["q"], member.node)
    s.timers.arm("relay", seq, now_ms + message["w"])


def on_relay_over(s: Swim, seq: int, now_ms: int, out: Out) -> None:
    """The member probed for another did not answer; the asker hears that this node did."""
    relay = s.relays.pop(seq)
    send(s, s.members[relay.asker], "nack", now_ms, out, q=relay.seq)


def on_ack(s: Swim, sender: Member, message: dict[str, Any], now_ms: int, out: Out) -> None:
    """An answer: to a probe, to one done for another, or too late for either."""
    seq = message["q"]
    if sender.last_seq == seq:
        sender.last_seq = 0
        if now_ms - sender.last_sent_ms <= limits.SWIM_RTT_MS_MAX:
            sender.measure(now_ms - sender.last_sent_ms)
    probe, relay = s.probes.get(seq), s.relays.get(seq)
    if probe is not None and (sender.node == probe.node or sender.node in probe.relays):
        forget(s, seq)
        s.health.add(-1)
    elif relay is not None and sender.node == relay.node:
        del s.relays[seq]
        s.timers.cancel("relay", seq)
        send(s, s.members[relay.asker], "ack", now_ms, out, about=sender, q=relay.seq)
    else:
        s.count("stray_ack")


def on_nack(s: Swim, sender: Member, message: dict[str, Any], _now_ms: int, _out: Out) -> None:
    """A relay is there, but did not reach the member either."""
    probe = s.probes.get(message["q"])
    if probe is not None and sender.node in probe.relays:
        probe.nacks.add(sender.node)
    else:
        s.count("stray_ack")
