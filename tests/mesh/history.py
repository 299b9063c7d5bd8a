"""The outside judge of a mesh: what clients, executions and every node say, held together.

It knows nothing of meshcode.  JSONL files go in, a verdict comes out:

    history     {"t", "client", "op", "id", "type", "value", "level", "node"}     by clients
                op "submit": invoke = about to send; value is the argument, level what was asked;
                             of a flow and a chain it says what they cause: `composed.py`
                             ok     = acknowledged; level is what was told, node who told it
                             fail   = refused, so it must never run
                             info   = nobody knows: the client gave up on it
                op "result": ok = value is the outcome that was given out; fail = an error
    effects     {"id", "attempt", "node", "value", "unix_ms"}    one line per execution, by the task
    listings    {"id", "state", "result", "reason", "node"}      what each living node says at the
                end, a line per record; state UNKNOWN = asked for this id, it knew nothing
    faults      {"t", "do", "nodes"}    what was done to the mesh; see FOR_GOOD

An acknowledgement holds unless its level was `local` and the node that gave it was taken away:
that loss is in the bargain, it is counted beside.  Times are Unix seconds.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign.checker import read_lines, task
from tests.mesh.composed import Due, due_of, parts_of

ENDED = {"DONE", "FAILED", "CANCELLED"}
NO_RECORD = {"UNKNOWN", "MOVED"}  # MOVED closes one set of voters; its successor is the record.
# What takes a node, or its log, away and never brings it back.
FOR_GOOD = {"destroy", "evict", "kill_for_good", "lose_disk", "restore_disk"}
LOCAL = "local"
STRICT = "strict"
SHOWN_MAX = 5  # Ids named per kind of violation; the count tells the rest.

Line = dict[str, Any]


@dataclass
class Verdict:
    """What it adds up to.  Violations are lists of `id: why`."""

    attempted: int = 0
    acknowledged: dict[str, int] = field(default_factory=dict)  # Level -> calls.
    ended: int = 0  # Acknowledged, and with an outcome on record at some node.
    parts: int = 0  # Ended steps of flows and calls along plugs, of calls that are counted above.
    refused: int = 0
    unknown: int = 0  # Sent, and the client heard no answer.
    recovered: int = 0  # Of the unknown, those that were accepted after all.
    lost_local: int = 0  # Acknowledged `local` by a node that was taken away; in the bargain.
    executions: int = 0
    executed_twice: int = 0  # Allowed: at least once.
    lagging: int = 0  # Open at one node while ended at another.
    last_fault_t: float = 0.0
    last_outcome_s: float = 0.0  # From the last fault to the last outcome that a client was given.
    lost: list[str] = field(default_factory=list)  # Acknowledged, and no node has a record.
    stuck: list[str] = field(default_factory=list)  # On record, and not ended anywhere.
    recorded_twice: list[str] = field(default_factory=list)  # Two outcomes, told or stored.
    wrong_value: list[str] = field(default_factory=list)  # Not what the task gives.
    unexpected: list[str] = field(default_factory=list)  # Ran or is listed, and nobody asked.
    never_ran: list[str] = field(default_factory=list)  # DONE without a trace of an execution.
    failed: list[str] = field(default_factory=list)  # Ended as anything but DONE.
    unreadable: list[str] = field(default_factory=list)  # Ended, and a living node knows nothing.
    untrue_level: list[str] = field(default_factory=list)  # `strict` was asked, `local` given.

    VIOLATIONS = (
        "lost", "stuck", "recorded_twice", "wrong_value", "unexpected", "never_ran", "failed",
        "unreadable", "untrue_level",
    )  # fmt: skip

    @property
    def good(self) -> bool:
        """Whether nothing that was promised was broken."""
        return not any(getattr(self, name) for name in self.VIOLATIONS)

    def report(self) -> str:
        """The figures, one a line, and the first few ids of each violation."""
        levels = ", ".join(f"{count} {level}" for level, count in sorted(self.acknowledged.items()))
        repeats = f"{self.executed_twice} of them repeats (allowed)"
        lines = [
            f"attempted        {self.attempted}",
            f"acknowledged     {sum(self.acknowledged.values())}: {levels or 'none'}",
            f"ended            {self.ended}",
            f"caused by those  {self.parts} steps of flows and calls along plugs",
            f"refused          {self.refused}",
            f"unknown          {self.unknown}, of which {self.recovered} were accepted",
            f"executions       {self.executions}, {repeats}",
            f"lost by bargain  {self.lost_local}, acknowledged `local` by a node taken away",
            f"lagging          {self.lagging}",
            f"last outcome     {self.last_outcome_s:.1f} s after the last fault",
        ]
        for name in self.VIOLATIONS:
            found = getattr(self, name)
            lines.append(f"{name.replace('_', ' '):<16} {len(found)}")
            lines += [f"    {one}" for one in found[:SHOWN_MAX]]
        lines.append("verdict          " + ("good" if self.good else "BROKEN"))
        return "\n".join(lines)

    def row(self) -> dict[str, Any]:
        """The verdict as plain data."""
        counts = {name: len(getattr(self, name)) for name in self.VIOLATIONS}
        plain = {k: v for k, v in vars(self).items() if k not in counts}
        return {**plain, **counts, "good": self.good}


@dataclass
class Told:
    """All that was said of one call."""

    id: str
    sent: bool = False
    argument: Any = None
    asked: str | None = None  # The level that the client asked for.
    levels: list[tuple[str, str]] = field(default_factory=list)  # (level, node) of each answer.
    refused: bool = False
    answers: list[tuple[str, Any]] = field(default_factory=list)  # (DONE or NOT, value or error).
    records: list[Line] = field(default_factory=list)
    ignorant: list[str] = field(default_factory=list)  # Nodes that know nothing of it.
    runs: int = 0
    whole: Told | None = None  # The call that a client sent, which causes this one.
    due: Due | None = None

    @property
    def acknowledged(self) -> bool:
        """Somebody was told that it is safe; who gives an outcome has accepted the call.

        That promises all that it causes, too.
        """
        above = self.whole is not None and self.whole.acknowledged
        return above or bool(self.levels or self.answers)

    @property
    def ends(self) -> list[Line]:
        """The records that say it ended."""
        return [record for record in self.records if record["state"] in ENDED]


def check(
    history: Iterable[Line], effects: Iterable[Line], listings: Iterable[Line],
    faults: Iterable[Line], expected: Callable[[Any], Any],
) -> Verdict:  # fmt: skip
    """Judge.  `expected` is the task as a pure function: argument -> result."""
    lines = list(history)
    calls = gather(lines, effects, listings)
    _expect(calls, expected)
    gone, verdict = set(), Verdict()
    for fault in faults:
        verdict.last_fault_t = max(verdict.last_fault_t, fault["t"])
        if fault["do"] in FOR_GOOD:
            gone |= set(fault["nodes"])
    given = [line["t"] for line in lines if line["op"] == "result"]
    verdict.last_outcome_s = max(0.0, max(given, default=0.0) - verdict.last_fault_t)
    levels: Counter[str] = Counter()
    for id_ in sorted(calls):
        told = calls[id_]
        _count(told, levels, verdict)
        _judge_promise(told, gone, verdict)
        _judge_outcomes(told, verdict)
        if told.due is not None:
            _judge_values(told, told.due.value, verdict)
    verdict.acknowledged = dict(levels)
    return verdict


def gather(
    history: Iterable[Line], effects: Iterable[Line], listings: Iterable[Line]
) -> dict[str, Told]:
    """Everything by call."""
    calls: dict[str, Told] = {}

    def of(id_: str) -> Told:
        return calls.setdefault(id_, Told(id_))

    for line in history:
        told, kind = of(line["id"]), line["type"]
        if line["op"] == "result" and kind in ("ok", "fail"):
            told.answers.append(("DONE" if kind == "ok" else "NOT", line.get("value")))
        elif kind == "invoke":
            told.sent, told.argument, told.asked = True, line.get("value"), line.get("level")
        elif kind == "ok":
            told.levels.append((line.get("level") or LOCAL, line.get("node") or ""))
        elif kind == "fail":
            told.refused = True
    for line in effects:
        of(line["id"]).runs += 1
    for line in listings:
        if line["state"] == "UNKNOWN":
            of(line["id"]).ignorant.append(line["node"])
        elif line["state"] not in NO_RECORD:
            of(line["id"]).records.append(line)
    return calls


def _expect(calls: dict[str, Told], expected: Callable[[Any], Any]) -> None:
    """What each call must give; what is caused shares the promise of the call that causes it."""
    for whole in [told for told in calls.values() if told.sent]:
        due = due_of(whole.id, whole.argument, expected)
        whole.due = due[whole.id]
        for id_ in parts_of(whole.argument):
            part = calls.setdefault(id_, Told(id_))
            part.sent, part.whole, part.due = True, whole, due[id_]
            part.levels, part.refused = whole.levels, whole.refused


def _count(told: Told, levels: Counter[str], verdict: Verdict) -> None:
    verdict.executions += told.runs
    verdict.executed_twice += max(0, told.runs - 1)
    if told.whole is not None:
        verdict.parts += bool(told.ends)
        return
    verdict.attempted += told.sent
    if told.acknowledged:
        best = max((level for level, _ in told.levels), key=_rank, default="by its outcome")
        levels[best] += 1
        verdict.ended += bool(told.ends)
    elif told.refused:
        verdict.refused += 1
    elif told.sent:
        verdict.unknown += 1
        verdict.recovered += bool(told.records)
    if told.ends:
        verdict.lagging += any(record["state"] not in ENDED for record in told.records)


def _rank(level: str) -> int:
    return {LOCAL: 0, "quorum": 1, "all": 2}.get(level, -1)


def _judge_promise(told: Told, gone: set[str], verdict: Verdict) -> None:
    """Lost, stuck, unexpected, unreadable, the level."""
    known = bool(told.records)
    if not told.sent:
        verdict.unexpected.append(f"{told.id}: nobody sent it, yet it ran or is on record")
    if told.refused and not told.acknowledged and (told.runs or known):
        verdict.unexpected.append(f"{told.id}: refused, but it ran or is on record")
    if told.acknowledged and not known:
        safe = [node for level, node in told.levels if level != LOCAL or node not in gone]
        if safe or not told.levels:
            said = ", ".join(f"{level} by {node}" for level, node in told.levels) or "its outcome"
            verdict.lost.append(f"{told.id}: acknowledged ({said}), and no node knows it")
        else:
            verdict.lost_local += 1
    if known and not told.ends:
        states = ", ".join(_state_of(record) for record in told.records)
        verdict.stuck.append(f"{told.id}: {states}")
    if told.ends and told.ignorant:
        verdict.unreadable.append(f"{told.id}: ended, unknown at {', '.join(told.ignorant)}")
    if told.asked == STRICT and any(level == LOCAL for level, _ in told.levels):
        verdict.untrue_level.append(f"{told.id}: asked {STRICT}, acknowledged {told.levels}")


def _state_of(record: Line) -> str:
    why = f" ({record['reason']})" if record.get("reason") else ""
    return f"{record['state']} at {record['node']}{why}"


def _judge_outcomes(told: Told, verdict: Verdict) -> None:
    """One outcome, everywhere the same, and only of calls that ran."""
    per_node = Counter(record["node"] for record in told.records)
    for node, count in per_node.items():
        if count > 1:
            verdict.recorded_twice.append(f"{told.id}: {count} records at {node}")
    count, shown = different_outcomes(told)
    if count > 1:
        verdict.recorded_twice.append(f"{told.id}: {count} different outcomes: {shown}")
    states = {record["state"] for record in told.ends} - {"DONE"}
    if states:
        verdict.failed.append(f"{told.id}: {', '.join(sorted(states))}")
    idle = told.due is not None and told.due.idle
    if not told.runs and not idle and any(record["state"] == "DONE" for record in told.ends):
        verdict.never_ran.append(f"{told.id}: DONE, but no execution left its line")


def different_outcomes(told: Told) -> tuple[int, str]:
    """How many outcomes were told or stored, and a text of them.

    A listing may say FAILED without the error: that agrees with any error, and with no value.
    """
    said = list(told.answers)
    for record in told.ends:
        word = "DONE" if record["state"] == "DONE" else "NOT"
        said.append((word, record.get("result")))
    done = {json.dumps(value, sort_keys=True) for word, value in said if word == "DONE"}
    errors = {json.dumps(value, sort_keys=True) for word, value in said if word == "NOT"}
    if len(errors) > 1:
        errors.discard("null")
    shown = [f"DONE {one[:80]}" for one in sorted(done)] + [f"NOT {one[:80]}" for one in errors]
    return len(shown), "; ".join(shown)


def _judge_values(told: Told, right: Any, verdict: Verdict) -> None:
    given = [(value, "a client") for word, value in told.answers if word == "DONE"]
    given += [(r.get("result"), r["node"]) for r in told.ends if r["state"] == "DONE"]
    for value, who in given:
        if value != right:
            verdict.wrong_value.append(f"{told.id}: {value!r} from {who}, should be {right!r}")


def read_folder(folder: Path) -> tuple[list[Line], list[Line], list[Line], list[Line]]:
    """History, effects, listings and faults of one scenario's folder."""

    def all_of(pattern: str) -> list[Line]:
        return [line for path in sorted(folder.glob(pattern)) for line in read_lines(path)]

    return (
        all_of("history-*.jsonl"), all_of("effects/*.jsonl"), all_of("listing-*.jsonl"),
        all_of("faults.jsonl"),
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    """`python -m tests.mesh.history FOLDER`: judge what lies in it."""
    verdict = check(*read_folder(Path(arguments[0])), task)
    print(verdict.report())
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
