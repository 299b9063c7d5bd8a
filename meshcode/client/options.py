"""Options of a call: seconds in the API, milliseconds on the wire (docs/wire.md, "Options")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from meshcode.errors import BadRequest
from meshcode.limits import PRIORITY_MAX

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    Seconds = float | timedelta

_TEXT_MAX = 200  # Characters of `key` and `trace`; the node holds the same limit.
ACK_LEVELS = ("local", "quorum", "all", "strict")  # Names of docs/wire.md, "Options of a call".
_RETRIES_MAX = 1_000_000
_DAY_MS = 86_400_000

# Option -> its field on the wire, and the least and greatest number of milliseconds.
_DURATIONS = {
    "delay": ("delay_ms", 0, 3650 * _DAY_MS),
    "retry_delay": ("retry_delay_ms", 0, 30 * _DAY_MS),
    "time_limit": ("time_limit_ms", 1, 365 * _DAY_MS),
    "expires": ("expires_ms", 1, 3650 * _DAY_MS),
}


def to_wire(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a call as the wire has them, checked; those that are None are left out.

    Raises:
        BadRequest: a value is of the wrong kind or out of its range; the text has both numbers.
    """
    wire: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _DURATIONS:
            field, least, most = _DURATIONS[name]
            wire[field] = _milliseconds(name, value, least, most)
        elif name == "priority":
            wire["priority"] = _whole(name, value, PRIORITY_MAX)
        elif name == "retries":
            wire["retries"] = _whole(name, value, _RETRIES_MAX)
        elif name == "ack":
            wire["ack"] = _level(value)
        elif name in ("stream", "broadcast"):
            wire[name] = _flag(name, value)
        elif name == "eta":
            wire["eta_ms"] = _unix_ms(value)
        else:
            wire[name] = _text(name, value)
    if wire.get("broadcast") and wire.get("stream"):
        _refuse("does not go with stream: each copy has one value", "broadcast")
    return wire


def _refuse(text: str, name: str) -> NoReturn:
    raise BadRequest(f"option {name}: {text}; nothing was sent", option=name)


def _milliseconds(name: str, value: Seconds, least: int, most: int) -> int:
    seconds = value if isinstance(value, int | float) else _timedelta_seconds(name, value)
    if isinstance(value, bool) or not -1e12 < seconds < 1e12:
        _refuse(f"it is a time in seconds, not {value!r}", name)
    ms = round(seconds * 1000)
    if not least <= ms <= most:
        _refuse(f"{seconds} s is outside {least / 1000} to {most / 1000} s", name)
    return ms


def _timedelta_seconds(name: str, value: timedelta) -> float:
    total = getattr(value, "total_seconds", None)
    if total is None:
        _refuse(f"it is a time in seconds, not {value!r}", name)
    return float(total())


def _whole(name: str, value: int, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        _refuse(f"it is a whole number from 0 to {most}, not {value!r}", name)
    return value


def _text(name: str, value: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX:
        _refuse(f"it is a text of 1 to {_TEXT_MAX} characters, not {value!r:.80}", name)
    return value


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        _refuse(f"it is True or False, not {value!r:.80}", name)
    return value


def _level(value: str) -> str:
    if value not in ACK_LEVELS:
        _refuse(f"it is one of {', '.join(ACK_LEVELS)}, not {value!r:.80}", "ack")
    return value


def _unix_ms(value: datetime) -> int:
    utc_offset = getattr(value, "utcoffset", None)
    if utc_offset is None:
        _refuse(f"it is a datetime, not {value!r}", "eta")
    if utc_offset() is None:
        _refuse(
            f"{value} has no time zone, and nodes may be in others; "
            "use datetime.now(timezone.utc) + ..., or .astimezone() for local time",
            "eta",
        )
    ms = round(value.timestamp() * 1000)
    if ms < 0:
        _refuse(f"{value} is before 1970", "eta")
    return ms
