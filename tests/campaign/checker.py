"""The outside history checker: reads what clients wrote down and judges the mesh by it.

It knows nothing of meshcode: three JSONL files go in, a verdict comes out.

    history     {"t", "client", "op", "id", "type": "invoke"|"ok"|"fail"|"info", "value"}
                op "submit": invoke = about to send, value = the argument; ok = acknowledged;
                             fail = refused, so it must never run; info = nobody knows
                op "result": ok = value is the outcome the client was given; fail = an error
                a flow: value = {"plan": [[function, [arguments], feed], ...], "ids", "result"},
                the id of each step and the number of the one whose value is the flow's
    effects     {"id", "attempt", "value"}: one line per execution, appended by the task itself
    listing     {"id", "state", "result"}: what the mesh says at the end, one line per record

`info` is never counted for or against: a client that was killed knows nothing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENDED = {"DONE", "FAILED", "CANCELLED"}
SHOWN_MAX = 5  # Ids named per kind of violation; the count tells the rest.


@dataclass
class Verdict:
    """What the histories add up to.  The violations are lists of `id: why`."""

    attempted: int = 0
    acknowledged: int = 0
    ok: int = 0
    refused: int = 0
    unknown: int = 0  # Sent, and nobody lived to hear the answer.
    recovered: int = 0  # Of the unknown, those that were accepted after all.
    executions: int = 0
    executed_twice: int = 0  # Allowed: a worker may die after the effect and before the report.
    lost: list[str] = field(default_factory=list)  # Acknowledged, and the mesh has no record.
    stuck: list[str] = field(default_factory=list)  # On record and not ended after the healing.
    recorded_twice: list[str] = field(default_factory=list)  # Two records or two outcomes.
    unexpected: list[str] = field(default_factory=list)  # Ran or is listed, but nobody asked.
    wrong_value: list[str] = field(default_factory=list)  # The result is not what the task gives.
    never_ran: list[str] = field(default_factory=list)  # DONE without a trace of an execution.
    failed: list[str] = field(default_factory=list)  # Ended as anything but DONE.
    flows: int = 0  # On record, each with all of its steps unless `half` says otherwise.
    steps: int = 0
    half: list[str] = field(default_factory=list)  # Some of a flow is on record, and not all.

    VIOLATIONS = (
        "lost", "stuck", "recorded_twice", "unexpected", "wrong_value", "never_ran", "failed",
        "half",
    )  # fmt: skip

    @property
    def good(self) -> bool:
        """Whether nothing that was promised was broken."""
        return not any(getattr(self, name) for name in self.VIOLATIONS)

    def report(self) -> str:
        """The figures, one a line, and the first few ids of each violation."""
        lines = [
            f"attempted        {self.attempted}",
            f"acknowledged     {self.acknowledged}",
            f"ok               {self.ok}",
            f"refused          {self.refused}",
            f"unknown          {self.unknown}, of which {self.recovered} were accepted",
            f"executions       {self.executions}, {self.executed_twice} of them repeats (allowed)",
            f"flows            {self.flows} with {self.steps} steps",
        ]
        for name in self.VIOLATIONS:
            found = getattr(self, name)
            lines.append(f"{name.replace('_', ' '):<16} {len(found)}")
            lines += [f"    {one}" for one in found[:SHOWN_MAX]]
        lines.append("verdict          " + ("good" if self.good else "BROKEN"))
        return "\n".join(lines)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file; lines cut short by the kill of their writer are left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().split(b"\n"):
        with suppress(ValueError):  # Empty, or the writer was killed inside its write.
            records.append(json.loads(line))
    return records


def check(
    history: Iterable[dict[str, Any]],
    effects: Iterable[dict[str, Any]],
    listing: Iterable[dict[str, Any]],
    expected: Callable[[Any], Any],
) -> Verdict:
    """Judge.  `expected` is the task as a pure function: argument -> result."""
    verdict = Verdict()
    sent: dict[str, Any] = {}
    flows: dict[str, dict[str, Any]] = {}
    acknowledged: set[str] = set()
    refused: set[str] = set()
    answers: dict[str, list[Any]] = defaultdict(list)
    for line in history:
        id_, kind = line["id"], line["type"]
        if line["op"] == "submit" and kind == "invoke":
            sent[id_] = line["value"]
            if isinstance(line["value"], dict):
                flows[id_] = line["value"]
        elif line["op"] == "submit" and kind == "ok":
            acknowledged.add(id_)
        elif line["op"] == "submit" and kind == "fail":
            refused.add(id_)
        elif line["op"] == "result" and kind in ("ok", "fail"):
            answers[id_].append((kind, line["value"]))
            acknowledged.add(id_)  # Who gives an outcome has accepted the call.

    ran = Counter(line["id"] for line in effects)
    records: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in listing:
        records[line["id"]].append(line)

    verdict.attempted = len(sent)
    verdict.acknowledged = len(acknowledged)
    refused -= acknowledged
    verdict.refused = len(refused)
    silent = set(sent) - acknowledged - refused
    verdict.unknown = len(silent)
    verdict.recovered = sum(1 for id_ in silent if records.get(id_))
    verdict.executions = sum(ran.values())
    verdict.executed_twice = sum(count - 1 for count in ran.values())

    right: dict[str, Any] = {id_: expected(v) for id_, v in sent.items() if id_ not in flows}
    idle: set[str] = set(flows)  # What no worker runs.
    for flow, told in flows.items():
        _judge_whole(flow, told["ids"], records, verdict)
        idle |= _expect_flow(flow, told, right)
    for id_ in sorted(set(sent) | set(ran) | set(records) | set(answers)):
        runs = ran[id_] or id_ in idle
        _judge(id_, id_ in right, records.get(id_, []), answers.get(id_, []), runs, verdict)
        if id_ in acknowledged and not records.get(id_):
            verdict.lost.append(f"{id_}: acknowledged, and the mesh does not know it")
        if id_ in refused and (ran[id_] or records.get(id_)):
            verdict.unexpected.append(f"{id_}: refused, but it ran or is on record")
        if id_ in right:
            # The record of a flow's own call says where its value is.
            values = [] if id_ in flows else records.get(id_, [])
            _compare(id_, right[id_], values, answers.get(id_, []), verdict)
    return verdict


def _expect_flow(flow: str, told: dict[str, Any], right: dict[str, Any]) -> set[str]:
    """Add what a flow and its steps must give; the steps that no worker runs."""
    values = values_of(told["plan"])
    right[flow] = values[told["result"]]
    right |= zip(told["ids"], values, strict=True)
    return {id_ for id_, step in zip(told["ids"], told["plan"], strict=True) if step[0] == GATHER}


def _judge_whole(
    flow: str, ids: list[str], records: dict[str, list[dict[str, Any]]], v: Verdict
) -> None:
    """A flow is there with all of its steps, or nothing of it is."""
    found = [id_ for id_ in ids if records.get(id_)]
    if records.get(flow):
        v.flows += 1
        v.steps += len(found)
        if len(found) != len(ids):
            missing = next(id_ for id_ in ids if not records.get(id_))
            v.half.append(f"{flow}: {len(found)} of {len(ids)} steps, not {missing}")
    elif found:
        v.half.append(f"{flow}: not on record, {len(found)} of its steps are")


def values_of(plan: list[Any]) -> list[Any]:
    """What each step of a plan must give; written down a second time, from docs/flows.md."""
    values: list[Any] = []
    for function, arguments, feed in plan:
        fed = [] if feed is None else [_filled(feed, values)]
        values.append(FUNCTIONS[function](*fed, *arguments))
    return values


def _filled(feed: Any, values: list[Any]) -> Any:
    if isinstance(feed, int):
        return values[feed]
    found: list[Any] = []
    for one in feed:
        if isinstance(one, dict):
            by = one.get("by", 1)
            found += [values[one["from"] + by * at] for at in range(one["count"])]
        else:
            found.append(_filled(one, values))
    return found


def _judge(
    id_: str, asked: bool, records: list[dict[str, Any]], answers: list[Any], ran: int, v: Verdict
) -> None:
    """Counts and states of one call."""
    if not asked:
        v.unexpected.append(f"{id_}: nobody sent it, yet it ran or is on record")
    if len(records) > 1:
        v.recorded_twice.append(f"{id_}: {len(records)} records")
    if len({json.dumps(answer, sort_keys=True) for answer in answers}) > 1:
        v.recorded_twice.append(f"{id_}: two different outcomes were given out: {answers}")
    for record in records:
        if record["state"] not in ENDED:
            v.stuck.append(f"{id_}: {record['state']} {record.get('reason', '')}".rstrip())
        elif record["state"] != "DONE":
            v.failed.append(f"{id_}: {record['state']}")
        elif not ran:
            v.never_ran.append(f"{id_}: DONE, but no execution left its line")


def _compare(
    id_: str, right: Any, records: list[dict[str, Any]], answers: list[Any], v: Verdict
) -> None:
    """The value on record and every value a client was given, against the task's own."""
    done = [r for r in records if r["state"] == "DONE"]
    given = [value for kind, value in answers if kind == "ok"]
    for value in [r.get("result") for r in done] + given:
        if value != right:
            v.wrong_value.append(f"{id_}: {value!r}, should be {right!r}")
    if given or (done and not answers):
        v.ok += 1


def task(value: Any) -> Any:
    """What the campaign's task returns for its argument, written down a second time."""
    return (value * 1103515245 + 12345) % 2147483648


def fold(values: Any, extra: int) -> int:
    """What the campaign's other task returns: of lists in lists, all numbers together."""
    left, total = [values], extra
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        else:
            total += one
    return total % 2147483648


GATHER = "gather"
FUNCTIONS: dict[str, Callable[..., Any]] = {"turn": task, "fold": fold, GATHER: lambda fed: fed}


def main(arguments: list[str]) -> int:
    """`checker.py FOLDER`: judge history*.jsonl, effects.jsonl and listing.jsonl in it."""
    folder = Path(arguments[0])
    history = [line for path in sorted(folder.glob("history*.jsonl")) for line in read_lines(path)]
    verdict = check(
        history, read_lines(folder / "effects.jsonl"), read_lines(folder / "listing.jsonl"), task
    )
    print(verdict.report())
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
