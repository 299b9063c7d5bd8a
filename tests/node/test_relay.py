"""Peers as clients of a node: who is answered, and who is not, when sessions come and go."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from meshcode.ids import make_id
from meshcode.node.asks import Asks
from meshcode.node.faults import Faults
from meshcode.node.relay import Relay
from meshcode.node.streamops import READER, Readers
from meshcode.router.effects import Effects
from meshcode.router.events import CancelAsked, ModelChanged
from meshcode.store.contract import DONE
from meshcode.wire.frame import AT_ID, envelope
from meshcode.wire.kinds import Kind
from tests.router.part import CLIENT, MODEL, Part

X, Y = b"x" * 16, b"y" * 16


class Node(Part):
    """The parts of a node that answer peers, and what it says to them instead of their links."""

    def __init__(self) -> None:
        super().__init__()
        self.faults, self.asks = Faults(self.turns), Asks()
        self.readers = Readers(self)  # type: ignore[arg-type]
        nobody = SimpleNamespace(came=lambda _: None, lost=lambda _: None)
        self.feed = SimpleNamespace(peers=nobody)  # Nobody listens.
        self.said: list[tuple[bytes, dict[str, Any]]] = []
        self.mesh = SimpleNamespace(
            loop=self, up={}, here=list, say_relay=lambda *said: self.said.append(said)
        )
        self.relay = Relay(self.mesh)  # type: ignore[arg-type]
        self.step(ModelChanged(MODEL))

    def ended(self, ids: list[bytes]) -> dict[bytes, bytes]:
        return self.turns.ended(ids, partial(self.log.get, DONE))

    def release(self, effects: Effects) -> None:
        for client, data in effects.outcomes:
            if client == READER:
                self.readers.ended(data[AT_ID])
            else:
                self.relay.give_outcomes(client, [data])
        for answer in effects.answers:
            self.relay.give_answer(*answer)

    def call(self) -> bytes:
        """A call that waits."""
        id = make_id()
        self.submit(id)
        return id

    def read(self, peer: bytes, number: int, id: bytes, first: int) -> None:
        """A peer asks, for a client of its own, for the items of a call from one on."""
        fields = {"id": id, "from": first}
        ask = {"q": number, "op": "ask", "name": "stream.read", "fields": fields}
        self.relay.heard(peer, ask)

    def end(self, id: bytes) -> None:
        self.step(CancelAsked(CLIENT, make_id(), id, "somebody"))
        self.sync()


def test_a_peer_is_not_given_the_answer_of_one_that_is_gone():
    node = Node()
    of_x, of_y = node.call(), node.call()
    node.read(X, 1, of_x, 7)
    node.relay.lost(X)
    node.read(Y, 1, of_y, 3)  # Each counts its questions from one.

    node.end(of_x)
    assert node.said == []
    node.end(of_y)

    answer = {"items": [], "end": 3, "streamed": True}
    assert node.said == [(Y, {"a": 1, "good": True, "data": answer})]


@pytest.mark.parametrize("late", [False, True], ids=["before", "after the loss"])
def test_a_peer_that_was_started_again_is_not_answered_what_it_asked_in_its_last_life(late: bool):
    node = Node()
    old, new = node.call(), node.call()
    if not late:
        node.read(X, 1, old, 7)
    node.relay.lost(X)
    if late:  # It was taken out of the link together with the news of the loss.
        node.read(X, 1, old, 7)
    node.relay.came(X)
    node.read(X, 1, new, 3)

    node.end(old)
    node.end(new)

    answer = {"items": [], "end": 3, "streamed": True}
    assert node.said == [(X, {"a": 1, "good": True, "data": answer})]


def test_a_peer_that_is_gone_watches_nothing_any_more():
    node = Node()
    id = node.call()
    for _ in range(3):
        node.relay.heard(X, {"q": 1, "op": "watch", "ids": [id]})
        assert len(node.router.watchers.by_call[id]) == 1
        node.relay.lost(X)

    assert id not in node.router.watchers.by_call
    node.said.clear()
    node.relay.heard(Y, {"q": 1, "op": "watch", "ids": [id]})
    node.end(id)
    assert [(peer, "outcomes" in told) for peer, told in node.said] == [(Y, False), (Y, True)]


def test_a_client_here_that_is_gone_waits_for_no_call_of_another_node():
    node, id = Node(), make_id()
    node.mesh.here = lambda: [X]
    for client in (5, 6):
        node.relay.watch(client, [id], lambda _unknown: None)
        (_, asked) = node.said[-1]
        node.relay.heard(X, {"a": asked["q"], "known": [id], "copies": [[2, 3]]})

    node.relay.client_left(5)

    assert node.relay._watches.take(id) == [6]


def test_a_client_is_told_nothing_of_a_call_before_a_peer_has_said_that_it_may_be():
    """Another one waits for the same call: what comes for that one is not for all who ask."""
    node, id = Node(), make_id()
    node.mesh.here = lambda: [X, Y]
    unknown: list[list[bytes]] = []
    told: list[tuple[int, bytes]] = []
    node.turns.add = lambda effects: told.extend(effects.outcomes)  # type: ignore[method-assign]
    node.relay.watch(5, [id], unknown.append)
    for peer, known in ((X, [id]), (Y, [])):
        node.relay.heard(peer, {"a": 1, "known": known, "copies": [[2, 3]] * len(known)})

    node.relay.watch(6, [id], unknown.append, "eve")
    outcome = envelope(Kind.OUTCOME, id=id, code=1)
    node.relay.heard(X, {"outcomes": [outcome]})
    for peer in (X, Y):
        node.relay.heard(peer, {"a": 2, "known": [], "copies": []})

    assert told == [(5, outcome)]
    assert unknown == [[], [id]]
    assert {"q": 2, "op": "watch", "ids": [id], "as": "eve"} in [words for _, words in node.said]
