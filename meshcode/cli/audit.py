"""`mesh audit show`, `mesh audit verify`: the log of who did what, read from the home's files."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import click

from meshcode.cli import output
from meshcode.cli.options import command, listing
from meshcode.cli.output import Column, Style, column
from meshcode.cli.plain import local_time
from meshcode.cli.session import session
from meshcode.errors import MeshError, NoNode

_COLUMNS = [
    column("n"), Column("at_ms", "When", lambda value: local_time(value) if value else ""),
    column("who"), column("via"), column("what"), column("object"), column("outcome"),
    column("right"), column("times"),
]  # fmt: skip


def _folder() -> Path:
    from meshcode import paths
    from meshcode.node.auditlog import FOLDER

    return Path(paths.home()) / FOLDER


@command()
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True,
              help="So many of the newest.")
@listing
def show(lines: int, style: Style) -> None:
    """Show the newest lines, oldest first.  A line that cannot be read is shown as it is.

    Examples:
      mesh audit show
      mesh audit show -n 500 -o jsonl
    """
    from meshcode import paths
    from meshcode.cli import leave
    from meshcode.node.auditlog import read

    leave.ask(paths.home(), "audit.tip", audited=False)
    rows = [_row(data) for _, _, data in deque(read(_folder()), maxlen=lines)]
    output.show("line", rows, _COLUMNS, style, empty="nothing was done yet")


def _row(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    row = found if isinstance(found, dict) else {"what": data.decode(errors="replace").strip()}
    names = [shown.key for shown in _COLUMNS]
    return {"name": str(row.get("n", "")), **{name: row.get(name) for name in names}, **row}


@command()
def verify() -> int:
    """Check the chain of the audit log, and, when the node runs, that its end is there.

    Status 1: it is not whole; the text has the first line that is wrong.

    Examples:
      mesh audit verify
    """
    from meshcode.node import auditlog

    folder = _folder()
    tip: dict[str, Any] | None = None
    try:
        with session() as client:
            tip = client.ask("audit.tip")
    except (NoNode, MeshError) as error:
        why = "no node runs here" if isinstance(error, NoNode) else error.text
        output.say(f"mesh: the end is not compared: {why}")
    try:
        first, last, found = auditlog.verify(folder)
    except auditlog.AuditBroken as broken:
        output.say(f"mesh: the audit log is broken: {broken}")
        return 1
    if tip is not None and last < tip["number"]:
        output.say(f"mesh: the audit log ends at number {last}, the node wrote {tip['number']}")
        return 1
    if tip is not None and last == tip["number"] and found != tip["hash"]:
        output.say(f"mesh: number {last} has hash {found}, the node wrote {tip['hash']}")
        return 1
    if not last:
        output.write("the audit log is empty")
        return 0
    output.write(f"{last - first + 1} lines are whole, numbers {first} to {last}, hash {found}")
    return 0
