"""Version 8: schedules."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, String, Text

from meshcode.model.migrations.steps import make_table

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table."""
    make_table(
        "schedules",
        [
            Column("socket", String(200), nullable=False),
            Column("cron", Text),
            Column("interval_ms", BigInteger),
            Column("at", String(64)),
            Column("timezone", String(64), nullable=False),
            Column("jitter_ms", BigInteger),
            Column("catch_up", String(16)),
            Column("start", String(64)),
            Column("end", String(64)),
            Column("args", JSON, nullable=False),
            Column("kwargs", JSON, nullable=False),
        ],
        ["socket"],
    )
