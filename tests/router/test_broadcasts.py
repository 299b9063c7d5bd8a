"""Broadcasts in the core of one node: who is reached, what the value is, and that it ends."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshcode.ids import NO_ID, child_id, make_ids
from meshcode.router import accept, events, plan, seats
from meshcode.router.core import Router
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.records import split_done
from meshcode.router.states import State
from meshcode.wire.codec import pack, unpack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW
from .flowing import Flows, looked_up, recovered, step

NODE = bytes(range(16)).hex()[:12]


class Crew(Flows):
    """A router with several workers, each of which says who it is."""

    def __init__(self, seats: int = 2, **socket: Any) -> None:
        self.prepare()
        super().__init__(**socket)
        self.crew(p=seats)
        for worker in range(2, seats + 1):
            self.join(worker)

    def prepare(self) -> None:
        self.where: list[tuple[int, str]] = []  # Worker and socket of what ran.

    def crew(self, **seats: int) -> Effects:
        """The node is to have so many workers, by processor."""
        return self.step(events.CrewChanged(seats))

    def settle(self, effects: Effects) -> None:
        waiting = [effects]
        while waiting:
            done = waiting.pop()
            if done.lookups:
                waiting.append(looked_up(self, done))
            for worker, batch in done.starts:
                for id, attempt, _, submit in batch:
                    assert submit is not None
                    waiting.append(self.report(worker, id, attempt, submit))

    def report(self, worker: int, id: bytes, attempt: int, submit: bytes) -> Effects:
        """One call runs at a worker, and its value is which."""
        name = submit[80 : 80 + submit[15]].decode()
        self.where.append((worker, name))
        code, body = Outcome.DONE, pack(f"{name}@{worker}")
        if name in self.failing and worker == 1:
            error = {"code": "remote", "text": "it raised", "fields": {"type": "ValueError"}}
            code, body = Outcome.FAILED, pack(error)
        data = envelope(Kind.OUTCOME, id=id, code=code, attempt=attempt, body=body)
        return self.step(events.Finished(worker, [(id, attempt, int(code), False, 200, 0, data)]))

    def value(self, id: bytes) -> Any:
        """What a broadcast came to; the error data when that is one."""
        result = plan.result_of(self.told[id])
        assert result is not None
        return self.outcome(result)[1]


def reply(place: int, value: Any, socket: str = "a", **more: Any) -> dict[str, Any]:
    found = {"socket": socket, "node": NODE, "place": place, "value": value} | more
    return {name: one for name, one in found.items() if one is not None}


def test_a_broadcast_runs_once_at_every_worker_and_says_where_each_value_is_from():
    made = Crew(3)

    id, effects = made.call("a", 7, broadcast=True)
    made.settle(effects)

    assert sorted(made.where) == [(1, "a"), (2, "a"), (3, "a")]
    assert made.value(id) == [reply(0, "a@1"), reply(1, "a@2"), reply(2, "a@3")]
    assert not made.log["open"] and not made.router.calls


def test_its_outcome_names_all_copies_in_one_batch_of_the_log():
    made = Crew(3)
    before = len(made.log["done"])

    id, effects = made.call("a", 7, broadcast=True)

    tables = [(table, value is None) for table, _, value in effects.records]
    assert tables.count(("open", False)) == 1 + 3 + 1, "itself, three copies, what gathers them"
    assert len(made.log["done"]) == before + 1 and id in made.log["done"]
    assert len(made.log["open"]) == 4


def test_an_error_of_one_worker_stands_in_its_place():
    made = Crew(2)
    made.failing.add("a")

    id, effects = made.call("a", broadcast=True)
    made.settle(effects)

    first, second = made.value(id)
    assert first["error"]["fields"]["type"] == "ValueError" and "value" not in first
    assert second == reply(1, "a@2")


def test_without_a_worker_it_is_parked_until_the_node_is_to_have_some():
    made = Crew(0)
    made.step(events.WorkerLost(1, [], "gone", blame=False))

    id, _ = made.call("a", broadcast=True)
    call = made.router.calls[id]
    assert call.state is State.WAITING
    assert made.router.parked_reason(call.line) == "no node has a worker for processor p"

    made.crew(p=2)
    assert id not in made.router.calls, "two places are known, before anybody sits there"
    made.settle(made.join(8))
    made.settle(made.join(9))
    assert made.value(id) == [reply(0, "a@8"), reply(1, "a@9")]


def test_a_node_that_has_not_said_how_many_workers_it_has_keeps_it():
    made = Flows()

    id, _ = made.call("a", broadcast=True)

    reason = made.router.parked_reason(made.router.calls[id].line)
    assert reason == "this node has not said yet which workers it has"


def test_who_takes_the_place_of_a_worker_that_died_gets_its_copy():
    made = Crew(2)
    id, effects = made.call("a", broadcast=True)
    [[first, _], [second, batch]] = sorted(effects.starts)
    assert (first, second) == (1, 2)

    made.step(events.WorkerLost(2, [], "recycled", blame=False))
    copy = made.router.calls[batch[0][0]]
    assert copy.state is State.WAITING
    expected = "worker 1 of processor p is not there: its processor has no worker yet"
    assert made.router.parked_reason(copy.line) == expected
    effects.starts = [start for start in effects.starts if start[0] == 1]
    made.settle(effects)
    assert made.where == [(1, "a")], "the other worker does not take it"

    made.settle(made.join(7))
    assert made.value(id) == [reply(0, "a@1"), reply(1, "a@7")]


def test_a_worker_that_leaves_gives_its_place_to_one_that_waits_for_it():
    """New code: its workers are ready before the old ones go."""
    made = Crew(1)
    made.join(2)
    made.step(events.WorkerLeaving(1))

    id, effects = made.call("a", broadcast=True)
    made.settle(effects)

    assert made.value(id) == [reply(0, "a@2")]


def test_a_worker_that_comes_later_was_not_addressed():
    made = Crew(1)
    id, effects = made.call("a", broadcast=True)

    made.crew(p=2)
    made.join(2)
    made.settle(effects)

    assert made.where == [(1, "a")]
    assert made.value(id) == [reply(0, "a@1")]


def test_a_copy_whose_place_is_gone_for_good_ends_with_an_error_and_keeps_the_others():
    made = Crew(2)
    made.step(events.WorkerLost(2, [], "stopped", blame=False))
    id, effects = made.call("a", broadcast=True)
    made.settle(effects)
    assert id in made.told and len(made.router.calls) == 2, "one copy, and what gathers"

    made.settle(made.crew(p=1))

    first, second = made.value(id)
    assert first == reply(0, "a@1")
    assert second["error"]["code"] == "seat_gone"
    assert second["error"]["text"] == (
        f"not run: it was for worker 1 (from 0) of socket a, and node {NODE} has 1 workers for "
        "processor p now; what the other workers said is kept; call again to reach those that are "
        "there now"
    )
    assert not made.router.calls


def test_what_runs_at_a_worker_that_is_not_wanted_any_more_may_finish():
    made = Crew(2)
    id, effects = made.call("a", broadcast=True)

    made.crew(p=1)
    made.step(events.WorkerLeaving(2))
    made.settle(effects)

    assert made.value(id) == [reply(0, "a@1"), reply(1, "a@2")]


def test_copies_do_not_wait_behind_calls_that_any_worker_may_run():
    """A socket that is only broadcast to is not starved by a busy one of the same processor."""
    made = Crew(1)
    made.socket("b")
    made.run_us = 200
    for _ in range(3):
        made.finish(made.submit(1, "b")[0])
    busy = made.submit(50, "b")
    assert sum(made.router.calls[id].state is State.RUNNING for id in busy) >= 2

    _, effects = made.call("a", broadcast=True)

    assert [worker for worker, _ in effects.starts] == [1]


def test_copies_keep_to_no_limit_of_their_socket():
    """They can go nowhere else, and once to each: a limit would only let some reach nobody."""
    made = Crew(3, concurrency=1, key_concurrency=1, rate_limit="1/h", queue={"max_length": 1})

    id, effects = made.call("a", broadcast=True, key="k")
    assert len(effects.starts) == 3
    made.settle(effects)

    assert len(made.value(id)) == 3


def test_a_time_limit_and_retries_hold_for_each_copy():
    made = Crew(2)
    id, effects = made.call("a", broadcast=True, retries=1, retry_delay_ms=0, time_limit_ms=1_000)
    [(_, [(first, *_)]), (_, [(second, *_)])] = sorted(effects.starts)

    late = made.wait(1_000)
    assert sorted(one for _, one, why in late.interrupts if why == "time limit") == sorted(
        [first, second]
    )
    again = made.finish(first, Outcome.FAILED, retry=True)
    assert [(worker, batch[0][:2]) for worker, batch in again.starts] == [(1, (first, 2))]
    made.finish(first)
    made.finish(second)
    assert id in made.told and not made.router.calls


def test_copies_expire_with_the_time_that_the_broadcast_has_left():
    made = Crew(2)
    made.step(events.WorkerLost(2, [], "gone", blame=False))
    id, effects = made.call("a", broadcast=True, delay_ms=2_000, expires_ms=5_000)
    assert made.router.calls[id].state is State.DELAYED and not effects.starts
    made.settle(made.wait(2_000))
    assert made.where == [(1, "a")]

    made.settle(made.wait(2_999))
    assert len(made.router.calls) == 2
    made.settle(made.wait(1))

    assert made.value(id)[1]["error"]["code"] == "cancelled"
    assert not made.router.calls


def test_a_paused_processor_keeps_the_broadcast_and_a_stopped_one_its_copies():
    made = Crew(2)
    made.processors["p"] = {"requested_status": "pause"}
    made.publish()
    id, effects = made.call("a", broadcast=True)
    assert id in made.router.calls and not effects.starts
    assert "is paused" in made.router.parked_reason(made.router.calls[id].line)

    made.processors["p"] = {}
    made.settle(made.publish())

    assert len(made.value(id)) == 2


def test_cancelling_what_gathers_and_the_copies_ends_them():
    made = Crew(2)
    id, effects = made.call("a", broadcast=True)
    result = plan.result_of(made.told[id])

    for one in (result, *[copy for copy in made.router.calls if copy != result]):
        made.step(events.CancelAsked(1, NO_ID, one, "me"))
    assert made.outcome(result)[0] == Outcome.CANCELLED
    for worker, batch in effects.starts:
        for one, attempt, _, _ in batch:
            body = pack({"code": "cancelled", "text": "x", "fields": {}})
            data = envelope(Kind.OUTCOME, id=one, code=3, attempt=attempt, body=body)
            made.step(events.Finished(worker, [(one, attempt, 3, False, 1, 0, data)]))

    assert not made.router.calls


def test_a_broadcast_is_a_step_of_a_flow_and_its_value_is_the_list():
    made = Crew(2)
    made.socket("b")
    made.socket("c")
    middle = step("b", 2, feed=0)
    middle[4] = {"broadcast": True}

    id, effects = made.flow([step("a", 1), middle, step("c", feed=1)])
    made.settle(effects)

    assert [name for _, name in made.where] == ["a", "b", "b", "c"]
    assert made.outcome(child_id(id, b"2"))[0] == Outcome.DONE
    assert not made.router.calls


def test_the_queue_may_ask_for_it_and_reaches_every_worker_of_every_socket():
    made = Crew(2)
    made.socket("b")
    made.socket("c", processor="other")
    for name in "abc":
        made.sockets[name]["queue"] = "all"
    made.queues["all"] = {"type": "broadcast"}
    made.publish()
    made.crew(p=2, other=1)
    made.join(5, "other")

    id, effects = made.call("b", 1)
    made.settle(effects)

    assert sorted(made.where) == [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (5, "c")]
    assert [(one["socket"], one["place"]) for one in made.value(id)] == [
        ("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0),
    ]  # fmt: skip

    made.where.clear()
    id, effects = made.call("b", 1, broadcast=False)
    made.settle(effects)
    assert sorted(name for _, name in made.where) == ["a", "b", "c"], "as of a fanout queue"


def test_at_a_topic_queue_it_reaches_every_worker_of_the_sockets_that_fit():
    made = Crew(2)
    made.socket("b")
    made.sockets["a"].update(queue="news", topic="order.*")
    made.sockets["b"].update(queue="news", topic="bill.*")
    made.queues["news"] = {"type": "topic"}
    made.publish()

    id, effects = made.call("b", broadcast=True, topic="order.new")
    made.settle(effects)
    assert sorted(made.where) == [(1, "a"), (2, "a")]

    id, effects = made.call("b", broadcast=True, topic="nothing")
    made.settle(effects)
    assert made.value(id) == []


def test_a_plug_with_a_broadcast_queue_gives_its_value_to_every_worker():
    made = Crew(2)
    made.socket("b")
    made.socket("c")
    made.sockets["c"]["queue"] = "all"
    made.queues["all"] = {"type": "broadcast"}
    made.plugs["p"] = {"source": "a", "target": "b", "queue": "all"}
    made.publish()

    _, effects = made.call("a")
    made.settle(effects)

    assert sorted(name for _, name in made.where[1:]) == ["b", "c", "c"]
    assert sorted(one for one in made.where if one[1] == "c") == [(1, "c"), (2, "c")]


def test_the_result_of_every_copy_goes_along_the_plugs_of_its_socket():
    made = Crew(2)
    made.socket("b")
    made.plugs["p"] = {"source": "a", "target": "b"}
    made.publish()

    _, effects = made.call("a", broadcast=True)
    made.settle(effects)

    assert [name for _, name in made.where].count("b") == 2


def test_figures_of_a_socket_count_its_copies_and_say_what_they_wait_for():
    made = Crew(2)
    made.step(events.WorkerLost(2, [], "gone", blame=False))
    made.call("a", broadcast=True)

    [(_, found)] = [one for one in seats.figures(made.router) if one[0].name == "a"]

    assert (found.waiting, found.running) == (1, 1)
    assert found.parked.startswith("worker 1 of processor p is not there")
    made.submit(2)
    [(_, found)] = [one for one in seats.figures(made.router) if one[0].name == "a"]
    assert found.waiting + found.running == 4 and found.parked == "", "plain calls can begin"
    depths = sum(line.depth + line.running for line in seats.own_lines(made.router))
    assert depths == len(made.router.calls), "nothing is shown as held that waits"


@pytest.mark.parametrize("when", ["before", "after"])
def test_after_a_crash_it_goes_on_with_the_seats_it_named(when):
    made = Crew(2)
    if when == "before":
        made.processors["p"] = {"requested_status": "pause"}
        made.publish()
    id, _ = made.call("a", broadcast=True)
    made.processors["p"] = {}

    again, effects = recovered(made)
    assert isinstance(again, Crew)
    again.settle(effects)
    again.settle(again.crew(p=2))
    again.settle(again.join(1))
    again.settle(again.join(2))

    result = plan.result_of(split_done(again.log["done"][id])["outcome"])
    assert again.outcome(result) == (Outcome.DONE, [reply(0, "a@1"), reply(1, "a@2")])
    assert sorted(again.where) == [(1, "a"), (2, "a")] and not again.log["open"], when


def test_copies_that_waited_end_when_the_node_has_another_id_since_it_joined_a_mesh():
    made = Crew(1)
    made.call("a", broadcast=True)
    model = {
        "number": 9, "sockets": made.sockets, "queues": made.queues, "processors": made.processors,
    }  # fmt: skip
    router = Router(b"x" * 16, 2, Random(1))
    router.step(events.ModelChanged(model), made.now)
    router.recover(sorted(made.log["open"].items()), (), made.now)

    effects = router.step(events.CrewChanged({"p": 1}), made.now)

    ended = [split_done(value) for table, _, value in effects.records if table == "done"]
    assert [done["code"] for done in ended] == [Outcome.FAILED, Outcome.DONE]
    error = unpack(body_of(ended[0]["outcome"]))
    assert "its node has joined a mesh since, under another id" in error["text"]
    assert unpack(body_of(ended[1]["outcome"]))[0]["error"] == error and not router.calls


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"broadcast": 1}, "option broadcast must be true or false, it is 1"),
        (
            {"broadcast": True, "stream": True},
            "options broadcast and stream do not go together: a copy has one value",
        ),
        ({"seat": {"node": b"x" * 16, "place": 0}}, "option seat is written by a node only"),
        ({"seats": True}, "option seats is written by a node only"),
    ],
)
def test_what_cannot_be_is_refused(options, text):
    assert accept.option_problem(options) == text


def test_a_stream_to_a_broadcast_queue_and_a_broadcast_of_a_plan_are_refused():
    made = Crew(2)
    made.queues["a"] = {"type": "broadcast"}
    made.publish()
    id, effects = made.call("a", stream=True)
    [(_, refused, data)] = effects.refused
    assert refused == id
    assert data["text"] == (
        "socket a: option stream does not go with its queue a, which is a broadcast: a copy has "
        "one value"
    )

    [id] = make_ids(1, NOW)
    body = pack([{"steps": [step("a")], "result": 0}])
    data = envelope(Kind.SUBMIT, id=id, name=b"@flow", body=body, argc=1)
    call = (id, NO_ID, NO_ID, "@flow", 1, {"broadcast": True}, data)
    effects = made.step(events.Submitted(1, 99, [call]))
    assert effects.refused[0][2]["text"] == (
        "socket @flow: option broadcast is for a call of a task, or for a step of a flow; nothing "
        "was accepted"
    )


def test_copies_that_are_too_large_together_are_not_made(monkeypatch):
    made = Crew(3)
    monkeypatch.setattr("meshcode.limits.BODY_BYTES_MAX", 1_000)

    id, effects = made.call("a", "x" * 200, broadcast=True)

    assert made.told[id][13] == Outcome.FAILED and not effects.starts
    error = unpack(body_of(made.told[id]))
    assert error["code"] == "too_large" and error["fields"]["limit"] == 1_000
    assert "reaches 3 workers" in error["text"]


def test_one_step_makes_so_many_copies_and_the_rest_of_a_frame_begins_in_the_next_in_order():
    made = Crew(4)
    made.router.copies_at_once = 8
    made.crew(p=4, other=1)
    made.sockets["b"] = {"processor": "other", "task": "t", "queue": "b"}
    made.queues["b"] = {}
    made.publish()
    made.join(5, "other")

    ids = made.submit(7, broadcast=True)
    begun = [[id for id in ids if id not in made.router.calls]]
    _, effects = made.call("b", broadcast=True)  # Of a line that is looked at after the first.
    assert len(effects.starts) == 1, "others have their turn"
    while len(begun[-1]) < len(ids):
        assert made.router.next_due_ms() == made.now + 1
        made.wait(1)
        begun.append([id for id in ids if id not in made.router.calls])

    assert begun == [ids[:2], ids[:4], ids[:6], ids]
    assert (made.router.next_due_ms() or 0) != made.now + 1
    assert sum(call.line.seat is not None for call in made.router.calls.values()) == 7 * 4 + 1


def test_a_broadcast_that_reaches_more_than_one_step_makes_is_made_whole():
    made = Crew(4)
    made.router.copies_at_once = 1

    [id] = made.submit(1, broadcast=True)

    assert id not in made.router.calls
    assert sum(call.line.seat is not None for call in made.router.calls.values()) == 4
