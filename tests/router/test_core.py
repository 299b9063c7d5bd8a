"""Rules of the core, one by one.  Most were broken once: docs/simulation.md, Track record."""

from __future__ import annotations

from meshcode import limits
from meshcode.router import events
from meshcode.router.records import split_state
from meshcode.router.states import State
from meshcode.router.timers import TIMERS_DEAD_MIN
from meshcode.wire.kinds import Outcome

from .driver import NOW, Driver, begun


def test_a_call_that_was_cancelled_while_it_ran_ends_when_it_comes_back_unbegun():
    """The canceller was told "interrupted": it must not begin again."""
    made = Driver()
    made.join()
    [id] = made.submit()
    made.step(events.CancelAsked(2, b"r" * 16, id, "ann"))

    effects = made.step(events.Returned(1, [id]))

    assert made.router.calls == {}
    assert begun(effects) == []
    assert effects.outcomes[0][1][13] == Outcome.CANCELLED


def test_a_cancelled_running_call_does_not_begin_after_a_crash():
    """The wish is in the log before the canceller is answered."""
    made = Driver()
    made.join()
    [id] = made.submit()
    effects = made.step(events.CancelAsked(2, b"r" * 16, id, "ann"))
    states = [(key, value) for table, key, value in effects.records if table == "state"]

    after = Driver()
    recovered = after.router.recover([(states[0][0], made.envelopes[1])], states, NOW)

    assert split_state(states[0][1])["cancelled_by"] == "ann"
    assert after.router.calls == {}
    tables = [table for table, _, _ in recovered.records]
    assert tables == ["open", "state", "done", "failed", "socket"]


def test_a_marked_call_that_is_given_back_is_no_longer_marked_in_the_log():
    """Else a crash would count an attempt that was not made."""
    made = Driver()
    made.join()
    [id] = made.submit()
    made.wait(limits.RUNNING_MARK_MS)

    effects = made.step(events.WorkerLost(1, [id], "stopped", blame=False))

    [(_, _, value)] = [op for op in effects.records if op[0] == "state"]
    assert split_state(value)["state"] == State.WAITING
    assert split_state(value)["attempt"] == 0


def test_a_moved_socket_is_offered_to_its_new_processor():
    """A call that ends at the old one makes room for a call at the new one."""
    made = Driver(concurrency=1)
    made.join(1)
    first, second = made.submit(2)
    made.socket("a", processor="other", concurrency=1)
    made.join(2, "other")

    effects = made.finish(first)

    assert [(worker, [id for id, *_ in batch]) for worker, batch in effects.starts] == [
        (2, [second])
    ]


def test_a_cancelled_call_lets_the_next_of_its_key_in():
    """It was let in itself, and had not begun yet."""
    made = Driver(key_concurrency=1)
    made.run_us = 50_000
    made.socket("b", priority=9)
    made.join(1)
    made.join(2)
    first, second, third = made.submit(3, key="k")
    [busy] = made.submit(1)
    [urgent] = made.submit(1, "b")
    assert begun(made.finish(first)) == [urgent], "so the second of the key is only let in"

    made.step(events.CancelAsked(2, b"r" * 16, second, "ann"))
    effects = made.finish(urgent)

    assert begun(effects) == [third]
    assert busy in made.router.calls


def test_a_quicker_rate_does_not_wait_for_the_timer_of_the_old_one():
    """1/h was changed to 1/s while its next call was an hour away."""
    made = Driver(rate_limit="1/h")
    made.join(1, slots=8)
    made.submit(3)
    made.socket("a", rate_limit="1/s")

    effects = made.wait(1_000)

    assert len(begun(effects)) == 1


def test_a_shorter_time_limit_holds_for_what_runs_already():
    """It is interrupted in the step that says so."""
    made = Driver()
    made.join(1)
    [id] = made.submit()
    made.now += 500

    effects = made.socket("a", time_limit_ms=100)

    assert effects.interrupts == [(1, id, "time limit")]


def test_a_shorter_time_to_live_holds_for_calls_that_wait_already():
    """And the one that is over it ends in the step that says so."""
    made = Driver()
    made.submit(1)
    made.wait(500)

    effects = made.socket("a", queue={"message_ttl_ms": 100})

    assert [op[0] for op in effects.records] == ["open", "done", "failed", "socket"]


def test_a_call_that_comes_back_after_its_expiry_does_not_begin():
    """It was running when it expired; now it only waits."""
    made = Driver()
    made.join(1)
    [id] = made.submit(1, expires_ms=50)
    made.wait(60)
    assert made.router.calls[id].state is State.RUNNING
    made.join(2)

    effects = made.step(events.WorkerLost(1, [id], "stopped", blame=False))

    assert begun(effects) == []
    assert made.router.calls == {}


def test_a_person_who_retries_a_held_call_gets_its_whole_time_in_the_queue():
    """It waited for the person longer than its queue allows."""
    made = Driver(retries=0)
    made.socket("a", queue={"message_ttl_ms": 100}, retries=0)
    made.join(1)
    [id] = made.submit(1)
    made.step(events.WorkerLost(1, [id], "signal 9"))
    made.wait(10_000)

    made.step(events.RetryAsked(1, b"r" * 16, id, "ann"))

    assert made.router.calls[id].state is State.WAITING


def test_a_repeat_that_meets_the_expiry_of_its_call_is_not_accepted_anew():
    """The shell looked for an outcome before the step, and there was none yet."""
    made = Driver()
    [id] = made.submit(1, expires_ms=50)
    call = made.router.calls[id]
    again = (id, id, bytes(16), "a", 1, call.options, call.envelope)
    made.now += 50

    effects = made.step(events.Submitted(1, 2, [again]))

    assert [(table, value is None) for table, _, value in effects.records] == [
        ("open", True),
        ("done", False),
        ("failed", False),
        ("socket", False),
    ]
    assert len(effects.outcomes) == 1


def test_memory_of_envelopes_is_bounded_and_they_come_back_in_order():
    """Those above the limit are read from the log, as many as fit."""
    made = Driver()
    made.run_us = 60_000  # So long that none is staged behind another.
    made.router.bodies_bytes_max = made.router.fetch_bytes_min = 200
    ids = made.submit(6)
    size = made.router.calls[ids[0]].size
    in_memory = [id for id in ids if made.router.calls[id].envelope is not None]
    order = begun(made.join(1))
    while len(order) < 6:
        effects = made.finish(order[-1])
        if effects.fetches:
            effects = made.fetch(effects)
        order += begun(effects)
        assert made.router.bodies_bytes <= 200 + size

    assert in_memory == ids[: 200 // size]
    assert order == ids


def test_what_is_parked_leaves_memory_for_a_line_that_moves():
    """Else each call of it would be read back from the log, since others came first."""
    made = Driver()
    made.socket("parked", processor="other")
    made.router.bodies_bytes_max = 100_000
    made.submit(2_000, "parked")
    kept = [one for one in made.router.calls.values() if one.envelope is not None]

    [id] = made.submit(1)

    assert 7 / 8 - 0.01 < sum(call.size for call in kept) / 100_000 <= 7 / 8
    assert made.router.calls[id].envelope is not None


def test_a_line_does_not_wait_for_a_fetch_of_a_call_that_ended():
    """Cancelled while its bytes were read: the next is read instead."""
    made = Driver()
    made.router.bodies_bytes_max = made.router.fetch_bytes_min = 0
    first, second = made.submit(2)
    asked = made.join(1)

    effects = made.step(events.CancelAsked(2, b"r" * 16, first, "ann"))
    effects = made.fetch(effects)

    assert asked.fetches == [1]
    assert begun(effects) == [second]


def test_a_call_that_the_log_cannot_give_back_is_held_and_the_line_goes_on():
    """It was acknowledged: it neither vanishes nor blocks those behind it."""
    made = Driver()
    made.router.bodies_bytes_max = made.router.fetch_bytes_min = 0
    damaged, good = made.submit(2)
    made.join(1)

    effects = made.step(events.Fetched([(1, b"")]))

    assert made.router.calls[damaged].state is State.HELD
    assert made.router.calls[damaged].reason.startswith("its record in the log cannot be read")
    assert effects.fetches == [2]
    assert begun(made.fetch(effects)) == [good]

    made.step(events.RetryAsked(1, b"r" * 16, damaged, "ann"))
    made.step(events.CancelAsked(1, b"r" * 16, damaged, "ann"))

    assert list(made.router.calls) == [good]


def test_calls_that_waited_for_a_retry_leave_memory_when_it_is_full():
    """A socket that fails for hours must not fill the memory with its calls."""
    made = Driver(retries=9, retry_delay_ms=1_000)
    made.router.bodies_bytes_max = 0
    made.router.fetch_bytes_min = 0
    [id] = made.submit()
    made.fetch(made.join(1))

    made.finish(id, Outcome.FAILED, retry=True)

    assert made.router.calls[id].state is State.DELAYED
    assert made.router.bodies_bytes == 0


def test_timers_of_ended_calls_are_swept():
    """A busy socket with a time to live of a week must not keep a week of timers."""
    made = Driver()
    made.join(1)
    for _ in range(3 * TIMERS_DEAD_MIN):
        [id] = made.submit(1, expires_ms=7 * 86_400_000)
        made.finish(id)

    assert len(made.router.timers) <= TIMERS_DEAD_MIN + 2


def test_ended_calls_are_swept_from_a_line_that_nobody_serves():
    """A device without a worker for months, whose calls expire in their queue."""
    made = Driver()
    made.socket("a", queue={"message_ttl_ms": 10})
    for _ in range(40):
        made.submit(100)
        made.wait(10)

    assert made.router.calls == {}
    assert sum(map(len, made.router.lines["a"].ready.values())) <= 1_200


def test_nothing_is_staged_behind_a_call_that_runs_long():
    """Also before the watch timer has asked anything back."""
    made = Driver()
    made.join(1)
    [warm] = made.submit()
    made.finish(warm)
    made.submit()
    made.now += limits.STUCK_MS

    made.submit()

    assert [call.state for call in made.router.calls.values()] == [State.RUNNING, State.WAITING]


def test_staged_calls_are_asked_back_once():
    """Not every millisecond for as long as the call runs."""
    made = Driver()
    made.join(1)
    [warm] = made.submit()
    made.finish(warm)
    made.submit(3)

    recalls = [made.wait(limits.STUCK_MS).recalls for _ in range(5)]

    assert recalls == [[1], [], [], [], []]


def test_no_call_passes_those_that_a_worker_gives_back():
    """The long call has ended, and some behind it, before the worker answers the recall."""
    made = Driver()
    made.run_us = 20
    made.join(1)
    for id in made.submit(20):
        made.finish(id)
    ids = made.submit(400)
    staged = list(made.router.workers[1].held)
    assert made.wait(limits.STUCK_MS).recalls == [1]

    handed = [begun(made.finish(id)) for id in ids[:50]]
    effects = made.step(events.Returned(1, staged[51:]))

    assert handed == [[]] * 50, "what it got then would run before what comes back"
    assert [*made.router.workers[1].held][:2] == ids[50:52]
    assert begun(effects) == ids[51 : 51 + len(begun(effects))]


def test_a_worker_that_had_nothing_to_give_back_is_handed_more():
    """All that was staged ran before it heard the question; it answers all the same."""
    made = Driver()
    made.join(1)
    [warm] = made.submit()
    made.finish(warm)
    ids = made.submit(2)
    assert made.wait(limits.STUCK_MS).recalls == [1]
    for id in ids:
        made.finish(id)
    [next_one] = made.submit()
    assert made.router.workers[1].held == {}

    assert begun(made.step(events.Returned(1, []))) == [next_one]


def test_retrying_an_ended_call_twice_makes_two_calls_with_ids_of_their_own():
    """One id for both could run, end, and be accepted again."""
    made = Driver()
    made.join(1, slots=8)
    [id] = made.submit(1, delay_ms=5)
    made.wait(5)
    submit = made.router.calls[id].envelope
    made.finish(id)
    asked = events.RetryAsked(1, b"r" * 16, id, "ann", (submit, {"finished_ms": NOW}))

    first = made.step(asked)
    second = made.step(asked)

    assert len({*begun(first), *begun(second)}) == 2
    assert len(made.router.calls) == 2
    assert all(call.options is None for call in made.router.calls.values()), "the delay is over"


def test_a_retry_of_an_ended_call_is_refused_while_the_node_takes_no_calls():
    """It is a new call like any other."""
    made = Driver()
    made.join(1)
    [id] = made.submit()
    submit = made.router.calls[id].envelope
    made.finish(id)
    made.step(events.Drained())

    effects = made.step(events.RetryAsked(1, b"r" * 16, id, "ann", (submit, {"finished_ms": NOW})))

    [(_, _, good, error)] = effects.answers
    assert (good, error["code"]) == (False, "busy")
    assert effects.records == []


def test_a_dead_letter_expires_at_its_own_socket():
    """Its time to live there counts from when it came."""
    made = Driver()
    made.socket("grave", queue={"message_ttl_ms": 1_000})
    made.socket("a", queue={"message_ttl_ms": 10, "dead_letter": "grave"})
    made.submit()
    made.wait(10)
    [child] = made.router.calls.values()

    made.wait(1_000)

    assert child.line.name == "grave"
    assert made.router.calls == {}


def test_dead_letters_do_not_go_round_for_ever():
    """Two sockets that are each other's dead letters, and nobody who runs them."""
    made = Driver()
    made.socket("b", queue={"message_ttl_ms": 10, "dead_letter": "a"})
    made.socket("a", queue={"message_ttl_ms": 10, "dead_letter": "b"})
    made.submit(1, by="ann", delay_ms=1)

    ended = [op for _ in range(10) for op in made.wait(10).records if op[0] == "done"]

    assert made.router.calls == {}
    assert len(ended) == 2
    assert b"it was dead-lettered at a, b already, so it ends here" in ended[1][2]


def test_options_without_room_do_not_stop_the_node():
    """The names of its arguments fill the options: there is no room for where it died."""
    made = Driver()
    made.socket("grave")
    made.socket("a", queue={"message_ttl_ms": 10, "dead_letter": "grave"})
    made.submit(1, kw=["k" * 100] * 160)

    effects = made.wait(10)

    assert made.router.calls == {}
    [record] = [value for table, _, value in effects.records if table == "done"]
    assert b"its options leave no room" in record


def test_a_client_that_breaks_its_fresh_promise_harms_only_its_own_call():
    """The same id lives and is dead-lettered twice; the node goes on, with one child."""
    made = Driver()
    made.socket("grave")
    made.socket("a", queue={"message_ttl_ms": 10, "dead_letter": "grave"})
    [id] = made.submit()
    submit = made.router.calls[id].envelope
    made.wait(10)
    made.step(events.Submitted(1, 9, [(id, id, bytes(16), "a", 1, None, submit)]))

    made.wait(10)

    assert [call.line.name for call in made.router.calls.values()] == ["grave"]


def test_the_story_of_a_call_is_bounded():
    """The first and the newest stay."""
    made = Driver(retries=1_000, retry_delay_ms=0)
    made.join(1)
    [id] = made.submit()
    for _ in range(200):
        made.finish(id, Outcome.FAILED, retry=True)

    story = made.router.calls[id].story
    assert len(story) == limits.STORY_EVENTS_MAX
    assert story[0][2].startswith("attempt 1 failed")
    assert story[-1][2].startswith("attempt 200 failed")


def test_very_many_that_expire_at_once_do_not_hold_up_all_others():
    """Some are left to the next step, and until then nothing begins, for it may be over."""
    made = Driver()
    count = 3 * limits.TIMERS_AT_ONCE
    made.submit(count, expires_ms=10)
    made.submit(1)

    first = made.wait(10)

    assert len(first.outcomes) == limits.TIMERS_AT_ONCE
    assert made.router.next_due_ms() <= made.now
    assert begun(made.join()) == []
    rest = [made.wait(0), made.wait(0)]
    assert sum(len(effects.outcomes) for effects in rest) == count - 2 * limits.TIMERS_AT_ONCE
    assert len(made.router.calls) == 1
    assert [len(begun(effects)) for effects in rest] == [1, 0]
