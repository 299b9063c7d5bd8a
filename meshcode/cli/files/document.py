"""Our own document: `{kinds: {name: {option: value}}}`, from files to what is wanted.

Kinds and options are those of `meshcode.model.kinds`; nothing here knows any of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from meshcode.cli.files.reading import Source, Way
from meshcode.errors import BadData, BadRequest
from meshcode.model.checks import check_name, near, shown
from meshcode.model.fields import check_value
from meshcode.model.kinds import FIELDS, MADE, PLURALS, Field
from meshcode.units import parse_duration, parse_size

PROBLEMS_MAX = 20  # That are told; the rest is counted.
SECRET_BYTES_MAX = 16 * 1024  # Of one value that is read from a file.
REFERENCES = ("from_env", "from_file")

_KIND_OF = {plural: kind for kind, plural in PLURALS.items() if kind not in MADE}


@dataclass(slots=True)
class Problems:
    """What is wrong in files: all of it is looked for before the first is told."""

    texts: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, where: str, text: str) -> None:
        """Something is wrong there."""
        self.count += 1
        if self.count <= PROBLEMS_MAX:
            self.texts.append(f"{where}: {text}")

    def check(self) -> None:
        """Raise BadData when anything was added."""
        if self.count == 1:
            raise BadData(f"{self.texts[0]}; nothing was changed")
        if self.count:
            more = self.count - len(self.texts)
            texts = [*self.texts, f"and {more} more"] if more else self.texts
            lines = "\n  ".join(texts)
            raise BadData(f"{self.count} problems; nothing was changed\n  {lines}")


@dataclass(slots=True)
class Document:
    """What files want."""

    # Kind, name, the options that are given.  Kinds that no file names are not there.
    wanted: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    places: dict[tuple[str, str], str] = field(default_factory=dict)  # File and line of an object.
    notes: list[str] = field(default_factory=list)  # To be told; nothing is wrong.
    problems: Problems = field(default_factory=Problems)
    broken: set[tuple[str, str]] = field(default_factory=set)  # Objects with problems.


def read_document(sources: Iterable[Source]) -> Document:
    """What all the files want together.

    Raises:
        BadData: a kind, name, option or value that cannot be, an object that stands twice, or a
            reference to what is not there; the text has the file and the line of each.
    """
    found = read_all(sources)
    found.problems.check()
    return found


def read_all(sources: Iterable[Source]) -> Document:
    """The same, with what is wrong in its `problems`: more may be wrong with the model."""
    found = Document()
    problems = found.problems
    for source in sources:
        for key, objects in source.data.items():
            kind = _KIND_OF.get(key)
            if kind is None:
                known = ", ".join(_KIND_OF)
                hint = near(key, _KIND_OF)
                problems.add(source.where([key]), f"there is no kind {key!r}{hint}; there are"
                             f" {known}")  # fmt: skip
                continue
            wanted = found.wanted.setdefault(kind, {})
            if objects is not None and not isinstance(objects, dict):
                text = f"{key} is {shown(objects)}; it must be a map of names"
                problems.add(source.where([key]), text)
                continue
            for name, options in (objects or {}).items():
                where = source.where([key, name])
                if (kind, name) in found.places:
                    other = found.places[kind, name]
                    problems.add(where, f"{kind} {name!r} is in {other} already")
                    continue
                found.places[kind, name] = where
                count = problems.count
                wanted[name] = _Object(source, (key, name), kind, name, problems, found).read(
                    options
                )
                if problems.count > count:
                    found.broken.add((kind, name))
    return found


def option_names(kind: str) -> list[str]:
    """The options of a kind as a file writes them: times without their unit."""
    return [option.removesuffix("_ms") for option in FIELDS[kind]]


class _Object:
    """Reads one object."""

    def __init__(
        self, source: Source, way: Way, kind: str, name: str, problems: Problems, found: Document
    ) -> None:
        self.source, self.way, self.kind, self.name = source, way, kind, name
        self.problems, self.found = problems, found

    def read(self, options: Any) -> dict[str, Any]:
        """The options that are given, checked one by one."""
        try:
            check_name(self.name)
        except ValueError as exc:
            text = f"the name of a {self.kind} is {shown(self.name)}; it must be {exc}"
            self.problems.add(self.source.where(self.way), text)
            return {}
        if options is not None and not isinstance(options, dict):
            self._wrong((), f"is {shown(options)}; it must be a map of options")
            return {}
        given: dict[str, Any] = {}
        for key, value in (options or {}).items():
            option = self._option(key)
            if option is None:
                continue
            if option in given:
                self._wrong((key,), f"has {option} twice, once without its unit")
            elif value is not None:
                self._take(given, option, key, value)
        return given

    def _option(self, key: str) -> str | None:
        fields = FIELDS[self.kind]
        option = key if key in fields else f"{key}_ms"
        if option in fields:
            return option
        known = option_names(self.kind)
        hint = near(key, known)
        self._wrong((key,), f"has no option {key!r}{hint}; it has: {', '.join(known)}")
        return None

    def _take(self, given: dict[str, Any], option: str, key: str, value: Any) -> None:
        spec = FIELDS[self.kind][option]
        try:
            value = self._resolved(spec, value, key)
            value = _human(option, key, value)
            given[option] = check_value(self.kind, self.name, option, value)
        except BadRequest as exc:
            text = exc.text.removesuffix("; nothing was changed") + _quotes(spec, value)
            self.problems.add(self.source.where((*self.way, key)), text)
        except ValueError as exc:
            self._wrong((key,), f": {key}: {exc}")

    def _resolved(self, spec: Field, value: Any, key: str) -> Any:
        if spec.data:
            return value
        if not isinstance(spec.default, dict):
            return self._reference(value, key)
        if not isinstance(value, dict):
            return value
        for inner, text in value.items():
            if isinstance(text, bool | int | float):
                raise ValueError(f"{inner} is {text}; write it in quotes")
            if isinstance(text, str) and text.startswith("${") and text.endswith("}"):
                self.found.notes.append(
                    f"{self.source.where((*self.way, key, inner))}: {inner} is {text!r} as it"
                    f" stands; for a variable of this shell write {{from_env: {text[2:-1]}}}"
                )
        return {inner: self._reference(text, inner) for inner, text in value.items()}

    def _reference(self, value: Any, what: str) -> Any:
        """The value, or what it refers to.

        Raises:
            ValueError: there is no such variable or file.
        """
        if not isinstance(value, dict):
            return value
        how = next(iter(value), None)
        if len(value) != 1 or how not in REFERENCES or not isinstance(value[how], str):
            raise ValueError(
                f"{what} is a map; it must be a value, or {{from_env: NAME}}, or {{from_file:"
                " PATH}"
            )
        if how == "from_env":
            text = os.environ.get(value[how])
            if text is None:
                raise ValueError(f"{what} is from_env {value[how]}, and there is no such variable")
            return text
        return _from_file(self.source.folder / value[how], what)

    def _wrong(self, way: Sequence[str | int], text: str) -> None:
        space = "" if text.startswith(":") else " "
        where = self.source.where((*self.way, *way))
        self.problems.add(where, f"{self.kind} {self.name!r}{space}{text}")


def _from_file(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as exc:
        text = f"{what} is from_file {path}, which cannot be read: {exc.strerror or exc}"
        raise ValueError(text) from None
    if len(content) > SECRET_BYTES_MAX:
        raise ValueError(
            f"{what} is from_file {path}, which has more than {SECRET_BYTES_MAX} bytes"
        )
    try:
        return content.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{what} is from_file {path}, which is not UTF-8 text") from None


def _human(option: str, key: str, value: Any) -> Any:
    """Times and sizes with a unit as whole milliseconds and bytes.

    Raises:
        ValueError: a time without a unit, in the key or in the value.
    """
    if option.endswith("_ms"):
        bare = isinstance(value, int) and not isinstance(value, bool) and value
        if isinstance(value, str) or (key != option and bare):
            return parse_duration(str(value))
    if option.endswith("_bytes") and isinstance(value, str):
        return parse_size(value)
    # YAML and TOML make times of texts that look like one.
    return value.isoformat() if isinstance(value, date) else value


def _quotes(spec: Field, value: Any) -> str:
    """A hint, when the value would do as text: YAML takes `1234567` for a number."""
    if isinstance(value, str | dict | list) or value is None:
        return ""
    try:
        spec.check(str(value))
    except ValueError:
        return ""
    return "; write it in quotes"


def plan_problems(problems: Iterable[Any], more: int, places: Mapping[tuple[str, str], str]) -> str:
    """The problems of a plan as one text, each with the place of its object."""
    texts = []
    for problem in problems:
        where = places.get((problem.kind, problem.name))
        texts.append(f"{where}: {problem.text}" if where else problem.text)
    count = len(texts) + more
    if count == 1:
        return f"{texts[0]}; nothing was changed"
    if more:
        texts.append(f"and {more} more")
    return f"{count} problems; nothing was changed\n  " + "\n  ".join(texts)


