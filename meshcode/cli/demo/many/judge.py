"""The judgement: what clients were told, what every node recorded and what tasks did, compared.

It takes plain data and knows nothing of how nodes agree.  An *execution* has a name of its own (its
run), which is in its outcome and in the ledger; so an outcome that nobody made, and two outcomes of
one call, cannot pass for one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from meshcode.cli.demo.pages import history

SHOWN_MAX = 3  # Of one kind of mismatch.

Row = dict[str, Any]


@dataclass
class Evidence:
    """All that is known of a run."""

    truth: dict[str, list[int]]  # Id of every call made -> the right answer.
    acknowledged: dict[str, str]  # Id -> what was said to be true of it.
    told: dict[str, Any]  # Id -> value, as the client that made it was told.
    read: dict[str, Any]  # Id -> value, as a stranger was told at another node.
    kept: dict[str, list[Row]]  # Living node -> the rows of its history, with results.
    ledger: list[str]  # "id run node attempt" of every execution.


@dataclass
class Found:
    """The figures of the judgement."""

    acknowledged: int = 0
    ended: int = 0  # Of these: an outcome is on record at a living node.
    lost: int = 0  # Of these: none is.
    recorded_twice: int = 0  # Calls with two outcomes, recorded or told.
    wrong: int = 0
    executions: int = 0
    again: int = 0  # Executions beyond the first of a call, because a node died: allowed.
    taken_over: int = 0  # Calls that a node went on with for one that was gone.
    copies_min: int = 0  # The fewest living nodes that have the outcome of a call.
    copies_max: int = 0
    mismatches: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The last line of the report."""
        return (
            f"acknowledged {self.acknowledged}, ended {self.ended}, lost {self.lost},"
            f" recorded twice {self.recorded_twice}"
        )

    def check(self, bad: Iterable[str], text: str) -> int:
        """Note the calls that break a promise; how many they are."""
        ids = sorted(set(bad))
        if ids:
            shown = ", ".join(ids[:SHOWN_MAX])
            self.mismatches.append(f"{len(ids)} calls {text}: {shown}")
        return len(ids)


def collect(client: Any) -> list[Row]:
    """The history of one node, each ended call with its result."""
    rows = history(client)
    for row in rows:
        if row["state"] == "DONE":
            row["result"] = client.ask("call.get", id=row["id"], result=True).get("result")
    return rows


def judge(evidence: Evidence) -> Found:
    """Hold everything together; what does not agree is in `Found.mismatches`."""
    found = Found(acknowledged=len(evidence.acknowledged))
    outcomes = _outcomes(evidence, found)
    _judge_promises(evidence, outcomes, found)
    _judge_values(evidence, outcomes, found)
    _judge_ledger(evidence, outcomes, found)
    return found


def _outcomes(evidence: Evidence, found: Found) -> dict[str, list[Any]]:
    """The outcomes on record, by call: one for each living node that has it."""
    outcomes: dict[str, list[Any]] = {}
    open_at: dict[str, str] = {}
    taken: set[str] = set()
    for node, rows in evidence.kept.items():
        times = Counter(row["id"] for row in rows)
        again = [id for id, count in times.items() if count > 1]
        found.recorded_twice += found.check(again, f"are in the history of {node} twice")
        for row in rows:
            if any(event["name"] == "taken over" for event in row.get("events") or ()):
                taken.add(row["id"])
            if row["state"] == "DONE":
                outcomes.setdefault(row["id"], []).append(row.get("result"))
            else:
                open_at[row["id"]] = f"{row['id']} is {row['state']} at {node}"
    found.check(open_at.values(), "are not DONE somewhere")
    found.taken_over = len(taken)
    copies = [len(outcomes.get(id, ())) for id in evidence.truth]
    found.copies_min, found.copies_max = min(copies, default=0), max(copies, default=0)
    return outcomes


def _judge_promises(evidence: Evidence, outcomes: dict[str, list[Any]], found: Found) -> None:
    """Acknowledged is recorded, recorded is once, and nothing else is."""
    acknowledged = evidence.acknowledged
    found.ended = sum(1 for id in acknowledged if id in outcomes)
    lost = [id for id in acknowledged if id not in outcomes]
    found.lost = found.check(lost, "were acknowledged and have no outcome")
    twice = []
    for id, values in outcomes.items():
        every = list(values)
        every += [told[id] for told in (evidence.told, evidence.read) if id in told]
        if len({_run_of(value) for value in every}) > 1:
            twice.append(id)
    found.recorded_twice += found.check(twice, "have two outcomes")
    truth = evidence.truth
    found.check((id for id in truth if id not in acknowledged), "were not acknowledged")
    found.check((id for id in outcomes if id not in truth), "were recorded and never made")
    found.check((id for id in truth if id not in evidence.told), "were not told to their client")
    found.check((id for id in truth if id not in evidence.read), "cannot be read at another node")


def _judge_values(evidence: Evidence, outcomes: dict[str, list[Any]], found: Found) -> None:
    wrong = set()
    for id, right in evidence.truth.items():
        every = list(outcomes.get(id, ()))
        every += [told[id] for told in (evidence.told, evidence.read) if id in told]
        if any(not isinstance(v, dict) or v.get("factors") != right for v in every):
            wrong.add(id)
    found.wrong = found.check(wrong, "have another value than the right one")


def _judge_ledger(evidence: Evidence, outcomes: dict[str, list[Any]], found: Found) -> None:
    """Each recorded outcome must be one that an execution really made."""
    runs: set[tuple[str, str]] = set()
    times: Counter[str] = Counter()
    for line in evidence.ledger:
        id, run, *_ = line.split()
        runs.add((id, run))
        times[id] += 1
    found.executions = len(evidence.ledger)
    found.again = sum(count - 1 for count in times.values())
    invented = [
        id for id, values in outcomes.items() if any((id, _run_of(v)) not in runs for v in values)
    ]
    found.check(invented, "have an outcome that no execution made")
    found.check((id for id in times if id not in evidence.truth), "ran and were never made")


def _run_of(value: Any) -> str:
    return str(value.get("run")) if isinstance(value, dict) else repr(value)
