"""The verification: what the node recorded and what the tasks did, against what is known here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from meshcode.cli.demo.pages import history
from meshcode.cli.demo.story import PIPELINE_FILES, Story
from meshcode.client import Client

KILLS = 2  # Each may let a call that was running begin once more.


@dataclass
class Found:
    """The figures of the verification."""

    calls: int = 0  # In the node's history.
    done: int = 0
    wrong: int = 0
    ledger_lines: int = 0
    again: int = 0  # Executions beyond the first, because a worker died under them.


def verify(story: Story, client: Client) -> Found:
    """Compare everything; what does not agree goes into `story.mismatches`."""
    found = Found()
    _verify_history(story, client, found)
    _verify_results(story, found)
    _verify_ledger(story, found)
    _verify_report(story)
    return found


def _verify_history(story: Story, client: Client, found: Found) -> None:
    rows = history(client)
    found.calls = len(rows)
    times = Counter(row["id"] for row in rows)
    twice = [id for id, count in times.items() if count > 1]
    lost = [id for id in story.submitted if id not in times]
    strange = [id for id in times if id not in story.submitted]
    story.check(not twice, f"{len(twice)} calls are recorded twice, the first is {twice[:1]}")
    story.check(not lost, f"{len(lost)} calls are lost, the first is {lost[:1]}")
    story.check(not strange, f"{len(strange)} calls were never made, the first is {strange[:1]}")
    found.done = sum(1 for row in rows if row["state"] == "DONE")
    other = [f"{row['id']} is {row['state']}" for row in rows if row["state"] != "DONE"]
    story.check(not other, f"{len(other)} calls are not DONE: {', '.join(other[:3])}")
    kept = client.ask("status").get("done")
    story.check(
        kept == len(story.submitted),
        f"the node keeps {kept} outcomes, {len(story.submitted)} calls were made",
    )


def _verify_results(story: Story, found: Found) -> None:
    wanted = {f"{batch}:{path}" for batch in "ab" for path in story.files}
    wanted |= {f"p:{path}" for path in story.files[:PIPELINE_FILES]}
    missing = wanted - set(story.results)
    story.check(
        not missing, f"{len(missing)} results are missing, the first is {sorted(missing)[:1]}"
    )
    wrong = [
        key for key, value in story.results.items() if value != story.expected[key.split(":", 1)[1]]
    ]
    found.wrong = len(wrong)
    story.check(not wrong, f"{len(wrong)} results differ from those computed here: {wrong[:1]}")


def _verify_ledger(story: Story, found: Found) -> None:
    """Each call must have run; at most once more per kill, since a killed worker had begun it."""
    with open(story.ledger, encoding="utf-8") as file:
        lines = file.read().splitlines()
    found.ledger_lines = len(lines)
    times = Counter(line.rsplit(" ", 1)[0] for line in lines)
    keys = {key for key in story.submitted.values() if key}
    never = [key for key in keys if key not in times]
    strange = [key for key in times if key not in keys]
    often = [f"{key} {count}x" for key, count in times.items() if count > 1 + KILLS]
    found.again = sum(count - 1 for count in times.values())
    story.check(not never, f"{len(never)} calls have an outcome and never ran: {never[:1]}")
    story.check(not strange, f"{len(strange)} lines of the ledger belong to no call: {strange[:1]}")
    story.check(not often, f"{len(often)} calls ran more often than kills explain: {often[:3]}")


def _verify_report(story: Story) -> None:
    report, chosen = story.facts.report, story.files[:PIPELINE_FILES]
    for name in ("bytes", "words"):
        here = sum(story.expected[path][name] for path in chosen)
        story.check(
            report.get(name) == here,
            f"the pipeline counted {report.get(name)} {name}, here are {here}",
        )
    story.check(
        len(report.get("lines") or ()) == len(chosen),
        f"the report has {len(report.get('lines') or ())} lines for {len(chosen)} files",
    )
    story.check(
        report.get("package") == story.facts.package,
        f"the report was written with {report.get('package')}, not {story.facts.package}",
    )
    code = str(story.stage.home) + "/code/"
    story.check(
        str(report.get("file", "")).startswith(code),
        f"{report.get('package')} came from {report.get('file')}, not from {code}",
    )
