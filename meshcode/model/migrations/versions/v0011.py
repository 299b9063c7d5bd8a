"""Version 11: the journal, whose triggers env.py sees to."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, inspect

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make the table."""
    if not inspect(op.get_bind()).has_table("model_journal"):
        op.create_table(
            "model_journal",
            Column("at", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            Column("mark", BigInteger, nullable=False),
            Column("kind", String(32), nullable=False),
            Column("name", String(200), nullable=False),
            sqlite_autoincrement=True,
        )
