"""`mesh doctor flow ID`: why a flow does not end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from meshcode.cli.doctor_check import FAIL, OK, WARN, Check
from meshcode.cli.session import session

SHOWN_MAX = 20
BESIDE = "call"  # What a call of a flow is that is no step; there the values at a join have a say.


def checks(id_text: str) -> Iterator[Check]:
    """Ask the node, and through it its peers, for the steps that have not ended.

    Raises:
        MeshError: nobody knows the flow, or no node answers.
    """
    with session() as client:
        flow = client.ask("flow.get", id=id_text, open=True, rows=True, beside=True)
    yield from judge(flow)


def judge(flow: dict[str, Any]) -> Iterator[Check]:
    """What the answer to `flow.get` says to a person."""
    counts = ", ".join(f"{count} {state}" for state, count in flow["counts"].items())
    state = {"DONE": OK, "RUNNING": OK}.get(flow["state"], WARN)
    fix = "" if state == OK else f"mesh flow retry {flow['id']}"
    yield Check("flow", state, f"{flow['state']}: {counts}", fix)
    if flow["error"]:
        yield Check("flow", FAIL, flow["error"], "submit it again")
    for row in flow["silent"]:
        text = f"node {row['name']} did not answer: {row['why']}"
        yield Check("node", WARN, text, "steps that only it knows are shown as UNKNOWN or KEPT")
    found = [check for row in flow["rows"] if (check := judge_call(row, f"step {row['step']}"))]
    found += [check for row in flow["beside"] if (check := judge_call(row, BESIDE))]
    found.sort(key=lambda check: (OK, WARN, FAIL).index(check.state), reverse=True)
    yield from found[:SHOWN_MAX]
    if len(found) > SHOWN_MAX:
        yield Check("more", OK, f"{len(found) - SHOWN_MAX} further: mesh flow show {flow['id']} -u")
    if flow["state"] == "RUNNING" and all(check.state == OK for check in found):
        yield Check("flow", OK, "nothing holds it up: what is open runs, or waits for what runs")


def judge_call(row: dict[str, Any], what: str) -> Check | None:
    """Why an open call of a flow has not ended; None when it only waits for its turn."""
    state, reason, id = row["state"], row.get("reason") or "", row["id"]
    name = f"{row['socket'] or 'gather'} {id}"
    if reason.startswith("gate"):
        return Check(what, WARN, f"{name}: {reason}", "open the gate: mesh update gate --help")
    if state == "PARKED":
        said = re.search("`(mesh [^`]+)`", reason)  # What there is to do, as the reason has it.
        fix = said[1] if said else "mesh ls processors -w"
        return Check(what, WARN, f"{name} cannot begin: {reason}", fix)
    if state == "HELD":
        fix = f"mesh ls call {id} --output, then mesh call retry {id}"
        return Check(what, FAIL, f"{name} is held: {reason}", fix)
    if state == "KEPT":
        fix = "it is taken over when its node is found dead; see mesh nodes"
        return Check(what, WARN, f"{name} is at a node that does not answer", fix)
    if state == "UNKNOWN":
        fix = "start the node that has it; or mesh flow cancel, then mesh flow retry"
        return Check(what, FAIL, f"no node that answered knows {name}", fix)
    lost = [need for need, its in row.get("waits") or () if its == "UNKNOWN"]
    if state == "GATHERING" and lost:
        needs = ", ".join(f"step {need}" if isinstance(need, int) else need for need in lost)
        return Check(what, FAIL, f"{name} waits for {needs}, which nobody knows", "see above")
    if row["socket"] == "@join" or (row["socket"] == "@collect" and what != BESIDE):
        fix = "look at its other plugs, `mesh ls plugs`, and at the calls that they begin with"
        return Check(what, WARN, f"{name}: {reason}", fix)
    if state == "DELAYED":
        return Check(what, OK, f"{name} waits for its time: {reason}")
    return Check(what, OK, f"{name} runs at {row.get('node') or 'this node'}") if (
        state == "RUNNING"
    ) else None
