"""Single rules of streams broken on purpose, for the simulator of one node."""

# ruff: noqa: ARG005 - a replacement has the shape of what it replaces.

from __future__ import annotations

from typing import Any

from meshcode.router import ending, streams, wiring
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.pool import Worker
from meshcode.sim.planting import Broken

BROKEN = Broken()


@BROKEN.rule(streams, "caused")
def _item_is_over_when_its_own_call_is(_real: Any) -> Any:
    return lambda r, call, children: None


@BROKEN.rule(streams, "_release")
def _items_never_are_over(_real: Any) -> Any:
    return lambda r, item: None


@BROKEN.rule(streams, "unsure")
def _item_of_an_earlier_attempt_is_made_again(_real: Any) -> Any:
    return lambda r, items: []


@BROKEN.rule(streams, "_take")
def _item_that_is_over_takes_credit_for_ever(real: Any) -> Any:
    def take(r: Router, call: Call, stream: Any, what: Any, ended: Any, now_ms: int, out: Any
             ) -> None:  # fmt: skip
        over = stream.over
        real(r, call, stream, what, ended, now_ms, out)
        stream.over = over

    return take


@BROKEN.rule(streams, "source_of")
def _items_take_no_plugs(_real: Any) -> Any:
    return lambda call: str(call.line.name)


@BROKEN.rule(streams, "count_of")
def _end_of_a_stream_takes_its_plugs_too(_real: Any) -> Any:
    return lambda meta: None


@BROKEN.rule(wiring, "_routes_of")
def _choice_of_an_item_is_ignored(_real: Any) -> Any:
    return lambda meta: None


@BROKEN.rule(streams, "settle")
def _credit_is_never_told(real: Any) -> Any:
    def settle(r: Router, now_ms: int, out: Effects) -> None:
        count = len(out.credits)
        real(r, now_ms, out)
        del out.credits[count:]

    return settle


@BROKEN.rule(Worker, "park")
def _generator_that_waits_keeps_its_worker(_real: Any) -> Any:
    return lambda self, call, now_ms: None


@BROKEN.rule(Worker, "is_parked")
def _time_without_credit_counts(_real: Any) -> Any:
    return lambda self, call: False


@BROKEN.rule(Worker, "skips")
def _many_generators_of_a_socket_are_put_aside(_real: Any) -> Any:
    return lambda self, line: False


@BROKEN.rule(ending, "issue")
def _item_is_made_twice(real: Any) -> Any:
    def issue(r: Router, id: bytes, submit: bytes, now_ms: int, out: Effects, **how: Any) -> None:
        real(r, id, submit, now_ms, out, **how)
        if how.get("written") is False:
            real(r, id, submit, now_ms, out, **how)

    return issue


@BROKEN.rule(streams.Stream, "begin")
def _attempt_goes_on_where_the_one_before_stood(real: Any) -> Any:
    def begin(self: streams.Stream, attempt: int) -> None:
        received = getattr(self, "received", 0)
        real(self, attempt)
        self.received = received

    return begin


__all__ = ["BROKEN"]
