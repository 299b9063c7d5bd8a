"""Durations, sizes and counts as people write them."""

from __future__ import annotations

import re

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]i?)?B?")
_SIZE_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_duration(text: str) -> int:
    """Milliseconds of `500ms`, `5s`, `2m`, `1h`, `1d` or a sum such as `1h30m`; `0` needs no unit.

    Raises:
        ValueError: it has no unit, an unknown one, or is not a whole number of milliseconds.
    """
    wanted = text.strip()
    if wanted == "0":
        return 0
    total, position = 0.0, 0
    for part in _DURATION_PART.finditer(wanted):
        if part.start() != position:
            break
        total += float(part[1]) * _UNIT_MS[part[2]]
        position = part.end()
    if position == 0 or position != len(wanted):
        try:
            float(wanted)
        except ValueError:
            raise ValueError(
                f"{text!r} is not a duration; write a number and a unit: 500ms, 5s, 2m, 1h, 1d"
            ) from None
        raise ValueError(f"{text!r} has no unit; write {wanted}s for seconds or {wanted}ms")
    if round(total, 6) != int(round(total, 6)):
        raise ValueError(f"{text!r} is not a whole number of milliseconds")
    return int(round(total, 6))


def parse_size(text: str) -> int:
    """Bytes of `1000`, `64KiB` or `10MB`; KiB is 1024, kB is 1000.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size; write bytes, or a unit: 64KiB, 10MB")
    unit = found[2] or ""
    base = 1024 if unit.endswith("i") else 1000
    power = _SIZE_POWERS[unit[0].lower()] if unit else 0
    return round(float(found[1]) * float(base**power))


def parse_count(text: str) -> int:
    """A whole number such as `1000`, `1_000` or `1,000`.

    Raises:
        ValueError: it is none, or less than 0.
    """
    digits = text.strip().replace("_", "").replace(",", "")
    if not digits.isdecimal():
        raise ValueError(f"{text!r} is not a count; write a whole number: 1000000")
    return int(digits)
