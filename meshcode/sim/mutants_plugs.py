"""Single rules of plugs, gates and joins broken on purpose, for the simulator of one node."""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from collections import defaultdict
from typing import Any

from meshcode.router import feeding, joins, ticking, wiring
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.sim.planting import Broken
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Kind, Outcome

BROKEN = Broken()
_DONE, _FAILED, _CANCELLED = int(Outcome.DONE), int(Outcome.FAILED), int(Outcome.CANCELLED)

# What an outcome causes.


@BROKEN.rule(wiring, "edges_of")
def _edges_are_those_of_the_model_before(real: Any) -> Any:
    last: dict[int, dict[str, Any]] = {}

    def edges_of(snapshot: dict[str, Any], bound: Any) -> Any:
        before = last.get(snapshot["number"] - 1, snapshot)
        last[snapshot["number"]] = snapshot
        return real(before, bound)

    return edges_of


@BROKEN.rule(wiring, "edges_of")
def _error_plug_is_taken_by_results_too(real: Any) -> Any:
    def edges_of(snapshot: dict[str, Any], bound: Any) -> Any:
        return {
            source: (*edges, *(one._replace(error=False) for one in edges if one.error))
            for source, edges in real(snapshot, bound).items()
        }

    return edges_of


@BROKEN.rule(wiring, "submits")
def _cancelled_call_takes_its_error_plugs(real: Any) -> Any:
    def submits(r: Router, call: Call, code: int, *rest: Any) -> Any:
        return real(r, call, _FAILED if code == _CANCELLED else code, *rest)

    return submits


@BROKEN.rule(wiring, "_routes_of")
def _choice_of_a_router_is_ignored(_real: Any) -> Any:
    return lambda meta: None


@BROKEN.rule(wiring, "_joined")
def _argument_calls_its_socket_alone(_real: Any) -> Any:
    return lambda places, place, waits: ()


# Gates.


@BROKEN.rule(wiring, "_by_plug")
def _gate_that_rejects_holds(real: Any) -> Any:
    def by_plug(gates: dict[str, dict[str, Any]]) -> Any:
        return {name: gate._replace(when_closed=wiring.HOLD) for name, gate in real(gates).items()}

    return by_plug


@BROKEN.rule(wiring, "is_closed")
def _closed_gate_is_passed(_real: Any) -> Any:
    return lambda r, call: False


@BROKEN.rule(wiring, "is_closed")
def _gate_is_passed_after_a_start(real: Any) -> Any:
    return lambda r, call: r.late is None and real(r, call)


@BROKEN.rule(wiring, "let_go")
def _open_gate_lets_nobody_go(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(wiring, "_passed")
def _answer_of_a_gate_is_not_looked_at(real: Any) -> Any:
    yes = pack(True)

    def passed(r: Router, call: Call, passing: Any, code: int, outcome: bytes, *rest: Any) -> Any:
        said = seal(Kind.OUTCOME, id=call.id, code=Outcome.DONE, body=yes)
        return real(r, call, passing, _DONE, said, *rest)

    return passed


# Joins.


@BROKEN.rule(joins, "collected")
def _value_that_is_named_looks_at_the_next_collector(real: Any) -> Any:
    def collected(r: Router, call: Call, id: bytes, envelope: bytes, *rest: Any) -> None:
        nothing = seal(Kind.OUTCOME, id=id, code=Outcome.CANCELLED, body=pack({}))
        real(r, call, id, nothing, *rest)

    return collected


@BROKEN.rule(joins.Collector, "__init__")
def _collector_does_not_wait_for_all(real: Any) -> Any:
    def init(self: joins.Collector, call: Call, join: dict[str, Any]) -> None:
        real(self, call, join)
        self.waiting = defaultdict(dict)

    return init


@BROKEN.rule(joins.Collector, "__init__")
def _newest_value_is_used_first(real: Any) -> Any:
    class Newest(dict[bytes, None]):
        def __iter__(self) -> Any:
            return reversed(list(self.keys()))

    def init(self: joins.Collector, call: Call, join: dict[str, Any]) -> None:
        real(self, call, join)
        self.waiting = {place: Newest() for place in join["places"]}

    return init


@BROKEN.rule(joins, "_joined_call")
def _values_go_to_each_others_arguments(real: Any) -> Any:
    def joined_call(call: Call, join: dict[str, Any], used: list[bytes]) -> bytes:
        submit: bytes = real(call, {**join, "places": join["places"][::-1]}, used)
        return submit

    return joined_call


@BROKEN.rule(joins, "unknown")
def _collector_is_made_for_each_value(real: Any) -> Any:
    def unknown(r: Router, call: Call, id: bytes, now_ms: int, out: Effects) -> None:
        ripe, r.ripe = r.ripe, {}
        real(r, call, id, now_ms, out)
        r.ripe = ripe | r.ripe

    return unknown


@BROKEN.rule(joins, "tick")
def _tick_makes_collectors_without_a_look(real: Any) -> Any:
    def tick(r: Router, now_ms: int, out: Effects) -> None:
        due = now_ms >= r.joins.tell_ms
        real(r, now_ms, out)
        for call, number in list(r.joins.seeking.values()) if due else ():
            id = joins._id(call, number)
            if id not in r.joins.collectors:
                joins.unknown(r, call, id, now_ms, out)

    return tick


@BROKEN.rule(joins, "comes_late")
def _values_pass_each_other_after_a_start(_real: Any) -> Any:
    return lambda call: False


@BROKEN.rule(feeding, "fed_named")
def _second_value_of_a_join_is_dropped(real: Any) -> Any:
    def fed_named(submit: bytes, args: list[bytes], kwargs: dict[str, bytes]) -> bytes:
        first = dict(list(kwargs.items())[:1])
        whole: bytes = real(submit, args, first)
        return whole

    return fed_named


# Schedules.


@BROKEN.rule(ticking, "_arm")
def _schedule_fires_once(real: Any) -> Any:
    def arm(r: Router, name: str) -> None:
        if r.ticks.by_name[name].due_ms is None:
            real(r, name)

    return arm
