"""What is told when a wait ends before its call: where the call is, and what it waits for.

The node is asked once, and not for long: a call that somebody only looked at must not cost him
seconds more than he gave.  A wait without an end says nothing by itself; of a call that is held,
which stays so until a person acts, it tells the logger `meshcode` once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from meshcode.client.flows.plan import FLOW_SOCKET, GATHER_SOCKET
from meshcode.errors import MeshError, WaitTimeout
from meshcode.ids import child_id, parse_id, text_of

if TYPE_CHECKING:
    from meshcode.client.call import Call
    from meshcode.client.client import Client
    from meshcode.client.wake import Waiter

ASK_S = 1.0  # For each of three questions at most; the wait that is over was shorter, mostly.
LOOK_S = 5.0  # A call that is waited for without an end is looked at after so long, then rarely.
LOOK_S_MAX = 60.0
STEPS_LOOKED = 200  # Open steps of a flow that are looked at for one that is held.

_LOST = ("ORPHAN", "COPY")  # It waits for `mesh recover`.
_DONE = "DONE"
_ENDED = (_DONE, "FAILED", "CANCELLED")


class Found(NamedTuple):
    """What is known of a call that has not ended."""

    state: str = ""  # As the node says; SENT or AWAY as this client knows; "" is nothing.
    reason: str = ""
    of: str = ""  # Which step of a flow this is of; "" is the call itself.


Questions = Generator[tuple[str, dict[str, Any]], Any, Found]


def known_here(call: Call) -> Found:
    """What needs no question: it is not acknowledged, or there is no node to ask."""
    if not call._is_known():
        return Found("SENT")
    return Found() if call._client.is_linked else Found("AWAY")


def questions(call: Call) -> Questions:
    """The requests to the node, one after the other; each is sent its answer."""
    found = yield "call.get", {"id": call._id}
    if found.get("socket") != FLOW_SOCKET:
        if found.get("state") == _DONE:
            return (yield from _of_copies(call))
        return Found(str(found.get("state") or ""), str(found.get("reason") or ""))
    fields = {"id": call._id, "open": True, "rows": True, "limit": STEPS_LOOKED}
    flow = yield "flow.get", fields
    for row in flow.get("rows", ()):
        if row["state"] in ("HELD", *_LOST):
            step = f"step {row['step']} ({row['socket'] or 'gather'}, call {row['id']})"
            return Found(str(row["state"]), str(row.get("reason") or ""), step)
    return Found()


def _of_copies(call: Call) -> Questions:
    """The same of a call that has ended, but not with a value: its copies run, and are gathered."""
    gathered = yield from copies_of(call._id)
    if gathered is None:
        return Found(_DONE)
    gather, rows = gathered
    for row in rows:
        if row["state"] in ("HELD", "PARKED", *_LOST):
            copy = f"its copy at socket {row['socket']} (call {row['id']})"
            return Found(str(row["state"]), str(row.get("reason") or ""), copy)
    return Found(str(gather["state"]), str(gather.get("reason") or ""))


Rows = list[dict[str, Any]]


def copies_of(id: bytes | str) -> Generator[tuple[str, dict[str, Any]], Any, Any]:
    """The requests for what a broadcast, or a call of a fanout or topic queue, waits for.

    Returns:
        The row of the open call that gathers, and the rows of the open ones among those that it
        needs (not of what they cause); None when nothing is gathered.
    """
    flow = yield "flow.get", {"id": id, "limit": 0, "rows": True, "beside": True}
    rows: Rows = flow.get("beside") or []
    for row in rows:
        if row["socket"] != GATHER_SOCKET:
            continue
        gather = yield "call.get", {"id": row["id"]}
        if gather.get("parent") == flow["id"]:
            needs = set(_needs(gather))
            return gather, [one for one in rows if one["id"] in needs]
    return None


def _needs(gather: dict[str, Any]) -> Iterator[str]:
    plan = parse_id(str(gather.get("plan") or gather["flow"]))
    for part in gather.get("feed") or ():
        if isinstance(part, dict) and "from" in part:
            for number in range(part["from"], part["from"] + part["count"]):
                yield text_of(child_id(plan, b"%d" % number))


def look(call: Call, seconds: float | None) -> Found:
    """What keeps a call from its end, as far as the node says so within `seconds` for each."""
    found = known_here(call)
    if found.state or (seconds is not None and seconds <= 0):
        return found
    timeout = ASK_S if seconds is None else min(seconds, ASK_S)
    try:
        told: Found = put(call._client, questions(call), timeout)
    except MeshError:  # Not told, whatever it is: it is the wait that has ended.
        return known_here(call)
    return told


def put(
    client: Client, asked: Generator[tuple[str, dict[str, Any]], Any, Any], each_s: float
) -> Any:
    """Put questions to the node, one after another, and give what they come to.

    Raises:
        MeshError: the node refused one, or did not answer it within `each_s` seconds.
    """
    answer = None
    while True:
        try:
            operation, fields = asked.send(answer)
        except StopIteration as end:
            return end.value
        answer = client.ask(operation, timeout=each_s, **fields)


def too_late(call: Call, seconds: float | None, found: Found) -> WaitTimeout:
    """The error of a wait that ended before its call."""
    late = f"call {call.id} has not ended within {seconds} s"
    fields = {"id": call.id, "state": found.state, "reason": found.reason}
    return WaitTimeout(f"{late}; {_what_now(call, found)}", **fields)


def late_item(number: int, late: WaitTimeout) -> WaitTimeout:
    """The error of a map whose time was over before the call of an item had ended."""
    return WaitTimeout(f"item {number} (from 0): {late.text}", **late.fields, item=number)


def _what_now(call: Call, found: Found) -> str:
    node = f"the node at {call._client.address}"
    it = found.of or "it"
    if found.state == "SENT":
        away = "" if call._client.is_linked else "is away and "
        return (
            f"{node} {away}has not acknowledged it yet: until then it may be in this program only,"
            " and is sent again while the client is open; result() waits on"
        )
    if found.state == "AWAY":
        return (
            f"{node}, which has it, is away: it goes on when the node is back; ask again with"
            " result(), from anywhere by its id"
        )
    if found.state == "HELD":
        return f"{it} is HELD and stands until a person acts{_told(found)}; {_ACT[not found.of]}"
    if found.state in _LOST:
        return (
            f"{it} is {found.state} and does not go on{_told(found)}; `mesh recover` issues it"
            " again"
        )
    if found.state in _ENDED:
        return "it ended just now: ask again with result()"
    if found.state:
        it = f"{it} is {found.state}{_told(found)}; it goes on"
    else:
        it = "it goes on"
    return f"{it}: ask again with result(), from anywhere by its id, or end it with cancel()"


_ACT = (
    "retry() or cancel() of that call, or cancel() of the flow, ends that",
    "retry() tries it again, cancel() ends it",
)


def _told(found: Found) -> str:
    # The reason of one that is held ends in what a person can do in a shell.
    reason = found.reason.split("; look at its output", 1)[0]
    return f": {reason}" if reason else ""


def wait_patiently(call: Call, waiter: Waiter) -> None:
    """Wait without an end; tell the log, once, when a person must act before there can be one."""
    pause_s = LOOK_S
    while not waiter.wait(pause_s):
        found = look(call, None)
        if found.state == "HELD" or found.state in _LOST:
            _log(f"call {call.id} to {call.socket or '?'}: {_what_now(call, found)}")
            waiter.wait(None)
            return
        pause_s = min(2 * pause_s, LOOK_S_MAX)


def _log(text: str) -> None:
    """A warning for whoever set up logging; nothing for who did not."""
    import logging  # Programs that do not wait so long need not load it.

    logger = logging.getLogger("meshcode")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # Else Python would print it on stderr.
    logger.warning("%s", text)
