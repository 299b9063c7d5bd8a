"""Frames of clients in parts: how much one step takes, whose turn is next, what is told when."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from meshcode import limits
from meshcode.ids import NO_ID, make_id, make_ids
from meshcode.node import intake
from meshcode.node.faults import Faults
from meshcode.node.frames import Frames, Rest
from meshcode.node.release import Release
from meshcode.node.sessions import NEW_CALL, Arrived, Session
from meshcode.node.turn import Turns
from meshcode.router import events
from meshcode.router.core import Router
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import envelope, frame, index, pick
from meshcode.wire.kinds import Flag, Kind, Outcome

NOW = 1_700_000_000_000
LONG = {"retries": 3}
CALLS = limits.PART_WORK_MAX // limits.CALL_WORK + 1  # Of one part, that go the long way.


class Node:
    """As much of a loop as takes frames: the real core, turns and release, and no links."""

    keeps_no_calls = False
    mesh = None

    def __init__(self, **queue: Any) -> None:
        self.router = Router(bytes(range(16)), 1, Random(1))
        self.release = Release(self)  # type: ignore[arg-type]
        self.turns = Turns(self.router, self.release)
        self.faults, self.frames = Faults(self.turns), Frames(self)  # type: ignore[arg-type]
        self.history = SimpleNamespace(flows=SimpleNamespace(wanted=False))
        self.clock = SimpleNamespace(now_ms=lambda: NOW)
        self.sessions = SimpleNamespace(by_id={}, send=self._send, close=lambda _session: None)
        self.began: list[bytes] = []
        self.crew = SimpleNamespace(start=self._start)
        self.hosted = SimpleNamespace(is_mine=lambda _worker: False)
        self.feed = SimpleNamespace(wants=lambda _channel: False)
        self.told: list[tuple[int, int, bytes]] = []  # Client, kind, id or sequence.
        self.steps: list[tuple[int, int]] = []  # Client, and how many calls one step took.
        self.frames_of: dict[int, int] = {}
        sockets = {n: {"processor": "p", "task": "t", "queue": n} for n in ("a", "b")}
        queues = dict.fromkeys(sockets, queue)
        model = {"number": 1, "sockets": sockets, "queues": queues, "processors": {"p": {}}}
        self.turns.step(events.ModelChanged(model), NOW)

    def step(self, event: Any) -> None:
        if isinstance(event, events.Submitted):
            self.steps.append((event.client, len(event.calls)))
        self.turns.step(event, NOW)

    def ended(self, ids: list[bytes]) -> dict[bytes, bytes]:
        return self.turns.ended(ids, lambda _id: None)

    def _send(self, session: Session, envelopes: list[bytes]) -> None:
        for row in index(frame(envelopes))[1]:
            what = row.number.to_bytes(8, "big") if row.kind == Kind.ACCEPTED else row.id
            self.told.append((session.id, row.kind, what))

    def _start(self, _worker: int, batch: list[Any]) -> None:
        self.began += [id for id, *_ in batch]

    def arrives(self, client: int, calls: int, name: str = "a", **options: Any) -> list[bytes]:
        """A frame of fresh calls comes."""
        ids = make_ids(calls)
        meta = pack(options) if options else b""
        sealed = [
            envelope(Kind.SUBMIT, id=id, name=name.encode(), meta=meta, argc=1,
                     flags=Flag.FRESH, body=pack_call([1]))
            for id in ids
        ]  # fmt: skip
        self.comes(client, sealed)
        return ids

    def comes(self, client: int, sealed: list[bytes]) -> None:
        """A frame of these envelopes comes, and is taken as a round takes it."""
        session = self.sessions.by_id.setdefault(client, Session(client, b"%d" % client))
        sequence = self.frames_of[client] = self.frames_of.get(client, 0) + 1
        arrived = Arrived(session, *pick(frame(sealed, sequence=sequence), NEW_CALL))
        if self.frames.waits(client):
            self.frames.put(Rest(arrived))
        else:
            intake.take(self, arrived)  # type: ignore[arg-type]

    def round(self) -> None:
        """What waits goes on, and the turn goes to disk."""
        intake.go_on(self)  # type: ignore[arg-type]
        self.sync()

    def sync(self) -> None:
        self.turns.close()
        if self.turns.begin_sync() is not None:
            self.turns.synced()

    def kinds(self, client: int) -> list[int]:
        return [kind for who, kind, _ in self.told if who == client]


@pytest.fixture
def node() -> Iterator[Node]:
    """One in whose turn nothing was taken yet."""
    made = Node()
    made.round()
    yield made
    made.router.check()
    assert (made.frames.count, made.frames.bytes) == (0, 0)
    assert made.router.acks == made.frames.held == {}


def test_a_frame_of_plain_calls_is_one_step(node: Node):
    node.arrives(1, limits.FRAME_ENVELOPES_MAX)

    assert node.steps == [(1, limits.FRAME_ENVELOPES_MAX)]


def test_a_long_frame_is_taken_in_parts_in_order_and_acknowledged_once_with_the_last(node: Node):
    ids = node.arrives(1, limits.FRAME_ENVELOPES_MAX, **LONG)
    node.sync()
    assert list(node.router.calls) == ids[:CALLS]
    assert node.told == []

    while node.frames.count:
        node.round()

    assert list(node.router.calls) == ids
    assert max(count for _, count in node.steps) == CALLS
    assert node.told == [(1, int(Kind.ACCEPTED), (1).to_bytes(8, "big"))]


def test_others_are_served_between_the_parts_and_one_session_in_its_order(node: Node):
    node.arrives(1, 2 * CALLS + 7, **LONG)
    node.arrives(1, 2, "b")  # It has to wait, though it is short.
    node.arrives(2, 2 * CALLS, **LONG)
    node.arrives(3, 5)

    while node.frames.count:
        node.round()

    assert node.steps[0] == (1, CALLS)
    assert [count for client, count in node.steps if client == 1] == [CALLS, CALLS, 7, 2]
    assert node.steps.index((2, CALLS)) < node.steps.index((1, 2))
    assert node.steps.index((3, 5)) < node.steps.index((1, 2))
    assert [what for who, _, what in node.told if who == 1] == [
        number.to_bytes(8, "big") for number in (1, 2)
    ]


def test_a_turn_takes_so_much_of_all_clients_and_the_rest_waits(node: Node):
    for client in range(1, 9):
        node.arrives(client, CALLS, **LONG)
    taken = [sum(count for _, count in node.steps)]
    while node.frames.count:
        node.round()
        taken.append(sum(count for _, count in node.steps))

    most = limits.TURN_WORK_MAX // limits.CALL_WORK + CALLS
    assert max(after - before for before, after in zip([0, *taken], taken, strict=False)) <= most
    assert sorted(node.steps) == [(client, CALLS) for client in range(1, 9)]


def test_an_outcome_does_not_come_before_the_acknowledgement_of_its_frame(node: Node):
    node.step(events.WorkerJoined(1, "p"))
    ids = node.arrives(1, 2 * CALLS, **LONG)
    node.sync()
    first = ids[0]
    done = envelope(Kind.OUTCOME, id=first, code=Outcome.DONE, attempt=1)
    node.step(events.Finished(1, [(first, 1, int(Outcome.DONE), False, 200, 0, done)]))
    node.sync()
    assert first in node.began
    assert node.told == []

    node.round()

    assert node.kinds(1) == [Kind.ACCEPTED, Kind.OUTCOME]


def test_what_is_refused_of_a_part_is_told_before_the_acknowledgement(node: Node):
    node.arrives(1, 2 * CALLS, "nobody", **LONG)
    node.round()

    assert node.kinds(1) == [Kind.REFUSED] * (2 * CALLS) + [Kind.ACCEPTED]


def test_a_part_of_requests_only_ends_a_frame_too(node: Node):
    calls = [envelope(Kind.SUBMIT, id=make_id(), name=b"a", flags=Flag.FRESH, meta=pack(LONG))]
    bye = [envelope(Kind.BYE)] * (2 * limits.PART_WORK_MAX // limits.ASK_WORK)
    node.comes(1, calls + bye)
    node.sync()
    assert node.told == []

    while node.frames.count:
        node.round()

    assert node.kinds(1) == [Kind.ACCEPTED]


def test_a_part_that_fails_is_refused_and_the_others_are_acknowledged(
    node: Node, monkeypatch, capfd
):
    real, whole = node.ended, [0]
    monkeypatch.setattr(node, "ended", lambda ids: 1 // whole.pop() if whole else real(ids))

    node.arrives(1, 2 * CALLS, **LONG)
    node.round()

    assert node.kinds(1) == [Kind.REFUSED] * CALLS + [Kind.ACCEPTED]
    assert len(node.router.calls) == CALLS
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_of_a_client_that_is_gone_nothing_waits(node: Node):
    node.arrives(1, 2 * CALLS + 7, **LONG)
    node.arrives(1, 3, **LONG)
    node.step(events.ClientLeft(1))
    node.frames.leave({1})
    node.round()

    assert len(node.router.calls) == CALLS
    assert node.told == []


def test_a_flow_counts_with_its_steps_and_a_call_to_a_fanout_queue_with_its_copies():
    node = Node(type="fanout")
    node.router.wiring.bound["a"] = (("a", "#"),) * 100
    node.round()
    copies = limits.PART_WORK_MAX // (limits.CALL_WORK * 101) + 1
    [(kind, call)] = _rows(Kind.SUBMIT, b"a", 1)
    assert node.frames._work_of(kind, call) * copies >= limits.PART_WORK_MAX

    plan = {"steps": [["a", 1, pack_call(["x" * 16]), None, None]] * 1000, "result": 999}
    [(kind, call)] = _rows(Kind.SUBMIT, b"@flow", 1, pack_call([plan]))
    assert node.frames._work_of(kind, call) >= 1000 * limits.CALL_WORK


def _rows(kind: Kind, name: bytes, count: int, body: bytes = b"\x90") -> list[tuple[int, Any]]:
    sealed = [envelope(kind, id=make_id(), flow=NO_ID, name=name, body=body) for _ in range(count)]
    _, calls, kinds, _ = pick(frame(sealed), NEW_CALL)
    return list(zip(kinds, calls, strict=True))
