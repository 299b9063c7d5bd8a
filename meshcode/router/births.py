"""Calls that several nodes make alike, without an owner: collectors of joins, and ticks.

An instance of such a call has a home that stands for its voters, so two sets of voters never make
the same one.  It is made only where the history has no outcome of its id.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from meshcode.ids import ID_BYTES
from meshcode.replica import custody, storing
from meshcode.replica.instance import Child, Instance, make_key
from meshcode.router import ending
from meshcode.router.effects import Effects

if TYPE_CHECKING:
    from meshcode.router.core import Router

# A key of an instance, its voters, its SUBMIT envelope.
Birth = tuple[bytes, tuple[bytes, ...], bytes]


def shared_key(id: bytes, voters: tuple[bytes, ...]) -> bytes:
    """The instance of a call that these nodes make together."""
    home = blake2b(b"".join(sorted(voters)), digest_size=ID_BYTES).digest()
    return make_key(id, home)


def wish(r: Router, key: bytes, voters: tuple[bytes, ...], submit: bytes, out: Effects) -> None:
    """Make an instance unless it is there, or the history has an outcome of its call."""
    id = key[:ID_BYTES]
    inst = r.replica.by_id.get(id)
    if inst is not None:
        complete(r, inst, submit, out)
    if inst is not None or id in r.calls:
        return  # It is there, perhaps kept by other nodes than at first.
    r.births[id] = (key, voters, submit)
    out.lookups.append((b"", id))


def looked_up(r: Router, id: bytes, ended: bool, now_ms: int, out: Effects) -> None:
    """The history was looked at: the call is made, or not."""
    birth = r.births.pop(id, None)
    if birth is None or ended:
        return
    key, voters, submit = birth
    if id in r.replica.by_id or id in r.calls:
        return
    if len(voters) == 1:
        ending.issue(r, id, submit, now_ms, out)
    else:
        keep(r, key, voters, submit, now_ms, out)


def complete(r: Router, inst: Instance, submit: bytes, out: Effects) -> None:
    """Give an instance its call where somebody's PREPARE of it came first.

    Nobody else may have it: who made it and claimed it may be gone since.
    """
    now_ms = r.replica.now_ms
    storing.complete(r.replica, inst, now_ms, submit, now_ms, out)


def keep(
    r: Router, key: bytes, voters: tuple[bytes, ...], submit: bytes, now_ms: int, out: Effects
) -> None:
    """Keep such an instance, as one of its voters."""
    child = Child(key[:ID_BYTES], voters, submit)
    custody.keep(r.replica, key, child, submit, None, now_ms, out)


__all__ = ["complete", "keep", "looked_up", "shared_key", "wish"]
