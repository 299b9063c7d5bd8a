"""The short way of plain calls, which most are: no options, no plugs.

`accept` and `finish` do in one piece what the long way (`accept.py`, `ending.py`) does step by step
for any call, and leave alone whatever is not plain.  Steps of a flow may end the short way, too.
What comes of both ways is the same, record by record: tests/router/test_plain.py plays the same
events along both.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from meshcode import limits
from meshcode.replica.instance import Instance, Value, make_key
from meshcode.router import room
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.events import Report, Submitted
from meshcode.router.line import Line
from meshcode.router.pool import Worker
from meshcode.router.records import custody_header, pack_done
from meshcode.router.states import State
from meshcode.wire.frame import ARGC_NOT_TOLD
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.router.core import Router

_DONE: Final = int(Outcome.DONE)
_ENDED: Final = State.DONE
_RUNNING: Final = State.RUNNING
_MORE: Final = frozenset({"edge", "key"})  # Options that make an outcome cause more.


def accept(r: Router, event: Submitted, now_ms: int, out: Effects) -> bool:
    """Accept a whole frame of plain calls; False, and nothing was done, if one of them is not."""
    if not (_is_open(r, event) and _are_plain(r, event)):
        return False
    if r.replica.peers.by_node:
        if not _accept_shared(r, event, now_ms, out):
            return False
    else:
        _accept_alone(r, event, now_ms, out)
    if r.listening:
        for new in event.calls:
            r.tell(out, r.calls[new[0]], "received", "", now_ms)
    return True


def _accept_alone(r: Router, event: Submitted, now_ms: int, out: Effects) -> None:
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
        call.needs = 0
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


def _accept_shared(r: Router, event: Submitted, now_ms: int, out: Effects) -> bool:
    """The same where others keep the calls, too: they may run when a majority has them.

    False, and nothing was done, if one of them would not be kept by three, or by a witness.
    """
    replica, frame = r.replica, event.sequence
    groups = [replica.peers.choose_voters(new[0]) for new in event.calls]
    if not replica.peers.all_keep or not all(len(voters) == limits.VOTERS for voters in groups):
        return False
    if any(len(new[6]) > limits.SHARED_BYTES_MAX for new in event.calls):
        return False
    client, sequence, append = event.client, r.next_sequence, out.records.append
    heads = {voters: custody_header(r.node, r.boot, voters, now_ms) for voters in set(groups)}
    for new, voters in zip(event.calls, groups, strict=True):
        id, _flow, _parent, name, _argc, _options, envelope = new
        line, size = r.lines[name], len(envelope)
        call = Call(id, sequence, line, envelope, size, None, client, now_ms)
        inst = call.inst = Instance(make_key(id, r.node), voters, r.boot, sequence)
        call.state = State.COPYING
        inst.waiting = [(client, frame, limits.VOTERS // 2 + 1)]
        append(("open", sequence.to_bytes(8, "big"), heads[voters] + envelope))
        r.calls[id] = call
        line.depth += 1
        line.bytes += size
        r.bodies_bytes += size
        replica.begin(inst, now_ms, envelope, now_ms, out)
        sequence += 1
    r.next_sequence = sequence
    if (ack := r.acks.get((client, frame))) is None:
        r.acks[client, frame] = [len(groups), limits.VOTERS + 1, limits.VOTERS]
    else:
        ack[0] += len(groups)  # Of a frame in parts.
    return True


def _is_open(r: Router, event: Submitted) -> bool:
    """Whether this node takes calls without a further look, and these are nowhere known."""
    replica, calls = r.replica, event.calls
    if event.ended or event.elsewhere is not None:
        return False
    if r.draining or r.disk_level:
        return False
    if room.kept(r) + len(calls) > r.calls_max:
        return False
    ids = {new[0] for new in calls}
    if not calls or len(ids) != len(calls) or not r.calls.keys().isdisjoint(ids):
        return False
    for others in (replica.by_id, r.copies, r.guests):
        if others and not others.keys().isdisjoint(ids):
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
    """Record the outcomes of plain calls that returned, or propose them to the other nodes that
    keep the call; the reports of others are given back.
    """
    streams = r.streams
    if r.twins or r.watchers.by_call or streams.by_call or streams.tracked or worker.streams:
        return reports
    shared = bool(r.replica.peers.by_node)  # Then a call that has no voters may have a copy.
    held, queued, known, needed = worker.held, worker.queued, r.calls, r.needed
    append, tell = out.records.append, out.outcomes.append
    left: list[Report] = []
    for report in reports:
        id, attempt, code, _retry, duration_us, started_ms, envelope = report
        call = held.get(id)
        if call is None or code != _DONE or call.attempt != attempt or not _is_plain(call):
            left.append(report)
            continue
        inst, submit = call.inst, call.envelope
        if (inst is None) is shared or (shared and len(envelope) > limits.SHARED_BYTES_MAX):
            left.append(report)
            continue
        line = call.line
        assert call.state is _RUNNING and submit is not None, call.story
        line.learn(duration_us)
        line.running -= 1
        del held[id]
        queued.pop(id, None)
        call.worker = None
        worker.work_us -= call.estimate_us
        worker.bytes -= call.size if call.fed is None else call.size + call.fed.size
        if inst is not None:
            call.state = State.ENDING
            started_ms = call.started_ms = started_ms or call.started_ms
            note = {"attempt": attempt, "started_ms": started_ms, "story": []}
            r.replica.propose(inst, Value(code, envelope, (), note), now_ms, out, early=True)
            continue
        call.state = _ENDED
        append(("open", call.sequence.to_bytes(8, "big"), None))
        record = pack_done(
            code, attempt, call.accepted_ms, started_ms or call.started_ms, now_ms, call.sequence,
            envelope, submit, None,
        )  # fmt: skip
        append(("done", id, record))
        if entry := line.entry_of(id, r.forgotten):
            append(("socket", entry, b""))
        del known[id]
        r.bodies_bytes -= call.size
        if needed and id in needed:
            r.ripe[id] = envelope
        if call.client:
            tell((call.client, envelope))
        if r.listening:
            r.tell(out, call, "postrun", _ENDED.name, now_ms)
    if queued and len(left) < len(reports):  # The next of them has begun.
        head = next(iter(queued.values()))
        head.started_ms = head.started_ms or now_ms
    return left


def _is_plain(call: Call) -> bool:
    """Whether nothing but its outcome is to be recorded when it returns, and nothing caused."""
    line = call.line
    return (
        (call.options is None or _MORE.isdisjoint(call.options))
        and call.owner is None
        and call.story is None
        and not (call.recorded or call.filed or call.timers or call.interrupted)
        and not (line.edges or line.special or line.limited)
    )
