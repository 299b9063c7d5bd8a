"""Ways along edges that lead back to where they began."""

from __future__ import annotations

from collections.abc import Iterable

Edge = tuple[str, str]  # Where from, where to.


def round_of(edges: Iterable[Edge], source: str, target: str) -> list[str] | None:
    """The shortest way from `source` over `target` back to `source`; None when there is none."""
    after: dict[str, list[str]] = {}
    for start, end in edges:
        after.setdefault(start, []).append(end)
    before: dict[str, str] = {target: source}
    line = [target]
    for name in line:  # It grows while it is read.
        if name == source:
            break
        for following in after.get(name, ()):
            if following not in before:
                before[following] = name
                line.append(following)
    else:
        return None
    way = [source]
    while len(way) == 1 or way[-1] != source:
        way.append(before[way[-1]])
    return way[::-1]


def _without_ends(edges: list[Edge]) -> list[Edge]:
    """Those that may be part of a round: nothing that only begins or only ends stays."""
    while True:
        starts, ends = {start for start, _ in edges}, {end for _, end in edges}
        kept = [(start, end) for start, end in edges if start in ends and end in starts]
        if len(kept) == len(edges):
            return edges
        edges = kept


def rounds(edges: Iterable[Edge]) -> list[list[str]]:
    """One way round for each place that has one, each place named once."""
    known = _without_ends(sorted(set(edges)))
    told: set[str] = set()
    found = []
    for source, target in known:
        if source not in told:
            way = round_of(known, source, target)
            if way is not None:
                found.append(way)
                told.update(way)
    return found
