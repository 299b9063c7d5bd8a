"""Children of an outcome: kept by the parent's voters until their own have them (P8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode.ids import ID_BYTES
from meshcode.replica import forgetting, storing
from meshcode.replica.instance import (
    ENDED,
    Child,
    Instance,
    Parent,
    join_voters,
    majority,
    make_key,
    moved_key,
    reissued_key,
)
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_STORE: Final = int(Kind.STORE)
_CHILD: Final = int(Kind.CHILD)
_CHILD_SAYS: Final = int(Kind.CHILD_SAYS)
_MOVED: Final = int(Outcome.MOVED)
_OVER: Final = 0
_KEPT: Final = 1
_UNKNOWN: Final = 2


def begin(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Take custody of the children of an outcome that was just learnt."""
    assert inst.value is not None
    if not inst.value.children:
        done(r, inst, out)
        return
    inst.custodians = {}
    hand_over(r, inst, now_ms, out)


def recover(r: Replica, inst: Instance) -> None:
    """After a restart: custody goes on where hand-off was not finished."""
    if not inst.handed:
        inst.custodians = {}


def children(r: Replica, inst: Instance) -> list[tuple[bytes, Child]]:
    """The keys and voters of the children that must be kept, as they are now."""
    return _sorted(r, inst)[0]


def _sorted(
    r: Replica, inst: Instance
) -> tuple[list[tuple[bytes, Child]], list[tuple[bytes, Child]]]:
    """The children that must be kept; and those of which it is not known whether they must."""
    assert inst.value is not None
    kept, unknown = [], []
    for child in inst.value.children:
        fate, key, found = _fate(r, inst, child)
        if fate == _KEPT:
            kept.append((key, found))
        elif fate == _UNKNOWN:
            unknown.append((key, found))
    return kept, unknown


def _fate(r: Replica, inst: Instance, child: Child) -> tuple[int, bytes, Child]:
    """What is to be done for a child; its key and voters as they are now.

    A child whose voters' majority was evicted before it had the child is issued again, as the next
    generation, on the parent's own voters: all of them name it alike.  But the last of its voters
    may know that it has ended, when both of the others are lost: it is asked first.
    """
    assert inst.value is not None
    key = moved_key(inst.key) if inst.value.code == _MOVED else make_key(child.id, inst.home)
    assert key is not None
    if _is_over(r, key):
        return _OVER, key, child
    left = r.needed(child.voters)
    if len(left) < majority(child.voters):
        fates = (inst.fates or {}).get(key, {})
        if any(fates.get(node) for node in left):
            return _OVER, key, child
        if any(node not in fates for node in left if node != r.me):
            return _UNKNOWN, key, child
        again = reissued_key(key)
        if again is not None:
            over = _is_over(r, again)
            return _OVER if over else _KEPT, again, child._replace(voters=inst.voters)
    return _KEPT, key, child


def _ask(r: Replica, inst: Instance, out: Effects) -> None:
    for key, child in _sorted(r, inst)[1]:
        for node in r.needed(child.voters):
            if node != r.me and node not in (inst.fates or {}).get(key, {}):
                out.peer.append((node, _CHILD, [key, inst.key]))


def on_child(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter of the parent asks what became of a child that may have to be issued again."""
    key, parent = entry
    out.peer.append((node, _CHILD_SAYS, [parent, key, _is_over(r, key)]))


def on_child_says(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter of the child answers."""
    parent, key, over = entry
    inst = r.by_key.get(parent)
    if inst is None or inst.custodians is None or inst.value is None:
        return
    if inst.fates is None:
        inst.fates = {}
    inst.fates.setdefault(key, {})[node] = over is True
    child = next((one for one in inst.value.children if one.id == key[:ID_BYTES]), None)
    if child is None:
        return
    if inst.value.code == _MOVED:
        hand_over(r, inst, now_ms, out)
        return
    fate, now, found = _fate(r, inst, child)
    if fate == _KEPT:
        assert found.submit is not None
        _send(r, inst, now, found, found.submit, now_ms, out)
    _check(r, inst, now_ms, out)


def _is_over(r: Replica, key: bytes) -> bool:
    known = r.by_key.get(key)
    return known is not None and known.role == ENDED


def hand_over(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Send every child to those of its voters that did not confirm it."""
    assert inst.value is not None
    _ask(r, inst, out)
    if inst.value.code == _MOVED:
        if inst.payload:
            out.reads.append((inst.sequence, inst.id))  # It is the child: see `with_payload`.
        else:  # Only a voter that has the call can hand it over: it must know that it moved.
            _register(r, inst)
            for node in r.needed(inst.voters):
                if node != r.me:
                    forgetting.send_value(r, inst, node, out)
        return
    for key, child in children(r, inst):
        assert child.submit is not None
        _send(r, inst, key, child, child.submit, now_ms, out)
    _check(r, inst, now_ms, out)


def _register(r: Replica, inst: Instance) -> None:
    for key, _ in children(r, inst):
        r.children[key] = inst


def with_payload(
    r: Replica,
    inst: Instance,
    accepted_ms: int,
    submit: bytes,
    ended: bytes,
    now_ms: int,
    out: Effects,
) -> None:
    """The call of an ended instance was read: file its outcome, or hand it to its next voters."""
    assert inst.value is not None
    if inst.value.code == _MOVED:
        if not inst.handed:
            for key, child in children(r, inst):
                _send(r, inst, key, child, submit, now_ms, out)
            _check(r, inst, now_ms, out)
    elif not inst.filed:
        r.host.file(inst, inst.value, accepted_ms, submit, now_ms, out, ended=bool(ended))
        r.filed(inst, now_ms, out)


def _send(
    r: Replica, inst: Instance, key: bytes, child: Child, submit: bytes, now_ms: int, out: Effects
) -> None:
    r.children[key] = inst
    assert inst.custodians is not None
    have = inst.custodians.setdefault(key, set())
    parent = Parent(inst.key, inst.voters)
    if r.me in child.voters and r.me not in have:
        have.add(r.me)
        own = r.by_key.get(key)
        if own is None:
            keep(r, key, child, submit, parent, now_ms, out)
        else:  # Somebody's PREPARE of it came first.
            storing.complete(r, own, now_ms, submit, out)
    entry = [
        key, join_voters(child.voters), 0, now_ms, [parent.key, join_voters(parent.voters)], submit,
        inst.note if inst.value is not None and inst.value.code == _MOVED else None,
    ]  # fmt: skip
    for node in child.voters:
        if node != r.me and node not in have:
            out.peer.append((node, _STORE, entry))


def keep(
    r: Replica,
    key: bytes,
    child: Child,
    submit: bytes,
    parent: Parent | None,
    now_ms: int,
    out: Effects,
) -> None:
    """This node is a voter of the child: it has it with the same batch of the log."""
    own = r.find(key, child.voters, 0, parent)
    assert own is not None
    if child.submit is None and parent is not None:  # The same call: its attempts go on counting.
        known = r.by_key.get(parent.key)
        own.note = None if known is None else known.note
    storing.complete(r, own, now_ms, submit, out)
    r.save(own, out)
    r.rest(own, now_ms)


def confirmed(
    r: Replica, inst: Instance, key: bytes, node: bytes, now_ms: int, out: Effects
) -> None:
    """A voter of a child has it on its disk."""
    if inst.custodians is None or inst.handed:
        return
    inst.custodians.setdefault(key, set()).add(node)
    _check(r, inst, now_ms, out)


def _check(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Hand-off is done when a majority of every child's voters has the child.

    A flow may have many thousand of them, so those that were found safe are not looked at again,
    unless a node was evicted since.
    """
    assert inst.value is not None
    evicted, at = inst.settled
    if evicted != len(r.peers.evicted):
        evicted, at = len(r.peers.evicted), 0
    children = inst.value.children
    while at < len(children) and _is_safe(r, inst, children[at]):
        at += 1
    inst.settled = (evicted, at)
    if at < len(children):
        return
    done(r, inst, out)
    forgetting.passed(r, inst, now_ms, out)


def _is_safe(r: Replica, inst: Instance, one: Child) -> bool:
    fate, key, child = _fate(r, inst, one)
    if fate != _KEPT:
        return fate == _OVER
    assert inst.custodians is not None
    have = inst.custodians.get(key, set())
    if len(have.intersection(child.voters)) < majority(child.voters):
        return False
    return r.enough_copies(child.voters, have)


def done(r: Replica, inst: Instance, out: Effects) -> None:
    """The children are safe without this instance."""
    assert inst.value is not None
    if inst.value.children or inst.custodians:
        keys = [*(inst.custodians or ()), *(key for key, _ in children(r, inst))]
        for key in keys:
            if r.children.get(key) is inst:
                del r.children[key]
    inst.handed = True
    inst.custodians = None
    inst.fates = None
    if inst.value.code == _MOVED and not inst.filed:
        inst.filed = True
        if inst.payload:
            inst.payload = False
            r.host.drop_payload(inst, out)


def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Hand-off is not confirmed yet: again."""
    if inst.custodians is None:
        inst.custodians = {}
    hand_over(r, inst, now_ms, out)


__all__ = [
    "begin", "recover", "children", "with_payload", "confirmed", "done", "look", "on_child",
    "on_child_says",
]  # fmt: skip
