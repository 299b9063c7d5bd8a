"""A node that is told only what was changed is as one that is told the whole model again."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
import zmq

from meshcode.model.delta import keys_of, with_changes
from meshcode.model.fields import fill
from meshcode.model.kinds import PLURALS
from meshcode.model.snapshot import EMPTY
from meshcode.node.crew import Crew
from meshcode.node.declared import Declared
from meshcode.node.keptmodel import KeptModel
from meshcode.node.news import differences
from meshcode.node.processors import Processors
from meshcode.router import events
from meshcode.router.core import Router
from meshcode.store.contract import MODEL
from meshcode.store.memory_log import MemoryDisk, MemoryLog
from meshcode.wire.codec import pack

NAMES = "abcd"
STEPS = 60


class Edits:
    """A model that is changed at random, a few objects at a time."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.snapshot: dict[str, Any] = EMPTY

    def options(self, kind: str) -> dict[str, Any]:
        pick, name = self.random.choice, lambda: self.random.choice(NAMES)
        return fill(kind, {
            "queue": lambda: {
                "type": pick(["direct", "topic", "fanout"]), "max_length": pick([None, 3]),
                "message_ttl_ms": pick([None, 50]), "dead_letter": pick([None, name()]),
            },
            "processor": lambda: {
                "git": "/srv/x", "module": "m", "retries": pick([None, 1]), "env": {},
                "requested_status": pick(["start", "stop", "pause"]), "time_limit_ms": 9,
            },
            "socket": lambda: {
                "processor": name(), "task": name(), "queue": name(), "topic": pick([None, "x.*"]),
                "wait_for_all": pick([True, False]), "concurrency": pick([None, 2]),
            },
            "plug": lambda: {
                "source": name(), "target": name(), "type": pick(["RESULT", "RESULT", "ERROR"]),
                "argument": pick([None, "x", "y"]), "queue": pick([None, None, name()]),
            },
            "gate": lambda: {"plug": name(), "mode": pick(["open", "closed"])},
            "deployment": lambda: {
                "processor": name(), "host": pick(["*", "here", "there"]), "cpus": 2,
                "scheduler": pick([None, None, None, name()]),
            },
            "override": lambda: {"processor": name(), "task": name(), "code": "x = 1"},
            "scheduler": dict,
            "node": lambda: {"host": pick(["here", "there"]), "scheduler": name(), "cpus": 3},
            "schedule": lambda: {
                "socket": name(), "interval_ms": 60_000 + self.snapshot["number"] % 3, "args": [],
                "kwargs": {}, "timezone": "UTC",
            },
            "setting": lambda: {"value": 9},
            "secret": lambda: {"source": "env:X"},
        }[kind]())  # fmt: skip

    def change(self) -> list[list[Any]]:
        """The next few changes, already in `snapshot`."""
        weighted = ["queue", "socket", "plug"] * 4 + ["processor", "deployment", "gate"] * 2
        weighted += ["override", "scheduler", "node", "schedule", "secret"]
        keys = {
            (self.random.choice(weighted), self.random.choice(NAMES))
            for _ in range(self.random.randint(1, 3))
        }
        changes = []
        for kind, name in sorted(keys):
            there = name in self.snapshot[PLURALS[kind]]
            gone = there and self.random.random() < 0.35
            changes.append([kind, name, None if gone else self.options(kind)])
        self.snapshot = with_changes(self.snapshot, self.snapshot["number"] + 1, changes)
        return changes


def shown(value: Any) -> Any:
    """All that is in an object with slots, as plain data."""
    return {slot: getattr(value, slot) for slot in type(value).__slots__ if hasattr(value, slot)}


def state_of(router: Router) -> dict[str, Any]:
    return {
        "lines": {
            name: {
                "config": shown(line.config), "removed": line.removed, "edges": line.edges,
                "special": line.special, "limited": line.limited, "expires": line.expires,
                "rate": line.rate and shown(line.rate), "at_once": line.at_once,
            }
            for name, line in router.lines.items()
        },
        "pools": {
            name: (pool.stopped, pool.paused, sorted(pool.lines))
            for name, pool in router.pools.items()
        },
        "bound": router.wiring.bound, "gates": router.gates, "number": router.model_number,
        "ticks": {name: (one.digest, one.fields, one.last_ms, one.due_ms)
                  for name, one in router.ticks.by_name.items()},
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_a_router_told_of_changes_is_as_one_told_everything(seed):
    edits = Edits(seed)
    one, other = (Router(bytes(16), 1, Random(1)) for _ in range(2))
    for router in (one, other):
        router.step(events.ModelChanged(edits.snapshot), 1_000)
    for _ in range(STEPS):
        keys = keys_of(edits.change())
        one.step(events.ModelChanged(edits.snapshot, keys), 1_000)
        other.step(events.ModelChanged(edits.snapshot), 1_000)
        one.check()
        assert state_of(one) == state_of(other), keys


@pytest.fixture
def processors(tmp_path):
    (tmp_path / "run").mkdir()
    context = zmq.Context()
    made = []

    def make() -> Processors:
        address = f"ipc:///tmp/mesh-test-{os.getpid()}-change-{len(made)}"
        crew = Crew(context, address, tmp_path / "run", 1, "ipc:///nowhere")
        said: list[Any] = []
        emit, save = said.append, lambda name, kept: said.append(name)
        made.append(Processors(crew, tmp_path / "code", "here", emit, save))
        return made[-1]

    yield make
    for one in made:
        one.stop_all("the test ends", 0, 0)
        one.crew.close()
    context.destroy(0)


@pytest.mark.parametrize("seed", range(25))
def test_processors_told_of_changes_are_as_told_everything(processors, seed):
    edits = Edits(seed)
    one, other = processors(), processors()

    def state(which: Processors) -> dict[str, Any]:
        return {
            "each": {
                name: (p.count, p.sockets, p.streams, p.overrides, p.wanted_code, p.refused)
                for name, p in which.by_name.items()
            },
            "here": which.names_here, "cpus": which.cpus, "settings": which.settings,
        }  # fmt: skip

    for which in (one, other):
        which.apply(edits.snapshot)
    counts = set()
    for _ in range(STEPS):
        keys = keys_of(edits.change())
        one.apply(edits.snapshot, keys)
        other.apply(edits.snapshot)
        assert state(one) == state(other), keys
        counts |= {p.count for p in one.by_name.values()}
    assert len(counts) >= 2


def test_only_the_processors_that_are_concerned_are_looked_at():
    declared = Declared()
    code = {"git": "/x", "module": "m"}
    sockets = {n: {"processor": p, "task": "t"} for n, p in (("s", "a"), ("u", "b"))}
    before = {"processors": {"a": code, "b": code, "c": code}, "sockets": sockets}
    declared.take(before, None)
    moved = {**before, "sockets": {**sockets, "s": {"processor": "b", "task": "t"}}}
    maps = dict(declared.sockets)

    found = declared.take(moved, [("socket", "s")])

    assert found == {"a", "b"}
    assert declared.sockets == {"a": {}, "b": {"u": "t", "s": "t"}}
    assert maps == {"a": {"s": "t"}, "b": {"u": "t"}}  # Workers compare theirs with the new ones.
    assert declared.take(moved, [("user", "joe")]) == set()
    assert declared.take(moved, [("secret", "x")]) is None


@pytest.mark.parametrize("seed", range(8))
def test_what_the_log_has_is_the_newest_snapshot_after_any_changes(seed, monkeypatch):
    monkeypatch.setattr("meshcode.node.series.CHANGES_BYTES_MIN", 2_000)
    edits, random = Edits(seed), Random(seed)
    log = MemoryLog(MemoryDisk())
    kept = KeptModel()
    wrote = []
    for _ in range(STEPS):
        changes = edits.change()
        told = None if random.random() < 0.05 else changes
        ops = kept.records(edits.snapshot, told)
        wrote.append(ops[0][1])
        log.stage(ops)
        log.sync()
        fresh = KeptModel()
        assert fresh.read(log) == edits.snapshot
        if random.random() < 0.2:
            kept = fresh  # The node was started again.

    assert 2 < wrote.count(b"snapshot") < STEPS // 2  # Whole now and then.
    in_the_log = [key for key, _ in log.scan(MODEL, b"snapshot/", limit=1_000)]
    assert len(in_the_log) < STEPS


def test_changes_before_a_snapshot_of_an_older_version_do_not_count():
    """It knows of no changes, and writes the whole snapshot over the one they led on from."""
    edits, log, kept = Edits(1), MemoryLog(MemoryDisk()), KeptModel()
    for _ in range(4):
        log.stage(kept.records(edits.snapshot, edits.change()))
        log.sync()
    older = {**EMPTY, "number": edits.snapshot["number"] - 1}
    log.stage([(MODEL, b"snapshot", pack(older))])
    log.sync()

    fresh = KeptModel()

    assert fresh.read(log) == older
    log.stage(fresh.records(edits.snapshot, None))
    log.sync()
    assert log.scan(MODEL, b"snapshot/", limit=9) == []
    assert KeptModel().read(log) == edits.snapshot


def test_the_differences_among_named_objects_are_those_among_all():
    edits = Edits(3)
    for _ in range(STEPS):
        before = edits.snapshot
        keys = keys_of(edits.change())
        whole = differences(before, edits.snapshot)
        assert sorted(differences(before, edits.snapshot, keys)) == sorted(whole)
