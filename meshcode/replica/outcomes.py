"""Choosing the outcome of a call: PROPOSE, AGREED (P7), and moving it to other voters (P9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode.replica import custody, forgetting, remembering, storing
from meshcode.replica.instance import (
    ENDED,
    NOTHING_HEARD,
    PROPOSING,
    Child,
    Instance,
    Value,
    epoch_of,
    join_voters,
    moved_key,
    split_voters,
    value_data,
    value_of,
)
from meshcode.router.effects import Effects, Word
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_PROPOSE: Final = int(Kind.PROPOSE)
_AGREED: Final = int(Kind.AGREED)
_OVERTAKEN: Final = int(Kind.OVERTAKEN)
_MOVED: Final = int(Outcome.MOVED)


def propose(
    r: Replica, inst: Instance, value: Value, now_ms: int, out: Effects, *, early: bool = False
) -> None:
    """Propose a value under the epoch that this node owns; once per epoch (I10).

    With `early`, nothing but what is on disk is its cause, and it leaves when this node's own vote
    is handed to the log.  The vote counts when the outcome is told or recorded, in a batch behind
    it, and a node that forgets it in a crash claims before it proposes again (P6).  What named the
    instance must be on disk, too, as it is when a voter has answered; else this node could give the
    same name to other voters.
    """
    assert inst.epoch is not None, inst.key.hex()
    assert inst.accepted is None or inst.accepted[0] != inst.epoch, inst.key.hex()
    inst.role = PROPOSING
    inst.accepted = (inst.epoch, value)
    inst.heard = {r.me: True}
    inst.told_ms = 0
    inst.due_ms = 0
    r.save(inst, out)
    if len(inst.heard) >= inst.majority:
        _decided(r, inst, now_ms, out)
        return
    words = out.early if early and inst.is_answered(r.me) else out.peer
    send(r, inst, now_ms, out, words)


def send(
    r: Replica, inst: Instance, now_ms: int, out: Effects, words: list[Word] | None = None
) -> None:
    """PROPOSE to the voters that did not agree yet; again later."""
    words = out.peer if words is None else words
    assert inst.accepted is not None
    epoch, value = inst.accepted
    entry = [
        inst.key, join_voters(inst.voters), inst.boot, storing.parent_data(inst), list(epoch),
        value_data(value),
    ]  # fmt: skip
    for node in inst.voters:
        if node not in inst.heard and (inst.told_ms == 0 or r.peers.is_here(node)):
            words.append((node, _PROPOSE, entry))
    r.back_off(inst, now_ms)


def on_propose(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """An outcome under an epoch: accepted, unless a higher one was promised (P7)."""
    key, voters, boot, parent, under, data = entry
    epoch, value = epoch_of(under), value_of(data)
    inst = r.by_key.get(key) or r.find(key, split_voters(voters), boot, storing.parent_of(parent))
    if inst is None or epoch[1] != node or node not in inst.voters:
        return
    if inst.role == ENDED:
        if inst.accepted is not None and inst.accepted[0] == epoch:
            r.naming.say((node,), 1, _AGREED, inst.key, out, (epoch,))
        else:
            forgetting.send_value(r, inst, node, out)
        return
    if epoch < inst.promise:
        out.peer.append((node, _OVERTAKEN, [key, list(inst.promise)]))
        return
    if epoch > inst.promise:
        r.overtaken(inst, epoch, now_ms, out)
    inst.accepted = (inst.promise, value)  # It is the same; most calls share it.
    r.save(inst, out)
    r.naming.say((node,), 1, _AGREED, inst.key, out, (epoch,))


def on_agreed(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter accepted: with a majority the outcome is chosen, for ever."""
    key, under = entry
    inst = r.by_key.get(key)
    if inst is None or inst.accepted is None or node not in inst.voters:
        return
    epoch = epoch_of(under)
    if inst.role == ENDED and inst.accepted[0] == epoch and is_plain(inst):
        forgetting.agreed(r, inst, node, now_ms, out)
    if inst.role != PROPOSING or inst.epoch != epoch:
        return
    inst.heard[node] = True
    if len(inst.heard) >= inst.majority:
        _decided(r, inst, now_ms, out)


def _decided(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """A majority accepted what this node proposed."""
    assert inst.accepted is not None
    inst.under = inst.epoch
    chosen(r, inst, inst.accepted[1], now_ms, out, inst.bits(inst.heard))


def chosen(
    r: Replica, inst: Instance, value: Value, now_ms: int, out: Effects, agreed: int = 0
) -> None:
    """The outcome is known to be chosen: record it, tell, and bring its children to their voters.

    All of it is one batch of the log, so a flow cannot be half advanced.

    Args:
        agreed: bits of the voters of which this node knows that they have accepted it.
    """
    if inst.role == ENDED:
        return
    r.unrest(inst)
    inst.role = ENDED
    inst.epoch = None
    inst.value = value
    inst.heard = NOTHING_HEARD
    inst.due_ms = 0
    inst.told_ms = 0
    if value.code == _MOVED:
        r.host.disown(inst, now_ms, out)
        if not inst.payload:
            inst.filed = True
        remembering.note(r, inst)
    elif r.host.end(inst, value, now_ms, out):
        inst.filed = True
    else:  # The call is read back, and whether the history has an outcome of its id (P14).
        out.reads.append((inst.sequence, inst.id))
    custody.begin(r, inst, now_ms, out)
    if r.by_key.get(inst.key) is not inst:
        return  # Its children were safe at once, and nobody else votes on it: it is forgotten.
    if inst.handed:
        inst.agreed = agreed if is_plain(inst) else 0
        forgetting.passed(r, inst, now_ms, out)
    else:
        r.save(inst, out)
        r.back_off(inst, now_ms)


def is_plain(inst: Instance) -> bool:
    """Whether a voter that has accepted the outcome has all that there is to have: no call is
    caused by it, and no parent asks after it.  That it ended need not be written then: after a
    crash it is chosen once more, and the same.
    """
    accepted, value = inst.accepted, inst.value
    return (
        accepted is not None and value is not None and accepted[1] is value
        and inst.parent is None and not value.children and value.code != _MOVED
    )  # fmt: skip


def is_broken(r: Replica, inst: Instance) -> bool:
    """Whether a voter is evicted, so that the call should move."""
    return not r.peers.evicted.isdisjoint(inst.voters) and moved_key(inst.key) is not None


def repair(r: Replica, inst: Instance, now_ms: int, out: Effects) -> bool:
    """Move a waiting call away from voters that are evicted, when there are others (P9)."""
    evicted = r.peers.evicted
    lost = [node for node in inst.voters if node in evicted]
    if not lost or moved_key(inst.key) is None:
        return False
    kept = [node for node in inst.voters if node not in lost and r.peers.is_here(node)]
    choice = [node for node in r.peers.choose_voters(inst.id) if node not in kept]
    voters = tuple(dict.fromkeys([r.me, *kept, *choice]))[:3]
    if len(voters) < 3 or not all(r.peers.is_here(node) for node in voters):
        return False
    if not r.host.may_move(inst, now_ms, out):
        r.back_off(inst, now_ms)  # It runs, or has items; perhaps it ends first.
        return True
    found = r.host.envelope_of(inst) if inst.parent is None and not inst.boot else None
    note = None if found is None else remembering.note_of(*found)
    propose(r, inst, Value(_MOVED, b"", (Child(inst.id, voters, None),), note), now_ms, out)
    return True
