"""The database as a whole: made, dropped, copied, restored, upgraded; on both backends."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshcode.model import admin, snapshot
from meshcode.model.database import Database
from meshcode.model.kinds import PLURALS
from meshcode.model.tables import SCHEMA_VERSION, TABLES, Base
from tests.model.postgres import drop_tables

SCHEMAS = Path(__file__).parent / "schemas"
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch, capsys) -> Iterator[Run]:
    """Do a verb as the child of `mesh db` does; its answer, `ok` or `error`."""
    before = os.umask(0o077)

    def one(verb: str, address: Any, *words: Any) -> dict[str, Any]:
        monkeypatch.setenv("MESH_MODEL", str(address))
        capsys.readouterr()
        assert admin.main([verb, *map(str, words)]) == 0
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        return answer.get("ok") or answer["error"]

    yield one
    os.umask(before)


def objects(run: Run, address: Any) -> Any:
    return json.loads(run("json", address)["text"])["objects"]


@pytest.fixture
def filled(model):
    """A model with something of most kinds, and options that are not plain text."""
    model.shop()
    model.ask("update", "processor", "shop", env={"A": "ä \U0001f600"}, retries=3)
    model.ask("add", "network", "west", description="two\nlines")
    model.ask("add", "queue", "bills", network="west", max_length_bytes=1 << 40)
    model.ask("add", "socket", "shop.bill", processor="shop", task="bill", queue="bills")
    model.ask("add", "plug", "p1", source="shop.clean", target="shop.bill", type="ERROR")
    model.ask("add", "gate", "night", plug="p1", mode="closed")
    model.ask("restart", None, "shop")
    model.ask("add", "role", "operator")
    model.ask("add", "user", "ann", password="correct horse battery", roles=["operator"])
    model.ask("add", "privilege", "run", right="RUN_TASK", role="operator")
    return model


def test_init_makes_each_table_once_and_names_it(run, address, backend):
    if backend == "postgres":
        drop_tables(address)

    first, second = run("init", address), run("init", address)

    assert first["tables"] == dict.fromkeys(Base.metadata.tables, True)
    assert second["tables"] == dict.fromkeys(Base.metadata.tables, False)
    assert first["objects"] == 0


@pytest.mark.parametrize("verb", [*sorted(set(admin.VERBS) - set(admin.MAKING))])
def test_a_database_that_is_not_there_is_not_made_by_mistake(run, model_path, tmp_path, verb):
    answer = run(verb, model_path, "--file", tmp_path / "copy")

    assert answer["code"] == "unknown_object"
    assert answer["text"] == (
        f"there is no model in sqlite:///{model_path}; nothing was made; make one with"
        " `mesh db init`"
    )
    assert list(tmp_path.iterdir()) == []


def test_json_has_every_column_of_every_object_and_is_the_same_each_time(run, filled):
    one, two = run("json", filled.address)["text"], run("json", filled.address)["text"]

    assert one == two
    found = json.loads(one)
    assert set(found["objects"]) == set(PLURALS.values())
    assert found["number"] == filled.number
    for kind, table in TABLES.items():
        for row in found["objects"][PLURALS[kind]]:
            assert set(row) == {column.name for column in table.__table__.columns}
    assert [row["name"] for row in found["objects"]["sockets"]] == ["shop.bill", "shop.clean"]
    assert found["objects"]["processors"][0]["env"] == {"A": "ä \U0001f600"}


def test_json_shows_no_secret_and_a_backup_keeps_what_opens(run, filled, model_path, tmp_path):
    kept = filled.published[-1]["users"]["ann"]["password_hash"]
    assert kept.startswith("$argon2id$")

    shown = run("json", model_path)["text"]
    run("backup", model_path, "--file", tmp_path / "copy")
    run("drop", model_path)
    answer = run("restore", model_path, "--file", tmp_path / "copy")

    assert "argon2" not in shown and answer["problems"] == []
    filled.refresh()
    assert filled.published[-1]["users"]["ann"]["password_hash"] == kept


def test_a_backup_of_one_database_restores_into_the_other(
    run, filled, backend, tmp_path, open_model, request
):
    """Ids, owners, times and revisions as well."""
    copy = tmp_path / "copy"
    other = tmp_path / "other.db" if backend == "postgres" else request.getfixturevalue("url")
    before = objects(run, filled.address)

    made = run("backup", filled.address, "--file", copy)
    answer = run("restore", other, "--file", copy)

    assert (made["objects"], answer["objects"], answer["problems"]) == (12, 12, [])
    assert objects(run, other) == before
    assert answer["number"] == filled.number + 1
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    again = open_model(other)
    again.ask("update", "queue", "orders", revision=1, max_length=5)
    assert again.published[-1]["queues"]["orders"]["max_length"] == 5
    again.close()


def test_a_backup_never_takes_the_place_of_a_file(run, filled, tmp_path):
    path = tmp_path / "copy"
    path.write_text("mine")

    answer = run("backup", filled.address, "--file", path)

    assert answer["code"] == "object_exists"
    assert path.read_text() == "mine"


def test_a_backup_that_cannot_be_written_is_refused(run, filled, tmp_path):
    answer = run("backup", filled.address, "--file", tmp_path / "no" / "copy")

    assert answer["text"].endswith("cannot be written: No such file or directory;"
                                   " nothing was written")  # fmt: skip


def test_a_backup_is_one_state_while_somebody_writes(run, filled, tmp_path):
    """Each edit below changes two objects at once; no copy has one of them."""
    writer, stop, copied = filled.again(), threading.Event(), []

    def write() -> None:
        for n in range(10_000):
            if stop.is_set():
                return
            writer.refresh()
            with writer.database.write() as session:
                for kind in ("queue", "network"):
                    session.connection().exec_driver_sql(
                        f"UPDATE {PLURALS[kind]} SET owner = 'w{n}'"
                    )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for n in range(4):
            assert "file" in run("backup", filled.address, "--file", tmp_path / f"copy{n}")
            copied.append(tmp_path / f"copy{n}")
    finally:
        stop.set()
        thread.join(20)

    for n, path in enumerate(copied):
        target = tmp_path / f"restored{n}.db"
        run("restore", target, "--file", path)
        found = objects(run, target)
        owners = {row["owner"] for kind in ("queues", "networks") for row in found[kind]}
        assert len(owners) == 1


def test_a_backup_has_what_a_killed_process_left_in_the_write_ahead_log(run, model_path, tmp_path):
    model_path.parent.mkdir()
    script = (
        "import os, sys; from sqlalchemy import text\n"
        "from meshcode.model.database import Database\n"
        "with Database(sys.argv[1]).write() as session:\n"
        "    session.execute(text('UPDATE model_state SET number = 77'))\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, model_path], check=False)
    assert killed.returncode == -9
    assert model_path.with_name("model.db-wal").stat().st_size > 0

    run("backup", model_path, "--file", tmp_path / "copy")

    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as link:
        assert link.execute("SELECT number FROM model_state").fetchall() == [(77,)]
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy"]


def test_a_database_with_objects_is_restored_over_only_when_told(run, filled, tmp_path):
    copy = tmp_path / "copy"
    run("backup", filled.address, "--file", copy)
    before = objects(run, filled.address)
    filled.ask("add", "queue", "after-the-copy")
    filled.ask("update", "socket", "shop.clean", priority=9)

    refused = run("restore", filled.address, "--file", copy)
    news = filled.refresh()
    done = run("restore", filled.address, "--file", copy, "--replace")

    assert refused["text"] == (
        "the model's database has 13 objects and the file has 12; nothing was changed; say"
        " --replace to have those of the file instead"
    )
    assert news is None
    assert (done["before"], done["objects"]) == (13, 12)
    assert objects(run, filled.address) == before
    number = filled.number
    assert filled.refresh()["number"] == number + 1
    assert "after-the-copy" not in filled.published[-1]["queues"]


@pytest.mark.parametrize("verb", ["drop", "rebuild"])
def test_what_was_dropped_is_gone_for_whoever_runs_and_whoever_starts_later(run, filled, verb):
    """A node makes a lost database again from its last snapshot; this one was not lost."""
    known, late = filled.published[-1], filled.again()

    answer = run(verb, filled.address)
    running = filled.refresh()
    late.publisher.learn({"fields": {"snapshot": known}})
    starting = late.refresh()

    assert answer["objects"] == 12
    assert set(answer["tables"]) == set(PLURALS.values())
    assert running == starting == {**snapshot.EMPTY, "number": known["number"] + 1}
    filled.ask("add", "queue", "first-of-the-new")
    assert late.refresh() == filled.published[-1]


def test_a_restore_that_fails_half_way_changes_nothing(run, model, model_path, tmp_path):
    model.shop()
    copy = tmp_path / "copy"
    run("backup", model_path, "--file", copy)
    model.ask("add", "queue", "after-the-copy")
    with contextlib.closing(sqlite3.connect(model_path)) as link, link:
        link.execute(
            "CREATE TRIGGER full BEFORE INSERT ON deployments BEGIN"
            " SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    before = objects(run, model_path)

    answer = run("restore", model_path, "--file", copy, "--replace")

    assert "the disk is full; nothing was changed" in answer["text"]
    assert objects(run, model_path) == before
    assert model.refresh() is None


OLD = """
INSERT INTO queues (id, name, owner, status, requested_status, created_ms, updated_ms, revision,
    type, max_length, overflow)
    VALUES ('i1', 'orders', 'ann', 'ready', 'ready', 1, 2, 3, 'direct', 5, 'reject');
INSERT INTO model_state VALUES (1, 41, 1)
"""


@pytest.fixture
def old_file(tmp_path) -> Path:
    """A database of version 1, as it stands after its last process ended."""
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as link, link:
        link.executescript((SCHEMAS / "1.sqlite.sql").read_text() + OLD)
    return path


def test_a_backup_of_an_older_version_is_restored_and_stays_as_it_is(run, old_file, address):
    before = old_file.read_bytes()

    answer = run("restore", address, "--file", old_file)

    assert (answer["objects"], answer["number"]) == (1, 42)
    assert objects(run, address)["queues"][0]["revision"] == 3
    assert old_file.read_bytes() == before


def test_a_backup_before_the_upgrade_leaves_the_database_as_it_is(run, old_file, tmp_path):
    before = old_file.read_bytes()

    answer = run("backup", old_file, "--file", tmp_path / "copy")

    assert answer["objects"] == 1
    assert old_file.read_bytes() == before
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as link:
        assert link.execute("SELECT schema_version FROM model_state").fetchall() == [(1,)]


def test_migrate_says_from_where_to_where(run, old_file):
    first, second = run("migrate", old_file), run("migrate", old_file)

    assert (first["from"], first["to"]) == (1, SCHEMA_VERSION)
    assert second["from"] == second["to"] == SCHEMA_VERSION
    assert objects(run, old_file)["queues"][0]["name"] == "orders"


def document(**changes: Any) -> dict[str, Any]:
    found = {
        "format": "meshcode model", "format_version": 1, "schema_version": SCHEMA_VERSION,
        "number": 7,
        "objects": {plural: [] for plural in PLURALS.values()},
    }  # fmt: skip
    return found | changes


def row(**changes: Any) -> dict[str, Any]:
    found = {
        "id": "i1", "name": "q", "owner": "ann", "status": "ready", "requested_status": "ready",
        "created_ms": 1, "updated_ms": 2, "revision": 1, "type": "direct", "overflow": "reject",
    }  # fmt: skip
    return {key: value for key, value in (found | changes).items() if value != "GONE"}


def queues(*rows: Any) -> dict[str, Any]:
    return document(objects={**document()["objects"], "queues": list(rows)})


BAD = [
    (b"\x00\x01", "is neither a SQLite file nor JSON: "),
    (b"[" * 100_000, "is neither a SQLite file nor JSON: "),
    ([], "is not a backup of a model: its format is not 'meshcode model'"),
    ({"format": "songs"}, "is not a backup of a model: its format is not 'meshcode model'"),
    (document(format_version=2),
     "has format_version 2, this meshcode reads up to 1; install a newer meshcode"),
    (document(schema_version=SCHEMA_VERSION + 1),
     f"has schema_version {SCHEMA_VERSION + 1}, this meshcode reads up to {SCHEMA_VERSION};"
     " install a newer meshcode"),
    (document(schema_version="4"), "has schema_version '4'; it must be a number from 1"),
    (document(number=True), "has number True; it must be one from 0"),
    (document(objects=[]), "are []; they must be a map"),
    (document(objects={"queues": []}), "has no settings, secrets, networks, schedulers, nodes,"),
    (document(objects={"qeues": []}), "has objects of kind 'qeues'; did you mean 'queues'?"),
    (document(objects={**document()["objects"], "queues": {}}), "are {}; they must be a list"),
    (queues(3), "has 3 among the queues; it must be a map"),
    (queues(row(), row(id="i2")), "has two queues of the name 'q'"),
    (queues(row(), row(name="p")), "has two queues of the id 'i1'"),
    (queues(row(name="-rf")), "the name of a queue is '-rf'; it must be 1 to 200 of the"),
    (queues(row(name="GONE")), "the queue has no name; give one"),
    (queues(row(max_length=-1)), "queue 'q': max_length is -1; it must be a whole number from 1"),
    (queues(row(overflow="dead-letter")), "and dead_letter names no socket; give one"),
    (queues(row(max_lenght=1)), "has a field 'max_lenght'; did you mean 'max_length'?"),
    (queues(row(id="GONE")), "id is None; it must be printable text of 1 to 36 characters"),
    (queues(row(owner="a\0b")), "owner is 'a\\x00b'; it must be printable text of 1 to 200"),
    (queues(row(revision=0)), "revision is 0; it must be a whole number from 1 to 2147483647"),
    (queues(row(created_ms=1.5)), "created_ms is 1.5; it must be a whole number from 0 to"),
]


@pytest.mark.parametrize(("content", "said"), BAD)
def test_a_file_that_cannot_be_all_right_is_refused_whole(
    run, model, model_path, tmp_path, content, said
):
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    model.ask("add", "queue", "mine")

    answer = run("restore", model_path, "--file", path, "--replace")

    assert answer["code"] == "bad_data"
    assert said in answer["text"]
    assert answer["text"].endswith("; nothing was changed")
    assert model.refresh() is None


def test_a_document_as_the_table_above_begins_from_is_good(run, model_path, tmp_path):
    """Else each of them might be refused for another reason."""
    path = tmp_path / "good.json"
    path.write_text(json.dumps(queues(row(network="gone"))))

    answer = run("restore", model_path, "--file", path)

    assert answer["objects"] == 1
    assert answer["problems"] == ["queue q names network gone, which is not in the file"]


def test_a_sqlite_file_of_something_else_is_refused(run, model_path, tmp_path):
    path = tmp_path / "songs.db"
    with contextlib.closing(sqlite3.connect(path)) as link, link:
        link.execute("CREATE TABLE songs (name TEXT)")

    answer = run("restore", model_path, "--file", path)

    assert answer["code"] == "bad_data"
    assert answer["text"].startswith(f"{path} cannot be used: it is a database of something else")
    assert answer["text"].endswith("; nothing was changed")
    assert not model_path.exists()


def test_a_damaged_file_is_not_called_the_model_of_this_node(run, filled, model_path, tmp_path):
    path = tmp_path / "copy.db"
    run("backup", model_path, "--file", path)
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 50_000)

    answer = run("restore", model_path, "--file", path, "--replace")

    assert answer["code"] == "bad_data"
    assert answer["text"].startswith(f"{path} cannot be used: it is damaged: ")
    assert "the model's database" not in answer["text"]
    assert objects(run, model_path)["queues"]


def test_a_file_that_is_not_there_is_not_found(run, model_path, tmp_path):
    answer = run("restore", model_path, "--file", tmp_path / "none")

    assert answer["code"] == "unknown_object"
    assert not model_path.exists()


def test_no_password_of_an_address_is_told():
    """SQLAlchemy hides the one before the host, and shows what is behind it."""
    where = Database("postgresql://joe:hunter1@db/x?password=hunter2&sslpassword=hunter3").where

    assert where == "postgresql+psycopg2://joe:***@db/x?password=***&sslpassword=***"
