"""The shapes of partitions: which directed pairs of nodes cannot hear each other.

Pure: names and a random source in, pairs (source, target) out.  A pair stands for what the source
sends; blocked in one direction only, it is a one-way loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations
from random import Random

Pair = tuple[str, str]


def every(names: Iterable[str]) -> frozenset[Pair]:
    """All pairs."""
    return frozenset(permutations(names, 2))


def both(pairs: Iterable[Pair]) -> frozenset[Pair]:
    """These pairs and their opposites."""
    found = frozenset(pairs)
    return found | {(b, a) for a, b in found}


def between(left: Iterable[str], right: Iterable[str]) -> frozenset[Pair]:
    """Nothing passes between the two sides, in either direction."""
    others = list(right)
    return both((a, b) for a in left for b in others if a != b)


def halves(names: Sequence[str], rng: Random) -> frozenset[Pair]:
    """Two sides that do not hear each other; with an odd count one side has the majority."""
    mixed = rng.sample(list(names), len(names))
    middle = len(mixed) // 2
    return between(mixed[:middle], mixed[middle:])


def alone(name: str, names: Iterable[str]) -> frozenset[Pair]:
    """One node is cut off from all others."""
    return between([name], [other for other in names if other != name])


def one_way(deaf: Iterable[str], names: Iterable[str]) -> frozenset[Pair]:
    """These nodes hear nobody of the rest, and the rest hears them."""
    chosen = set(deaf)
    return frozenset((a, b) for a in names for b in chosen if a not in chosen)


def ring(names: Sequence[str], rng: Random) -> frozenset[Pair]:
    """Every node hears its two neighbours in a ring, and no one sees all: no clean sides.

    From five nodes on; each then has a majority in sight, and each a different one.  With four the
    opposite ones are cut, with fewer nothing is.
    """
    mixed = rng.sample(list(names), len(names))
    count = len(mixed)
    joined = both((mixed[at], mixed[(at + 1) % count]) for at in range(count))
    return every(mixed) - joined


def bridge(names: Sequence[str], rng: Random) -> frozenset[Pair]:
    """Two sides that do not hear each other, and one node that hears both."""
    mixed = rng.sample(list(names), len(names))
    middle = (len(mixed) - 1) // 2
    return between(mixed[1 : 1 + middle], mixed[1 + middle :])


def swizzle(names: Sequence[str], rng: Random) -> tuple[list[str], list[str]]:
    """Some nodes to cut off one after another, and another order in which they come back."""
    chosen = rng.sample(list(names), rng.randint(2, len(names)))
    return chosen, rng.sample(chosen, len(chosen))
