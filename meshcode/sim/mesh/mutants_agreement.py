"""Single rules of `meshcode/replica` broken on purpose (P4 to P10)."""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.replica import claims, custody, forgetting, outcomes, storing
from meshcode.replica.core import Replica
from meshcode.replica.instance import (
    ENDED,
    NOBODY,
    OWNING,
    PREPARING,
    PROPOSING,
    READING,
    Instance,
    epoch_of,
    make_key,
    moved_key,
    split_voters,
    value_data,
    value_of,
)
from meshcode.replica.peers import Peers
from meshcode.router import replicated
from meshcode.router.effects import Effects
from meshcode.sim.planting import Broken
from meshcode.wire.kinds import Kind, Outcome

BROKEN = Broken()
_MOVED = int(Outcome.MOVED)


# What may leave beside a sync.


@BROKEN.rule(Instance, "is_answered")
def _proposal_leaves_before_anybody_has_answered(_real: Any) -> Any:
    return lambda self, me: True


# Claims (P4, P5, P6).


@BROKEN.rule(Replica, "recover")
def _epoch_reused_after_a_restart(real: Any) -> Any:
    def recover(self: Replica, sequence: int, inst: Instance, **given: Any) -> None:
        real(self, sequence, inst, **given)
        if inst.role != ENDED and inst.promise[1] == self.me and inst.payload:
            self.unrest(inst)
            inst.epoch = inst.promise
            inst.role = READING
            given["out"].reads.append((inst.sequence, inst.id))

    return recover


@BROKEN.rule(claims, "on_prepare")
def _promise_is_not_saved(real: Any) -> Any:
    def on_prepare(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        count = len(out.records)
        known = entry[0] in r.by_key
        real(r, node, entry, now_ms, out)
        if known:
            out.records[count:] = [op for op in out.records[count:] if op[0] != "vote"]

    return on_prepare


@BROKEN.rule(claims, "claim")
def _claim_counter_is_not_raised(real: Any) -> Any:
    def claim(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        r.unrest(inst)
        inst.promise = (max(inst.promise[0] - 1, 0), *inst.promise[1:])
        real(r, inst, now_ms, out)

    return claim


@BROKEN.rule(claims, "_won")
def _accepted_value_is_ignored(real: Any) -> Any:
    def won(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        inst.heard = {node: (None, *told[1:]) for node, told in inst.heard.items()}
        real(r, inst, now_ms, out)

    return won


@BROKEN.rule(claims, "_won")
def _oldest_accepted_value_is_proposed(real: Any) -> Any:
    def won(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        told = [one[0] for one in inst.heard.values() if one[0] is not None]
        if told:
            oldest = min(told, key=lambda one: one[0])
            inst.heard = {node: (oldest, *one[1:]) for node, one in inst.heard.items()}
        real(r, inst, now_ms, out)

    return won


@BROKEN.rule(claims, "claim")
def _claimer_waits_for_nobody(real: Any) -> Any:
    def claim(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        real(r, inst, now_ms, out)
        if inst.role == PREPARING:
            claims._won(r, inst, now_ms, out)

    return claim


@BROKEN.rule(claims, "on_prepare")
def _lower_epoch_is_promised(_real: Any) -> Any:
    def on_prepare(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        key, voters, boot, parent, wanted = entry
        inst = r.find(key, split_voters(voters), boot, storing.parent_of(parent))
        if inst is None or node not in inst.voters:
            return
        if inst.role == ENDED:
            forgetting.send_value(r, inst, node, out)
            return
        r.overtaken(inst, epoch_of(wanted), now_ms, out)
        r.save(inst, out)
        accepted = None
        if inst.accepted is not None:
            accepted = [list(inst.accepted[0]), value_data(inst.accepted[1])]
        entry = [key, wanted, accepted, inst.note, inst.payload]
        out.peer.append((node, int(Kind.PROMISE), entry))

    return on_prepare


@BROKEN.rule(Replica, "overtaken")
def _overtaken_owner_goes_on(real: Any) -> Any:
    def overtaken(self: Replica, inst: Instance, by: Any, now_ms: int, out: Effects) -> None:
        if inst.role in (OWNING, PROPOSING):
            inst.promise = max(inst.promise, by)
            return
        real(self, inst, by, now_ms, out)

    return overtaken


@BROKEN.rule(Peers, "abandoned_ms")
def _children_are_never_claimed(real: Any) -> Any:
    def abandoned_ms(self: Peers, owner: Any) -> int | None:
        found: int | None = None if owner[1] == NOBODY else real(self, owner)
        return found

    return abandoned_ms


@BROKEN.rule(Peers, "abandoned_ms")
def _older_life_of_the_owner_counts(real: Any) -> Any:
    def abandoned_ms(self: Peers, owner: Any) -> int | None:
        found: int | None = real(self, (owner[0], owner[1], 1 << 32))
        return found

    return abandoned_ms


@BROKEN.rule(Peers, "abandoned_ms")
def _dead_owner_is_waited_for(real: Any) -> Any:
    def abandoned_ms(self: Peers, owner: Any) -> int | None:
        peer = self.by_node.get(owner[1])
        if peer is not None and peer.state in ("dead", "evicted"):
            return None
        found: int | None = real(self, owner)
        return found

    return abandoned_ms


@BROKEN.rule(claims, "claim_due_ms")
def _witness_takes_over(real: Any) -> Any:
    def claim_due_ms(r: Replica, inst: Instance) -> int | None:
        since_ms = r.peers.abandoned_ms(inst.promise)
        if since_ms is not None and r.peers.is_witness(r.me):
            inst.payload = True  # Or it would only ask for it.
            return since_ms
        found: int | None = real(r, inst)
        return found

    return claim_due_ms


@BROKEN.rule(storing, "ask_for_payload")
def _claim_without_the_call_runs_an_empty_one(real: Any) -> Any:
    def ask_for_payload(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.role == READING:
            storing.take_over(r, inst, 0, b"", now_ms, out)
        else:
            real(r, inst, now_ms, out)

    return ask_for_payload


@BROKEN.rule(claims, "look", also="claim-without-the-call-runs-an-empty-one")
def _claims_what_it_has_not_got(_real: Any) -> Any:
    def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        due_ms = claims.claim_due_ms(r, inst)
        if due_ms is not None and due_ms > now_ms:
            r.wake_at(inst, due_ms)
        elif due_ms is not None:
            claims.claim(r, inst, now_ms, out)

    return look


@BROKEN.rule(claims, "on_overtaken")
def _nobody_listens_to_overtaken(_real: Any) -> Any:
    return lambda r, node, entry, now_ms, out: None


# Outcomes (P7, P9).


@BROKEN.rule(outcomes, "on_propose")
def _lower_epoch_is_accepted(real: Any) -> Any:
    def on_propose(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        inst = r.by_key.get(entry[0])
        if inst is None or inst.role == ENDED or epoch_of(entry[4]) >= inst.promise:
            real(r, node, entry, now_ms, out)
            return
        inst.accepted = (epoch_of(entry[4]), value_of(entry[5]))
        r.save(inst, out)
        out.peer.append((node, int(Kind.AGREED), [entry[0], entry[4]]))

    return on_propose


@BROKEN.rule(outcomes, "on_propose")
def _accepted_value_is_not_saved(real: Any) -> Any:
    def on_propose(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        count = len(out.records)
        real(r, node, entry, now_ms, out)
        out.records[count:] = [op for op in out.records[count:] if op[0] != "vote"]

    return on_propose


@BROKEN.rule(Instance, "majority")
def _one_of_three_is_a_majority(_real: Any) -> Any:
    return property(lambda self: 1)


@BROKEN.rule(claims, "_won")
def _children_are_dropped_when_proposed_again(real: Any) -> Any:
    def won(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        inst.heard = {
            node: (told and (told[0], told[1]._replace(children=())), note, payload)
            for node, (told, note, payload) in inst.heard.items()
        }
        real(r, inst, now_ms, out)

    return won


@BROKEN.rule(outcomes, "repair")
def _lost_voters_are_not_replaced(_real: Any) -> Any:
    return lambda r, inst, now_ms, out: False


@BROKEN.rule(outcomes, "send")
def _proposal_is_sent_once(real: Any) -> Any:
    def send(r: Replica, inst: Instance, *rest: Any) -> None:
        if inst.told_ms == 0:
            real(r, inst, *rest)

    return send


@BROKEN.rule(custody, "done")
def _moved_call_keeps_its_record(real: Any) -> Any:
    def done(r: Replica, inst: Instance, out: Effects) -> None:
        if inst.value is not None and inst.value.code == _MOVED:
            inst.payload = False
        real(r, inst, out)

    return done


@BROKEN.rule(replicated.Replicated, "disown")
def _moved_call_runs_on(real: Any) -> Any:
    def disown(self: Any, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.role != ENDED:
            real(self, inst, now_ms, out)

    return disown


# Custody (P8).


@BROKEN.rule(custody, "_check")
def _child_without_custody(_real: Any) -> Any:
    def check(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        custody.done(r, inst, out)
        forgetting.passed(r, inst, now_ms, out)

    return check


@BROKEN.rule(custody, "children")
def _lost_child_is_not_issued_again(_real: Any) -> Any:
    def children(r: Replica, inst: Instance) -> Any:
        assert inst.value is not None
        found = []
        for child in inst.value.children:
            moved = inst.value.code == _MOVED
            key = moved_key(inst.key) if moved else make_key(child.id, inst.home)
            found.append((key, child))
        return found

    return children


@BROKEN.rule(custody, "recover")
def _custody_ends_with_a_restart(_real: Any) -> Any:
    def recover(r: Replica, inst: Instance) -> None:
        inst.handed = True

    return recover


@BROKEN.rule(custody, "keep")
def _moved_call_forgets_its_attempts(real: Any) -> Any:
    def keep_own(
        r: Replica, key: bytes, child: Any, submit: bytes, parent: Any, *given: Any
    ) -> None:
        known = r.by_key[parent.key]
        note, known.note = known.note, None
        real(r, key, child, submit, parent, *given)
        known.note = note

    return keep_own


# Forgetting (P10).


@BROKEN.rule(forgetting, "on_told")
def _outcome_learnt_from_a_lower_epoch(real: Any) -> Any:
    def on_told(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        inst = r.by_key.get(entry[0])
        if inst is not None and inst.accepted is not None and entry[2] is not None:
            entry = [*entry[:2], list(inst.accepted[0]), *entry[3:]]
        real(r, node, entry, now_ms, out)

    return on_told


@BROKEN.rule(forgetting, "passed")
def _most_who_agree_are_taken_for_all(real: Any) -> Any:
    def passed(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.agreed:
            inst.seen = inst.all_bits
        real(r, inst, now_ms, out)

    return passed


@BROKEN.rule(forgetting, "_phase")
def _told_that_it_ended_before_that_is_on_disk(real: Any) -> Any:
    def phase(r: Replica, inst: Instance, out: Effects) -> int:
        if inst.filed and forgetting.all_seen(r, inst):
            return int(real(r, inst, out))
        return 1

    return phase


@BROKEN.rule(forgetting, "try_forget")
def _forgotten_after_one_phase(_real: Any) -> Any:
    def try_forget(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.filed and inst.handed and forgetting.all_seen(r, inst):
            if forgetting._released(r, inst, now_ms, out):
                r.forget(inst, out)
            else:
                r.wake_at(inst, now_ms + 1_000)

    return try_forget


@BROKEN.rule(forgetting, "_released")
def _forgotten_without_the_parent(_real: Any) -> Any:
    return lambda r, inst, now_ms, out: True


@BROKEN.rule(forgetting, "_released")
def _parent_is_asked_once(real: Any) -> Any:
    def released(r: Replica, inst: Instance, now_ms: int, out: Effects) -> bool:
        if real(r, inst, now_ms, out):
            return True
        return inst.release is not None and inst.release[0] > 1

    return released


@BROKEN.rule(forgetting, "parent_state")
def _parent_forgets_that_it_has_not_handed_over(real: Any) -> Any:
    def parent_state(r: Replica, key: bytes) -> str:
        state: str = real(r, key)
        return forgetting.FULL if state == forgetting.HELD else state

    return parent_state


@BROKEN.rule(forgetting, "look")
def _forgotten_after_a_time(real: Any) -> Any:
    def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
        if inst.handed and inst.filed and inst.told_ms >= 4_000:
            r.forget(inst, out)
            return
        real(r, inst, now_ms, out)

    return look


@BROKEN.rule(forgetting, "on_told")
def _no_record_means_it_has_seen(real: Any) -> Any:
    def on_told(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        if entry[0] not in r.by_key:
            out.peer.append((node, int(Kind.GONE), [entry[0]]))
            return
        real(r, node, entry, now_ms, out)

    return on_told


@BROKEN.rule(forgetting, "on_told")
def _that_all_have_seen_is_not_believed(real: Any) -> Any:
    def on_told(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        inst = r.by_key.get(entry[0])
        if inst is not None and inst.role != ENDED and entry[1] == 2 and len(entry) == 4:
            out.peer.append((node, int(Kind.NEED), [entry[0], storing.VALUE]))
            return
        real(r, node, entry, now_ms, out)

    return on_told


@BROKEN.rule(outcomes, "is_plain")
def _that_it_ended_is_not_written(_real: Any) -> Any:
    return lambda inst: True


@BROKEN.rule(forgetting, "on_gone", also="no-record-means-it-has-seen")
def _gone_counts_as_seen(real: Any) -> Any:
    def on_gone(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        inst = r.by_key.get(entry[0])
        if inst is not None and node in inst.voters and inst.role == ENDED:
            inst.seen |= inst.bit(node)
        real(r, node, entry, now_ms, out)

    return on_gone


@BROKEN.rule(forgetting, "tell")
def _outcome_is_told_to_nobody(_real: Any) -> Any:
    return lambda r, inst, now_ms, out, again=False: None


@BROKEN.rule(Replica, "needed")
def _evicted_voters_are_waited_for(_real: Any) -> Any:
    return lambda self, voters: list(voters)


@BROKEN.rule(Replica, "heard")
def _what_is_told_with_its_value_is_heard_last(real: Any) -> Any:
    def heard(self: Replica, node: bytes, kind: int, entries: Any, *given: Any) -> None:
        real(self, node, kind, sorted(entries, key=len), *given)

    return heard


# Eviction, witnesses, notes.


@BROKEN.rule(Replica, "heard")
def _evicted_node_is_obeyed(real: Any) -> Any:
    def heard(self: Replica, *given: Any) -> None:
        evicted, self.peers.evicted = self.peers.evicted, set()
        real(self, *given)
        self.peers.evicted = evicted

    return heard


@BROKEN.rule(Replica, "note")
def _attempts_are_not_told_to_the_voters(_real: Any) -> Any:
    def note(self: Replica, inst: Instance, note: dict[str, Any], out: Effects) -> None:
        inst.note = note

    return note


@BROKEN.rule(storing, "on_note")
def _voter_does_not_keep_the_note(_real: Any) -> Any:
    return lambda r, node, entry, now_ms, out: None


@BROKEN.rule(Replica, "enough_copies")
def _one_copy_is_enough_to_run(_real: Any) -> Any:
    return lambda self, voters, have: bool(list(have))


@BROKEN.rule(storing, "on_stored")
def _witness_counts_as_a_copy(real: Any) -> Any:
    def on_stored(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        peer = r.peers.by_node[node]
        kind, peer.kind = peer.kind, "core"
        real(r, node, entry, now_ms, out)
        peer.kind = kind

    return on_stored
