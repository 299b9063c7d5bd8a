"""Snapshots: the whole declared model as numbered plain data, for nodes to act on and to keep.

    {"number": int,
     "queues": {name: {option: value}}, "processors": {...}, "sockets": {...}, "deployments": {...}}

The number only goes up.  Two snapshots of one number are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshcode.errors import BadRequest, ModelUnavailable
from meshcode.model.fields import check_published
from meshcode.model.kinds import HIDDEN, KINDS, PLURALS, PUBLISHED
from meshcode.model.tables import TABLES, State

if TYPE_CHECKING:
    from meshcode.model.reader import Reader
    from meshcode.model.rights import Rights

READER = "mesh_reader"  # What reads only what was changed; of a session, in its `info`.
Key = tuple[str, str]  # Kind, name.

EMPTY: dict[str, Any] = {"number": 0, **{PLURALS[kind]: {} for kind in KINDS}}


def read(session: Session) -> dict[str, Any]:
    """The snapshot as it is in this transaction, for its owner; to be read only.

    Only what was changed is read where the database of the session has read before (`reader.py`).
    """
    reader: Reader | None = session.info.get(READER)
    return read_whole(session) if reader is None else reader.read(session).snapshot


def read_whole(session: Session) -> dict[str, Any]:
    """The same from all rows of all tables."""
    return {
        "number": read_number(session),
        **{PLURALS[kind]: read_objects(session, kind) for kind in KINDS},
    }


def read_objects(
    session: Session, kind: str, names: Collection[str] | None = None
) -> dict[str, dict[str, Any]]:
    """The objects of a kind, or those of them that have one of these names."""
    table, options = TABLES[kind], PUBLISHED[kind]
    columns = [getattr(table, option) for option in options]
    query = select(table.name, *columns)
    query = query.order_by(table.name) if names is None else query.where(table.name.in_(names))
    return {row[0]: dict(zip(options, row[1:], strict=True)) for row in session.execute(query)}


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


def readable(
    session: Session, judge: tuple[Rights, str], counts: Mapping[str, int]
) -> dict[str, Any]:
    """What a user may read of the model, with `left_out`: how many objects it may not, by plural.

    Args:
        session: that works for the user, so that the database hides rows as well.
        judge: the rights of the model, and the user.
        counts: how many objects of each kind there are.
    """
    rights, user = judge
    found = shown(read_whole(session))
    left_out = {}
    for kind in KINDS:
        plural = PLURALS[kind]
        if not rights.may_read(user, kind, None):
            rows = found[plural]
            found[plural] = {n: rows[n] for n in rows if rights.may_read(user, kind, n)}
        if len(found[plural]) < counts[kind]:
            left_out[plural] = counts[kind] - len(found[plural])
    return {**found, "left_out": left_out}


def read_number(session: Session) -> int:
    """The number of the newest snapshot."""
    return session.execute(select(State.number)).scalar_one()


def content(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without its number, and with every kind present."""
    return {PLURALS[kind]: snapshot.get(PLURALS[kind]) or {} for kind in KINDS}


def is_empty(snapshot: dict[str, Any]) -> bool:
    """No object of any kind is declared."""
    return not any(content(snapshot).values())


def check(snapshot: dict[str, Any], keys: Iterable[Key] | None = None) -> None:
    """Look at every option of every object, since somebody else may have written the rows.

    Args:
        snapshot: as it was read.
        keys: kind and name of the objects to look at; None for all.

    Raises:
        ModelUnavailable: an object that no command of ours would have let in.  The node goes on
            with the snapshot it has.
    """
    if keys is None:
        keys = [(kind, name) for kind in KINDS for name in snapshot[PLURALS[kind]]]
    for kind, name in keys:
        options = snapshot[PLURALS[kind]].get(name)
        if options is None:
            continue  # It was deleted.
        try:
            check_published(kind, name, options)
        except BadRequest as exc:
            found = exc.text.removesuffix("; nothing was changed")
            raise ModelUnavailable(
                f"the database has an object that cannot be used: {found}; the node goes on"
                f" with the snapshot it has; repair the row in table {PLURALS[kind]}",
                **exc.fields,
            ) from None
