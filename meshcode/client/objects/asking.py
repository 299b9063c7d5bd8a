"""What every object needs: its requests to the model, and words for what has no meaning here."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from meshcode.client.client import Client
from meshcode.client.default import default_client
from meshcode.errors import NotAllowed, ObjectExists, UnknownObject

Data = dict[str, Any]
DECLARE_S = 60.0  # For an answer: a class of thousands of objects takes seconds.


def client_of(client: Client | None) -> Client:
    """This client, or the process-wide one, connected when it is first needed."""
    return client or default_client()


def model(
    client: Client, do: str, kind: str, name: str | None = None,
    fields: Mapping[str, Any] | None = None, *, by: str | None = None,
) -> Any:  # fmt: skip
    """One request to the model behind the node (docs/model.md, "Requests").

    `fields` may have any names: which of them are options, the node says.
    """
    request: Data = {"do": do, "kind": kind, "fields": dict(fields or {})}
    if name is not None:
        request["name"] = name
    if by is not None:
        request["by"] = by
    return client.ask("model", **request)


def listed(client: Client, kind: str) -> list[Data]:
    """All objects of a kind, by name."""
    found = model(client, "list", kind)
    rows = found.get("items", []) if isinstance(found, dict) else found
    return sorted(rows, key=lambda row: str(row["name"]))


def got(client: Client, kind: str, name: str) -> Data:
    """One object, without the names of those that use it.

    Raises:
        UnknownObject: there is none; the text has a name that is close.
    """
    found: Data = dict(model(client, "get", kind, name))
    found.pop("used_by", None)
    return found


@dataclass(slots=True)
class Wanted:
    """An object that is to be there: found, or added."""

    kind: str
    name: str
    options: Data  # Those that were said; others are not compared.
    required: Sequence[str] = ()  # Without them nothing can be added.
    there: str = "refuse"  # What becomes of one that differs; `meshcode/model/declare.py` has them.
    by: str | None = None  # Who is to own it; the node says when it is left out.
    new: Data = field(default_factory=dict)  # Options that it has only when it is added.

    def row(self) -> Data:
        """It in a request that declares many."""
        row = {"kind": self.kind, "name": self.name, "options": self.options, "there": self.there}
        if self.new:
            row["new"] = self.new
        if self.by is not None:
            row["by"] = self.by
        return row


def found_or_added(client: Client, wanted: Wanted) -> Data:
    """The object of that name; added when there is none.

    Whoever gives nothing but the name asks for no right to add what is there.

    Raises:
        ObjectExists: it is there with another value, both are in the text; it is unchanged.
        UnknownObject: it is not there, and cannot be added without what is required; or an option
            names an object that is not there.
        BadRequest: an option has no such value.
    """
    kind, name, given, by = wanted.kind, wanted.name, wanted.options, wanted.by
    whole = dict(given)
    missing = [option for option in wanted.required if option not in given]
    if missing:
        there = _find_for(client, kind, name, missing)
        if not given:
            return there
        # The model compares what is given in the form in which it keeps it; so it must have all.
        whole.update({option: there[option] for option in missing})
    elif not given:
        # Not found, or not to be seen: one who may add it may still do that.
        with suppress(UnknownObject, NotAllowed):
            return got(client, kind, name)
    try:
        found: Data = model(client, "add", kind, name, {**whole, "exists_ok": True}, by=by)
        for name in ("existed", "unchanged"):  # They are no facts of the object.
            found.pop(name, None)
    except ObjectExists as error:
        if wanted.there == "change":
            found = model(client, "update", kind, name, given, by=by)
        elif wanted.there == "keep":
            warn_kept(error.text)
            found = got(client, kind, name)
        else:
            raise ObjectExists(or_update(error.text), **error.fields) from None
    return found


def declare(client: Client, wanted: Sequence[Wanted]) -> None:
    """Find or add them in one request: all or none.

    Raises:
        MeshError: one was refused, that at the place `at` of the fields; nothing was changed.
    """
    rows = [one.row() for one in wanted]
    try:
        done = client.ask("model", do="declare", fields={"objects": rows}, timeout=DECLARE_S)
    except ObjectExists as error:
        raise ObjectExists(or_update(error.text), **error.fields) from None
    for kept in done["kept"]:
        warn_kept(kept["text"])


def or_update(text: str) -> str:
    """What is said of an object that differs, and what else can be done."""
    return f"{text}, or say update=True"


def warn_kept(text: str) -> None:
    """Say that an object differs and was left as it is."""
    warn(text.partition("; it is unchanged")[0] + "; what is there was taken")


def _find_for(client: Client, kind: str, name: str, missing: Sequence[str]) -> Data:
    try:
        return got(client, kind, name)
    except UnknownObject as error:
        text = f"{error.text}; to add it, give {' and '.join(missing)} too; nothing was changed"
        raise UnknownObject(text, **error.fields) from None


def warn(text: str, category: type[Warning] = DeprecationWarning) -> None:
    """Warn at the line that called into this package, however deep inside it this is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _is_ours(module: str) -> bool:
    return module.startswith("meshcode.client.")


def warn_unused(kind: str, option: str, why: str) -> None:
    """Say that an option of the original has no meaning here, and why."""
    article = "an" if kind[0] in "aeiou" else "a"
    warn(f"{option} of {article} {kind} is not used: {why}")


def as_json(data: Mapping[str, Any]) -> str:
    """One line of JSON with sorted keys."""
    return json.dumps(data, sort_keys=True, default=str)


class ObjectEncoder(json.JSONEncoder):
    """For `json.dumps(object, cls=ObjectEncoder)`: objects of the model as their plain data."""

    def default(self, o: Any) -> Any:
        """What `o` is in JSON; raises TypeError for what has no `to_dict`."""
        to_dict = getattr(o, "to_dict", None)
        return to_dict() if callable(to_dict) else super().default(o)
