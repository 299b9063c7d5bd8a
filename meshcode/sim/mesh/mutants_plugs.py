"""Single rules of plugs, gates, joins and schedules among several nodes broken on purpose."""

# ruff: noqa: ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode import limits
from meshcode.replica import remembering
from meshcode.replica.core import Replica
from meshcode.replica.instance import Instance, make_key
from meshcode.router import births, joins, replicated, ticking, wiring, words
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.sim.planting import Broken
from meshcode.wire.kinds import Kind

BROKEN = Broken()


@BROKEN.rule(replicated, "propose")
def _outcome_is_agreed_to_without_what_it_causes(real: Any) -> Any:
    def propose(
        r: Router, call: Call, code: int, envelope: bytes, children: Any, now_ms: int, out: Effects,
        **more: Any,
    ) -> None:  # fmt: skip
        along = call.line.edges
        real(r, call, code, envelope, () if along else children, now_ms, out, **more)
        for child in children if along else ():  # As a careless owner would: when it has the time.
            replicated.ending.issue(r, child.id, child.submit, now_ms, out)

    return propose


@BROKEN.rule(wiring, "is_closed")
def _gate_is_ignored_by_who_takes_a_call_over(real: Any) -> Any:
    return lambda r, call: real(r, call) and not (call.inst is not None and call.epoch)


@BROKEN.rule(joins, "tick")
def _keepers_are_told_of_a_value_once(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(words.HANDLERS, int(Kind.ARRIVED))
def _values_of_peers_are_not_put_together(real: Any) -> Any:
    def on_arrived(r: Router, node: bytes, entry: list[Any], now_ms: int, out: Effects) -> None:
        if entry[0][:16] not in r.joins.collectors:
            real(r, node, entry, now_ms, out)

    return on_arrived


@BROKEN.rule(joins, "arrive")
def _value_that_was_taken_over_goes_to_the_newest_collector(real: Any) -> Any:
    def arrive(r: Router, call: Call, now_ms: int, out: Effects) -> None:
        r.joins.named.pop(call.id, None)
        real(r, call, now_ms, out)

    return arrive


@BROKEN.rule(joins, "collector_id")
def _collector_has_one_id_whoever_keeps_it(real: Any) -> Any:
    return lambda flow, at, join, number: real(flow, b"", join, number)


@BROKEN.rule(joins, "unknown")
def _collector_that_moved_is_made_again(real: Any) -> Any:
    def unknown(r: Router, call: Call, id: bytes, now_ms: int, out: Effects) -> None:
        known = r.replica.by_id.pop(id, None)
        at = call.option("at")
        if known is not None and at and known.key == make_key(id, at[:16]):
            r.replica.by_id[id] = known
        real(r, call, id, now_ms, out)
        if known is not None:
            r.replica.by_id.setdefault(id, known)

    return unknown


@BROKEN.rule(ticking, "keepers")
def _keepers_of_a_tick_are_not_alike(_real: Any) -> Any:
    return lambda r, one, now_ms: (r.node,)


@BROKEN.rule(births, "wish")
def _tick_is_not_looked_up_before_it_is_made(real: Any) -> Any:
    def wish(
        r: Router, key: bytes, voters: tuple[bytes, ...], submit: bytes, out: Effects, **how: Any
    ) -> None:
        real(r, key, voters, submit, out, **how)
        if key[:16] in r.births and submit[80:81] != b"@":
            births.looked_up(r, key[:16], False, int(r.joins.tell_ms), out)

    return wish


@BROKEN.rule(remembering, "note")
def _keeper_forgets_that_a_call_has_moved(_real: Any) -> Any:
    return lambda r, inst: None


@BROKEN.rule(ticking, "_may_be_kept_by_others")
def _three_who_make_a_tick_ask_nobody(real: Any) -> Any:
    return lambda r, call, voters: len(voters) < limits.VOTERS and real(r, call, voters)


@BROKEN.rule(Replica, "recover")
def _keeper_that_restarts_forgets_that_a_call_has_moved(real: Any) -> Any:
    def recover(r: Replica, sequence: int, inst: Instance, **how: Any) -> None:
        real(r, sequence, inst, **how)
        r.moved.pop(inst.id, None)

    return recover


@BROKEN.rule(remembering, "looked_up")
def _keeper_waits_for_no_outcome_of_what_has_moved(real: Any) -> Any:
    def looked_up(r: Replica, id: bytes, outcome: bytes, now_ms: int, out: Effects) -> bytes:
        if outcome:
            known: bytes = real(r, id, outcome, now_ms, out)
            return known
        r.forget(r.moved[id], out)
        return b""

    return looked_up


@BROKEN.rule(remembering, "looked_up")
def _outcome_that_was_just_filed_is_unknown_to_the_rest_of_the_answer(real: Any) -> Any:
    def looked_up(r: Replica, id: bytes, outcome: bytes, now_ms: int, out: Effects) -> bytes:
        real(r, id, outcome, now_ms, out)
        return outcome

    return looked_up
