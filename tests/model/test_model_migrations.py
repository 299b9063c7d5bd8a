"""Databases of every older version become what a new one is, on both backends.

schemas/ has what the code of those versions sent to a new database, word for word.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from meshcode.errors import ModelUnavailable
from meshcode.model import migrations
from meshcode.model.client import ModelProcess
from meshcode.model.database import Database
from meshcode.model.tables import SCHEMA_VERSION, Base
from tests.model.asking import Asker
from tests.model.postgres import drop_tables, engine_of

SCHEMAS = Path(__file__).parent / "schemas"
ROWS = """
INSERT INTO queues (id, name, owner, status, requested_status, created_ms, updated_ms, revision,
    type, max_length, overflow)
    VALUES ('i1', 'orders', 'ann', 'ready', 'ready', 1, 2, 3, 'direct', 5, 'reject');
INSERT INTO processors (id, name, owner, status, requested_status, created_ms, updated_ms,
    revision, git, module, workers, restarted, env)
    VALUES ('i2', 'shop', 'ann', 'ready', 'start', 1, 2, 3, '/x', 'm', 1, 4, '{"A": "1"}');
INSERT INTO sockets (id, name, owner, status, requested_status, created_ms, updated_ms, revision,
    processor, task, queue, priority)
    VALUES ('i3', 'shop.clean', 'ann', 'ready', 'ready', 1, 2, 3, 'shop', 'clean', 'orders', 7);
UPDATE queues SET dead_letter = 'shop.clean';
INSERT INTO model_state VALUES (1, 41, {version})
"""

# What the code before there were migrations did to older tables it opened.
TO_2 = """
ALTER TABLE queues DROP CONSTRAINT fk_queues_dead_letter;
ALTER TABLE sockets DROP CONSTRAINT sockets_processor_fkey;
ALTER TABLE sockets DROP CONSTRAINT sockets_queue_fkey;
ALTER TABLE deployments DROP CONSTRAINT deployments_processor_fkey
"""
TO_3 = """
ALTER TABLE queues ADD COLUMN network VARCHAR(200);
ALTER TABLE processors ADD COLUMN recycle_calls BIGINT;
ALTER TABLE processors ADD COLUMN recycle_age_ms BIGINT;
ALTER TABLE processors ADD COLUMN recycle_bytes BIGINT
"""

# It came into version 3 without a new number.
REPOS = """
CREATE TABLE repos (
    id VARCHAR(36) NOT NULL, name VARCHAR(200) NOT NULL, owner VARCHAR(200) NOT NULL,
    status VARCHAR(200) NOT NULL, requested_status VARCHAR(32) NOT NULL,
    created_ms BIGINT NOT NULL, updated_ms BIGINT NOT NULL, revision INTEGER NOT NULL,
    url TEXT NOT NULL, access VARCHAR(16), signers TEXT, credential TEXT,
    PRIMARY KEY (id), UNIQUE (name)
)
"""


def words_of(name: str, backend: str) -> str:
    dialect = {"sqlite": "sqlite", "postgres": "postgresql"}[backend]
    path = SCHEMAS / f"{name}.{dialect}.sql"
    return (path if path.exists() else SCHEMAS / f"{name}.sql").read_text()


def first_of_all(backend: str) -> str:
    """Version 1 as it was before workers were recycled."""
    lines = words_of("1", backend).splitlines()
    return "\n".join(line for line in lines if "recycle_" not in line)


def new_in_3() -> str:
    """The tables that version 3 brought."""
    new = ("networks", "schedulers", "nodes", "plugs", "gates")
    statements = words_of("3", "sqlite").split(";")
    return ";".join(s for s in statements if s.strip() and s.split("(")[0].split()[-1] in new)


def old(history: str, backend: str) -> str:
    """The statements that made a database of this history."""
    version = history[0]
    if history == "1, the first":
        made = first_of_all(backend)
    elif history == "2, was 1":
        made = first_of_all(backend) + (TO_2 if backend == "postgres" else "")
    elif history == "3, was 1":
        made = first_of_all(backend) + (TO_2 if backend == "postgres" else "") + ";" + TO_3
        made += ";" + new_in_3()
    elif history == "3, with repos":
        made = words_of("3", backend) + REPOS
    else:
        made = words_of(version, backend)
    return made + ";" + ROWS.replace("{version}", version)


NEWEST = migrations.revision_of(SCHEMA_VERSION)
HISTORIES = ["1", "1, the first", "2", "2, was 1", "3", "3, was 1", "3, with repos"]


@contextlib.contextmanager
def engine_to(address: str) -> Iterator[Engine]:
    """Another program's way in, to both."""
    if "://" in address:
        with engine_of(address) as engine:
            yield engine
        return
    engine = create_engine(f"sqlite:///{address}")
    yield engine
    engine.dispose()


@pytest.fixture
def bare(address: str, backend: str) -> Iterator[str]:
    """The address of a database without any table; none is left of it either."""
    if backend == "postgres":
        drop_tables(address)
    else:
        Path(address).parent.mkdir(parents=True)
    yield address
    if backend == "postgres":
        drop_tables(address)


def run_words(address: str, statements: str) -> None:
    if "://" not in address:
        with contextlib.closing(sqlite3.connect(address)) as link, link:
            link.executescript(statements)
        return
    with engine_of(address) as engine, engine.begin() as link:
        # Past what the driver takes for a place of a parameter.
        link.connection.cursor().execute(statements)


def shape(address: str) -> dict[str, Any]:
    """All there is to a table but the order of its columns, which no statement of ours needs."""
    with engine_to(address) as engine:
        found = inspect(engine)
        return {
            table: {
                "columns": {
                    c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table)
                },
                "key": found.get_pk_constraint(table)["constrained_columns"],
                "indexes": {
                    (i["name"], tuple(i["column_names"]), bool(i["unique"]))
                    for i in found.get_indexes(table)
                    if not i.get("duplicates_constraint")
                },
                "unique": {tuple(u["column_names"]) for u in found.get_unique_constraints(table)},
                "checks": {c["name"] for c in found.get_check_constraints(table)},
                "refers": found.get_foreign_keys(table),
            }
            for table in found.get_table_names()
        }


def marks(address: str) -> tuple[Any, ...]:
    with engine_to(address) as engine, engine.connect() as link:
        state = link.execute(text("SELECT number, schema_version FROM model_state")).one()
        return (*state, *link.execute(text("SELECT version_num FROM alembic_version")).scalars())


def open_and_close(address: str) -> Database:
    database = Database(address)
    with database.read():
        pass
    database.close()
    return database


@pytest.mark.parametrize("history", HISTORIES)
def test_a_database_of_an_older_version_becomes_what_a_new_one_is(bare, backend, history):
    """Same tables, columns, types, nullability, keys and indexes; and the rows are all there."""
    open_and_close(bare)
    new = shape(bare)
    assert set(new) == set(Base.metadata.tables)
    if backend == "postgres":
        drop_tables(bare)
    else:
        Path(bare).unlink()
    run_words(bare, old(history, backend))
    assert shape(bare) != new  # It lacks at least alembic's own table.

    database = open_and_close(bare)

    assert shape(bare) == new
    assert marks(bare) == (41, SCHEMA_VERSION, NEWEST)
    assert database.version_found == int(history[0])
    with engine_to(bare) as engine, engine.connect() as link:
        assert link.execute(text("SELECT * FROM sockets")).mappings().one()["priority"] == 7
        assert link.execute(text("SELECT * FROM processors")).mappings().one()["restarted"] == 4
        queue = link.execute(text("SELECT * FROM queues")).mappings().one()
        assert (queue["id"], queue["dead_letter"], queue["max_length"]) == ("i1", "shop.clean", 5)


def test_migrations_from_nothing_make_what_the_tables_say(bare, backend):
    """A table or column that somebody adds without a migration fails here."""
    open_and_close(bare)
    new = shape(bare)
    if backend == "postgres":
        drop_tables(bare)
    else:
        Path(bare).unlink()

    with engine_to(bare) as engine, engine.begin() as link:
        migrations.upgrade(link, found=0, stamped=True)

    assert shape(bare) == new


def test_an_older_model_goes_on_where_it_was(bare, backend, open_model):
    run_words(bare, old("1, the first", backend))
    model = open_model(bare)

    news = model.refresh()
    model.ask("add", "network", "west")
    model.ask("add", "queue", "bills", network="west")

    assert news["number"] == 41
    assert news["sockets"]["shop.clean"]["queue"] == "orders"
    assert news["processors"]["shop"]["env"] == {"A": "1"}
    assert model.published[-1]["queues"]["bills"]["network"] == "west"
    assert model.number == 43
    model.close()


def test_an_upgrade_that_fails_changes_nothing(bare, backend, monkeypatch):
    run_words(bare, old("1", backend))
    before = shape(bare)

    def fail(connection: Any, **facts: Any) -> None:
        connection.execute(text("ALTER TABLE queues ADD COLUMN network VARCHAR(200)"))
        raise SQLAlchemyError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(ModelUnavailable) as caught:
        patched.setattr(migrations, "upgrade", fail)
        open_and_close(bare)

    assert "the disk is full; nothing was changed" in caught.value.text
    assert shape(bare) == before
    assert open_and_close(bare).version_found == 1


def test_many_processes_that_meet_an_older_database_upgrade_it_once(bare, backend):
    """As when several nodes start after the installation of a new version."""
    run_words(bare, old("1, the first", backend))
    processes = [ModelProcess(bare) for _ in range(2)]
    try:
        for process in processes:
            process.start()
        askers = [Asker(process) for process in processes]
        for asker in askers:
            asker.until(lambda asker=asker: asker.seen)
    finally:
        for process in processes:
            process.stop()

    assert [asker.seen[0].get("number") for asker in askers] == [41] * 2
    assert all("orders" in asker.snapshots()[0]["queues"] for asker in askers)
    assert marks(bare) == (41, SCHEMA_VERSION, NEWEST)


def test_a_newer_database_is_untouched(bare, backend):
    run_words(bare, old("1", backend).replace("(1, 41, 1)", f"(1, 41, {SCHEMA_VERSION + 1})"))
    before = shape(bare)

    said = f"version {SCHEMA_VERSION + 1}, this meshcode reads up to {SCHEMA_VERSION};"
    with pytest.raises(ModelUnavailable, match=said):
        open_and_close(bare)

    assert shape(bare) == before


def test_alembic_is_imported_only_to_change_something(model_path):
    """It would double the start-up of the model process."""
    script = (
        "import sys; from meshcode.model.database import Database; d = Database(sys.argv[1])\n"
        "with d.read(): pass\n"
        "print('alembic' in sys.modules)"
    )

    def imported() -> str:
        command = [sys.executable, "-c", script, str(model_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert imported() == "False"
    model_path.unlink()
    run_words(str(model_path), old("2", "sqlite"))
    assert (imported(), imported()) == ("True", "False")
