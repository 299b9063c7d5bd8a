"""Single rules of the core broken on purpose: the simulator must catch each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

MUTANTS: dict[str, Callable[[], Callable[[], None]]] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Break one rule for as long as the block runs."""
    undo = MUTANTS[name]()
    try:
        yield
    finally:
        undo()
