"""Version 9: topics, sockets that wait for all their plugs, gates that reject."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, String, column, table

from meshcode.model.migrations.steps import add_columns

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; what is there goes on as it did."""
    add_columns("sockets", [Column("topic", String(200)), Column("wait_for_all", Boolean)])
    add_columns("gates", [Column("when_closed", String(16))])
    sockets = table("sockets", column("wait_for_all", Boolean))
    op.execute(sockets.update().values(wait_for_all=False))
    op.execute("UPDATE gates SET when_closed = 'hold'")
