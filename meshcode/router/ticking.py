"""Schedules: calls that the time causes, each once in the whole mesh.

The call of a tick has an id that every node works out alike, from the name of the schedule and the
tick.  Its voters are worked out, too: each of them makes the same instance of it, without an owner,
and one of them claims it, like the child of an outcome.  A node whose history has an outcome of
that id does not make it.  So a tick is fired once whoever is down, and a node that was away finds
what the others have done.

What a node keeps is only up to where it has dealt with a schedule (log table `meta`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshcode import limits
from meshcode.digest import blake2b
from meshcode.errors import BadData, BadRequest, TooLarge
from meshcode.ids import child_id
from meshcode.replica.peers import CORE, WITNESS
from meshcode.router import births
from meshcode.router.effects import Effects
from meshcode.router.timers import T_TICK
from meshcode.schedule import Schedule, digest, parse
from meshcode.wire.codec import pack, pack_call, unpack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Flag, Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from meshcode.router.core import Router

KEPT: Final = b"schedule/"  # Keys of the records, before the name.


class Ticking(NamedTuple):
    """One schedule as this node knows it."""

    name: str
    schedule: Schedule
    digest: bytes
    fields: dict[str, Any]
    last_ms: int  # Ticks up to then are dealt with.
    due_ms: int | None = None  # Of the timer that counts.


class Ticks:
    """The schedules of one node."""

    __slots__ = ("ask_ms", "began_ms", "by_name", "kept", "left", "pending", "wrong")

    def __init__(self) -> None:
        """None yet."""
        self.by_name: dict[str, Ticking] = {}
        self.kept: dict[str, tuple[bytes, int]] = {}  # By an earlier boot: digest, last tick.
        self.pending: dict[bytes, tuple[str, int]] = {}  # Calls of ticks that are looked up first.
        self.left: dict[str, set[int]] = {}  # The same by schedule: those ticks.
        self.began_ms: int | None = None  # When this boot was told of a model.
        self.ask_ms = 0  # Not before are peers asked again for late ones.
        self.wrong: dict[str, str] = {}  # Those that cannot be used here, and why.


def restore(r: Router, records: list[tuple[bytes, bytes]]) -> None:
    """What an earlier boot kept; before the model is known."""
    for key, value in records:
        if key.startswith(KEPT):
            mark, last_ms = unpack(value)
            r.ticks.kept[key.removeprefix(KEPT).decode()] = (mark, last_ms)


def changed(
    r: Router,
    snapshot: dict[str, Any],
    keys: Collection[tuple[str, str]] | None,
    now_ms: int,
    out: Effects,
) -> None:
    """The model changed: take over its schedules; a new or changed one counts from now.

    Args:
        r: the core.
        snapshot: of the model.
        keys: kind and name of all objects that differ from the last one; None: anything may.
        now_ms: node time.
        out: takes records.
    """
    schedules, ticks = snapshot.get("schedules") or {}, r.ticks
    if ticks.began_ms is None:
        ticks.began_ms, keys = now_ms, None
    if keys is None:
        known = ticks.by_name.keys() | ticks.wrong.keys()
        names = [*schedules, *sorted(known - schedules.keys())]
    else:
        names = sorted(name for kind, name in keys if kind == "schedule")
    for name in names:
        if name in schedules:
            _take_over(r, name, schedules[name], now_ms, out)
        else:
            ticks.wrong.pop(name, None)
            if ticks.by_name.pop(name, None) is not None:
                out.records.append(("meta", KEPT + name.encode(), None))


def _take_over(r: Router, name: str, fields: dict[str, Any], now_ms: int, out: Effects) -> None:
    known = r.ticks.by_name.pop(name, None)
    try:
        schedule = parse(fields)
    except BadRequest as error:  # For instance a zone that this machine does not know.
        r.ticks.wrong[name] = error.text
        return
    r.ticks.wrong.pop(name, None)
    mark = digest(schedule)
    kept = r.ticks.kept.pop(name, None) if known is None else (known.digest, known.last_ms)
    last_ms = now_ms if kept is None or kept[0] != mark else kept[1]
    same = known is not None and known.digest == mark
    due_ms = known.due_ms if known is not None and same else None
    r.ticks.by_name[name] = Ticking(name, schedule, mark, fields, last_ms, due_ms)
    if kept is None or kept[0] != mark:
        _save(r, name, out)
    if not same:
        _arm(r, name)


def _save(r: Router, name: str, out: Effects) -> None:
    one = r.ticks.by_name[name]
    last_ms = one.last_ms
    if left := r.ticks.left.get(name):
        last_ms = min(last_ms, min(left) - 1)  # After a crash those are looked up again.
    out.records.append(("meta", KEPT + name.encode(), pack([one.digest, last_ms])))


def looked_up(r: Router, id: bytes, out: Effects) -> None:
    """The call of a tick was made in this step, or others had made it: it is dealt with."""
    if id in r.births:
        return  # Peers are asked first.
    found = r.ticks.pending.pop(id, None)
    if found is None:
        return
    name, tick_ms = found
    left = r.ticks.left[name]
    left.discard(tick_ms)
    if not left:
        del r.ticks.left[name]
    if name in r.ticks.by_name:
        _save(r, name, out)


def _arm(r: Router, name: str) -> None:
    one = r.ticks.by_name[name]
    due_ms = one.schedule.next_after(one.last_ms)
    r.ticks.by_name[name] = one._replace(due_ms=due_ms)
    if due_ms is not None:
        r.at(due_ms, T_TICK, (name, due_ms))


def fire(r: Router, what: tuple[str, int], now_ms: int, out: Effects) -> None:
    """The time of a tick has come: make the calls that are due, those that others have not made."""
    name, due_ms = what
    one = r.ticks.by_name.get(name)
    if one is None or one.due_ms != due_ms:
        return  # It was changed or removed since: that has a timer of its own.
    for tick_ms in one.schedule.due(one.last_ms, now_ms):
        if tick_ms >= r.horizon_ms:
            _make(r, one, tick_ms, now_ms, out)
    r.ticks.by_name[name] = one._replace(last_ms=max(one.last_ms, now_ms))
    _save(r, name, out)
    _arm(r, name)


def tick_id(name: str, tick_ms: int) -> bytes:
    """The call of a tick."""
    root = tick_ms.to_bytes(6, "big") + blake2b(name.encode(), digest_size=10).digest()
    return child_id(root, b"tick/%d" % tick_ms)


def ticks_at(r: Router, tick_ms: int) -> dict[bytes, str]:
    """The ids under which schedules would call at this time, with the names of the schedules."""
    return {
        tick_id(name, tick_ms): name
        for name, one in r.ticks.by_name.items()
        if one.schedule.may_fire_at(tick_ms)
    }


def _make(r: Router, one: Ticking, tick_ms: int, now_ms: int, out: Effects) -> None:
    id = tick_id(one.name, tick_ms)
    fields = one.fields
    kwargs = fields.get("kwargs") or {}
    options: dict[str, Any] = {"by": f"schedule {one.name}"[:200]}
    jitter_ms = one.schedule.jitter_of(one.name, tick_ms)
    if jitter_ms:
        options["eta_ms"] = tick_ms + jitter_ms
    if kwargs:
        options["kw"] = sorted(kwargs)
    try:
        args = list(fields.get("args") or ())
        body = pack_call(args, kwargs or None)
        submit = seal(
            Kind.SUBMIT, id=id, name=fields["socket"].encode(), meta=pack(options), body=body,
            flags=int(Flag.KWARGS) if kwargs else 0, argc=len(args),
        )  # fmt: skip
    except (BadData, TooLarge) as error:
        r.ticks.wrong[one.name] = error.text
        return
    voters = keepers(r, id, now_ms)
    if r.node in voters:
        # Late ones others may have made, when this node was away for so long that it kept none.
        is_late = bool(r.replica.peers.by_node) and now_ms - tick_ms > limits.KEEPER_AWAY_MS // 2
        ask_until_ms = now_ms + limits.LATE_TICK_ASK_MS if is_late else 0
        if not is_late and _may_be_kept_by_others(r, id, voters):
            ask_until_ms = now_ms + limits.LONE_TICK_ASK_MS
        key = births.shared_key(id, voters)
        births.wish(r, key, voters, submit, out, ask_until_ms=ask_until_ms)
        if id in r.births:
            r.ticks.pending[id] = (one.name, tick_ms)
            r.ticks.left.setdefault(one.name, set()).add(tick_ms)


def _may_be_kept_by_others(r: Router, id: bytes, voters: tuple[bytes, ...]) -> bool:
    """Whether a peer may not count those as away yet that this node does, and keep a tick with
    them: who counts all as here makes it at once, the others ask first.
    """
    cores = _cores(r)
    return len(cores) >= limits.VOTERS and voters != _first(id, cores)


def _cores(r: Router) -> list[bytes]:
    """The nodes that might keep a tick, were all of them here."""
    peers = r.replica.peers
    others = [p for p in peers.by_node.values() if p.node not in peers.evicted]
    found = [peer.node for peer in others if peer.kind == CORE]
    return [*found, r.node] if peers.kind == CORE else found


def _first(id: bytes, able: list[bytes]) -> tuple[bytes, ...]:
    """The three of these nodes that keep a call, or one of fewer."""
    ranked = sorted(able, key=lambda node: blake2b(node, key=id, digest_size=8).digest())
    return tuple(ranked[: limits.VOTERS]) if len(ranked) >= limits.VOTERS else (min(ranked),)


def keepers(r: Router, id: bytes, now_ms: int) -> tuple[bytes, ...]:
    """The nodes that keep a call which no node accepted; worked out alike by all.

    Three core nodes, or the first of fewer.  One that has been away for long is not among them; a
    node that has just started does not know who has, and counts all that the mesh has.
    """
    began_ms = r.ticks.began_ms or 0
    peers = r.replica.peers
    able = [r.node] if peers.kind == CORE else []
    able += [
        peer.node
        for peer in peers.by_node.values()
        if peer.kind == CORE
        and peer.node not in peers.evicted
        and (peer.here or now_ms - max(peer.since_ms, began_ms) < limits.KEEPER_AWAY_MS)
    ]
    if not able:  # A mesh of edge nodes: each for itself would fire each tick many times.
        others = [node for node, peer in peers.by_node.items() if peer.kind != WITNESS]
        able = sorted([*([r.node] if peers.kind != WITNESS else []), *others])[:1]
    if not able:
        return ()
    return _first(id, able)


__all__ = [
    "Ticking", "Ticks", "changed", "fire", "keepers", "looked_up", "restore", "tick_id",
    "ticks_at",
]  # fmt: skip
