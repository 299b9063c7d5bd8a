"""What waits at joins: values that leave, and many of them."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from meshcode import limits
from meshcode.ids import make_ids
from meshcode.router import events
from meshcode.router.effects import Effects

from .driver import NOW
from .test_wiring import joining

_COUNTED = ("joins.py", "gathering.py")  # Where values of a join are looked at.


def test_a_cancelled_value_is_not_waited_for_behind_one_that_is_there():
    made = joining()
    [flow] = make_ids(1, NOW)
    for value in (1, 2, 3):
        _, effects = made.call("b", value, flow=flow)
        made.settle(effects)
    arrivals = [call for call in made.router.calls.values() if call.line.name == "@join"]
    for call, by in zip(arrivals[:2], "rs", strict=True):  # The second and then the first.
        made.step(events.CancelAsked(2, by.encode() * 16, call.id, "ann"))
    made.wait(limits.NEED_ASK_MS)

    _, effects = made.call("c", 4, flow=flow)
    made.settle(effects)

    assert made.ran[-1] == ("e", [], {"left": "b(3)", "right": "c(4)"})


def _work_of_joining(flows: int, values: int) -> int:
    """Lines of the core that run when so many values of each of so many flows come in one turn."""
    made = joining()
    effects = Effects()
    ids = make_ids(flows, NOW)
    for flow in ids:
        for name in ("b", "c", *["b"] * (values - 2)):
            effects.merge(made.call(name, 1, flow=flow)[1])
    arrived = Effects()
    while effects.starts:
        (_worker, batch), *effects.starts = effects.starts
        for id, attempt, _, submit in batch:
            said = made.answer(id, attempt, submit)
            effects.starts += said.starts
            arrived.lookups += said.lookups
    lines = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal lines
        lines += event == "line" and frame.f_code.co_filename.endswith(_COUNTED)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        made.router.step(events.LookedUp([(*one, b"") for one in arrived.lookups]), NOW)
    finally:
        sys.settrace(before)
    made.router.check()
    assert len(arrived.lookups) == flows * values
    line = made.router.lines["e"]
    assert line.depth + line.running == flows
    return lines


def test_what_waits_at_a_join_costs_each_value_the_same_however_many_they_are():
    assert _work_of_joining(1, 400) <= 8.5 * _work_of_joining(1, 50)
    assert _work_of_joining(200, 2) <= 8.5 * _work_of_joining(25, 2)
