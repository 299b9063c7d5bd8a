"""What is read by the journal is what a reading of all rows finds, whoever changed what."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from sqlalchemy import delete, select

from meshcode.errors import CallerError, ModelUnavailable
from meshcode.model import admin, document, journal, reader, snapshot
from meshcode.model.delta import with_changes
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.tables import Journal

SEEDS = range(12)
STEPS = 40
BY_HAND = [
    "UPDATE queues SET max_length = {n} WHERE name = '{a}'",
    "UPDATE queues SET name = 'renamed-{n}' WHERE name = '{a}'",
    "DELETE FROM sockets WHERE name = '{a}'",
    "DELETE FROM queues",
    "UPDATE sockets SET priority = {n} % 9",
    "UPDATE processors SET status = 'running-{n}'",
    "INSERT INTO queues (id, name, owner, status, requested_status, created_ms, updated_ms,"
    " revision, type, overflow) VALUES ('id-{n}', 'hand-{n}', 'joe', 'ready', 'ready', 1, 1, 1,"
    " 'direct', 'reject')",
]


def both(model: Any) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """The model by the journal and by all rows, and whether the journal was enough."""
    with model.database.read() as session:
        found = model.database.reader.read(session)
        return found.snapshot, snapshot.read_whole(session), found.keys is not None


class World:
    """Two processes with one database, and somebody with another program."""

    def __init__(self, model: Any, seed: int) -> None:
        self.random = Random(seed)
        self.model = model
        self.other = model.again()
        self.has = {id(one): dict(snapshot.EMPTY) for one in (self.model, self.other)}
        self.by_journal = self.by_delta = self.refused = 0

    def name(self) -> str:
        return self.random.choice("abc")

    def step(self) -> None:
        one = self.random.choice([self.model, self.model, self.other])
        self.random.choice([self.edit] * 6 + [self.act] * 2 + [self.many, self.dry, self.hand])(one)
        for who in (self.model, self.other):
            self.check(who)

    def follow(self, one: Any) -> None:
        """What its node has, after what was published."""
        latest, delta = one.publisher.latest, one.publisher.delta
        has = self.has[id(one)]
        if latest is None or latest["number"] <= has["number"]:
            return
        if delta is not None and delta["base"] == has["number"]:
            self.by_delta += 1
            assert with_changes(has, delta["number"], delta["changes"]) == latest
        self.has[id(one)] = latest

    def ask(self, one: Any, *words: Any, **fields: Any) -> None:
        one.refresh()
        self.follow(one)
        try:
            one.ask(*words, **fields)
        except (CallerError, ModelUnavailable):
            self.refused += 1
        self.follow(one)

    def edit(self, one: Any) -> None:
        kind = self.random.choice(["queue", "processor", "socket", "plug", "file", "deployment"])
        do = self.random.choice(["add", "add", "update", "delete"])
        n = self.random.randint(1, 9)
        fields: dict[str, Any] = {
            "queue": {"max_length": n}, "processor": {"git": "/srv/x", "module": f"m{n}"},
            "socket": {"processor": self.name(), "task": f"t{n}", "queue": self.name()},
            "plug": {"source": self.name(), "target": self.name()}, "file": {"content": f"x{n}"},
            "deployment": {"processor": self.name(), "cpus": n},
        }[kind]  # fmt: skip
        self.ask(one, do, kind, self.name(), **({} if do == "delete" else fields))

    def act(self, one: Any) -> None:
        do = self.random.choice(["restart", "pause", "start", "remove"])
        self.ask(one, do, None, self.name())

    def many(self, one: Any) -> None:
        one.refresh()
        steps = [["add", "queue", f"{self.name()}{n}", {}] for n in range(3)]
        steps += [["delete", "queue", self.name(), {}]] if self.random.random() < 0.3 else []
        self.ask(one, "apply", None, None, base=one.number, steps=steps)

    def dry(self, one: Any) -> None:
        one.refresh()
        self.follow(one)
        request = {"do": "add", "kind": "queue", "name": "dry", "fields": {}, "dry": True}
        one.publisher.request(request, one.now_ms)

    def hand(self, one: Any) -> None:
        words = self.random.choice(BY_HAND)
        one.by_hand(words.format(a=self.name(), n=self.random.randint(1, 10**9)))

    def check(self, one: Any) -> None:
        one.refresh()
        self.follow(one)
        found, whole, by_journal = both(one)
        assert found == whole
        assert one.publisher.latest == whole
        self.by_journal += by_journal


@pytest.mark.parametrize("seed", SEEDS)
def test_after_any_edits_the_journal_says_what_all_rows_say(model, seed):
    world = World(model, seed)
    for _ in range(STEPS):
        world.step()

    # Else nothing was tried.
    assert world.by_journal > STEPS and world.by_delta > STEPS // 4
    assert world.refused < 2 * STEPS


def test_one_change_reads_one_row(model, monkeypatch):
    model.shop()
    model.ask("add", "queue", "second")
    read: list[Any] = []
    real = snapshot.read_objects
    monkeypatch.setattr(
        snapshot, "read_objects",
        lambda session, kind, names=None: read.append((kind, names)) or real(session, kind, names),
    )  # fmt: skip

    model.ask("update", "queue", "second", max_length=7)

    assert read == [("queue", ["second"])]
    assert model.publisher.delta["changes"] == [
        ["queue", "second", model.publisher.latest["queues"]["second"]]
    ]


def test_what_is_the_same_is_shared_with_the_snapshot_before(model):
    model.shop()
    before = model.publisher.latest

    model.ask("update", "queue", "orders", max_length=7)

    after = model.publisher.latest
    assert before["queues"]["orders"]["max_length"] is None
    shared = [plural for plural in PLURALS.values() if after[plural] is before[plural]]
    assert shared == [plural for plural in PLURALS.values() if plural != "queues"]


def test_a_name_that_becomes_another_is_a_deletion_and_an_addition(model):
    model.shop()
    other = model.again()
    other.refresh()
    model.by_hand("UPDATE deployments SET name = 'moved'")

    other.refresh()

    assert set(other.publisher.latest["deployments"]) == {"moved"}
    found, whole, _ = both(other)
    assert found == whole


def test_a_change_that_is_undone_is_not_known(model):
    model.shop()
    both(model)
    with pytest.raises(ZeroDivisionError), model.database.write() as session:
        session.execute(delete(Journal.__table__.metadata.tables["queues"]))
        assert model.database.reader.read(session).snapshot["queues"] == {}
        raise ZeroDivisionError

    found, whole, by_journal = both(model)

    assert found == whole and set(found["queues"]) == {"orders"} and by_journal


def test_more_changes_than_are_worth_it_are_read_whole(model, monkeypatch):
    model.shop()
    both(model)
    monkeypatch.setattr(reader, "CHANGES_MAX", 3)
    model.again().ask("apply", base=4, steps=[["add", "queue", f"q{n}", {}] for n in range(4)])

    found, whole, by_journal = both(model)

    assert found == whole and not by_journal
    assert both(model)[2]  # And on from there by the journal again.


def test_lines_that_are_gone_are_read_whole(model, monkeypatch):
    monkeypatch.setattr(journal, "LINES_KEPT", 8)
    model.shop()
    other = model.again()
    both(other)
    for n in range(20):
        model.ask("update", "queue", "orders", max_length=n + 1)
    with model.database.read() as session:
        lines = session.execute(select(Journal.at)).scalars().all()

    found, whole, by_journal = both(other)

    assert len(lines) <= 2 * 8
    assert found == whole and not by_journal


def test_another_database_in_its_place_is_read_whole(model, tmp_path):
    """With the same tables, on the same connection, and as many lines of the journal."""
    model.shop()
    both(model)
    with model.database.read() as session:
        kept = document.read(session)
        last = journal.last_line(session)
    for n in range(3):
        model.ask("update", "queue", "orders", max_length=n + 1)
    both(model)
    other = model.again()
    with other.database.write() as session:  # As when a copy of another moment was put back.
        rows = document.check(kept, "the copy")
        for kind in KINDS:
            table = document.TABLES[kind]
            session.execute(delete(table))
            if rows[kind]:
                session.execute(document.insert(table), rows[kind])
        at = journal.last_line(session)[0]
        session.execute(delete(Journal))
        session.execute(Journal.__table__.insert(), [
            {"at": n, "mark": last[1] + n, "kind": "queue", "name": "x"}
            for n in range(1, at + 20)
        ])  # fmt: skip

    found, whole, by_journal = both(model)

    assert found == whole and not by_journal
    assert found["queues"]["orders"]["max_length"] is None


@pytest.mark.parametrize("verb", [admin.drop, admin.rebuild])
def test_tables_that_were_made_anew_are_read_whole(model, verb):
    model.shop()
    model.refresh()
    other = model.again()
    with other.database.read():
        pass
    verb(other.database, None)

    model.refresh()

    assert snapshot.is_empty(model.publisher.latest)
    model.ask("add", "queue", "new")
    found, whole, _ = both(model)
    assert found == whole and set(found["queues"]) == {"new"}
    model.ask("update", "queue", "new", max_length=3)
    assert model.publisher.delta["changes"][0][:2] == ["queue", "new"]


def test_a_user_changes_the_model_and_all_of_it_is_known(model):
    """Rows that are hidden from a user are in the snapshot all the same."""
    model.shop()
    model.ask("add", "user", "joe")
    for right in ("ADD_QUEUE", "UPDATE_QUEUE"):
        model.ask("add", "privilege", f"joe.{right}", user="joe", right=right)
    for n in range(3):
        model.refresh()
        request = {
            "do": "add", "kind": "queue", "name": f"mine-{n}", "principal": "joe", "by": "joe",
        }  # fmt: skip
        model.publisher.request(request, model.now_ms)
        found, whole, by_journal = both(model)
        assert found == whole and by_journal

    assert set(model.publisher.latest["queues"]) == {"orders", "mine-0", "mine-1", "mine-2"}
    assert [change[1] for change in model.publisher.delta["changes"]] == ["mine-2"]


def test_a_bad_row_beside_good_changes_is_held_back_and_repaired(model):
    model.shop()
    model.by_hand("UPDATE queues SET max_length = -1")
    model.refresh()
    model.ask("add", "network", "west")

    assert model.publisher.problem is not None
    assert "west" not in model.publisher.latest["networks"]
    model.ask("update", "queue", "orders", max_length=1)

    found, whole, _ = both(model)
    assert model.publisher.problem is None
    assert model.publisher.latest == found == whole


def test_truncated_on_a_server_is_noticed(model, backend):
    if backend != "postgres":
        pytest.skip("SQLite has no such statement")
    model.shop()
    both(model)
    model.by_hand("TRUNCATE plugs, deployments")

    found, whole, by_journal = both(model)

    assert found == whole and found["deployments"] == {} and not by_journal
