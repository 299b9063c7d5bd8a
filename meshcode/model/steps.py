"""Steps: changes of many objects that are made together or not at all.

A step adds, updates or deletes one object.  `follow` makes them one after another on plain data,
each checked as if it came alone; what concerns many objects at once, ways round along plugs and
dead letters, holds for the result.  Pure, and quick for tens of thousands of objects: nothing here
looks at all of them for each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from meshcode.errors import ObjectExists, UnknownObject, WrongState
from meshcode.model.checks import near, shown
from meshcode.model.fields import (
    bad,
    check_kind,
    check_new,
    check_object_name,
    check_together,
    check_value,
    fill,
)
from meshcode.model.kinds import FIELDS, HIDDEN, KINDS, MADE, PLURALS
from meshcode.model.rounds import rounds

Model = dict[str, dict[str, dict[str, Any]]]  # Kind, name, option.
Key = tuple[str, str]  # Kind, name.

DOINGS = ("add", "update", "delete")
NAMED_MAX = 3  # Users of an object that an error text names; it counts the rest.


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one object."""

    do: str
    kind: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)  # Of add: those given; of delete: none.

    def row(self) -> list[Any]:
        """The step as plain data."""
        return [self.do, self.kind, self.name, self.fields]


def read_steps(rows: Any) -> list[Step]:
    """The steps of a request.

    Raises:
        BadRequest: they are none; the text has the number of the wrong one, counted from 1.
    """
    if not isinstance(rows, list):
        raise bad(f"the steps are {shown(rows)}; they must be a list")
    steps = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != 4:
            raise bad(f"step {number} is {shown(row)}; it must be [do, kind, name, fields]")
        do, kind, name, fields = row
        if do not in DOINGS:
            raise bad(f"step {number} would {shown(do)}; it can: {', '.join(DOINGS)}")
        if not isinstance(fields, dict) or not all(isinstance(option, str) for option in fields):
            raise bad(f"the fields of step {number} are {shown(fields)}; they must be a map")
        kind = check_kind(kind)
        if kind in MADE:
            raise bad(f"step {number} would {do} a {kind}; they are made by changes of files and"
                      " flows")  # fmt: skip
        if not HIDDEN[kind].isdisjoint(fields):  # Only a password makes one.
            hidden = min(HIDDEN[kind].intersection(fields))
            raise bad(f"step {number}: a {kind} has no option {hidden!r}; set a password by itself")
        if do == "update" and not fields:
            raise bad(f"step {number} changes nothing of {kind} {shown(name)}; give an option")
        if do == "delete" and fields:
            raise bad(f"step {number} deletes {kind} {shown(name)} and has options; give none")
        steps.append(Step(do, kind, check_object_name(kind, name), fields))
    return steps


def model_of(snapshot: Mapping[str, Any]) -> Model:
    """The declared options in a snapshot, all of every object; to be read only."""
    found: Model = {}
    for kind in KINDS:
        options = FIELDS[kind]
        found[kind] = {}
        for name, fields in (snapshot.get(PLURALS[kind]) or {}).items():
            whole = fill(kind, fields)
            found[kind][name] = {option: whole[option] for option in options}
    return found


def targets(kind: str, options: Mapping[str, Any]) -> Iterator[tuple[str, Key]]:
    """The options of an object that name another one, each with what it names."""
    for option, spec in FIELDS[kind].items():
        if spec.refers is not None:
            for name in spec.names(options.get(option)):
                yield option, (spec.refers, name)


def users(model: Model, key: Key) -> list[Key]:
    """The objects that name this one, in the order of kinds and names."""
    return [
        (kind, name)
        for kind in KINDS
        if any(spec.refers == key[0] for spec in FIELDS[kind].values())
        for name, options in sorted(model[kind].items())
        if any(target == key for _option, target in targets(kind, options))
    ]


def named(keys: list[Key]) -> str:
    """Objects for an error text: the first few, and how many more there are."""
    text = ", ".join(f"{kind} {name!r}" for kind, name in keys[:NAMED_MAX])
    rest = len(keys) - NAMED_MAX
    return f"{text} and {rest} more" if rest > 0 else text


def follow(model: Model, steps: Iterable[Step]) -> Model:
    """The model after the steps; `model` itself is left as it is.

    Raises:
        BadRequest, UnknownObject, ObjectExists, WrongState: a step is not allowed where it stands,
            or the result has a way round that was not there before.
    """
    after: Model = {kind: dict(model[kind]) for kind in KINDS}
    uses: Counter[Key] = Counter(
        target
        for kind in KINDS
        for options in model[kind].values()
        for _option, target in targets(kind, options)
    )
    for step in steps:
        _check_there(after, step)
        before = after[step.kind].get(step.name, {})
        options: dict[str, Any] = {}
        if step.do == "add":
            options = check_new(step.kind, step.name, step.fields)
            _check_targets(after, step, options)
        elif step.do == "update":
            options = before | _checked(step)
            check_together(step.kind, step.name, options)
            _check_targets(after, step, {option: options[option] for option in step.fields})
        elif uses[step.kind, step.name]:
            _refuse_used(after, step)
        uses.subtract(target for _option, target in targets(step.kind, before))
        uses.update(target for _option, target in targets(step.kind, options))
        if step.do == "delete":
            del after[step.kind][step.name]
        else:
            after[step.kind][step.name] = options
    for found in new_rounds(model, after):
        raise bad(found.text)
    return after


@dataclass(frozen=True, slots=True)
class Round:
    """A way that leads back to where it began."""

    kind: str  # "plug": along plugs, between sockets.  "queue": by dead letters, between queues.
    way: list[str]

    @property
    def text(self) -> str:
        """It in words."""
        return _ROUND[self.kind].format(" -> ".join(self.way))

    def is_by(self, kind: str, name: str, options: Mapping[str, Any]) -> bool:
        """Whether it goes by this object, so that this one could be another."""
        if kind == "socket":
            return self.kind == "queue" and options["queue"] in self.way
        if kind != self.kind:
            return False
        edge = (options["source"], options["target"]) if kind == "plug" else None
        return edge in pairwise(self.way) if edge else name in self.way


def new_rounds(before: Model, after: Model) -> list[Round]:
    """Ways round in `after` that are not in `before`."""
    found = []
    for kind, edges_of in (("plug", _plugs), ("queue", _letters)):
        ways = rounds(edges_of(after))
        if ways:
            known = set(edges_of(before))
            found += [Round(kind, way) for way in ways if not known.issuperset(pairwise(way))]
    return found


_ROUND = {
    "plug": "plugs would go round: {}; give one of them another target",
    "queue": "dead letters would go round: queue {}; give a socket of another queue",
}


def _plugs(model: Model) -> Iterator[tuple[str, str]]:
    return ((plug["source"], plug["target"]) for plug in model["plug"].values())


def _letters(model: Model) -> Iterator[tuple[str, str]]:
    sockets = model["socket"]
    return (
        (name, sockets[queue["dead_letter"]]["queue"])
        for name, queue in model["queue"].items()
        if queue["dead_letter"] in sockets
    )


def _checked(step: Step) -> dict[str, Any]:
    return {
        option: check_value(step.kind, step.name, option, value)
        for option, value in step.fields.items()
    }


def _check_there(after: Model, step: Step) -> None:
    kind, name = step.kind, step.name
    there = name in after[kind]
    if step.do == "add" and there:
        text = f"{kind} {name!r} exists already; nothing was changed"
        raise ObjectExists(text, kind=kind, name=name)
    if step.do != "add" and not there:
        text = f"no {kind} is named {name!r}{near(name, after[kind])}; nothing was changed"
        raise UnknownObject(text, kind=kind, name=name)


def _check_targets(after: Model, step: Step, options: Mapping[str, Any]) -> None:
    for _option, (kind, name) in targets(step.kind, options):
        if name not in after[kind]:
            raise UnknownObject(
                f"{step.kind} {step.name!r}: no {kind} is named {name!r}{near(name, after[kind])};"
                " nothing was changed",
                kind=kind, name=name,
            )  # fmt: skip


def _refuse_used(after: Model, step: Step) -> None:
    found = users(after, (step.kind, step.name))
    raise WrongState(
        f"{step.kind} {step.name!r} is used by {named(found)}; nothing was changed;"
        " update or delete what uses it first",
        kind=step.kind, name=step.name,
    )  # fmt: skip
