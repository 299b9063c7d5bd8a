"""Who gets in: the ZAP handler, its dead-man check, and the self-test that knocks at the door."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from meshcode import limits
from meshcode.errors import NodeError
from meshcode.peers import monitor, options
from meshcode.peers.options import DOMAIN, SERVER, ZAP_ENFORCE_DOMAIN, server_link
from meshcode.peers.selftest import check_door, knock
from meshcode.peers.zap import ZapHandler
from tests.live.harness import until
from tests.peers.world import raw_keys


class House:
    """A door, its handler, and the keys that are listed."""

    def __init__(self, leave_out: set[int] | None = None) -> None:
        """Bound, and open to nobody."""
        self.context: zmq.Context[Any] = zmq.Context()
        self.zap = ZapHandler(self.context, 0)
        self.public, self.secret = raw_keys()
        self.listed = {self.public}
        table = {k: v for k, v in SERVER.items() if k not in (leave_out or set())}
        self.door = server_link(self.context, self.secret, table)
        self.door.bind("tcp://127.0.0.1:*")
        self.endpoint = self.door.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    def serve(self) -> None:
        """Let in who is listed."""
        self.zap.serve(DOMAIN, lambda key: key.hex() if key in self.listed else None)

    def knock(self, keys: tuple[bytes, bytes]) -> str:
        """Try to get in."""
        return knock(self.context, self.endpoint, self.public, *keys)

    def close(self) -> None:
        """End."""
        self.zap.stop()
        self.context.destroy(linger=0)


@pytest.fixture
def house() -> Iterator[House]:
    """A door that serves who is listed."""
    made = House()
    made.serve()
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A knock that nobody answers takes half a second."""
    monkeypatch.setattr("meshcode.peers.selftest.KNOCK_MS", 500)


def test_a_listed_key_gets_in_and_an_unlisted_one_does_not(house: House):
    friend = raw_keys()
    house.listed.add(friend[0])
    stranger = raw_keys()

    assert house.knock(friend) == monitor.CONNECTED
    assert house.knock(stranger) == monitor.DENIED
    assert house.zap.take_denied(DOMAIN) == [(stranger[0], "127.0.0.1")]
    assert house.zap.take_denied(DOMAIN) == []


def test_who_claims_a_listed_key_without_its_secret_does_not_get_in(house: House, quick: None):
    _, other_secret = raw_keys()

    assert house.knock((house.public, other_secret)) != monitor.CONNECTED


def test_each_domain_has_its_own_policy(house: House):
    """For instance the door of those who join, which lets any key in."""
    other = server_link(house.context, house.secret, {**SERVER, zmq.ZAP_DOMAIN: b"join"})
    other.bind("tcp://127.0.0.1:*")
    endpoint = other.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")
    stranger = raw_keys()
    assert knock(house.context, endpoint, house.public, *stranger) == monitor.DENIED

    house.zap.serve(b"join", lambda key: key.hex())

    assert knock(house.context, endpoint, house.public, *stranger) == monitor.CONNECTED
    assert house.knock(stranger) == monitor.DENIED
    house.zap.end(b"join")
    assert knock(house.context, endpoint, house.public, *stranger) == monitor.DENIED


def test_a_policy_that_fails_lets_nobody_in_and_the_handler_goes_on(house: House, quick: None):
    def broken(key: bytes) -> str | None:
        raise RuntimeError("the table changed under me")

    house.zap.serve(DOMAIN, broken)
    assert house.knock((house.public, house.secret)) != monitor.CONNECTED
    assert house.zap.counts["policy_failed"] >= 1

    house.serve()
    assert house.knock((house.public, house.secret)) == monitor.CONNECTED


def test_when_the_handler_has_ended_nobody_gets_in(house: House, quick: None):
    house.zap.stop()

    assert house.knock((house.public, house.secret)) != monitor.CONNECTED
    assert not house.zap.alive(0)


def test_without_the_enforced_domain_everyone_would_get_in(quick: None):
    """What the line in `options` is for: libzmq fails open, and says nothing."""
    house = House(leave_out={ZAP_ENFORCE_DOMAIN})
    house.zap.stop()
    try:
        assert house.knock(raw_keys()) == monitor.CONNECTED
    finally:
        house.close()


def test_a_living_handler_answers_for_ever(house: House):
    for now_ms in range(0, 60_000, limits.ZAP_BEAT_MS):
        house.zap.tick(now_ms)
        assert house.zap.alive(now_ms)
        if house.zap._asked_ms is not None:
            until(lambda: house.zap._beat.poll(0), 5, "an answer")
    assert house.zap._answered_ms > 50_000


def test_a_handler_that_hangs_is_dead_after_its_time(house: House):
    """A policy that never comes back: nobody gets in, and the node must know."""
    gate, inside = threading.Event(), threading.Event()

    def hang(key: bytes) -> str | None:
        inside.set()
        gate.wait(30)
        return None

    house.zap.serve(DOMAIN, hang)
    link = options.client_link(house.context, *raw_keys(), house.public)
    link.connect(house.endpoint)
    assert inside.wait(5)
    now_ms = 10_000
    house.zap.tick(now_ms)

    assert house.zap.alive(now_ms + limits.ZAP_DEAD_MS - 1)
    house.zap.tick(now_ms + limits.ZAP_DEAD_MS)
    assert not house.zap.alive(now_ms + limits.ZAP_DEAD_MS)
    gate.set()


def test_bytes_that_are_no_request_are_answered_and_harm_nothing(house: House):
    link = house.context.socket(zmq.DEALER)
    link.setsockopt(zmq.LINGER, 0)
    link.connect("inproc://zeromq.zap.01")
    for parts in ([b""], [b"", b"2.0"], [b"", b"1.0", b"id"], [b"x"] * 20):
        link.send_multipart(parts)
        assert link.poll(5_000)
        assert b"200" not in link.recv_multipart()

    assert house.knock((house.public, house.secret)) == monitor.CONNECTED


def test_the_self_test_passes_at_a_good_door(house: House):
    denied = check_door(house.context, house.endpoint, house.public, house.public, house.secret)

    assert [key for key, _ in house.zap.take_denied(DOMAIN)] == [denied]


def test_the_self_test_refuses_a_door_that_lets_strangers_in():
    house = House(leave_out={ZAP_ENFORCE_DOMAIN, zmq.ZAP_DOMAIN})
    house.zap.stop()
    try:
        with pytest.raises(NodeError, match="let in a key that no member has"):
            check_door(house.context, house.endpoint, house.public, house.public, house.secret)
    finally:
        house.close()


def test_the_self_test_refuses_a_door_that_keeps_members_out(house: House):
    house.listed.clear()

    with pytest.raises(NodeError, match="does not let in this node's own key"):
        check_door(house.context, house.endpoint, house.public, house.public, house.secret)


def test_the_self_test_refuses_a_door_that_does_not_answer(house: House, quick: None):
    house.zap.stop()

    with pytest.raises(NodeError, match="did not answer within 500 ms"):
        check_door(house.context, house.endpoint, house.public, house.public, house.secret)
