"""Version 2: names of other objects are no foreign keys; workers are recycled.

In a mesh two nodes may delete a queue and add a socket to it at once, and both are right.
"""

from __future__ import annotations

from meshcode.model.migrations.steps import add_recycling, drop_foreign_keys

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let references dangle."""
    for table in ("queues", "sockets", "deployments"):
        drop_foreign_keys(table)
    add_recycling()
