"""The clients' link of a node, with real links on both ends and no node behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from meshcode import limits
from meshcode.node.sessions import Sessions
from meshcode.wire.frame import check_envelope, envelope
from meshcode.wire.kinds import Kind
from tests.live.harness import until
from tests.live.rawlink import RawLink

MIB = 1024 * 1024


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    """The link, bound."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = Sessions(context, f"ipc://{tmp_path}/clients.ipc", 1, {"boot": 1})
    yield made
    made.link.close(0)
    context.term()


@pytest.fixture
def client(sessions: Sessions, tmp_path: Path) -> Iterator[RawLink]:
    """A client with a session."""
    link = RawLink(f"ipc://{tmp_path}/clients.ipc")
    link.hello()
    until(lambda: sessions.receive(1, 0) or sessions.by_id, 5, "HELLO comes")
    yield link
    link.close()


def test_a_turn_takes_a_bounded_number_of_bytes(sessions: Sessions, client: RawLink):
    """Frames are bounded and so is their number, but the product of both is not small."""
    size = limits.TURN_BYTES_MAX // 2
    for _ in range(7):
        client.send([envelope(Kind.ASK, name=b"x", body=bytes(size))])

    taken: list[int] = []
    until(
        lambda: taken.append(len(sessions.receive(64, 0))) or sum(taken) == 7,
        10,
        lambda: f"all frames come: {taken}",
    )

    assert max(taken) <= 2


def test_a_session_is_told_its_boot_and_counted_once(sessions: Sessions, client: RawLink):
    client.hello()
    until(lambda: not sessions.receive(64, 0) and client.receive(0.1), 5, "a second WELCOME")

    assert len(sessions.by_id) == 1


def test_a_large_frame_alone_passes(sessions: Sessions, client: RawLink):
    client.send([envelope(Kind.ASK, name=b"x", body=bytes(limits.BODY_BYTES_MAX))])

    [arrived] = until(lambda: sessions.receive(64, 0), 10, "the frame comes")

    assert arrived.head.count == 1
    [(*_, data)] = arrived.calls
    row = check_envelope(data)
    assert row.end - row.body_at == limits.BODY_BYTES_MAX
