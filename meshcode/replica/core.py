"""The replica: every instance that this node votes on, and the one door for what peers say.

It shares the step of the router: both change the same `Effects`, so what they do together is one
batch of the log.  What it needs of the router is `Host`; the router calls `begin`, `propose` and
`drop`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, Final, Protocol

from meshcode import limits
from meshcode.replica import claims, custody, forgetting, naming, outcomes, remembering, storing
from meshcode.replica.instance import (
    ENDED,
    IDLE,
    NOBODY,
    NOTHING_HEARD,
    OWNING,
    PREPARING,
    PROPOSING,
    READING,
    STORING,
    Epoch,
    Instance,
    Parent,
    Value,
    read_record,
)
from meshcode.replica.naming import Naming
from meshcode.replica.peers import EVICTED, Peers
from meshcode.router.effects import Effects
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Kind, Outcome

_TOLD: Final = int(Kind.TOLD)
_GROUPS_KEPT: Final = 1_024
TOGETHER_MS: Final = 64  # What is to be said again within one such stretch is said at its end.
_RESEND_MS_MIN: Final = limits.RESEND_MS_MIN  # Looked up for every phase of every call.
_RESEND_MS_MAX: Final = limits.RESEND_MS_MAX

MOVED: Final = int(Outcome.MOVED)
ACTIVE: Final = (STORING, PREPARING, READING, OWNING, PROPOSING)


class Host(Protocol):
    """What the replica asks of the router."""

    def next_number(self) -> int:
        """A sequence that no record of this log has."""

    def keep_payload(self, inst: Instance, accepted_ms: int, submit: bytes, out: Effects) -> None:
        """Write the `open` record of an instance."""

    def drop_payload(self, inst: Instance, out: Effects) -> None:
        """Delete the `open` record (and the `state` record) of an instance."""

    def envelope_of(self, inst: Instance) -> tuple[int, bytes] | None:
        """When a call was accepted and its SUBMIT envelope, if it is in memory."""

    def ready(self, inst: Instance, now_ms: int, out: Effects) -> None:
        """A majority has the call: it may run."""

    def copied(self, inst: Instance, copies: int, now_ms: int, out: Effects) -> None:
        """One more voter has the call."""

    def adopt(self, inst: Instance, accepted_ms: int, submit: bytes, now_ms: int,
              out: Effects) -> None:  # fmt: skip
        """This node took the call over: it may run here."""

    def disown(self, inst: Instance, now_ms: int, out: Effects) -> None:
        """Another node took the call over: it must not run here, and is not recorded here."""

    def end(self, inst: Instance, value: Value, now_ms: int, out: Effects) -> bool:
        """The outcome is chosen: tell who waits, and file it if the call is in memory.

        Returns whether it was filed (`done` written, `open` deleted).
        """

    def file(self, inst: Instance, value: Value, accepted_ms: int, submit: bytes, now_ms: int,
             out: Effects, *, ended: bool = False) -> None:  # fmt: skip
        """Write the `done` record of an instance whose call was read back from the log.

        With `ended` the history has an outcome of this id already, and keeps that one.
        """

    def may_move(self, inst: Instance, now_ms: int, out: Effects) -> bool:
        """Whether the call does not run and has handed on no items, so that it may change its
        voters; it stops waiting.
        """


class Replica:
    """Agreement of one node with the voters of each of its calls."""

    def __init__(self, me: bytes, boot: int, rng: Random, host: Host, kind: str = "core") -> None:
        """Alone, with nothing to agree on.

        Args:
            me: this node's id.
            boot: of this node's store; durable before it is used.
            rng: for the jitter of claims; seeded in tests.
            host: the router.
        """
        self.me = me
        self.boot = boot
        self.rng = rng
        self.host = host
        self.peers = Peers(me, boot, kind)
        self.by_key: dict[bytes, Instance] = {}
        self.by_id: dict[bytes, Instance] = {}  # The newest instance of each call.
        self.by_sequence: dict[int, Instance] = {}
        self.children: dict[bytes, Instance] = {}  # Child key -> ended parent, until handed over.
        self.moved: dict[bytes, Instance] = {}  # By call: not to be made again (`remembering`).
        self.told: dict[bytes, bytes] = {}  # Outcomes of those, from peers; for a moment.
        self.unowned: dict[tuple[bytes, int], dict[bytes, Instance]] = {}  # By owner and its boot.
        self.timers: list[int] = []  # A heap of moments, each once.
        self._due: dict[int, list[bytes]] = {}  # Keys of the instances to look at, by moment.
        self.now_ms = 0  # Of the step under way.
        self.together_ms = TOGETHER_MS  # A power of two.
        self._groups: set[tuple[bytes, ...]] = set()  # Some of which `_is_mine` is known.
        self.naming = Naming()  # What the step under way says of many instances.
        self.bad: dict[str, int] = {}  # Messages that were not used, by reason.
        self._handlers: dict[int, Callable[[Replica, bytes, list[Any], int, Effects], None]] = {
            int(Kind.STORE): storing.on_store,
            int(Kind.STORED): storing.on_stored,
            int(Kind.NEED): storing.on_need,
            int(Kind.NOTE): storing.on_note,
            int(Kind.PREPARE): claims.on_prepare,
            int(Kind.PROMISE): claims.on_promise,
            int(Kind.OVERTAKEN): claims.on_overtaken,
            int(Kind.PROPOSE): outcomes.on_propose,
            int(Kind.AGREED): outcomes.on_agreed,
            int(Kind.TOLD): forgetting.on_told,
            int(Kind.GONE): forgetting.on_gone,
            int(Kind.PARENT): forgetting.on_parent,
            int(Kind.PARENT_SAYS): forgetting.on_parent_says,
            int(Kind.CHILD): custody.on_child,
            int(Kind.CHILD_SAYS): custody.on_child_says,
        }

    # What the router calls.

    def begin(
        self, inst: Instance, accepted_ms: int, submit: bytes, now_ms: int, out: Effects
    ) -> None:
        """A call that this node just accepted and wrote: bring it to its voters."""
        inst.payload = True
        inst.have = inst.bit(self.me)
        inst.epoch = inst.promise
        self.keep(inst)
        storing.begin(self, inst, accepted_ms, submit, now_ms, out)

    def propose(
        self, inst: Instance, value: Value, now_ms: int, out: Effects, *, early: bool = False
    ) -> None:
        """The owner's outcome: let a majority choose it; `early` as for `outcomes.propose`."""
        outcomes.propose(self, inst, value, now_ms, out, early=early)

    def note(self, inst: Instance, note: dict[str, Any], out: Effects) -> None:
        """Tell the voters what the owner wrote of the attempts and the state of its call.

        Until a voter confirms it, it is sent again with the call: whoever takes over must know.
        """
        before, inst.note = inst.note, note
        if inst.epoch is None:
            return
        if before is not None and storing.is_newer(before, note):
            self.save(inst, out)  # A person let it begin afresh: after a crash that counts, too.
        inst.have = inst.bit(self.me)
        for node in inst.voters:
            if node != self.me:
                out.peer.append((node, int(Kind.NOTE), [inst.key, list(inst.epoch), note]))
        inst.told_ms = limits.RESEND_MS_MIN
        self.wake_at(inst, self.now_ms + inst.told_ms)

    def recover(
        self, sequence: int, inst: Instance, *, payload: bool, now_ms: int, out: Effects
    ) -> None:
        """Take over what an earlier boot left; nothing is owned any more (P6)."""
        self.now_ms = now_ms
        inst.payload = payload
        self.keep(inst)
        if inst.role == ENDED:
            custody.recover(self, inst)
            remembering.note(self, inst)
            if not inst.filed and inst.value is not None and inst.value.code != MOVED:
                out.reads.append((inst.sequence, inst.id))
            self.wake_at(inst, now_ms + self.rng.randrange(limits.TELL_MS))
        else:
            self.rest(inst, now_ms)

    def heard(
        self, node: bytes, kind: int, entries: Iterable[Any], now_ms: int, out: Effects
    ) -> None:
        """Take what a peer said, which has the shape that it must have (`router.heard`)."""
        if node in self.peers.evicted:
            self.count("from an evicted node")  # I13.
            return
        handler = self._handlers.get(kind)
        if handler is None:
            self.count(f"kind {kind}")
            return
        keyed = kind in naming.KINDS
        for entry in entries:
            left = [entry]
            if kind == _TOLD:
                left = forgetting.hear_told(self, node, entry, now_ms, out)
            elif keyed:
                left = naming.each(left)
            for one in left:
                handler(self, node, one, now_ms, out)

    def read(
        self,
        sequence: int,
        accepted_ms: int,
        submit: bytes,
        ended: bytes,
        now_ms: int,
        out: Effects,
    ) -> None:
        """A call that was asked for (Effects.reads) is in memory for this moment.

        An empty one could not be read: the other voters have it.
        """
        inst = self.by_sequence.get(sequence)
        if inst is None:
            return
        if not submit:
            inst.payload = False
            if inst.role == READING:
                storing.ask_for_payload(self, inst, now_ms, out)
            elif inst.role == ENDED and not inst.filed and inst.value is not None:
                self.host.file(inst, inst.value, 0, b"", now_ms, out, ended=bool(ended))
                self.filed(inst, now_ms, out)
            return
        if inst.asked:
            storing.send_payload(self, inst, sorted(inst.asked), accepted_ms, submit, out)
            inst.asked = None
        if inst.role == READING and ended:  # It ran as another instance of its id (P14).
            outcomes.propose(self, inst, Value(ended[AT_CODE], ended), now_ms, out)
        elif inst.role == READING:
            storing.take_over(self, inst, accepted_ms, submit, now_ms, out)
        elif inst.role == ENDED and not (inst.filed and inst.handed):
            custody.with_payload(self, inst, accepted_ms, submit, ended, now_ms, out)

    def changed(self, node: bytes, now_ms: int, out: Effects) -> None:
        """Membership said something new of `node` (`peers.change` was called)."""
        peer = self.peers.by_node[node]
        if peer.here:
            for inst in list(self.by_key.values()):
                broken = inst.role == OWNING and outcomes.is_broken(self, inst)
                concerned = node in inst.voters
                if concerned and inst.role == IDLE:  # Perhaps a majority is together again.
                    claims.plan(self, inst, now_ms)
                elif broken or (concerned and inst.due_ms > now_ms):
                    inst.told_ms = 0
                    self.wake_at(inst, now_ms + self.rng.randrange(limits.TELL_MS))
        for (owner, _), group in list(self.unowned.items()):
            if owner == node:
                for inst in list(group.values()):
                    self.rest(inst, now_ms)
        if peer.state == EVICTED:
            for inst in list(self.by_key.values()):
                if node in inst.voters or inst.role == ENDED:
                    self.wake_at(inst, now_ms)

    # Time.

    def next_due_ms(self) -> int | None:
        """When `tick` has something to do; None when nothing waits for time."""
        return self.timers[0] if self.timers else None

    def tick(self, now_ms: int, out: Effects) -> None:
        """Do what is due, a bounded number at once."""
        timers, left = self.timers, limits.REPLICA_TIMERS_PER_STEP
        while left > 0 and timers and timers[0] <= now_ms:
            due_ms = timers[0]
            keys = self._due[due_ms]
            if len(keys) <= left:
                heapq.heappop(timers)
                del self._due[due_ms]
            else:
                self._due[due_ms] = keys[left:]
            for key in keys[:left]:
                inst = self.by_key.get(key)
                if inst is not None and inst.due_ms == due_ms:
                    inst.due_ms = 0
                    self._look(inst, now_ms, out)
            left -= len(keys)

    def _look(self, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.role == IDLE:
            claims.look(self, inst, now_ms, out)
        elif inst.role == PREPARING:
            claims.give_up(self, inst, now_ms)
        elif inst.role == PROPOSING:
            outcomes.send(self, inst, now_ms, out)
        elif inst.role == ENDED:
            forgetting.look(self, inst, now_ms, out)
        else:
            storing.look(self, inst, now_ms, out)

    def wake_at(self, inst: Instance, due_ms: int) -> None:
        """Look at an instance then; an earlier wish stays."""
        if inst.due_ms and inst.due_ms <= due_ms:
            return
        inst.due_ms = due_ms
        keys = self._due.get(due_ms)
        if keys is None:
            self._due[due_ms] = [inst.key]
            heapq.heappush(self.timers, due_ms)
        else:
            keys.append(inst.key)

    def back_off(self, inst: Instance, now_ms: int) -> None:
        """Look again later, each time twice as late, with all that is due at about that time.

        Else a node that takes one call after another wakes up for each once more, seconds later.
        """
        inst.told_ms = min(max(_RESEND_MS_MIN, 2 * inst.told_ms), _RESEND_MS_MAX)
        inst.due_ms = 0
        self.wake_at(inst, (now_ms + inst.told_ms) | (self.together_ms - 1))

    # What the parts share.

    def keep(self, inst: Instance) -> None:
        """Remember an instance."""
        inst.since_ms = self.now_ms
        self.by_key[inst.key] = inst
        self.by_sequence[inst.sequence] = inst
        known = self.by_id.get(inst.id)
        if known is None or known.role == ENDED or inst.key[32:] > known.key[32:]:
            self.by_id[inst.id] = inst

    def find(
        self, key: bytes, voters: tuple[bytes, ...], boot: int, parent: Parent | None
    ) -> Instance | None:
        """The instance of that key, made if it is not here; None when this node has no vote."""
        inst = self.by_key.get(key)
        if inst is not None:
            return inst
        if voters not in self._groups and not self._is_mine(voters):
            self.count("not a voter")
            return None
        inst = Instance(key, voters, boot, self.host.next_number(), parent)
        self.keep(inst)
        return inst

    def _is_mine(self, voters: tuple[bytes, ...]) -> bool:
        """Whether these may be voters, and this node is one of them."""
        if self.me not in voters or len(set(voters)) != len(voters) or len(voters) not in (1, 3):
            return False
        if len(self._groups) >= _GROUPS_KEPT:
            self._groups.clear()
        self._groups.add(voters)
        return True

    def save(self, inst: Instance, out: Effects) -> None:
        """Write the `vote` record."""
        inst.kept_seen = inst.seen
        out.records.append(("vote", inst.sequence.to_bytes(8, "big"), inst.record()))

    def forget(self, inst: Instance, out: Effects) -> None:
        """Remove every trace of an instance (P10)."""
        del self.by_key[inst.key]
        del self.by_sequence[inst.sequence]
        if self.by_id.get(inst.id) is inst:
            del self.by_id[inst.id]
        if self.moved and self.moved.get(inst.id) is inst:
            del self.moved[inst.id]
        out.records.append(("vote", inst.sequence.to_bytes(8, "big"), None))

    def rest(self, inst: Instance, now_ms: int) -> None:
        """This node does nothing for the instance but watch whoever it was promised to."""
        inst.role = IDLE
        inst.epoch = None
        inst.heard = NOTHING_HEARD
        owner = inst.promise
        self.unowned.setdefault((owner[1], owner[2]), {})[inst.key] = inst
        claims.plan(self, inst, now_ms)

    def unrest(self, inst: Instance) -> None:
        """The instance is about to be promised to somebody else, or ended."""
        group = (inst.promise[1], inst.promise[2])
        members = self.unowned.get(group)
        if members is not None and members.pop(inst.key, None) is not None and not members:
            del self.unowned[group]

    def overtaken(self, inst: Instance, by: Epoch, now_ms: int, out: Effects) -> None:
        """A higher epoch is known: what this node did under its own is over."""
        if inst.role in (STORING, READING, OWNING, PROPOSING):
            self.host.disown(inst, now_ms, out)
        self.unrest(inst)
        inst.promise = max(inst.promise, by)
        inst.due_ms = 0
        self.rest(inst, now_ms)

    def needed(self, voters: tuple[bytes, ...]) -> list[bytes]:
        """The voters that are waited for: those not evicted."""
        return [node for node in voters if node not in self.peers.evicted]

    def needed_bits(self, inst: Instance) -> int:
        """The same as bits of an instance's voters."""
        if not self.peers.evicted:
            return inst.all_bits
        return inst.bits(self.needed(inst.voters))

    def enough_copies(self, voters: tuple[bytes, ...], have: Iterable[bytes]) -> bool:
        """Whether the call itself is safe: on a majority, and on every voter that keeps calls
        where one of them is a witness.  Evicted ones are not waited for.
        """
        keepers = [node for node in self.needed(voters) if not self.peers.is_witness(node)]
        wanted = min(len(voters) // 2 + 1, len(keepers))
        have = set(have)
        return sum(1 for node in keepers if node in have) >= wanted

    def filed(self, inst: Instance, now_ms: int, out: Effects) -> None:
        """The outcome is in the history; after a crash its record there says so."""
        inst.filed = True
        if forgetting.all_seen(self, inst):
            forgetting.full(self, inst, now_ms, out)
        forgetting.try_forget(self, inst, now_ms, out)

    def count(self, why: str) -> None:
        """One message was not used."""
        self.bad[why] = self.bad.get(why, 0) + 1

    def orphans(self) -> list[Instance]:
        """Open instances whose voters' majority is evicted: they wait for a person (`recover`)."""
        return [inst for inst in self.by_key.values() if self.is_orphan(inst)]

    def is_orphan(self, inst: Instance) -> bool:
        """Whether a majority of its voters is evicted, so that it can never be decided."""
        lost = sum(node in self.peers.evicted for node in inst.voters)
        return inst.role != ENDED and lost >= inst.majority


def recovered(sequence: int, record: bytes) -> Instance:
    """An instance from its `vote` record."""
    return read_record(sequence, record)


__all__ = ["Replica", "Host", "NOBODY", "recovered", "ACTIVE"]
