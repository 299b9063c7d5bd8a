"""Encrypted links over TCP: whose keys, and what is said when one is wrong."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from meshcode import cli, connect_async, errors
from meshcode.cli.demo.many.stage import free_port
from meshcode.client import Client, connect
from meshcode.client.keys import KeyPair, key_pair
from tests.client.conftest import SOON_S, Peer, until

PUBLIC, SECRET = (key.decode() for key in zmq.curve_keypair())  # Of the nodes.


@pytest.fixture(autouse=True)
def no_other_keys(monkeypatch, tmp_path):
    """This machine's own home and keys are no part of a test."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MESH_CLIENT_KEY", raising=False)
    monkeypatch.delenv("MESH_NODE", raising=False)


@pytest.fixture
def make(make_peer: Callable[..., Peer]) -> Callable[..., Peer]:
    """Makes nodes that listen on TCP with the keys above."""

    def made(**options: Any) -> Peer:
        found = make_peer(address=f"tcp://127.0.0.1:{free_port()}", secret=SECRET, **options)
        return found.start()

    return made


def at(peer: Peer, key: str = PUBLIC) -> str:
    """The address of a node as clients are told it."""
    return f"{peer.address}?key={key}"


def test_calls_cross_an_encrypted_link(make):
    with connect(at(make()), timeout=SOON_S) as client:
        assert list(client.socket("echo").map(range(1000))) == list(range(1000))
        assert len(client.socket("bytes")(1_000_000)) == 1_000_000


def test_the_async_client_has_keys_too(make):
    peer, pair = make(), zmq.curve_keypair()

    async def main() -> Any:
        async with await connect_async(at(peer), timeout=SOON_S, curve=pair) as client:
            return await client.socket("echo")("x")

    assert asyncio.run(main()) == "x"


def test_a_client_fails_over_from_one_key_to_another(make, make_peer, tmp_path):
    """Also from TCP to ipc and back: no key of one link reaches the next."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    log = tmp_path / "log"
    first = make(log=log)
    second = make_peer(
        address=f"tcp://127.0.0.1:{free_port()}", secret=secret, log=log
    ).start()  # fmt: skip
    third = make_peer(log=log).start()
    addresses = [at(first), at(second, public), third.address]
    for address in addresses:
        connect(address, timeout=SOON_S).close()
    with connect(addresses, timeout=SOON_S) as client:
        call = client.socket("later").submit("x")
        call.wait_accepted(SOON_S)
        for peer in (first, second):
            assert client.address == peer.address
            peer.kill()
            assert client.ask("test.count")["submits"] == 0
        assert client.address == third.address
        client.ask("test.release")

        assert call.result(SOON_S) == "x"
        first.start()
        third.kill()
        assert client.ask("status")["pid"] == first.process.pid


def test_a_wrong_server_key_is_said_in_time(make):
    peer = make()
    connect(at(peer), timeout=SOON_S).close()
    wrong = zmq.curve_keypair()[0].decode()
    began = time.monotonic()

    with pytest.raises(errors.NoNode) as caught:
        connect(at(peer, wrong), timeout=1)

    assert time.monotonic() - began < 4
    assert "the key in the address is not that of the node" in str(caught.value)
    assert peer.address in str(caught.value)


def test_a_wrong_server_key_is_no_reason_to_stay(make):
    first, second = make(), make()
    for peer in (first, second):
        connect(at(peer), timeout=SOON_S).close()
    wrong = zmq.curve_keypair()[0].decode()

    with connect([at(first, wrong), at(second)], timeout=SOON_S) as client:
        assert client.address == second.address


def test_a_client_whose_key_is_not_listed_is_told_so(make):
    listed, stranger = zmq.curve_keypair(), zmq.curve_keypair()
    peer = make(allow=[listed[0].decode()])

    with connect(at(peer), timeout=SOON_S, curve=listed) as client:
        assert client.socket("echo")(1) == 1
    with pytest.raises(errors.NoNode, match="refuses the key of this client"):
        connect(at(peer), timeout=1, curve=stranger)


def test_the_command_says_too_why_a_node_elsewhere_does_not_answer(make, capsys, monkeypatch):
    monkeypatch.setattr("meshcode.cli.session.CONNECT_S", 1.0)
    peer = make(allow=[zmq.curve_keypair()[0].decode()])

    for address, why in (
        (at(peer), "it is not listed there, or no more (in mesh/clients.keys of the"),
        (at(peer, zmq.curve_keypair()[0].decode()), "the key in the address is not that of"),
        (f"tcp://127.0.0.1:{free_port()}?key={PUBLIC}", "nothing listens there, or it cannot be"),
    ):
        status = cli.main(["--node", address, "status"])
        said = capsys.readouterr().err
        assert status == 7
        assert why in said
        assert "mesh up" not in said


def test_a_node_that_does_not_encrypt_gets_nothing(make_peer):
    """Whoever listens at the address of a node must have its key; plain text is never sent."""
    peer = make_peer(address=f"tcp://127.0.0.1:{free_port()}").start()

    def problem() -> str:
        with pytest.raises(errors.NoNode) as caught:
            connect(at(peer), timeout=0.3)
        return str(caught.value)

    until(lambda: "one side wants an encrypted link" in problem(), "it says why")
    assert peer.process.poll() is None


def test_a_name_that_is_none_is_said():
    with pytest.raises(errors.NoNode, match="its name cannot be resolved"):
        connect(f"tcp://no-such-host.invalid:7000?key={PUBLIC}", timeout=1)


def test_a_port_where_nothing_listens_is_said():
    with pytest.raises(errors.NoNode, match="nothing listens there, or it cannot be reached"):
        connect(f"tcp://127.0.0.1:{free_port()}?key={PUBLIC}", timeout=0.5)


def test_heartbeats_are_as_between_nodes(make):
    """A half-open connection is noticed; ipc has none and needs none."""
    with connect(at(make()), timeout=SOON_S) as client:
        dealer = client.session._link.dealer
        assert dealer.getsockopt(zmq.HEARTBEAT_IVL) == 5_000
        assert dealer.getsockopt(zmq.HEARTBEAT_TIMEOUT) == 15_000
        assert dealer.getsockopt(zmq.MECHANISM) == zmq.CURVE


# Which pair a client shows.


def shown(make: Callable[..., Peer], pair: tuple[bytes, bytes], **arguments: Any) -> bool:
    """Whether a client made so shows `pair`: the node lets in no other."""
    peer = make(allow=[pair[0].decode()])
    with connect(at(peer), timeout=SOON_S, **arguments) as client:
        return bool(client.socket("echo")(1) == 1)


def write_key(path: Path, pair: tuple[bytes, bytes]) -> Path:
    """A key file as a node or an operator writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"public": pair[0].decode(), "secret": pair[1].decode()}))
    return path


def test_the_argument_wins_over_the_file_and_the_file_over_the_home(make, monkeypatch, tmp_path):
    argument, named, own = (zmq.curve_keypair() for _ in range(3))
    write_key(tmp_path / "home/mesh/node.key", own)
    assert shown(make, own)

    monkeypatch.setenv("MESH_CLIENT_KEY", str(write_key(tmp_path / "me.key", named)))
    assert shown(make, named)
    assert shown(make, argument, curve=argument)
    raw = [z85.decode(key) for key in argument]
    assert key_pair(raw) == key_pair([key.decode() for key in argument]) == KeyPair(*argument)


def test_without_any_key_a_fresh_one_is_shown(make):
    assert key_pair(None) != key_pair(None)
    with connect(at(make()), timeout=SOON_S) as client:
        assert client.socket("echo")(1) == 1


def test_the_secret_is_never_shown():
    public, secret = zmq.curve_keypair()
    pair = key_pair((public, secret))

    assert public.decode() in repr(pair)
    assert secret.decode() not in f"{pair!r} {pair}"
    with pytest.raises(errors.BadRequest) as caught:
        key_pair((public, secret[:-1]))
    assert secret.decode()[:-1] not in str(caught.value)


@pytest.mark.parametrize(
    ("curve", "text"),
    [
        ("abc", "a pair of keys"),
        ((PUBLIC,), "a pair of keys"),
        ((PUBLIC, "short"), "the secret is not 40 characters of Z85"),
        ((PUBLIC, " " * 40), "the secret is not 40 characters of Z85"),
        ((PUBLIC, "#" * 40), "the secret is not 40 characters of Z85"),
        ((PUBLIC, None), "the secret is not 40 characters of Z85"),
        ((None, SECRET), "the public key is not 40 characters of Z85"),
        ((7, SECRET), "the public key is not 40 characters of Z85"),
        ((b"x" * 31, SECRET), "the public key is not 40 characters of Z85"),
        ((zmq.curve_keypair()[0], SECRET), "the public key does not belong to the secret"),
    ],
)
def test_a_pair_that_is_none_is_refused_before_anything_is_sent(curve, text):
    with pytest.raises(errors.BadRequest, match=text):
        Client(f"tcp://127.0.0.1:7000?key={PUBLIC}", curve=curve)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        ("", "does not hold"),
        ("{", "does not hold"),
        ("[1]", "does not hold"),
        ('{"public": "x"}', "does not hold"),
        (json.dumps({"public": PUBLIC, "secret": 5}), "the secret is not 40"),
        (json.dumps({"public": SECRET, "secret": SECRET}), "does not belong to the secret"),
    ],
    ids=["no-file", "empty", "cut", "list", "half", "number", "other-secret"],
)
def test_a_key_file_that_is_none_is_refused_by_its_name(content, text, monkeypatch, tmp_path):
    path = tmp_path / "me.key"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("MESH_CLIENT_KEY", str(path))

    with pytest.raises(errors.BadRequest, match=text) as caught:
        connect(f"tcp://127.0.0.1:7000?key={PUBLIC}", timeout=0.1)
    assert str(path) in str(caught.value)


def test_a_client_of_ipc_looks_for_no_key(peer, monkeypatch):
    monkeypatch.setenv("MESH_CLIENT_KEY", "/nowhere")

    with connect(peer.address, timeout=SOON_S) as client:
        assert client.socket("echo")(1) == 1
