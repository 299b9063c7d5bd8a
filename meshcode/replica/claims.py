"""Taking over a call that nobody is responsible for: PREPARE, PROMISE, OVERTAKEN (P4, P5, P6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.replica import forgetting, outcomes, storing
from meshcode.replica.instance import (
    ENDED,
    IDLE,
    NOBODY,
    PREPARING,
    READING,
    Epoch,
    Instance,
    epoch_of,
    split_voters,
    value_data,
    value_of,
)
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_PREPARE: Final = int(Kind.PREPARE)
_PROMISE: Final = int(Kind.PROMISE)
_OVERTAKEN: Final = int(Kind.OVERTAKEN)


def plan(r: Replica, inst: Instance, now_ms: int) -> None:
    """Set the time at which this node would claim an instance, if it may ever have to."""
    due_ms = claim_due_ms(r, inst)
    if due_ms is not None and due_ms == inst.since_ms == now_ms:  # A child, and this node is first.
        r.wake_at(inst, now_ms)
    elif due_ms is not None:
        jitter_ms = r.rng.randrange(limits.CLAIM_JITTER_MS)
        r.wake_at(inst, max(due_ms + jitter_ms, now_ms + r.rng.randrange(limits.TELL_MS) + 1))


def claim_due_ms(r: Replica, inst: Instance) -> int | None:
    """From when on this node may claim.

    None = somebody is responsible, or this node never may, or no majority would hear it: a node
    that is cut off for a week must not come back with ten thousand epochs, each of them written to
    its disk, and take from the others what they have in hand.  It hears who is there first.  And a
    witness claims only to finish an outcome that it has accepted: perhaps nobody else is left of
    those who know of the call.
    """
    if r.peers.is_witness(r.me) and inst.accepted is None:
        return None
    since_ms = r.peers.abandoned_ms(inst.promise)
    if since_ms is None:
        return None
    heard_ms = r.peers.heard_ms(inst.voters, inst.majority)
    if heard_ms is None:
        return None
    owner = inst.promise[1]
    if owner == NOBODY:  # One claims at once; that all do would have two of them begin it.
        return inst.since_ms + limits.CLAIM_FIRST_MS * r.peers.rank(inst.voters, b"", inst.home)
    if owner == r.me:
        return since_ms
    if owner != NOBODY and heard_ms > since_ms:
        since_ms = heard_ms + limits.CLAIM_BACK_MS
    return since_ms + limits.CLAIM_RANK_MS * r.peers.rank(inst.voters, owner)


def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """The time to claim has come, unless somebody is responsible again."""
    due_ms = claim_due_ms(r, inst)
    if due_ms is None:
        return
    if due_ms > now_ms:
        r.wake_at(inst, due_ms)
    elif inst.payload or inst.accepted is not None or len(inst.voters) == 1:
        claim(r, inst, now_ms, out)
    else:  # It could not run or end here; whoever has the call is asked for it first.
        storing.ask_for_payload(r, inst, now_ms, out)


def claim(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Ask the voters to promise this node what they promised to whoever had it before."""
    r.unrest(inst)
    epoch: Epoch = (inst.promise[0] + 1, r.me, r.boot)
    inst.promise = epoch
    inst.epoch = epoch
    inst.role = PREPARING
    inst.heard = {r.me: (inst.accepted, inst.note, inst.payload)}
    r.save(inst, out)  # P6: before anyone hears of it.
    entry = [
        inst.key, b"".join(inst.voters), inst.boot, storing.parent_data(inst), list(epoch),
    ]  # fmt: skip
    for node in inst.voters:
        if node != r.me:
            out.peer.append((node, _PREPARE, entry))
    if len(inst.heard) >= inst.majority:
        _won(r, inst, now_ms, out)
        return
    inst.due_ms = 0
    r.wake_at(inst, now_ms + limits.PREPARE_MS)


def give_up(r: Replica, inst: Instance, now_ms: int) -> None:
    """No majority answered in time: wait, and try again with a higher epoch."""
    r.rest(inst, now_ms)
    inst.told_ms = min(max(limits.RESEND_MS_MIN, 2 * inst.told_ms), limits.CLAIM_AGAIN_MS_MAX)
    inst.due_ms = 0
    r.wake_at(inst, now_ms + inst.told_ms + r.rng.randrange(limits.CLAIM_JITTER_MS))


def on_prepare(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """Somebody wants to take over: promise it, unless a higher epoch was promised."""
    key, voters, boot, parent, wanted = entry
    epoch = epoch_of(wanted)
    inst = r.find(key, split_voters(voters), boot, storing.parent_of(parent))
    if inst is None or epoch[1] != node or node not in inst.voters:
        return
    if inst.role == ENDED:
        forgetting.send_value(r, inst, node, out)
        return
    if epoch < inst.promise:
        out.peer.append((node, _OVERTAKEN, [key, list(inst.promise)]))
        return
    if epoch > inst.promise:
        r.overtaken(inst, epoch, now_ms, out)
        r.save(inst, out)
    accepted = None
    if inst.accepted is not None:
        accepted = [list(inst.accepted[0]), value_data(inst.accepted[1])]
    out.peer.append((node, _PROMISE, [key, wanted, accepted, inst.note, inst.payload]))


def on_promise(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter promised: with a majority this node owns the call, or finishes what was begun."""
    key, wanted, accepted, note, payload = entry
    inst = r.by_key.get(key)
    if (
        inst is None
        or inst.role != PREPARING
        or inst.epoch != epoch_of(wanted)
        or node not in inst.voters
    ):
        return
    told = None if accepted is None else (epoch_of(accepted[0]), value_of(accepted[1]))
    inst.heard[node] = (told, note if isinstance(note, dict) else None, payload is True)
    if len(inst.heard) >= inst.majority:
        _won(r, inst, now_ms, out)


def _won(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """A majority promised.  A value that one of them accepted may be chosen: it is proposed again
    and the call does not run (P5).
    """
    heard = inst.heard
    inst.due_ms = 0
    inst.told_ms = 0
    found = [told for told, _, _ in heard.values() if told is not None]
    for node, (_, note, payload) in heard.items():
        if payload:
            inst.have |= inst.bit(node)
        if note is not None and storing.is_newer(note, inst.note):
            inst.note = note
    if found:
        outcomes.propose(r, inst, max(found, key=lambda told: told[0])[1], now_ms, out)
        return
    inst.role = READING
    if inst.payload:
        out.reads.append((inst.sequence, inst.id))
    else:
        storing.ask_for_payload(r, inst, now_ms, out)


def on_overtaken(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter promised a higher epoch to somebody else: what is done here will not count."""
    key, by = entry
    epoch = epoch_of(by)
    inst = r.by_key.get(key)
    if inst is None or inst.role in (IDLE, ENDED) or node not in inst.voters:
        return
    assert inst.epoch is not None
    if epoch > inst.epoch:
        r.overtaken(inst, epoch, now_ms, out)
        r.save(inst, out)


__all__ = ["plan", "look", "claim", "give_up", "on_prepare", "on_promise", "on_overtaken", "NOBODY"]
