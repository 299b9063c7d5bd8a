"""The rules of membership, one node at a time: what it says, believes and never does."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshcode import limits
from meshcode.errors import TooLarge
from meshcode.membership.events import (
    Added,
    Contact,
    Evicted,
    Leaving,
    Left,
    Lost,
    Out,
    Received,
    SelfHealth,
    Ticked,
)
from meshcode.membership.swim import Swim
from meshcode.wire.codec import pack

ME, ANN, BOB, CAT, DAN = (bytes([number]) * 16 for number in range(1, 6))
ALIVE, LEAVING, SUSPECT, DEAD, LEFT = range(5)


class Node:
    """One core and a clock; it keeps all that was sent and reported."""

    def __init__(self, *members: bytes, kind: str = "core", boot: int = 7) -> None:
        self.now_ms = 1_000_000
        self.swim = Swim(ME, boot, Random(1), kind=kind, meta={"name": "me"})
        self.sent: list[tuple[bytes, dict[str, Any]]] = []
        self.changes: list[tuple[bytes, str, int, dict[str, Any]]] = []
        for member in members:
            self.step(Added(member, "core"))
            self.hear(member, "news")
        self.changes.clear()
        self.run(3_000, answering=members)
        self.sent.clear()

    def step(self, event: Any) -> Out:
        """One step now."""
        out = self.swim.step(event, self.now_ms)
        self.sent += out.sends
        self.changes += out.changes
        return out

    def hear(self, sender: bytes, kind: str, claims: Any = (), **fields: Any) -> Out:
        """A message of boot 1, incarnation 0, unless told otherwise."""
        message = {"k": kind, "b": 1, "i": 0, **fields}
        return self.step(Received(sender, message | ({"u": [*claims]} if claims else {})))

    def run(self, for_ms: int, answering: tuple[bytes, ...] = ()) -> None:
        """Let time pass, timer by timer; these members answer their pings at once."""
        until_ms = self.now_ms + for_ms
        while (due_ms := self.swim.next_due_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            out = self.step(Ticked())
            for to, message in out.sends:
                if message["k"] == "ping" and to in answering:
                    self.hear(to, "ack", q=message["q"])
        self.now_ms = until_ms

    def kinds(self, to: bytes) -> list[str]:
        """What was sent to a member."""
        return [message["k"] for receiver, message in self.sent if receiver == to]

    def said_of(self, node: bytes) -> list[list[Any]]:
        """All claims that were sent about a member."""
        return [claim for _, m in self.sent for claim in m.get("u", []) if claim[0] == node]


def claim(node: bytes, state: int, boot: int = 1, incarnation: int = 0, detail: Any = None,
          meta: Any = None) -> list[Any]:  # fmt: skip
    """One claim as it travels."""
    if state == SUSPECT and detail is None:
        detail = [BOB]
    return [node, state, boot, incarnation, detail, meta]


# Probing.


def test_an_added_member_is_unknown_until_it_is_heard():
    node = Node()

    node.step(Added(ANN, "core", {"name": "ann"}))
    node.hear(ANN, "news")

    assert node.changes == [
        (ANN, "suspect", 0, {"name": "ann"}),
        (ANN, "alive", 1, {"name": "ann"}),
    ]


def test_an_added_member_that_is_never_heard_is_dead_in_the_end():
    node = Node()

    node.step(Added(ANN, "core"))
    node.run(10_000)

    assert [change[1:3] for change in node.changes] == [("suspect", 0), ("dead", 0)]
    assert node.swim.health.score == 0, "it may be off, which says nothing about this node"


def test_each_member_is_probed_once_per_round():
    node = Node(ANN, BOB, CAT, DAN)
    node.run(1_000, answering=(ANN, BOB, CAT, DAN))  # The fourth second ends a round.
    node.sent.clear()

    node.run(8_000, answering=(ANN, BOB, CAT, DAN))

    assert [node.kinds(member).count("ping") for member in (ANN, BOB, CAT, DAN)] == [2, 2, 2, 2]


def test_a_silent_member_is_probed_through_others_then_suspected_then_dead():
    """Two relays said nack, so the fault is not here: the score stays."""
    node = Node(ANN, BOB, CAT)
    node.step(Lost(ANN))
    node.run(500, answering=(BOB, CAT))
    asks = [(to, m) for to, m in node.sent if m["k"] == "ask"]
    for relay, ask in asks:
        node.hear(relay, "nack", q=ask["q"])
    node.run(60_000, answering=(BOB, CAT))

    assert {to for to, _ in asks} == {BOB, CAT}
    assert all(ask["t"] == ANN for _, ask in asks)
    assert [change[:2] for change in node.changes] == [(ANN, "suspect"), (ANN, "dead")]


def test_an_answer_through_a_relay_is_an_answer():
    node = Node(ANN, BOB)
    node.step(Lost(ANN))
    node.run(500, answering=(BOB,))
    seq = next(m["q"] for to, m in node.sent if (to, m["k"]) == (BOB, "ask"))

    node.hear(BOB, "ack", q=seq)
    node.run(600, answering=(ANN, BOB))

    assert node.changes == []


def test_an_answer_of_someone_who_was_not_asked_is_none():
    node = Node(ANN, BOB, CAT)
    node.step(Lost(ANN))
    seq = next(m["q"] for to, m in node.sent if (to, m["k"]) == (ANN, "ping"))

    node.hear(BOB, "ack", q=seq)

    assert seq in node.swim.probes
    assert node.swim.counters == {"stray_ack": 1}


def test_a_relay_answers_for_the_probed_or_says_nack():
    node = Node(ANN, BOB, CAT)
    node.hear(ANN, "ask", q=41, t=BOB, w=300)
    node.hear(ANN, "ask", q=42, t=CAT, w=300)
    seq = next(m["q"] for to, m in node.sent if (to, m["k"]) == (BOB, "ping"))

    node.hear(BOB, "ack", q=seq)
    node.run(300)

    answers = [(m["k"], m["q"]) for to, m in node.sent if to == ANN and "q" in m]
    assert answers[:2] == [("ack", 41), ("nack", 42)]


def test_a_slow_link_gets_more_time():
    """The mean and four sigma of its round trips, but no more than five times the least."""
    node = Node(ANN)
    member = node.swim.members[ANN]
    assert member.timeout_ms() == 500

    for rtt_ms in (900, 1_000, 1_100) * 20:
        member.measure(rtt_ms)

    assert 1_100 < member.timeout_ms() < 1_600
    for _ in range(50):
        member.measure(50_000)
    assert member.timeout_ms() == 2_500


def test_a_lost_session_is_no_verdict():
    node = Node(ANN, BOB)

    node.step(Lost(ANN))

    assert node.kinds(ANN) == ["ping"]
    assert node.changes == []


# Suspicion and refutation.


def test_a_suspicion_that_others_confirm_is_shorter():
    alone, confirmed = Node(ANN, BOB, CAT, DAN), Node(ANN, BOB, CAT, DAN)
    for node, accusers in ((alone, [BOB]), (confirmed, [BOB, CAT, DAN])):
        for accuser in accusers:
            node.hear(accuser, "news", [claim(ANN, SUSPECT, detail=[accuser])])
        begun_ms = node.now_ms
        while node.swim.state_of(ANN) == "suspect":
            node.run(100, answering=(BOB, CAT, DAN))
        node.now_ms -= begun_ms

    assert 3_900 <= confirmed.now_ms <= 4_200
    assert 8_000 <= alone.now_ms <= 24_200, "its own probe confirms sooner or later"


def test_the_accused_is_told_with_the_next_message_and_only_it_can_undo_it():
    node = Node(ANN, BOB)
    node.hear(BOB, "news", [claim(ANN, SUSPECT)])
    node.hear(BOB, "news", [claim(ANN, ALIVE)])
    assert node.swim.state_of(ANN) == "suspect", "the same incarnation undoes nothing"

    out = node.hear(ANN, "ping", q=5)
    told = [c[:4] for to, m in out.sends if to == ANN for c in m["u"]]
    node.hear(ANN, "news", i=1)

    assert [ANN, SUSPECT, 1, 0] in told
    assert node.swim.state_of(ANN) == "alive"


@pytest.mark.parametrize("state", [SUSPECT, DEAD, LEFT])
def test_this_node_outbids_what_is_said_of_it(state: int):
    node = Node(ANN, BOB)

    node.hear(ANN, "news", [claim(ME, state, boot=7, incarnation=4)])
    node.run(300)

    assert node.swim.own.incarnation == 5
    assert [ME, ALIVE, 7, 5] in [said[:4] for said in node.said_of(ME)]


def test_a_claim_of_a_newer_boot_of_this_node_is_not_outbid_but_shown():
    """Another process, or this disk is old: the store decides, not the network."""
    node = Node(ANN)

    node.hear(ANN, "news", [claim(ME, ALIVE, boot=9)])

    assert node.swim.newer_self_boot == 9
    assert node.swim.own.boot == 7


def test_a_new_boot_is_reported_and_beats_all_claims_of_an_older_one():
    node = Node(ANN, BOB)

    node.hear(ANN, "news", b=2)
    node.hear(BOB, "news", [claim(ANN, DEAD, boot=1, incarnation=99)])

    assert node.changes == [(ANN, "alive", 2, {})]


def test_a_message_of_an_older_boot_is_ignored_and_answered_with_the_newer():
    """So a node with an old disk learns that it is one."""
    node = Node(ANN)
    node.hear(ANN, "news", b=3)

    out = node.hear(ANN, "ping", b=2, q=1)

    assert [(to, m["k"], m["u"][0][:3]) for to, m in out.sends] == [(ANN, "news", [ANN, 0, 3])]
    assert node.swim.counters == {"old_boot": 1}


# Self-distrust.


def test_a_sick_node_does_not_accuse():
    node = Node(ANN, BOB)
    node.step(Lost(ANN))

    node.run(900)
    node.step(SelfHealth(loop_lag_ms=251))
    node.run(1_000)

    assert node.changes == []
    assert not node.swim.probes.get(node.swim.probed.get(ANN, -1)) or node.swim.health.score >= 1


@pytest.mark.parametrize(
    ("event", "sick"),
    [
        (SelfHealth(loop_lag_ms=250, commit_ms=1_000, clock_step_ms=-1_000), False),
        (SelfHealth(loop_lag_ms=251), True),
        (SelfHealth(commit_ms=1_001), True),
        (SelfHealth(clock_step_ms=-1_001), True),
    ],
)
def test_what_makes_a_node_sick(event: SelfHealth, sick: bool):
    node = Node(ANN)

    node.step(event)

    assert node.swim.health.sick(node.now_ms) is sick


def test_a_node_that_was_stopped_holds_the_time_against_nobody():
    """ANN is suspected, then this node is stopped for a minute: ANN still has its time."""
    node = Node(ANN, BOB)
    node.hear(BOB, "news", [claim(ANN, SUSPECT, detail=[BOB, ME])])
    node.run(1_000, answering=(BOB,))

    node.now_ms += 60_000
    node.step(Ticked())
    node.run(2_900, answering=(BOB,))
    assert node.swim.state_of(ANN) == "suspect"
    assert node.swim.health.score >= 1
    node.run(1_500, answering=(BOB,))

    assert node.swim.state_of(ANN) == "dead"


def test_missing_nacks_point_at_this_node():
    """Three relays stay silent too: the fault is more likely here, and probes become slower."""
    node = Node(ANN, BOB, CAT, DAN)
    node.step(Lost(ANN))

    node.run(1_000)

    assert node.swim.health.score >= 3


# Coming and going.


def test_a_member_that_announced_its_restart_is_not_accused_in_that_time():
    node = Node(ANN, BOB)
    node.hear(ANN, "news", [claim(ANN, LEAVING, incarnation=1, detail=20_000)], i=1)

    node.run(19_900, answering=(BOB,))
    assert [change[1] for change in node.changes] == ["leaving"]
    assert "ping" not in node.kinds(ANN)
    node.run(40_000, answering=(BOB,))

    assert [change[1] for change in node.changes] == ["leaving", "suspect", "dead"]


def test_a_restart_is_over_when_the_higher_boot_is_heard():
    node = Node(ANN)
    node.hear(ANN, "news", [claim(ANN, LEAVING, incarnation=1, detail=20_000)], i=1)

    node.hear(ANN, "news", b=2)
    node.run(30_000, answering=())

    assert [change[1:3] for change in node.changes][:2] == [("leaving", 1), ("alive", 2)]


def test_leaving_is_said_at_once_and_with_every_message_and_taken_back():
    node = Node(ANN, BOB)

    node.step(Leaving(5_000))
    told = {to for to, m in node.sent for c in m["u"] if c[:2] == [ME, LEAVING]}
    out = node.hear(ANN, "ping", q=9)
    again = [c[:2] for _, m in out.sends for c in m["u"]]
    node.run(5_200)

    assert told == {ANN, BOB}
    assert [ME, LEAVING] in again
    assert node.swim.own.state.word == "alive"


def test_left_is_the_last_word():
    node = Node(ANN, BOB)

    out = node.step(Left())
    after = node.hear(ANN, "ping", q=1)

    assert {to for to, _ in out.sends} == {ANN, BOB}
    assert (after.sends, node.swim.next_due_ms()) == ([], None)


def test_an_evicted_member_stays_so_whatever_arrives():
    node = Node(ANN, BOB)
    node.step(Evicted(ANN))
    node.sent.clear()

    node.hear(ANN, "ping", b=99, q=1)
    node.hear(BOB, "news", [claim(ANN, ALIVE, boot=99)])
    node.step(Added(ANN, "core"))
    node.step(Contact(ANN))
    node.hear(BOB, "ask", q=1, t=ANN, w=100)
    node.run(40_000, answering=(BOB,))

    assert [change[1] for change in node.changes] == ["evicted"]
    assert node.kinds(ANN) == []
    assert node.said_of(ANN) == []


def test_an_eviction_may_come_before_the_member():
    node = Node(BOB)

    node.step(Evicted(ANN))
    node.step(Added(ANN, "core"))

    assert node.swim.state_of(ANN) == "evicted"
    assert node.changes == [(ANN, "evicted", 0, {})]


def test_only_the_roster_evicts_and_only_it_adds():
    node = Node(ANN)

    node.hear(ANN, "news", [claim(BOB, ALIVE), claim(ME, ALIVE, boot=7)])

    assert node.swim.state_of(BOB) is None
    assert node.swim.counters == {"unknown_node": 1}


def test_an_evicted_node_is_silent():
    node = Node(ANN)

    node.step(Evicted(ME))

    assert node.changes == [(ME, "evicted", 7, {"name": "me"})]
    assert node.hear(ANN, "ping", q=1).sends == []


# Spreading.


def test_an_idle_node_only_probes():
    node = Node(ANN, BOB)
    node.run(5_000, answering=(ANN, BOB))
    node.sent.clear()

    node.run(10_000, answering=(ANN, BOB))

    assert {m["k"] for _, m in node.sent} <= {"ping", "sync"}
    assert 9 <= len(node.sent) <= 12
    assert not any("u" in m for _, m in node.sent)


def test_changed_meta_is_gossiped_and_the_same_again_is_not():
    node = Node(ANN, BOB)
    node.run(5_000, answering=(ANN, BOB))
    node.sent.clear()

    node.swim.set_meta({"name": "me", "load": 3}, node.now_ms)
    node.run(400, answering=(ANN, BOB))
    told = {to for to, m in node.sent for c in m.get("u", []) if c[5] == [7, 2, {
        "name": "me", "load": 3}]}  # fmt: skip
    node.run(5_000, answering=(ANN, BOB))
    node.sent.clear()
    node.swim.set_meta({"name": "me", "load": 3}, node.now_ms)
    node.run(400, answering=(ANN, BOB))

    assert told == {ANN, BOB}
    assert node.said_of(ME) == []


def test_newer_meta_of_a_member_is_reported_and_older_is_not():
    node = Node(ANN, BOB)

    node.hear(BOB, "news", [claim(ANN, ALIVE, meta=[1, 5, {"load": 5}])])
    node.hear(BOB, "news", [claim(ANN, ALIVE, meta=[1, 4, {"load": 4}])])

    assert node.changes == [(ANN, "alive", 1, {"load": 5})]


def test_meta_that_is_too_large_is_refused_and_the_old_one_stays():
    node = Node(ANN)

    with pytest.raises(TooLarge, match="at most 1024 bytes"):
        node.swim.set_meta({"text": "x" * 1_100}, node.now_ms)

    assert node.swim.own.meta == {"name": "me"}


def test_a_new_session_compares_tables_and_equal_ones_are_not_sent():
    node, other = Node(ANN), Node()
    out = node.step(Contact(ANN))
    digest = out.sends[0][1]["d"]

    same = node.hear(ANN, "sync", d=digest)
    different = node.hear(ANN, "sync", d=bytes(8))

    assert (out.sends[0][0], out.sends[0][1]["k"]) == (ANN, "sync")
    assert same.sends == []
    assert [(m["k"], m["r"]) for _, m in different.sends] == [("push", True)]
    assert other.swim.own.boot == 7


def test_a_whole_table_is_sent_in_bounded_messages():
    """500 members with full meta; at most 64 claims and 8 KiB each, the last asks for an answer."""
    node = Node()
    ids = [number.to_bytes(16, "big") for number in range(1_000, 1_500)]
    for id in ids:
        node.step(Added(id, "core"))
        node.hear(id, "news", [claim(id, ALIVE, meta=[1, 1, {"addresses": ["x" * 300]}])])

    out = node.hear(ids[0], "sync", d=bytes(8))

    pushes = [m for _, m in out.sends if m["k"] == "push"]
    assert sum(len(m["u"]) for m in pushes) == 501
    assert max(len(m["u"]) for m in pushes) <= limits.SWIM_UPDATES_MAX
    assert max(len(pack(m["u"])) for m in pushes) <= limits.SWIM_BYTES_MAX
    assert [m["r"] for m in pushes] == [False] * (len(pushes) - 1) + [True]


def test_whole_tables_are_not_sent_again_within_a_second():
    node = Node(ANN)
    node.hear(ANN, "sync", d=bytes(8))

    assert node.hear(ANN, "sync", d=bytes(8)).sends == []


def test_an_edge_node_is_left_alone():
    """Its pairs are of the edge class, whatever the other is: a probe in fifteen seconds."""
    node = Node(ANN, kind="edge")
    node.run(60_000, answering=(ANN,))

    assert node.kinds(ANN).count("ping") == 4


def test_a_member_moves_to_the_profile_that_its_meta_asks_for():
    node = Node(ANN)

    node.hear(ANN, "news", [claim(ANN, ALIVE, meta=[1, 1, {"timing": "wan"}])])
    node.run(50_000, answering=(ANN,))

    assert 9 <= node.kinds(ANN).count("ping") <= 11


def test_the_table_shows_everyone():
    node = Node(ANN)
    node.step(Evicted(ANN))

    rows = node.swim.table()

    assert [(row.node, row.state, row.boot) for row in rows] == [
        (ME, "alive", 7),
        (ANN, "evicted", 1),
    ]
    assert rows[1].rtt_ms == 0.0
