"""Seconds from the start of a node until it greets, by calls that wait; and per million of them.

    python -m bench.growth.recovery [--waiting 100k,300k,1M] [--rounds 3]

The logs are filled once (`bench.recovery`); in each round every one of them is started and killed,
so the first round, which does not count, finds the pages cold and the others warm.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

from bench.growth.figures import amount, figure, short, slope, told, whole_numbers
from bench.growth.plot import Bars
from bench.growth.report import Report, in_turns, options
from bench.growth.worlds import START_S, fill
from tests.live.harness import Mesh


def start_s(mesh: Mesh, waiting: int, first: list[float]) -> float:
    """Seconds until the node greets with all its calls; it is killed then."""
    begin = time.perf_counter()
    mesh.start(seconds=START_S)
    took = time.perf_counter() - begin
    assert mesh.ask("status", seconds=60.0)["calls"]["open"] == waiting
    mesh.kill()
    if not first:
        first.append(took)
    return took


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--waiting", type=whole_numbers, default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(arguments)
    report = Report("recovery", args.out)
    with ExitStack() as stack:
        meshes = {count: Mesh() for count in sorted({0, *args.waiting})}
        for count, mesh in meshes.items():
            stack.callback(mesh.remove)
            report.say(f"filled     {count:,} calls in {fill(mesh, count):.1f} s")
        cold: dict[int, list[float]] = {count: [] for count in meshes}
        found = in_turns(
            {count: partial(start_s, mesh, count, cold[count]) for count, mesh in meshes.items()},
            args.rounds,
        )
    series = {"": {amount(count): values for count, values in found.items()}}
    report.show(Bars("a node's start, by calls that wait", "s", series))
    base = figure(found[0]).median
    for count in list(found)[1:]:
        per = [(value - base) / count * 1e6 for value in found[count]]
        report.say(
            f"per million {told(figure(per))} s, of {count:,}; the first start of the run took "
            f"{short(cold[count][0])} s"
        )
    if len(found) > 2:
        points = [(count / 1e6, value) for count, values in found.items() for value in values]
        report.say(f"slope      {short(slope(points))} s per million calls, over all starts")
    report.save()


if __name__ == "__main__":
    main()
