"""`--wait`: until the workers of a processor are as the model wants them; `--dry-run`."""

from __future__ import annotations

import threading
import time
from typing import Any

import click

from meshcode import config
from meshcode.cli import output, plain
from meshcode.cli.options import DURATION
from meshcode.cli.table import clean
from meshcode.errors import MeshError, NoNode, NotAllowed, WaitTimeout
from meshcode.units import parse_duration

_LOOK_S = 0.1  # Between two questions to the peers.
_ANSWER_S = 1.0  # For the answer to a question that comes at the end of the wait.


def wait_options(command: Any) -> Any:
    """Add --wait and --timeout; the command gets `wait`: seconds, or None for not at all."""
    from functools import wraps

    @wraps(command)
    def with_wait(*args: Any, **kwargs: Any) -> Any:
        wanted, timeout = kwargs.pop("wait"), kwargs.pop("timeout")
        if timeout is None:
            timeout = parse_duration(str(config.value("timeout")))
        return command(*args, wait=timeout / 1000 if wanted else None, **kwargs)

    decorated: Any = click.option(
        "--timeout", type=DURATION,
        help="Longest --wait; status 124 after it.  [env: MESH_TIMEOUT; default: 30s]",
    )(with_wait)  # fmt: skip
    return click.option(
        "--wait", is_flag=True, help="Until its workers are ready, and all nodes know it."
    )(decorated)


def dry_option(command: Any) -> Any:
    """Add --dry-run; the command gets it as `dry`."""
    return click.option(
        "--dry-run", "dry", is_flag=True, help="Check it in the model, and change nothing."
    )(command)


def until_level(client: Any, name: str, seconds: float, before: str = "") -> None:
    """Wait until a processor's workers on this node are what the model wants, by its own events,
    and until every node that is there has heard of the change.

    Args:
        client: of the node.
        name: of the processor.
        seconds: that are waited at most.
        before: the commit that ran before the change; that another one runs now is told.

    Raises:
        WaitTimeout: that is not so within `seconds`; the change holds, and the node goes on.
        MeshError: its code cannot be run.
    """
    deadline = time.monotonic() + seconds
    with client.ask_stream("subscribe", channel="processor") as stream:
        while True:
            row = _row(client, name, deadline, seconds)
            if _is_level(row):
                _tell_elsewhere(row)
                _tell_commit(row, before)
                tell_warnings(row)
                break
            if row["problem"] and not row["building"]:
                cannot = "and cannot run"
                if row["old"]:
                    cannot = "and its older code goes on, as what was changed cannot run"
                raise MeshError(
                    f"processor {name} is in the model, {cannot}: {row['problem']};"
                    f" {row['cure']}; the node tries again by itself"
                )
            if not stream.wait(deadline - time.monotonic()):
                if not client.is_linked:
                    raise _node_away(name, seconds)
                why = row.get("doing") or row["parked"] or row["status"]
                raise WaitTimeout(
                    f"processor {name} has {row['ready']} of {row['workers']} workers ready after"
                    f" {plain.length_of_time(seconds * 1000)}: {why}; the change holds and the node"
                    " goes on; look with `mesh ls processors -w`"
                )
            while stream.has_next():
                next(stream)
    until_everywhere(client, deadline, seconds)


def until_everywhere(client: Any, deadline: float, seconds: float) -> None:
    """Wait until the model of every node that is there is that of the node that was asked.

    Nodes that are away are not waited for: they hear of it when they are back.

    Raises:
        WaitTimeout: some had not heard of it by `deadline`; the text names them.
    """
    pause = threading.Event()
    while True:
        try:
            found = client.ask("mesh.status", ask=True)
        except NotAllowed:
            output.say("mesh: other nodes were not asked: that needs LS_MESH")
            return
        if found["mesh"] is None:
            return
        late = [row["name"] for row in found["others"] if not row["same_model"]]
        silent = [row["name"] for row in found["silent"] if row["asked"]]
        late = sorted({*late, *silent})
        if not late:
            return
        if time.monotonic() >= deadline:
            raise WaitTimeout(
                f"{', '.join(late)} had not heard of the change after"
                f" {plain.length_of_time(seconds * 1000)}; it holds on this node, and they take it"
                " over when they hear of it; look with `mesh nodes` and `mesh doctor`"
            )
        pause.wait(_LOOK_S)


def _node_away(name: str, seconds: float) -> WaitTimeout:
    return WaitTimeout(
        f"the node went away while the workers of processor {name} were waited for, and was not"
        f" back after {plain.length_of_time(seconds * 1000)}; the change holds, and the node makes"
        " it so when it is back: `mesh up`, then look with `mesh ls processors -w`"
    )


def _row(client: Any, name: str, deadline: float, seconds: float) -> dict[str, Any]:
    """What the node says of a processor and its workers.

    Raises:
        WaitTimeout: it is away, and the time for waiting is over.
    """
    left = max(deadline - time.monotonic(), _ANSWER_S)
    try:
        found = client.ask("status", timeout=left)
    except NoNode:
        raise _node_away(name, seconds) from None
    rows = {row["name"]: row for row in found["processors"]}
    gone = {"workers": 0, "ready": 0, "old": 0, "problem": "", "building": False, "parked": "",
            "status": "unknown", "current": True}  # fmt: skip
    return dict(rows.get(name, gone))


def _is_level(row: dict[str, Any]) -> bool:
    if not row["workers"]:  # It is stopped, or runs on other nodes.
        return not row["ready"] and not row["old"]
    return bool(row["current"] and row["ready"] >= row["workers"] and not row["old"])


def tell_warnings(row: dict[str, Any]) -> None:
    """Say what is not as it should be with the code that runs."""
    for text in row.get("warnings", ()):
        output.say(f"mesh: processor {row['name']}: {clean(text)}")


def _tell_commit(row: dict[str, Any], before: str) -> None:
    now = row.get("commit") or ""
    if before and now and now != before:
        output.say(f"mesh: processor {row['name']} runs commit {plain.short_commit(now)} now,"
                   f" before {plain.short_commit(before)}")  # fmt: skip


def _tell_elsewhere(row: dict[str, Any]) -> None:
    if not row["workers"] and row["status"] in ("elsewhere", "idle"):
        output.say("mesh: this node runs no worker of it, so there was nothing to wait for")
