"""Run by alembic for each command: on the connection that `upgrade` gave it."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import select

from meshcode.model import journal, rowlevel
from meshcode.model.tables import SCHEMA_VERSION, Base, State


def _keep_version(*, ctx: Any, step: Any, **_more: Any) -> None:
    """Let the model's own mark go with alembic's, also when somebody runs alembic by hand."""
    if not step.is_stamp:
        version = int(step.up_revision_id)
        ctx.connection.execute(State.__table__.update().values(schema_version=version))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    on_version_apply=_keep_version,
    # SQLite can undo changes of tables; the transaction is that of whoever opened the database.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
link = context.config.attributes["connection"]
if link.execute(select(State.schema_version)).scalar_one_or_none() == SCHEMA_VERSION:
    rowlevel.protect(link)  # Also the tables of migrations that do not know of it.
    journal.keep(link)
