"""Each setting of the links between nodes, with a test that fails when it is taken out.

What libzmq shows in a few seconds is shown; the rest (heartbeats, keepalive, TCP_MAXRT, reconnect
delays, CONNECT_TIMEOUT: a fault of 5 to 30 s each) is read back from a link made as the node makes
it.  The expected values stand here once more on purpose.  ROUTER_HANDOVER cannot be read back and
its default is what we want; `test_a_routing_id_cannot_be_stolen` shows what it does.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from meshcode import limits
from meshcode.errors import NodeError
from meshcode.peers import options
from meshcode.peers.options import CLIENT, SERVER, check_libzmq, client_link, server_link
from meshcode.peers.zap import ZapHandler
from tests.live.harness import until
from tests.peers.world import raw_keys

READ_BACK = {
    zmq.LINGER: 0,
    zmq.SNDHWM: 256,
    zmq.RCVHWM: 256,
    zmq.MAXMSGSIZE: 262_144 + 33,
    zmq.HEARTBEAT_IVL: 5_000,
    zmq.HEARTBEAT_TIMEOUT: 15_000,
    zmq.HEARTBEAT_TTL: 15_000,
    zmq.HANDSHAKE_IVL: 5_000,
    zmq.TCP_MAXRT: 20_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 60,
}
SERVER_READ_BACK = {**READ_BACK, zmq.CURVE_SERVER: 1, zmq.ZAP_DOMAIN: b"peers", 93: 1}
CLIENT_READ_BACK = {
    **READ_BACK,
    zmq.IMMEDIATE: 1,
    zmq.RECONNECT_IVL: 200,
    zmq.RECONNECT_IVL_MAX: 30_000,
    zmq.CONNECT_TIMEOUT: 5_000,
}
ALL = [(True, option) for option in SERVER_READ_BACK]
ALL += [(False, option) for option in CLIENT_READ_BACK]
NAMES = {93: "ZAP_ENFORCE_DOMAIN"}


def name_of(value: object) -> str:
    """How a row of the table is called."""
    if isinstance(value, bool):
        return "server" if value else "client"
    return str(NAMES.get(value, getattr(value, "name", value)))  # type: ignore[call-overload]


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    """A context with a ZAP handler that lets everyone in."""
    made: zmq.Context[Any] = zmq.Context()
    handler = ZapHandler(made, 0)
    handler.serve(options.DOMAIN, lambda key: key.hex())
    yield made
    handler.stop()
    made.destroy(linger=0)


def made(context: zmq.Context[Any], server: bool, leave_out: int | None = None) -> Any:
    """A link as the node makes it, or with one setting less."""
    public, secret = raw_keys()
    table = {k: v for k, v in (SERVER if server else CLIENT).items() if k != leave_out}
    if server:
        return server_link(context, secret, table)
    return client_link(context, public, secret, raw_keys()[0], table)


def value_of(link: Any, option: int) -> Any:
    """A setting read back."""
    found = link.getsockopt(option)
    return found.rstrip(b"\0") if isinstance(found, bytes) else found


@pytest.mark.parametrize(("server", "option"), ALL, ids=name_of)
def test_a_link_has_the_setting(context: zmq.Context[Any], server: bool, option: int):
    wanted = (SERVER_READ_BACK if server else CLIENT_READ_BACK)[option]

    assert value_of(made(context, server), option) == wanted


@pytest.mark.parametrize(("server", "option"), ALL, ids=name_of)
def test_without_its_line_the_setting_would_be_missed(
    context: zmq.Context[Any], server: bool, option: int
):
    """The default of libzmq is another value, so the test above would fail."""
    wanted = (SERVER_READ_BACK if server else CLIENT_READ_BACK)[option]

    assert value_of(made(context, server, leave_out=option), option) != wanted


def test_no_setting_is_without_its_test():
    cannot_be_read = {zmq.ROUTER_MANDATORY, zmq.ROUTER_HANDOVER}

    assert set(SERVER) - cannot_be_read == set(SERVER_READ_BACK)
    assert set(CLIENT) == set(CLIENT_READ_BACK)
    assert zmq.ROUTING_ID not in {*SERVER, *CLIENT}


def connected(
    context: zmq.Context[Any],
    leave_out: int | None = None,
    routing_id: bytes = b"",
    keys: tuple[bytes, bytes] | None = None,
) -> tuple[Any, Any]:
    """A server link and a client link that talked once; `leave_out` is of the server."""
    public, secret = keys or raw_keys()
    table = {k: v for k, v in SERVER.items() if k != leave_out}
    server = server_link(context, secret, table)
    server.bind("tcp://127.0.0.1:*")
    client = client_link(context, *raw_keys(), public)
    if routing_id:
        client.setsockopt(zmq.ROUTING_ID, routing_id)
    client.connect(server.getsockopt_string(zmq.LAST_ENDPOINT))
    assert client.poll(5_000, zmq.POLLOUT)
    client.send(b"hello")
    assert server.poll(5_000)
    return server, client


def test_a_message_for_nobody_is_an_error_by_router_mandatory(context: zmq.Context[Any]):
    server, _ = connected(context)
    careless, _ = connected(context, leave_out=zmq.ROUTER_MANDATORY)

    with pytest.raises(zmq.ZMQError):
        server.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    careless.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    assert server.recv_multipart()[1] == careless.recv_multipart()[1] == b"hello"


def test_a_frame_over_the_limit_never_arrives_by_maxmsgsize(context: zmq.Context[Any]):
    server, client = connected(context)
    careless, other = connected(context, leave_out=zmq.MAXMSGSIZE)
    for link, sender in ((server, client), (careless, other)):
        link.recv_multipart()
        sender.send(bytes(262_145))

    assert careless.poll(5_000)
    assert not server.poll(300)


def test_a_frame_of_just_the_limit_arrives_encrypted(context: zmq.Context[Any]):
    """libzmq measures the message with what CURVE adds; a frame above would end the link."""
    server, client = connected(context)
    server.recv_multipart()

    client.send(bytes(limits.PEER_FRAME_BYTES_MAX))

    assert server.poll(5_000)
    assert len(server.recv_multipart()[-1]) == limits.PEER_FRAME_BYTES_MAX


def test_nothing_is_queued_for_a_peer_that_is_not_there_by_immediate(context: zmq.Context[Any]):
    link = made(context, False)
    careless = made(context, False, leave_out=zmq.IMMEDIATE)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for each in (link, careless):
            each.connect(f"tcp://127.0.0.1:{nobody.getsockname()[1]}")

        careless.send(b"kept and forgotten", zmq.NOBLOCK)
        with pytest.raises(zmq.Again):
            link.send(b"x", zmq.NOBLOCK)


def test_queues_are_short_by_both_marks(context: zmq.Context[Any]):
    """Nobody reads: 256 each side, and what the kernel holds; by default it is 1000 each."""
    server, client = connected(context)
    server.recv_multipart()
    frame, count = bytes(100_000), 0

    def full() -> bool:
        nonlocal count
        try:
            while True:
                client.send(frame, zmq.NOBLOCK)
                count += 1
        except zmq.Again:
            return count >= 256 and not client.poll(200, zmq.POLLOUT)

    until(full, 10, lambda: f"the queue is full, it took {count}", every=0.0)
    assert count <= 256 + 256 + 200


def test_closing_waits_for_nobody_by_linger(context: zmq.Context[Any]):
    """With the default the context would wait for ever for a peer that does not read."""
    own: zmq.Context[Any] = zmq.Context()
    link = client_link(own, *raw_keys(), raw_keys()[0], {**CLIENT, zmq.IMMEDIATE: 0})
    link.connect("tcp://127.0.0.1:1")
    link.send(b"never read")
    begin = time.monotonic()

    link.close()
    own.term()

    assert time.monotonic() - begin < 2


def test_who_connects_and_says_nothing_is_cut_by_handshake_ivl(context: zmq.Context[Any]):
    """After 5 s; by default it may hold its place for 30."""
    server = made(context, True)
    server.bind("tcp://127.0.0.1:*")
    port = int(server.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.settimeout(8)
        while silent.recv(4096):
            pass  # The greeting of libzmq, and then the end.
    assert not server.poll(0)


def test_a_routing_id_cannot_be_stolen_by_router_handover(context: zmq.Context[Any]):
    """With HANDOVER the second peer of that name would get what was meant for the first."""
    keys = raw_keys()
    server, first = connected(context, routing_id=b"NODE", keys=keys)
    server.recv_multipart()
    endpoint = server.getsockopt_string(zmq.LAST_ENDPOINT)
    thief = client_link(context, *raw_keys(), keys[0])
    thief.setsockopt(zmq.ROUTING_ID, b"NODE")
    thief.connect(endpoint)
    assert thief.poll(5_000, zmq.POLLOUT)
    thief.send(b"I am NODE")

    assert not server.poll(300)
    server.send_multipart([b"NODE", b"secret"], zmq.NOBLOCK)
    assert first.poll(5_000) and first.recv() == b"secret"
    assert not thief.poll(100)


@pytest.mark.parametrize("version", [(4, 3, 4), (4, 2, 99), (3, 9, 9)])
def test_an_old_libzmq_is_refused_with_both_versions(version: tuple[int, int, int]):
    with pytest.raises(NodeError, match=r"libzmq is .* need 4\.3\.5 or newer"):
        check_libzmq(version, True)


def test_a_libzmq_without_curve_is_refused():
    with pytest.raises(NodeError, match="without CURVE"):
        check_libzmq((4, 3, 5), False)
