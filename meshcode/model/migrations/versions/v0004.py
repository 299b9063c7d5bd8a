"""Version 4: rules about repositories of code.

They came into version 3 without a new number, so some databases of that version have the table.
"""

from __future__ import annotations

from sqlalchemy import Column, String, Text

from meshcode.model.migrations.steps import make_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, if it is not there."""
    make_table(
        "repos",
        [
            Column("url", Text, nullable=False),
            Column("access", String(16)),
            Column("signers", Text),
            Column("credential", Text),
        ],
    )
