"""`mesh demo`: real processes, real files, two kills, and a count that must come out even."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshcode.cli import output
from meshcode.cli.options import command
from meshcode.errors import MeshError

if TYPE_CHECKING:
    from meshcode.cli.demo.story import Facts, Story
    from meshcode.cli.demo.verify import Found


@command()
@click.option(
    "--files", type=click.IntRange(100, 5_000), default=240, show_default=True,
    help="Files to count, each twice.",
)  # fmt: skip
@click.option(
    "--nodes", type=click.IntRange(2, 7),
    help="Show so many nodes instead: they share calls, and one is killed for good.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Do not ask the package index.")
@click.option("--keep", is_flag=True, help="Keep the folder with all that was made.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["text", "json"]), default="text",
    show_default=True, help="Format of the report.",
)  # fmt: skip
def demo(files: int, nodes: int | None, offline: bool, keep: bool, form: str) -> None:
    """Show that nothing is lost and nothing recorded twice when processes are killed.

    Starts a node of its own in a temporary folder, mounts a git repository as two processors in
    two environments, counts the words of real files, kills a worker and then the whole node with
    -9 in the middle, and compares every outcome with what it computed itself.  Leaves nothing
    running.  Exit status 1 when anything does not agree.

    With --nodes it makes a mesh of several nodes, lets them share calls, kills the node that
    accepted the calls for good, and reads every outcome at another one.

    Examples:
      mesh demo
      mesh demo --files 2000
      mesh demo --nodes 3
      mesh demo -o json | jq '.items[0].mismatches'
    """
    from meshcode.cli.demo.stage import STOP_S, Stage
    from meshcode.cli.demo.story import Story
    from meshcode.cli.demo.verify import verify

    # Ended from outside, it still stops what it started and removes what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # A login at another node, of $MESH_LOGIN_FILE or of this shell's home, is none at the demo's.
    os.environ["MESH_LOGIN_FILE"] = os.devnull
    if nodes is not None:
        from meshcode.cli.demo.many.show import show

        click.get_current_context().exit(show(nodes, keep=keep, form=form))
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    stage = Stage(folder, quiet=form == "json")
    stage.say(f"mesh demo: a node, a repository and its environments in {folder}")
    try:
        story = Story(stage, files=files, offline=offline)
        story.play()
        with stage.connect() as client:
            found = verify(story, client)
        stage.mesh("down")
        left = stage.left_running(STOP_S)
        story.check(not left, f"{len(left)} processes are still running: {'; '.join(left)}")
    except MeshError:
        if stage.node is not None and stage.node.poll() is not None:
            output.say(f"the node ended with status {stage.node.returncode}; {stage.log_end()}")
        raise
    finally:
        stage.close(keep=keep)
    took = time.monotonic() - begun
    _report(story, found, took, form)
    if keep:
        stage.say(f"kept in {folder}")
    click.get_current_context().exit(1 if story.mismatches else 0)


def _report(story: Story, found: Found, took: float, form: str) -> None:
    facts = story.facts
    if form == "json":
        item = {
            "name": "demo",
            "took_s": round(took, 3),
            "mismatches": story.mismatches,
            **{k: round(v, 4) if isinstance(v, float) else v for k, v in vars(facts).items()},
            **vars(found),
            "report": {**facts.report, "lines": facts.report.get("lines", [])[:3]},
        }
        output.show_document("demo", [item], "json")
        return
    from meshcode.cli.demo.stage import columns

    output.write("")
    output.write_lines(columns(_rows(facts, found)))
    output.write("")
    for line in facts.report.get("lines", [])[:3]:
        output.write(f"    {line}")
    output.write("")
    if story.mismatches:
        output.write_lines(f"MISMATCH  {text}" for text in story.mismatches)
        return
    output.write(
        f"{output.paint('OK', sys.stdout)}  {found.calls} calls were acknowledged;"
        f" {found.done} outcomes are recorded, each once, and all are right.  {took:.1f} s"
    )


def _rows(facts: Facts, found: Found) -> list[tuple[str, str]]:
    mib = facts.file_bytes / 2**20
    version = facts.report.get("version", "")
    again = f", {found.again} of them again after a kill" if found.again else ""
    return [
        ("node", f"up in {facts.node_start_s:.2f} s"),
        (
            "code",
            f"1 repository at {facts.commit[:8]}, 2 modules, 2 environments in"
            f" {facts.mount_s:.1f} s; {facts.package} {version} {facts.package_note}",
        ),
        (
            "work",
            f"{facts.count_calls} calls over {facts.files} files of {mib:.1f} MiB:"
            f" {facts.count_calls / facts.count_s:.0f}/s with both kills",
        ),
        (
            "kill -9",
            f"worker {facts.killed_worker} with {facts.open_at_worker_kill} calls open;"
            f" another took over in {facts.worker_back_s:.2f} s",
        ),
        (
            "kill -9",
            f"node {facts.killed_node} with {facts.open_at_node_kill} calls open;"
            f" it answered again after {facts.node_back_s:.2f} s",
        ),
        (
            "pipeline",
            f"count, line, merge over {len(facts.report.get('lines', ()))} files:"
            f" {facts.pipeline_calls} calls"
            f" in {facts.pipeline_s:.2f} s",
        ),
        (
            "empty calls",
            f"{facts.echo_calls} durable calls and results in {facts.echo_s:.2f} s:"
            f" {facts.echo_calls / facts.echo_s:,.0f}/s",
        ),
        ("ledger", f"{found.ledger_lines} executions{again}"),
    ]
