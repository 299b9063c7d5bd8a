"""What a plan says to people and to programs; what may be secret is never shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshcode.cli.files.writing import duration_text
from meshcode.model.kinds import FIELDS
from meshcode.model.plan import Difference

SIGNS = {"add": "+", "update": "~", "delete": "-"}
LINES_MAX = 200  # Of a plan that is about to be applied; `mesh diff` shows all.


def lines_of(differences: Sequence[Difference]) -> list[str]:
    """One line for each object."""
    return [_line(difference) for difference in differences]


def counts_of(differences: Sequence[Difference]) -> str:
    """`2 to add, 1 to change, 0 to delete`."""
    count = {do: sum(d.do == do for d in differences) for do in SIGNS}
    return f"{count['add']} to add, {count['update']} to change, {count['delete']} to delete"


def items_of(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """The same as plain data: {"do", "kind", "name", "options": {option: {"from", "to"}}}."""
    return [
        {
            "do": difference.do, "kind": difference.kind, "name": difference.name,
            "options": {
                option: {"from": _hidden(before), "to": _hidden(after)}
                if not FIELDS[difference.kind][option].data
                else {"from": before, "to": after}
                for option, (before, after) in difference.options.items()
            },
        }
        for difference in differences
    ]  # fmt: skip


def _line(difference: Difference) -> str:
    line = f"{SIGNS[difference.do]} {difference.kind} {difference.name}"
    if difference.do == "add":
        parts = [
            f"{_title(option)}={_value(difference.kind, option, after)}"
            for option, (_before, after) in difference.options.items()
        ]
        return f"{line}  {' '.join(parts)}" if parts else line
    parts = [
        _change(difference.kind, option, before, after)
        for option, (before, after) in difference.options.items()
    ]
    return f"{line}  {', '.join(parts)}" if parts else line


def _change(kind: str, option: str, before: Any, after: Any) -> str:
    if FIELDS[kind][option].data:
        return f"{_title(option)} {_value(kind, option, before)} -> {_value(kind, option, after)}"
    if isinstance(before, dict) and isinstance(after, dict):
        names = [f"+{name}" for name in after if name not in before]
        names += [f"-{name}" for name in before if name not in after]
        names += [f"~{name}" for name in after if name in before and before[name] != after[name]]
        return f"{_title(option)} {' '.join(names)}"
    texts = _value(kind, option, before), _value(kind, option, after)
    return f"{_title(option)} {texts[0]} -> {texts[1]}"


def _value(kind: str, option: str, value: Any) -> str:
    if value is None:
        return "none"
    if option.endswith("_ms"):
        return duration_text(value)
    if FIELDS[kind][option].data:
        return FIELDS[kind][option].show(value)
    if isinstance(value, dict):
        return ",".join(value)  # The names of variables, and nothing of what they hold.
    text = value if isinstance(value, str) else str(value)
    shown = FIELDS[kind][option].show(text)[1:-1]
    return shown if shown.isprintable() and " " not in shown else repr(shown)


def _title(option: str) -> str:
    return option.removesuffix("_ms")


def _hidden(value: Any) -> Any:
    return dict.fromkeys(value, "***") if isinstance(value, dict) else value
