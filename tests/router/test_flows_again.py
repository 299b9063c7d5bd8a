"""Flows that are made again: calls of an earlier flow stand for steps, however many they are."""

from __future__ import annotations

import pytest

from meshcode.ids import child_id, make_ids
from meshcode.router import feeding, given
from meshcode.wire.codec import pack
from meshcode.wire.kinds import Outcome

from .driver import NOW
from .flowing import Flows, looked_up, step


def test_steps_that_are_done_stand_for_themselves_in_a_retried_flow():
    made = Flows()
    made.socket("bad")
    made.failing = {"bad"}
    id, effects = made.flow([step("a", 1), step("bad", feed=0)])
    made.run(effects)
    made.failing = set()
    done = [None, 0, feeding.step_id(id, 0), "done", None]
    again, effects = made.flow(
        [done, step("bad", feed=0), step(None, feed=[0, {"from": 0, "count": 2}])]
    )

    effects = looked_up(made, effects)
    made.run(effects)

    assert made.outcome(feeding.step_id(again, 2)) == (
        Outcome.DONE, ["a(1)", "a(1)", "bad(a(1))"],
    )  # fmt: skip
    assert [name for name, _, _ in made.ran] == ["a", "bad", "bad"]


@pytest.mark.parametrize("by_many", [False, True])
def test_a_wide_flow_is_made_again_from_what_failed(by_many):
    """The ids of all branches that are done would not fit the options of what gathers them."""
    count = 2_000
    made = Flows()
    made.socket("bad")
    made.failing = {"bad"}
    made.values = {"a": 1}
    branch = [step("bad" if by_many and n % 2 else "a", n) for n in range(count)]
    steps = [*branch, step("bad"), step(None, feed=[{"from": 0, "count": count + 1}])]
    first, effects = made.flow(steps)
    made.settle(effects)
    ended = [made.outcome(feeding.step_id(first, n))[0] for n in range(count + 1)]
    made.failing, made.ran, made.values["bad"] = set(), [], 2
    again = [
        [None, 0, feeding.step_id(first, n), "done", None] if code == Outcome.DONE else steps[n]
        for n, code in enumerate(ended)
    ]

    id, effects = made.flow([*again, steps[-1]], earlier=[first])
    made.settle(effects)

    values = [2 if one[0] == "bad" else 1 for one in steps[:-1]]
    assert made.outcome(feeding.step_id(id, count + 1)) == (Outcome.DONE, values)
    assert len(made.ran) == values.count(2)


def test_a_flow_that_is_made_again_too_wide_for_its_ids_is_refused_before_it_is_accepted():
    """Whose steps the calls are is not said, so each must be named."""
    made = Flows()
    ids = make_ids(1_000, NOW)
    done = [[None, 0, id, "done", None] for id in ids]

    _, effects = made.flow([*done, step(None, feed=[{"from": 0, "count": 1_000}])])

    [(_, _, error)] = effects.refused
    assert error["code"] == "too_large"
    assert "what step 1000 of the flow needs has 18" in error["text"]
    assert "the limit is 16384; nothing was accepted" in error["text"]


@pytest.mark.parametrize("nested", [[[0, 1]] * 9_000, [[b"i" * 16] * 1_000]])
def test_what_a_step_needs_is_measured_however_deep_it_is_nested(nested):
    made = Flows()

    _, effects = made.flow([step("a"), step("a"), step(None, feed=nested)])

    [(_, _, error)] = effects.refused
    assert "the limit is 16384; nothing was accepted" in error["text"]


def test_a_range_of_which_some_are_steps_of_other_flows_names_these():
    flow, other = b"f" * 16, b"o" * 16
    done = {n: child_id(flow if n < 12 else other, b"%d" % n) for n in (3, 11, 13)}
    flows = feeding.flows_of(done, [flow, other])
    feed = [{"from": 1, "count": 7, "by": 2}, 3, [{"from": 4, "count": 2}]]

    short = feeding.shortened(feed, done, flows)

    assert list(feeding.leaves(short)) == list(feeding.leaves(feeding.replaced(feed, done)))
    assert feeding.problem(short, 14) is None
    assert given.problem(b"@gather", pack({"feed": short}), b"") is None, "peers take it over"
    assert "it needs step 13; a step may need those" in str(feeding.problem(short, 13))
    assert short[1:] == [done[3], [{"from": 4, "count": 2}]]
    for wrong in (None, [[flow]], [[flow[1:], b"1"]], [[flow, 1]], [flow]):
        assert "names flows and bits" in str(feeding.problem([{**short[0], "done": wrong}], 14))


def test_a_range_of_a_flow_that_is_not_named_is_its_ids():
    done = {0: b"i" * 16, 1: child_id(b"f" * 16, b"1")}
    feed = [{"from": 0, "count": 3}]

    short = feeding.shortened(feed, done, feeding.flows_of(done, [b"f" * 16]))

    assert short == [done[0], done[1], 2]
