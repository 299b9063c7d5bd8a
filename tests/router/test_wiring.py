"""Plugs, gates and joins in the core: what an outcome causes elsewhere, once, and in order."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from meshcode import limits
from meshcode.ids import NO_ID, child_id, make_ids
from meshcode.router import events, plan
from meshcode.router.effects import Effects
from meshcode.router.records import split_done, split_open
from meshcode.router.states import State
from meshcode.wire.codec import pack
from meshcode.wire.kinds import Outcome

from .driver import NOW
from .flowing import Flows, looked_up, recovered, step


def wired(*plugs: tuple[str, str, str], **more: dict[str, str]) -> Flows:
    """Sockets a to e, and plugs as (name, source, target)."""
    made = Flows()
    for name in "bcde":
        made.socket(name)
    for name, source, target in plugs:
        made.plugs[name] = {"source": source, "target": target, **more.get(name, {})}
    made.publish()
    return made


def fan_out(made: Flows, sockets: str) -> None:
    """Put these sockets at one fanout queue, `news`."""
    for name in sockets:
        made.sockets[name]["queue"] = "news"
    made.queues["news"] = {"type": "fanout"}
    made.publish()


def names(made: Flows) -> list[str]:
    return [name for name, _, _ in made.ran]


def test_a_result_goes_along_every_plug_of_its_socket_as_an_object():
    made = wired(("p", "a", "b"), ("q", "a", "c"), ("r", "c", "d"))
    made.values["a"] = {"n": [1, 2]}

    id, effects = made.call("a", "x")
    made.settle(effects)

    assert made.ran[0] == ("a", ["x"], {})
    assert ("b", [{"n": [1, 2]}], {}) in made.ran
    assert ("c", [{"n": [1, 2]}], {}) in made.ran
    assert names(made).count("d") == 1
    done = split_done(made.log["done"][child_id(id, b"plug:p")])
    assert (done["submit"][32:48], done["submit"][48:64]) == (id, id), "flow and parent"


def test_what_a_result_causes_is_in_one_batch_of_the_log_with_it():
    made = wired(("p", "a", "b"), ("q", "a", "c"))
    id, effects = made.call("a")
    [(_, [(_, attempt, _, submit)])] = effects.starts

    effects = made.answer(id, attempt, submit)

    made_now = [split_open(v)[1][16:32] for t, _, v in effects.records if t == "open" and v]
    assert made_now == [child_id(id, b"plug:p"), child_id(id, b"plug:q")]
    assert ("done", id) in [(table, key) for table, key, _ in effects.records]


def test_failures_take_error_plugs_and_results_take_the_others():
    made = wired(("ok", "a", "b"), ("bad", "a", "c"), bad={"type": "ERROR"})
    made.call("a")
    made.settle(made.wait(0))
    made = wired(("ok", "a", "b"), ("bad", "a", "c"), bad={"type": "ERROR"})
    made.failing = {"a"}

    _, effects = made.call("a")
    made.settle(effects)

    assert names(made) == ["a", "c"]
    assert made.ran[1][1] == [{"code": "remote", "text": "a", "fields": {"type": "ValueError"}}]


def test_a_cancelled_call_takes_no_plug():
    made = wired(("ok", "a", "b"), ("bad", "a", "c"), bad={"type": "ERROR"})
    id, _ = made.call("a")

    made.step(events.CancelAsked(2, b"r" * 16, id, "ann"))
    made.step(events.WorkerLost(1, [id], "killed"))

    assert made.router.calls == {}
    assert made.ran == []


def test_a_router_chooses_the_plugs_of_its_result():
    made = wired(("p", "a", "b"), ("q", "a", "c"), ("r", "a", "d"))
    made.routes["a"] = ["r", "p"]

    _, effects = made.call("a")
    made.settle(effects)

    assert sorted(names(made)) == ["a", "b", "d"]


def test_rewiring_holds_for_the_next_outcome_and_what_was_made_keeps_its_way():
    made = wired(("p", "a", "b"))
    made.socket("b", processor="other")  # Nobody runs it: the call waits.
    first, effects = made.call("a", 1)
    made.settle(effects)
    second, effects = made.call("a", 2)
    assert made.router.calls[child_id(first, b"plug:p")].line.name == "b"

    made.plugs["p"]["target"] = "c"
    made.publish()
    made.settle(effects)

    assert names(made) == ["a", "a", "c"]
    assert made.router.calls[child_id(first, b"plug:p")].state is State.WAITING
    assert child_id(second, b"plug:p") in made.log["done"]


def test_a_removed_plug_is_not_taken():
    made = wired(("p", "a", "b"))
    _, effects = made.call("a", 1)
    del made.plugs["p"]
    made.publish()

    made.settle(effects)

    assert names(made) == ["a"]


def test_a_value_goes_to_the_argument_that_its_plug_names():
    made = wired(("p", "a", "b"), p={"argument": "text"})

    _, effects = made.call("a", 1)
    made.settle(effects)

    assert made.ran[1] == ("b", [], {"text": "a(1)"})


# Gates.


def gated(**gate: str) -> Flows:
    """a -> b with a gate on the plug."""
    made = wired(("p", "a", "b"))
    made.gates["g"] = {"plug": "p", **gate}
    made.publish()
    return made


def test_a_closed_gate_holds_what_comes_until_it_is_opened():
    made = gated(mode="closed")
    id, effects = made.call("a", 1)
    made.settle(effects)
    held = made.router.calls[child_id(id, b"plug:p")]
    assert held.state is State.GATHERING
    assert held.reason == "gate g is closed; open it with `mesh update gate -n g --mode open`"

    made.gates["g"]["mode"] = "open"
    made.settle(made.publish())

    assert made.ran[-1] == ("b", ["a(1)"], {})


def test_a_held_call_waits_at_its_gate_over_a_crash_and_goes_on_when_the_gate_is_removed():
    made = gated(mode="closed")
    _, effects = made.call("a", 1)
    made.settle(effects)
    after, _ = recovered(made)
    after.join()
    assert after.ran == []

    del after.gates["g"]
    after.settle(after.publish())

    assert after.ran == [("b", ["a(1)"], {})]


def test_a_closed_gate_may_reject_and_says_so_in_the_story_of_the_call():
    made = gated(mode="closed", when_closed="reject")

    id, effects = made.call("a", 1)
    made.settle(effects)

    assert names(made) == ["a"]
    assert made.router.calls == {}
    story = split_done(made.log["done"][id])["story"]
    assert story[-1][1:] == ["rejected", "plug p: gate g is closed"]


def test_a_gates_task_is_asked_with_the_value_and_lets_it_pass_or_not():
    made = gated(mode="task", socket="d")
    made.values["d"] = True

    _, effects = made.call("a", 1)
    made.settle(effects)

    assert made.ran == [("a", [1], {}), ("d", ["a(1)"], {}), ("b", ["a(1)"], {})]

    made.values["d"] = 0
    id, effects = made.call("a", 2)
    made.settle(effects)

    assert made.ran[3:] == [("a", [2], {}), ("d", ["a(2)"], {})]
    asked = split_done(made.log["done"][child_id(id, b"plug:p:gate")])
    assert asked["story"][-1][1:] == ["rejected", "plug p: gate g said no"]


@pytest.mark.parametrize("answer", [Decimal("sNaN"), Decimal(1), date(2026, 1, 1)])
def test_a_gates_task_that_answers_neither_true_nor_false_lets_nothing_pass(answer):
    """Whether it is true, some values do not say: asked for it, they raise."""
    made = gated(mode="task", socket="d")
    made.values["d"] = answer
    id, effects = made.call("a", 1)
    made.settle(effects)

    assert names(made) == ["a", "d"]
    asked = split_done(made.log["done"][child_id(id, b"plug:p:gate")])
    assert asked["story"][-1][1:] == [
        "rejected",
        f"plug p: gate g answered {type(answer).__name__}, which is neither plainly true nor"
        " plainly false and counts as no",
    ]


def test_a_gates_task_that_raises_lets_nothing_pass_and_its_call_can_be_tried_again():
    made = gated(mode="task", socket="d")
    made.failing = {"d"}
    id, effects = made.call("a", 1)
    made.settle(effects)
    asked = child_id(id, b"plug:p:gate")
    done = split_done(made.log["done"][asked])
    assert done["story"][-1][1:] == ["rejected", "plug p: gate g failed"]
    assert names(made) == ["a", "d"]

    made.failing, made.values["d"] = set(), "yes"
    ended = (done["submit"], {})
    made.settle(made.step(events.RetryAsked(2, b"r" * 16, asked, "ann", ended)))

    assert names(made) == ["a", "d", "d", "b"]
    assert made.ran[-1] == ("b", ["a(1)"], {})


# Joins.


def joining() -> Flows:
    """b and c feed the arguments of e."""
    return wired(
        ("one", "b", "e"), ("two", "c", "e"), one={"argument": "left"}, two={"argument": "right"}
    )


def test_a_join_calls_its_socket_once_both_arguments_have_come_in_any_order():
    for order in ("bc", "cb"):
        made = joining()
        [flow] = make_ids(1, NOW)
        for name in order:
            _, effects = made.call(name, 1, flow=flow)
            made.settle(effects)

        assert made.ran[-1] == ("e", [], {"left": "b(1)", "right": "c(1)"})
        assert names(made).count("e") == 1
        assert made.router.calls == {}, "nothing is left over"


def test_values_are_paired_in_the_order_in_which_they_came():
    made = joining()
    [flow] = make_ids(1, NOW)
    for name, value in [("b", 1), ("b", 2), ("c", 3), ("b", 4), ("c", 5), ("c", 6)]:
        _, effects = made.call(name, value, flow=flow)
        made.settle(effects)

    pairs = [(kwargs["left"], kwargs["right"]) for name, _, kwargs in made.ran if name == "e"]
    assert pairs == [("b(1)", "c(3)"), ("b(2)", "c(5)"), ("b(4)", "c(6)")]


def test_values_of_two_flows_are_never_put_together():
    made = joining()
    first, second = make_ids(2, NOW)
    for name, flow in [("b", first), ("c", second)]:
        _, effects = made.call(name, 1, flow=flow)
        made.settle(effects)
    assert "e" not in names(made)

    _, effects = made.call("c", 2, flow=first)
    made.settle(effects)

    assert made.ran[-1] == ("e", [], {"left": "b(1)", "right": "c(2)"})


def test_two_steps_of_a_flow_meet_at_a_join():
    """The original's example: emit_one and emit_two feed add_two."""
    made = joining()

    id, effects = made.flow([step("b", 1), step("c", 4), step(None, feed=[0, 1])])
    made.settle(effects)

    assert made.ran[-1] == ("e", [], {"left": "b(1)", "right": "c(4)"})
    assert made.router.calls == {}
    assert id in made.log["done"]


def test_a_value_that_waits_says_what_for_and_survives_a_crash():
    made = joining()
    [flow] = make_ids(1, NOW)
    _, effects = made.call("b", 1, flow=flow)
    made.settle(effects)
    after, effects = recovered(made)
    after.settle(effects)
    [arrival] = [call for call in after.router.calls.values() if call.line.name == "@join"]
    assert arrival.reason == "waits with 'left' for all of left, right of socket e"
    [collector] = [call for call in after.router.calls.values() if call.line.name == "@collect"]
    assert collector.reason == "puts together the arguments of socket e; no value yet for right"

    after.settle(after.join())
    _, effects = after.call("c", 2, flow=flow)
    after.settle(effects)

    assert after.ran[-1] == ("e", [], {"left": "b(1)", "right": "c(2)"})


def test_a_join_goes_on_after_a_crash_where_it_was():
    made = joining()
    [flow] = make_ids(1, NOW)
    for name, value in [("b", 1), ("c", 2), ("b", 3)]:
        _, effects = made.call(name, value, flow=flow)
        made.settle(effects)
    after, effects = recovered(made)
    after.settle(effects)
    after.settle(after.join())

    _, effects = after.call("c", 4, flow=flow)
    after.settle(effects)

    assert after.ran[-1] == ("e", [], {"left": "b(3)", "right": "c(4)"})
    assert after.router.calls == {}


def test_a_join_that_was_made_before_a_rewiring_is_filled_by_what_was_on_its_way():
    """New values go the new way; two that have come the old way still meet."""
    made = joining()
    [flow] = make_ids(1, NOW)
    _, effects = made.call("b", 1, flow=flow)
    made.settle(effects)
    made.plugs["three"] = {"source": "d", "target": "e", "argument": "more"}
    made.publish()

    for name in "bcd":
        _, effects = made.call(name, 2, flow=flow)
        made.settle(effects)

    assert made.ran[-1] == ("e", [], {"left": "b(2)", "right": "c(2)", "more": "d(2)"})
    assert [call.line.name for call in made.router.calls.values()] == ["@join", "@collect"]


def test_a_socket_that_waits_for_all_its_plugs_gets_those_without_a_name_by_position():
    made = wired(("q", "b", "e"), ("p", "c", "e"), ("r", "d", "e"), r={"argument": "named"})
    made.socket("e", wait_for_all=True)
    [flow] = make_ids(1, NOW)

    for name in "bcd":
        _, effects = made.call(name, 1, flow=flow)
        made.settle(effects)

    assert made.ran[-1] == ("e", ["c(1)", "b(1)"], {"named": "d(1)"})


def test_a_cancelled_value_leaves_its_join():
    made = joining()
    [flow] = make_ids(1, NOW)
    _, effects = made.call("b", 1, flow=flow)
    made.settle(effects)
    [arrival] = [call for call in made.router.calls.values() if call.line.name == "@join"]
    made.step(events.CancelAsked(2, b"r" * 16, arrival.id, "ann"))

    for name, value in [("c", 2), ("b", 3)]:
        _, effects = made.call(name, value, flow=flow)
        made.settle(effects)

    assert made.ran[-1] == ("e", [], {"left": "b(3)", "right": "c(2)"})


def test_a_value_that_is_too_large_to_pass_on_is_told_in_the_story(monkeypatch):
    made = wired(("p", "a", "b"))
    monkeypatch.setattr(limits, "BODY_BYTES_MAX", 1_030)

    id, effects = made.call("a", "x" * 20)
    made.settle(effects)

    story = split_done(made.log["done"][id])["story"]
    assert story[-1][1] == "not sent"
    assert "too large" in story[-1][2]
    assert made.outcome(id)[0] == Outcome.DONE


# Topic and fanout queues.


def test_a_call_to_a_fanout_queue_runs_at_every_socket_of_it_and_its_value_is_the_list():
    made = wired()
    fan_out(made, "bcd")

    id, effects = made.call("c", 7)
    made.settle(effects)

    result = plan.result_of(made.told[id])
    assert result is not None
    assert made.outcome(result) == (Outcome.DONE, ["b(7)", "c(7)", "d(7)"])
    assert sorted(made.ran) == [("b", [7], {}), ("c", [7], {}), ("d", [7], {})]


def test_a_topic_queue_gives_a_call_to_the_sockets_whose_pattern_fits():
    made = wired()
    patterns = {"b": "order.*", "c": "order.#", "d": "order.new.eu", "e": "#.eu"}
    for name, topic in patterns.items():
        made.sockets[name].update(queue="orders", topic=topic)
    made.queues["orders"] = {"type": "topic"}
    made.publish()

    for topic, expected in [
        ("order.new", "bc"), ("order.new.eu", "cde"), ("order", "c"), ("bill.eu", "e"), ("x", ""),
    ]:  # fmt: skip
        made.ran.clear()
        id, effects = made.call("b", 1, topic=topic)
        made.settle(effects)
        assert "".join(sorted(names(made))) == expected, topic
        result = plan.result_of(made.told[id])
        assert made.outcome(result) == (Outcome.DONE, [f"{name}(1)" for name in expected])


def test_a_step_and_a_plug_may_lead_to_a_fanout_queue():
    made = wired(("p", "a", "b"))
    fan_out(made, "bc")

    id, effects = made.flow([step("d", 1), step("b", 2, feed=0), step("e", feed=1)])
    made.settle(effects)
    assert made.ran[-1] == ("e", [["b(d(1),2)", "c(d(1),2)"]], {})
    assert made.outcome(child_id(id, b"2"))[0] == Outcome.DONE

    _, effects = made.call("a", 5)
    made.settle(effects)
    assert sorted(names(made)[-2:]) == ["b", "c"]


def test_the_plugs_of_every_copy_are_taken_and_none_for_the_call_that_was_copied():
    made = wired(("p", "b", "e"), ("q", "c", "e"))
    fan_out(made, "bc")

    _, effects = made.call("b", 5)
    made.settle(effects)

    assert [one for one in made.ran if one[0] == "e"] == [("e", ["b(5)"], {}), ("e", ["c(5)"], {})]


def records_of(effects: Effects, id: bytes) -> int:
    """How often a step wrote the outcome of a call."""
    return sum(table == "done" and key == id for table, key, _ in effects.records)


def test_values_that_come_in_one_turn_are_put_together_once():
    """Each of them asks for the collector; the first answer makes it, and it ends at once."""
    made = wired(
        ("in", "a", "b"), ("in2", "a", "c"), ("one", "b", "e"), ("two", "c", "e"),
        one={"argument": "left"}, two={"argument": "right"},
    )  # fmt: skip
    id, effects = made.call("a", 1)
    [(_, [(_, attempt, _, submit)])] = effects.starts
    effects = made.answer(id, attempt, submit)
    merged = Effects()
    while effects.starts:
        [(_, [(one, attempt, _, submit), *_])] = effects.starts
        effects = made.answer(one, attempt, submit)
        merged.merge(effects)
    collector = child_id(id, b"join/0/" + pack(["e", ["left", "right"]]))
    assert [one for _, one in merged.lookups] == [collector, collector]

    effects = looked_up(made, merged)

    assert records_of(effects, collector) == 1
    made.settle(effects)
    assert names(made).count("e") == 1


def test_a_collector_that_has_ended_is_not_made_again_by_a_tick_after_a_start():
    """The first tick may come before the answer to what was looked up."""
    made = joining()
    [flow] = make_ids(1, NOW)
    for name, value in [("b", 1), ("c", 2), ("b", 3)]:
        _, effects = made.call(name, value, flow=flow)
        made.settle(effects)
    del made.log["open"][max(made.log["open"])]  # The next collector was not on disk yet.
    after, effects = recovered(made)

    ticked = after.step(events.Ticked())

    assert not [op for op in ticked.records if op[0] == "open"]
    after.settle(effects)
    after.settle(ticked)
    [collector] = [call for call in after.router.calls.values() if call.line.name == "@collect"]
    assert collector.option("join")["number"] == 1


def test_values_are_paired_in_their_order_after_a_crash_too():
    """One came before the collector that is open was made, and one after."""
    made = joining()
    [flow] = make_ids(1, NOW)
    for name, value in [("b", 1), ("c", 2), ("b", 3), ("b", 4)]:
        _, effects = made.call(name, value, flow=flow)
        made.settle(effects)
    after, effects = recovered(made)
    after.join()

    late = after.call("c", 5, flow=flow)[1]
    [(_, [(id, attempt, _, submit)])] = late.starts
    late = after.answer(id, attempt, submit)
    after.settle(late)
    after.settle(effects)

    assert [kwargs for name, _, kwargs in after.ran if name == "e"] == [
        {"left": "b(3)", "right": "c(5)"}
    ]


def test_a_plug_with_a_fanout_queue_reaches_each_of_its_sockets_once():
    made = wired(("p", "a", "b"), p={"queue": "news"})
    fan_out(made, "bcd")

    _, effects = made.call("a", 5)
    made.settle(effects)

    assert sorted(names(made)) == ["a", "b", "c", "d"]
    assert made.router.calls == {}


def test_a_collector_that_others_keep_too_is_not_made_again_by_a_value_kept_alone():
    """Nobody owns it after a start, and yet it is there: two of it would each have a part."""
    made = joining()
    [flow] = make_ids(1, NOW)
    _, effects = made.call("b", 1, flow=flow)
    [(_, [(id, attempt, _, submit)])] = effects.starts
    arrived = made.answer(id, attempt, submit)
    for n in (7, 8):
        made.step(events.PeerChanged(bytes([n]) * 16, "alive", 1, "core", "", f"n{n}"))
    looked_up(made, arrived)
    kept = [split_open(value) for value in made.log["open"].values()]
    [collector] = [submit[16:32] for custody, submit in kept if len(custody["voters"]) == 3]
    after, effects = recovered(made)

    effects = looked_up(after, effects)

    assert not [op for op in effects.records if op[0] == "open"]
    assert collector in after.router.replica.by_id and collector not in after.router.calls


def test_what_a_socket_returned_is_never_taken_for_a_value_of_another_wiring():
    """Two nodes accepted one call and know two wirings: a join looks up its values by their ids."""
    first = joining()
    id, effects = first.call("b", 1)
    [(_, [(_, attempt, _, submit)])] = effects.starts
    at_a_join, alone, asked = first, joining(), joining()
    del alone.plugs["two"]
    asked.gates["g"] = {"plug": "one", "mode": "task", "socket": "d"}
    caused = []
    for made in (at_a_join, alone, asked):
        made.publish()
        if made is not first:
            made.step(events.Submitted(1, 1, [(id, NO_ID, NO_ID, "b", 1, None, submit)]))
        effects = made.answer(id, attempt, submit)
        opens = [split_open(v)[1] for table, _, v in effects.records if table == "open" and v]
        caused += [(one[80 : 80 + one[15]].decode(), one[16:32]) for one in opens]

    assert [name for name, _ in caused] == ["@join", "e", "d"]
    assert len({one for _, one in caused}) == 3, "they are three calls"
