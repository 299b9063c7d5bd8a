"""The port of clients over TCP: who is let in, who is cut off, and what one can do to others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from meshcode import limits
from meshcode.errors import NodeError
from meshcode.ids import make_id
from meshcode.node.clientport import DOMAIN, SERVER, ClientPort, beside, ports_of
from meshcode.node.sessions import Session, Sessions
from meshcode.peers import monitor
from meshcode.peers.options import BOTH, ZAP_ENFORCE_DOMAIN, client_link
from meshcode.peers.selftest import knock
from meshcode.peers.zap import ZapHandler
from meshcode.wire.frame import envelope, frame
from meshcode.wire.kinds import Kind
from tests.live.harness import until
from tests.live.rawlink import RawLink, body_of
from tests.peers.world import clock_ms, raw_keys

Keys = tuple[bytes, bytes]


class Far(RawLink):
    """A client elsewhere: the wire alone, over CURVE."""

    def __init__(self, house: House, keys: Keys, routing_id: bytes = b"") -> None:
        """Connect; whether it gets in is another question."""
        super().__init__("inproc://nowhere")
        self._link.close(0)
        self._link = client_link(self._context, *keys, house.public)
        self._link.setsockopt(zmq.IMMEDIATE, 0)
        self._link.setsockopt(zmq.MAXMSGSIZE, -1)
        if routing_id:
            self._link.setsockopt(zmq.ROUTING_ID, routing_id)
        self._events = monitor.Monitor(self._link)
        self._link.connect(house.port.endpoints[0])

    def notice_cut(self) -> None:
        """Wait for the end of the connection: what is sent before that may be lost with it."""
        seen: list[str] = []
        until(lambda: seen.extend(self._events.read()) or monitor.DISCONNECTED in seen, 10, "a cut")

    def close(self) -> None:
        """Close the link."""
        self._events.close()
        super().close()

    def send_parts(self, *parts: bytes) -> None:
        """A message that no client of ours sends."""
        self._link.send_multipart(parts)


class House:
    """Both ports of a node, and no node behind them."""

    def __init__(self, folder: Path) -> None:
        """Bound; only the node's own key may enter."""
        self.context: zmq.Context[Any] = zmq.Context()
        self.zap = ZapHandler(self.context, clock_ms())
        self.local = f"ipc://{folder}/clients.ipc"
        self.sessions = Sessions(self.context, self.local, 1, {"boot": 1})
        self.public, self.secret = raw_keys()
        self.skipped_ms = 0
        self.port = ClientPort(
            self.context, self.public, self.secret, ["tcp://127.0.0.1:*"], self.zap,
            frozenset({self.public}), self.now_ms(),
        )  # fmt: skip
        self.got: list[tuple[Session, int]] = []  # Kinds of rows that came in.
        self.cuts = 0
        self.links: list[RawLink] = []

    def now_ms(self) -> int:
        """Node time."""
        return clock_ms() + self.skipped_ms

    def listed(self) -> Keys:
        """Fresh keys that may enter."""
        keys = raw_keys()
        self.port.allowed |= {keys[0]}
        return keys

    def far(self, keys: Keys, **options: Any) -> Far:
        """A client over TCP, connecting."""
        link = Far(self, keys, **options)
        self.links.append(link)
        return link

    def near(self) -> RawLink:
        """A client of this machine, connecting."""
        link = RawLink(self.local)
        self.links.append(link)
        return link

    def turn(self) -> None:
        """One turn of the node's loop."""
        now_ms = self.now_ms()
        if self.port.tick(now_ms):
            self.cuts += 1
            for session in list(self.port.sessions.values()):
                self.sessions.close(session)
        for port in (self.port, None):
            for arrived in self.sessions.receive(64, now_ms, port):
                self.got += [(arrived.session, kind) for kind in arrived.kinds]
        self.sessions.flush()

    def until(self, condition: Any, what: str, seconds: float = 10.0) -> Any:
        """Turn until it is so."""
        return until(lambda: (self.turn(), condition())[1], seconds, what, every=0.002)

    def until_cut(self) -> None:
        """Turn until all are cut and the address is bound again, which may take a few turns."""
        self.until(lambda: self.cuts and self.port.next_due_ms() is None, "cut and bound again")

    def settle(self) -> None:
        """Some turns: what was to arrive is there."""
        turns = iter(range(40))
        until(lambda: (self.turn(), next(turns, None))[1] is None, 5, "forty turns", every=0.005)

    def open(self, link: RawLink) -> Session:
        """Give a client its session."""
        known = set(self.sessions.by_id)
        link.hello()
        self.until(lambda: set(self.sessions.by_id) - known, "HELLO comes")
        [(row, data)] = link.receive(5)
        assert row.kind == Kind.WELCOME
        link.welcomed(row, data)
        return self.sessions.by_id[max(self.sessions.by_id)]

    def ask(self, link: RawLink) -> None:
        """Let a client send a request."""
        link.send([envelope(Kind.ASK, id=make_id(), name=b"x")])

    def close(self) -> None:
        """End."""
        for link in self.links:
            link.close()
        self.port.close()
        self.zap.stop()
        self.context.destroy(linger=0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Both ports."""
    made = House(tmp_path)
    yield made
    made.close()


def test_a_listed_client_has_a_session_and_its_answers(house: House):
    link = house.far(house.listed())
    session = house.open(link)
    house.ask(link)
    house.until(lambda: house.got, "the request comes")

    house.sessions.send(session, [envelope(Kind.ANSWER, id=make_id(), body=b"\xc0")])

    assert house.got == [(session, Kind.ASK)]
    assert [row.kind for row, _ in link.receive(5)] == [Kind.ANSWER]


def test_an_unlisted_key_gets_in_nowhere(house: House):
    keys = raw_keys()

    found = knock(house.context, house.port.endpoints[0], house.public, *keys)

    assert found == monitor.DENIED
    assert house.zap.take_denied(DOMAIN) == [(keys[0], "127.0.0.1")]
    assert not house.sessions.by_id


def test_a_key_that_is_listed_later_gets_in_then(house: House):
    keys = raw_keys()
    at = house.port.endpoints[0], house.public, *keys
    assert knock(house.context, *at) == monitor.DENIED

    house.port.allowed |= {keys[0]}

    assert knock(house.context, *at) == monitor.CONNECTED


def test_without_the_zap_handler_nobody_gets_in(house: House, monkeypatch):
    monkeypatch.setattr("meshcode.peers.selftest.KNOCK_MS", 500)
    keys = house.listed()
    house.zap.stop()

    assert knock(house.context, house.port.endpoints[0], house.public, *keys) != monitor.CONNECTED


def test_who_speaks_without_curve_is_not_heard(house: House):
    link = RawLink(house.port.endpoints[0])
    house.links.append(link)
    link.hello()
    house.settle()

    assert not house.sessions.by_id and not house.port.counts


def test_the_port_is_not_opened_when_a_stranger_gets_in(house: House, monkeypatch):
    """The proof at start-up, with the settings that keep strangers out taken away."""
    bad = {k: v for k, v in SERVER.items() if k not in (zmq.ZAP_DOMAIN, ZAP_ENFORCE_DOMAIN)}
    monkeypatch.setattr("meshcode.node.clientport.SERVER", bad)
    house.zap.stop()
    context: zmq.Context[Any] = zmq.Context()
    zap = ZapHandler(context, 0)
    zap.stop()

    with pytest.raises(NodeError, match="answered an unlisted key with connected, expected denied"):
        ClientPort(
            context, house.public, house.secret, ["tcp://127.0.0.1:*"], zap,
            frozenset({house.public}), 0,
        )  # fmt: skip
    context.destroy(linger=0)


def test_the_port_is_not_opened_when_its_own_key_is_kept_out(house: House):
    context: zmq.Context[Any] = zmq.Context()
    zap = ZapHandler(context, 0)

    with pytest.raises(NodeError, match="answered this node's own key with denied"):
        ClientPort(
            context, house.public, house.secret, ["tcp://127.0.0.1:*"], zap, frozenset(), 0
        )  # fmt: skip
    zap.stop()
    context.destroy(linger=0)


def test_an_address_in_use_is_told_as_one(house: House):
    with pytest.raises(NodeError, match="for clients cannot be bound") as caught:
        ClientPort(
            house.context, house.public, house.secret, house.port.endpoints, house.zap,
            frozenset({house.public}), 0,
        )  # fmt: skip
    assert caught.value.fields["address"] == house.port.endpoints[0]


def test_a_live_session_whose_key_is_struck_is_not_heard_told_why_and_cut(house: House):
    """And the others, who are cut with it, come back by themselves."""
    bad, good = house.listed(), house.listed()
    one, other = house.far(bad), house.far(good)
    house.open(one)
    house.open(other)

    house.port.allowed -= {bad[0]}
    house.ask(one)
    house.until(lambda: house.port.counts["not_allowed"], "its message comes")

    assert house.got == []
    [(row, data)] = one.receive(5)
    assert row.kind == Kind.REFUSED and body_of(row, data)["code"] == "not_allowed"
    house.skipped_ms += limits.DOOR_GRACE_MS
    house.until_cut()
    assert not house.port.sessions
    other.notice_cut()
    house.open(other)
    house.ask(one)
    house.ask(other)
    house.until(lambda: house.got, "who may is heard")
    house.settle()
    assert len(house.got) == 1 and house.port.counts["not_allowed"] == 1


def test_a_client_that_names_its_own_route_is_not_heard(house: House):
    """So nobody takes the route, and with it the outcomes, of somebody who has just gone."""
    link = house.far(house.listed(), routing_id=b"somebody")
    link.hello()
    house.until(lambda: house.port.counts["own_route"], "it comes")

    assert not house.sessions.by_id


def test_a_message_of_many_parts_costs_the_key_its_place_for_a_while(house: House):
    keys = house.listed()
    link = house.far(keys)
    house.open(link)

    link.send_parts(*[b"x"] * (limits.PEER_PARTS_MAX + 1))
    house.until(lambda: house.port.counts["parts"], "it comes")
    house.skipped_ms += limits.DOOR_GRACE_MS
    house.until_cut()

    at = house.port.endpoints[0], house.public, *keys
    assert knock(house.context, *at) == monitor.DENIED
    house.port.refusals.tick(house.now_ms() + limits.PEER_BLOCK_MS + 1)
    assert knock(house.context, *at) == monitor.CONNECTED


@pytest.mark.parametrize(
    "parts",
    [(b"a", b"b"), (b"",), (b"MESH" * 20,), (bytes(200),), (frame([envelope(99)])[:-1],)],
)
def test_bytes_that_are_no_frame_are_refused_and_the_session_stays(house: House, parts):
    link = house.far(house.listed())
    session = house.open(link)

    link.send_parts(*parts)
    refused = house.until(lambda: link.receive(0.01), "it is answered")

    assert [row.kind for row, _ in refused] == [Kind.REFUSED]
    assert body_of(*refused[0])["code"] == "bad_frame"
    house.ask(link)
    house.until(lambda: house.got, "the next request comes")
    assert house.got == [(session, Kind.ASK)]


def test_a_frame_without_a_session_is_welcomed_and_not_used(house: House):
    link = house.far(house.listed())
    house.ask(link)
    seen = house.until(lambda: link.receive(0.01), "an answer comes")

    assert [row.kind for row, _ in seen] == [Kind.WELCOME]
    assert not house.got and not house.sessions.by_id


def test_the_largest_frame_passes_and_a_larger_one_cuts_the_connection(house: House):
    link = house.far(house.listed())
    house.open(link)
    link.send([envelope(Kind.ASK, name=b"x", body=bytes(limits.BODY_BYTES_MAX))])
    house.until(lambda: house.got, "it comes")

    link.send_bytes(bytes(limits.FRAME_BYTES_MAX + 1))
    house.ask(link)  # On the next connection, which libzmq makes by itself: without a session.
    seen = house.until(lambda: link.receive(0.01), "the client is welcomed anew")
    assert [row.kind for row, _ in seen] == [Kind.WELCOME]
    assert len(house.got) == 1


def test_both_ports_have_their_own_sessions(house: House):
    near, far = house.near(), house.far(house.listed())
    sessions = [house.open(near), house.open(far)]
    for session in sessions:
        house.sessions.send(session, [envelope(Kind.EVENT, body=b"%d" % session.id)])

    for link, session in zip((near, far), sessions, strict=True):
        [(row, data)] = link.receive(5)
        assert data[row.body_at : row.end] == b"%d" % session.id
    assert len(house.sessions.by_id) == 2


def test_clients_elsewhere_push_out_none_of_this_machine(house: House, monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_MAX", 3)
    near = house.open(house.near())
    keys = house.listed()
    far = [house.open(house.far(keys)) for _ in range(5)]

    assert near.id in house.sessions.by_id
    assert set(house.sessions.by_id) == {near.id, far[3].id, far[4].id}


def test_a_client_that_does_not_read_holds_up_nobody(house: House):
    slow, quick = house.far(house.listed()), house.far(house.listed())
    sessions = [house.open(slow), house.open(quick)]
    body = bytes(limits.FRAME_BYTES_GOAL)
    for _ in range(2 * limits.CLIENT_OUTBOX_BYTES_MAX // len(body)):
        house.sessions.send(sessions[0], [envelope(Kind.EVENT, body=body)])
    house.sessions.send(sessions[1], [envelope(Kind.EVENT, body=b"quick")])

    assert [row.kind for row, _ in quick.receive(5)] == [Kind.EVENT]
    assert sessions[0].lagged and sessions[0].outbox_bytes <= limits.CLIENT_OUTBOX_BYTES_MAX


def test_a_client_that_is_gone_is_forgotten_when_something_is_sent(house: House):
    link = house.far(house.listed())
    session = house.open(link)
    link.close()
    house.links.remove(link)

    def gone() -> bool:
        house.sessions.send(session, [envelope(Kind.EVENT)])
        return session.id not in house.sessions.by_id

    house.until(gone, "it is forgotten")
    assert not house.port.sessions and session.id not in house.sessions.backlog


@pytest.mark.parametrize("option", sorted(SERVER))
def test_each_setting_is_in_force(house: House, option: int):
    """As between nodes, but for the size of frames and the queue; read back from the link."""
    wanted = SERVER[option]
    if option in (zmq.ROUTER_MANDATORY, zmq.ROUTER_HANDOVER):
        assert wanted == (option == zmq.ROUTER_MANDATORY)  # libzmq does not tell these.
        return
    found = house.port.link.getsockopt(option)
    assert (found.rstrip(b"\0") if isinstance(found, bytes) else found) == wanted
    if option in BOTH and option not in (zmq.MAXMSGSIZE, zmq.SNDHWM, zmq.RCVHWM):
        assert wanted == BOTH[option]


def test_a_cut_keeps_the_address(house: House):
    before = house.port.endpoints
    house.port.cut_soon()
    house.skipped_ms += limits.DOOR_GRACE_MS
    house.until_cut()

    assert house.port.endpoints == before
    house.open(house.far(house.listed()))


def test_cuts_have_a_least_distance(house: House):
    """Whoever is turned away knocks on; the others must have peace in between."""
    for _ in range(3):
        house.port.cut_soon()
        house.skipped_ms += limits.DOOR_GRACE_MS
        house.settle()

    assert house.cuts == 1


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("tcp://127.0.0.1:7420", ["tcp://127.0.0.1:7422"]),
        ("tcp://[::1]:7420", ["tcp://[::1]:7422"]),
        ("tcp://node.example.org:1", ["tcp://node.example.org:3"]),
        ("tcp://0.0.0.0:65533", ["tcp://0.0.0.0:65535"]),
        ("tcp://0.0.0.0:65534", []),
        ("tcp://127.0.0.1:*", []),
        ("ipc:///run/x:12", []),
        ("", []),
    ],
)
def test_the_address_for_clients_is_two_above_that_for_peers(address: str, wanted: list[str]):
    assert beside([address]) == wanted


def test_ports_are_read_from_addresses():
    found = ports_of(["tcp://[fe80::1%eth0]:12", "tcp://h:3", "tcp://h", "udp://h:4"])

    assert found == [("fe80::1%eth0", 12), ("h", 3)]


def test_no_two_listed_clients_share_a_name(house: House):
    """Also when every other one has gone: a route belongs to one key for ever."""
    seen: dict[bytes, bytes] = {}
    for number in range(20):
        keys = house.listed()
        link = house.far(keys)
        session = house.open(link)
        assert session.name[-32:] == keys[0] and len(session.name) == 37
        assert seen.setdefault(session.name[:5], keys[0]) == keys[0]
        if number % 2:
            link.close()
            house.links.remove(link)
    assert len(seen) == 20
