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


def _in_rounds(edges: list[Edge]) -> list[Edge]:
    """Those that are part of a round: both ends can be reached from each other.

    Kosaraju's two walks: the names in the order in which a walk leaves them for good, and then
    walks against the edges, from the last of these to the first; each finds one group.
    """
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for start, end in edges:
        after.setdefault(start, []).append(end)
        before.setdefault(end, []).append(start)
    left = _left(after)
    group: dict[str, str] = {}
    for first in reversed(left):
        todo = [first]
        while todo:
            name = todo.pop()
            if name not in group:
                group[name] = first
                todo += before.get(name, ())
    return [(start, end) for start, end in edges if group[start] == group[end]]


def _left(after: dict[str, list[str]]) -> list[str]:
    """Every name, in the order in which a walk along the edges is done with it."""
    done: list[str] = []
    seen: set[str] = set()
    for first in after:
        todo = [(first, False)]
        while todo:
            name, returning = todo.pop()
            if returning:
                done.append(name)
            elif name not in seen:
                seen.add(name)
                todo.append((name, True))
                todo += [(end, False) for end in after.get(name, ()) if end not in seen]
    return done


def rounds(edges: Iterable[Edge]) -> list[list[str]]:
    """One way round for each place that has one, each place named once."""
    known = _in_rounds(sorted(set(edges)))
    told: set[str] = set()
    found = []
    for source, target in known:
        if source not in told:
            way = round_of(known, source, target)
            if way is not None:
                found.append(way)
                told.update(way)
    return found
