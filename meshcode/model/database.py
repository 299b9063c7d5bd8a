"""The model's database: opened, made, watched, and never trusted to be there.

SQLite by default, Postgres by URI.  One connection, used by one thread.  Every write transaction
takes the model's lock first (`BEGIN IMMEDIATE`, or the row of `model_state`), so numbers go up in
the order of the commits, whoever makes them.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
)
from sqlalchemy import update as sql_update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from meshcode import config
from meshcode.errors import ModelUnavailable, UnknownObject
from meshcode.model import acting, migrations, rowlevel
from meshcode.model.policy import OWNER
from meshcode.model.reader import Reader, read_by
from meshcode.model.tables import REVISION, SCHEMA_VERSION, Base, State

DB_VARIABLE = "MESH_MODEL"  # The address by environment: a URI may hold a password.
BUSY_MS = 5_000  # How long a write waits for another process's write.
CONNECT_S = 5  # How long a connection to Postgres may take.
CHANNEL = "meshcode_model"  # Where Postgres tells of each commit that made a snapshot.

_MAKING_TABLES = 0x6D657368  # "mesh"; the lock of a Postgres database while tables are made.
_GOES_ON = "the node goes on with the snapshot it has"


def address_problem(uri: str) -> str:
    """Why a database can never be opened at this address; "" when it may be.  Nothing is opened."""
    wrong = Database(uri)._wrong
    return "" if wrong is None else wrong.text.replace(f"; {_GOES_ON}", "")


class Database:
    """One model database.  Opens when it is first needed, and again when the file was replaced."""

    def __init__(self, uri: str, *, make: bool = True) -> None:
        """Touch nothing yet.

        Args:
            uri: a SQLAlchemy URL, or the path of a SQLite file.
            make: whether a database that is not there is made; else its use is `UnknownObject`.
        """
        self._make = make
        self.made: list[str] = []  # The tables that were not there when it was opened.
        self.reader = Reader()
        self.opened = 0  # How often it was opened; another number means another connection.
        self.url: URL | None = None
        self.path: Path | None = None  # Of the SQLite file.
        self.version_found: int | None = None  # Of its tables before it was opened; None: new.
        self.where = uri if "://" not in uri else "of the given address"  # For error texts.
        self._wrong: ModelUnavailable | None = None  # Why this address can never be opened.
        self._engine: Engine | None = None
        self._link: Any = None  # The driver's connection to a server, which tells of changes.
        # Device and inode of the open file and of its write-ahead log.
        self._identity: tuple[int, int] | None = None
        self._wal_identity: tuple[int, int] | None = None
        try:
            self._read_address(uri)
        except ModelUnavailable as exc:
            self._wrong = exc

    def _read_address(self, uri: str) -> None:
        try:
            url = make_url(uri if "://" in uri else f"sqlite:///{Path(uri).absolute()}")
        except (SQLAlchemyError, ValueError):
            raise ModelUnavailable(
                f"the address of the model's database cannot be read; {_GOES_ON}; give a path, or"
                " a URL like sqlite:////var/lib/mesh/model.db or postgresql://host/mesh"
            ) from None
        if url.drivername in ("postgres", "postgresql"):
            # The driver we depend on; SQLAlchemy 2.1 would take another one.
            url = url.set(drivername="postgresql+psycopg2")
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ModelUnavailable(
                f"the model can be kept in sqlite or postgresql, not in {backend!r}; {_GOES_ON}"
            )
        if backend == "sqlite":
            if not url.database or url.database == ":memory:":
                raise ModelUnavailable(
                    f"the model needs a SQLite file, not a database in memory; {_GOES_ON}"
                )
            self.path = Path(url.database).absolute()
        self.url = url
        # SQLAlchemy hides the password before the host; there may be one behind it, too.
        self.where = config.mask(url.render_as_string(hide_password=True))

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        self._link = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    @contextmanager
    def read(self, principal: str = OWNER) -> Iterator[Session]:
        """A transaction that sees one state of the database, and of it what `principal` may see.

        Raises:
            ModelUnavailable: the database cannot be opened or read.
        """
        with self._session(principal, write=False) as session:
            yield session

    @contextmanager
    def write(self, principal: str = OWNER) -> Iterator[Session]:
        """A transaction that holds the model's lock; committed at the end, or undone by a raise.

        Raises:
            ModelUnavailable: the database cannot be opened or written; nothing was changed.
            NotAllowed: `principal` may not do that to a row; nothing was changed.
        """
        with self._session(principal, write=True) as session:
            # For SQLite the lock is BEGIN IMMEDIATE; this is the same for a server.
            session.execute(select(State.number).with_for_update())
            yield session

    def version(self) -> tuple[int, int]:
        """Something that is another one after somebody else's commit or when opened again.

        Raises:
            ModelUnavailable: the database cannot be opened or read.
        """
        with self._ready() as engine:
            if self.path is not None:
                return self.opened, _data_version(engine)
            with engine.connect() as connection:
                return self.opened, connection.execute(select(State.number)).scalar_one()

    def version_after(self, number: int, before: tuple[int, int]) -> tuple[int, int]:
        """What `version` says after a commit of our own that made this number, if nobody else did.

        `before` is what it said before.
        """
        return before if self.path is not None else (self.opened, number)

    @property
    def is_open(self) -> bool:
        """There is a connection, or was one when it was last used."""
        return self._engine is not None

    def fileno(self) -> int | None:
        """What is readable when somebody changed the database; None: one must look for that."""
        return None if self._link is None else self._link.fileno()

    def heard(self) -> bool:
        """Whether the server told of a change since last asked, or the connection has ended."""
        if self._link is None:
            return False
        try:
            self._link.poll()
        except self._link.Error:
            self.close()
            return True
        told = bool(self._link.notifies)
        self._link.notifies.clear()
        return told

    def replaced(self) -> bool:
        """The open file is no longer the one at its path: deleted, moved or copied over."""
        return self._engine is not None and self._identity != _identity(self.path)

    def bypassing(self) -> str | None:
        """The role that we connect as, if the server's row-level security does not hold it.

        Raises:
            ModelUnavailable: the database cannot be opened or read.
        """
        with self._ready() as engine, engine.connect() as connection:
            return rowlevel.bypassing(connection)

    @contextmanager
    def _session(self, principal: str, *, write: bool) -> Iterator[Session]:
        with self._ready() as engine, engine.connect() as connection:
            chosen = connection.execution_options(mesh_write=write, mesh_principal=principal)
            with Session(chosen, expire_on_commit=False) as session, session.begin():
                read_by(session, self.reader)
                acting.begin(session, principal)
                yield session

    @contextmanager
    def _ready(self) -> Iterator[Engine]:
        """The open database; every way in which it can fail becomes one error."""
        with self._failing():
            if self.replaced():
                self.close()
                self._drop_old_wal()
            yield self._engine or self._open()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._wrong is not None:
            raise self._wrong
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as exc:
            self.close()  # Whatever is wrong with this connection ends with it.
            rowlevel.raise_refusal(exc)
            cause = getattr(exc, "orig", None) or exc
            reason = " ".join(str(cause).split())
            raise ModelUnavailable(
                f"the model's database {self.where} fails: {reason}; nothing was changed and"
                f" {_GOES_ON}; repair the database and ask again",
                database=self.where,
            ) from exc

    def _open(self) -> Engine:
        engine = self._open_sqlite(self.path) if self.path else self._open_server()
        try:
            with (
                engine.connect() as connection,
                connection.execution_options(mesh_write=True).begin(),
            ):
                if self.path is None:
                    # Two who make the tables at once would both begin with the first of them.
                    connection.execute(select(func.pg_advisory_xact_lock(_MAKING_TABLES)))
                self._make_or_change(connection)
        except BaseException:
            engine.dispose()
            raise
        self._identity = _identity(self.path)
        self._wal_identity = _identity(_wal_of(self.path))
        self._engine = engine
        self.reader.forget()
        self.opened += 1
        return engine

    def _check_may_make(self) -> None:
        if not self._make:
            raise UnknownObject(
                f"there is no model in {self.where}; nothing was made; make one with `mesh db init`"
            )

    def examine(self) -> None:
        """Look at the SQLite file without opening it, and so without changing anything.

        Raises:
            ModelUnavailable: it is damaged, or of something else.
            UnknownObject: it is not there, and is not to be made.
        """
        assert self.path is not None
        if not self.path.exists():
            self._check_may_make()
        with self._failing():
            _examine(self.path, self.where)

    def _open_sqlite(self, path: Path) -> Engine:
        if not path.exists():
            self._check_may_make()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.parent):
            _examine(path, self.where)
            # Options may hold secrets, so the file is made private before SQLite opens it.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            _use_wal(path)
        assert self.url is not None
        engine = create_engine(self.url, pool_size=1, max_overflow=0)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _drop_old_wal(self) -> None:
        """Remove the write-ahead log of a file that is gone, before it is played into the new one.

        SQLite knows a log by its name only.  Whoever puts a copy back moves one file.
        """
        wal = _wal_of(self.path)
        if self.path is None or wal is None or _identity(wal) is None:
            return
        with _alone(self.path.parent):
            if _identity(wal) == self._wal_identity:
                wal.unlink()
                self.path.with_name(self.path.name + "-shm").unlink(missing_ok=True)

    def _open_server(self) -> Engine:
        assert self.url is not None
        engine = create_engine(
            self.url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ",
            connect_args={"connect_timeout": CONNECT_S},
        )

        @event.listens_for(engine, "connect")
        def _listen(link: Any, _record: Any) -> None:
            link.cursor().execute(f"LISTEN {CHANNEL}")
            link.commit()
            self._link = link

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            # A writer must see what was committed while it waited for the lock.
            if connection.get_execution_options().get("mesh_write"):
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # Every transaction there is begins here; without a principal none would see a row.
            principal = connection.get_execution_options().get("mesh_principal", OWNER)
            rowlevel.set_principal(connection, principal)

        return engine

    def _make_or_change(self, connection: Connection) -> None:
        """See to it that the tables are those of today, in the transaction that opens them."""
        self.version_found = found = tables_version(connection)
        there = inspect(connection).get_table_names()
        self.made = [name for name in Base.metadata.tables if name not in there]
        if found is None:
            self._check_may_make()
            Base.metadata.create_all(connection)
            first = {"id": 1, "number": 0, "schema_version": SCHEMA_VERSION}
            connection.execute(insert(State).values(first))
            _stamp(connection)
        elif found > SCHEMA_VERSION:
            raise ModelUnavailable(
                f"the model's database {self.where} has tables of version {found}, this meshcode"
                f" reads up to {SCHEMA_VERSION}; it is untouched and {_GOES_ON}; install a newer"
                " meshcode",
                database=self.where,
            )
        else:
            stamped = REVISION.name in there and _is_stamped(connection)
            if found < SCHEMA_VERSION or not stamped:
                # Others that open it wait for this row on a server, for the file in SQLite.
                connection.execute(select(State.number).with_for_update())
                migrations.upgrade(connection, found=found, stamped=stamped)
            if self.made:
                Base.metadata.create_all(connection)


def tables_version(connection: Connection) -> int | None:
    """The version of the tables; None when there are none."""
    if not inspect(connection).has_table(State.__tablename__):
        return None
    return connection.execute(select(State.schema_version)).scalar_one_or_none()


def _is_stamped(connection: Connection) -> bool:
    return connection.execute(select(REVISION.c.version_num)).first() is not None


def _stamp(connection: Connection) -> None:
    """Tell alembic, should it ever look, that these tables are the newest."""
    connection.execute(delete(REVISION))
    newest = migrations.revision_of(SCHEMA_VERSION)
    connection.execute(insert(REVISION).values(version_num=newest))


def set_number(session: Session, number: int) -> None:
    """Number the snapshot that this write transaction makes; a server tells all who listen."""
    session.execute(sql_update(State).values(number=number))
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(CHANNEL, str(number))))


def _identity(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _wal_of(path: Path | None) -> Path | None:
    return path and path.with_name(path.name + "-wal")


def _examine(path: Path, where: str) -> None:
    """Look at a file before anything is written to it: is it ours, and whole?"""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise ModelUnavailable(f"{path} is not a file, so it cannot hold the model; {_GOES_ON}")
    if found.st_size == 0:
        return
    link = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    try:
        link.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        report = [row[0] for row in link.execute("PRAGMA quick_check(1)")]
        tables = {row[0] for row in link.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as exc:
        report, tables = [str(exc)], set()
    finally:
        link.close()
    if report != ["ok"]:
        raise ModelUnavailable(
            f"the model's database {where} is damaged: {' '.join(report[0].split())}; the file is"
            f" untouched and {_GOES_ON}; put a copy back, or move the file away and it is made"
            " again from that snapshot",
            database=where,
        )
    if tables and State.__tablename__ not in tables:
        raise ModelUnavailable(
            f"{where} is a database of something else, with {len(tables)} tables and indexes and"
            f" no {State.__tablename__}; it is untouched and {_GOES_ON}; give another path",
            database=where,
        )


def _use_wal(path: Path) -> None:
    """Switch to the write-ahead log, once in the life of the file."""
    link = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None)
    try:
        link.execute("PRAGMA journal_mode = WAL")
    finally:
        link.close()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time opens databases of a folder.

    SQLite does not wait for a lock while it switches to the write-ahead log, so two processes
    that open a new file at once meet an error that its busy timeout does not cover.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _data_version(engine: Engine) -> int:
    # Asked twice a second for ever, so past the ORM: 0.05 ms instead of 1 ms.
    connection = engine.raw_connection()
    try:
        return int(connection.cursor().execute("PRAGMA data_version").fetchone()[0])
    finally:
        connection.close()


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's events below say BEGIN, not the driver.
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA foreign_keys = OFF")  # Files of version 1 have them.
    cursor.execute("PRAGMA synchronous = FULL")  # What was answered survives a power cut.
    cursor.close()
    acting.set_up_sqlite(connection)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("mesh_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
