"""Carrying out a request that declares many objects: found or planned, then step by step.

Each step is a change as if it came alone: rows are written as the principal, a processor with a
password is locked, files have their versions.  They are one transaction of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from meshcode.errors import MeshError, UnknownObject
from meshcode.model import passwords, snapshot
from meshcode.model.acting import as_owner
from meshcode.model.checks import near, shown
from meshcode.model.declare import Asked, find, read_objects
from meshcode.model.fields import bad
from meshcode.model.plan import Problem, plan_file
from meshcode.model.steps import Key, Model, Step, model_of
from meshcode.model.tables import TABLES

HASH, PASSWORD = "password_hash", "password"


def declare(
    session: Session,
    fields: Mapping[str, Any],
    do_step: Callable[[Step, str | None], None],
) -> tuple[dict[str, Any], bool]:
    """Find or add all objects, or none.

    Args:
        session: in a write transaction that holds the model's lock.
        fields: {"objects": rows as `declare.read_objects` takes them}.
        do_step: makes one step for an owner, None for that of the request.

    Returns:
        {"added": count, "changed": count, "kept": [{"at", "text"}], "existed": [at]} and whether
        the model changed.

    Raises:
        BadRequest, UnknownObject, ObjectExists, WrongState, NotAllowed: of the object at the place
            `at` of the fields, if there is one; nothing was changed.
    """
    for option in fields:
        if option != "objects":
            raise bad(f"this request takes no option {shown(option)}; it has: objects")
    asked = read_objects(fields.get("objects"))
    with as_owner(session):
        model = model_of(snapshot.read(session))
    words = _take_passwords(model, asked)
    found = find(model, asked, _hidden(session))
    plan = plan_file(model, found.wanted)
    if plan.problems:
        raise _error_of(session, plan.problems[0], found.first)
    for step in plan.steps:
        one = found.first.get((step.kind, step.name))
        if HASH in step.fields:
            step.fields[PASSWORD] = words.get((step.kind, step.name))
            del step.fields[HASH]
        try:
            do_step(step, one.by if one is not None and step.do == "add" else None)
        except MeshError as exc:
            if one is not None:
                exc.fields["at"] = one.at
            raise
    counts = {"added": 0, "changed": 0}
    for difference in plan.differences:
        counts["added" if difference.do == "add" else "changed"] += 1
    kept = [{"at": error.fields["at"], "text": error.text} for error in found.kept]
    return {**counts, "kept": kept, "existed": found.existed}, bool(plan.steps)


def _take_passwords(model: Model, asked: list[Asked]) -> dict[Key, Any]:
    """Put hashes in the place of passwords, as a comparison has them; the passwords."""
    words: dict[Key, Any] = {}
    for one in asked:
        if HASH in one.options or HASH in one.new:
            raise bad(
                f"a {one.kind} has no option {HASH!r}; give a password",
                kind=one.kind, at=one.at,
            )  # fmt: skip
        if one.kind == "processor" and PASSWORD in one.options:
            word = one.options.pop(PASSWORD)
            kept = model[one.kind].get(one.name, {}).get(HASH)
            same = kept is not None and word is not None and passwords.fits(kept, word)
            if same or word is None:
                one.options[HASH] = kept if same else None
            else:
                one.options[HASH] = passwords.hashed(word)
            words[one.kind, one.name] = word
    return words


def _hidden(session: Session) -> Callable[[Key], str | None]:
    """Who made an object that the session's principal may not see."""
    seen: dict[str, set[str]] = {}

    def whose(key: Key) -> str | None:
        kind, name = key
        table = TABLES[kind]
        if kind not in seen:
            seen[kind] = set(session.execute(select(table.name)).scalars())
        if name in seen[kind]:
            return None
        with as_owner(session):
            return session.execute(select(table.owner).filter_by(name=name)).scalar_one_or_none()

    return whose


def _error_of(session: Session, problem: Problem, first: Mapping[Key, Asked]) -> MeshError:
    one = first.get((problem.kind, problem.name))
    at = {} if one is None else {"at": one.at}
    if problem.lacks is None:
        return bad(problem.text, kind=problem.kind, name=problem.name, **at)
    kind, name = problem.lacks
    known = session.execute(select(TABLES[kind].name)).scalars().all()  # Those it may see.
    return UnknownObject(
        f"{problem.kind} {problem.name!r}: no {kind} is named {name!r}{near(name, known)}; nothing"
        f" was changed; add it first with `mesh add {kind} -n {name}`",
        kind=kind, name=name, **at,
    )  # fmt: skip
