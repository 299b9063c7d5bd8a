"""Rules of agreement broken on purpose; the seeds must catch each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Undo = Callable[[], None]
MUTANTS: dict[str, Callable[[], Undo]] = {}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Break one rule while the block runs; None breaks none."""
    if name is None:
        yield
        return
    undo = MUTANTS[name]()
    try:
        yield
    finally:
        undo()


def swap(owner: Any, name: str, new: Any) -> Undo:
    """Replace an attribute; returns what puts the old one back."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return lambda: setattr(owner, name, old)
