"""The short way of plain calls does what the long way does: the same events, played along both."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from meshcode.ids import NO_ID, make_ids
from meshcode.replica import naming
from meshcode.replica.peers import ALIVE
from meshcode.router import events, plain
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW, Driver

LISTS = (
    "records", "accepted", "refused", "outcomes", "answers", "fetches", "recalls", "peer", "early",
    "chosen", "events",
)  # fmt: skip
PEERS = [bytes([number]) * 16 for number in (201, 202)]
STORED, AGREED = int(Kind.STORED), int(Kind.AGREED)
OPTIONS = (None, None, None, {"priority": 7}, {"key": "k"}, {"delay_ms": 5}, {"retries": 2})
SOCKETS = {
    "a": {}, "b": {"priority": 8}, "few": {"concurrency": 2}, "short": {},
    "late": {},
}  # fmt: skip
QUEUES = {"short": {"max_length": 3}, "late": {"expires_ms": 9}}


class Both:
    """Two routers that are told the same; only the first goes the short way."""

    def __init__(self, seed: int, *, shared: bool = False) -> None:
        self.rng = Random(seed)
        self.quick, self.slow = Driver(), Driver()
        self.short = self.ids = 0
        self.ended: list[bytes] = []
        self.said: list[tuple[bytes, int, list]] = []  # To peers, who have not answered.
        for made in (self.quick, self.slow):
            made.router.listening = seed % 2 == 1
            for peer in PEERS if shared else ():
                made.step(events.PeerChanged(peer, ALIVE, 1))
            for name, fields in SOCKETS.items():
                made.socket(name, QUEUES.get(name), **fields)

    def step(self, event):
        """One event at both; what they want done must be alike."""
        with patch.object(plain, "finish", self._counted(plain.finish)), \
             patch.object(plain, "accept", self._counted(plain.accept)):
            one = self.quick.step(event)
        with patch.object(plain, "accept", lambda *_: False), \
             patch.object(plain, "finish", lambda _r, _w, reports, *_: reports):
            other = self.slow.step(event)
        for made in (one, other):
            made.peer[:] = naming.singly(made.peer)
        for name in LISTS:
            assert sorted(map(repr, getattr(one, name))) == sorted(map(repr, getattr(other, name)))
        assert one.starts == other.starts
        a, b = self.quick.router, self.slow.router
        assert list(a.calls) == list(b.calls)
        assert (a.bodies_bytes, a.next_sequence) == (b.bodies_bytes, b.next_sequence)
        assert list(map(_shown, a.calls.values())) == list(map(_shown, b.calls.values()))
        assert list(map(_line, a.lines.values())) == list(map(_line, b.lines.values()))
        assert list(map(_worker, a.workers.values())) == list(map(_worker, b.workers.values()))
        self.ended += [id for table, id, _ in one.records if table == "done"]
        words = (*one.early, *one.peer)
        self.said += [word for word in words if word[1] in (Kind.STORE, Kind.PROPOSE)]

    def answer(self) -> events.PeerSaid:
        """A peer has done what it was asked for; some words of its are lost."""
        node, kind, entry = self.said.pop(self.rng.randrange(len(self.said)))
        if kind == Kind.STORE:
            return events.PeerSaid(node, STORED, [[entry[0]]])
        return events.PeerSaid(node, AGREED, [[entry[0], entry[4]]])

    def _counted(self, real):
        def counted(r, first, *rest):
            found = real(r, first, *rest)
            reports = rest[0] if isinstance(rest[0], list) else None
            self.short += found is True or (reports is not None and len(found) < len(reports))
            return found

        return counted

    def frame(self) -> events.Submitted:
        """A frame of calls, some of them with options, some known already."""
        calls = []
        mixed = self.rng.random() < 0.4
        for id in make_ids(self.rng.randint(1, 6), NOW):
            known = [*self.quick.router.calls, *self.ended]
            if mixed and known and self.rng.random() < 0.2:
                id = self.rng.choice(known)  # noqa: PLW2901 - a repeat in its place
            name = self.rng.choice([*SOCKETS, "nowhere"] if mixed else ["a", "b"])
            options = self.rng.choice(OPTIONS) if mixed else None
            meta = pack(options) if options else b""
            data = envelope(Kind.SUBMIT, id=id, name=name.encode(), meta=meta, argc=1)
            calls.append((id, id, NO_ID, name, 1, options, data))
        self.ids += 1
        over = {call[0]: b"x" * 80 for call in calls if call[0] in self.ended}
        return events.Submitted(self.rng.randint(1, 2), self.ids, calls, over)

    def reports(self, worker) -> list[events.Report]:
        """Some of what a worker holds ends, in one way or another; one report comes too late."""
        found = []
        for id, call in list(worker.held.items())[: self.rng.randint(1, 4)]:
            code = self.rng.choice((1, 1, 1, 1, 2))
            data = envelope(Kind.OUTCOME, id=id, code=code, attempt=call.attempt)
            found.append((id, call.attempt, code, code == Outcome.FAILED, 200, NOW, data))
        if self.rng.random() < 0.1:
            found.append((b"?" * 16, 1, 1, False, 200, 0, b""))
        return found

    def any_event(self):
        """Something that happens."""
        rng, workers = self.rng, list(self.quick.router.workers.values())
        if self.said and rng.random() < 0.6:
            return self.answer()
        choice = rng.random()
        if choice < 0.4:
            return self.frame()
        if choice < 0.8 and workers:
            worker = rng.choice(workers)
            return events.Finished(worker.id, self.reports(worker))
        if choice < 0.88 and len(workers) < 3:
            self.ids += 1
            return events.WorkerJoined(self.ids, "p", rng.choice((1, 1, 3)))
        if choice < 0.9 and workers:
            worker = rng.choice(workers)
            return events.WorkerLost(worker.id, list(worker.held)[:1], "signal 9", True)
        if choice < 0.94 and self.quick.router.calls:
            id = rng.choice(list(self.quick.router.calls))
            return events.CancelAsked(2, b"r" * 16, id, "ann")
        if choice < 0.97 and self.quick.router.calls:
            return events.Watched(2, [rng.choice(list(self.quick.router.calls))])
        self.quick.now = self.slow.now = self.quick.now + rng.choice((1, 10, 3_000))
        return events.Ticked()


def _shown(call):
    return (call.id, call.sequence, call.state, call.attempt, call.client, call.started_ms,
            call.needs, call.line.name, call.worker and call.worker.id)  # fmt: skip


def _line(line):
    waiting = {priority: [call.id for call in calls] for priority, calls in line.ready.items()}
    return line.depth, line.bytes, line.running, line.run_us, waiting, line.offered


def _worker(worker):
    return list(worker.held), list(worker.queued), worker.work_us, worker.bytes, worker.watch_ms


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_come_to_the_same(seed):
    both = Both(seed)

    for _ in range(150):
        both.step(both.any_event())

    assert both.short > 20
    assert both.ended


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_come_to_the_same_where_others_keep_the_calls(seed):
    both = Both(seed, shared=True)

    for _ in range(400):
        both.step(both.any_event())

    assert both.short > 20
    assert both.ended
