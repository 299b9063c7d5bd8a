"""The names under which what happens at a socket is heard (docs/listening.md)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

PATTERN = frozenset("*?[")  # What makes a name a pattern.


def heard_names(own: Any, processor: Any, queue: Any) -> frozenset[str]:
    """The names of a socket: its own, its processor's, its queue's, QUEUE.PROCESSOR."""
    found = {one for one in (own, processor, queue) if isinstance(one, str) and one}
    if isinstance(processor, str) and isinstance(queue, str) and processor and queue:
        found.add(f"{queue}.{processor}")
    return frozenset(found)


def is_named(name: str | None, names: frozenset[str]) -> bool:
    """Whether a listener's name, or pattern, is one of those that an event has."""
    if name is None or name in names:
        return True
    return bool(PATTERN & set(name)) and any(fnmatchcase(one, name) for one in names)


__all__ = ["PATTERN", "heard_names", "is_named"]
