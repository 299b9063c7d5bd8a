"""Checks of whole objects of the model against the options of their kind.

Pure, without a database: the model process uses them on every change, and again on rows that
somebody else wrote.  All of them raise `BadRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from meshcode.errors import BadRequest
from meshcode.model.checks import RESTARTS_MAX, check_name, near, shown
from meshcode.model.keptcheck import VERSIONED, VERSIONED_NAME_CHARS_MAX, bytes_of
from meshcode.model.kinds import FIELDS, HIDDEN, KINDS, PUBLISHED
from meshcode.model.overridecheck import problem as code_problem
from meshcode.model.settingnames import problem
from meshcode.schedule import parse


def bad(text: str, **fields: Any) -> BadRequest:
    """The error of every refused option: `text` and that nothing was changed."""
    return BadRequest(f"{text}; nothing was changed", **fields)


def check_kind(kind: Any) -> str:
    """The kind of a request; raises `BadRequest` for any other."""
    if kind in KINDS:
        return str(kind)
    raise bad(f"the model has no kind {shown(kind)}{near(kind, KINDS)}; it has: {', '.join(KINDS)}")


def check_object_name(kind: str, name: Any) -> str:
    """The name in a request; raises `BadRequest`."""
    if name is None or name == "":
        raise bad(f"the {kind} has no name; give one", kind=kind, field="name")
    try:
        return check_name(name)
    except ValueError as exc:
        article = "an" if kind[0] in "aeio" else "a"  # A user.
        text = f"the name of {article} {kind} is {shown(name)}; it must be {exc}"
        raise bad(text, kind=kind, field="name") from None


def check_value(kind: str, name: str, field: str, value: Any) -> Any:
    """One option of one object as it is kept; None stands for "not given".

    Raises:
        BadRequest: no such option, not allowed there, or None where there must be a value.
    """
    spec = FIELDS[kind].get(field)
    if spec is None:
        known = [option for option in FIELDS[kind] if option not in HIDDEN[kind]]
        known += ["password"] if HIDDEN[kind] else []
        hint = near(field, known)
        article = "an" if kind[0] in "aeio" else "a"  # A user.
        text = f"{article} {kind} has no option {shown(field)}{hint}; it has: {', '.join(known)}"
        raise bad(text, kind=kind, name=name, field=str(field))
    if value is None:
        if spec.required:
            text = f"{kind} {name!r} must have a value for {field}; give one"
            raise bad(text, kind=kind, name=name, field=field)
        return copy(spec.default)
    try:
        return spec.check(value)
    except ValueError as exc:
        text = f"{kind} {name!r}: {field} is {spec.show(value)}; it must be {exc}"
        raise bad(text, kind=kind, name=name, field=field) from None


SERVED = tuple(
    field for field in FIELDS["socket"] if field not in ("processor", "task", "labels")
)  # What a function of a program may have, which has no processor.


def check_served(
    name: Any, function: Any, given: Mapping[str, Any], fields: Sequence[str] = SERVED
) -> dict[str, Any]:
    """The options of a function that a program serves as socket `name`; None is "not given".

    Raises:
        BadRequest: the name of no socket, nothing that can be called, no such option, or a value
            that it may not have.
    """
    check_object_name("socket", name)
    if not callable(function):
        text = f"socket {name!r} is to be served by {shown(function)}, which cannot be called"
        raise bad(f"{text}; give a function", kind="socket", name=name)
    for field in given:
        if field not in fields:
            hint = near(field, fields)
            text = f"a served function has no option {shown(field)}{hint}; it has:"
            text = f"{text} {', '.join(fields)}"
            raise bad(text, kind="socket", name=name, field=field)
    return {
        field: check_value("socket", name, field, value)
        for field, value in given.items()
        if value is not None
    }


def check_new(kind: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a new object: those given, checked, and the defaults of the others."""
    kept = {field: check_value(kind, name, field, value) for field, value in given.items()}
    for field, spec in FIELDS[kind].items():
        if field not in kept:
            default = spec.default
            quick = not spec.required and not isinstance(default, dict | list)
            kept[field] = default if quick else check_value(kind, name, field, None)
    check_together(kind, name, kept)
    return kept


def check_together(kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Rules between the options of one object.

    Raises:
        BadRequest: a queue that dead-letters to nowhere, a plug into its own source, a gate of mode
            task without a socket, a deployment with a host and a scheduler, a processor with a tag
            and a commit, a privilege of nobody, a setting that there is not, a file that is no
            base64, a schedule without a time, with two, or one that never fires.
    """
    if kind == "setting" and (wrong := problem(name, options["value"])):
        raise bad(wrong, kind=kind, name=name, field="value")
    if kind == "override":
        wanted = f"{options['processor']}.{options['task']}"
        if name != wanted:
            text = f"override {name!r} is of processor and task {wanted!r}; it must have that name"
            raise bad(text, kind=kind, name=name, field="name")
        if wrong := code_problem(options["code"], options["task"]):
            raise bad(f"override {name!r}: {wrong}", kind=kind, name=name, field="code")
    if kind in VERSIONED and len(name) > VERSIONED_NAME_CHARS_MAX:
        text = f"{kind} {name[:20]!r}...: its name has {len(name)} characters, the most is"
        raise bad(f"{text} {VERSIONED_NAME_CHARS_MAX}", kind=kind, name=name, field="name")
    if kind == "file":
        try:
            bytes_of(options)
        except ValueError as exc:
            raise bad(f"file {name!r}: {exc}", kind=kind, name=name, field="content") from None
    if kind == "schedule":
        try:
            parse(options)
        except BadRequest as exc:
            text = f"schedule {name!r}: {exc.text}"
            raise bad(text, kind=kind, name=name, **exc.fields) from None
    if kind == "queue" and options["overflow"] == "dead-letter" and not options["dead_letter"]:
        text = (
            f"queue {name!r}: overflow is 'dead-letter' and dead_letter names no socket; give one"
        )
        raise bad(text, kind=kind, name=name, field="dead_letter")
    if kind == "plug" and options["source"] == options["target"]:
        text = f"plug {name!r} would go round: {options['source']} -> {options['source']}"
        raise bad(f"{text}; give another target", kind=kind, name=name, field="target")
    if kind == "gate" and (options["mode"] == "task") != bool(options["socket"]):
        has = "names no socket to ask" if options["mode"] == "task" else "asks nobody"
        text = f"gate {name!r}: mode is {options['mode']!r}, so it {has}; give both or neither"
        raise bad(text, kind=kind, name=name, field="socket")
    if kind == "deployment" and options["scheduler"] and options["host"] != "*":
        text = f"deployment {name!r} has host {options['host']!r} and a scheduler"
        raise bad(f"{text}; give one", kind=kind, name=name, field="scheduler")
    if kind == "privilege" and bool(options["user"]) == bool(options["role"]):
        has = "a user and a role" if options["user"] else "neither a user nor a role"
        raise bad(f"privilege {name!r} names {has}; give one", kind=kind, name=name, field="user")
    if kind == "processor" and options["tag"] and options["commit"]:
        text = (
            f"processor {name!r} would have tag {options['tag']!r} and commit"
            f" {options['commit'][:12]!r}; give one, and none for the other"
        )
        raise bad(text, kind=kind, name=name, field="commit")


def check_published(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of an object of a snapshot: those that are there, as they are, and defaults.

    They were checked where they were declared; here nobody trusts that.  A value is kept as it
    stands there, so that the same object is the same everywhere.

    Raises:
        BadRequest: no command of ours would have let it in.
    """
    check_object_name(kind, name)
    given = {field: value for field, value in options.items() if field != "restarted"}
    kept = check_new(kind, name, given)
    if kind == "processor":
        kept["restarted"] = _check_restarted(name, options.get("restarted"))
    elif "restarted" in options:
        raise bad(f"{kind} {name!r} counts restarts, which only a processor does", kind=kind)
    return {
        field: kept[field] if options.get(field) is None else options[field]
        for field in PUBLISHED[kind]
    }


def _check_restarted(name: str, value: Any) -> int:
    count = 0 if value is None else value
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= RESTARTS_MAX:
        text = f"processor {name!r}: restarted is {shown(value)}; it must be a count of restarts"
        raise bad(text, kind="processor", name=name, field="restarted")
    return count


def fill(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of an object of a snapshot, with defaults for those a version did not know.

    Unchecked; the map itself when nothing is missing.
    """
    wanted = PUBLISHED[kind]
    if len(options) == len(wanted) and all(field in options for field in wanted):
        return options
    defaults = {f: copy(spec.default) for f, spec in FIELDS[kind].items()} | {"restarted": 0}
    return {field: options.get(field, defaults[field]) for field in wanted}
