"""The model on a real Postgres server: the same requests, the same numbers.

Runs where MESH_TEST_PG_URL names a database, or Postgres is installed; the server is private to
the test run, without a network port.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from meshcode.errors import ModelUnavailable, WrongState
from meshcode.model import snapshot
from meshcode.model.database import Database
from meshcode.model.kinds import PUBLISHED
from meshcode.model.publish import Publisher
from meshcode.model.tables import Base
from tests.model.postgres import engine_of

NOW_MS = 1_700_000_000_000
WAIT_S = 20.0


class Asker:
    """One publisher, asked as the model process asks it."""

    def __init__(self, url: str) -> None:
        self.publisher = Publisher(Database(url), owner="ann")

    def ask(self, do, kind, name=None, **fields):
        self.publisher.refresh(NOW_MS)
        request = {"do": do, "kind": kind, "name": name, "fields": fields}
        return self.publisher.request(request, NOW_MS)[0]

    def shop(self) -> None:
        self.ask("add", "queue", "orders")
        self.ask("add", "processor", "shop", git="/srv/shop", module="shop.tasks", env={"A": "1"})
        self.ask("add", "socket", "shop.clean", processor="shop", task="clean", queue="orders")

    @property
    def latest(self):
        return self.publisher.latest


@pytest.fixture
def askers(url) -> Iterator[list[Asker]]:
    made = [Asker(url), Asker(url)]
    yield made
    for one in made:
        one.publisher.database.close()


def test_the_snapshot_is_the_same_as_from_sqlite(askers, open_model, model_path):
    """The two differ in nothing but the database."""
    model = open_model(model_path)
    askers[0].shop()
    model.shop()
    model.ask("delete", "deployment", "shop-here")
    model.ask("update", "processor", "shop", env={"A": "1"})
    model.close()

    with_postgres = {k: v for k, v in askers[0].latest.items() if k != "number"}
    with_sqlite = {k: v for k, v in model.published[-1].items() if k != "number"}

    assert with_postgres == with_sqlite
    assert askers[0].latest["number"] == 3


def test_many_steps_are_applied_in_one_transaction(askers):
    first, second = askers
    first.shop()
    base = second.ask("snapshot", None)["number"]
    steps = [
        ["add", "queue", "late", {}],
        ["add", "socket", "shop.late", {"processor": "shop", "task": "late", "queue": "late"}],
        ["update", "queue", "orders", {"overflow": "dead-letter", "dead_letter": "shop.late"}],
        ["update", "processor", "shop", {"env": {"B": "2"}, "workers": 4}],
        ["delete", "socket", "shop.clean", {}],
    ]

    done = second.ask("apply", None, base=base, steps=steps)
    with pytest.raises(WrongState):
        first.ask("apply", None, base=base, steps=[["delete", "queue", "late", {}]])

    assert done == {"added": 2, "changed": 2, "deleted": 1}
    assert second.latest["number"] == base + 1
    row = first.ask("get", "processor", "shop")
    assert (row["env"], row["workers"], row["revision"]) == ({"B": "2"}, 4, 2)
    assert first.ask("snapshot", None) == snapshot.shown(second.latest)


def test_references_and_revisions_hold(askers):
    first, second = askers
    first.shop()
    first.ask("add", "queue", "small", overflow="dead-letter", dead_letter="shop.clean")
    second.ask("update", "queue", "orders", max_length=5, revision=1)

    with pytest.raises(WrongState):
        first.ask("update", "queue", "orders", max_length=6, revision=1)
    with pytest.raises(WrongState):
        second.ask("delete", "socket", "shop.clean")

    assert second.ask("get", "queue", "orders")["max_length"] == 5


def test_another_process_sees_the_change(askers):
    first, second = askers
    second.publisher.refresh(NOW_MS)
    first.shop()

    news = second.publisher.refresh(NOW_MS)

    assert news == first.latest
    assert second.publisher.refresh(NOW_MS) is None


def test_many_writers_at_once_each_get_a_number_of_their_own(askers):
    """The row of the model's state is the lock: no change is lost, no number is given twice."""
    errors: list[BaseException] = []

    def write(asker: Asker, who: str) -> None:
        try:
            for n in range(15):
                asker.ask("add", "queue", f"{who}{n}")
        except BaseException as exc:
            errors.append(exc)

    threads = [
        threading.Thread(target=write, args=(a, w)) for a, w in zip(askers, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    askers[0].publisher.refresh(NOW_MS)
    assert askers[0].latest["number"] == 30
    assert len(askers[0].latest["queues"]) == 30


def test_tables_that_were_dropped_are_made_again_from_the_last_snapshot(askers, url):
    askers[0].shop()
    before = askers[0].latest
    with engine_of(url) as engine:
        Base.metadata.drop_all(engine)

    with contextlib.suppress(ModelUnavailable):  # The open connection finds out first.
        askers[0].publisher.refresh(NOW_MS)
    askers[0].publisher.refresh(NOW_MS)

    assert askers[0].latest == {**before, "number": 4}


def test_a_server_that_was_away_is_an_error_and_then_is_back(askers, server):
    askers[0].shop()
    server.stop()

    with pytest.raises(ModelUnavailable) as caught:
        askers[0].publisher.refresh(NOW_MS)
    server.start()

    assert "nothing was changed and the node goes on with the snapshot it has" in caught.value.text
    assert askers[0].ask("add", "queue", "later")["name"] == "later"
    assert askers[0].latest["number"] == 4


def test_rows_written_by_hand_with_a_number_are_published(askers, url):
    """On a server a change by hand must count the number itself: that is what is watched."""
    askers[0].shop()
    with engine_of(url) as engine, engine.begin() as link:
        link.execute(text("UPDATE sockets SET priority = 7"))
        link.execute(text("UPDATE model_state SET number = number + 1"))

    news = askers[0].publisher.refresh(NOW_MS)

    assert (news["number"], news["sockets"]["shop.clean"]["priority"]) == (4, 7)


def merged(asker: Asker, number: int, **queues: int | None) -> dict[str, Any]:
    """What the node made of the asker's snapshot and a peer's: queues of a length, or none."""
    found = dict(asker.latest["queues"])
    for name, max_length in queues.items():
        found.pop(name, None)
        if max_length is not None:
            found[name] = dict.fromkeys(PUBLISHED["queue"]) | {
                "type": "direct", "overflow": "reject", "labels": {}, "max_length": max_length,
            }  # fmt: skip
    return {**asker.latest, "number": number, "queues": found}


def adopt(asker: Asker, snapshot: dict[str, Any], base: int) -> None:
    asker.publisher.refresh(NOW_MS)
    asker.publisher.adopt({"fields": {"snapshot": snapshot, "base": base}}, NOW_MS)


def test_a_merged_snapshot_is_adopted_whole(askers):
    first, second = askers
    first.shop()
    first.ask("add", "queue", "bills")
    ids = {name: first.ask("get", "queue", name)["id"] for name in ("orders", "bills")}
    wanted = merged(first, 20, bills=5, later=7)

    adopt(first, wanted, base=4)

    assert first.publisher.refresh(NOW_MS) is None
    assert second.publisher.refresh(NOW_MS) == first.latest == wanted
    assert {name: second.ask("get", "queue", name)["id"] for name in ids} == ids
    second.ask("add", "queue", "next")
    assert first.publisher.refresh(NOW_MS)["number"] == 21


def test_a_merged_snapshot_may_leave_a_socket_without_its_queue(askers):
    first, _second = askers
    first.shop()

    adopt(first, merged(first, 20, orders=None), base=3)

    assert set(first.latest["queues"]) == set()
    assert first.ask("get", "socket", "shop.clean")["queue"] == "orders"


def test_a_merged_snapshot_never_overwrites_what_another_process_changed(askers):
    """Also when that one committed between the look and the lock."""
    first, second = askers
    first.shop()
    wanted = merged(first, 20, later=7)
    second.ask("add", "queue", "theirs")

    with pytest.raises(WrongState):
        first.publisher.adopt({"fields": {"snapshot": wanted, "base": 3}}, NOW_MS)
    with pytest.raises(WrongState):
        adopt(first, wanted, base=3)

    assert set(first.latest["queues"]) == {"orders", "theirs"}


def until_heard(asker: Asker) -> None:
    """Wait as the model process does, on the descriptor alone."""
    end = time.monotonic() + WAIT_S
    database = asker.publisher.database
    while not database.heard():
        assert time.monotonic() < end
        select.select([database.fileno()], [], [], WAIT_S)


def test_each_change_is_told_to_whoever_listens(askers):
    first, second = askers
    first.shop()
    second.publisher.refresh(NOW_MS)
    second.publisher.database.heard()

    first.ask("update", "socket", "shop.clean", priority=3)
    until_heard(second)

    assert second.publisher.refresh(NOW_MS)["number"] == 4
    assert not second.publisher.database.heard()


def test_what_changes_nothing_is_told_to_nobody(askers):
    first, second = askers
    first.shop()
    second.publisher.refresh(NOW_MS)
    second.publisher.database.heard()

    first.ask("add", "queue", "orders", exists_ok=True)
    first.ask("report", "queue", "orders", status="busy")
    with pytest.raises(WrongState):
        first.ask("delete", "queue", "orders")
    first.ask("add", "queue", "told")
    until_heard(second)

    assert second.publisher.refresh(NOW_MS)["number"] == 4


def test_an_own_change_is_not_read_again(askers, monkeypatch):
    first, _second = askers
    first.shop()
    first.ask("add", "queue", "bills")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "read", pytest.fail)
        assert first.publisher.refresh(NOW_MS) is None


def test_a_connection_that_was_cut_is_heard_and_made_anew(askers, url):
    """As by a server's restart, or a firewall: else nobody would listen from then on."""
    first, second = askers
    first.shop()
    second.publisher.refresh(NOW_MS)
    pid = second.publisher.database._link.info.backend_pid
    with engine_of(url) as engine, engine.begin() as link:
        link.execute(text(f"SELECT pg_terminate_backend({pid})"))

    until_heard(second)
    second.publisher.refresh(NOW_MS)
    first.ask("add", "queue", "bills")
    until_heard(second)

    assert second.publisher.refresh(NOW_MS)["number"] == 4
