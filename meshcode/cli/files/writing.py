"""A model as a document that makes the same model again, in YAML, TOML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from meshcode.cli import plain
from meshcode.errors import BadData
from meshcode.model.kinds import FIELDS, PLURALS
from meshcode.model.plan import NEVER_FILED
from meshcode.model.steps import Model

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_document(model: Model, kinds: Collection[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Every object of these kinds with the options that are not as they are by themselves."""
    return {
        PLURALS[kind]: {
            name: dict(
                _written(option, value)
                for option, value in options.items()
                if value != FIELDS[kind][option].default and (kind, option) not in NEVER_FILED
            )
            for name, options in sorted(model[kind].items())
        }
        for kind in FIELDS
        if kind in kinds and model[kind]
    }


def secrets_in(model: Model, kinds: Collection[str]) -> list[str]:
    """Objects whose environment is written in clear, as `processor 'shop'`."""
    return [
        f"{kind} {name!r}"
        for kind in FIELDS
        if kind in kinds
        for name, options in sorted(model[kind].items())
        if options.get("env")
    ]


def to_text(document: dict[str, Any], form: str) -> str:
    """The document as a file of that format."""
    if form == "json":
        return plain.to_json(document, indent=2) + "\n"
    if form == "toml":
        return _to_toml(document)
    return plain.to_yaml(document)


def duration_text(ms: int) -> str:
    """Milliseconds in the largest unit that leaves no rest: `90s`, `2h`; `0`."""
    if not ms:
        return "0"
    size, unit = next(pair for pair in _UNITS if ms % pair[0] == 0)
    return f"{ms // size}{unit}"


def _written(option: str, value: Any) -> tuple[str, Any]:
    if option.endswith("_ms") and value is not None:
        return option.removesuffix("_ms"), duration_text(value)
    return option, value


def _to_toml(document: dict[str, Any]) -> str:
    blocks = []
    for plural, objects in document.items():
        for name, options in objects.items():
            lines = [f"[{plural}.{_toml_key(name)}]"]
            for key, value in options.items():
                # TOML has no null, which a document may have: there it is JSON in a text.
                text = _toml_text(json.dumps(value)) if key == "document" else _toml_value(value)
                lines.append(f"{_toml_key(key)} = {text}")
            blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _toml_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _toml_text(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if value is None:
        raise BadData("TOML has no null, and an argument of a schedule is null; choose another"
                      " format: -o yaml, -o json")  # fmt: skip
    return _toml_text(value) if isinstance(value, str) else json.dumps(value)


def _toml_text(text: str) -> str:
    # As JSON has it, but for DEL, which TOML wants written as an escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
