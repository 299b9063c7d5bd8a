"""The short way of plain calls, which most are: no options, no plugs, kept by this node alone.

`accept` and `finish` do in one piece what the long way (`accept.py`, `ending.py`) does step by step
for any call, and leave alone whatever is not plain.  Steps of a flow may end the short way, too.
What comes of both ways is the same, record by record: tests/router/test_plain.py plays the same
events along both.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from meshcode import limits
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.events import Report, Submitted
from meshcode.router.line import Line
from meshcode.router.pool import Worker
from meshcode.router.records import pack_done
from meshcode.router.states import State
from meshcode.wire.frame import ARGC_NOT_TOLD
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE = int(Outcome.DONE)
_ENDED, _RUNNING = State.DONE, State.RUNNING
_MORE = frozenset({"edge", "key"})  # Options that make an outcome cause more.


def accept(r: Router, event: Submitted, now_ms: int, out: Effects) -> bool:
    """Accept a whole frame of plain calls; False, and nothing was done, if one of them is not."""
    if not (_is_open(r, event) and _are_plain(r, event)):
        return False
    custody = r.custody_at(now_ms)
    client, sequence, known, append = event.client, r.next_sequence, r.calls, out.records.append
    size_before = r.bodies_bytes
    lines: dict[str, Line] = {}
    last = ""
    for id, _flow, _parent, name, _argc, _options, envelope in event.calls:
        if name != last:
            last = name
            line = lines[name] = r.lines[name]
            push = line.ready.setdefault(line.priority, deque()).append
        size = len(envelope)
        call = Call(id, sequence, line, envelope, size, None, client, now_ms)
        call.direct = True
        append(("open", sequence.to_bytes(8, "big"), custody + envelope))
        known[id] = call
        push(call)
        line.depth += 1
        line.bytes += size
        size_before += size
        sequence += 1
    r.bodies_bytes = size_before
    r.next_sequence = sequence
    for line in lines.values():
        r.offer(line)
    return True


def _is_open(r: Router, event: Submitted) -> bool:
    """Whether this node takes calls without a further look, and these are nowhere known."""
    replica, calls = r.replica, event.calls
    if replica.peers.by_node or replica.by_id or r.copies or event.ended:
        return False
    if r.draining or r.disk_level or r.listening:
        return False
    if len(r.calls) + len(calls) > limits.OPEN_CALLS_MAX:
        return False
    ids = {new[0] for new in calls}
    if len(ids) != len(calls) or not r.calls.keys().isdisjoint(ids):
        return False
    return not r.horizon_ms or int.from_bytes(min(ids, default=b"")[:6], "big") >= r.horizon_ms


def _are_plain(r: Router, event: Submitted) -> bool:
    """Whether no call has options, and every line takes it and keeps it in memory."""
    last, last_argc = None, -1
    size = sum([len(new[6]) for new in event.calls])
    for _id, _flow, _parent, name, argc, options, _envelope in event.calls:
        if options is not None:
            return False
        if name == last and argc == last_argc:
            continue
        last, last_argc = name, argc
        line = r.lines.get(name)
        if line is None or line.removed or line.special or line.expires:
            return False
        if not r.has_room(line, size):
            return False
        config, signature = line.config, line.signature
        if config.max_length is not None or config.max_length_bytes is not None:
            return False
        if signature is not None and argc != ARGC_NOT_TOLD and signature.check(argc, ()):
            return False
    return True


def finish(
    r: Router, worker: Worker, reports: list[Report], now_ms: int, out: Effects
) -> list[Report]:
    """Record the outcomes of plain calls that returned; the reports of others are given back."""
    streams = r.streams
    if r.replica.peers.by_node or r.twins or r.watchers or r.listening:
        return reports
    if streams.by_call or streams.tracked or worker.streams:
        return reports
    held, queued, known, needed = worker.held, worker.queued, r.calls, r.needed
    append, tell = out.records.append, out.outcomes.append
    left: list[Report] = []
    for report in reports:
        id, attempt, code, _retry, duration_us, started_ms, envelope = report
        call = held.get(id)
        if call is None or code != _DONE or call.attempt != attempt or not _is_plain(call):
            left.append(report)
            continue
        line, submit = call.line, call.envelope
        assert call.state is _RUNNING and submit is not None, call.story
        line.learn(duration_us)
        line.running -= 1
        del held[id]
        queued.pop(id, None)
        call.worker = None
        worker.work_us -= call.estimate_us
        worker.bytes -= call.size if call.fed is None else call.weight
        call.state = _ENDED
        append(("open", call.sequence.to_bytes(8, "big"), None))
        record = pack_done(
            code, attempt, call.accepted_ms, started_ms or call.started_ms, now_ms, call.sequence,
            envelope, submit, None,
        )  # fmt: skip
        append(("done", id, record))
        del known[id]
        r.bodies_bytes -= call.size
        if needed and id in needed:
            r.ripe.append((id, envelope))
        if call.client:
            tell((call.client, envelope))
    if queued and len(left) < len(reports):  # The next of them has begun.
        head = next(iter(queued.values()))
        head.started_ms = head.started_ms or now_ms
    return left


def _is_plain(call: Call) -> bool:
    """Whether nothing but its outcome is to be recorded when it returns, and nothing caused."""
    line = call.line
    return (
        (call.options is None or _MORE.isdisjoint(call.options))
        and call.inst is None
        and call.owner is None
        and call.story is None
        and not (call.recorded or call.filed or call.timers or call.interrupted)
        and not (line.edges or line.special or line.limited)
    )
