"""When peers remember more of this node than its own disk (rule P12): it must not go on.

Its log came back from a copy: calls that it acknowledged are missing, and what it says of others is
old.  It takes no calls, ends, and does not start again with this log; the log stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Container
from typing import TYPE_CHECKING

from meshcode.errors import BadValue, NodeError
from meshcode.ids import ID_BYTES
from meshcode.peers.lives import Life, pack_lives, unpack_lives
from meshcode.router.effects import Effects, Op
from meshcode.store.contract import META, Log
from meshcode.wire.codec import pack, unpack_map

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

GRACE_MS = 5_000  # For calls that run: most of them have ended elsewhere long ago.
_KEY = b"amnesia"
_LIVES_KEY = b"lives"


def begin(log: Log) -> tuple[Life, bytes, Op]:
    """The life of this boot, the packed lives before it, and the record that keeps it for the next.

    The record need not be on disk before peers hear of this life: one that is missing later is not
    compared.
    """
    kept = log.get(META, _LIVES_KEY) or b""
    try:
        past = unpack_lives(kept)
    except BadValue:  # Of another release, perhaps; nothing is held against a past not told.
        past = ()
    life = Life(log.boot, os.urandom(ID_BYTES), log.commits)
    return life, pack_lives(past), (META, _LIVES_KEY, pack_lives([*past, life]))


def advice(peer: str, why: str) -> str:
    """What happened and what to do, for the log file and for whoever starts the node again.

    Args:
        peer: the name of the node that refused this one.
        why: what that one said.
    """
    return (
        f"{peer} refused this node, for its log has forgotten what it told its peers: {why}; this "
        "node takes no calls and ends; its log is unchanged, nothing was taken over by the peers; "
        "export with `mesh salvage` what only this node kept, evict this node on a node that "
        "admits, then join from a new home: `mesh --home NEW join LINE`"
    )


def end(mesh: Mesh, peer: bytes, why: str) -> None:
    """A peer refused this node as one that forgot: take no calls, cut all peers, end for good.

    Args:
        why: what the peer said.
    """
    assert mesh.links is not None
    text = advice(mesh.name_of(peer), why)
    mesh.say(text)
    mesh.links.stop("its log came back from a copy")
    mark = pack({"peer": peer, "text": text})  # It would be found out again, but only in a while.
    mesh.loop.turns.add(Effects(records=[(META, _KEY, mark)]))
    mesh.loop.drain("its log came back from a copy", GRACE_MS)


def check(log: Log, members: Container[bytes]) -> None:
    """Refuse to start with a log that was found out.

    Args:
        members: the nodes of the mesh; what one said that is no member any more does not count.

    Raises:
        NodeError: the log was refused in an earlier boot; the text has all of `advice`.
    """
    kept = log.get(META, _KEY)
    if kept is None:
        return
    found = unpack_map(kept)
    if found.get("peer") in members:
        raise NodeError(f"this node does not start: {found.get('text')}", amnesia=True)
