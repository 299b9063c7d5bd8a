"""W3C trace context: the `traceparent` of a call, and the one that each of its attempts hands on.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
       trace id, 16 bytes               span id, 8 bytes  flags

The span id of an attempt is worked out from call id and attempt, so whoever reads the records can
work it out too, and no random source is needed.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # Odd, so that attempts of one call never meet.


def is_valid(text: object) -> bool:
    """Whether it is a traceparent that others would follow; a wrong one is to be ignored."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return False
    version, trace, span, _flags, more = found.groups()
    # A later version may have more parts; version 00 has none, and ff is none at all.
    return (
        version != "ff" and not (more and version == "00")
        and trace.strip("0") != "" and span.strip("0") != ""
    )  # fmt: skip


def span_id(call_id: bytes, attempt: int) -> str:
    """The span id of one attempt: 16 hexadecimal digits, never all zeros."""
    high, low = int.from_bytes(call_id[:8], "big"), int.from_bytes(call_id[8:], "big")
    return f"{_mixed(low ^ _mixed(high) ^ (attempt * _STEP & _MASK)) or 1:016x}"


def child_of(traceparent: str | None, call_id: bytes, attempt: int) -> str | None:
    """The traceparent of one attempt of a call that was submitted with `traceparent`.

    None when that is none.
    """
    found = _FORM.fullmatch(traceparent) if traceparent and is_valid(traceparent) else None
    if found is None:
        return None
    return f"00-{found[2]}-{span_id(call_id, attempt)}-{found[4]}"


def _mixed(n: int) -> int:
    """Spread over all 64 bits, one to one (the finalizer of splitmix64)."""
    n = (n ^ n >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    n = (n ^ n >> 27) * 0x94D049BB133111EB & _MASK
    return n ^ n >> 31
