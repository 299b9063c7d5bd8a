"""What always holds between the parts of a router, whatever has happened."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from meshcode.router import seats
from meshcode.router.states import OPEN_STATES, State

if TYPE_CHECKING:
    from meshcode.router.core import Router
    from meshcode.router.line import Line


def check(r: Router) -> None:
    """Assert it; slow, for tests and the simulator."""
    waiting: dict[Line, int] = {}
    running: dict[Line, int] = {}
    for call in r.calls.values():
        assert call.state in OPEN_STATES, call.state
        assert (call.state is State.RUNNING) == (call.worker is not None), call.story
        if call.worker is not None:
            assert call.worker.held[call.id] is call, call.story
            running[call.line] = running.get(call.line, 0) + 1
        elif call.state not in (State.HELD, State.ENDING):
            waiting[call.line] = waiting.get(call.line, 0) + 1
    for call in r.guests.values():
        counts = running if call.worker is not None else waiting
        counts[call.line] = counts.get(call.line, 0) + 1
        assert call.worker is None or call.worker.held[call.id] is call, call.id.hex()
    lines = (r.lines, r.guest_lines, r.seats.lines)
    for line in chain.from_iterable(some.values() for some in lines):
        assert line.depth == waiting.get(line, 0), (line.name, line.seat, line.depth)
        assert line.running == running.get(line, 0), (line.name, line.seat, line.running)
    seats.check(r)
    for worker in r.workers.values():
        assert sum(call.weight for call in worker.held.values()) == worker.bytes
        assert all(worker.held.get(id) is call for id, call in worker.queued.items())
        if worker.node is None:
            beside = len(worker.held) - len(worker.queued)
            beside -= len(worker.streams) + len(worker.blocked)
            assert beside <= max(worker.slots, 1)
    in_memory = sum(call.size for call in r.calls.values() if call.envelope is not None)
    assert in_memory == r.bodies_bytes, (in_memory, r.bodies_bytes)


__all__ = ["check"]
