"""What the core lets leave beside the sync of its records, and what it does not (decision 0026)."""

from __future__ import annotations

from meshcode import limits
from meshcode.replica.peers import ALIVE
from meshcode.router import events
from meshcode.wire.kinds import Kind, Outcome

from .driver import Driver

PEERS = [bytes([number]) * 16 for number in (201, 202)]


def driver_with_peers(*peers: bytes) -> Driver:
    driver = Driver()
    for peer in peers:
        driver.step(events.PeerChanged(peer, ALIVE, 1))
    driver.join()
    return driver


def kinds(words) -> list[Kind]:
    return [Kind(kind) for _, kind, _ in words]


def test_a_proposal_leaves_beside_the_vote_once_a_voter_has_answered():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    key = driver.router.calls[id].inst.key
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[key]]))

    out = driver.finish(id)

    assert kinds(out.beside) == [Kind.PROPOSE, Kind.PROPOSE]
    assert [table for table, _, _ in out.records] == ["vote"]
    assert Kind.PROPOSE not in kinds(out.peer)
    assert out.chosen == out.outcomes == []


def test_a_proposal_that_is_sent_again_is_like_any_other_word():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[driver.router.calls[id].inst.key]]))
    driver.finish(id)

    out = driver.wait(limits.RESEND_MS_MIN)

    assert out.beside == []
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

    assert out.beside == []
    assert kinds(out.peer).count(Kind.PROPOSE) == 2


def test_what_a_majority_has_on_disk_is_told_beside_its_own_record():
    driver = driver_with_peers(*PEERS)
    (id,) = driver.submit()
    key = driver.router.calls[id].inst.key
    driver.step(events.PeerSaid(PEERS[0], int(Kind.STORED), [[key]]))
    proposed = driver.finish(id).beside[0]

    out = driver.step(events.PeerSaid(PEERS[0], int(Kind.AGREED), [[key, proposed[2][4]]]))

    assert [(client, data[16:32], data[13]) for client, data in out.chosen] == [
        (1, id, Outcome.DONE)
    ]
    assert out.outcomes == []
    assert "done" in [table for table, _, _ in out.records]


def test_what_this_node_alone_records_is_told_after_it():
    driver = driver_with_peers()
    (id,) = driver.submit()

    out = driver.finish(id)

    assert [data[16:32] for _, data in out.outcomes] == [id]
    assert out.chosen == []
