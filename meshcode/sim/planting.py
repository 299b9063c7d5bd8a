"""How a rule is taken out of the running code, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

Make = Callable[[Any], Any]
# What to replace (an object or a dict, and the name in it) and what by, given the real one.
Plant = tuple[Any, Any, Make]


class Broken:
    """A list of mutants that fills itself."""

    def __init__(self) -> None:
        """None yet."""
        self.plants: dict[str, list[Plant]] = {}

    def rule(self, owner: Any, name: Any, *, also: str = "") -> Callable[[Make], Make]:
        """The decorated function gives the broken version; `also` joins it to that mutant."""

        def register(make: Make) -> Make:
            mutant = also or make.__name__.strip("_").replace("_", "-")
            self.plants.setdefault(mutant, []).append((owner, name, make))
            return make

        return register


@contextmanager
def planted(mutants: dict[str, list[Plant]], name: str | None) -> Iterator[None]:
    """Break one rule while the block runs; None breaks none."""
    with ExitStack() as stack:
        for plant in mutants[name] if name is not None else ():
            stack.enter_context(swapped(*plant))
        yield


@contextmanager
def swapped(owner: Any, name: Any, make: Make) -> Iterator[None]:
    """Replace an attribute or an item while the block runs."""
    if isinstance(owner, dict):
        real = owner[name]
        owner[name] = make(real)
    else:
        real = getattr(owner, name)
        setattr(owner, name, make(real))
    try:
        yield
    finally:
        if isinstance(owner, dict):
            owner[name] = real
        else:
            setattr(owner, name, real)


__all__ = ["Broken", "Plant", "planted", "swapped"]
