"""What the core lets leave before its records are on disk, and what it does not (decision 0026)."""

from __future__ import annotations

from meshcode import limits
from meshcode.replica.core import TOGETHER_MS
from meshcode.replica.peers import ALIVE
from meshcode.router import events
from meshcode.wire.kinds import Kind, Outcome

from .driver import Driver
from .flowing import Flows, step

PEERS = [bytes([number]) * 16 for number in (201, 202)]


def driver_with_peers(*peers: bytes) -> Driver:
    driver = Driver()
    for peer in peers:
        driver.step(events.PeerChanged(peer, ALIVE, 1))
    driver.join()
    return driver


def kinds(words) -> list[Kind]:
    return [Kind(kind) for _, kind, _ in words]


def test_a_proposal_does_not_wait_for_the_vote_once_a_voter_has_answered():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    key = driver.router.calls[id].inst.key
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[key]]))

    out = driver.finish(id)

    assert kinds(out.early) == [Kind.PROPOSE, Kind.PROPOSE]
    assert [table for table, _, _ in out.records] == ["vote"]
    assert Kind.PROPOSE not in kinds(out.peer)
    assert out.chosen == out.outcomes == []


def test_what_follows_from_another_record_is_proposed_behind_it():
    """The items of a generator are records of the turns in which it yielded them."""
    driver = driver_with_peers(*PEERS)
    driver.plugs["p"] = {"source": "a", "target": "b"}
    driver.socket("b", processor="other")
    (id,) = driver.submit()
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[driver.router.calls[id].inst.key]]))
    driver.step(events.Yielded(1, [(id, 1, 0, b"\x07", b"", 0)]))
    assert id in driver.router.streams.by_call

    out = driver.finish(id)

    assert out.early == []
    assert kinds(out.peer).count(Kind.PROPOSE) == 2


def test_what_no_worker_reported_is_proposed_as_before():
    driver = Driver()
    for peer in PEERS:
        driver.step(events.PeerChanged(peer, ALIVE, 1))
    (id,) = driver.submit()
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[driver.router.calls[id].inst.key]]))

    out = driver.step(events.CancelAsked(1, b"r" * 16, id, "ann"))

    assert out.early == []
    assert kinds(out.peer).count(Kind.PROPOSE) == 2


def test_a_proposal_that_is_sent_again_is_like_any_other_word():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[driver.router.calls[id].inst.key]]))
    driver.finish(id)

    out = driver.wait(limits.RESEND_MS_MIN + TOGETHER_MS)

    assert out.early == []
    assert kinds(out.peer).count(Kind.PROPOSE) == 2


def test_nobody_has_heard_yet_that_others_are_to_keep_a_call():
    """Its record with them as voters may be in the same batch: after a crash this node would not
    know of them.
    """
    driver = driver_with_peers()
    (id,) = driver.submit()
    for peer in PEERS:
        driver.step(events.PeerChanged(peer, ALIVE, 1))
    while driver.router.calls[id].inst is None:
        driver.wait(1_000)

    out = driver.finish(id)

    assert out.early == []
    assert kinds(out.peer).count(Kind.PROPOSE) == 2


def test_what_a_majority_has_on_disk_does_not_wait_for_its_own_record():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    key = driver.router.calls[id].inst.key
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[key]]))
    proposed = driver.finish(id).early[0]

    out = driver.step(events.PeerSaid(PEERS[0], int(Kind.AGREED), [[key, proposed[2][4]]]))

    [(client, data)] = out.chosen
    assert (client, data[16:32], data[13]) == (1, id, Outcome.DONE)
    assert out.outcomes == []
    assert "done" in [table for table, _, _ in out.records]


def test_what_this_node_alone_records_is_told_after_it():
    driver = driver_with_peers()
    (id,) = driver.submit()

    out = driver.finish(id)

    assert [data[16:32] for _, data in out.outcomes] == [id]
    assert out.chosen == []


def needs(out) -> set[int]:
    return {turn for _, batch in out.starts for _, _, turn, _ in batch}


def test_a_step_that_waits_for_a_worker_needs_the_turn_of_its_own_record():
    flows = Flows()
    flows.router.turn = 3
    _, first = flows.flow([step("a", number) for number in range(400)])
    assert needs(first) == {3}
    flows.router.turn = 5

    out = flows.finish(first.starts[0][1][0][0])

    assert needs(out) == {3}


def test_a_step_needs_the_turn_in_which_it_was_fed():
    flows = Flows()
    flows.router.turn = 3
    _, first = flows.flow([step("a", 1), step("a", feed=0)])
    flows.router.turn = 5

    out = flows.answer(*(first.starts[0][1][0][at] for at in (0, 1, 3)))

    assert needs(out) == {5}
