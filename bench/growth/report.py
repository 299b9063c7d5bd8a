"""What a curve says: on the screen, and in the folder of the run as text, JSON and PNG."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import machine
from bench.growth import plot
from bench.growth.figures import X

OUT = "build/bench"  # Below the checkout; git does not see it.


def options(doc: str | None) -> argparse.ArgumentParser:
    """The command line of a curve, with what every curve has."""
    parser = argparse.ArgumentParser(
        description=(doc or "").strip(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=machine.ROOT / OUT, help="folder of the files")
    return parser


class Report:
    """Lines and plots of one curve; `save` writes the files."""

    def __init__(self, name: str, out: Path, head: str | None = None) -> None:
        """Print the head: machine, versions, commit, moment."""
        self._name = name
        self._out = out
        self._begun = time.monotonic()
        self._lines: list[str] = []
        self._plots: list[plot.Bars | plot.Lines] = []
        self.say(machine.describe() if head is None else head)

    def say(self, text: str) -> None:
        """Print some lines and keep them."""
        print(text, flush=True)
        self._lines.append(text)

    def show(self, what: plot.Bars | plot.Lines) -> None:
        """Print a plot and keep it."""
        self.say("\n" + plot.text(what))
        self._plots.append(what)

    def save(self) -> None:
        """Write `growth-NAME.txt`, `.json` and a picture of each plot, where that can be drawn."""
        took = time.monotonic() - self._begun
        self.say(f"\nload       {os.getloadavg()[0]:.1f} at the end, {took:.0f} s in all")
        self._out.mkdir(parents=True, exist_ok=True)
        base = self._out / f"growth-{self._name}"
        base.with_suffix(".txt").write_text("\n".join(self._lines) + "\n")
        found = {"lines": self._lines, "plots": [asdict(one) for one in self._plots]}
        base.with_suffix(".json").write_text(json.dumps(found, indent=1))
        note = self._lines[0]
        drawn = [
            plot.png(one, base.with_name(f"{base.name}-{number}.png"), note)
            for number, one in enumerate(self._plots, 1)
        ]
        pictures = f"{len(drawn)} pictures" if all(drawn) else (
            "no pictures: matplotlib is not installed (the extra `bench`)"
        )
        print(f"written    {base}.txt and .json, {pictures}")


def in_turns(
    points: Mapping[X, Callable[[], float]], rounds: int, *, warm: int = 1
) -> dict[X, list[float]]:
    """Measure every point once in each round, there and back, so that a slow moment meets all.

    Args:
        points: what gives one value of each.
        rounds: that count, at least 1.
        warm: rounds before them that do not.
    """
    found: dict[Any, list[float]] = {x: [] for x in points}
    for number in range(-warm, rounds):
        for x in list(points)[:: 1 if number % 2 else -1]:
            value = points[x]()
            if number >= 0:
                found[x].append(value)
    return found
