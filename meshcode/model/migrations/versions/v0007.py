"""Version 7: settings, secrets, files, flows, their versions, overrides; ended logins."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, String, Text

from meshcode.model.migrations.steps import add_columns, make_table

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables, if they are not there."""
    make_table("settings", [Column("value", BigInteger, nullable=False)])
    make_table("secrets", [Column("source", Text, nullable=False), Column("description", Text)])
    make_table(
        "files",
        [
            Column("content", Text, nullable=False),
            Column("encoding", String(16), nullable=False),
            Column("folder", Text),
            Column("description", Text),
        ],
    )
    make_table("flows", [Column("document", JSON, nullable=False), Column("description", Text)])
    make_table(
        "overrides",
        [
            Column("processor", String(200), nullable=False),
            Column("task", String(200), nullable=False),
            Column("code", Text, nullable=False),
            Column("by", String(200)),
            Column("made_ms", BigInteger),
        ],
        ["processor"],
    )
    make_table(
        "versions",
        [
            Column("of", String(200), nullable=False),
            Column("number", BigInteger, nullable=False),
            Column("content", Text, nullable=False),
            Column("encoding", String(16), nullable=False),
            Column("by", String(200), nullable=False),
            Column("made_ms", BigInteger, nullable=False),
        ],
        ["of"],
    )
    add_columns("users", [Column("ended", JSON)])
    op.execute("UPDATE users SET ended = '{}'")
