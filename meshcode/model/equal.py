"""Making the rows of the database equal to a snapshot: what is equal stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshcode.model.delta import Key
from meshcode.model.fields import check_published
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.tables import TABLES


def make_equal(
    session: Session,
    wanted: Mapping[str, Any],
    *,
    owner: str,
    now_ms: int,
    keys: Iterable[Key] | None = None,
) -> None:
    """Insert, change and delete rows until the model is that of `wanted`, in the transaction.

    A row that changes counts a revision, so that an edit made of the old one is refused.  Objects
    may name others that are not there: docs/model.md, "Many nodes".  The number is the caller's.

    Args:
        session: in a write transaction that holds the model's lock.
        wanted: a snapshot with every kind in it.
        owner: of rows that are inserted.
        now_ms: Unix milliseconds; when rows that are inserted or changed were.
        keys: kind and name of the rows that are not equal yet; None: it may be any.

    Raises:
        BadRequest: an object that no command of ours would have let in.
    """
    named: dict[str, list[str]] = {}
    for kind, name in keys or ():
        named.setdefault(kind, []).append(name)
    for kind in KINDS if keys is None else [kind for kind in KINDS if kind in named]:
        objects, table = wanted[PLURALS[kind]], TABLES[kind]
        query = select(table)
        if keys is not None:
            names = named[kind]
            query = query.where(table.name.in_(names))
            objects = {name: objects[name] for name in names if name in objects}
        rows = {row.name: row for row in session.execute(query).scalars()}
        for name, row in rows.items():
            if name not in objects:
                session.delete(row)
        for name, options in objects.items():
            values = check_published(kind, name, options)
            found = rows.get(name)
            if found is None:
                found = table(name=name, owner=owner, created_ms=now_ms, updated_ms=now_ms)
                session.add(found)
                changed = list(values)
            else:
                changed = [field for field in values if getattr(found, field) != values[field]]
                if changed:
                    found.revision += 1
                    found.updated_ms = now_ms
            for field in changed:
                setattr(found, field, values[field])
        session.flush()
