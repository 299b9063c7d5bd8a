"""The whole database as plain data, the same from SQLite and Postgres, and back.

    {"format": "meshcode model", "format_version": 1, "schema_version": 6, "number": 41,
     "objects": {"queues": [{column: value}, ...], ...}}

Objects are in the order of their names.  Reading trusts nothing: a person may have edited it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from meshcode.errors import BadData, BadRequest, WrongState
from meshcode.model import snapshot
from meshcode.model.checks import NAME_CHARS_MAX, STATUS_CHARS_MAX, near, shown
from meshcode.model.database import set_number
from meshcode.model.fields import check_published
from meshcode.model.kinds import FIELDS, HIDDEN, KINDS, PLURALS, PUBLISHED
from meshcode.model.tables import SCHEMA_VERSION, TABLES

FORMAT = "meshcode model"
FORMAT_VERSION = 1
NUMBER_MAX = 1 << 62  # What a column holds, with room to count on.
REVISION_MAX = (1 << 31) - 1

_TEXTS = {"id": 36, "owner": NAME_CHARS_MAX, "status": STATUS_CHARS_MAX, "requested_status": 32}
_NUMBERS = {
    "created_ms": (0, NUMBER_MAX), "updated_ms": (0, NUMBER_MAX), "revision": (1, REVISION_MAX),
}  # fmt: skip

Rows = dict[str, list[dict[str, Any]]]  # By kind.


def read(session: Session) -> dict[str, Any]:
    """All of the database as it is in this transaction."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "schema_version": SCHEMA_VERSION,
        "number": snapshot.read_number(session),
        "objects": {PLURALS[kind]: _rows(session, kind) for kind in KINDS},
    }


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same for eyes: it cannot be restored from, for what is hidden is empty in it."""
    return {
        **document,
        "objects": {
            PLURALS[kind]: [
                row | dict.fromkeys(HIDDEN[kind]) for row in document["objects"][PLURALS[kind]]
            ]
            for kind in KINDS
        },
    }


def _rows(session: Session, kind: str) -> list[dict[str, Any]]:
    table = TABLES[kind].__table__
    found = session.execute(select(table))
    # Sorted here: databases have orders of text of their own.
    return sorted((dict(row) for row in found.mappings()), key=lambda row: row["name"])


def to_text(document: Mapping[str, Any]) -> str:
    """The document as JSON for people and programs; equal databases give equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def from_text(data: bytes, where: str) -> Any:
    """What the JSON of a file says, unchecked.

    Raises:
        BadData: it is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise _bad(f"{where} is neither a SQLite file nor JSON: {exc}") from None


def check(document: Any, where: str) -> Rows:
    """Every object of a document as rows for the tables of today.

    Raises:
        BadData: of another program or a newer version, or an object that no command of ours would
            have let in.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _bad(f"{where} is not a backup of a model: its format is not {FORMAT!r}")
    for field, most in (("format_version", FORMAT_VERSION), ("schema_version", SCHEMA_VERSION)):
        found = document.get(field)
        if not _is_number(found, 1, NUMBER_MAX):
            raise _bad(f"{where} has {field} {shown(found)}; it must be a number from 1")
        if found > most:
            raise _bad(
                f"{where} has {field} {found}, this meshcode reads up to {most};"
                " install a newer meshcode"
            )
    if not _is_number(document.get("number"), 0, NUMBER_MAX):
        raise _bad(f"{where} has number {shown(document.get('number'))}; it must be one from 0")
    objects = document.get("objects")
    if not isinstance(objects, dict):
        raise _bad(f"the objects of {where} are {shown(objects)}; they must be a map")
    for plural in objects:
        if plural not in PLURALS.values():
            known = tuple(PLURALS.values())
            raise _bad(f"{where} has objects of kind {shown(plural)}{near(plural, known)}")
    missing = [plural for plural in PLURALS.values() if plural not in objects]
    if missing and document["schema_version"] == SCHEMA_VERSION:
        raise _bad(f"{where} has no {', '.join(missing)}; it must have every kind, if empty")
    return {kind: _check_kind(kind, objects.get(PLURALS[kind], []), where) for kind in KINDS}


def _check_kind(kind: str, objects: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(objects, list):
        raise _bad(f"the {PLURALS[kind]} of {where} are {shown(objects)}; they must be a list")
    rows = [_check_object(kind, item, where) for item in objects]
    for field in ("name", "id"):
        seen: set[str] = set()
        for row in rows:
            if row[field] in seen:
                raise _bad(f"{where} has two {PLURALS[kind]} of the {field} {row[field]!r}")
            seen.add(row[field])
    return rows


def _check_object(kind: str, item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise _bad(f"{where} has {shown(item)} among the {PLURALS[kind]}; it must be a map")
    name = item.get("name")
    columns = [column.name for column in TABLES[kind].__table__.columns]
    for field in item:
        if field not in columns:
            text = f"{kind} {shown(name)} of {where} has a field {shown(field)}"
            raise _bad(f"{text}{near(field, columns)}")
    try:
        options = {field: item[field] for field in PUBLISHED[kind] if field in item}
        row = check_published(kind, name, options)
    except BadRequest as exc:
        raise _bad(f"{where}: {exc.text.removesuffix('; nothing was changed')}") from None
    row["name"] = name
    for field, most in _TEXTS.items():
        if field in row:  # Of a processor, checked above.
            continue
        value = item.get(field)
        if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
            text = f"{kind} {name!r} of {where}: {field} is {shown(value)}"
            raise _bad(f"{text}; it must be printable text of 1 to {most} characters")
        row[field] = value
    for field, (least, most) in _NUMBERS.items():
        value = item.get(field)
        if not _is_number(value, least, most):
            text = f"{kind} {name!r} of {where}: {field} is {shown(value)}"
            raise _bad(f"{text}; it must be a whole number from {least} to {most}")
        row[field] = value
    return row


def count(session: Session) -> int:
    """How many objects are declared, in this transaction."""
    return sum(
        session.execute(select(func.count()).select_from(TABLES[kind])).scalar_one()
        for kind in KINDS
    )


def replace(session: Session, rows: Rows, *, number: int, over: bool) -> int:
    """Make checked rows all that is declared; give the number of the snapshot that they are.

    Args:
        session: in a write transaction that holds the model's lock.
        rows: what `check` gave.
        number: of the snapshot that they were, so that the new one comes after it.
        over: whether objects that are there may go.

    Raises:
        WrongState: objects are there, and they may not; nothing was changed.
    """
    found, given = count(session), sum(map(len, rows.values()))
    if found and not over:
        raise WrongState(
            f"the model's database has {found} objects and the file has {given}; nothing was"
            " changed; say --replace to have those of the file instead"
        )
    for kind in KINDS:
        session.execute(delete(TABLES[kind]))
        if rows[kind]:
            session.execute(insert(TABLES[kind]), rows[kind])
    now = max(number, snapshot.read_number(session)) + 1
    set_number(session, now)
    return now


def dangling(rows: Rows) -> list[str]:
    """Which objects name others that are not in the document, in words."""
    names = {kind: {row["name"] for row in rows[kind]} for kind in KINDS}
    return [
        f"{kind} {row['name']} names {spec.refers} {name}, which is not in the file"
        for kind in KINDS
        for row in rows[kind]
        for field, spec in FIELDS[kind].items()
        if spec.refers
        for name in spec.names(row[field])
        if name not in names[spec.refers]
    ]


def _is_number(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _bad(text: str) -> BadData:
    return BadData(f"{text}; nothing was changed")
