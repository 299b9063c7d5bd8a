"""Waiting for a call to end, and telling whoever waits why it does not.

A call that runs, or stands in a line that moves, is waited for in silence.  What a person may want
to know or can mend is told once, when it becomes so: the call begins later, cannot begin, is held,
or its node is away.
"""

from __future__ import annotations

import re
import time
from math import inf
from typing import TYPE_CHECKING, Any

from meshcode.cli import output, plain
from meshcode.cli.table import clean
from meshcode.errors import MeshError, WaitTimeout
from meshcode.listing import LOST

if TYPE_CHECKING:
    from meshcode.client import Call, Client

LINK_LOOK_S = 1.0  # Between two looks at the link, which ask nobody.
TELL_WHY_S = 3.0  # A call that has not ended by then is asked about,
LOOK_MAX_S = 5.0  # and again, ever more rarely, at last with so long between.
ASK_S = 1.0  # A node that takes longer for an answer is not waited for: the call is.
STEPS_LOOKED = 200  # Open steps of a flow that are looked at for one that holds it up.

FLOW_SOCKET = "@flow"  # What the call is to that a flow descends from.
AWAY = "AWAY"  # Beside the states of a call: there is no node to ask.
_NUMBER = re.compile(r"\d+")
_STAYS = "Ctrl-C stops this waiting only"


def wait(client: Client, call: Call, seconds: float | None) -> None:
    """Wait until the call has ended, well or not; tell on stderr what keeps it from that.

    Raises:
        WaitTimeout: it has not ended within `seconds`.
    """
    now = time.monotonic()
    end = inf if seconds is None else now + seconds
    gap = TELL_WHY_S
    look_at = now + gap
    told: set[Any] = set()
    while True:
        if call._ends_within(max(min(LINK_LOOK_S, end - now), 0.0)):
            return
        now = time.monotonic()
        if now >= end:
            raise WaitTimeout(f"call {call.id} has not ended within {seconds} s", id=call.id)
        found = _of_link(client)
        if found:
            look_at = now + TELL_WHY_S  # A node that is back begins to work first.
        else:
            told.discard((AWAY, ""))
        if not found and now >= look_at:
            found = look(client, call)
            gap = min(gap * 1.5, LOOK_MAX_S)
            look_at = now + gap
        _tell(call, found, told)
        now = time.monotonic()


def look(client: Client, call: Call) -> dict[str, Any]:
    """What is known of a call now: its record at the node, or AWAY; nothing when it ends just now,
    may not be seen, or its node takes too long to answer.

    Of a flow: `step` says what the first of its steps that cannot go on waits for; likewise of the
    copies that a broadcast, or a call of a fanout queue, has made.
    """
    found = _of_link(client)
    try:
        if not found:
            found = client.ask("call.get", timeout=ASK_S, id=call.id)
            if found.get("socket") == FLOW_SOCKET:
                found = {"state": "FLOW", "step": _step_of(client, call)}
            elif found.get("state") == "DONE":
                found = {"state": "COPIES", "step": _copy_of(client, call)}
    except MeshError:  # Whatever it is, the call is waited for, and how it ends is told.
        return _of_link(client)
    return found


def _of_link(client: Client) -> dict[str, Any]:
    """What is known without asking: that there is no node to ask."""
    return {} if client.is_linked else {"state": AWAY}


def _step_of(client: Client, call: Call) -> str:
    """Of the steps that have not ended, the first that a person can do something for."""
    flow = client.ask(
        "flow.get", timeout=ASK_S, id=call.id, open=True, rows=True, limit=STEPS_LOOKED
    )
    return _first_of(call, [(row, f"step {row['step']}") for row in flow["rows"]])


def _copy_of(client: Client, call: Call) -> str:
    """The same of the copies of a call: it has ended, and what gathers their values has not."""
    from meshcode.client.lateness import copies_of, put

    gathered = put(client, copies_of(call.id), ASK_S)
    rows = [] if gathered is None else gathered[1]
    return _first_of(call, [(row, "its copy") for row in rows])


def _first_of(call: Call, rows: list[tuple[dict[str, Any], str]]) -> str:
    """What the first of these calls waits for that does not go on by itself; their names beside."""
    from meshcode.cli.doctor_check import OK
    from meshcode.cli.doctor_flow import judge_call

    for row, name in rows:
        check = judge_call(row, name)
        if check is not None and check.state != OK:
            return f"{check.name}: {check.detail}; see `mesh doctor flow {call.id}`"
    return ""


def _tell(call: Call, found: dict[str, Any], told: set[Any]) -> None:
    """Tell what was not told yet: a state, or another reason; a number in it makes none."""
    state = found.get("state")
    why = found.get("reason") if state in ("PARKED", "RUNNING") else found.get("step")
    key = (state, _NUMBER.sub("", why or ""))
    text = _news(call, found)
    if text and key not in told:
        output.say(f"mesh: {clean(text)}")
        told.add(key)


def _news(call: Call, found: dict[str, Any]) -> str:
    """What is told while one waits; nothing when there is nothing to do or to know."""
    state, reason = found.get("state"), found.get("reason")
    if state == AWAY:
        if call.state == "SENT":
            return (
                f"the node is away and has not acknowledged call {call.id}, which is sent again"
                " when it is back"
            )
        return (
            f"call {call.id} is safe at the node, which is away; this goes on when it is back;"
            f" {_STAYS}"
        )
    if state == "DELAYED" and found.get("due_ms"):
        again = " again" if found.get("attempts") else ""
        begins = plain.local_time(found["due_ms"])
        return f"call {call.id} begins{again} at {begins}; it is safe; {_STAYS}"
    if state == "PARKED":
        return f"call {call.id} waits: {reason}; it is safe and begins when it can; {_STAYS}"
    if state == "RUNNING" and reason:
        return f"call {call.id} runs and may never end: {reason}; {_STAYS}"
    if state == "COPYING" and reason:
        return f"call {call.id} is not acknowledged: {reason}; {_STAYS}"
    if state == "HELD":
        return f"call {call.id} is held: {_held(call, found)}; {_STAYS}"
    if state in LOST:
        return f"call {call.id} does not go on: it is {_lost(call, found)}"
    if found.get("step"):
        what = "call" if state == "COPIES" else "flow"
        return f"{what} {call.id} waits for {found['step']}; {_STAYS}"
    return ""


def too_late(call: Call, found: dict[str, Any], length: str) -> str:
    """What is told when the time for waiting is over."""
    state = found.get("state")
    late = f"call {call.id} has not ended within {length}"
    goes_on = (
        f"it goes on: `mesh call get {call.id}` waits for it, `mesh call cancel {call.id}` stops it"
    )
    if call.state == "SENT":
        where = "; the node is away" if state == AWAY else ""
        where += f": {found['reason']}" if state == "COPYING" and found.get("reason") else ""
        return (
            f"call {call.id} was not acknowledged within {length}{where}; it may have been accepted"
            f" or not: `mesh ls call {call.id}` tells when the node answers"
        )
    if state == AWAY:
        return (
            f"{late}; it is safe at the node, which is away: `mesh call get {call.id}` waits for it"
            " when the node is back"
        )
    if state == "HELD":
        return f"{late}: it is held: {_held(call, found)}"
    if state in LOST:
        return f"{late} and does not go on: it is {_lost(call, found)}"
    if state == "RUNNING" and found.get("reason"):
        return f"{late} and may never: {found['reason']}; {goes_on}"
    if state == "PARKED":
        return f"{late}; it waits: {found.get('reason')}; {goes_on}"
    if state == "DELAYED" and found.get("due_ms"):
        return f"{late}; it begins at {plain.local_time(found['due_ms'])}; {goes_on}"
    if found.get("step"):
        return f"{late}; it waits for {found['step']}; {goes_on}"
    return f"{late}; {goes_on}"


def left_alone(call: Call) -> str:
    """What is told to who stops waiting by Ctrl-C."""
    if call.state == "SENT":
        return (
            f"call {call.id} is not acknowledged yet; it may be accepted or not: `mesh ls call"
            f" {call.id}` tells"
        )
    return f"call {call.id} goes on; `mesh call cancel {call.id}` stops it"


def _held(call: Call, found: dict[str, Any]) -> str:
    """Why it is held, and both ways on; the router's reason ends in them, without the id."""
    why = str(found.get("reason") or "").split("; look at its output", 1)[0]
    return (
        f"{why}; look at `mesh ls call {call.id} --output`, then `mesh call retry {call.id}` or"
        f" `mesh call cancel {call.id}`"
    )


def _lost(call: Call, found: dict[str, Any]) -> str:
    return (
        f"{found['state']}, {found.get('reason')}; `mesh recover --force {call.id}` issues it again"
    )
