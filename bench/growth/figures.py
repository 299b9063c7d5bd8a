"""Sums over measured values: median and ends, percentiles, slopes, ratios, and their text.

Pure: nothing here measures anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

X = TypeVar("X", int, str)
FLAT_BYTES = 1.0  # Per call: a million calls more take a megabyte more.


class Figure(NamedTuple):
    """The median of some runs, and both ends."""

    median: float
    least: float
    most: float
    runs: int


def figure(values: Iterable[float]) -> Figure:
    """The figure of at least one value."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no figure of no value: measure at least 1 round")
    return Figure(statistics.median(ordered), ordered[0], ordered[-1], len(ordered))


def percentiles(values: Iterable[float], shares: Sequence[float]) -> list[float]:
    """By nearest rank: the least value that at least this share of all do not exceed.

    Args:
        values: at least one, in any order; sorted once.
        shares: each in 0 to 1.  1 is the greatest value.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no percentile of no value")
    wrong = [share for share in shares if not 0 <= share <= 1]
    if wrong:
        raise ValueError(f"a share is 0 to 1, not {wrong[0]}")
    # Rounded first: 0.999 * 1000 is a little more than 999 in floating point.
    ranks = (math.ceil(round(share * len(ordered), 9)) for share in shares)
    return [ordered[max(rank, 1) - 1] for rank in ranks]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Rise per x of the straight line with the least squares through `points`."""
    if len({x for x, _ in points}) < 2:
        raise ValueError(f"a slope needs 2 places or more, there are {len(points)} points")
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def late_slope(points: Sequence[tuple[float, float]]) -> float:
    """The slope of the second half: what comes before is getting warm."""
    return slope(points[len(points) // 2 :])


def is_flat(bytes_per_call: float) -> bool:
    """Whether so little growth is none."""
    return abs(bytes_per_call) < FLAT_BYTES


def ratios(found: Mapping[X, Sequence[float]], base: X) -> dict[X, list[float]]:
    """Each value by that of `base` of the same round."""
    rounds = found[base]
    return {
        x: [value / of for value, of in zip(values, rounds, strict=True)]
        for x, values in found.items()
    }


def short(value: float) -> str:
    """A value with three digits that count, for a column of them: 45,197, 3.21, 0.0120."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, digits)}f}"


def told(found: Figure) -> str:
    """Median, and both ends when there was more than one run."""
    if found.runs == 1:
        return short(found.median)
    return f"{short(found.median)} ({short(found.least)} to {short(found.most)})"


def whole_numbers(text: str) -> list[int]:
    """The numbers of an option like `0,100000,1000000`; `1_000` and `10M` are understood.

    Raises:
        ValueError: none is given, or one is no whole number.
    """
    ends = {"k": 1_000, "M": 1_000_000}
    found = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        times = ends.get(word[-1], 1)
        number = int(word[:-1] if times > 1 else word)
        if number < 0:
            raise ValueError(f"numbers here are 0 or more, not {number}")
        found.append(number * times)
    if not found:
        raise ValueError(f"numbers with commas between them are wanted, not {text!r}")
    return found


def amount(number: int) -> str:
    """A size of a point as people say it: 10, 1,000, 1M."""
    return f"{number // 1_000_000}M" if number and number % 1_000_000 == 0 else f"{number:,}"


def octets(size: int) -> str:
    """A number of bytes as people say it: 10 B, 1 kB, 10 MB."""
    for step, unit in ((1_000_000, "MB"), (1_000, "kB")):
        if size >= step:
            return f"{size / step:g} {unit}"
    return f"{size} B"
