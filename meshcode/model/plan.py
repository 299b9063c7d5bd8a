"""From what is declared to what is wanted: the steps between two models, or why there are none.

A wanted object is whole: an option that is not given has its default, so that a line taken out of a
file takes the option away.  Only what `LEFT_ALONE` names stays as it is when nobody mentions it.

Steps are in an order in which each is allowed: what is named is added before what names it, then
objects are updated, then deleted in the reverse order.  Where two name each other (a queue its
dead letters' socket, a socket its queue) the one that comes first is added without the name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from meshcode.errors import BadRequest
from meshcode.model import ended
from meshcode.model.checks import near
from meshcode.model.fields import check_new, check_value, fill
from meshcode.model.kinds import FIELDS, KINDS
from meshcode.model.steps import Key, Model, Round, Step, named, new_rounds, targets, users

Wanted = Mapping[str, Mapping[str, Mapping[str, Any]]]  # Kind, name, the options that are given.

# What commands change while a mesh runs (`mesh proc stop`); a file that says nothing leaves it.
LEFT_ALONE: Collection[tuple[str, str]] = {
    ("processor", "requested_status"), ("schedule", "requested_status"), ("override", "by"),
    ("override", "made_ms"),
}  # fmt: skip
# Logins that were ended: no file brings them back, and none says it.
NEVER_FILED: Collection[tuple[str, str]] = {(ended.KIND, option) for option in ended.OPTIONS}
PROBLEMS_MAX = 20  # That are told; the rest is counted.
# Options that mean nothing without the one that names another object, so they come with it.
_WITH: dict[tuple[str, str], tuple[str, ...]] = {("queue", "dead_letter"): ("overflow",)}


@dataclass(frozen=True, slots=True)
class Difference:
    """What becomes of one object."""

    do: str  # add, update, delete.
    kind: str
    name: str
    # Option -> (what it is, what it becomes); of add only those given, of delete none.
    options: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a wanted model cannot be."""

    kind: str
    name: str
    text: str
    lacks: Key | None = None  # What it names and nobody has.


@dataclass(slots=True)
class Plan:
    """The way from one model to another.  With problems it has no steps."""

    differences: list[Difference] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    more_problems: int = 0  # Found and not told.


def plan_file(
    current: Model, wanted: Wanted, *, prune: Collection[str] = (), broken: Collection[Key] = (),
    hidden: Collection[str] = (),
) -> Plan:  # fmt: skip
    """How `current` becomes what a file wants.

    Args:
        current: every object with all its options.
        wanted: what the file has; options that were checked one by one.
        prune: kinds of which everything that the file does not have is deleted.
        broken: objects with options that were refused before, and left out: what is wrong with
            them as a whole is not told again.
    """
    after: Model = {
        kind: {
            name: options
            for name, options in current[kind].items()
            if kind not in prune or name in wanted.get(kind, {})
        }
        for kind in KINDS
    }
    problems: list[Problem] = []
    for kind, objects in wanted.items():
        for name, given in objects.items():
            try:
                options = check_new(kind, name, given)
            except BadRequest as exc:
                if (kind, name) not in broken:
                    text = exc.text.removesuffix("; nothing was changed")
                    problems.append(Problem(kind, name, text))
                options = _as_far_as_good(kind, name, given)
            for option in FIELDS[kind]:
                left = (kind, option) in LEFT_ALONE and option not in given
                if left or (kind, option) in NEVER_FILED:
                    options[option] = current[kind].get(name, options)[option]
            after[kind][name] = options
    return _plan(current, after, problems, hidden)


def _as_far_as_good(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an object that cannot be, so that names of it and in it are looked at."""
    kept = {}
    for option, value in given.items():
        with suppress(BadRequest):
            kept[option] = check_value(kind, name, option, value)
    whole = fill(kind, kept)
    return {option: whole[option] for option in FIELDS[kind]}


def plan_removal(current: Model, names: Iterable[Key]) -> Plan:
    """How what has these names goes; those that are not there are gone already."""
    gone = set(names)
    after: Model = {
        kind: {name: options for name, options in current[kind].items() if (kind, name) not in gone}
        for kind in KINDS
    }
    return _plan(current, after, [])


def _plan(
    current: Model, after: Model, problems: list[Problem], hidden: Collection[str] = ()
) -> Plan:
    differences = _differences(current, after)
    changed = {(d.kind, d.name): d for d in differences}
    count = len(problems)
    for found in (*_nowhere(after, changed, hidden), *_needed(after, changed)):
        count += 1
        if count <= PROBLEMS_MAX:
            problems.append(_with_hint(found, after))
    if not count:
        problems = [
            Problem(*_last_on(found, after, differences), found.text)
            for found in new_rounds(current, after)
        ]
        count = len(problems)
    if problems:
        told = problems[:PROBLEMS_MAX]
        return Plan(differences, [], told, count - len(told))
    return Plan(differences, [*_adds(current, after), *_updates(current, changed)])


def _last_on(found: Round, after: Model, differences: list[Difference]) -> Key:
    """The last object of the plan that a round goes by; one that is new goes by one of them."""
    for one in reversed(differences):
        if one.do != "delete" and found.is_by(one.kind, one.name, after[one.kind][one.name]):
            return one.kind, one.name
    return "", ""


def _differences(current: Model, after: Model) -> list[Difference]:
    added, updated, deleted = [], [], []
    for kind in KINDS:
        had, has = current[kind], after[kind]
        for name in sorted(has.keys() | had.keys()):
            before, options = had.get(name), has.get(name)
            if before is options or before == options:
                continue
            if options is None:
                deleted.append(Difference("delete", kind, name, {}))
            elif before is None:
                given = {o: (None, v) for o, v in _given(kind, options).items()}
                added.append(Difference("add", kind, name, given))
            else:
                pairs = {
                    option: (before[option], options[option])
                    for option in FIELDS[kind]
                    if before[option] != options[option]
                }
                updated.append(Difference("update", kind, name, pairs))
    return [*added, *updated, *reversed(deleted)]


def _given(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not as they are when nobody gives them."""
    return {o: options[o] for o, spec in FIELDS[kind].items() if options[o] != spec.default}


@dataclass(frozen=True, slots=True)
class _Nowhere:
    kind: str
    name: str
    option: str
    refers: str
    target: str


def _nowhere(
    after: Model, changed: Mapping[Key, Difference], hidden: Collection[str]
) -> Iterator[_Nowhere]:
    """Objects of the plan that name what is not there."""
    for (kind, name), difference in changed.items():
        if difference.do == "delete":
            continue
        options = {option: pair[1] for option, pair in difference.options.items()}
        for option, (refers, target) in targets(kind, options):
            there = target in after[refers] or changed.get((refers, target)) is not None
            if not there and refers not in hidden:
                yield _Nowhere(kind, name, option, refers, target)


def _with_hint(found: Problem | _Nowhere, after: Model) -> Problem:
    # Only for those that are told: to look for what is near among thousands takes its time.
    if isinstance(found, Problem):
        return found
    hint = near(found.target, after[found.refers])
    text = (
        f"{found.kind} {found.name!r}: {found.option} names {found.refers} {found.target!r}, which"
        f" is neither in the file nor in the model{hint}"
    )
    return Problem(found.kind, found.name, text, (found.refers, found.target))


def _needed(after: Model, changed: Mapping[Key, Difference]) -> Iterator[Problem]:
    """What would be deleted and is named by something that stays."""
    gone = {key for key, difference in changed.items() if difference.do == "delete"}
    if not gone:
        return
    named_still = {
        target
        for kind in KINDS
        for options in after[kind].values()
        for _option, target in targets(kind, options)
    }
    for kind, name in sorted(gone & named_still, key=lambda key: (KINDS.index(key[0]), key[1])):
        who = named(users(after, (kind, name)))
        yield Problem(kind, name, f"{kind} {name!r} would be deleted and is used by {who}")


def _adds(current: Model, after: Model) -> Iterator[Step]:
    """New objects without the names of what is not there yet, and then those names."""
    there = {kind: set(current[kind]) for kind in KINDS}
    late = []
    for kind in KINDS:
        for name in sorted(after[kind].keys() - current[kind].keys()):
            given = _given(kind, after[kind][name])
            later: dict[str, Any] = {}
            for option, (refers, target) in targets(kind, given):
                if target not in there[refers] and target in after[refers]:
                    for o in (option, *_WITH.get((kind, option), ())):
                        if o in given:
                            later[o] = given[o]
            early = {option: value for option, value in given.items() if option not in later}
            yield Step("add", kind, name, early)
            there[kind].add(name)
            if later:
                late.append(Step("update", kind, name, later))
    yield from late


def _updates(current: Model, changed: Mapping[Key, Difference]) -> Iterator[Step]:
    """Objects that stay and change, and then those that go, what names others first."""
    for difference in changed.values():
        if difference.do == "update":
            fields = {option: pair[1] for option, pair in difference.options.items()}
            yield Step("update", difference.kind, difference.name, fields)
    gone = [key for key, difference in changed.items() if difference.do == "delete"]
    going = set(gone)
    deletes = []
    for kind, name in gone:
        options = current[kind][name]
        loose: dict[str, Any] = {}
        for option, target in targets(kind, options):
            # What it names is of a kind that goes before it.
            if target in going and KINDS.index(target[0]) > KINDS.index(kind):
                for o in (option, *_WITH.get((kind, option), ())):
                    loose[o] = FIELDS[kind][o].default
        if loose:
            yield Step("update", kind, name, loose)
        deletes.append(Step("delete", kind, name))
    yield from deletes
