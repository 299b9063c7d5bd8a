"""Acknowledging a frame of calls when each of them has the copies that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.replica.instance import Instance
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.events import FIRST, LAST, MIDDLE
from meshcode.wire.kinds import Level

if TYPE_CHECKING:
    from meshcode.router.core import Router

_COPIES_WANTED: Final = {"local": 1, "all": limits.VOTERS}  # All else: a majority.


def copies_of(call: Call) -> tuple[int, int]:
    """On how many disks a call is, and how many voters it has."""
    if call.inst is None:
        return (1, 1)
    return (call.inst.have.bit_count(), len(call.inst.voters))


def await_copies(r: Router, inst: Instance, client: int, frame: int, level: str | None) -> None:
    """Acknowledge a frame only when this call of it has the copies that were asked for."""
    if level == "local":
        return
    voters = len(inst.voters)
    wanted = min(_COPIES_WANTED.get(level or "", voters // 2 + 1), voters)
    if inst.waiting is None:
        inst.waiting = []
    inst.waiting.append((client, frame, wanted))
    ack = r.acks.setdefault((client, frame), [0, limits.VOTERS + 1, voters])
    ack[0] += 1


def acknowledge(
    r: Router, inst: Instance, count: int, out: Effects, *, ended: bool = False
) -> None:
    """Tell those who wait for so many copies; when the call has ended, all of them."""
    if not inst.waiting:
        return
    waiting, inst.waiting = inst.waiting, None
    for client, frame, wanted in waiting:
        if count < wanted and not ended:
            inst.waiting = inst.waiting or []
            inst.waiting.append((client, frame, wanted))
            continue
        count_down(r, client, frame, count, len(inst.voters), out)


def count_down(r: Router, client: int, frame: int, copies: int, voters: int, out: Effects) -> None:
    """One more call of a frame has its copies; with the last one the frame is acknowledged."""
    ack = r.acks.get((client, frame))
    if ack is None:
        return  # The client left.
    ack[0] -= 1
    if copies < ack[1]:
        ack[1:] = [copies, voters]
    if not ack[0]:
        del r.acks[(client, frame)]
        out.accepted.append((client, frame, level_of(ack[1], ack[2]), ack[1], ack[2]))


def level_of(copies: int, voters: int) -> int:
    """The name of so many copies."""
    if voters < limits.VOTERS or copies <= voters // 2:
        return int(Level.LOCAL)
    return int(Level.ALL if copies >= voters else Level.QUORUM)


def begin_parts(r: Router, client: int, frame: int) -> None:
    """A frame comes in parts: those that are to come are one more thing to wait for."""
    r.acks[client, frame] = [1, limits.VOTERS + 1, limits.VOTERS]


def acknowledge_plain(r: Router, client: int, frame: int, part: int, out: Effects) -> None:
    """The same of what went the short way: at several nodes all of it waits for copies."""
    if not r.replica.peers.by_node:
        acknowledge_frame(r, client, frame, part, (1, 1), out)
    elif part:
        acknowledge_frame(r, client, frame, part, (limits.VOTERS + 1, 1), out)


def acknowledge_frame(
    r: Router, client: int, frame: int, part: int, safe: tuple[int, int], out: Effects
) -> None:
    """A frame or a part was taken: say so if it is the last, and no call still waits for copies.

    Args:
        part: as of `Submitted`.
        safe: copies and voters of the call that has the fewest now; more than VOTERS copies when
            there is none that counts.
    """
    ack = r.acks.get((client, frame))
    if ack is not None:
        if safe[0] < ack[1]:
            ack[1:] = safe
        if part == LAST:
            ack[0] -= 1
        if ack[0]:
            return
        del r.acks[client, frame]
        safe = ack[1], ack[2]
    elif part in (FIRST, MIDDLE):
        return  # The client left.
    copies, voters = safe if safe[0] <= limits.VOTERS else (1, 1)
    out.accepted.append((client, frame, level_of(copies, voters), copies, voters))
