"""Streams in the core: items as calls, each once, in order, and never more than the window."""

from __future__ import annotations

from typing import Any

import pytest

from meshcode import limits
from meshcode.ids import child_id
from meshcode.router import events, streams
from meshcode.router.effects import Effects
from meshcode.router.envelopes import body_of
from meshcode.router.records import split_done
from meshcode.router.states import State
from meshcode.wire.codec import pack, unpack_call
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import begun
from .flowing import Flows, recovered

WINDOW = limits.STREAM_WINDOW


class Streamed(Flows):
    """Socket a yields, worker 1 runs it; what its items cause runs at worker 2, one processor on.

    Nothing of what is handed to worker 2 runs before a test says so.
    """

    def __init__(self) -> None:
        self.prepare()
        super().__init__()
        for name in "bcd":
            self.socket(name, processor="other")
        self.plugs["p"] = {"source": "a", "target": "b"}
        self.publish()
        self.join(2, "other", slots=1)

    def prepare(self) -> None:
        self.credits: list[int] = []
        self.at_two: list[tuple[bytes, int, bytes]] = []

    def step(self, event: Any) -> Effects:
        effects = super().step(event)
        for worker, batch in effects.starts:
            if worker == 2:
                self.at_two += [(id, attempt, submit) for id, attempt, _, submit in batch]
        if 2 in effects.recalls:
            back, self.at_two = [id for id, _, _ in self.at_two[1:]], self.at_two[:1]
            self.step(events.Returned(2, back))
        self.credits += [units for _, _, _, units in effects.credits]
        return effects

    def begin(self) -> bytes:
        """The generator runs at worker 1."""
        id, effects = self.call("a")
        assert begun(effects) == [id]
        return id

    def yields(self, id: bytes, first: int, count: int, size: int = 0) -> Effects:
        """It yields items `first` to `first + count`, each its number, or so many bytes."""
        attempt = self.router.calls[id].attempt
        items = [
            (id, attempt, n, pack(bytes(size) if size else n), b"", 0)
            for n in range(first, first + count)
        ]
        event = events.Yielded(1, items)
        wanted = streams.unsure(self.router, items)
        event.ended = {one for one in wanted if one in self.log["done"]}
        return self.step(event)

    def consume(self, count: int) -> list[Any]:
        """Worker 2 runs so many of what it was handed, and is handed the next; their arguments."""
        before = len(self.ran)
        for _ in range(count):
            id, attempt, submit = self.at_two.pop(0)
            name = submit[80 : 80 + submit[15]].decode()
            data = envelope(Kind.OUTCOME, id=id, code=1, attempt=attempt, body=pack(name))
            self.ran.append((name, unpack_call(body_of(submit), False)[0], {}))
            self.step(events.Finished(2, [(id, attempt, 1, False, 200, 0, data)]))
        return [args[0] for _, args, _ in self.ran[before:]]

    def ends(self, id: bytes, items: int) -> Effects:
        """The generator has no more."""
        attempt = self.router.calls[id].attempt
        body = pack({"items": items, "stream": id})
        data = envelope(
            Kind.OUTCOME, id=id, code=1, attempt=attempt, body=body, meta=pack({"items": items})
        )
        return self.step(events.Finished(1, [(id, attempt, 1, False, 200, 0, data)]))


@pytest.fixture
def made() -> Streamed:
    return Streamed()


def test_each_item_is_an_ended_call_whose_outcome_goes_along_the_plugs(made):
    id = made.begin()

    effects = made.yields(id, 0, 3)

    batch = {(table, key) for table, key, value in effects.records if value is not None}
    for number in range(3):
        item = streams.item_id(id, number)
        assert ("done", item) in batch
        done = split_done(made.log["done"][item])
        assert (done["submit"][32:48], done["submit"][48:64]) == (id, id), "flow and parent"
        assert made.outcome(item) == (Outcome.DONE, number)
    assert made.consume(3) == [0, 1, 2]
    made.ends(id, 3)
    assert [name for name, _, _ in made.ran] == ["b", "b", "b"], "the outcome takes no plug"
    assert made.router.calls == {}
    assert made.log["open"] == {}
    assert not made.router.streams.by_call
    assert not made.router.streams.tracked


def test_a_slow_consumer_holds_up_the_generator(made):
    id = made.begin()

    made.yields(id, 0, WINDOW)
    assert made.credits == []
    made.consume(WINDOW // 4 - 1)
    assert made.credits == []
    made.consume(1)

    assert made.credits == [WINDOW + WINDOW // 4]
    made.yields(id, WINDOW, WINDOW // 4)
    made.consume(WINDOW)
    assert made.credits[-1] == 2 * WINDOW + WINDOW // 4
    assert len(made.router.streams.tracked) == 0


def test_the_credit_comes_back_through_all_that_an_item_causes(made):
    made.plugs["q"] = {"source": "b", "target": "c"}
    made.plugs["r"] = {"source": "b", "target": "d"}
    made.publish()
    id = made.begin()

    made.yields(id, 0, WINDOW)
    order = made.consume(WINDOW)  # All calls of b, some of c and d: they take turns.

    assert len(order) == WINDOW
    done = made.credits[-1] - WINDOW if made.credits else 0
    ended = sum(name in "cd" for name, _, _ in made.ran) // 2
    assert done <= ended < WINDOW
    made.consume(2 * WINDOW)
    assert made.credits[-1] == 2 * WINDOW
    assert not made.router.streams.tracked


def test_large_items_take_more_of_the_window(made):
    id = made.begin()
    units = streams.units_of(3 * limits.STREAM_UNIT_BYTES)
    assert units == 4

    made.yields(id, 0, 16, size=3 * limits.STREAM_UNIT_BYTES)
    made.consume(16)

    assert made.credits == [WINDOW + 64]


def test_a_later_attempt_meets_the_items_of_the_one_before(made):
    id = made.begin()
    made.yields(id, 0, 10)
    made.consume(4)

    made.step(events.WorkerLost(1, [id], "signal 9"))
    assert made.router.calls[id].state is State.DELAYED
    made.join(3)
    made.wait(1_000)
    assert made.router.calls[id].worker.id == 3
    attempt = made.router.calls[id].attempt
    items = [(id, attempt, n, pack(n), b"", 0) for n in range(12)]
    wanted = streams.unsure(made.router, items)
    assert wanted == [streams.item_id(id, n) for n in range(10)]
    made.step(events.Yielded(3, items, {one for one in wanted if one in made.log["done"]}))

    made.consume(8)
    assert [args[0] for _, args, _ in made.ran] == list(range(12))
    stream = made.router.streams.by_call[id]
    assert (stream.received, stream.used, stream.over) == (12, 12, 12)


def test_after_a_restart_of_the_node_no_item_is_made_twice(made):
    id = made.begin()
    made.yields(id, 0, 10)
    made.consume(4)

    after, effects = recovered(made)
    after.join(2, "other")
    effects = after.join(1)
    assert begun(effects) == [id]
    after.yields(id, 0, 12)

    assert after.consume(8) == [4, 5, 6, 7, 8, 9, 10, 11]
    assert after.router.streams.by_call[id].over == 12
    after.ends(id, 12)
    assert not after.router.calls


def test_items_of_an_attempt_that_was_given_up_are_not_taken(made):
    id = made.begin()
    items = [(id, 7, 0, pack(0), b"", 0)]

    made.step(events.Yielded(1, items))

    assert not made.router.streams.by_call
    assert made.at_two == []


def test_an_item_chooses_its_plugs(made):
    made.plugs["q"] = {"source": "a", "target": "c"}
    made.publish()
    id = made.begin()

    made.step(events.Yielded(1, [(id, 1, 0, pack("x"), pack({"plugs": ["q"]}), 0)]))

    made.consume(1)
    assert made.ran == [("c", ["x"], {})]


def test_a_cancelled_stream_keeps_its_items(made):
    id = made.begin()
    made.yields(id, 0, 3)

    effects = made.step(events.CancelAsked(2, b"r" * 16, id, "ann"))
    assert effects.interrupts == [(1, id, "cancel")]
    attempt = made.router.calls[id].attempt
    data = envelope(Kind.OUTCOME, id=id, code=3, attempt=attempt, body=pack({}))
    made.step(events.Finished(1, [(id, attempt, 3, False, 5, 0, data)]))

    assert made.consume(3) == [0, 1, 2]
    assert not made.router.streams.by_call
    assert made.log["done"].keys() >= {streams.item_id(id, n) for n in range(3)}


def test_a_failed_stream_takes_its_error_plug_once(made):
    made.plugs["bad"] = {"source": "a", "target": "c", "type": "ERROR"}
    made.publish()
    id = made.begin()
    made.yields(id, 0, 1)

    body = pack({"code": "remote", "text": "no", "fields": {}})
    data = envelope(Kind.OUTCOME, id=id, code=2, attempt=1, body=body)
    made.step(events.Finished(1, [(id, 1, 2, False, 5, 0, data)]))

    made.consume(2)
    assert [name for name, _, _ in made.ran] == ["b", "c"]


def test_the_calls_of_a_full_stream_run_in_the_worker_that_makes_them():
    made = Streamed()
    made.socket("b", processor="p")
    id = made.begin()
    second, effects = made.call("a")
    assert effects.starts == [], "worker 1 is busy"

    effects = made.yields(id, 0, WINDOW)

    [(worker, batch)] = effects.starts
    first = child_id(streams.item_id(id, 0), b"plug:p")
    assert (worker, batch[0][0]) == (1, first), "it is the turn of b, and of no second stream"
    assert made.router.calls[id].started_ms == made.now
    made.now += 5_000
    made.settle(effects)
    assert made.credits == [WINDOW + WINDOW // 4], "now it is the turn of the stream again"
    assert WINDOW // 4 <= len(made.ran) < WINDOW
    assert made.router.calls[id].started_ms == made.now, "waiting does not count"
    made.settle(made.yields(id, WINDOW, WINDOW // 4))
    done = {args[0] for _, args, _ in made.ran}
    assert done == set(range(len(made.ran))), "each once, none left out"
    assert len(made.ran) >= WINDOW // 2
    assert made.router.calls[second].state is State.WAITING


def test_a_stream_that_waits_is_not_over_its_time_limit(made):
    made.socket("a", time_limit_ms=1_000)
    id = made.begin()
    made.yields(id, 0, WINDOW)

    assert made.wait(60_000).interrupts == []
    made.consume(WINDOW)
    assert made.wait(900).interrupts == []

    assert made.wait(200).interrupts == [(1, id, "time limit")]


def test_a_staged_generator_that_yields_has_begun(made):
    """The one before it was put aside by the worker; its time does not count from the year 1970."""
    made.socket("a", time_limit_ms=1_000)
    made.router.lines["a"].learn(200)  # They are quick, so one is staged behind the other.
    made.begin()
    id = made.begin()
    assert made.router.calls[id].started_ms == 0

    made.yields(id, 0, WINDOW)
    made.wait(500)
    made.consume(WINDOW)

    told = made.wait(900).interrupts + made.wait(50).interrupts
    assert id not in [one for _, one, _ in told]
    assert (1, id, "time limit") in made.wait(100).interrupts


def test_a_staged_generator_that_yields_is_stopped_at_its_time_limit(made):
    """Also while the one before it has not ended, as far as the node knows."""
    made.socket("d", processor="p", time_limit_ms=1_000)
    for name in "ad":
        made.router.lines[name].learn(200)
    made.begin()
    id, effects = made.call("d")
    assert begun(effects) == [id], "staged"
    made.yields(id, 0, 1)

    assert made.wait(900).interrupts == []
    assert made.wait(200).interrupts == [(1, id, "time limit")]


def test_a_stream_that_waits_beside_other_calls_is_not_over_its_time_limit_either():
    """An `async def` generator keeps its slot, and others run beside it."""
    made = Streamed()
    made.step(events.WorkerLost(1, [], "stopped", False))
    made.join(slots=4)
    made.socket("a", time_limit_ms=1_000)
    id = made.begin()
    made.yields(id, 0, WINDOW)

    assert made.wait(60_000).interrupts == []
    made.consume(WINDOW)
    assert made.wait(900).interrupts == []

    assert made.wait(200).interrupts == [(1, id, "time limit")]


def test_generators_that_fill_a_worker_and_wait_leave_room_for_what_their_items_cause():
    """Else none of them would ever go on: both are of one processor with one worker."""
    made = Streamed()
    made.step(events.WorkerLost(1, [], "stopped", False))
    made.socket("b", processor="p")
    made.join(slots=2)
    first, second = made.begin(), made.begin()
    made.yields(first, 0, WINDOW)

    effects = made.yields(second, 0, WINDOW)

    started = [id for _, batch in effects.starts for id, *_ in batch]
    assert {made.router.calls[id].line.name for id in started} == {"b"}
    assert begun(made.call("a")[1]) == [], "no further generator begins there"


def test_a_stream_within_a_stream_counts_until_its_own_items_are_over(made):
    made.socket("b", processor="p")
    made.plugs["q"] = {"source": "b", "target": "c"}
    made.publish()
    made.join(3)
    outer = made.begin()
    effects = made.yields(outer, 0, 1)
    [(_, [(inner, attempt, _, _)])] = [one for one in effects.starts if one[0] == 3]
    items = [(inner, attempt, n, pack(n), b"", 0) for n in range(2)]
    made.step(events.Yielded(3, items))

    body, meta = pack({"items": 2}), pack({"items": 2})
    data = envelope(Kind.OUTCOME, id=inner, code=1, attempt=attempt, body=body, meta=meta)
    made.step(events.Finished(3, [(inner, attempt, 1, False, 5, 0, data)]))

    assert made.router.streams.by_call[outer].over == 0
    made.consume(1)
    assert made.router.streams.by_call[outer].over == 0
    made.consume(1)
    assert made.router.streams.by_call[outer].over == 1
    assert list(made.router.streams.by_call) == [outer]


def test_whoever_calls_cannot_make_items():
    made = Flows()
    id, effects = made.call("@item", 1)

    [(_, refused, error)] = effects.refused
    assert refused == id
    assert "the router's own" in error["text"]


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_option_is_true_or_false(value):
    made = Flows()
    _, effects = made.call("a", stream=value)

    [(_, _, error)] = effects.refused
    assert "option stream must be true or false" in error["text"]
