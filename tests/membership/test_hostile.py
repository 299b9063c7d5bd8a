"""Members that send nonsense: ignored, counted, and nothing has changed."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import pytest

from meshcode import limits
from meshcode.membership.events import Added, Received
from meshcode.membership.messages import meta_bytes, plain_bytes, trouble_with
from meshcode.membership.swim import Swim
from meshcode.wire.codec import pack

ME, ANN, BOB = (bytes([number]) * 16 for number in range(1, 4))

GOOD: list[dict[str, Any]] = [
    {"k": "ping", "b": 1, "i": 0, "q": 1},
    {"k": "ack", "b": 1, "i": 0, "q": 1, "u": [[BOB, 2, 1, 0, [ANN], None]]},
    {"k": "ask", "b": 1, "i": 0, "q": 1, "t": BOB, "w": 100},
    {"k": "nack", "b": 1, "i": 0, "q": 1},
    {"k": "news", "b": 1, "i": 0, "u": [[BOB, 0, 3, 1, None, [2, 9, {"name": "bob"}]]]},
    {"k": "news", "b": 1, "i": 0, "u": [[BOB, 1, 3, 1, 9_000, None]]},
    {"k": "sync", "b": 1, "i": 0, "d": bytes(8)},
    {"k": "push", "b": 1, "i": 0, "r": True, "u": []},
]


def make_swim() -> Swim:
    """A node that has heard both members."""
    swim = Swim(ME, 1, Random(1))
    for node in (ANN, BOB):
        swim.step(Added(node, "core"), 1_000)
        swim.step(Received(node, {"k": "news", "b": 1, "i": 0}), 1_000)
    return swim


def facts(swim: Swim) -> Any:
    """Everything a message could change, but the counters."""
    return copy.deepcopy(
        (swim.own, swim.members, swim.probes, swim.relays, swim.news.told, swim.health.score)
    )


def random_data(rng: Random, depth: int = 4) -> Any:
    """Any plain data, and some that is not."""
    leaf = (
        None, True, False, 0, 1, -1, 2**31, 2**48, 2**64, 0.5, float("nan"), "k", "ping", "\ud800",
        ANN, BOB, ME, b"", bytes(8), rng.randbytes(rng.randrange(20)), "x" * rng.randrange(2_000),
    )  # fmt: skip
    pick = rng.randrange(6 if depth else 4)
    if pick < 4:
        return rng.choice(leaf)
    if pick == 4:
        return [random_data(rng, depth - 1) for _ in range(rng.randrange(7))]
    keys = ("k", "b", "i", "q", "t", "w", "d", "r", "u", "x", 3, ANN)
    return {rng.choice(keys): random_data(rng, depth - 1) for _ in range(rng.randrange(7))}


def spoil(rng: Random, value: Any) -> Any:
    """Replace one thing somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice([*value])
        if rng.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: spoil(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], spoil(rng, value[at]), *value[at + 1 :]]
    return random_data(rng)


@pytest.mark.parametrize("message", GOOD, ids=lambda message: message["k"])
def test_good_messages_are_good(message: dict[str, Any]):
    assert trouble_with(message) == ""


def test_random_data_is_ignored_counted_and_changes_nothing():
    swim, rng = make_swim(), Random(5)
    before = facts(swim)

    for number in range(20_000):
        out = swim.step(Received(ANN, random_data(rng)), 1_000)
        assert (out.sends, out.changes) == ([], []), number

    assert facts(swim) == before
    assert swim.counters == {"bad_message": 20_000}


def test_spoiled_messages_never_raise_and_bad_ones_change_nothing():
    rng, bad = Random(6), 0
    for _ in range(5_000):
        message = spoil(rng, rng.choice(GOOD))
        if not trouble_with(message):
            swim = make_swim()
            for to, sent in swim.step(Received(ANN, message), 1_000).sends:
                assert to in (ANN, BOB)
                assert trouble_with(sent) == ""
                assert pack(sent)
            continue
        bad += 1
        if bad % 5 == 0:
            swim = make_swim()
            before = facts(swim)
            swim.step(Received(ANN, message), 1_000)
            assert facts(swim) == before, message

    assert bad > 2_000


def test_a_stranger_is_not_heard():
    swim = make_swim()
    before = facts(swim)

    out = swim.step(Received(bytes(16), GOOD[0]), 1_000)

    assert (out.sends, facts(swim)) == ([], before)
    assert swim.counters == {"unknown_sender": 1}


def test_no_member_can_make_the_tables_grow():
    """Ten thousand claims and asks about nodes that nobody added."""
    swim, rng = make_swim(), Random(7)

    for _ in range(200):
        claims = [[rng.randbytes(16), 0, 1, 0, None, None] for _ in range(50)]
        swim.step(Received(ANN, {"k": "news", "b": 1, "i": 0, "u": claims}), 1_000)
        ask = {"k": "ask", "b": 1, "i": 0, "q": 1, "t": rng.randbytes(16), "w": 1_000}
        swim.step(Received(ANN, ask), 1_000)

    assert set(swim.members) == {ANN, BOB}
    assert len(swim.relays) == 0
    assert swim.counters["unknown_node"] == 10_200


def test_probes_for_others_are_bounded():
    swim = make_swim()
    ask = {"k": "ask", "b": 1, "i": 0, "t": BOB, "w": 60_000}

    for seq in range(1, 1_000):
        swim.step(Received(ANN, {**ask, "q": seq}), 1_000)

    assert len(swim.relays) == limits.SWIM_RELAYS_MAX
    assert swim.counters["relay_refused"] == 999 - limits.SWIM_RELAYS_MAX


def test_the_highest_incarnation_can_still_be_refuted():
    """An accusation must leave room for its refutation, so the very last number is only alive."""
    swim = make_swim()
    most = limits.SWIM_INCARNATION_MAX
    for state, incarnation in ((3, most), (3, most - 1), (0, most)):
        claims = [[ME, state, 1, incarnation, None, None]]
        swim.step(Received(ANN, {"k": "news", "b": 1, "i": 0, "u": claims}), 1_000)

    assert swim.own.incarnation == most
    assert swim.counters == {"bad_message": 1}
    assert trouble_with({"k": "news", "b": 1, "i": swim.own.incarnation}) == ""


@pytest.mark.parametrize("number", range(200))
def test_the_size_of_plain_data_is_never_told_too_small(number: int):
    value = random_data(Random(number))
    size = plain_bytes(value)

    assert size is None or size > limits.SWIM_META_BYTES_MAX or len(pack(value)) <= size


def test_meta_is_small_plain_data():
    assert meta_bytes({"addresses": ["tcp://h:1"], "load": 0.5}) is not None
    for bad in (3, [], {3: 4}, {"a": {3}}, {"a": [[[[1]]]]}, {"a": "x" * 1_100}):
        assert meta_bytes(bad) is None, bad
