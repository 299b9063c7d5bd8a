"""Version 6: labels of objects; row-level security, which env.py sees to on every server."""

from __future__ import annotations

from alembic import op
from sqlalchemy import JSON, Column, column, table, update

from meshcode.model.migrations.steps import add_columns

revision = "0006"
down_revision = "0005"

_TABLES = ("networks", "nodes", "queues", "processors", "sockets")


def upgrade() -> None:
    """Give every object an empty map of labels."""
    for name in _TABLES:
        add_columns(name, [Column("labels", JSON)])
        labels = column("labels", JSON(none_as_null=True))
        rows = table(name, labels)
        op.get_bind().execute(update(rows).where(labels.is_(None)).values(labels={}))
