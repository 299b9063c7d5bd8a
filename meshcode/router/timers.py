"""The kinds of timers of the core, and when calls are due and expire.

A timer is data in one heap.  When it fires, it is checked against the state and dropped if that has
moved on, so timers are never cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from meshcode.router.call import Call
    from meshcode.router.core import Router

T_DUE: Final = 0  # A DELAYED call's time has come.
T_EXPIRE: Final = 1  # A call waited, or lived, as long as it may.
T_LINE: Final = 2  # More of a line may begin: its rate limit lets it, or others had their turn.
T_WORKER: Final = 3  # Look at what a worker runs: time limit, mark in the log, calls behind it.
T_TICK: Final = 4  # A schedule has a tick.

TIMERS_DEAD_MIN: Final = 1_024  # So many timers of ended calls are not worth a sweep of the heap.


def due_of(options: dict[str, Any] | None, accepted_ms: int, now_ms: int) -> int | None:
    """When a call may begin at the earliest, in node milliseconds; None = at once.

    `accepted_ms` may be of another node, whose clock is ahead: a delay is never longer than it is.
    """
    if not options:
        return None
    if options.get("delay_ms"):
        return min(accepted_ms, now_ms) + int(options["delay_ms"])
    eta_ms = options.get("eta_ms")
    return None if eta_ms is None else int(eta_ms)


def arm_expiry(r: Router, call: Call) -> None:
    """Set the timer that ends the call if it waits or lives too long; it may be due already."""
    due_ms = expiry_of(call) if call.owner is None else None
    if due_ms is not None:
        r.at(due_ms, T_EXPIRE, call)


def expiry_of(call: Call) -> int | None:
    """When the call expires if it is not running then: message TTL or its own expiry, the first."""
    expires_ms = call.setting("expires_ms")
    ttl_ms = call.line.config.message_ttl_ms
    if expires_ms is None and ttl_ms is None:
        return None
    times: list[int] = []
    if expires_ms is not None:
        times.append(call.accepted_ms + expires_ms)
    if ttl_ms is not None:
        times.append(max(call.accepted_ms, call.due_ms) + ttl_ms)
    return min(times)
