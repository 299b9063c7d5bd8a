"""Flows in the core: a plan becomes calls, results become arguments, failures spread."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from meshcode import limits
from meshcode.ids import NO_ID, child_id, make_ids, text_of
from meshcode.router import events, feeding, plan
from meshcode.router.envelopes import body_of
from meshcode.router.records import split_done, split_open
from meshcode.router.states import State
from meshcode.wire.codec import pack, pack_call, unpack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW
from .flowing import Flows, looked_up, recovered, step


def test_a_pipeline_gives_each_result_to_the_next_step_in_front_of_its_own_arguments():
    made = Flows()
    made.socket("b")
    id, effects = made.flow([step("a", 1), step("b", 2, feed=0), step("a", feed=1, k=3)])

    made.run(effects)

    assert made.outcome(feeding.step_id(id, 2)) == (Outcome.DONE, "a(b(a(1),2),k=3)")
    assert [name for name, _, _ in made.ran] == ["a", "b", "a"]
    assert made.log["open"] == {}, "nothing waits any more"


def test_a_gather_step_is_the_list_of_what_it_needs_nested_as_its_feed():
    made = Flows()
    feed = [{"from": 0, "count": 2}, [2, []]]
    id, effects = made.flow([*(step("a", n) for n in range(3)), step(None, feed=feed)])

    made.run(effects)

    assert made.outcome(feeding.step_id(id, 3)) == (Outcome.DONE, ["a(0)", "a(1)", ["a(2)", []]])


def test_an_empty_gather_ends_at_once_and_feeds_the_next():
    made = Flows()
    id, effects = made.flow([step(None, feed=[]), step("a", feed=0)])

    made.run(effects)

    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a([])")


def test_all_steps_are_in_the_log_with_the_outcome_of_the_flow_and_the_client_is_told_both():
    """Whoever dies then: the flow is there completely, or was never accepted."""
    made = Flows()
    id, effects = made.flow([step("a", 1), step("a", feed=0)])

    opens = [value for table, _, value in effects.records if table == "open" and value is not None]
    assert [split_open(value)[1][16:32] for value in opens] == [
        id, feeding.step_id(id, 0), feeding.step_id(id, 1),
    ]  # fmt: skip
    assert effects.accepted == [(1, 1, 1, 1, 1)]
    assert plan.result_of(made.told[id]) == feeding.step_id(id, 1)
    for value in opens[1:]:
        submit = split_open(value)[1]
        assert (submit[32:48], submit[48:64]) == (id, id), "flow and parent"


def test_a_failure_ends_every_step_that_needs_it_with_the_same_error_and_without_a_run():
    made = Flows()
    made.socket("bad")
    made.failing = {"bad"}
    steps = [
        step("bad"),
        step("a", feed=0),
        step("a", 5),
        step(None, feed=[1, 2]),
        step("a", feed=3),
    ]
    id, effects = made.flow(steps)

    made.run(effects)

    failed = text_of(feeding.step_id(id, 0))
    for number in (1, 3, 4):
        code, error = made.outcome(feeding.step_id(id, number))
        assert code == Outcome.FAILED
        fields = {"type": "ValueError", "step": failed}
        assert error == {"code": "remote", "text": "bad", "fields": fields}
    assert sorted(made.ran) == [("a", [5], {}), ("bad", [], {})]
    assert made.router.needed.keys() <= {feeding.step_id(id, 2)}
    assert made.router.calls == {}


def test_a_long_chain_of_steps_ends_with_its_first_failure_in_one_step_of_the_core():
    """It is no recursion."""
    made = Flows()
    made.socket("bad")
    made.failing = {"bad"}
    count = 3_000
    id, effects = made.flow([step("bad"), *(step("a", feed=n) for n in range(count))])

    made.run(effects)

    assert made.outcome(feeding.step_id(id, count))[0] == Outcome.FAILED


def test_a_cancelled_step_ends_what_needs_it_as_cancelled():
    made = Flows()
    id, _ = made.flow([step("a"), step("a", feed=0), step("a", feed=1)])

    made.step(events.CancelAsked(2, b"r" * 16, feeding.step_id(id, 1), "ann"))

    code, error = made.outcome(feeding.step_id(id, 2))
    assert code == Outcome.CANCELLED
    assert "ann" in error["text"]
    assert set(made.router.calls) == {feeding.step_id(id, 0)}


def test_after_a_crash_a_step_finds_the_results_it_needs_in_the_history():
    made = Flows()
    id, effects = made.flow([step("a", 1), step("a", 2), step("a", feed=[0, 1])])
    [(_, batch)] = effects.starts
    made.answer(*batch[0][:2], batch[0][3])
    after, effects = recovered(made)
    assert after.router.calls[feeding.step_id(id, 2)].state is State.GATHERING
    assert [one for _, one in effects.lookups] == [feeding.step_id(id, 0)]
    assert effects.lookups[0][0] == b"", "for a call here, not for a peer"

    looked_up(after, effects)
    after.run(after.join())

    assert after.outcome(feeding.step_id(id, 2)) == (Outcome.DONE, "a([a(1)|a(2)])")


def test_a_step_that_ran_when_the_node_died_gets_its_arguments_again():
    made = Flows(retries=3)
    id, effects = made.flow([step("a", 1), step("a", feed=0)])
    [(_, [(first, attempt, _, submit)])] = effects.starts
    made.answer(first, attempt, submit)
    made.wait(limits.RUNNING_MARK_MS)  # The log says now that the second began.
    after, effects = recovered(made)
    assert after.router.calls[feeding.step_id(id, 1)].state is State.DELAYED

    after.join()
    effects = after.wait(limits.RETRY_DELAY_MS_MIN)
    after.run(looked_up(after, effects))

    assert after.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a(1))")


def test_a_worker_that_dies_under_a_step_leaves_it_its_arguments():
    made = Flows()
    id, effects = made.flow([step("a", 1), step("a", feed=0)])
    [(_, [(first, attempt, _, submit)])] = effects.starts
    made.answer(first, attempt, submit)
    made.step(events.WorkerLost(1, [feeding.step_id(id, 1)], "signal 9"))

    effects = made.join(1)
    made.run(made.wait(limits.RETRY_DELAY_MS_MIN))

    assert effects.lookups == []
    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a(1))")


def test_a_step_whose_result_nobody_knows_says_so_and_waits():
    made = Flows()
    id, effects = made.flow([step("a"), step("a", feed=0)])
    [(_, [(first, attempt, _, submit)])] = effects.starts
    made.answer(first, attempt, submit)
    del made.log["done"][first]
    after, effects = recovered(made)

    looked_up(after, effects)

    reason = after.router.calls[feeding.step_id(id, 1)].reason
    assert reason == f"waits for call {text_of(first)}, of which this node knows nothing"
    assert after.wait(limits.NEED_ASK_MS).lookups == [(b"", first)], "it asks again"


def test_every_need_has_its_turn_to_be_asked_for_again(monkeypatch):
    """Else many that nobody knows would keep all others from being asked for."""
    monkeypatch.setattr(limits, "NEEDS_ASKED_MAX", 1)
    made = Flows()
    strangers = make_ids(3, NOW)
    _, effects = made.flow([step("a", feed=list(strangers))])
    looked_up(made, effects)

    asked = [made.wait(limits.NEED_ASK_MS).lookups for _ in strangers]

    assert sorted(one for found in asked for _, one in found) == sorted(strangers)


def test_a_cancelled_step_waits_for_nothing_any_more():
    """Else peers would be asked for ever for what nobody here needs."""
    made = Flows()
    [stranger] = make_ids(1, NOW)
    id, effects = made.flow([step("a", feed=stranger)])
    made.step(events.CancelAsked(1, bytes(16), feeding.step_id(id, 0), "ann"))

    looked_up(made, effects)

    assert made.outcome(feeding.step_id(id, 0))[0] == Outcome.CANCELLED
    assert made.router.needed == {}


def test_the_plan_of_a_flow_that_is_refused_is_not_kept():
    made = Flows()
    [id] = make_ids(1, NOW)
    body = pack_call([{"steps": [step("a", 1)], "result": 0}])
    options = {"ack": "strict"}
    data = envelope(Kind.SUBMIT, id=id, name=b"@flow", meta=pack(options), body=body, argc=1)

    effects = made.step(events.Submitted(1, 1, [(id, NO_ID, NO_ID, "@flow", 1, options, data)]))

    assert [error["code"] for _, _, error in effects.refused] == ["busy"]
    assert made.router.plans == {}


def test_a_flow_inside_a_flow_counts_its_own_steps():
    """Its calls belong to the outer flow."""
    made = Flows()
    [outer, id] = make_ids(2, NOW)
    data = {"steps": [step("a"), step("a", feed=0)], "result": 1}
    sealed = envelope(
        Kind.SUBMIT, id=id, flow=outer, parent=outer, name=b"@flow", body=pack_call([data]), argc=1
    )
    made.frames += 1
    effects = made.step(
        events.Submitted(1, made.frames, [(id, outer, outer, "@flow", 1, None, sealed)])
    )

    made.run(effects)

    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a())")
    assert split_done(made.log["done"][feeding.step_id(id, 1)])["submit"][32:48] == outer


def test_what_a_step_needs_may_be_a_flow_then_it_is_fed_the_result_of_that():
    made = Flows()
    first, effects = made.flow([step("a", 1)])
    made.run(effects)
    id, effects = made.flow([[None, 0, first, "done", None], step("a", feed=0)])

    effects = looked_up(made, effects)
    effects = looked_up(made, effects)
    made.run(effects)

    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a(1))")


def test_a_flow_and_its_result_may_both_be_needed():
    """The result counts for each that it stands for."""
    made = Flows()
    first, effects = made.flow([step("a", 1)])
    made.run(effects)
    result = feeding.step_id(first, 0)
    second, effects = made.flow([[None, 0, result, "done", None]])
    made.run(effects)
    id, effects = made.flow([step(None, feed=[second, result, first])])

    for _ in range(3):
        effects = looked_up(made, effects)

    assert made.outcome(feeding.step_id(id, 0)) == (Outcome.DONE, ["a(1)"] * 3)
    assert made.router.needed == {}


def test_a_flow_that_is_needed_by_two_ways_counts_once():
    """It is waited for as itself, and as the result of a flow that it stands for."""
    made = Flows()
    first, effects = made.flow([step("a", 1)])
    made.run(effects)
    second, effects = made.flow([[None, 0, first, "done", None]])
    made.run(effects)
    id, effects = made.flow([step("a", 2), step(None, feed=[second, first, 0])])
    [(_, [(other, attempt, _, submit)])] = effects.starts
    for _ in range(3):
        effects = looked_up(made, effects)
    assert made.router.calls[feeding.step_id(id, 1)].state is State.GATHERING

    made.run(made.answer(other, attempt, submit))

    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, ["a(1)", "a(1)", "a(2)"])


def test_the_delay_of_a_step_is_not_waited_for_again_after_a_crash():
    """A person wanted it now, and that is in the log."""
    made = Flows()
    late = step("a", 2, feed=0)
    late[4] = {"delay_ms": 60_000}
    id, effects = made.flow([step("a", 1), late])
    made.run(effects)
    [(_, [(running, *_)])] = made.step(
        events.RetryAsked(1, bytes(16), feeding.step_id(id, 1), "ann", None)
    ).starts
    assert running == feeding.step_id(id, 1)
    after, effects = recovered(made)

    looked_up(after, effects)
    after.run(after.join())

    assert after.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a(1),2)")


def test_a_step_that_expired_while_it_gathered_does_not_begin():
    made = Flows()
    late = step("a", 2, feed=0)
    late[4] = {"expires_ms": 50}
    id, effects = made.flow([step("a", 1), late])
    made.now += 60

    made.run(effects)

    assert [args for _, args, _ in made.ran] == [[1]]
    assert made.outcome(feeding.step_id(id, 1))[0] == Outcome.CANCELLED


def test_results_that_are_too_large_together_fail_the_step_with_both_numbers(monkeypatch):
    monkeypatch.setattr(limits, "BODY_BYTES_MAX", 20)
    made = Flows()
    id, effects = made.flow(
        [step("a", n) for n in range(9)] + [step(None, feed=[{"from": 0, "count": 9}])]
    )

    made.run(effects)

    code, error = made.outcome(feeding.step_id(id, 9))
    assert code == Outcome.FAILED
    assert error["code"] == "too_large"
    assert "25 bytes together, the limit is 20" in error["text"]


@pytest.mark.parametrize("fed", [False, True])
def test_results_that_are_nested_too_deep_together_fail_the_step_with_both_numbers(fed):
    """Nobody could read them."""
    deep: Any = 1
    for _ in range(limits.DATA_DEPTH_MAX - 1):
        deep = [deep]
    made = Flows()
    made.values = {"a": deep}
    made.socket("b")
    good = step("b", feed=[0]) if fed else step(None, feed=[0])
    bad = step("b", feed=[[0], 0]) if fed else step(None, feed=[[0], 0])
    id, effects = made.flow([step("a"), good, bad])

    made.run(effects)

    assert made.outcome(feeding.step_id(id, 1))[0] == Outcome.DONE, "one more is as deep as may be"
    code, error = made.outcome(feeding.step_id(id, 2))
    assert (code, error["code"]) == (Outcome.FAILED, "too_large")
    assert "nested 65 levels deep together, the limit is 64" in error["text"]
    assert not made.router.calls


def test_depth_is_told_only_where_it_is_too_great():
    assert feeding.depth_over(b"\x91" * 64 + b"\x01") == 0
    assert feeding.depth_over(b"\x91" * 90 + b"\x01") == 90
    assert feeding.depth_over(b"\x91" * 400 + b"\x01") == 255, "or more"
    assert feeding.depth_over(b"\xc4\x46" + b"\x91" * 70) == 0, "bytes are no lists"
    assert feeding.depth_over(b"\x91" * 60) == 0, "what cannot be read is not judged here"


def test_a_dead_lettered_step_is_fed_at_its_new_socket():
    made = Flows()
    made.socket("late", {"message_ttl_ms": 100, "dead_letter": "a"}, processor="other")
    id, effects = made.flow([step("a", 1), step("late", 2, feed=0)])
    made.run(effects)

    effects = made.wait(101)
    made.run(looked_up(made, effects))

    moved = child_id(feeding.step_id(id, 1), b"dead-letter")
    assert made.outcome(moved) == (Outcome.DONE, "a(a(1),2)")
    code, error = made.outcome(feeding.step_id(id, 1))
    assert code == Outcome.CANCELLED
    assert f"it goes on as {text_of(moved)} at socket a" in error["text"]


WRONG: list[tuple[Any, str, str]] = [
    ({}, "BadRequest", "a flow has one argument, its plan"),
    ({"steps": []}, "BadRequest", "the number of one of its 0 steps, it is None"),
    ({"steps": [step("a")], "result": 1}, "BadRequest", "one of its 1 steps, it is 1"),
    ({"steps": [step("a")], "result": True}, "BadRequest", "it is True"),
    ({"steps": [["a"]], "result": 0}, "BadRequest", "step 0 of the flow is not [socket, argc"),
    ({"steps": [step("no")], "result": 0}, "UnknownSocket", "step 0 of the flow: there is no"),
    ({"steps": [step("@flow")], "result": 0}, "UnknownSocket", "there is no socket '@flow'"),
    ({"steps": [step(None)], "result": 0}, "BadRequest", "has no socket and gathers nothing"),
    ({"steps": [step("a", feed=0)], "result": 0}, "BadRequest", "it needs step 0; a step may need"),
    ({"steps": [step("a", feed=-1)], "result": 0}, "BadRequest", "it needs step -1"),
    ({"steps": [step("a"), step("a", feed=[[1]])], "result": 0}, "BadRequest", "it needs step 1"),
    ({"steps": [step("a", feed="x")], "result": 0}, "BadRequest", "a feed is a number, an id or a"),
    ({"steps": [step("a", feed=b"x")], "result": 0}, "BadRequest", "an id has 16 bytes, not 1"),
    (
        {"steps": [step("a"), step("a", feed=[{"from": 0, "count": 2}])], "result": 0},
        "BadRequest", "it needs step 1; a step may need those before it, 0 to 0",
    ),
    (
        {"steps": [step("a"), step("a", feed=[{"from": 0, "count": -2}])], "result": 0},
        "BadRequest", "a range of steps counts up from 0",
    ),
    (
        {"steps": [step("a"), step("a", feed=[{"from": 0}])], "result": 0},
        "BadRequest", "has whole numbers as from, count and by",
    ),
    ({"steps": [["a", 1, b"\x90", None, None]], "result": 0}, "BadRequest", "that are not 1"),
    ({"steps": [["a", 300, b"", None, None]], "result": 0}, "BadRequest", "300 arguments, at most"),
    ({"steps": [["a", 0, "", None, None]], "result": 0}, "BadRequest", "that are not packed"),
    ({"steps": [["a", 0, b"\x90", None, []]], "result": 0}, "BadRequest", "options that are no"),
    (
        {"steps": [["a", 0, b"\x90", None, {"feed": 0}]], "result": 0},
        "BadRequest", "step 0 of the flow: option feed is written by a node only",
    ),
    (
        {"steps": [["a", 0, b"\x90", None, {"priority": 11}]], "result": 0},
        "BadRequest", "option priority must be 0 to 9, it is 11",
    ),
    ({"steps": [[None, 0, b"x", "done", None]], "result": 0}, "BadRequest", "names no call"),
    ({"steps": [step("a")], "result": 0, "earlier": [b"x"]}, "BadRequest", "ids of 16 bytes"),
    ({"steps": [step("a")], "result": 0, "earlier": 1}, "BadRequest", "are a list of ids"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind", "text"), WRONG)
def test_a_wrong_plan_is_refused_as_a_whole_and_nothing_is_kept(data, kind, text):
    made = Flows()
    [id] = make_ids(1, NOW)
    sealed = envelope(Kind.SUBMIT, id=id, name=b"@flow", body=pack_call([data]), argc=1)

    effects = made.step(events.Submitted(1, 9, [(id, NO_ID, NO_ID, "@flow", 1, None, sealed)]))

    [(_, refused, error)] = effects.refused
    assert refused == id
    assert text in error["text"], error
    assert effects.records == []
    assert made.router.calls == {}
    assert made.router.plans == {}


def test_a_flow_that_does_not_fit_a_queue_is_refused_with_both_numbers():
    made = Flows()
    made.socket("small", {"max_length": 3})

    _, effects = made.flow([step("small", n) for n in range(4)])

    [(_, _, error)] = effects.refused
    assert "small allows 3" in error["text"]
    assert "the flow has 4 steps there" in error["text"]
    assert error["text"].endswith(
        "they do not fit into an empty line either: make it of several flows, or "
        "`mesh update queue -n small --max-length 4`"
    )
    assert made.router.calls == {}


def test_a_flow_that_fits_when_others_have_ended_is_told_to_come_again():
    made = Flows()
    made.socket("small", {"max_length": 3}, processor="other")
    made.flow([step("small", n) for n in range(2)])

    _, effects = made.flow([step("small", n) for n in range(2)])

    assert effects.refused[0][2]["text"].endswith("nothing was accepted; try again later")


def test_a_flow_with_too_many_steps_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(limits, "FLOW_STEPS_MAX", 5)
    made = Flows()

    _, effects = made.flow([step("a", n) for n in range(6)])

    assert "the flow has 6 steps, the limit is 5" in effects.refused[0][2]["text"]


def test_arguments_are_checked_against_the_signature_with_what_a_step_is_fed():
    made = Flows()
    signature = {"args": [["x", "pos", True]], "text": "(x)"}
    made.step(events.ProcessorChanged("p", "", {"t": signature}))

    _, effects = made.flow([step("a", 1), step("a", 2, feed=0)])

    assert effects.refused[0][2]["text"].startswith("step 1 of the flow: a(x) takes 1 positional")


def test_a_client_may_not_write_the_options_of_the_router_nor_call_its_own_sockets():
    made = Flows()
    [id, other, third] = make_ids(3, NOW)
    fed = envelope(Kind.SUBMIT, id=id, name=b"a", meta=pack({"feed": 0}), argc=0)
    own = envelope(Kind.SUBMIT, id=other, name=b"@gather", argc=0)
    flow = envelope(Kind.SUBMIT, id=third, name=b"@flow", meta=pack({"feed": []}), argc=1)
    calls = [
        (id, NO_ID, NO_ID, "a", 0, {"feed": 0}, fed),
        (other, NO_ID, NO_ID, "@gather", 0, None, own),
        (third, NO_ID, NO_ID, "@flow", 1, {"feed": []}, flow),
    ]

    effects = made.step(events.Submitted(1, 9, calls))

    assert [error["text"] for _, _, error in effects.refused] == [
        "socket a: option feed is written by a node only",
        "socket @gather is the router's own; submit a plan to @flow; nothing was accepted",
        "socket @flow: option feed is written by a node only; nothing was accepted",
    ]


def test_the_steps_of_a_flow_carry_its_trace_unless_they_have_their_own():
    made = Flows()
    trace, own = (f"00-{digit * 32}-{digit * 16}-01" for digit in "12")
    [id] = make_ids(1, NOW)
    steps = [step("a", 1), ["a", 0, b"\x90", 0, {"trace": own}]]
    body = pack_call([{"steps": steps, "result": 1}])
    meta = pack({"trace": trace})
    sealed = envelope(Kind.SUBMIT, id=id, name=b"@flow", meta=meta, body=body, argc=1)

    made.step(events.Submitted(1, 9, [(id, NO_ID, NO_ID, "@flow", 1, {"trace": trace}, sealed)]))

    found = [made.router.calls[feeding.step_id(id, n)].option("trace") for n in (0, 1)]
    assert found == [trace, own]


def test_of_two_nodes_one_makes_the_steps_of_a_flow_when_the_other_has_a_copy():
    """Else what was acknowledged as two copies would be lost with one disk."""
    made = Flows()
    other = bytes([7]) * 16
    made.step(events.PeerChanged(other, "alive", 1, "core", "", "two"))

    id, effects = made.flow([step("a", 1), step("a", feed=0)])
    assert effects.accepted == []
    assert [(node, kind) for node, kind, _ in effects.peer if kind == Kind.KEEP] == [
        (other, Kind.KEEP)
    ]
    assert made.router.calls[id].reason == plan.COPY_REASON

    effects = made.step(events.PeerSaid(other, int(Kind.KEPT), [[id]]))
    assert effects.accepted[0][3:] == (2, 2)
    kept = [entry[0] for node, kind, entry in effects.peer if kind in (Kind.KEEP, Kind.DROP)]
    assert kept == [feeding.step_id(id, 0), feeding.step_id(id, 1), id], "the steps go first"
    made.settle(effects)
    assert made.outcome(feeding.step_id(id, 1)) == (Outcome.DONE, "a(a(1))")


def test_of_two_nodes_one_goes_on_with_a_flow_when_the_other_is_gone():
    made = Flows()
    other = bytes([7]) * 16
    made.step(events.PeerChanged(other, "alive", 1, "core", "", "two"))
    id, _ = made.flow([step("a", 1)])

    effects = made.step(events.PeerChanged(other, "dead", 1, "core", "", "two"))

    made.settle(effects)
    assert effects.accepted[0][3:] == (1, 2)
    assert made.outcome(feeding.step_id(id, 0)) == (Outcome.DONE, "a(1)")


def test_steps_that_are_fed_the_same_value_share_its_bytes():
    """A large value for a thousand branches is in memory once, until they are handed over."""
    made = Flows()
    made.socket("later", processor="other")
    made.values["a"] = "x" * 100_000
    before = made.router.bodies_bytes
    id, effects = made.flow([step("a"), *(step("later", n, feed=0) for n in range(20))])

    made.run(effects)

    fed = [made.router.calls[feeding.step_id(id, n)].fed for n in range(1, 21)]
    assert len({builtins.id(one.value) for one in fed}) == 1
    assert made.router.bodies_bytes - before < 20 * 1_000
    assert made.router.calls[feeding.step_id(id, 1)].weight > 100_000
    [(_, batch)] = made.join(2, "other").starts
    args, _ = unpack_call(body_of(batch[0][3]), False)
    assert args == ["x" * 100_000, 0]


def test_a_flow_that_waited_for_its_copy_makes_its_steps_after_a_crash_beside_what_came_later():
    """Their records have numbers of their own: those of calls not read yet are taken."""
    made = Flows()
    made.step(events.PeerChanged(bytes([7]) * 16, "alive", 1, "core", "", "two"))
    made.router.workers.clear()
    made.router.pools["p"].workers.clear()
    id, _ = made.flow([step("a", 1), step("a", feed=0)])
    later, _ = made.call("a", 5)
    after, effects = recovered(made)

    opens = [split_open(value)[1][16:32] for value in after.opens_after(effects)]
    assert sorted(opens) == sorted([later, feeding.step_id(id, 0), feeding.step_id(id, 1)])
    assert len({call.sequence for call in after.router.calls.values()}) == 3
