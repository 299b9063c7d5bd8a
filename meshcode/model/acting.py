"""For whom a session of the database works: the principal, and what is hidden from it.

On Postgres the server hides rows, by `mesh.principal`, which each transaction is begun with.  On
SQLite it is done here, for every query of the session, by the same rules (`policy.py`).  What is
written is looked at here on both, so that a refusal says what is missing; the server would refuse
it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import event, func, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from meshcode.errors import NotAllowed
from meshcode.model import policy, rowlevel, snapshot
from meshcode.model.policy import OWNER
from meshcode.model.rights import Rights
from meshcode.model.tables import TABLES, Object

_PRINCIPAL, _RIGHTS = "mesh_principal", "mesh_rights"  # Of a session, in its `info`.
_KIND_OF = {table: kind for kind, table in TABLES.items()}

_now: list[tuple[Rights, str]] = []  # What SQLite's function answers for: the session at work.


def begin(session: Session, principal: str) -> None:
    """Say for whom a session works that has just begun its transaction.

    A principal that is not the owner costs a reading of the whole model, by which it is judged: as
    it is when the transaction begins.
    """
    session.info[_PRINCIPAL] = principal
    if principal != OWNER:
        with as_owner(session):
            session.info[_RIGHTS] = Rights(snapshot.read(session))


def judge(session: Session) -> tuple[Rights, str] | None:
    """By whose rights the session works, and who that is; None: for the owner."""
    principal = session.info.get(_PRINCIPAL, OWNER)
    return None if principal == OWNER else (session.info[_RIGHTS], principal)


@contextmanager
def as_owner(session: Session) -> Iterator[None]:
    """See and write all of the model, for what concerns more than the rows that are asked for.

    What was changed before is written before, as the one who changed it.  Afterwards the session
    works for whom it did, also after an error.
    """
    principal = session.info[_PRINCIPAL]
    if principal == OWNER:
        yield
        return
    session.flush()
    _become(session, OWNER)
    try:
        yield
        session.flush()
    except BaseException:
        session.info[_PRINCIPAL] = principal
        with suppress(SQLAlchemyError):  # The transaction may be over, and with it its principal.
            _become(session, principal)
        raise
    _become(session, principal)


def _become(session: Session, principal: str) -> None:
    rowlevel.set_principal(session.connection(), principal)
    session.info[_PRINCIPAL] = principal


def set_up_sqlite(link: Any) -> None:
    """Give a new connection the function that the queries of `_hide` use."""
    link.create_function("mesh_may", 4, _answer)


def _answer(doing: str, kind: str, name: str, owner: str) -> bool:
    rights, principal = _now[-1]
    return policy.may(rights, principal, doing, kind, {"name": name, "owner": owner})


_CRITERIA = {
    doing: [
        with_loader_criteria(table, func.mesh_may(doing, kind, table.name, table.owner))
        for kind, table in TABLES.items()
    ]
    for doing in ("SELECT", "UPDATE", "DELETE")
}


@event.listens_for(Session, "do_orm_execute")
def _hide(state: ORMExecuteState) -> None:
    session = state.session
    principal = session.info.get(_PRINCIPAL, OWNER)
    if principal == OWNER or session.get_bind().dialect.name != "sqlite":
        return
    if state.is_insert or not state.is_orm_statement:
        raise NotAllowed("a statement that names no declared objects; nothing was done for a user")
    _now[:] = [(session.info[_RIGHTS], principal)]
    doing = "UPDATE" if state.is_update else "DELETE" if state.is_delete else "SELECT"
    state.statement = state.statement.options(*_CRITERIA[doing])


@event.listens_for(Session, "before_flush")
def _look_at_writes(session: Session, _context: Any, _instances: Any) -> None:
    if session.info.get(_PRINCIPAL, OWNER) == OWNER:
        return
    for row in session.new:
        _check(session, "INSERT", row)
    for row in session.dirty:
        if session.is_modified(row):
            _check(session, "UPDATE", row)
    for row in session.deleted:
        _check(session, "DELETE", row)


def _check(session: Session, doing: str, row: object) -> None:
    """Where it is now and where it is to be.

    Raises:
        NotAllowed: the principal may not; nothing was changed.
    """
    if not isinstance(row, Object):
        return
    rights, principal = session.info[_RIGHTS], session.info[_PRINCIPAL]
    kind = _KIND_OF[type(row)]
    columns = [column.key for column in inspect(type(row)).column_attrs]
    now = {column: getattr(row, column) for column in columns}
    was = {"name": row.name, "owner": _owner_before(row)}
    rows = {"INSERT": [now], "UPDATE": [was, now], "DELETE": [was]}[doing]
    if not all(policy.may(rights, principal, doing, kind, one) for one in rows):
        raise refused(principal, doing, kind, row.name, row.owner)


def refused(principal: str, doing: str, kind: str, name: str, owner: str) -> NotAllowed:
    """The error of a row that may not be written so."""
    wanted = policy.RIGHTS_FOR[kind, doing][0]
    return NotAllowed(
        f"user {principal} may not {wanted} on {kind} {name!r}, which is {owner}'s;"
        " nothing was changed; ask for the right, or the owner of the object",
        right=wanted, user=principal,
    )  # fmt: skip


def _owner_before(row: Object) -> str:
    before = inspect(row).attrs.owner.history.deleted  # type: ignore[union-attr]
    return str(before[0]) if before else row.owner
