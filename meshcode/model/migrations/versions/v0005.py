"""Version 5: users, roles and privileges; processors may have a password."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, String, Text

from meshcode.model.migrations.steps import add_columns, make_table

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables, and the column of processors."""
    make_table("roles", [Column("description", Text)])
    make_table(
        "users",
        [
            Column("email", Text),
            Column("password_hash", Text),
            Column("roles", JSON, nullable=False),
            Column("enabled", Boolean, nullable=False),
            Column("keys", JSON, nullable=False),
            Column("signed_out_ms", BigInteger),
        ],
    )
    make_table(
        "privileges",
        [
            Column("right", String(64), nullable=False),
            Column("user", String(200)),
            Column("role", String(200)),
            Column("on", Text),
            Column("revoked", Boolean, nullable=False),
        ],
        ["user", "role"],
    )
    add_columns("processors", [Column("password_hash", Text)])
