"""Two nodes: a call has one voter, its home, and the other node keeps a copy without a vote.

The copy outlives the home's disk.  It is never run while the home may still be there: when the home
is evicted, a person says `mesh recover` and the calls go on here, under the ids they had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import limits
from meshcode.replica.instance import make_key
from meshcode.replica.peers import WITNESS
from meshcode.router import acks, filing
from meshcode.router.effects import Effects
from meshcode.router.plan import COPY_REASON
from meshcode.router.records import custody_header, pack_done, sequence_key
from meshcode.wire.frame import AT_CODE
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.router.call import Call
    from meshcode.router.core import Router

_KEEP: Final = int(Kind.KEEP)
_KEPT: Final = int(Kind.KEPT)
_DROP: Final = int(Kind.DROP)
_ASK: Final = int(Kind.OUTCOME_OF)
# Why a copy is of no use, where there is no outcome.
_ENDED: Final = 0  # The home has no such open call.
_WIDENED: Final = int(Outcome.MOVED)  # It has more voters now.
VOTERS: Final = 2  # Shown with the copies: the home and its keeper.


class Copy:
    """A call of another node that this one keeps for it."""

    __slots__ = ("asked", "home", "id", "kept_ms", "outcome", "sequence")

    def __init__(self, id: bytes, home: bytes, sequence: int, now_ms: int) -> None:
        """A copy in the `open` record of `sequence`."""
        self.id = id
        self.home = home
        self.sequence = sequence
        self.kept_ms = now_ms
        self.outcome: tuple[int, bytes] | None = None  # It ended; its record is being read.
        self.asked = False  # How it ended was asked for: the word of it may have been lost.


def keeper_of(r: Router) -> bytes | None:
    """The one other node that can keep copies, when there are just two; None otherwise."""
    peers = r.replica.peers
    able = [p for p in peers.by_node.values() if p.node not in peers.evicted and p.kind != WITNESS]
    if len(able) != 1 or not able[0].here or peers.kind == WITNESS:
        return None
    return able[0].node


# The home's side.


def begin(r: Router, call: Call, client: int, frame: int, wanted: str | None, out: Effects) -> bool:
    """Send a new call to the keeper; whether its acknowledgement waits for the copy."""
    node = keeper_of(r)
    if node is None or call.envelope is None:
        return False
    keep(r, call, node, out)
    if wanted == "local":
        return False
    r.uncopied.setdefault(call.id, []).append((client, frame))
    ack = r.acks.setdefault((client, frame), [0, limits.VOTERS + 1, VOTERS])
    ack[0] += 1
    return True


def keep(r: Router, call: Call, node: bytes, out: Effects) -> None:
    """KEEP to the other node; it is sent again while the call is narrow."""
    assert call.envelope is not None
    out.peer.append((node, _KEEP, [call.id, call.accepted_ms, call.envelope]))


def on_kept(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The other node has the copy on its disk, or asks whether it is still of use."""
    (id,) = entry
    call = r.calls.get(id)
    if call is None or call.inst is not None:
        out.peer.append((node, _DROP, [id, _ENDED if call is None else _WIDENED, b""]))
        return
    r.narrow.pop(id, None)
    acknowledge(r, id, VOTERS, out)


def acknowledge(r: Router, id: bytes, copies: int, out: Effects) -> None:
    """Those who waited for the copy need not wait any longer."""
    for client, frame in r.uncopied.pop(id, ()):
        acks.count_down(r, client, frame, copies, VOTERS, out)
    call = r.calls.get(id)
    if call is not None and call.reason == COPY_REASON:
        call.reason = ""
        r.enter(call, r.replica.now_ms, out)


def lost_keeper(r: Router, out: Effects) -> None:
    """The other node is not there: acknowledge with the copy that there is."""
    for id in list(r.uncopied):
        acknowledge(r, id, 1, out)


def ended(r: Router, call: Call, code: int, outcome: bytes, out: Effects) -> None:
    """A call of a two-node mesh has ended: its copy gives way to its outcome."""
    acknowledge(r, call.id, 1, out)
    node = keeper_of(r)
    if node is not None:
        out.peer.append((node, _DROP, [call.id, code, outcome]))


# The keeper's side.


def on_keep(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """Keep a copy for another node: written, then confirmed."""
    id, accepted_ms, submit = entry
    if id not in r.copies and id not in r.calls:
        number = r.next_sequence
        r.next_sequence += 1
        r.copies[id] = Copy(id, node, number, now_ms)
        header = custody_header(node, 1, (node,), accepted_ms)
        out.records.append(("open", sequence_key(number), header + submit))
    out.peer.append((node, _KEPT, [id]))


def on_drop(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
    """The call ended, or has more voters now: keep its outcome, if there is one, not the call.

    A short call has ended before its home hears that its copy is kept.  So word that there is no
    such call follows its outcome, and where it does not, the outcome is asked for, once.
    """
    id, code, outcome = entry
    copy = r.copies.get(id)
    if copy is None or copy.home != node or copy.outcome is not None:
        return
    if outcome:
        _has_ended(r, copy, code, outcome, out)
    elif code == _WIDENED or copy.asked:
        drop(r, copy, out)
    else:
        copy.asked = True
        out.peer.append((node, _ASK, [id]))


def told(r: Router, node: bytes, id: bytes, outcome: bytes, out: Effects) -> None:
    """A peer says how a call has ended."""
    copy = r.copies.get(id)
    if copy is not None and copy.home == node and copy.outcome is None:
        _has_ended(r, copy, outcome[AT_CODE], outcome, out)


def _has_ended(r: Router, copy: Copy, code: int, outcome: bytes, out: Effects) -> None:
    copy.outcome = (code, outcome)
    out.reads.append((copy.sequence, copy.id))
    for client in r.watchers.take(copy.id):
        out.outcomes.append((client, outcome))


def drop(r: Router, copy: Copy, out: Effects) -> None:
    """The copy is of no use any more."""
    del r.copies[copy.id]
    out.records.append(("open", sequence_key(copy.sequence), None))


def read(
    r: Router, copy: Copy, accepted_ms: int, submit: bytes, ended: bytes, now_ms: int, out: Effects
) -> None:
    """The record of an ended call's copy was read: it becomes history."""
    if copy.outcome is None:
        return
    code, outcome = copy.outcome
    if not ended:
        record = pack_done(code, 1, accepted_ms, 0, now_ms, copy.sequence, outcome, submit, None)
        filing.file(r, copy.id, record, submit, out)
        if (call := r.calls.get(copy.id)) is not None:
            call.filed = True  # It was accepted here too (P14); the history keeps this outcome.
    drop(r, copy, out)


def recover(r: Router, id: bytes, home: bytes, sequence: int, now_ms: int) -> None:
    """A copy that an earlier boot kept."""
    r.copies[id] = Copy(id, home, sequence, now_ms)


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Ask the homes of old copies whether they are still of use."""
    for copy in list(r.copies.values())[: limits.WIDEN_CALLS_PER_TICK]:
        if now_ms - copy.kept_ms >= limits.COPY_ASK_MS and r.replica.peers.is_here(copy.home):
            copy.kept_ms = now_ms
            out.peer.append((copy.home, _KEPT, [copy.id]))


def key_of(copy: Copy) -> bytes:
    """The instance that a copy is of."""
    return make_key(copy.id, copy.home)
