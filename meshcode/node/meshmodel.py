"""The declared model of a mesh on this node: what peers say of it, and what its own database says.

`ModelShare` merges, `Adopter` keeps the database level; here their results are acted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.node.modelshare import Change
from meshcode.router.effects import Effects
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.node.mesh import Mesh

SHARE_KEY = b"share"  # Of table MODEL.
_MODEL = int(Kind.MODEL)


def hear(mesh: Mesh, node: bytes, message: Any) -> None:
    """Take one message of a peer.

    Raises:
        BadValue: it is none; nothing was changed.
    """
    change = mesh.share.receive(message)
    for reply in change.replies:
        mesh.send(node, [envelope(_MODEL, body=pack(reply))])
    changed(mesh, change, node)
    if mesh.adopter is not None:
        mesh.adopter.changed(change)
    save(mesh)


def hear_process(mesh: Mesh, message: dict[str, Any]) -> None:
    """Look at a message of this node's model process before anything else is done with it."""
    assert mesh.adopter is not None
    change = mesh.adopter.hear(message)
    if change is not None:
        changed(mesh, change)
    save(mesh)


def changed(mesh: Mesh, change: Change, source: bytes | None = None) -> None:
    """The merged model is another: act on it, pass it on, say what was overruled."""
    for message in change.news:
        data = envelope(_MODEL, body=pack(message))
        for node in mesh.here():
            if node != source:
                mesh.send(node, [data])
    for lost in change.overruled:
        mesh.say(lost.text(mesh.name_of))
    for why in change.refused:
        mesh.say(f"not taken into the model: {why}")
    if change.changed:
        loop = mesh.loop
        leads_on = change.before is loop.snapshot
        changes = change.changes if leads_on else None
        loop.apply_snapshot(mesh.share.snapshot(), changes, save=False)
        loop.processors.reconcile(loop.clock.now_ms())
        loop.watch()


def save(mesh: Mesh) -> None:
    """Keep what the adopter wants kept; it is told when that is on disk (`Loop.model_saved`)."""
    if mesh.adopter is None:
        return
    record = mesh.adopter.record()
    if record is not None:
        serial, ops = record
        mesh.loop.turns.add(Effects(records=ops, marks=[serial]))
