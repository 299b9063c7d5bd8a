"""Rules of agreement broken on purpose; the seeds must catch each.

A mutant replaces one function, or a few that keep one rule, by a version without it, as a careless
change would leave it: `mutants_agreement` for `meshcode/replica`, `mutants_work` for the turn law,
the router and the fence.  `python -m meshcode.sim.mesh --mutants` tells the seeds each took.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from meshcode.sim.mesh import mutants_agreement, mutants_work
from meshcode.sim.mesh.planting import Plant, swapped

MUTANTS: dict[str, list[Plant]] = {**mutants_work.BROKEN.plants, **mutants_agreement.BROKEN.plants}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Break one rule while the block runs; None breaks none."""
    with ExitStack() as stack:
        for plant in MUTANTS[name] if name is not None else ():
            stack.enter_context(swapped(*plant))
        yield


__all__ = ["MUTANTS", "planted"]
