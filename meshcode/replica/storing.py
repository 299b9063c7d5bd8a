"""Bringing a call to its voters: STORE, STORED, and NEED where one of them has not got it (P2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode.replica import custody, forgetting, outcomes
from meshcode.replica.instance import (
    ENDED,
    IDLE,
    OWNING,
    READING,
    STORING,
    Instance,
    Parent,
    epoch_of,
    join_voters,
    split_voters,
)
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_STORE: Final = int(Kind.STORE)
_STORED: Final = int(Kind.STORED)
_NEED: Final = int(Kind.NEED)
HELD: Final = 4  # router.states.State.HELD, in a note.
CALL: Final = "call"  # What a NEED asks for.
VALUE: Final = "value"


def store_entry(inst: Instance, accepted_ms: int, submit: bytes) -> list[Any]:
    """What a STORE says."""
    return [
        inst.key, join_voters(inst.voters), inst.boot, accepted_ms, parent_data(inst), submit,
        inst.note,
    ]  # fmt: skip


def parent_data(inst: Instance) -> list[bytes] | None:
    """The parent of an instance as plain data."""
    return None if inst.parent is None else [inst.parent.key, join_voters(inst.parent.voters)]


def parent_of(data: Any) -> Parent | None:
    """The same, read."""
    return None if data is None else Parent(bytes(data[0]), split_voters(bytes(data[1])))


def begin(
    r: Replica, inst: Instance, accepted_ms: int, submit: bytes, now_ms: int, out: Effects
) -> None:
    """Send a new call to the other voters; with one voter it is ready at once."""
    inst.role = STORING
    if inst.majority == 1 or (not r.peers.all_keep and r.enough_copies(inst.voters, (r.me,))):
        inst.role = OWNING
        r.host.ready(inst, now_ms, out)
        return
    entry = store_entry(inst, accepted_ms, submit)
    for node in inst.voters:
        if node != r.me:
            out.peer.append((node, _STORE, entry))
    inst.told_ms = 0
    r.back_off(inst, now_ms)


def take_over(
    r: Replica, inst: Instance, accepted_ms: int, submit: bytes, now_ms: int, out: Effects
) -> None:
    """A majority promised and the call is in memory: it runs here now.

    Every voter gets it that has not got it, for the next who may have to take over.
    """
    inst.role = OWNING
    inst.due_ms = 0
    r.host.adopt(inst, accepted_ms, submit, now_ms, out)
    r.host.copied(inst, inst.have.bit_count(), now_ms, out)
    if _lacking(r, inst) or outcomes.is_broken(r, inst):
        inst.told_ms = 0
        r.back_off(inst, now_ms)


def _lacking(r: Replica, inst: Instance) -> list[bytes]:
    return [
        node
        for node in r.needed(inst.voters)
        if not inst.have & inst.bit(node) and not r.peers.is_witness(node)
    ]


def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Some voters did not say that they have the call: send it again, or ask for it."""
    if inst.role == READING:
        if not inst.payload:
            ask_for_payload(r, inst, now_ms, out)
        return
    if inst.role == STORING:  # A voter that was waited for may be evicted by now.
        _is_it_ready(r, inst, now_ms, out)
    if inst.role == OWNING and outcomes.repair(r, inst, now_ms, out):
        return
    lacking = [node for node in _lacking(r, inst) if r.peers.is_here(node)]
    if lacking:
        found = r.host.envelope_of(inst)
        if found is None:
            inst.asked = (inst.asked or set()) | set(lacking)
            out.reads.append((inst.sequence, inst.id))
        else:
            send_payload(r, inst, lacking, found[0], found[1], out)
    if lacking or inst.role == STORING or _lacking(r, inst) or outcomes.is_broken(r, inst):
        r.back_off(inst, now_ms)


def send_payload(
    r: Replica, inst: Instance, nodes: list[bytes], accepted_ms: int, submit: bytes, out: Effects
) -> None:
    """STORE to these nodes."""
    entry = store_entry(inst, accepted_ms, submit)
    for node in nodes:
        out.peer.append((node, _STORE, entry))


def ask_for_payload(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """This node owns a call that it has not got: its other voters have it."""
    for node in inst.voters:
        if node != r.me:
            out.peer.append((node, _NEED, [inst.key, CALL]))
    r.back_off(inst, now_ms)


def on_store(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A call to keep: written, then confirmed."""
    key, voters, boot, accepted_ms, parent, submit, note = entry
    known = key in r.by_key
    inst = r.find(key, split_voters(voters), boot, parent_of(parent))
    if inst is None:
        return
    complete(r, inst, accepted_ms, submit, out)
    if not known:
        if note is not None:
            inst.note = note
        if inst.parent is not None or inst.note is not None or not inst.payload:
            r.save(inst, out)
        r.rest(inst, now_ms)
    elif inst.role == IDLE and isinstance(note, dict) and is_newer(note, inst.note):
        inst.note = note
        r.save(inst, out)
    r.naming.say((node,), 1, _STORED, inst.key, out)


def complete(
    r: Replica, inst: Instance, accepted_ms: int, submit: bytes, out: Effects
) -> None:
    """Write the call of an instance that was known without it, if it is of use here."""
    if inst.payload or inst.role == ENDED or r.peers.is_witness(r.me):
        return
    inst.payload = True
    r.host.keep_payload(inst, accepted_ms, submit, out)
    inst.have |= inst.bit(r.me)
    if inst.role == READING:
        out.reads.append((inst.sequence, inst.id))  # Once it is on disk, like any other.


def is_newer(note: dict[str, Any], known: dict[str, Any] | None) -> bool:
    """Whether a word on the attempts of a call is later than the one that is known."""
    return known is None or _stage(note) > _stage(known)


def _stage(note: dict[str, Any]) -> tuple[int, bool]:
    return int(note.get("attempt", 0)), note.get("state") == HELD


def on_stored(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter has the call on its disk."""
    (key,) = entry
    parent = r.children.get(key)
    if parent is not None:
        custody.confirmed(r, parent, key, node, now_ms, out)
    inst = r.by_key.get(key)
    if inst is None or node not in inst.voters or inst.role == ENDED:
        return
    bit = inst.bit(node)
    if inst.have & bit or r.peers.is_witness(node):
        return
    inst.have |= bit
    if inst.role == STORING:
        _is_it_ready(r, inst, now_ms, out)
    r.host.copied(inst, inst.have.bit_count(), now_ms, out)


def _is_it_ready(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    if r.peers.all_keep:
        enough = inst.have.bit_count() >= inst.majority
    else:
        have = [voter for voter in inst.voters if inst.have & inst.bit(voter)]
        enough = r.enough_copies(inst.voters, have)
    if enough:
        inst.role = OWNING
        r.host.ready(inst, now_ms, out)


def on_need(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter lacks the call, or the value that was chosen."""
    key, what = entry
    inst = r.by_key.get(key)
    if inst is None or node not in inst.voters:
        return
    if what == VALUE or inst.role == ENDED:
        forgetting.send_value(r, inst, node, out)
    elif what == CALL and inst.payload:
        found = r.host.envelope_of(inst)
        if found is not None:
            send_payload(r, inst, [node], found[0], found[1], out)
        else:
            inst.asked = (inst.asked or set()) | {node}
            out.reads.append((inst.sequence, inst.id))


def on_note(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The owner wrote something of its call that whoever takes over should know."""
    key, epoch, note = entry
    inst = r.by_key.get(key)
    if inst is None or inst.role == ENDED or not isinstance(note, dict):
        return
    if epoch_of(epoch) == inst.promise and inst.promise[1] == node:
        inst.note = note
        r.save(inst, out)
        if inst.payload:
            r.naming.say((node,), 1, _STORED, inst.key, out)
