"""The short way of steps does what the long way does: the same events, played along both."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from meshcode.ids import NO_ID, child_id, make_ids
from meshcode.router import events, plan, steps
from meshcode.router.records import read_envelope, sequence_key, split_done, split_open
from meshcode.wire.codec import pack, pack_call
from meshcode.wire.frame import check_envelope, envelope
from meshcode.wire.kinds import Kind, Outcome

from .driver import NOW
from .flowing import Flows, step

LISTS = (
    "records", "accepted", "refused", "outcomes", "answers", "fetches", "recalls", "lookups",
    "events", "starts",
)  # fmt: skip
SOCKETS = {
    "a": {}, "b": {"priority": 8}, "few": {"concurrency": 2}, "short": {"queue": "short"},
    "late": {"queue": "late"}, "all": {"queue": "all"}, "also": {"queue": "all"},
}  # fmt: skip
QUEUES = {
    "q": {}, "short": {"max_length": 9}, "late": {"expires_ms": 30}, "all": {"type": "fanout"},
}  # fmt: skip
CHANGES = ({}, {"priority": 7}, {"priority": 2}, {"queue": "late"}, {"queue": "all"})
OPTIONS = (None,) * 12 + ({"priority": 7}, {"delay_ms": 5}, {"key": "k"}, {"retries": 1})


class Both:
    """Two routers that are told the same; only the first goes the short way."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.quick, self.slow = Flows(), Flows()
        self.short = {"begin": 0, "feed": 0}
        self.flows = self.ids = 0
        self.ended: list[bytes] = []
        self.wanted: list[tuple[bytes, bytes]] = []  # Look-ups without an answer yet.
        for made in (self.quick, self.slow):
            made.router.listening = seed % 2 == 1
            if seed % 3 == 0:
                made.router.bodies_bytes_max = 3_000
            made.queues = QUEUES
            made.sockets = {name: _socket(fields) for name, fields in SOCKETS.items()}
            made.publish()

    def step(self, event):
        """One event at both; what they want done must be alike."""
        with patch.object(steps, "begin", self._counted("begin", steps.begin)), \
             patch.object(steps, "feed", self._counted("feed", steps.feed)):
            one = self.quick.step(event)
        with patch.object(steps, "may_begin", lambda *_: False), \
             patch.object(steps, "feed", lambda *_: False), \
             patch.object(plan, "_short_step", lambda *_: None):
            other = self.slow.step(event)
        for name in LISTS:
            assert getattr(one, name) == getattr(other, name), name
        a, b = self.quick.router, self.slow.router
        assert list(map(_shown, a.calls.values())) == list(map(_shown, b.calls.values()))
        assert (a.bodies_bytes, a.next_sequence) == (b.bodies_bytes, b.next_sequence)
        assert _ids(a.needed) == _ids(b.needed)
        assert [timer[:3] for timer in a.timers] == [timer[:3] for timer in b.timers]
        assert list(map(_line, a.lines.values())) == list(map(_line, b.lines.values()))
        assert list(map(_worker, a.workers.values())) == list(map(_worker, b.workers.values()))
        self.ended += [id for table, id, _ in one.records if table == "done"]
        self.wanted += one.lookups
        if one.fetches:
            self.step(events.Fetched([(n, self._read(n)) for n in one.fetches]))

    def _read(self, sequence):
        return split_open(self.quick.log["open"][sequence_key(sequence)])[1]

    def _counted(self, name, real):
        def counted(*given):
            found = real(*given)
            self.short[name] += found is not False
            return found

        return counted

    def plan(self):
        """A random plan; most steps need nothing, or the one before."""
        rng, made = self.rng, []
        is_chain = rng.random() < 0.6
        names = [*SOCKETS, None] if rng.random() < 0.4 else ["a", "b"]
        for number in range(rng.randint(1, 8)):
            name, options = rng.choice(names), rng.choice(OPTIONS)
            if rng.random() < 0.05 and self.ended:
                made.append([None, 0, rng.choice(self.ended), "done", None])
                continue
            feed = None
            if number and (name is None or rng.random() < 0.7):
                feed = rng.choice((number - 1, number - 1, 0)) if is_chain else rng.choice([
                    number - 1, rng.randrange(number), [rng.randrange(number), number - 1],
                    [{"from": 0, "count": number}], [],
                ])  # fmt: skip
            if name is None and feed is None:
                name = "a"
            args = [number] * rng.choice((0, 1, 1, 2, 14, 15, 16))
            made.append([name, len(args), pack_call(args), feed, options])
        if rng.random() < 0.05:
            made[-1][rng.randrange(5)] = rng.choice((None, 77, "x", [], b"\x91"))
        return {"steps": made, "result": rng.randrange(len(made))}

    def flow(self):
        """A frame with a flow, perhaps one that belongs to another, or is traced."""
        rng = self.rng
        [id] = make_ids(1, NOW)
        outer = rng.choice([NO_ID] * 4 + self.ended[-1:])
        options = {"trace": "t-1"} if rng.random() < 0.2 else None
        data = envelope(
            Kind.SUBMIT, id=id, flow=outer, name=b"@flow", argc=1, body=pack_call([self.plan()]),
            meta=pack(options) if options else b"",
        )  # fmt: skip
        self.flows += 1
        call = (id, outer, NO_ID, "@flow", 1, options, data)
        return events.Submitted(rng.randint(1, 2), self.flows, [call])

    def reports(self, worker):
        """Some of what a worker holds ends, in one way or another."""
        found = []
        for id, call in list(worker.held.items())[: self.rng.randint(1, 5)]:
            code = self.rng.choice((1, 1, 1, 1, 1, 1, 2))
            body = pack({"code": "remote", "text": "x", "fields": {}} if code == 2 else "v" * 9)
            data = envelope(Kind.OUTCOME, id=id, code=code, attempt=call.attempt, body=body)
            found.append((id, call.attempt, code, code == Outcome.FAILED, 200, NOW, data))
        return found

    def any_event(self):
        """Something that happens."""
        rng, router = self.rng, self.quick.router
        workers, open_ids = list(router.workers.values()), list(router.calls)
        if self.wanted and rng.random() < 0.5:
            wanted, self.wanted = self.wanted, []
            log = self.quick.log["done"]
            return events.LookedUp([
                (node, id, split_done(log[id])["outcome"] if id in log else b"")
                for node, id in wanted
            ])  # fmt: skip
        choice = rng.random()
        if choice < 0.28:
            return self.flow()
        if choice < 0.8 and workers:
            worker = rng.choice(workers)
            return events.Finished(worker.id, self.reports(worker))
        if choice < 0.85 and len(workers) < 3:
            self.ids += 1
            return events.WorkerJoined(100 + self.ids, "p", rng.choice((1, 1, 3)))
        if choice < 0.87 and workers:
            worker = rng.choice(workers)
            return events.WorkerLost(worker.id, list(worker.held)[:1], "signal 9", True)
        if choice < 0.9 and open_ids:
            return events.CancelAsked(2, b"r" * 16, rng.choice(open_ids), "ann")
        if choice < 0.94 and open_ids:
            return events.Watched(rng.randint(1, 3), [rng.choice(open_ids)])
        if choice < 0.98:
            name, change = rng.choice("ab"), rng.choice(CHANGES)
            for made in (self.quick, self.slow):
                made.sockets[name] = _socket({**SOCKETS[name], **change})
                made.number += 1
            return events.ModelChanged({
                "number": self.quick.number, "sockets": dict(self.quick.sockets),
                "queues": self.quick.queues, "processors": self.quick.processors,
            })  # fmt: skip
        self.quick.now = self.slow.now = self.quick.now + rng.choice((1, 10, 3_000))
        return events.Ticked()


def _socket(fields):
    return {"processor": "p", "task": "t", "queue": "q", **fields}


def _ids(needed):
    return {id: [call.id for call in calls] for id, calls in needed.items()}


def _shown(call):
    gather, fed = call.gather, call.fed
    return (
        call.id, call.sequence, call.state, call.attempt, call.client, call.started_ms, call.due_ms,
        call.envelope, call.size, call.options, call.weight, call.reason, call.timers, call.story,
        call.line.name, call.worker and call.worker.id, call.sent(),
        gather and (gather.feed, gather.found, gather.left, gather.bytes), fed and fed.size,
    )  # fmt: skip


def _line(line):
    waiting = {priority: [call.id for call in calls] for priority, calls in line.ready.items()}
    return line.depth, line.bytes, line.running, line.run_us, waiting, line.offered


def _worker(worker):
    return list(worker.held), list(worker.queued), worker.work_us, worker.bytes, worker.watch_ms


@pytest.mark.parametrize("seed", range(40))
def test_both_ways_come_to_the_same(seed):
    both = Both(seed)

    for _ in range(250):
        both.step(both.any_event())

    assert both.short["begin"] > 10
    assert both.short["feed"] > 0
    assert both.ended


@pytest.mark.parametrize("options", [None, {"trace": "t-1"}])
@pytest.mark.parametrize("outer", [NO_ID, b"o" * 16])
def test_what_a_plan_says_of_a_step_is_what_its_envelope_says(options, outer):
    """Else a node that starts again would take the step for another one."""
    [root] = make_ids(1, NOW)
    rows = [
        ["a", 1, pack_call([1]), None, None],
        ["long." * 40, 0, pack_call([]), 0, {"priority": 3}],
        [None, 0, pack_call([]), [0, {"from": 0, "count": 2}], None],
        ["a", 2, pack_call([b"x" * 300, 2], {"k": 1}), 1, {"kw": ["k"]}],
        [None, 0, root, "done", None],
        ["b", 0, pack_call([]), 4, None],
        ["b", 0, pack_call([]), 0, None],
    ]
    data = envelope(
        Kind.SUBMIT, id=root, flow=outer, name=b"@flow", argc=1,
        body=pack_call([{"steps": rows, "result": 6}]), meta=pack(options) if options else b"",
    )  # fmt: skip
    ids = [child_id(root, b"%d" % number) for number in range(len(rows))]

    made = plan.submits(root, ids, data, plan.read(data), {"b": b"at" * 16})

    assert [id for id, *_ in made] == [id for number, id in enumerate(ids) if number != 4]
    for id, submit, name, told, _need in made:
        row = check_envelope(submit)
        assert (row.id, row.flow, row.parent) == (id, root if outer == NO_ID else outer, root)
        assert read_envelope(submit) == (name, told)


def test_steps_of_two_priorities_that_are_fed_at_once_both_begin():
    """The priority of their socket was changed between their flows."""
    made = Flows()
    made.run(made.call("a", 0)[1])  # So that it is known to be short, and two are handed over.
    made.socket("b", priority=7)
    first, begun = made.flow([step("a", 1), step("b", feed=0)])
    made.socket("b", priority=2)
    second, also = made.flow([step("a", 2), step("b", feed=0)])
    batches = [batch for one in (begun, also) for _, batch in one.starts]
    staged = [(id, attempt) for batch in batches for id, attempt, *_ in batch]
    assert [id for id, _ in staged] == [child_id(root, b"0") for root in (first, second)]

    reports = []
    for id, attempt in staged:
        data = envelope(Kind.OUTCOME, id=id, code=1, attempt=attempt, body=pack("v"))
        reports.append((id, attempt, 1, False, 200, 0, data))
    made.run(made.step(events.Finished(1, reports)))

    for root in (first, second):
        assert made.outcome(child_id(root, b"1")) == (Outcome.DONE, "b(v)")
