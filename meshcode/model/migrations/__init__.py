"""How the tables of older versions become those of today: alembic's folder.

alembic is imported only when there is something to change: it takes longer than all the rest of the
model process.  A new version of `tables.py` is one more file in `versions/`, with the next number.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

# Databases made before there were migrations did not all get everything of version 3, so its step
# is done again on them: it adds only what is missing.
DONE_AGAIN = 2


def revision_of(version: int) -> str:
    """The name of a version of the tables among alembic's revisions."""
    return f"{version:04}"


def upgrade(connection: Connection, *, found: int, stamped: bool) -> None:
    """Change older tables to those of the newest version, in the connection's transaction.

    Each step changes `model_state.schema_version` and alembic's own mark together.

    Args:
        connection: in a write transaction that holds the model's lock.
        found: `model_state.schema_version`.
        stamped: alembic's mark is there; else it is set to what `found` says.

    Raises:
        SQLAlchemyError: the caller's transaction must be undone.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if not stamped:
        command.stamp(config, revision_of(min(found, DONE_AGAIN)))
    command.upgrade(config, "head")
