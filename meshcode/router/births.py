"""Calls that several nodes make alike, without an owner: collectors of joins, and ticks.

An instance of such a call has a home that stands for its voters, so two sets of voters never make
the same one.  It is made only where the history has no outcome of its id; of some the peers are
asked first, for a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.digest import blake2b
from meshcode.ids import ID_BYTES
from meshcode.replica import custody, storing
from meshcode.replica.instance import Child, Instance, make_key
from meshcode.replica.peers import WITNESS
from meshcode.router import ending
from meshcode.router.effects import Effects
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.router.core import Router

_ASK: Final = int(Kind.OUTCOME_OF)
# A key of an instance, its voters, its SUBMIT envelope, and until when the peers are asked.
Birth = tuple[bytes, tuple[bytes, ...], bytes, int]


def shared_key(id: bytes, voters: tuple[bytes, ...]) -> bytes:
    """The instance of a call that these nodes make together."""
    home = blake2b(b"".join(sorted(voters)), digest_size=ID_BYTES).digest()
    return make_key(id, home)


def wish(
    r: Router,
    key: bytes,
    voters: tuple[bytes, ...],
    submit: bytes,
    out: Effects,
    *,
    ask_until_ms: int = 0,
) -> None:
    """Make an instance unless it is there, or the history has an outcome of its call; that of the
    peers, too, if one of them says so by then.
    """
    id = key[:ID_BYTES]
    inst = r.replica.by_id.get(id)
    if inst is not None:
        complete(r, inst, submit, out)
    if inst is not None or id in r.calls or id in r.replica.moved:
        return  # It is there, or somewhere, perhaps kept by other nodes than at first.
    r.births[id] = (key, voters, submit, ask_until_ms)
    out.lookups.append((b"", id))


def looked_up(r: Router, id: bytes, ended: bool, now_ms: int, out: Effects) -> None:
    """The history was looked at, or a peer has told: the call is made, or not."""
    if id in r.births and not ended and now_ms < r.births[id][3]:
        for node in r.replica.peers.here():
            out.peer.append((node, _ASK, [id]))
        return
    birth = r.births.pop(id, None)
    if birth is None or ended:
        return
    key, voters, submit, _ = birth
    inst = r.replica.by_id.get(id)
    if inst is not None:
        complete(r, inst, submit, out)
    if inst is not None or id in r.calls or id in r.replica.moved:
        return
    if len(voters) == 1:
        ending.issue(r, id, submit, now_ms, out)
    else:
        keep(r, key, voters, submit, now_ms, out)


def tick(r: Router, now_ms: int, out: Effects) -> None:
    """Ask again, or make what nobody has told of."""
    if now_ms < r.ticks.ask_ms:
        return
    r.ticks.ask_ms = now_ms + limits.NEED_ASK_MS
    found = [id for id, birth in r.births.items() if birth[3]]
    out.lookups += [(b"", id) for id in found[: limits.NEEDS_ASKED_MAX]]


def complete(r: Router, inst: Instance, submit: bytes, out: Effects) -> None:
    """Give an instance its call where somebody's PREPARE of it came first.

    Nobody else may have it: who made it and claimed it may be gone since.
    """
    now_ms = r.replica.now_ms
    storing.complete(r.replica, inst, now_ms, submit, out)


def keep(
    r: Router, key: bytes, voters: tuple[bytes, ...], submit: bytes, now_ms: int, out: Effects
) -> None:
    """Keep such an instance, as one of its voters; a witness only votes on what others make."""
    if r.replica.peers.kind == WITNESS:
        return
    child = Child(key[:ID_BYTES], voters, submit)
    custody.keep(r.replica, key, child, submit, None, now_ms, out)


__all__ = ["complete", "keep", "looked_up", "shared_key", "tick", "wish"]
