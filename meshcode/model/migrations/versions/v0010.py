"""Version 10: deployments that a scheduler spreads."""

from __future__ import annotations

from sqlalchemy import Column, String

from meshcode.model.migrations.steps import add_columns, make_indexes

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column; deployments that are there name hosts."""
    add_columns("deployments", [Column("scheduler", String(200))])
    make_indexes("deployments", ["scheduler"])
