"""Knots: every worker of a processor runs a call that waits for another call of that processor.

With one worker a task that calls a function of its own processor and waits for it is one already.
The core cannot know: to it a call that waits for another one only runs.  But a call names its
parent, so it is seen here, when somebody asks.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, islice

from meshcode.ids import NO_ID
from meshcode.router.call import Call
from meshcode.router.core import Router
from meshcode.router.line import Line
from meshcode.router.pool import Pool, Worker
from meshcode.router.states import State
from meshcode.wire.frame import AT_FLOW, AT_PARENT

LOOKED_MAX = 10_000  # Waiting calls of a processor; a knot behind so many is not seen.
DEPTH_MAX = 64  # Calls that called one another.
_CURE = (
    "give it more workers (`mesh update processor -w`), call another processor, or make it a flow"
)


def knot(router: Router, line: Line) -> str:
    """Why no call of the line can begin, when those that run wait for calls like it; else ""."""
    pool = router.pools[line.config.processor]
    running = _running(pool, line)
    if not running:
        return ""
    waited_for = _waited_for(router, pool, router.turn, router.replica.now_ms)
    if any(call.id not in waited_for for call in running):
        return ""
    name, count = pool.name, len(running)
    if count == 1:
        runs = f"its one place runs a call that called {name} again; while it waits for that"
    else:
        runs = f"all its {count} places run calls that called {name} again; while these wait"
    cure = "make it a flow" if name.startswith("@") else _CURE
    return (
        f"processor {name}: {runs}, no other call of {name} can begin; {cure}"
    )


def knot_of_pool(router: Router, pool: Pool) -> str:
    """The same for a whole processor."""
    lines = (line for line in pool.lines.values() if line.depth and not line.addressed)
    return next(filter(None, (knot(router, line) for line in lines)), "")


def knot_of_call(router: Router, call: Call) -> str:
    """The same of a call that runs and is one of those that are waited for."""
    if call.worker is None or not call.marked:
        return ""
    pool = call.worker.pool
    found = knot_of_pool(router, pool)
    waited_for = _waited_for(router, pool, router.turn, router.replica.now_ms) if found else ()
    return found if call.id in waited_for else ""


def _running(pool: Pool, line: Line) -> list[Call]:
    """The calls that a call of the line waits for, when all of them have run for a second."""
    found: list[Call] = []
    able = [worker for worker in pool.workers.values() if not worker.leaving]
    for worker in able:
        before = _before(worker, line)
        if not before or worker.streams or not all(call.marked for call in before):
            return []
        found += before
    return found


def _before(worker: Worker, line: Line) -> list[Call]:
    """What must end before this worker can begin a call of the line; empty: nothing need."""
    if worker.node or (worker.slots > 1 and line.at_once):
        beside = [call for call in worker.held.values() if call.id not in worker.queued]
        return beside if len(beside) >= worker.slots else []
    return list(islice(worker.queued.values(), 1))


@lru_cache(maxsize=16)  # A listing asks once for each call that it shows.
def _waited_for(router: Router, pool: Pool, _turn: int, _now_ms: int) -> set[bytes]:
    """The calls from which one descends that waits for a worker of the processor."""
    found: set[bytes] = set()
    ready = (line.ready.values() for line in list(pool.lines.values()))
    waiting = chain.from_iterable(chain.from_iterable(ready))
    for call in islice(waiting, LOOKED_MAX):
        if call.state is State.WAITING:
            found.update(_ancestors(router, call))
    return found


def _ancestors(router: Router, call: Call) -> list[bytes]:
    """Parents that are open, and theirs; the root of a flow made all that is in it."""
    found: list[bytes] = []
    above: Call | None = call
    while above is not None and above.envelope is not None and len(found) < DEPTH_MAX:
        flow, parent = above.envelope[AT_FLOW], above.envelope[AT_PARENT]
        found += [id for id in (flow, parent) if id not in (NO_ID, call.id)]
        above = router.calls.get(parent)
    return found
