"""What several steps do: each looks first, and changes only what is not so yet."""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, inspect

_FOREIGN_KEY = "fk_%(table_name)s_%(column_0_name)s"  # SQLite's have no name of their own.


def object_columns() -> list[Column]:
    """What every declared object has had since version 1."""
    return [
        Column("id", String(36), primary_key=True),
        Column("name", String(200), nullable=False, unique=True),
        Column("owner", String(200), nullable=False),
        Column("status", String(200), nullable=False),
        Column("requested_status", String(32), nullable=False),
        Column("created_ms", BigInteger, nullable=False),
        Column("updated_ms", BigInteger, nullable=False),
        Column("revision", Integer, nullable=False),
    ]


def make_table(name: str, columns: Sequence[Column], indexed: Sequence[str] = ()) -> None:
    """A table of objects, if it is not there, with an index on each column that names others."""
    if not inspect(op.get_bind()).has_table(name):
        op.create_table(name, *object_columns(), *columns)
    make_indexes(name, indexed)


def make_indexes(table: str, columns: Sequence[str]) -> None:
    """An index on each of the columns that has none."""
    known = {index["name"] for index in inspect(op.get_bind()).get_indexes(table)}
    for column in columns:
        name = f"ix_{table}_{column}"
        if name not in known:
            op.create_index(name, table, [column])


def add_columns(table: str, columns: Sequence[Column]) -> None:
    """Columns that are not there yet; all of them may be empty."""
    known = {column["name"] for column in inspect(op.get_bind()).get_columns(table)}
    for column in columns:
        if column.name not in known:
            op.add_column(table, column)


def drop_foreign_keys(table: str) -> None:
    """All foreign keys of a table; SQLite makes it anew for that, with its rows."""
    keys = inspect(op.get_bind()).get_foreign_keys(table)
    if not keys:
        return
    with op.batch_alter_table(table, naming_convention={"fk": _FOREIGN_KEY}) as batch:
        for key in keys:
            name = key["name"] or f"fk_{table}_{key['constrained_columns'][0]}"
            batch.drop_constraint(name, type_="foreignkey")


def add_recycling() -> None:
    """Limits of a worker's life: they came while version 1 was in use, without a new number."""
    names = ("recycle_calls", "recycle_age_ms", "recycle_bytes")
    add_columns("processors", [Column(name, BigInteger) for name in names])
