"""Single rules of flows broken on purpose, for the simulator of one node."""

# ruff: noqa: ARG001, ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshcode.errors import BadRequest
from meshcode.router import ending, events, feeding, flows, gathering, plan, steps
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.sim.planting import Broken
from meshcode.wire.codec import pack_call, unpack_call
from meshcode.wire.frame import envelope as seal
from meshcode.wire.kinds import Flag, Kind

BROKEN = Broken()

# Being accepted: completely or not at all.


@BROKEN.rule(flows, "_steps_problem")
def _flow_is_accepted_although_a_step_is_refused(real: Any) -> Any:
    def steps_problem(r: Router, found: plan.Plan) -> Any:
        wrong = real(r, found)
        return wrong if isinstance(wrong, BadRequest) else None

    return steps_problem


@BROKEN.rule(plan, "submits")
def _last_step_of_a_flow_is_forgotten(real: Any) -> Any:
    def submits(*given: Any) -> list[plan.Made]:
        made: list[plan.Made] = real(*given)
        return made[:-1] if len(made) > 1 else made

    return submits


@BROKEN.rule(steps, "begin")
def _steps_come_after_the_batch_of_their_flow(_real: Any) -> Any:
    def begin(
        r: Router, root: bytes, ids: list[bytes], made: list[plan.Made], now_ms: int, out: Effects
    ) -> None:
        _LATE.setdefault(id(r), []).extend(one[:2] for one in made)

    return begin


_LATE: dict[int, list[tuple[bytes, bytes]]] = {}  # By router: steps of the turn before.


@BROKEN.rule(Router, "step", also="steps-come-after-the-batch-of-their-flow")
def _late_steps(real: Any) -> Any:
    def step(self: Router, event: events.Event, now_ms: int) -> Effects:
        late = _LATE.pop(id(self), [])
        effects: Effects = real(self, event, now_ms)
        for one, submit in late:
            ending.issue(self, one, submit, now_ms, effects)
        return effects

    return step


@BROKEN.rule(plan, "outcome")
def _first_step_is_taken_for_the_result(real: Any) -> Any:
    return lambda root, ids, found: real(root, ids, found._replace(result=0))


# Being fed.


@BROKEN.rule(feeding, "value_of")
def _results_are_fed_in_another_order(real: Any) -> Any:
    def value_of(feed: Any, find: Any) -> bytes:
        found: bytes = real(feed[::-1] if isinstance(feed, list) else feed, find)
        return found

    return value_of


@BROKEN.rule(feeding, "leaves")
def _range_begins_one_too_late(real: Any) -> Any:
    def leaves(feed: Any) -> Iterator[int | bytes]:
        if isinstance(feed, dict) and feed["count"]:
            yield from list(real(feed))[1:]
            yield feed["from"] + feed["count"] * feed.get("by", 1)
        elif isinstance(feed, list):
            for one in feed:
                yield from leaves(one)
        else:
            yield from real(feed)

    return leaves


@BROKEN.rule(feeding, "fed")
def _what_is_fed_comes_last(real: Any) -> Any:
    def fed(submit: bytes, value: bytes) -> bytes:
        whole: bytes = real(submit, value)
        args, kwargs = unpack_call(body_of(whole), bool(whole[12] & Flag.KWARGS))
        return seal(
            Kind.SUBMIT, id=whole[16:32], flow=whole[32:48], parent=whole[48:64],
            name=whole[80 : 80 + whole[15]], flags=whole[12], argc=whole[14],
            meta=whole[80 + whole[15] : len(whole) - len(body_of(whole))],
            body=pack_call(args[1:] + args[:1], kwargs or None),
        )  # fmt: skip

    return fed


@BROKEN.rule(Call, "lacks")
def _retried_step_is_not_fed_again(real: Any) -> Any:
    def lacks(self: Call) -> bool:
        return bool(real.fget(self)) and not self.attempt

    return property(lacks)


@BROKEN.rule(gathering, "begin")
def _flow_in_a_flow_counts_the_steps_of_the_outer(real: Any) -> Any:
    def begin(r: Router, call: Call, now_ms: int, out: Effects) -> None:
        assert call.options is not None
        call.options = {name: v for name, v in call.options.items() if name != "plan"}
        real(r, call, now_ms, out)

    return begin


@BROKEN.rule(feeding, "replaced")
def _step_that_is_done_is_waited_for(_real: Any) -> Any:
    return lambda feed, done: feed


@BROKEN.rule(gathering, "_complete")
def _delay_of_a_step_is_dropped(real: Any) -> Any:
    def complete(r: Router, call: Call, gather: Any, now_ms: int, out: Effects) -> None:
        options = call.options
        assert options is not None
        call.options = {name: v for name, v in options.items() if name != "delay_ms"}
        real(r, call, gather, now_ms, out)
        call.options = options

    return complete


@BROKEN.rule(gathering, "_complete")
def _delay_that_is_over_is_waited_for_again(real: Any) -> Any:
    def complete(r: Router, call: Call, gather: Any, now_ms: int, out: Effects) -> None:
        recorded = call.recorded
        if not call.line.builtin:
            call.recorded = False
        real(r, call, gather, now_ms, out)
        call.recorded = recorded

    return complete


@BROKEN.rule(Router, "_fire_timers")
def _step_begins_although_its_time_is_over(real: Any) -> Any:
    def fire(self: Router, now_ms: int, out: Effects) -> None:
        if not _SETTLED:
            real(self, now_ms, out)

    return fire


@BROKEN.rule(Router, "is_late", also="step-begins-although-its-time-is-over")
def _none_is_late(_real: Any) -> Any:
    return lambda self, now_ms: False


_SETTLED: list[str] = []  # Whether the step that is under way has given results to those who wait.


@BROKEN.rule(gathering, "settle", also="step-begins-although-its-time-is-over")
def _results_were_given(real: Any) -> Any:
    def settle(r: Router, now_ms: int, out: Effects) -> None:
        real(r, now_ms, out)
        _SETTLED.append("settled")

    return settle


@BROKEN.rule(Router, "step", also="step-begins-although-its-time-is-over")
def _a_step_begins(real: Any) -> Any:
    def step(self: Router, event: events.Event, now_ms: int) -> Effects:
        _SETTLED.clear()
        effects: Effects = real(self, event, now_ms)
        return effects

    return step


# What is needed, and how it ended.


@BROKEN.rule(gathering, "_await")
def _need_is_not_looked_up(real: Any) -> Any:
    def wait(r: Router, call: Call, one: bytes, out: Effects) -> None:
        real(r, call, one, out)
        out.lookups.clear()

    return wait


@BROKEN.rule(gathering, "tick", also="need-is-not-looked-up")
def _nor_later(_real: Any) -> Any:
    return lambda r, now_ms, out: None


@BROKEN.rule(gathering, "_fail")
def _failure_does_not_spread(_real: Any) -> Any:
    return lambda r, call, one, envelope, now_ms, out: None


@BROKEN.rule(gathering, "_fail")
def _error_is_fed_as_a_value(_real: Any) -> Any:
    def fail(
        r: Router, call: Call, one: bytes, envelope: bytes, now_ms: int, out: Effects
    ) -> None:
        assert call.gather is not None
        call.gather.found[one] = body_of(envelope)
        call.gather.left -= 1

    return fail


@BROKEN.rule(gathering, "_error_of")
def _error_names_the_last_step_in_place_of_the_first(real: Any) -> Any:
    def error_of(envelope: bytes, one: bytes) -> dict[str, Any]:
        data: dict[str, Any] = real(envelope, one)
        return {**data, "fields": {**data["fields"], "step": gathering.text_of(one)}}

    return error_of


@BROKEN.rule(gathering, "_take")
def _need_of_two_flows_counts_for_one(real: Any) -> Any:
    def take(r: Router, call: Call, gather: Any, *rest: Any) -> None:
        for result, flows_of_it in gather.via.items():
            gather.via[result] = dict.fromkeys(list(flows_of_it)[-1:])
        real(r, call, gather, *rest)

    return take


@BROKEN.rule(steps, "begin")
def _step_begins_before_it_is_on_disk(real: Any) -> Any:
    def begin(r: Router, root: bytes, ids: Any, *given: Any) -> None:
        real(r, root, ids, *given)
        for id in ids:
            if id in r.calls:
                r.calls[id].needs = 0

    return begin


@BROKEN.rule(steps, "feed")
def _step_begins_before_what_it_is_fed_is_on_disk(real: Any) -> Any:
    def feed(r: Router, waiting: list[Call], *given: Any) -> bool:
        fed: bool = real(r, waiting, *given)
        for call in waiting if fed else ():
            call.needs = 0
        return fed

    return feed

