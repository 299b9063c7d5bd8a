"""Telling the outcome to all voters, and forgetting it by agreement, never by time (P10).

Two rounds.  *Seen*: a voter has the outcome and its children are safe.  *Full*: it knows that all
have seen it, and has filed it.  What is dropped when all are full can never be asked for again; a
child waits besides until no voter of its parent can send it any more.

A plain outcome causes nothing, so a voter that accepted it has seen it: where all agree, the first
round is over when the last has, and none of its words is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.replica import custody, naming, outcomes, remembering, storing
from meshcode.replica.instance import (
    ENDED,
    Instance,
    epoch_of,
    join_voters,
    split_voters,
    value_data,
    value_of,
)
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.replica.core import Replica

_TOLD: Final = int(Kind.TOLD)
_GONE: Final = int(Kind.GONE)
_NEED: Final = int(Kind.NEED)
_PARENT: Final = int(Kind.PARENT)
_PARENT_SAYS: Final = int(Kind.PARENT_SAYS)

# What a voter of the parent answers to a child that wants to go.
NONE: Final = "none"
HELD: Final = "held"
HANDED: Final = "handed"
FULL: Final = "full"


def passed(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """This voter has the outcome and is past hand-off: the others may know.

    Where that some have accepted it is all there is to it, the others are waited for a moment, as
    they are about to.
    """
    inst.seen |= inst.bit(r.me)
    inst.told_ms = 0
    inst.due_ms = 0
    if inst.agreed:
        lacking = r.needed_bits(inst) & ~(inst.seen | inst.agreed)
        if not lacking:
            inst.seen |= inst.agreed
        elif _are_here(r, inst, lacking):
            r.wake_at(inst, (now_ms + limits.AGREE_MS) | (r.together_ms - 1))
            return
    tell(r, inst, now_ms, out)
    try_forget(r, inst, now_ms, out)


def _are_here(r: Replica, inst: Instance, bits: int) -> bool:
    """Whether these voters can be expected to answer."""
    here = r.peers.is_here
    return all(here(node) for n, node in enumerate(inst.voters) if bits >> n & 1)


def agreed(r: Replica, inst: Instance, node: bytes, now_ms: int, out: Effects) -> None:
    """One more voter has accepted a plain outcome that is chosen: when all have, all have seen it.

    Until then it counts for nothing: who has accepted it need not know that it is chosen.
    """
    inst.agreed |= inst.bit(node)
    if not r.needed_bits(inst) & ~(inst.seen | inst.agreed):
        _saw(r, inst, inst.agreed, now_ms, out)
        try_forget(r, inst, now_ms, out)


def _saw(r: Replica, inst: Instance, bits: int, now_ms: int, out: Effects) -> bool:
    """Some more voters have seen it; when they are the last, the others are told that all have.

    Returns whether it was written, and told.
    """
    needed, before = r.needed_bits(inst), inst.seen
    inst.seen |= bits
    if not needed & ~before or needed & ~inst.seen:
        return False
    return full(r, inst, now_ms, out)


def full(r: Replica, inst: Instance, now_ms: int, out: Effects) -> bool:
    """All have seen it: when it is filed here, the others may know that this voter knows.

    Returns whether it was written, and told.
    """
    if not (inst.filed and inst.handed):
        return False
    drop_value(inst)
    inst.told_ms = 0
    inst.due_ms = 0
    tell(r, inst, now_ms, out)
    return True


def all_seen(r: Replica, inst: Instance) -> bool:
    """Whether every voter that is waited for has the outcome."""
    return not r.needed_bits(inst) & ~inst.seen


def tell(r: Replica, inst: Instance, now_ms: int, out: Effects, *, again: bool = False) -> None:
    """TOLD to every other voter; `again`, to those that did not say as much themselves.

    Who has is told once, too, as it waits for this voter; if that is lost, it asks.
    """
    if not inst.filed and all_seen(r, inst):
        return  # `full` will tell it.
    phase = _phase(r, inst, out)
    more = (phase, inst.under, again)
    bits = r.needed_bits(inst) & ~inst.bit(r.me)
    if again:
        bits &= ~(inst.seen if phase == 1 else inst.full)
        bits &= inst.bits([node for node in inst.voters if r.peers.is_here(node)])
    if bits:
        r.naming.say(inst.voters, bits, _TOLD, inst.key, out, more)
    r.back_off(inst, now_ms)


def _phase(r: Replica, inst: Instance, out: Effects) -> int:
    """How far this voter is: that it, or all, have seen it is on disk before anyone hears so."""
    needed = r.needed_bits(inst)
    is_full = not needed & ~inst.seen and inst.filed
    if (needed if is_full else inst.bit(r.me)) & ~inst.kept_seen:
        r.save(inst, out)
    return 2 if is_full else 1


def send_value(r: Replica, inst: Instance, node: bytes, out: Effects) -> None:
    """The whole outcome to one voter that asked for it.

    Before hand-off it is told as phase 0: the voter learns, and takes custody as well.
    """
    if inst.role != ENDED or inst.value is None:
        return
    phase = _phase(r, inst, out) if inst.handed else 0
    under = None if inst.under is None else list(inst.under)
    out.peer.append((node, _TOLD, [
        inst.key, phase, under, False,
        join_voters(inst.voters), inst.boot, storing.parent_data(inst), value_data(inst.value),
    ]))  # fmt: skip


def hear_told(
    r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects
) -> list[list[Any]]:
    """Take what is said of instances that have ended here, too, which is most; returns the rest.

    The same as `on_told` of each, for the words that come most often of all.  What is left is to be
    heard before the next entry: that all have seen an instance comes behind its outcome.
    """
    keys = naming.split(entry[0]) if len(entry) == 4 else None
    if keys is None or r.peers.evicted or entry[3] is not False or type(entry[1]) is not int:
        return naming.each([entry])
    by_key, me, phase = r.by_key, r.me, entry[1]
    rest: list[list[Any]] = []
    voters: tuple[bytes, ...] = ()
    bit = mine = 0
    for key in keys:
        inst = by_key.get(key) if phase in (1, 2) else None
        if inst is None or inst.role != ENDED or not (inst.filed and inst.handed):
            rest.append([key, *entry[1:]])
            continue
        if inst.voters is not voters:
            if node not in inst.voters:
                rest.append([key, *entry[1:]])
                continue
            voters = inst.voters
            bit, mine = 1 << voters.index(node), 1 << voters.index(me)
        needed, before = inst.all_bits, inst.seen
        if phase == 2:
            inst.full |= bit
            seen = needed
        else:
            seen = before | bit | mine
        inst.seen = seen
        if seen == needed:
            if before != needed:
                full(r, inst, now_ms, out)
            try_forget(r, inst, now_ms, out)
    return rest


def on_told(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter says what was chosen, and how far it is."""
    key, phase, under, again, whole = entry[0], entry[1], entry[2], entry[3], entry[4:]
    inst = r.by_key.get(key)
    if inst is None:
        if phase == 2:
            if again:  # Else it is about to hear it: this node has told before it forgot.
                out.peer.append((node, _GONE, [key]))
            return
        if not whole:
            out.peer.append((node, _NEED, [key, storing.VALUE]))
            return
        voters, boot, parent, _ = whole
        inst = r.find(key, split_voters(voters), boot, storing.parent_of(parent))
    if inst is None or node not in inst.voters or phase not in (0, 1, 2):
        return
    if inst.role != ENDED:
        value = value_of(whole[3]) if whole else None
        accepted, epoch = inst.accepted, None if under is None else epoch_of(under)
        if value is None and None not in (accepted, epoch):
            assert accepted is not None and epoch is not None
            # Accepted at or after the epoch under which it was chosen: it cannot be another.
            value = accepted[1] if accepted[0] >= epoch else None
        elif value is None and phase == 2 and accepted is not None:
            value = accepted[1]  # All have seen it, so this node had, before it was started again.
        if value is None:
            out.peer.append((node, _NEED, [key, storing.VALUE]))
            return
        inst.under = epoch
        if phase == 2:
            inst.seen = inst.all_bits
        if phase:
            _learn_handed(r, inst, value, now_ms, out)
        else:
            outcomes.chosen(r, inst, value, now_ms, out)
    if phase == 0:
        return
    _note_progress(r, inst, node, phase, again is True, now_ms, out)


def _note_progress(
    r: Replica, inst: Instance, node: bytes, phase: int, again: bool, now_ms: int, out: Effects
) -> None:
    """A voter is past hand-off, and perhaps knows that all are.

    What is durable: that it ended here, and that all have seen it, before that is told.  The rest
    is asked again after a crash.
    """
    was_handed, index = inst.handed, inst.voters.index
    if not was_handed:
        custody.done(r, inst, out)
    bit = 1 << index(node)
    if phase == 2:
        inst.full |= bit
        bits = inst.all_bits
    else:
        bits = bit | 1 << index(r.me)
    if not _saw(r, inst, bits, now_ms, out) and not was_handed:
        r.save(inst, out)
    if again:  # It has not heard this node, or forgot in a crash what it heard.
        more = (_phase(r, inst, out), inst.under, False)
        r.naming.say((node,), 1, _TOLD, inst.key, out, more)
    try_forget(r, inst, now_ms, out)


def _learn_handed(r: Replica, inst: Instance, value: Any, now_ms: int, out: Effects) -> None:
    """Learn an outcome from a voter that is past hand-off: nothing of it is to be handed over."""
    if value.children:
        value = value._replace(children=())
    outcomes.chosen(r, inst, value, now_ms, out)


def drop_value(inst: Instance) -> None:
    """Every voter has the outcome: from here on only that it ended must be remembered."""
    if inst.filed and not remembering.is_kept(inst):
        inst.value = None
        inst.accepted = None


def look(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Some voter has not answered: say it again."""
    if not inst.handed:
        custody.look(r, inst, now_ms, out)
        if not inst.handed:
            r.back_off(inst, now_ms)
        return
    if inst.filed:
        inst.slim()
    inst.seen |= inst.bit(r.me)
    tell(r, inst, now_ms, out, again=True)
    try_forget(r, inst, now_ms, out)


def on_gone(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter that was told of the end has no record: it has forgotten, so it knew of all."""
    (key,) = entry
    inst = r.by_key.get(key)
    if inst is not None and node in inst.voters and inst.role == ENDED:
        inst.full |= inst.bit(node)
        try_forget(r, inst, now_ms, out)


def try_forget(r: Replica, inst: Instance, now_ms: int, out: Effects) -> None:
    """Drop the last trace, if everyone has agreed to."""
    if not inst.filed or not inst.handed:
        return
    needed = r.needed_bits(inst)
    if needed & ~inst.seen:
        return
    inst.full |= inst.bit(r.me)
    if needed & ~inst.full:
        return
    if inst.parent is not None and not _released(r, inst, now_ms, out):
        r.wake_at(inst, now_ms + r.rng.randrange(1_000, 2_000))
        return
    if r.moved and remembering.look(r, inst, now_ms, out):
        return
    r.forget(inst, out)


# A child goes only when no voter of its parent can send it any more (P10, part 4).


def _released(r: Replica, inst: Instance, now_ms: int, out: Effects) -> bool:
    """Ask the parent's voters, twice: once to learn that they are past it, once to fence every
    channel on which an earlier message could still be under way.
    """
    assert inst.parent is not None
    asked = r.needed(inst.parent.voters)
    if inst.release is None:
        inst.release = (1, {})
    number, answers = inst.release
    if r.me in asked:
        answers[r.me] = parent_state(r, inst.parent.key)
    past = _is_past(inst.release, asked)
    if past is not None:
        if number % 2 == 0 and past:
            return True
        number += 2 if number % 2 and not past else 1
        inst.release = (number, {})
        answers = inst.release[1]
        if r.me in asked:
            answers[r.me] = parent_state(r, inst.parent.key)
        if asked == [r.me] and number % 2 == 0:
            return answers[r.me] in (NONE, FULL, HANDED)
    for node in asked:
        if node not in answers:
            out.peer.append((node, _PARENT, [inst.parent.key, inst.key, number]))
    return not asked


def _is_past(release: tuple[int, dict[bytes, str]], asked: list[bytes]) -> bool | None:
    """Whether the answers end their round: the first (odd numbers) or the fence (even ones).

    None while somebody has not answered.
    """
    number, answers = release
    got = [answers.get(node) for node in asked]
    if None in got:
        return None
    if number % 2 == 0:
        return all(state in (NONE, FULL, HANDED) for state in got)
    return FULL in got or all(state == NONE for state in got)


def parent_state(r: Replica, key: bytes) -> str:
    """How far this node is with an instance that was some child's parent."""
    inst = r.by_key.get(key)
    if inst is None:
        return NONE
    if not inst.handed:
        return HELD
    return FULL if all_seen(r, inst) else HANDED


def on_parent(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A child asks how far its parent is."""
    parent, child, number = entry
    out.peer.append((node, _PARENT_SAYS, [child, number, parent_state(r, parent)]))


def on_parent_says(r: Replica, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """A voter of the parent answers."""
    child, number, state = entry
    inst = r.by_key.get(child)
    if inst is None or inst.release is None or inst.release[0] != number:
        return
    if state in (NONE, HELD, HANDED, FULL):
        inst.release[1][node] = state
        asked = [] if inst.parent is None else r.needed(inst.parent.voters)
        if _is_past(inst.release, asked):  # Else it is asked again in a while.
            try_forget(r, inst, now_ms, out)
