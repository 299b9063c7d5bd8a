"""Version 3: networks and what belongs to them, plugs, gates.

Safe to do again, and done again on databases that came to version 3 before there were migrations:
those that had been of an older version lack indexes, and in SQLite still have foreign keys.
"""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Text

from meshcode.model.migrations.steps import (
    add_columns,
    add_recycling,
    drop_foreign_keys,
    make_indexes,
    make_table,
)

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the new tables, and what the others lack."""
    make_table("networks", [Column("description", Text)])
    make_table(
        "schedulers",
        [_name("network"), Column("strategy", String(16), nullable=False)],
        ["network"],
    )
    make_table(
        "nodes",
        [
            _name("network"),
            _name("scheduler"),
            Column("host", String(253)),
            Column("cpus", Integer),
        ],
        ["network", "scheduler"],
    )
    make_table(
        "plugs",
        [
            Column("source", String(200), nullable=False),
            Column("target", String(200), nullable=False),
            _name("queue"),
            Column("type", String(16), nullable=False),
            _name("argument"),
        ],
        ["source", "target", "queue"],
    )
    make_table(
        "gates",
        [
            Column("plug", String(200), nullable=False),
            Column("mode", String(16), nullable=False),
            _name("socket"),
        ],
        ["plug", "socket"],
    )
    for table in ("queues", "sockets", "deployments"):
        drop_foreign_keys(table)
    add_recycling()
    add_columns("queues", [_name("network")])
    make_indexes("queues", ["network", "dead_letter"])


def _name(column: str) -> Column:
    return Column(column, String(200))
