"""Playing the story of several nodes, and reporting it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from meshcode.cli import output
from meshcode.cli.demo.many.judge import Evidence, Found, collect, judge
from meshcode.cli.demo.many.stage import Hosts
from meshcode.cli.demo.many.story import Facts, MeshStory
from meshcode.cli.demo.stage import STOP_S, columns
from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.cli.demo.many.judge import Row


def show(count: int, *, keep: bool, form: str) -> int:
    """Run the demo on so many nodes; returns the exit status, 1 when anything does not agree.

    Raises:
        MeshError: it could not be played to its end; nothing runs any more.
    """
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    hosts = Hosts(folder, count, quiet=form == "json")
    say = hosts.first.say
    say(f"mesh demo: {count} nodes, each with a home of its own, in {folder}")
    try:
        story = MeshStory(hosts)
        story.play()
        found = judge(evidence_of(story))
        hosts.stop()
        left = hosts.left_running(STOP_S)
        story.check(not left, f"{len(left)} processes are still running: {'; '.join(left)}")
    except MeshError:
        output.say(hosts.log_ends())
        raise
    finally:
        hosts.close(keep=keep)
    mismatches = [*story.mismatches, *found.mismatches]
    _report(story.facts, found, mismatches, time.monotonic() - begun, form)
    if keep:
        say(f"kept in {folder}")
    return 1 if mismatches else 0


def evidence_of(story: MeshStory) -> Evidence:
    """What there is to judge; every living node is asked for the whole of its history."""
    kept: dict[str, list[Row]] = {}
    for host in story.hosts.living:
        with host.connect() as client:
            kept[host.name] = collect(client)
    ledger = Path(story.ledger).read_text().splitlines()
    return Evidence(story.truth, story.acknowledged, story.told, story.read, kept, ledger)


def _report(facts: Facts, found: Found, mismatches: list[str], took: float, form: str) -> None:
    if form == "json":
        measured = {k: round(v, 4) if isinstance(v, float) else v for k, v in vars(facts).items()}
        item = {
            "name": "demo", "took_s": round(took, 3), **measured, **vars(found),
            "mismatches": mismatches, "summary": found.line,
        }  # fmt: skip
        output.show_document("demo", [item], "json")
        return
    output.write("")
    output.write_lines(columns(_rows(facts, found, took)))
    output.write("")
    output.write_lines(f"MISMATCH  {text}" for text in mismatches)
    output.write(found.line)


def _rows(facts: Facts, found: Found, took: float) -> list[tuple[str, str]]:
    even = facts.burst_calls / facts.nodes
    shares = ", ".join(f"{n} {c} ({c / even - 1:+.1%})" for n, c in facts.shares.items())
    rate = facts.burst_calls / facts.burst_s
    fate = "and started again" if facts.comes_back else "for good"
    again = f", {found.again} of them again, because a node died" if found.again else ""
    copies = f"{found.copies_min} or more" if found.copies_min < found.copies_max else "each"
    kept = f"{found.copies_min} living nodes each" if copies == "each" else f"{copies} living nodes"
    return [
        ("mesh", f"{facts.nodes} nodes made, joined and up in {facts.joined_s:.1f} s"),
        ("code", f"1 repository at {facts.commit[:8]}, told to one node; {facts.code_s:.1f} s"
                 " later all could run it"),
        ("burst", f"{facts.burst_calls} calls to one node in {facts.burst_s:.1f} s,"
                  f" {rate:,.0f}/s, acknowledged as {facts.copies}"),
        ("shares", f"{shares}; even is {even:g}"),
        ("kill -9", f"{facts.killed}, process {facts.killed_pid}, {fate}, with"
                    f" {facts.open_at_kill} calls open,"
                    f" {facts.unacknowledged_at_kill} of them not acknowledged"),
        ("client", f"went on at {facts.went_to}; all was acknowledged {facts.failover_s:.1f} s"
                   " after the kill"),
        ("outcomes", f"the last one {facts.last_s:.1f} s after the kill; {found.taken_over} calls"
                     f" were taken over; all read again at {facts.asked}"),
        ("ledger", f"{found.executions} executions{again}"),
        ("kept", f"every outcome on {kept}"),
        ("took", f"{took:.1f} s"),
    ]  # fmt: skip
