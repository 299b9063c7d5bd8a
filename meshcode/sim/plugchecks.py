"""Plugs, joins and gates of one simulated node: what each step must have made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from meshcode.ids import child_id
from meshcode.router import events
from meshcode.router.core import Router
from meshcode.router.effects import Op
from meshcode.router.records import split_done, split_open
from meshcode.router.states import State
from meshcode.sim.books import Fact
from meshcode.sim.flowbook import body_of
from meshcode.sim.plugbook import COLLECT, JOIN
from meshcode.sim.violation import require
from meshcode.wire.codec import pack, unpack

if TYPE_CHECKING:
    from meshcode.sim.checks import Checker

EDGE = b"plug"  # Why such a call was caused; also of collectors and of calls of schedules.


def opened(
    c: Checker, fact: Fact | None, row: Any, envelope: bytes, event: Any, now_ms: int
) -> Fact | None:
    """A call came into being, perhaps once more after a crash, when its cause may be another."""
    book = c.plugs
    assert book is not None
    if fact is not None and fact.edge == EDGE:  # Its socket may be another, too.
        del book.calls[row.id]
        book.judged.pop(row.id, None)
        meta = envelope[row.meta_at : row.body_at]
        fact.name = envelope[row.name_at : row.meta_at].decode()
        fact.options = unpack(meta) if meta else {}
        fact.body = envelope[row.body_at :]
        c.streams.opened(fact, joined="named" in fact.options)
    book.opened(envelope, c.begins.closed)
    return fact or child(c, row, envelope, event, now_ms)


def child(c: Checker, row: Any, envelope: bytes, event: Any, now_ms: int) -> Fact | None:
    """A call that plugs or joins made; None when it may be anything else."""
    assert c.plugs is not None
    if row.id in c.flows.steps:
        return None
    again = isinstance(event, events.RetryAsked) and event.id == row.parent
    if again or row.id == child_id(row.parent, b"dead-letter"):
        c.plugs.copy(row.id, row.parent)
        return None
    meta = envelope[row.meta_at : row.body_at]
    name = envelope[row.name_at : row.meta_at].decode()
    fact = Fact(row.id, name, unpack(meta) if meta else None, envelope[row.body_at :])
    fact.parent = row.parent if row.parent in c.facts else None
    fact.flow = row.flow
    fact.edge = EDGE
    if row.id in c.plugs.ticks:
        c.plugs.fired(c.plugs.calls[row.id], now_ms)
    c.facts[row.id] = fact
    c.streams.opened(fact, joined="named" in fact.options)
    c.plugs.made.add(row.id)  # `stepped` looks whether it had to be made.
    return fact


def stepped(c: Checker, records: Iterable[Op]) -> None:
    """What came into being in this step is what its outcomes cause under the model told last."""
    book = c.plugs
    assert book is not None
    made: dict[bytes, list[bytes]] = {}  # By the call whose outcome caused them.
    ended: list[tuple[bytes, bytes]] = []
    for table, key, value in records:
        if table == "done" and value is not None:
            ended.append((key, split_done(value)["outcome"]))
        if table != "open" or value is None:
            continue
        submit = split_open(value)[1]
        fact = c.facts[submit[16:32]]
        if fact.edge == EDGE and not _is_by_itself(c, submit):
            made.setdefault(_cause(c, fact), []).append(submit)
    for id, outcome in ended:
        due = book.due(c.begins.snapshot, id, outcome)
        book.caused(id, due, made.pop(id, []), f"outcome {outcome[13]}")
        if book.calls[id].name == COLLECT and outcome[13] == 1:
            used = unpack(body_of(outcome))["with"]
            book.in_order(book.calls[id], used, c.thought.open_ids)
    left = [id.hex() for id in made]
    require(not left, "plug", "calls without an outcome that causes them", left)


def _cause(c: Checker, fact: Fact) -> bytes:
    """Whose outcome caused a call: of one that a join made, its collector."""
    book = c.plugs
    assert book is not None
    known = book.calls[fact.id]
    if "named" in known.options and not known.copied:
        return book.used.get(known.options["feed"][0], b"")
    return known.parent


def _is_by_itself(c: Checker, submit: bytes) -> bool:
    """Whether a call is made without an outcome: a collector for arrivals that are there."""
    book = c.plugs
    assert book is not None
    known = book.calls[submit[16:32]]
    if known.id in book.ticks:
        return True
    if known.name != COLLECT or known.copied:
        return False
    join = known.join
    assert join is not None
    arrivals = [one for one in book.calls.values() if one.name == JOIN and one.flow == known.flow]
    alike = [one for one in arrivals if one.join is not None and _is_of(one.join, join)]
    require(bool(alike), "join", "a collector of nothing", known.id.hex())
    number = join["number"]
    own = child_id(known.flow, b"join/%d/" % number + pack([join["target"], join["places"]]))
    require(known.id == own, "join", "id of a collector", known.id.hex())
    return True


def _is_of(join: dict[str, Any], other: dict[str, Any]) -> bool:
    return (join["target"], join["places"]) == (other["target"], other["places"])


def may_wait(c: Checker, router: Router, id: bytes) -> bool:
    """Whether a call of plugs may wait for ever: its set is not complete, or it needs one."""
    book = c.plugs
    call = router.calls.get(id)
    if book is None or call is None or call.state is not State.GATHERING:
        return False
    known = book.calls[id]
    if known.name == COLLECT:
        return True  # The arrivals at it are judged.
    if known.name == JOIN:
        return id in book.left(c.thought.open_ids)
    return False


def at_the_end(c: Checker, router: Router, now_ms: int) -> None:
    """Whatever plugs made has ended, or has a reason to wait."""
    book = c.plugs
    if book is None:
        return
    require(not router.gated, "gate", "is open, and calls wait at it", list(router.gated))
    for id in book.must_fire(now_ms):
        there = id in c.durable.done or id in c.durable.open_ids
        require(there, "tick", "was not made", book.ticks[id][:2])
    for id in c.durable.open_ids:
        if id in book and not may_wait(c, router, id):
            c.must_wait(router, id)


__all__ = ["EDGE", "at_the_end", "may_wait", "opened", "stepped"]
