"""Declaring many objects at once: each is found or added, all of them or none.

    [{"kind": "queue", "name": "orders", "options": {"max_length": 9}},
     {"kind": "socket", "name": "shop.price", "options": {...}, "there": "change"}]

Pure: from such a list and the model it makes what a file would want, for the planner of files.  An
object is compared with what the ones before it in the list made, and only in the options given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from meshcode.errors import MeshError, ObjectExists, UnknownObject
from meshcode.listing import where
from meshcode.model.checks import NAME_CHARS_MAX, near, shown
from meshcode.model.fields import (
    bad,
    check_kind,
    check_new,
    check_object_name,
    check_together,
    check_value,
)
from meshcode.model.kinds import FIELDS, PLURALS
from meshcode.model.steps import Key, Model

OBJECTS_MAX = 10_000  # Of one request.
DECLARABLE = (
    "network", "scheduler", "node", "queue", "processor", "socket", "deployment", "plug", "gate",
    "schedule",
)  # fmt: skip
# What becomes of an object that is there and differs.
THERE = {
    "refuse": "it is refused, and so is the whole request",
    "new": "the same, and also when it does not differ",
    "change": "it gets the options given",
    "keep": "it stays, and the answer says so",
    "fill": "options that nobody has given it are set; another value is refused",
    "leave": "options that nobody has given it are set; another value stays",
}
_PARTS = ("kind", "name", "options", "new", "there", "by")


@dataclass(frozen=True, slots=True)
class Asked:
    """One object of a request."""

    at: int  # Its place in the request, from 0.
    kind: str
    name: str
    options: dict[str, Any]  # Those that were given.
    new: dict[str, Any]  # Those that it has only when it is added.
    there: str  # One of THERE.
    by: str | None  # Who is to own it.

    @property
    def changes(self) -> bool:
        """Whether it may change what is there."""
        return self.there in ("change", "fill", "leave")


@dataclass(slots=True)
class Found:
    """What a request comes to."""

    wanted: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # For the planner.
    first: dict[Key, Asked] = field(default_factory=dict)  # Who asked for a wanted object first.
    kept: list[ObjectExists] = field(default_factory=list)  # What differs and stays.
    existed: list[int] = field(default_factory=list)  # Places of those there as asked.


def read_objects(rows: Any) -> list[Asked]:
    """The objects of a request.

    Raises:
        BadRequest: they are none; `at` is the place of the wrong one, from 0.
    """
    if not isinstance(rows, list) or not 1 <= len(rows) <= OBJECTS_MAX:
        raise bad(f"the objects are {shown(rows)}; they must be a list of 1 to {OBJECTS_MAX:,}")
    found = []
    for at, row in enumerate(rows):
        try:
            found.append(_read(at, row))
        except MeshError as exc:
            exc.fields["at"] = at
            raise
    return found


def _read(at: int, row: Any) -> Asked:
    if not isinstance(row, dict) or not all(isinstance(part, str) for part in row):
        raise bad(f"object {at + 1} is {shown(row)}; it must be a map")
    for part in row:
        if part not in _PARTS:
            hint = near(part, _PARTS)
            raise bad(f"object {at + 1} has {shown(part)}{hint}; it has: {', '.join(_PARTS)}")
    kind = check_kind(row.get("kind"))
    if kind not in DECLARABLE:
        raise bad(f"a {kind} is not declared so; it can be: {', '.join(DECLARABLE)}", kind=kind)
    name = check_object_name(kind, row.get("name"))
    maps = []
    for part in ("options", "new"):
        options = row.get(part, {})
        if not isinstance(options, dict) or not all(isinstance(o, str) for o in options):
            raise bad(f"{part} of {kind} {name!r} are {shown(options)}; they must be a map")
        maps.append(dict(options))
    there, by = row.get("there", "refuse"), row.get("by")
    if there not in THERE:
        raise bad(f"there of {kind} {name!r} is {shown(there)}; it is one of: {', '.join(THERE)}")
    if by is not None and (not isinstance(by, str) or not 1 <= len(by) <= NAME_CHARS_MAX):
        raise bad(f"the owner is {shown(by)}; it must be text of 1 to {NAME_CHARS_MAX} characters")
    return Asked(at, kind, name, maps[0], maps[1], str(there), by)


def find(model: Model, asked: list[Asked], hidden: Callable[[Key], str | None]) -> Found:
    """What of the objects is to be added or changed.

    Args:
        model: every object with all its options; it is left as it is.
        asked: the objects in their order.
        hidden: whose an object is that the asker may not see; None when it may.

    Raises:
        ObjectExists: one is there with another value, or is not to be seen.
        UnknownObject: one is not there and lacks an option that it must have.
        BadRequest: an option has no such value.  All three have `at`; nothing was changed.
    """
    now: Model = {kind: dict(model[kind]) for kind in DECLARABLE}
    found = Found()
    for one in asked:
        try:
            options = _one(now, one, found, hidden)
        except MeshError as exc:
            exc.fields["at"] = one.at
            raise
        if options is not None:
            now[one.kind][one.name] = options
            found.wanted.setdefault(one.kind, {})[one.name] = options
            found.first.setdefault((one.kind, one.name), one)
    return found


def _one(
    now: Model, one: Asked, found: Found, hidden: Callable[[Key], str | None]
) -> dict[str, Any] | None:
    """The options that an object is to have; None when it has them."""
    kind, name = one.kind, one.name
    before = now[kind].get(name)
    if before is None:
        lacking = [o for o, spec in FIELDS[kind].items() if spec.required and o not in one.options]
        if lacking:
            raise UnknownObject(
                f"no {kind} is named {name!r}{near(name, now[kind])};"
                f" {where(PLURALS[kind], len(now[kind]))}; to add it, give"
                f" {' and '.join(lacking)} too;"
                " nothing was changed",
                kind=kind, name=name,
            )  # fmt: skip
        return check_new(kind, name, {**one.new, **one.options})
    whose = hidden((kind, name)) if (kind, name) not in found.first else None
    if whose is not None:
        raise taken(kind, name, whose)
    if one.there == "new":
        raise ObjectExists(
            f"{kind} {name!r} exists already; it is unchanged; choose another name, or change it"
            f" with `mesh update {kind} -n {name}`",
            kind=kind, name=name, different=[],
        )  # fmt: skip
    given = {option: check_value(kind, name, option, v) for option, v in one.options.items()}
    unlike = [option for option, value in given.items() if before[option] != value]
    if one.there in ("fill", "leave"):
        unlike = [o for o in unlike if before[o] != FIELDS[kind][o].default]
    if unlike and one.there != "change":
        error = differs(kind, name, unlike, before[unlike[0]], given[unlike[0]])
        if one.there in ("refuse", "fill"):
            raise error
        if one.there == "keep":
            error.fields["at"] = one.at
            found.kept.append(error)
            return None
        given = {option: value for option, value in given.items() if option not in unlike}
    after = {**before, **given}
    check_together(kind, name, after)
    if after != before:
        return after
    if (kind, name) not in found.first:
        found.existed.append(one.at)
    return None


def differs(
    kind: str, name: str, options: Collection[str], has: Any, asked: Any
) -> ObjectExists:
    """The error of an object that is there with another value of the first of these options."""
    unlike = list(options)
    show = FIELDS[kind][unlike[0]].show
    return ObjectExists(
        f"{kind} {name!r} exists and has {unlike[0]} {show(has)}, not {show(asked)};"
        f" it is unchanged; change it with `mesh update {kind} -n {name}`",
        kind=kind, name=name, different=unlike,
    )  # fmt: skip


def taken(kind: str, name: str, owner: str) -> ObjectExists:
    """The error of a name that somebody has taken, whoever may see it."""
    return ObjectExists(
        f"{kind} {name!r} exists already, made by {owner}; it is unchanged; choose another name",
        kind=kind, name=name, different=[],
    )  # fmt: skip

