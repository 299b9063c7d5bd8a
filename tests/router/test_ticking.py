"""Schedules in the core: each tick makes one call, over crashes, changes and other nodes."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from meshcode import limits
from meshcode.replica.peers import ALIVE, DEAD
from meshcode.router import births, events, ticking
from meshcode.router.records import split_done, split_open
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

from .driver import NOW
from .flowing import Flows, looked_up, recovered

SECOND = 1_000
START = NOW - NOW % (60 * SECOND) + 60 * SECOND  # A whole minute after NOW.


def scheduled(**fields: Any) -> Flows:
    """Socket a is called by schedule s."""
    made = Flows()
    made.schedules["s"] = {"socket": "a", **fields}
    made.publish()
    return made


def at(made: Flows, time_ms: int) -> list[list[Any]]:
    """Let time pass to then, and everything happen; the arguments of the calls that ran."""
    made.ran.clear()
    made.settle(made.wait(time_ms - made.now))
    return [args for _, args, _ in made.ran]


def test_an_interval_fires_at_each_tick_once():
    made = scheduled(interval_ms=10 * SECOND, args=["x"])

    assert at(made, START) == [["x"]]
    assert at(made, START + 9 * SECOND) == []
    assert at(made, START + 10 * SECOND) == [["x"]]
    assert at(made, START + 10 * SECOND) == []


def test_a_tick_makes_a_call_with_the_arguments_and_says_who_called():
    made = scheduled(cron="* * * * *", args=[1], kwargs={"k": 2})

    made.settle(made.wait(START - made.now))

    assert made.ran == [("a", [1], {"k": 2})]
    done = split_done(made.log["done"][ticking.tick_id("s", START)])
    assert b"schedule s" in done["submit"]


def test_what_is_paused_or_deleted_fires_no_more_and_what_goes_on_makes_nothing_up():
    made = scheduled(interval_ms=10 * SECOND)
    assert len(at(made, START)) == 1
    made.schedules["s"]["requested_status"] = "pause"
    made.publish()
    assert at(made, START + 60 * SECOND) == []

    made.schedules["s"]["requested_status"] = "start"
    made.publish()
    assert at(made, START + 69 * SECOND) == []
    assert len(at(made, START + 70 * SECOND)) == 1

    del made.schedules["s"]
    effects = made.publish()
    assert at(made, START + 80 * SECOND) == []
    assert ("meta", b"schedule/s", None) in effects.records


def test_a_schedule_that_was_deleted_and_made_again_has_one_timer():
    made = scheduled(interval_ms=10 * SECOND)
    fields = made.schedules.pop("s")
    made.publish()
    made.schedules["s"] = fields
    made.publish()

    for n in range(3):
        assert len(at(made, START + n * 10 * SECOND)) == 1
    assert len([one for one in made.router.timers if one[2] == 4]) == 1


def test_other_arguments_hold_from_the_next_tick_on():
    made = scheduled(interval_ms=10 * SECOND, args=["old"])
    made.schedules["s"]["args"] = ["new"]
    made.publish()

    assert at(made, START) == [["new"]]


def test_jitter_delays_the_call_and_not_the_tick():
    made = scheduled(interval_ms=60 * SECOND, jitter_ms=30 * SECOND)
    later = made.router.ticks.by_name["s"].schedule.jitter_of("s", START)
    assert 0 < later <= 30 * SECOND

    assert at(made, START + later - 1) == []
    assert len(at(made, START + later)) == 1


def test_after_a_crash_a_tick_that_has_fired_does_not_fire_again():
    made = scheduled(interval_ms=10 * SECOND)
    at(made, START)
    made.log["meta"].clear()  # It died before it noted how far it was.
    made.log["meta"][b"schedule/s"] = _noted(made, START - 1)
    after, effects = recovered(made)
    after.join()

    after.settle(effects)
    assert at(after, START + 1) == []
    assert len(at(after, START + 10 * SECOND)) == 1


def _noted(made: Flows, last_ms: int) -> bytes:
    from meshcode.wire.codec import pack

    return pack([made.router.ticks.by_name["s"].digest, last_ms])


def test_ticks_that_were_missed_are_caught_up_as_the_schedule_says():
    for catch_up, expected in [("none", 0), ("last", 1), ("all", 6)]:
        made = scheduled(interval_ms=600 * SECOND, catch_up=catch_up)
        at(made, START)
        away = made.now + 3_600 * SECOND + 300 * SECOND
        made.now = away
        after, effects = recovered(made)
        after.join()
        after.settle(effects)

        assert len(after.ran) == expected, catch_up
        assert at(after, away) == []


def test_a_schedule_that_cannot_be_used_here_says_why_and_others_go_on():
    made = scheduled(cron="* * * * *", timezone="Nowhere/Town")
    made.schedules["good"] = {"socket": "a", "interval_ms": 10 * SECOND}
    made.publish()

    assert "Nowhere/Town" in made.router.ticks.wrong["s"]
    assert len(at(made, START)) == 1


def test_a_change_looks_only_at_the_schedules_that_it_names():
    made = scheduled(interval_ms=10 * SECOND)
    for n in range(20):
        made.schedules[f"other{n}"] = {"socket": "a", "interval_ms": 10 * SECOND}
    made.schedules["wrong"] = {"socket": "a", "cron": "* * * * *", "timezone": "Nowhere/Town"}
    made.publish()
    before = dict(made.router.ticks.by_name)

    made.schedules["s"] = {"socket": "a", "interval_ms": 20 * SECOND}
    del made.schedules["other0"], made.schedules["wrong"]
    keys = [("schedule", name) for name in ("s", "other0", "wrong", "never")]
    effects = made.publish(*keys, ("socket", "a"))

    after = made.router.ticks.by_name
    assert after.keys() == before.keys() - {"other0"}
    assert [name for name in after if after[name] is not before[name]] == ["s"]
    assert [key for _, key, _ in effects.records] == [b"schedule/other0", b"schedule/s"]
    assert made.router.ticks.wrong == {}


def test_a_call_of_a_socket_that_is_gone_waits_parked():
    made = scheduled(interval_ms=10 * SECOND)
    del made.sockets["a"]
    made.publish()

    at(made, START)

    [call] = made.router.calls.values()
    assert call.line.removed


# In a mesh.


def peered(made: Flows, *nodes: bytes, state: str = ALIVE) -> None:
    """Other core nodes that are there."""
    for node in nodes:
        made.step(events.PeerChanged(node, state, 1, "core", "", node.hex()))


def test_three_nodes_work_out_the_same_instance_and_the_first_of_them_claims_it():
    nodes = [bytes([n]) * 16 for n in (1, 2, 3)]
    keys = set()
    claims = []
    for me in nodes:
        made = scheduled(interval_ms=10 * SECOND)
        made.router.node = made.router.replica.me = made.router.replica.peers.me = me
        peered(made, *(node for node in nodes if node != me))
        effects = made.wait(START - made.now)
        effects = looked_up(made, effects)
        id = ticking.tick_id("s", START)
        inst = made.router.replica.by_id[id]
        is_first = me == inst.voters[0]
        assert (inst.payload, inst.boot) == (True, 0)
        assert inst.promise[1] == (me if is_first else bytes(16))
        claims += [me for _, kind, _ in effects.peer if kind == Kind.PREPARE]
        assert id not in made.router.calls, "it is claimed first"
        keys.add((inst.key, inst.voters))

    [(_, voters)] = keys
    assert set(voters) == set(nodes)
    assert claims == [voters[0]] * 2, "the others wait whether it does"


def test_a_tick_that_another_node_has_claimed_before_its_time_here_gets_its_call():
    """Its PREPARE came first, and it may be gone since: nobody else would have the call."""
    made = scheduled(interval_ms=10 * SECOND)
    nodes = [bytes([n]) * 16 for n in (1, 2)]
    peered(made, *nodes)
    id = ticking.tick_id("s", START)
    voters = ticking.keepers(made.router, id, made.now)
    key = births.shared_key(id, voters)
    prepare = [key, b"".join(voters), 0, None, [1, nodes[0], 1]]
    made.step(events.PeerSaid(nodes[0], int(Kind.PREPARE), [prepare]))
    inst = made.router.replica.by_id[id]
    assert not inst.payload

    effects = made.wait(START - made.now)

    assert inst.payload
    assert [table for table, _, _ in effects.records].count("open") == 1


def test_a_node_that_was_away_asks_the_others_for_what_they_made_meanwhile():
    made = scheduled(interval_ms=60 * SECOND, catch_up="all")
    other = b"\xff" * 16  # The first of two keeps the ticks.
    peered(made, other)
    made.wait(START - made.now + 585 * SECOND)  # It stood still; the last tick was 45 s ago.
    late = list(made.router.births)
    assert len(late) == 10
    effects = made.step(events.LookedUp([(b"", id, b"") for id in late]))
    assert not effects.records, "not yet"
    assert {entry[0] for _, kind, entry in effects.peer if kind == Kind.OUTCOME_OF} == set(late)

    told = [[id, envelope(Kind.OUTCOME, id=id, code=1, body=b"\xc0")] for id in late[:-2]]
    made.step(events.PeerSaid(other, int(Kind.OUTCOME_IS), told))
    made.step(events.PeerSaid(other, int(Kind.OUTCOME_IS), [[late[-2], b""]]))  # It is open there.
    effects = made.wait(limits.LATE_TICK_ASK_MS)
    made.step(events.LookedUp([(node, id, b"") for node, id in effects.lookups]))

    opened = [split_open(value)[1][16:32] for value in made.log["open"].values()]
    assert opened == late[-1:], "of which nobody knows"
    assert made.router.births == {} == made.router.ticks.pending


def test_who_asks_for_a_tick_that_is_open_here_is_told_so_and_need_not_make_it():
    made = scheduled(interval_ms=60 * SECOND)
    nodes = [bytes([n]) * 16 for n in (1, 2)]
    peered(made, *nodes)
    looked_up(made, made.wait(START - made.now))
    tick = ticking.tick_id("s", START)
    assert tick in made.router.replica.by_id
    call, _ = made.call("a")

    effects = made.step(events.PeerSaid(nodes[0], int(Kind.OUTCOME_OF), [[tick], [call]]))

    assert effects.peer == [(nodes[0], int(Kind.OUTCOME_IS), [tick, b""])]
    assert not effects.lookups


def away_for_long() -> tuple[Flows, bytes, int]:
    """Of three nodes one is gone for more than a minute; this one comes before the third.

    Returns the core, the third, and when the next tick is due.
    """
    made = scheduled(interval_ms=600 * SECOND)
    me = bytes(15) + b"\x01"
    made.router.node = made.router.replica.me = made.router.replica.peers.me = me
    nodes = [bytes([n]) * 16 for n in (1, 2)]
    peered(made, *nodes)
    made.wait(START + SECOND - made.now)
    made.step(events.PeerChanged(nodes[0], "dead", 1, "core", "", "one"))
    due_ms = made.router.ticks.by_name["s"].due_ms
    assert due_ms is not None and due_ms - made.now > limits.KEEPER_AWAY_MS
    return made, nodes[1], due_ms


def test_who_would_make_a_tick_alone_that_three_keep_asks_who_is_there_first():
    """They need not agree on who is away: else it is made alone and with others (seed 13688)."""
    made, other, due_ms = away_for_long()
    effects = looked_up(made, made.wait(due_ms - made.now))
    tick = ticking.tick_id("s", due_ms)
    assert list(made.router.births) == [tick] and tick not in made.router.calls
    assert (other, int(Kind.OUTCOME_OF), [tick]) in effects.peer

    looked_up(made, made.wait(limits.NEED_ASK_MS))

    assert tick in made.router.calls and not made.router.births


def test_who_hears_that_others_have_a_tick_does_not_make_it_alone():
    made, other, due_ms = away_for_long()
    looked_up(made, made.wait(due_ms - made.now))
    tick = ticking.tick_id("s", due_ms)
    assert tick in made.router.births
    made.step(events.PeerSaid(other, int(Kind.OUTCOME_IS), [[tick, b""]]))

    looked_up(made, made.wait(limits.NEED_ASK_MS))

    assert tick not in made.router.calls and made.router.births == {}


def test_a_tick_that_one_would_keep_who_is_not_counted_any_more_is_asked_for_first():
    """Of four nodes any three make it, and not all count the same one as away (seed 1005851)."""
    made = scheduled(interval_ms=600 * SECOND)
    nodes = [bytes([n]) * 16 for n in range(1, 4)]
    peered(made, *nodes)
    ticks = [ticking.tick_id("s", START + n * SECOND) for n in range(40)]
    before = {tick: ticking.keepers(made.router, tick, made.now) for tick in ticks}
    made.step(events.PeerChanged(nodes[0], "dead", 1, "core", "", "one"))
    made.now += 2 * limits.KEEPER_AWAY_MS

    for tick in ticks:
        keepers = ticking.keepers(made.router, tick, made.now)
        asks = ticking._may_be_kept_by_others(made.router, tick, keepers)
        assert len(keepers) == 3 and asks is (nodes[0] in before[tick])


def test_of_many_nodes_three_keep_a_tick_and_ticks_are_spread():
    made = scheduled(interval_ms=10 * SECOND)
    nodes = [bytes([n]) * 16 for n in range(1, 7)]
    peered(made, *nodes)
    seen = set()
    for n in range(50):
        keepers = ticking.keepers(made.router, ticking.tick_id("s", START + n), made.now)
        assert len(set(keepers)) == 3
        seen |= set(keepers)

    assert len(seen) == 7


def test_a_node_that_is_away_keeps_ticks_for_a_minute_more():
    made = scheduled(interval_ms=10 * SECOND)
    nodes = [bytes([n]) * 16 for n in (1, 2, 3)]
    peered(made, *nodes)
    peered(made, nodes[0], state=DEAD)
    ids = [ticking.tick_id("s", START + n) for n in range(50)]
    keeping = {node for id in ids for node in ticking.keepers(made.router, id, made.now)}
    assert nodes[0] in keeping

    made.now += limits.KEEPER_AWAY_MS
    keeping = {node for id in ids for node in ticking.keepers(made.router, id, made.now)}
    assert nodes[0] not in keeping


def test_two_sets_of_voters_never_make_the_same_instance():
    id = ticking.tick_id("s", START)
    nodes = [bytes([n]) * 16 for n in (1, 2, 3, 4)]

    assert births.shared_key(id, tuple(nodes[:3])) != births.shared_key(id, tuple(nodes[1:]))
    assert births.shared_key(id, (nodes[2], nodes[0], nodes[1])) == births.shared_key(
        id, tuple(nodes[:3])
    )


def test_a_tick_that_was_not_made_before_a_crash_is_made_after_it():
    """That it is due was on disk; the history was still looked at."""
    made = scheduled(interval_ms=10 * SECOND, catch_up="all")
    effects = made.wait(START - made.now)
    missed = len(effects.lookups)  # The answers never come.

    after, effects = recovered(made)
    after.join()
    after.settle(effects)
    after.settle(after.wait(0))

    assert missed > 0
    assert [name for name, _, _ in after.ran] == ["a"] * missed


def _work_of_firing(count: int) -> int:
    """Lines of the core that run when so many schedules fire at one time."""
    made = Flows()
    for n in range(count):
        made.schedules[f"s{n}"] = {"socket": "a", "interval_ms": 60 * SECOND}
    made.publish()
    made.now = START
    lines = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal lines
        lines += event == "line" and "ticking" in frame.f_code.co_filename
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        fired = made.router.step(events.Ticked(), made.now)
        while made.router.timers[0][0] <= made.now:
            fired.merge(made.router.step(events.Ticked(), made.now))
        answer = events.LookedUp([(node, id, b"") for node, id in fired.lookups])
        made.router.step(answer, made.now)
    finally:
        sys.settrace(before)
    made.router.check()
    assert len(fired.lookups) == count == len(made.router.calls)
    assert made.router.ticks.pending == {} == made.router.ticks.left
    return lines


def test_schedules_that_fire_at_one_time_cost_each_the_same_however_many_they_are():
    few, many = _work_of_firing(50), _work_of_firing(400)

    assert many <= 8.5 * few
