"""Version 1: queues, processors, sockets and deployments, which name each other."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, ForeignKey, Integer, String, Text

from meshcode.model.migrations.steps import make_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "model_state",
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("number", BigInteger, nullable=False),
        Column("schema_version", Integer, nullable=False),
        CheckConstraint("id = 1", name="one_row"),
    )
    _make_processors()
    _make_queues()
    _make_sockets()
    make_table(
        "deployments",
        [
            Column("processor", String(200), _named("processors"), nullable=False),
            Column("host", String(253), nullable=False),
            Column("cpus", Integer, nullable=False),
        ],
        ["processor"],
    )


def _make_processors() -> None:
    make_table(
        "processors",
        [
            Column("git", Text, nullable=False),
            Column("module", String(200), nullable=False),
            Column("branch", String(200)),
            Column("commit", String(64)),
            Column("tag", String(200)),
            Column("requirements", Text),
            Column("module_path", Text),
            Column("workers", Integer, nullable=False),
            Column("retries", Integer),
            Column("retry_delay_ms", BigInteger),
            Column("time_limit_ms", BigInteger),
            Column("rate_limit", String(32)),
            Column("restarted", Integer, nullable=False),
            Column("env", JSON, nullable=False),
        ],
    )


def _make_queues() -> None:
    make_table(
        "queues",
        [
            Column("type", String(16), nullable=False),
            Column("max_length", Integer),
            Column("max_length_bytes", BigInteger),
            Column("message_ttl_ms", BigInteger),
            Column("expires_ms", BigInteger),
            Column("overflow", String(16), nullable=False),
            Column("dead_letter", String(200)),
        ],
        ["dead_letter"],
    )


def _make_sockets() -> None:
    make_table(
        "sockets",
        [
            Column("processor", String(200), _named("processors"), nullable=False),
            Column("task", String(200), nullable=False),
            Column("queue", String(200), _named("queues"), nullable=False),
            Column("priority", Integer),
            Column("rate_limit", String(32)),
            Column("concurrency", Integer),
            Column("key_concurrency", Integer),
            Column("retries", Integer),
            Column("retry_delay_ms", BigInteger),
            Column("time_limit_ms", BigInteger),
        ],
        ["processor", "queue"],
    )


def _named(table: str) -> ForeignKey:
    # The queue's own, for dead letters, was the only one with a name; version 2 drops them all.
    return ForeignKey(f"{table}.name", ondelete="RESTRICT")
