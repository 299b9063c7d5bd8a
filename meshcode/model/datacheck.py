"""Checks of arguments that an object keeps for calls: plain data, as JSON has it, and not much."""

from __future__ import annotations

import json
import math
from typing import Any

ARGUMENTS_BYTES_MAX = 16 * 1024  # As JSON; what is larger belongs in the repository of the task.
ARGUMENTS_DEPTH_MAX = 16


def check_args(value: Any) -> list[Any]:
    """Positional arguments."""
    if not isinstance(value, list):
        raise ValueError("a list of arguments, as JSON has it")
    return list(_checked(value))


def check_kwargs(value: Any) -> dict[str, Any]:
    """Keyword arguments."""
    if not isinstance(value, dict):
        raise ValueError("a map of keyword arguments, as JSON has it")
    for name in value:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"a map of keyword arguments, and {name!r:.80} is no name of one")
    return dict(_checked(value))


def _checked(value: Any) -> Any:
    _look(value, 0)
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > ARGUMENTS_BYTES_MAX:
        raise ValueError(f"at most {ARGUMENTS_BYTES_MAX} bytes as JSON, and this has {size}")
    return value


def _look(value: Any, depth: int) -> None:
    if depth > ARGUMENTS_DEPTH_MAX:
        raise ValueError(f"nested at most {ARGUMENTS_DEPTH_MAX} deep")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("plain data with texts of Unicode without NUL")
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("plain data with numbers of 64 bits; write a larger one as text")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"plain data, and JSON has no {value}; write it as text")
    elif isinstance(value, list):
        for item in value:
            _look(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"plain data, and {key!r:.80} is no key of JSON")
            _look(key, depth + 1)
            _look(item, depth + 1)
    else:
        raise ValueError(f"plain data as JSON has it, and a {type(value).__name__} is none")
