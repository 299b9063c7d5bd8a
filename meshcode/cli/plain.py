"""Values as text that a program or a person can read: JSON, YAML, raw.

JSON has no bytes, times or tuples.  They become what other tools expect: bytes as
`{"$bytes": base64}`, times in ISO 8601, Decimal and UUID as strings, tuples as lists, numbers that
JSON lacks as "NaN", "Infinity" and "-Infinity".
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_YAML_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+ -]*[A-Za-z0-9_./@+-]|[A-Za-z_/]")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "none", "y", "n"}


def to_json_data(value: Any) -> Any:
    """The value in terms of what JSON has."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, dict):
        return {_key(k): to_json_data(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_data(v) for v in value]
    if isinstance(value, bytes | bytearray | memoryview):
        from base64 import b64encode

        return {"$bytes": b64encode(bytes(value)).decode()}
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return to_json_data(value.tolist())
    return str(value)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    if key is None or isinstance(key, bool):
        return json.dumps(key)
    return str(key)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """One JSON text of the value, in UTF-8 characters, keys in the order they have."""
    return json.dumps(to_json_data(value), indent=indent, ensure_ascii=False, allow_nan=False)


def to_yaml(value: Any) -> str:
    """The value as YAML in block style, ending with a newline."""
    return "\n".join(_yaml_lines(to_json_data(value))) + "\n"


def _yaml_lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            name = _yaml_scalar(key)
            if isinstance(item, dict | list) and item:
                # A list inside a map needs no further indent, as most YAML writers have it.
                pad = "  " if isinstance(item, dict) else ""
                lines += [f"{name}:", *(pad + line for line in _yaml_lines(item))]
            else:
                lines.append(f"{name}: {_yaml_scalar(item)}")
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            inner = _yaml_lines(item)
            lines += ["- " + inner[0], *("  " + line for line in inner[1:])]
        return lines
    return [_yaml_scalar(value)]


def _yaml_scalar(value: Any) -> str:
    if isinstance(value, str):
        if _YAML_PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
            return value
        return '"' + "".join(map(_yaml_character, value)) + '"'
    return json.dumps(value)  # Numbers, true, false, null, {} and [].


def _yaml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def to_raw(value: Any) -> bytes:
    """The value as a pipe wants it: bytes as they are, strings with one newline, else JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    text = value if isinstance(value, str) else to_json(value)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def short_commit(commit: str | None) -> str:
    """A commit as people tell it, 12 digits; what is said behind it stays."""
    digits, plus, more = (commit or "").partition("+")
    return digits[:12] + plus + more


def local_time(unix_ms: int | None) -> str:
    """`2026-11-23 12:00:00.123` in the zone of this shell; empty for None or 0."""
    if not unix_ms:
        return ""
    import time

    seconds, ms = divmod(int(unix_ms), 1000)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{ms:03d}"


def length_of_time(ms: float) -> str:
    """A duration for people: `950us`, `12.3ms`, `4.5s`, `3m20s`, `2h05m`, `3d04h`."""
    if ms < 1:
        return f"{ms * 1000:.0f}us"
    if ms < 1000:
        return f"{ms:.3g}ms" if ms < 999.5 else "1s"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.3g}s" if seconds < 59.95 else "1m00s"
    minutes, second = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{second:02d}s"
    hours, minute = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minute:02d}m"
    days, hour = divmod(hours, 24)
    return f"{days}d{hour:02d}h"
