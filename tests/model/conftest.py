"""A model on a real database, in this process: a SQLite file, and a real Postgres."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from meshcode.model import rowlevel
from meshcode.model.database import Database
from meshcode.model.publish import Publisher
from tests.model.postgres import URL_VARIABLE, Server, empty_tables, engine_of, private_server

NOW_MS = 1_700_000_000_000
APP = "mesh_rows"  # The role that is held by policies, and the database that it owns.


class Model:
    """One publisher, asked as the node asks it; remembers every snapshot that came out."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.database = Database(self.address)
        self.publisher = Publisher(self.database, owner="ann")
        self.now_ms = NOW_MS
        self.published: list[dict[str, Any]] = []
        self.others: list[Model] = []

    def ask(self, do: str, kind: str | None = None, name: str | None = None, **fields: Any) -> Any:
        """Refresh and do one request, as the server does; gives the answer's data."""
        self.refresh()
        request: dict[str, Any] = {"do": do, "fields": fields}
        if kind is not None:
            request["kind"] = kind
        if name is not None:
            request["name"] = name
        data, snapshot = self.publisher.request(request, self.now_ms)
        if snapshot is not None:
            self.published.append(snapshot)
        return data

    def refresh(self) -> dict[str, Any] | None:
        snapshot = self.publisher.refresh(self.now_ms)
        if snapshot is not None:
            self.published.append(snapshot)
        return snapshot

    def shop(self) -> None:
        """A queue, a processor, a socket and a deployment."""
        self.ask("add", "queue", "orders")
        self.ask("add", "processor", "shop", git="/srv/shop", module="shop.tasks")
        self.ask("add", "socket", "shop.clean", processor="shop", task="clean", queue="orders")
        self.ask("add", "deployment", "shop-here", processor="shop", host="localhost", cpus=2)

    def again(self) -> Model:
        """Another process's model on the same database."""
        self.others.append(Model(self.address))
        return self.others[-1]

    def by_hand(self, statement: str) -> None:
        """Write to the database as somebody with another program does; docs/model.md says how."""
        if "://" in self.address:
            with engine_of(self.address) as engine, engine.begin() as link:
                link.execute(text(statement))
                link.execute(text("UPDATE model_state SET number = number + 1"))
            return
        with contextlib.closing(sqlite3.connect(self.address)) as link, link:
            link.execute(statement)

    @property
    def number(self) -> int:
        return self.publisher.number

    def close(self) -> None:
        for one in (self, *self.others):
            one.database.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `model` runs on both databases; one that takes `model_path` on SQLite."""
    if "backend" in metafunc.fixturenames:
        on_a_file = "model_path" in metafunc.fixturenames
        metafunc.parametrize("backend", ["sqlite"] if on_a_file else ["sqlite", "postgres"])


@pytest.fixture(scope="session")
def open_model() -> type[Model]:
    """Opens a model on a path."""
    return Model


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    return tmp_path / "model" / "model.db"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests; whoever stops it starts it again."""
    with private_server() as started:
        yield started


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """An address of a Postgres with an empty model in it, or none."""
    found: str = os.environ.get(URL_VARIABLE) or request.getfixturevalue("server").url
    empty_tables(found)
    return found


@pytest.fixture
def app_url(request: pytest.FixtureRequest) -> str:
    """A database of a role that policies hold; of a given server that role must be such a one."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        with engine_of(given) as engine, engine.connect() as link:
            if rowlevel.bypassing(link):
                pytest.skip(f"the role of {URL_VARIABLE} is held by no policy")
        return given
    server = request.getfixturevalue("server").url
    with engine_of(server) as engine, engine.connect() as plain:
        link = plain.execution_options(isolation_level="AUTOCOMMIT")
        query = text("SELECT count(*) FROM pg_roles WHERE rolname = :name")
        if not link.execute(query, {"name": APP}).scalar_one():
            link.execute(text(f"CREATE ROLE {APP} LOGIN NOSUPERUSER NOBYPASSRLS"))
            link.execute(text(f"CREATE DATABASE {APP} OWNER {APP}"))
    # As text: the host is a parameter of it.
    return make_url(server).set(username=APP, database=APP).render_as_string(hide_password=False)


@pytest.fixture
def address(request: pytest.FixtureRequest, backend: str) -> str:
    """Of a database with an empty model, or none."""
    name = "url" if backend == "postgres" else "model_path"
    return str(request.getfixturevalue(name))


@pytest.fixture
def model(address: str) -> Iterator[Model]:
    opened = Model(address)
    yield opened
    opened.close()
