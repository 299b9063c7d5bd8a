"""The table, its ratios and its reading: pure, from what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import machine
from bench.peers.roster import OURS
from bench.peers.syncs import Check
from bench.peers.turn import Sample

NONE = "-"


@dataclass
class Row:
    """One system, over all rounds."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    samples: dict[int, Sample] = field(default_factory=dict)  # By the number of their round.
    check: Check | None = None
    reason: str = ""  # Why it was not measured, or not in every round.
    failures: int = 0

    @property
    def durable(self) -> bool:
        """Synced before the acknowledgement, as counted."""
        return self.check is not None and self.check.synced

    @property
    def brokered(self) -> bool:
        """Its tasks pass a server."""
        return bool(self.facts.get("brokered"))

    def values(self, of: Callable[[Sample], float | None]) -> list[float]:
        """One figure of each round that has it."""
        return [value for one in self.samples.values() if (value := of(one)) is not None]

    def median(self, of: Callable[[Sample], float | None]) -> float | None:
        """Its median."""
        values = self.values(of)
        return statistics.median(values) if values else None


def p50(sample: Sample) -> float | None:
    """Median of the single calls of a round."""
    return machine.percentile(sample.singles_ms, 0.5) if sample.singles_ms else None


def number(value: float | None) -> str:
    """Three figures, thousands with commas; `-` for none."""
    if value is None:
        return NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> str:
    """The least and the greatest."""
    return f"{number(min(values))} to {number(max(values))}" if values else NONE


def ratios(row: Row, ours: Row, of: Callable[[Sample], float | None]) -> list[float]:
    """Ours divided by the row's, of each round that has both."""
    found = []
    for turn, sample in row.samples.items():
        mine = of(ours.samples[turn]) if turn in ours.samples else None
        theirs = of(sample)
        if mine is not None and theirs:
            found.append(mine / theirs)
    return found


def ratio(row: Row, ours: Row | None, of: Callable[[Sample], float | None]) -> str:
    """The median of those, with a mark that it is a factor."""
    if ours is None or row.name == ours.name:
        return NONE
    found = ratios(row, ours, of)
    return f"{number(statistics.median(found))}x" if found else NONE


def by_name(rows: Iterable[Row], name: str) -> Row | None:
    """The measured row of that name."""
    return next((row for row in rows if row.name == name and row.samples), None)


def rate(sample: Sample) -> float | None:
    """Calls a second."""
    return sample.rate


SPEED = (
    "system", "calls/s", "least to greatest", "mesh / it", "p50 ms", "p99 ms", "chains/s",
    "mesh / it", "fan+funnel ms", "CPU us/call",
)  # fmt: skip
COST = (
    "system", "idle MiB", "loaded MiB", "first result s", "disk B/call", "written B/submit",
    "synced/submit",
    "kept after kill -9", "an acknowledged submit is",
)  # fmt: skip


def speed_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Rates and latencies."""
    ours = by_name(rows, OURS)
    found = []
    for row in rows:
        if not row.samples:
            continue
        every = [ms for sample in row.samples.values() for ms in sample.singles_ms]
        found.append([
            row.name, number(row.median(rate)), spread(row.values(rate)), ratio(row, ours, rate),
            number(row.median(p50)), number(machine.percentile(every, 0.99) if every else None),
            number(row.median(lambda s: s.chains)), ratio(row, ours, lambda s: s.chains),
            number(row.median(lambda s: s.fan_ms)), number(row.median(lambda s: s.cpu_us)),
        ])  # fmt: skip
    return found


SPREAD = (
    "least to greatest", "p50 ms", "chains/s", "fan+funnel ms", "CPU us/call", "first result s",
)  # fmt: skip


def spread_rows(rows: Sequence[Row]) -> list[list[str]]:
    """How far apart the rounds were."""
    figures: list[Callable[[Sample], float | None]] = [
        p50, lambda s: s.chains, lambda s: s.fan_ms, lambda s: s.cpu_us, lambda s: s.start_s,
    ]  # fmt: skip
    return [[row.name, *[spread(row.values(of)) for of in figures]] for row in rows if row.samples]


def synced_text(check: Check | None) -> str:
    """Syncs a submit, and in how long when there were few."""
    if check is None or check.count is None:
        return "not checked"
    count = check.count
    text = f"{count.per_submit:.2f}"
    return text if check.synced else f"{text} in {count.seconds:.1f} s"


def written_text(check: Check | None) -> str:
    """Bytes written to its files for one submit."""
    return NONE if check is None or check.count is None else number(check.count.written)


def kept_text(row: Row) -> str:
    """Of how many submits how many were there."""
    if row.check is None or row.check.kept is None:
        return NONE if row.facts.get("keeps", True) else "nothing is"
    return f"{row.check.kept} of {row.check.submitted}"


def cost_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Memory, start and disk."""
    return [
        [
            row.name, number(row.median(lambda s: s.idle.best)),
            number(row.median(lambda s: s.loaded.best)), number(row.median(lambda s: s.start_s)),
            number(row.median(lambda s: s.grown)), written_text(row.check),
            synced_text(row.check), kept_text(row), str(row.facts.get("acknowledged", NONE)),
        ]
        for row in rows
        if row.samples
    ]  # fmt: skip


def best(rows: Iterable[Row], wanted: Callable[[Row], bool]) -> Row | None:
    """The quickest of those, without ours."""
    found = [row for row in rows if row.name != OURS and row.samples and wanted(row)]
    return max(found, key=lambda row: row.median(rate) or 0.0, default=None)


def against(rows: Sequence[Row], said: str, wanted: Callable[[Row], bool]) -> str:
    """One line: ours against the best of some."""
    ours, rival = by_name(rows, OURS), best(rows, wanted)
    if rival is None:
        return f"{said}: none was measured"
    if ours is None:
        return f"{said}: {rival.name}, {number(rival.median(rate))} calls/s"
    found = ratios(rival, ours, rate)
    text = f"{said}: {rival.name}, {number(rival.median(rate))} calls/s"
    if not found:
        return f"{text}; no round has both"
    cpu = 1 / statistics.median(ratios(rival, ours, lambda s: s.cpu_us))
    return (
        f"{text}; meshcode / it: {machine.spread(found, '{:.2f}')}; "
        f"it takes {number(cpu)} times the CPU a call"
    )


def summary(rows: Sequence[Row]) -> list[str]:
    """The lines below the tables."""
    return [
        against(rows, "best durable peer (synced before the acknowledgement)", lambda r: r.durable),
        against(rows, "best brokered peer, whatever it keeps", lambda r: r.brokered),
        against(rows, "best of all peers, also those in memory", lambda r: True),
    ]


def slower(rows: Sequence[Row]) -> list[str]:
    """Where a peer is better than meshcode, one line a figure."""
    ours = by_name(rows, OURS)
    if ours is None:
        return []
    figures: list[tuple[str, Callable[[Sample], float | None], bool]] = [
        ("calls/s", rate, True), ("p50 ms", p50, False), ("chains/s", lambda s: s.chains, True),
        ("fan+funnel ms", lambda s: s.fan_ms, False), ("CPU us/call", lambda s: s.cpu_us, False),
        ("idle MiB", lambda s: s.idle.best, False), ("loaded MiB", lambda s: s.loaded.best, False),
        ("first result s", lambda s: s.start_s, False),
    ]  # fmt: skip
    lines = []
    for name, of, more_is_better in figures:
        mine = ours.median(of)
        better = []
        for row in rows:
            theirs = row.median(of)
            if row is ours or theirs is None or mine is None:
                continue
            if theirs > mine if more_is_better else theirs < mine:
                better.append(f"{row.name} {number(theirs)}")
        if better:
            lines.append(f"{name}: meshcode {number(mine)}; better: {', '.join(better)}")
    return lines


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they must be; the first and the last to the left, figures to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    left = {0, len(head) - 1} if head == COST else {0}
    return "\n".join(
        "  ".join(
            word.ljust(width) if n in left else word.rjust(width)
            for n, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same for a page."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def report(rows: Sequence[Row], head: str, *, markdown: bool = False) -> str:
    """Everything, for people."""
    table = markdown_table if markdown else text_table
    parts = [f"```\n{head}\n```" if markdown else head]
    parts += [table(SPEED, speed_rows(rows)), table(COST, cost_rows(rows))]
    parts.append(table(SPREAD, spread_rows(rows)))
    bullet = "- " if markdown else "  "
    parts.append("\n".join(bullet + line for line in summary(rows)))
    if lines := slower(rows):
        title = "Where a peer is better:"
        parts.append("\n".join([title, *(["", *[bullet + line for line in lines]])]))
    parts.append("\n".join(["Set up:", "", *[
        f"{bullet}{row.name}: {row.facts['settings']}" for row in rows if row.facts
    ]]))  # fmt: skip
    if missing := [row for row in rows if row.reason]:
        title = "Not measured, or not in every part:"
        parts.append("\n".join([title, "", *[f"{bullet}{r.name}: {r.reason}" for r in missing]]))
    return "\n\n".join(parts) + "\n"


def raw(rows: Sequence[Row], head: str) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "head": head.splitlines(),
        "summary": summary(rows),
        "rows": [
            {
                "name": row.name, "facts": row.facts, "reason": row.reason,
                "durable": row.durable, "brokered": row.brokered,
                "samples": {turn: asdict(sample) for turn, sample in row.samples.items()},
                "check": asdict(row.check) if row.check else None,
            }
            for row in rows
        ],
    }  # fmt: skip
