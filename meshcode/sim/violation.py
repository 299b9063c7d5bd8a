"""The error of a world in which a rule does not hold."""

from __future__ import annotations

from typing import Any


class Violation(AssertionError):
    """A rule does not hold in this world."""


def require(good: bool, rule: str, *what: Any) -> None:
    """Raise Violation with the rule's name and what was found, unless `good`."""
    if not good:
        raise Violation(f"{rule}: " + " ".join(map(str, what)))
