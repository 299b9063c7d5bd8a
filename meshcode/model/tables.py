"""The tables of the model: what somebody declared, and nothing that happens by itself.

Objects name each other by name, as people and snapshots do; the database keeps the references
whole.  Types are portable: the same tables serve SQLite and Postgres.  Times are Unix milliseconds.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from meshcode.model.fields import NAME_CHARS_MAX, STATUS_CHARS_MAX

SCHEMA_VERSION = 1  # Goes up with every change of these tables; a newer file is refused.

_Name = String(NAME_CHARS_MAX)


def _refers(target: str, *, nullable: bool = False, index: bool = True) -> Mapped[Any]:
    # RESTRICT is the second lock on this door: changes.py says in words who still needs the object.
    # A loop between two tables cannot be created in one go, so the queue's side is added after.
    key = ForeignKey(
        target,
        ondelete="RESTRICT",
        use_alter=nullable,
        name="fk_queues_dead_letter" if nullable else None,
    )
    return mapped_column(_Name, key, nullable=nullable, index=index)


class Base(DeclarativeBase):
    """Root of the tables."""


class State(Base):
    """One row: the number of the newest snapshot, and the version of these tables."""

    __tablename__ = "model_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger)
    schema_version: Mapped[int] = mapped_column(Integer)


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


class Queue(Object):
    """A durable, limited waiting line."""

    __tablename__ = "queues"

    type: Mapped[str] = mapped_column(String(16))
    max_length: Mapped[int | None] = mapped_column(Integer)  # Calls.
    max_length_bytes: Mapped[int | None] = mapped_column(BigInteger)
    message_ttl_ms: Mapped[int | None] = mapped_column(BigInteger)
    expires_ms: Mapped[int | None] = mapped_column(BigInteger)
    overflow: Mapped[str] = mapped_column(String(16))
    dead_letter: Mapped[str | None] = _refers("sockets.name", nullable=True)


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


class Socket(Object):
    """A callable endpoint: a task of a processor, with a queue in front."""

    __tablename__ = "sockets"

    processor: Mapped[str] = _refers("processors.name")
    task: Mapped[str] = mapped_column(_Name)
    queue: Mapped[str] = _refers("queues.name")
    priority: Mapped[int | None] = mapped_column(Integer)
    rate_limit: Mapped[str | None] = mapped_column(String(32))
    concurrency: Mapped[int | None] = mapped_column(Integer)
    key_concurrency: Mapped[int | None] = mapped_column(Integer)
    retries: Mapped[int | None] = mapped_column(Integer)
    retry_delay_ms: Mapped[int | None] = mapped_column(BigInteger)
    time_limit_ms: Mapped[int | None] = mapped_column(BigInteger)


class Deployment(Object):
    """CPUs of a processor on a host, or anywhere."""

    __tablename__ = "deployments"

    processor: Mapped[str] = _refers("processors.name")
    host: Mapped[str] = mapped_column(String(253))
    cpus: Mapped[int] = mapped_column(Integer)


TABLES: dict[str, type[Object]] = {
    "queue": Queue,
    "processor": Processor,
    "socket": Socket,
    "deployment": Deployment,
}
