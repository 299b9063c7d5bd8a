"""Applying many steps in one transaction: checked on plain data, then written kind by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from meshcode.errors import WrongState
from meshcode.model import acting, ended, policy, snapshot, versions
from meshcode.model.checks import shown
from meshcode.model.fields import bad
from meshcode.model.keptcheck import VERSIONED
from meshcode.model.kinds import KINDS, PLURALS
from meshcode.model.rights import Rights
from meshcode.model.steps import Model, follow, model_of, read_steps
from meshcode.model.tables import TABLES

_Rows = dict[str, dict[str, Any]]  # Name, option.


def apply_steps(
    session: Session, fields: Mapping[str, Any], *, owner: str, now_ms: int,
    judge: tuple[Rights, str] | None = None,
) -> dict[str, int]:  # fmt: skip
    """Make all steps, or none; how many objects were added, changed and deleted by them.

    Args:
        session: in a write transaction that holds the model's lock.
        fields: {"base": number of the snapshot that the steps were planned from, "steps": rows as
            `Step.row` gives them}.
        owner: of what is added.
        now_ms: Unix milliseconds; when rows that are added or changed were.
        judge: by whose rights each row is looked at, and who that is; None: it is the owner.

    Raises:
        WrongState: the model is not at `base` any more; the fields have both numbers.
        BadRequest, UnknownObject, ObjectExists, WrongState: as `follow`; nothing was changed.
        TooLarge: files and versions have too many bytes; nothing was changed.
        NotAllowed: the user may not write one of the rows; nothing was changed.
    """
    unknown = [name for name in fields if name not in ("base", "steps")]
    if unknown:
        raise bad(f"this request takes no option {shown(unknown[0])}; it has: base, steps")
    base = fields.get("base")
    if isinstance(base, bool) or not isinstance(base, int):
        raise bad(f"the base is {shown(base)}; it must be the number of a snapshot")
    steps = read_steps(fields.get("steps"))
    number = snapshot.read_number(session)
    if number != base:
        raise WrongState(
            f"the model is at number {number} and the plan was made from {base}; nothing was"
            " changed; make the plan again",
            number=number, base=base,
        )  # fmt: skip
    before = model_of(snapshot.read(session))
    after = follow(before, steps)
    users = after[ended.KIND]
    for name, options in before[ended.KIND].items():
        if name in users and users[name] is not options:
            users[name] = users[name] | ended.kept(options, users[name], now_ms)
    if judge is not None:
        _sign(before, after, owner, now_ms)
        _look(session, before, after, judge)
    done = _write(session.connection(), before, after, owner, now_ms)
    for kind in VERSIONED:
        for name in sorted(before[kind].keys() - after[kind].keys()):
            versions.forget(session, kind, name)
        for name, options in sorted(after[kind].items()):
            if options != before[kind].get(name):
                versions.record(session, kind, name, options, by=owner, now_ms=now_ms)
    return done


def _sign(before: Model, after: Model, owner: str, now_ms: int) -> None:
    """An override that a user makes is in no other's name."""
    overrides = after["override"]
    for name, options in overrides.items():
        if options != before["override"].get(name):
            overrides[name] = options | {"by": owner, "made_ms": now_ms}


def _look(
    session: Session, before: Model, after: Model, judge: tuple[Rights, str]
) -> None:
    """Look at each row that changes, where it is now and where it is to be, as the node has.

    Raises:
        NotAllowed: one of them may not be written so.
    """
    rights, user = judge
    then = rights.of({PLURALS[kind]: rows for kind, rows in after.items()})
    for kind in KINDS:
        had, has = before[kind], after[kind]
        changed = [n for n in had.keys() | has.keys() if had.get(n) != has.get(n)]
        if not changed:
            continue
        table = TABLES[kind]
        found = session.execute(select(table.name, table.owner))
        owners = {row.name: row.owner for row in found}
        for name in sorted(changed):
            was = {**had.get(name, {}), "name": name, "owner": owners.get(name, user)}
            now = {**has.get(name, {}), "name": name, "owner": owners.get(name, user)}
            doing = "INSERT" if name not in had else "UPDATE" if name in has else "DELETE"
            rows = {"INSERT": ((then, now),), "UPDATE": ((rights, was), (then, now)),
                    "DELETE": ((rights, was),)}[doing]  # fmt: skip
            if not all(policy.may(by, user, doing, kind, row) for by, row in rows):
                raise acting.refused(user, doing, kind, name, was["owner"])


def _write(
    link: Connection, before: Model, after: Model, owner: str, now_ms: int
) -> dict[str, int]:
    counts = {"added": 0, "changed": 0, "deleted": 0}
    for kind in KINDS:
        had, has = before[kind], after[kind]
        added = {name: has[name] for name in has.keys() - had.keys()}
        changed = {
            name: {o: value for o, value in has[name].items() if had[name][o] != value}
            for name in has.keys() & had.keys()
            if has[name] is not had[name] and has[name] != had[name]
        }
        deleted = had.keys() - has.keys()
        _delete(link, kind, sorted(deleted))
        _update(link, kind, changed, now_ms)
        _insert(link, kind, added, owner, now_ms)
        counts["added"] += len(added)
        counts["changed"] += len(changed)
        counts["deleted"] += len(deleted)
    return counts


def _insert(link: Connection, kind: str, rows: _Rows, owner: str, now_ms: int) -> None:
    if rows:
        common = {"owner": owner, "created_ms": now_ms, "updated_ms": now_ms}
        table = _table(kind)
        values = [{"name": name, **common, **options} for name, options in sorted(rows.items())]
        link.execute(insert(table), values)


def _update(link: Connection, kind: str, rows: _Rows, now_ms: int) -> None:
    # One statement for all rows in which the same options change.
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for name, options in sorted(rows.items()):
        values = {f"new_{option}": value for option, value in options.items()}
        groups.setdefault(tuple(options), []).append({"which": name, **values})
    table = _table(kind)
    for changed, changes in groups.items():
        statement = (
            update(table)
            .where(table.c.name == bindparam("which"))
            .values(
                {option: bindparam(f"new_{option}") for option in changed}
                | {"revision": table.c.revision + 1, "updated_ms": now_ms}
            )
        )
        link.execute(statement, changes)


def _delete(link: Connection, kind: str, names: list[str]) -> None:
    if names:
        table = _table(kind)
        link.execute(
            delete(table).where(table.c.name == bindparam("which")),
            [{"which": name} for name in names],
        )


def _table(kind: str) -> Table:
    return cast(Table, TABLES[kind].__table__)
