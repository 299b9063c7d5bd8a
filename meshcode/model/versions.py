"""Versions of files and flows: each change of the content makes one, numbered from 1, unchangeable.

The newest stay readable, so many and of so many bytes, and any of them can be restored.  A version
is an object like others, so every node has it; it lies in a *slot*, `flow:night@3`, which a later
one takes over: the names of deleted objects are kept for good, and slots use none up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import LargeBinary, cast, func, select
from sqlalchemy.orm import Session

from meshcode import flowdoc
from meshcode.errors import TooLarge, UnknownObject
from meshcode.model.checks import shown
from meshcode.model.keptcheck import KEPT_BYTES_MAX, VERSIONED
from meshcode.model.tables import File, Version

KEPT = 16  # Versions of one object.
BYTES_MAX = 256 * 1024  # Of all versions of one object; the newest stays, however large.


def record(
    session: Session, kind: str, name: str, options: Mapping[str, Any], *, by: str, now_ms: int
) -> int:
    """Make a version of what the object is now; its number, or that of the last when it is equal.

    Args:
        session: in a write transaction that holds the model's lock.
        options: all of the object.
        by: who changed it.
        now_ms: Unix milliseconds.

    Raises:
        TooLarge: the model has too many bytes of files and versions; both numbers are told.
    """
    known = all_of(session, kind, name)
    content, encoding = _content(kind, options)
    last = known[-1] if known else None
    if last is not None and (last.content, last.encoding) == (content, encoding):
        return last.number
    number = last.number + 1 if last is not None else 1
    slot = f"{kind}:{name}@{(number - 1) % KEPT + 1}"
    row = next((one for one in known if one.name == slot), None)
    if row is None:
        row = Version(name=slot, owner=by, created_ms=now_ms)
        session.add(row)
    else:
        row.revision += 1
        known.remove(row)
    row.of, row.number, row.content, row.encoding = f"{kind}:{name}", number, content, encoding
    row.by, row.made_ms, row.updated_ms, row.owner = by, now_ms, now_ms, by
    size = len(content.encode())
    for older in reversed(known):
        size += len(older.content.encode())
        if size > BYTES_MAX:
            session.delete(older)
    session.flush()
    _check_size(session, kind, name)
    return number


def forget(session: Session, kind: str, name: str) -> None:
    """Delete the versions of an object that is deleted."""
    for row in all_of(session, kind, name):
        session.delete(row)
    session.flush()


def all_of(session: Session, kind: str, name: str) -> list[Version]:
    """The versions of an object that are kept, oldest first."""
    query = select(Version).filter_by(of=f"{kind}:{name}").order_by(Version.number)
    return list(session.execute(query).scalars())


def restored(session: Session, kind: str, name: str, number: Any) -> dict[str, Any]:
    """The options that make an object what it was in a version.

    Raises:
        UnknownObject: no such version is kept; the text has those that are.
    """
    known = all_of(session, kind, name)
    found = next((row for row in known if row.number == number), None)
    if found is None or isinstance(number, bool):
        raise _not_kept(kind, name, number, known, "it is unchanged; ")
    return options_of(found)


def _not_kept(
    kind: str, name: str, number: Any, known: list[Version], state: str = ""
) -> UnknownObject:
    """The error for a version that is not there, with those that are."""
    numbers = f"{known[0].number} to {known[-1].number}" if known else "none"
    text = (
        f"{kind} {name!r} has no version {shown(number)}; kept are {numbers};"
        f" {state}`mesh ls versions {name}` shows them"
    )
    return UnknownObject(text, kind="version", name=f"{name}@{number}")


def options_of(row: Version) -> dict[str, Any]:
    """The options that a version is of."""
    if row.of.startswith("flow:"):
        return {"document": json.loads(row.content)}
    return {"content": row.content, "encoding": row.encoding}


def title(row: Any) -> str:
    """What a person calls a version; its own name is that of a slot, which others have later."""
    return f"{row.of}@{row.number}"


def find(session: Session, name: str) -> Version | None:
    """The version that a person means by `night@3` or `flow:night@3`; None for what has none.

    Raises:
        UnknownObject: there are versions of it, but not this one; the text has those that are kept.
    """
    of, at, number = name.rpartition("@")
    if not at or not number.isascii() or not number.isdigit() or len(number) > 15:
        return None
    missing = None
    for kind in reversed(VERSIONED):
        known = all_of(session, kind, of.removeprefix(f"{kind}:"))
        found = next((row for row in known if row.number == int(number)), None)
        if found is not None:
            return found
        if known:
            missing = missing or _not_kept(kind, of.removeprefix(f"{kind}:"), int(number), known)
    if missing is not None:
        raise missing
    return None


def _content(kind: str, options: Mapping[str, Any]) -> tuple[str, str]:
    if kind == "flow":
        return flowdoc.to_text(options["document"]), "text"
    return options["content"], options["encoding"]


def _check_size(session: Session, kind: str, name: str) -> None:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    size = 0
    for table in (File, Version):
        content = table.content
        bytes_ = func.length(cast(content, LargeBinary)) if is_sqlite else (
            func.octet_length(content)
        )
        size += session.execute(select(func.sum(bytes_))).scalar_one() or 0
    if size > KEPT_BYTES_MAX:
        raise TooLarge(
            f"{kind} {name!r} would make {size} bytes of files and versions in the model, the most"
            f" is {KEPT_BYTES_MAX}; nothing was changed; delete files that are not needed, or keep"
            " large data elsewhere",
            kind=kind, name=name,
        )  # fmt: skip
