"""The tables of the model: what somebody declared, and nothing that happens by itself.

Objects name each other by name, as people and snapshots do.  Types are portable: the same tables
serve SQLite and Postgres.  Times are Unix milliseconds.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from meshcode.model.checks import NAME_CHARS_MAX, STATUS_CHARS_MAX

# Goes up with every change of these tables, which is a file in migrations/versions; a newer
# database is refused, an older one changed.  2: names of other objects are no foreign keys any
# more.  3: networks and what belongs to them, plugs, gates.  4: repos.  5: users, roles,
# privileges, locks of processors.  6: labels; row-level security on a server.  7: settings,
# secrets, files, flows, versions, overrides.  8: schedules.
# 9: topics, sockets that wait for all plugs, gates that reject.  10: deployments of a scheduler.
# 11: the journal.
SCHEMA_VERSION = 11

_Name = String(NAME_CHARS_MAX)


def _refers(*, nullable: bool = False) -> Mapped[Any]:
    # No foreign key: in a mesh two nodes may delete a queue and add a socket to it at once, and
    # both are right.  changes.py sees to it, under the model's lock, that no command does that.
    return mapped_column(_Name, nullable=nullable, index=True)


def _labels() -> Mapped[Any]:
    # Older rows have none; a migration cannot forbid that in SQLite.
    return mapped_column(JSON(none_as_null=True), nullable=True)


class Base(DeclarativeBase):
    """Root of the tables."""


class State(Base):
    """One row: the number of the newest snapshot, and the version of these tables."""

    __tablename__ = "model_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    schema_version: Mapped[int] = mapped_column(Integer)


class Journal(Base):
    """Which objects somebody changed, in the order of the commits; triggers write it."""

    __tablename__ = "model_journal"
    __table_args__ = {"sqlite_autoincrement": True}

    at: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    mark: Mapped[int] = mapped_column(BigInteger)  # Random: it tells this line from any other.
    kind: Mapped[str] = mapped_column(String(32))  # Empty: anything may be another.
    name: Mapped[str] = mapped_column(_Name)


# Where alembic keeps the version.  Its own table, made here too so that a new database needs none
# of alembic; `model_state` decides.
REVISION = Table(
    "alembic_version",
    Base.metadata,
    Column("version_num", String(32)),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class Object(Base):
    """What every declared object has."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(
        String(36), primary_key=True, default=lambda: str(uuid.uuid4()), sort_order=-9
    )
    name: Mapped[str] = mapped_column(_Name, unique=True, sort_order=-8)
    owner: Mapped[str] = mapped_column(_Name, sort_order=-7)
    status: Mapped[str] = mapped_column(String(STATUS_CHARS_MAX), default="ready", sort_order=-6)
    requested_status: Mapped[str] = mapped_column(String(32), default="ready", sort_order=-5)
    created_ms: Mapped[int] = mapped_column(BigInteger, sort_order=-4)
    updated_ms: Mapped[int] = mapped_column(BigInteger, sort_order=-3)
    revision: Mapped[int] = mapped_column(Integer, default=1, sort_order=-2)


class Network(Object):
    """A name for nodes, queues and schedulers that belong together, and are deleted together."""

    __tablename__ = "networks"

    description: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, str] | None] = _labels()


class Scheduler(Object):
    """How deployments of its nodes are filled."""

    __tablename__ = "schedulers"

    network: Mapped[str | None] = _refers(nullable=True)
    strategy: Mapped[str] = mapped_column(String(16))


class Node(Object):
    """What is wanted of the node of that name."""

    __tablename__ = "nodes"

    network: Mapped[str | None] = _refers(nullable=True)
    scheduler: Mapped[str | None] = _refers(nullable=True)
    host: Mapped[str | None] = mapped_column(String(253))
    cpus: Mapped[int | None] = mapped_column(Integer)
    labels: Mapped[dict[str, str] | None] = _labels()


class Queue(Object):
    """A durable, limited waiting line."""

    __tablename__ = "queues"

    network: Mapped[str | None] = _refers(nullable=True)
    type: Mapped[str] = mapped_column(String(16))
    max_length: Mapped[int | None] = mapped_column(Integer)  # Calls.
    max_length_bytes: Mapped[int | None] = mapped_column(BigInteger)
    message_ttl_ms: Mapped[int | None] = mapped_column(BigInteger)
    expires_ms: Mapped[int | None] = mapped_column(BigInteger)
    overflow: Mapped[str] = mapped_column(String(16))
    dead_letter: Mapped[str | None] = _refers(nullable=True)
    labels: Mapped[dict[str, str] | None] = _labels()


class Processor(Object):
    """Code: a git repository, what to take of it, and how to run it."""

    __tablename__ = "processors"

    git: Mapped[str] = mapped_column(Text)
    module: Mapped[str] = mapped_column(_Name)
    branch: Mapped[str | None] = mapped_column(_Name)
    commit: Mapped[str | None] = mapped_column(String(64))
    tag: Mapped[str | None] = mapped_column(_Name)
    requirements: Mapped[str | None] = mapped_column(Text)
    module_path: Mapped[str | None] = mapped_column(Text)
    workers: Mapped[int] = mapped_column(Integer)
    retries: Mapped[int | None] = mapped_column(Integer)
    retry_delay_ms: Mapped[int | None] = mapped_column(BigInteger)
    time_limit_ms: Mapped[int | None] = mapped_column(BigInteger)
    rate_limit: Mapped[str | None] = mapped_column(String(32))
    recycle_calls: Mapped[int | None] = mapped_column(BigInteger)
    recycle_age_ms: Mapped[int | None] = mapped_column(BigInteger)
    recycle_bytes: Mapped[int | None] = mapped_column(BigInteger)
    restarted: Mapped[int] = mapped_column(Integer, default=0)  # How often a restart was asked for.
    env: Mapped[dict[str, str]] = mapped_column(JSON)
    password_hash: Mapped[str | None] = mapped_column(Text)
    labels: Mapped[dict[str, str] | None] = _labels()


class Socket(Object):
    """A callable endpoint: a task of a processor, with a queue in front."""

    __tablename__ = "sockets"

    processor: Mapped[str] = _refers()
    task: Mapped[str] = mapped_column(_Name)
    queue: Mapped[str] = _refers()
    priority: Mapped[int | None] = mapped_column(Integer)
    topic: Mapped[str | None] = mapped_column(_Name)
    wait_for_all: Mapped[bool | None] = mapped_column(Boolean)
    rate_limit: Mapped[str | None] = mapped_column(String(32))
    concurrency: Mapped[int | None] = mapped_column(Integer)
    key_concurrency: Mapped[int | None] = mapped_column(Integer)
    retries: Mapped[int | None] = mapped_column(Integer)
    retry_delay_ms: Mapped[int | None] = mapped_column(BigInteger)
    time_limit_ms: Mapped[int | None] = mapped_column(BigInteger)
    labels: Mapped[dict[str, str] | None] = _labels()


class Override(Object):
    """Code in the place of a task's, until it is deleted."""

    __tablename__ = "overrides"

    processor: Mapped[str] = _refers()
    task: Mapped[str] = mapped_column(_Name)
    code: Mapped[str] = mapped_column(Text)
    by: Mapped[str | None] = mapped_column(_Name)
    made_ms: Mapped[int | None] = mapped_column(BigInteger)


class Deployment(Object):
    """CPUs of a processor on a host, anywhere, or where a scheduler puts them."""

    __tablename__ = "deployments"

    processor: Mapped[str] = _refers()
    scheduler: Mapped[str | None] = _refers(nullable=True)
    host: Mapped[str] = mapped_column(String(253))
    cpus: Mapped[int] = mapped_column(Integer)


class Plug(Object):
    """An edge: the outcome of a socket becomes an argument of another one."""

    __tablename__ = "plugs"

    source: Mapped[str] = _refers()
    target: Mapped[str] = _refers()
    queue: Mapped[str | None] = _refers(nullable=True)
    type: Mapped[str] = mapped_column(String(16))
    argument: Mapped[str | None] = mapped_column(_Name)


class Repo(Object):
    """A rule about a repository of code, or a folder of them."""

    __tablename__ = "repos"

    url: Mapped[str] = mapped_column(Text)
    access: Mapped[str | None] = mapped_column(String(16))
    signers: Mapped[str | None] = mapped_column(Text)
    credential: Mapped[str | None] = mapped_column(Text)


class Gate(Object):
    """A condition on an edge."""

    __tablename__ = "gates"

    plug: Mapped[str] = _refers()
    mode: Mapped[str] = mapped_column(String(16))
    socket: Mapped[str | None] = _refers(nullable=True)
    when_closed: Mapped[str | None] = mapped_column(String(16))


class Setting(Object):
    """A value that holds on all nodes; the name says of what."""

    __tablename__ = "settings"

    value: Mapped[int] = mapped_column(BigInteger)


class Secret(Object):
    """Where something secret is on each host; never the secret itself."""

    __tablename__ = "secrets"

    source: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)


class File(Object):
    """A small file of the mesh, that tasks and people read by its name."""

    __tablename__ = "files"

    content: Mapped[str] = mapped_column(Text)
    encoding: Mapped[str] = mapped_column(String(16))
    folder: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)


class Flow(Object):
    """A saved composition of calls."""

    __tablename__ = "flows"

    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    description: Mapped[str | None] = mapped_column(Text)


class Version(Object):
    """What a file or flow was after one of its changes."""

    __tablename__ = "versions"

    of: Mapped[str] = _refers()
    number: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[str] = mapped_column(Text)
    encoding: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(_Name)
    made_ms: Mapped[int] = mapped_column(BigInteger)


class Schedule(Object):
    """When a socket is called by itself, and with what."""

    __tablename__ = "schedules"

    socket: Mapped[str] = _refers()
    cron: Mapped[str | None] = mapped_column(Text)
    interval_ms: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[str | None] = mapped_column(String(64))
    timezone: Mapped[str] = mapped_column(String(64))
    jitter_ms: Mapped[int | None] = mapped_column(BigInteger)
    catch_up: Mapped[str | None] = mapped_column(String(16))
    start: Mapped[str | None] = mapped_column(String(64))
    end: Mapped[str | None] = mapped_column(String(64))
    args: Mapped[list[Any]] = mapped_column(JSON)
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSON)


class Role(Object):
    """A name for privileges that several users have."""

    __tablename__ = "roles"

    description: Mapped[str | None] = mapped_column(Text)


class User(Object):
    """Somebody who may do what their privileges say, and nothing else."""

    __tablename__ = "users"

    email: Mapped[str | None] = mapped_column(Text)
    password_hash: Mapped[str | None] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(JSON)
    enabled: Mapped[bool] = mapped_column(Boolean)
    keys: Mapped[list[str]] = mapped_column(JSON)
    ended: Mapped[dict[str, int] | None] = mapped_column(JSON)
    signed_out_ms: Mapped[int | None] = mapped_column(BigInteger)


class Privilege(Object):
    """A right that a user or a role has, or one that was revoked, on everything or on a part."""

    __tablename__ = "privileges"

    right: Mapped[str] = mapped_column(String(64))
    user: Mapped[str | None] = _refers(nullable=True)
    role: Mapped[str | None] = _refers(nullable=True)
    on: Mapped[str | None] = mapped_column(Text)
    revoked: Mapped[bool] = mapped_column(Boolean)


TABLES: dict[str, type[Object]] = {
    "setting": Setting,
    "secret": Secret,
    "network": Network,
    "scheduler": Scheduler,
    "node": Node,
    "queue": Queue,
    "processor": Processor,
    "socket": Socket,
    "override": Override,
    "deployment": Deployment,
    "plug": Plug,
    "repo": Repo,
    "gate": Gate,
    "file": File,
    "flow": Flow,
    "version": Version,
    "schedule": Schedule,
    "role": Role,
    "user": User,
    "privilege": Privilege,
}
