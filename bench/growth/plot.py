"""Curves drawn: as text always, as PNG where matplotlib is installed (`meshcode[bench]`).

A bar reaches from nothing to the least of its runs (`#`), goes on to the greatest (`:`), and has
`|` at the median.  Lines have the first letter of what they show; where two meet there is `*`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.growth.figures import figure, short, told

WIDTH = 44  # Characters of the longest bar.
LINES_WIDTH, LINES_HEIGHT = 64, 12
DECADES_MIN = 1.5  # Values further apart than this have a logarithmic axis.


@dataclass
class Bars:
    """Some series over the same points, each point with the values of its rounds."""

    title: str
    unit: str
    series: Mapping[str, Mapping[str, Sequence[float]]]  # Series -> point -> values.
    budget: float | None = None
    at_most: bool = True  # The budget is a greatest value, else a least.


@dataclass
class Lines:
    """Some series of places: what something was along a run."""

    title: str
    x: str
    unit: str
    series: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether bars of these are to be compared by their orders of magnitude."""
    above = [value for value in values if value > 0]
    return len(above) == len(values) > 1 and (
        math.log10(max(above) / min(above)) > DECADES_MIN
    )


class Axis:
    """Where a value lies between the two ends of a bar."""

    def __init__(self, values: Sequence[float], width: int) -> None:
        """An axis for all these values."""
        self.logarithmic = is_logarithmic(values)
        self._width = width
        self._most = max(values, default=0.0)
        self._low = math.floor(math.log10(min(values))) if self.logarithmic else 0

    def at(self, value: float) -> int:
        """Characters from the left, 0 to `width`."""
        if self._most <= 0 or value <= 0:
            return 0
        if not self.logarithmic:
            return round(value / self._most * self._width)
        whole = math.log10(self._most) - self._low
        return max(0, round((math.log10(value) - self._low) / whole * self._width))


def bar(axis: Axis, values: Sequence[float]) -> str:
    """The bar of one point."""
    found = figure(values)
    least, median, most = (axis.at(v) for v in (found.least, found.median, found.most))
    marks = ["#"] * least + [":"] * (most - least)
    if marks:
        marks[max(0, median - 1)] = "|"
    return "".join(marks)


def text_bars(bars: Bars) -> str:
    """The lines of a plot with bars."""
    rows = [(name, point, values) for name, points in bars.series.items()
            for point, values in points.items()]  # fmt: skip
    every = [value for _, _, values in rows for value in values]
    axis = Axis(every + ([bars.budget] if bars.budget is not None else []), WIDTH)
    wide = max((len(point) for _, point, _ in rows), default=0)
    head = f"{bars.title} [{bars.unit}{', logarithmic' if axis.logarithmic else ''}]"
    lines, last = [head], None
    for name, point, values in rows:
        if name != last and name:
            lines.append(f"  {name}")
        last = name
        found = figure(values)
        line = f"  {point:>{wide}} {bar(axis, values):<{WIDTH}} {told(found)}"
        lines.append(line + _verdict(bars, found.median))
    if bars.budget is not None:
        wanted = "at most" if bars.at_most else "at least"
        lines.append(f"  {'budget':>{wide}} {'':>{max(0, axis.at(bars.budget) - 1)}}^ "
                     f"{wanted} {short(bars.budget)}")  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _verdict(bars: Bars, median: float) -> str:
    if bars.budget is None:
        return ""
    kept = median <= bars.budget if bars.at_most else median >= bars.budget
    return "" if kept else "  MISSED"


def text_lines(lines: Lines) -> str:
    """The lines of a plot with lines; from 0 up, so that flat looks flat."""
    places = [place for points in lines.series.values() for place in points]
    if not places:
        return f"{lines.title}: nothing was measured"
    low, high = min(x for x, _ in places), max(x for x, _ in places)
    most = max(0.0, *(y for _, y in places)) or 1.0
    grid = [[" "] * LINES_WIDTH for _ in range(LINES_HEIGHT)]
    for name, points in lines.series.items():
        for x, y in points:
            column = round((x - low) / ((high - low) or 1) * (LINES_WIDTH - 1))
            row = LINES_HEIGHT - 1 - round(max(0.0, y) / most * (LINES_HEIGHT - 1))
            there = grid[row][column]
            grid[row][column] = name[0] if there in (" ", name[0]) else "*"
    shown = [f"{lines.title} [{lines.unit}]"]
    for number, row in enumerate(grid):
        label = short(most) if number == 0 else "0" if number == LINES_HEIGHT - 1 else ""
        shown.append(f"  {label:>8} |{''.join(row).rstrip()}")
    shown.append(f"  {'':>8} +{'-' * LINES_WIDTH}")
    ends = f"{short(low)}{short(high):>{LINES_WIDTH - len(short(low))}}"
    shown.append(f"  {'':>8}  {ends} {lines.x}")
    shown.append(f"  {'':>8}  {', '.join(f'{name[0]} {name}' for name in lines.series)}")
    return "\n".join(shown)


def text(what: Bars | Lines) -> str:
    """The plot in characters."""
    return text_bars(what) if isinstance(what, Bars) else text_lines(what)


def png(what: Bars | Lines, path: Path, note: str) -> bool:
    """Write the plot as a picture; False when matplotlib is not installed."""
    try:
        import matplotlib as library
    except ImportError:
        return False
    library.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    if isinstance(what, Bars):
        _draw_bars(axes, what)
    else:
        for name, points in what.series.items():
            axes.plot([x for x, _ in points], [y for _, y in points], label=name)
        axes.set(xlabel=what.x, ylabel=what.unit, ylim=(0, None))
    axes.set_title(what.title)
    if len(what.series) > 1 or isinstance(what, Lines):
        axes.legend()
    axes.grid(True, alpha=0.3)
    drawing.supxlabel(note, fontsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=120)
    pyplot.close(drawing)
    return True


def _draw_bars(axes: Any, what: Bars) -> None:
    points = list(dict.fromkeys(point for found in what.series.values() for point in found))
    every: list[float] = []
    for name, found in what.series.items():
        at = [points.index(point) for point in found]
        sums = [figure(values) for values in found.values()]
        medians = [one.median for one in sums]
        ends = [[one.median - one.least for one in sums], [one.most - one.median for one in sums]]
        axes.errorbar(at, medians, yerr=ends, marker="o", capsize=4, label=name or what.unit)
        every += [value for values in found.values() for value in values]
    if what.budget is not None:
        axes.axhline(what.budget, color="black", linestyle="--", linewidth=0.8, label="budget")
    axes.set_xticks(range(len(points)), points, rotation=20 if len(points) > 6 else 0)
    axes.set_ylabel(what.unit)
    if is_logarithmic(every):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
