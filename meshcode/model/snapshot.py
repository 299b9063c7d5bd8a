"""Snapshots: the whole declared model as numbered plain data, for nodes to act on and to keep.

    {"number": int,
     "queues": {name: {option: value}}, "processors": {...}, "sockets": {...}, "deployments": {...}}

The number only goes up.  Two snapshots of one number are equal.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshcode.errors import BadRequest, ModelUnavailable
from meshcode.model.fields import check_published
from meshcode.model.kinds import HIDDEN, KINDS, PLURALS, PUBLISHED
from meshcode.model.tables import TABLES, State

EMPTY: dict[str, Any] = {"number": 0, **{PLURALS[kind]: {} for kind in KINDS}}


def read(session: Session) -> dict[str, Any]:
    """The snapshot as it is in this transaction."""
    snapshot: dict[str, Any] = {"number": read_number(session)}
    for kind in KINDS:
        table, options = TABLES[kind], PUBLISHED[kind]
        columns = [getattr(table, option) for option in options]
        rows = session.execute(select(table.name, *columns).order_by(table.name))
        snapshot[PLURALS[kind]] = {row[0]: dict(zip(options, row[1:], strict=True)) for row in rows}
    return snapshot


def shown(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot for people and files: without what is hidden, which a plan leaves as it is."""
    return {
        "number": snapshot["number"],
        **{
            PLURALS[kind]: {
                name: {field: value for field, value in options.items() if field not in hidden}
                for name, options in snapshot[PLURALS[kind]].items()
            }
            for kind, hidden in HIDDEN.items()
        },
    }


def read_number(session: Session) -> int:
    """The number of the newest snapshot."""
    return session.execute(select(State.number)).scalar_one()


def content(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without its number, and with every kind present."""
    return {PLURALS[kind]: snapshot.get(PLURALS[kind]) or {} for kind in KINDS}


def is_empty(snapshot: dict[str, Any]) -> bool:
    """No object of any kind is declared."""
    return not any(content(snapshot).values())


def check(snapshot: dict[str, Any]) -> None:
    """Look at every option of every object, since somebody else may have written the rows.

    Raises:
        ModelUnavailable: an object that no command of ours would have let in.  The node goes on
            with the snapshot it has.
    """
    for kind in KINDS:
        for name, options in snapshot[PLURALS[kind]].items():
            try:
                check_published(kind, name, options)
            except BadRequest as exc:
                found = exc.text.removesuffix("; nothing was changed")
                raise ModelUnavailable(
                    f"the database has an object that cannot be used: {found}; the node goes on"
                    f" with the snapshot it has; repair the row in table {PLURALS[kind]}",
                    **exc.fields,
                ) from None
