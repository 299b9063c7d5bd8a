"""A directed fault: keepers of a collector are lost, overlooked and restarted while it waits.

One of its voters is destroyed as the collector is made.  The others
believe a second one dead, wrongly, so that the call goes on without both when it moves; and keepers
that it has left are restarted.  What they forget by that must not have them make it again.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from meshcode.wire.codec import unpack

if TYPE_CHECKING:
    from meshcode.replica.instance import Value
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.options import Options
    from meshcode.sim.mesh.world import MeshWorld


_LATE_MS = 10_000


def draw(rng: Random, options: Options) -> None:
    """In some of the worlds that are large enough; not where attempts or ticks are counted."""
    able = sum(kind == "core" for kind in options.kinds) >= 4 and not options.counted
    if able and "schedules" not in options.snapshot and rng.random() < 0.7:
        options.movers = 0.5
        options.phase_ms = max(options.phase_ms, 40_000)  # It takes a while to be evicted.


def collector_is_kept(world: MeshWorld, submit: bytes) -> None:
    """A collector is on a disk for the first time."""
    meta_at = 80 + submit[15]
    length = int.from_bytes(submit[68:72], "little")
    at = unpack(submit[meta_at : meta_at + length]).get("at") if length else None
    rng = Random(submit[16:32] + bytes([world.seed & 0xFF]))
    if world.calm or at is None or rng.random() >= world.options.movers:
        return
    voters = [world.nodes[at[n + 4]] for n in range(16, len(at), 16)]
    if len(voters) != 3 or any(node.lost for node in voters) or world.losses_left() <= 0:
        return
    rng.shuffle(voters)
    lost, overlooked, _ = voters
    world.after(rng.choice((0, 200, 1_000)), world.destroy_node, lost)
    for node in world.nodes:
        if node is not overlooked:
            world.after(rng.choice((0, 500)), believe_dead, node, overlooked, 25_000)


def has_moved(world: MeshWorld, key: bytes, value: Value) -> None:
    """A call is known to have moved: a keeper that it left is restarted, soon or late.

    Most move when all have heard who is gone, which is when the calm begins: a little later too.
    """
    book, options = world.checker.plugs, world.options
    if not options.movers or options.core_of_two or book is None or key[:16] not in book.made:
        return
    if world.calm and world.now > world.calm_ms + _LATE_MS:
        return
    rng = Random(key + bytes([world.seed & 0xFF]))
    stay = value.children[0].voters if value.children else ()
    there = [voter for voter in world.checker.voters[key] if not world.nodes[voter[4]].lost]
    left = [voter for voter in there if voter not in stay]
    for voter in left or there[:1]:
        node = world.nodes[voter[4]]
        for at_ms in (rng.choice((100, 500, 3_000)), rng.choice((6_000, 15_000))):
            world.after(at_ms, restarts, world, node, rng.choice((200, 2_000)))


def restarts(world: MeshWorld, node: MeshNode, after_ms: int) -> None:
    """A node is killed, and comes back."""
    if node.up and not (world.calm and world.now > world.calm_ms + 2 * _LATE_MS):
        node.crash(keep=True)
        world.after(after_ms, node.start)


def believe_dead(node: MeshNode, other: MeshNode, for_ms: int) -> None:
    """A node believes that another is dead, wrongly, until the faults are over."""
    if not node.world.calm:
        node.wrong[other.index] = node.world.now + for_ms


__all__ = ["collector_is_kept", "draw", "has_moved"]
