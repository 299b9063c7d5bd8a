"""The clients' link of a node, with real links on both ends and no node behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from meshcode import limits
from meshcode.node.sessions import Sessions
from meshcode.node.who import Who
from meshcode.wire.frame import check_envelope, envelope, index
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


class Slow:
    """A port whose clients read nothing until they are told to."""

    def __init__(self):
        self.sessions = {}
        self.sent = []
        self.full = True

    def send(self, name, data):
        if self.full:
            raise zmq.Again
        self.sent.append((name, data))


def opened(sessions, port, name, user=None):
    session = sessions._open(port, name, 0)
    if user is not None:
        session.who = Who("k" * 40)
        session.who.user = user
    return session


def fill(sessions, session, frames, size=MIB):
    for _ in range(frames):
        sessions.send(session, [envelope(Kind.ANSWER, body=bytes(size))])


def test_the_sessions_of_one_user_take_half_of_what_waits_for_all(sessions: Sessions):
    """18 of them that read nothing took more than the memory of the node."""
    port = Slow()
    sessions.outboxes.fit(160 * MIB)
    eves = [opened(sessions, port, b"eve%d" % n, "eve") for n in range(4)]
    for eve in eves:
        fill(sessions, eve, 30)
    assert 18 * MIB < sessions.outboxes.bytes < 20 * MIB
    assert all(eve.lagged for eve in eves)

    joe, owner = opened(sessions, port, b"joe", "joe"), opened(sessions, port, b"owner")
    fill(sessions, joe, 10)
    assert not joe.lagged and joe.outbox_bytes > 10 * MIB
    # The owner has no share, and who has most gives way.
    fill(sessions, owner, 15)
    assert not owner.lagged and sessions.outboxes.bytes <= 40 * MIB
    assert eves[0].outbox_bytes == 0

    port.full = False
    sessions.flush()
    assert sessions.outboxes.bytes == 0 and not sessions.backlog
    told = {name for name, data in port.sent if index(data)[1][0].kind == Kind.LAGGED}
    assert told == {eve.name for eve in eves}
    assert sessions.outboxes._of == {}


def test_who_lags_is_told_when_the_link_takes_something_again(sessions: Sessions):
    port = Slow()
    sessions.outboxes.fit(4 * MIB)
    joe = opened(sessions, port, b"joe", "joe")
    fill(sessions, joe, 1, size=2 * MIB)  # Larger than all may be, and nothing else waits.
    assert not joe.lagged
    fill(sessions, joe, 1)
    assert joe.lagged
    sessions.flush()
    assert joe.lagged and sessions.backlog == {joe.id}

    port.full = False
    sessions.flush()
    kinds = [index(data)[1][0].kind for _, data in port.sent]
    assert kinds == [Kind.ANSWER, Kind.LAGGED] and not joe.lagged
    sessions.close(joe)


def test_what_waits_for_a_session_that_goes_is_forgotten(sessions: Sessions):
    port = Slow()
    joe = opened(sessions, port, b"joe", "joe")
    fill(sessions, joe, 5)
    joe.who.user = "ann"  # It logged in as another meanwhile.
    fill(sessions, joe, 1)
    sessions.close(joe)

    assert (sessions.outboxes.bytes, sessions.outboxes._of) == (0, {})


def test_each_session_that_has_ended_is_told_of_once(sessions: Sessions, monkeypatch):
    """By its client, because others came, or because nobody is there any more."""
    port = Slow()
    port.full = False
    monkeypatch.setattr(limits, "CLIENTS_MAX", 3)
    first, second, third = (opened(sessions, port, b"%d" % n) for n in range(3))
    assert sessions.take_gone() == set()

    sessions.close(second)
    sessions.close(second)
    assert sessions.take_gone() == {second.id}

    again = opened(sessions, port, first.name)
    opened(sessions, port, b"3")
    first.heard_ms = third.heard_ms = -1
    opened(sessions, port, b"4")  # The longest silent one gives way.
    assert sessions.take_gone() == {first.id, third.id}

    def gone(_name, _data):
        raise zmq.ZMQError(zmq.EHOSTUNREACH)

    port.send = gone
    sessions.send(again, [envelope(Kind.LAGGED)])
    assert sessions.take_gone() == {again.id}
    assert sessions.take_gone() == set()
