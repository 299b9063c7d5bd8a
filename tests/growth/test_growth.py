"""The pure parts of the growth curves: what is worked out of values, and how it is drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.growth import __main__ as runner
from bench.growth import plot
from bench.growth.clients import share
from bench.growth.figures import (
    amount,
    figure,
    is_flat,
    late_slope,
    octets,
    percentiles,
    ratios,
    short,
    slope,
    told,
    whole_numbers,
)
from bench.growth.latency import Load, by_second
from bench.growth.report import Report, in_turns

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_figure_is_the_median_and_both_ends():
    assert figure([30, 10, 20]) == (20, 10, 30, 3)
    assert figure([4.0, 2.0]).median == 3.0
    with pytest.raises(ValueError, match="no value"):
        figure([])


def test_percentiles_are_values_by_nearest_rank():
    values = list(range(1_000, 0, -1))

    assert percentiles(values, (0, 0.5, 0.99, 0.999, 1)) == [1, 500, 990, 999, 1_000]
    assert percentiles([7.0], (0, 0.5, 1)) == [7.0, 7.0, 7.0]
    assert percentiles([1, 2], (0.5, 0.51)) == [1, 2]
    with pytest.raises(ValueError, match=r"0 to 1, not 1\.5"):
        percentiles([1], (1.5,))
    with pytest.raises(ValueError, match="no value"):
        percentiles([], (0.5,))


def test_the_slope_is_that_of_the_least_squares():
    line = [(x, 5 + 3.0 * x) for x in range(10)]
    bent = [(x, 100.0 * x) for x in range(10)] + [(x, 900.0) for x in range(10, 20)]

    assert slope(line) == pytest.approx(3.0)
    assert slope([(0, 0), (1, 2), (2, 1)]) == pytest.approx(0.5)
    assert late_slope(bent) == pytest.approx(0.0)
    assert slope(bent) > 40
    with pytest.raises(ValueError, match="2 places"):
        slope([(1, 1), (1, 2)])


def test_flat_is_under_a_byte_per_call_up_or_down():
    assert is_flat(0.99)
    assert is_flat(-0.99)
    assert not is_flat(1.0)
    assert not is_flat(-8.0)


def test_ratios_are_of_the_same_round():
    assert ratios({"a": [10, 20], "b": [5, 40]}, "a") == {"a": [1, 1], "b": [0.5, 2]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (45_197.4, "45,197"), (123.4, "123"), (12.34, "12.3"), (1.0, "1.00"), (0.012, "0.0120"),
        (0, "0"), (-3.14159, "-3.14"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_numbers_are_told_with_the_digits_that_count(value: float, text: str):
    assert short(value) == text


def test_figures_and_amounts_as_text():
    assert told(figure([3.0])) == "3.00"
    assert told(figure([1, 2, 30])) == "2.00 (1.00 to 30.0)"
    assert [amount(n) for n in (0, 10, 1_000, 10_000_000)] == ["0", "10", "1,000", "10M"]
    assert [octets(n) for n in (10, 1_500, 10_000_000)] == ["10 B", "1.5 kB", "10 MB"]


def test_numbers_of_an_option():
    assert whole_numbers("0,100k, 10M,1_000") == [0, 100_000, 10_000_000, 1_000]
    for wrong in ("", ",", "x", "1.5", "-1", "k"):
        with pytest.raises(ValueError):
            whole_numbers(wrong)


def test_every_point_has_its_turn_in_every_round_there_and_back():
    order: list[str] = []
    values = iter(range(100))

    def measure(name: str) -> float:
        order.append(name)
        return float(next(values))

    found = in_turns({name: lambda name=name: measure(name) for name in "abc"}, 2)

    assert "".join(order) in ("abccbaabc", "cbaabccba")
    assert {name: len(kept) for name, kept in found.items()} == {"a": 2, "b": 2, "c": 2}
    assert sorted(value for kept in found.values() for value in kept) == [3, 4, 5, 6, 7, 8]


def test_bars_show_median_and_both_ends():
    bars = plot.Bars("rates", "calls/s", {"": {"1": [50, 100, 75], "10": [25, 25, 25]}})

    head, first, second = plot.text_bars(bars).splitlines()

    assert head == "rates [calls/s]"
    assert first == f"   1 {'#' * 22}{':' * 10}|{':' * 11} 75.0 (50.0 to 100)"
    assert second == f"  10 {'#' * 10}|{' ' * 33} 25.0 (25.0 to 25.0)"


def test_bars_far_apart_are_compared_by_their_orders_of_magnitude():
    near = plot.text_bars(plot.Bars("a", "ms", {"": {"x": [10], "y": [100]}}))
    far = plot.text_bars(plot.Bars("a", "ms", {"": {"x": [10], "y": [1_000], "z": [100_000]}}))
    lengths = [line.count("#") + line.count("|") for line in far.splitlines()[1:]]

    assert near.splitlines()[0] == "a [ms]"
    assert far.splitlines()[0] == "a [ms, logarithmic]"
    assert lengths == [0, 22, 44]


def test_bars_say_where_a_budget_is_missed():
    most = plot.text_bars(plot.Bars("p", "ms", {"": {"a": [50], "b": [150]}}, budget=100.0))
    least = plot.text_bars(
        plot.Bars("r", "ratio", {"": {"a": [0.9], "b": [0.7]}}, budget=0.8, at_most=False)
    )

    assert [line.endswith("MISSED") for line in most.splitlines()[1:3]] == [False, True]
    assert most.splitlines()[3].endswith("^ at most 100")
    assert most.splitlines()[3].index("^") == len("  budget ") - 0 + round(100 / 150 * 44) - 1
    assert [line.endswith("MISSED") for line in least.splitlines()[1:3]] == [False, True]
    assert least.splitlines()[3].endswith("^ at least 0.800")


def test_bars_of_nothing_are_empty_and_not_an_error():
    shown = plot.text_bars(plot.Bars("none", "calls/s", {"": {"1": [0.0], "2": [0.0]}}))

    assert shown.splitlines() == ["none [calls/s]", f"  1 {' ' * 44} 0", f"  2 {' ' * 44} 0"]


def test_lines_begin_at_nothing_so_that_flat_looks_flat():
    flat = [(float(x), 100.0) for x in range(101)]
    rising = [(float(x), float(x)) for x in range(101)]

    rows = plot.text_lines(plot.Lines("m", "calls", "MiB", {"node": flat, "client": rising}))
    grid = [line[12:] for line in rows.splitlines()[1:13]]

    assert grid[0].startswith("n" * 60)
    assert grid[0][-1] == "*"  # Where both meet.
    assert grid[11][0] == "c"
    assert [line.find("c") for line in grid[1:]] == sorted(
        (line.find("c") for line in grid[1:]), reverse=True
    )
    assert rows.splitlines()[-1].strip() == "n node, c client"
    assert plot.text_lines(plot.Lines("m", "x", "y", {"a": []})) == "m: nothing was measured"


def test_a_report_leaves_text_and_data(tmp_path: Path, capsys):
    report = Report("probe", tmp_path / "out", head="machine    a probe")
    report.show(plot.Bars("rates", "calls/s", {"": {"1": [1.0, 2.0]}}))
    report.save()

    text = (tmp_path / "out/growth-probe.txt").read_text()
    data = json.loads((tmp_path / "out/growth-probe.json").read_text())

    assert text.startswith("machine    a probe\n")
    assert "rates [calls/s]" in text
    assert data["plots"][0]["series"] == {"": {"1": [1.0, 2.0]}}
    assert "written " in capsys.readouterr().out


def test_pictures_are_drawn_where_matplotlib_is(tmp_path: Path):
    pytest.importorskip("matplotlib")
    bars = plot.Bars("b", "ms", {"s": {"1": [1.0, 2.0], "2": [900.0]}}, budget=100.0)

    assert plot.png(bars, tmp_path / "bars.png", "note")
    assert plot.png(plot.Lines("l", "x", "y", {"a": [(0, 1), (1, 2)]}), tmp_path / "l.png", "")

    assert (tmp_path / "bars.png").read_bytes()[:8] == PNG
    assert (tmp_path / "l.png").read_bytes()[:8] == PNG


def test_without_matplotlib_there_is_no_picture_and_no_error(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)

    assert not plot.png(plot.Bars("b", "ms", {"": {"1": [1.0]}}), tmp_path / "b.png", "")

    assert list(tmp_path.iterdir()) == []


def test_names_and_options_of_the_runner():
    assert runner.split([]) == (list(runner.CURVES), [])
    assert runner.split(["memory", "waiting", "--out", "x"]) == (
        ["memory", "waiting"], ["--out", "x"],
    )  # fmt: skip
    assert runner.split(["memory", "--calls=10M"]) == (["memory"], ["--calls=10M"])
    with pytest.raises(ValueError, match="there is no curve 'mem'"):
        runner.split(["mem"])
    with pytest.raises(ValueError, match="--calls is an option of one curve"):
        runner.split(["memory", "waiting", "--calls", "5"])
    assert runner.main(["mem"]) == 2


@pytest.mark.parametrize("name", runner.CURVES)
def test_every_curve_is_a_module_that_says_how_it_is_run(name: str):
    text = (Path(runner.__file__).parent / f"{name}.py").read_text()

    assert f"python -m bench.growth.{name}" in text
    assert f'Report("{name}"' in text


def test_clients_are_spread_over_processes():
    assert share(100, 4) == [25, 25, 25, 25]
    assert share(10, 4) == [3, 3, 2, 2]
    assert share(1, 4) == [1]


def test_latency_is_measured_from_the_moment_that_was_meant():
    """A generator that stalls makes the calls of that time late, not absent."""
    load = Load(None, rate=10.0, seconds=1.0)  # type: ignore[arg-type]
    for number in range(load.count):
        load.sent_s[number] = 0.5
        load.ended_s[number] = 0.6

    assert load.count == 10
    assert load.latencies_ms()[0] == pytest.approx(600)
    assert load.latencies_ms()[5] == pytest.approx(100)
    assert load.lateness_ms()[0] == pytest.approx(500)
    assert by_second([1.0] * 10 + [3.0] * 5, 10.0) == {
        "p50": [(0, 1.0), (1, 3.0)], "99th percentile": [(0, 1.0), (1, 3.0)],
    }  # fmt: skip
