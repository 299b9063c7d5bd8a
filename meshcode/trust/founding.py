"""Making a mesh: its root key, a key that admits, and this node as its first member."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshcode.trust import admitting, folder, identity, signing
from meshcode.trust.identity import Identity
from meshcode.trust.roster import Roster

_ROOT_ADVICE = (
    "The root key of the mesh. It is needed only to make another node admit, or to evict one that"
    " does. Move this file off-line: to a stick in a safe, and a second one elsewhere. Whoever has"
    " it owns the mesh; whoever loses it cannot replace it."
)
_ADMIT_ADVICE = "The key by which this node lets others in. It stays on this node."


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node listens and how others reach it, as ZeroMQ addresses."""

    bind: tuple[str, ...]
    advertise: tuple[str, ...]
    join: tuple[str, ...]
    worked_out: bool = False  # `advertise` is what the interfaces had, and nobody's word.


def found_mesh(
    base: str | None, *, name: str, kind: str, domain: str, place: Place, now_unix_ms: int
) -> Identity:
    """Make a mesh in a home; the folder is there whole afterwards, or not at all.

    Raises:
        MeshExists: the home belongs to a mesh.
        OSError: the disk; nothing is left behind.
    """
    with folder.making(base) as staging:
        try:
            folder.begin(staging)
            mine = _fill(staging, name, kind, domain, place, now_unix_ms)
            folder.finish(staging)
        except BaseException:
            folder.discard(staging)
            raise
    return mine


def _fill(
    staging: Path, name: str, kind: str, domain: str, place: Place, now_unix_ms: int
) -> Identity:
    root, admit = signing.make_key(), signing.make_key()
    mine = new_identity(name, kind, domain, root.public, place)
    roster = Roster(root.public)
    roster.merge(admitting.delegate(root, admit.public, mine.node, now_unix_ms=now_unix_ms))
    roster.merge(admitting.admit(roster, mine.member(), admit))
    identity.write_signing_key(staging / folder.ROOT_KEY, root, _ROOT_ADVICE)
    identity.write_signing_key(staging / folder.ADMIT_KEY, admit, _ADMIT_ADVICE)
    identity.write_roster(staging, roster.pack())
    identity.write(staging, mine)
    return mine


def new_identity(name: str, kind: str, domain: str, root_key: bytes, place: Place) -> Identity:
    """A node with fresh keys."""
    public, secret = identity.make_curve_pair()
    return Identity(
        node=signing.node_id(public), name=name, kind=kind, domain=domain,
        mesh=signing.mesh_id(root_key), root_key=root_key, public=public, secret=secret,
        sign=signing.make_key(), bind=place.bind, advertise=place.advertise, join=place.join,
        seeds=(), worked_out=place.worked_out,
    )  # fmt: skip
