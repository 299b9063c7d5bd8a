"""Accepting calls: check, refuse with both numbers, or append and acknowledge."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from meshcode import errors, limits
from meshcode.replica.instance import ENDED
from meshcode.router import acks, copies, ending, holding, replicated, timers
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.events import Submitted
from meshcode.router.line import Line
from meshcode.router.records import custody_header
from meshcode.router.states import State
from meshcode.router.timers import T_DUE

if TYPE_CHECKING:
    from meshcode.router.core import Router


# Options that a client may give, with the least and greatest value; all are whole numbers.
_NUMBERS = {
    "priority": (0, limits.PRIORITY_MAX),
    "delay_ms": (0, 10 * 365 * 86_400_000),
    "eta_ms": (0, 1 << 53),
    "retries": (0, 1_000_000),
    "retry_delay_ms": (0, 30 * 86_400_000),
    "time_limit_ms": (1, 365 * 86_400_000),
    "expires_ms": (1, 10 * 365 * 86_400_000),
}
_LEVELS = ("local", "quorum", "all", "strict")
_TEXTS = {"key": 200, "by": 200, "trace": 200}


def on_submitted(r: Router, event: Submitted, now_ms: int, out: Effects) -> None:
    """Accept or refuse every call of a frame, then acknowledge the frame."""
    client = event.client
    custody = r.custody_at(now_ms)
    records = out.records
    touched: dict[str, Line] = {}
    kept = r.replica.by_id  # Calls that other nodes own and this one keeps too.
    alone = not r.replica.peers.by_node
    safe = (
        (1, limits.VOTERS) if event.elsewhere else (limits.VOTERS + 1, 1)
    )  # Copies and voters of the call that has the fewest.
    over_ids: set[bytes] = set()  # Ended in this very step, so `ended` cannot know them.
    for id, _flow, _parent, name, argc, options, envelope in event.calls:
        call = r.calls.get(id)
        if call is not None:  # A repeated submit: the same answer, and this client is told too.
            r.watch(call, client)
            if call.state is State.COPYING and call.inst is not None:
                wanted = None if options is None else options.get("ack")
                acks.await_copies(r, call.inst, client, event.sequence, wanted)
            safe = min(safe, acks.copies_of(call))
            continue
        ended = event.ended.get(id) if event.ended else None
        if ended is not None:
            out.outcomes.append((client, ended))
            continue
        if id in over_ids or (kept and await_kept(r, id, client, event.sequence, out)):
            continue
        line = r.lines.get(name)
        refusal = check(r, line, name, id, argc, options, len(envelope))
        voters = r.alone if alone else r.replica.peers.choose_voters(id)
        if refusal is None and len(voters) == 1:
            refusal = replicated.refuse_weak(options, voters)
        if refusal is not None:
            out.refused.append((client, id, refusal.to_data()))
            continue
        assert line is not None
        sequence = r.next_sequence
        r.next_sequence = sequence + 1
        call = Call(id, sequence, line, envelope, len(envelope), options, client, now_ms)
        shared = len(voters) > 1
        head = custody_header(r.node, r.boot, voters, now_ms) if shared else custody
        records.append(("open", sequence.to_bytes(8, "big"), head + envelope))
        over = is_over(line, call.size) if line.config.dead_letter_overflow else None
        r.keep(call, whole=shared or over is not None)
        line.count_in(call)
        if shared:
            replicated.begin(r, call, voters, now_ms, out)
            assert call.inst is not None
            wanted = None if options is None else options.get("ack")
            acks.await_copies(r, call.inst, client, event.sequence, wanted)
            if wanted == "local":
                safe = min(safe, (1, len(voters)))
        else:
            wanted = None if alone or options is None else options.get("ack")
            if alone or not copies.begin(r, call, client, event.sequence, wanted, out):
                safe = min(safe, (1, 1))
            if not alone:
                r.narrow[id] = None
        if over is not None:
            over_ids.add(id)
            ending.dead_letter(r, call, over, now_ms, out)
            continue
        if shared:
            r.spill(call)
            if r.listening:
                r.tell(out, call, "received", "", now_ms)
            continue
        due_ms = None if options is None else timers.due_of(options, now_ms)
        if due_ms is not None and due_ms > now_ms:
            call.state = State.DELAYED
            call.due_ms = due_ms
            call.reason = holding.DELAYED_REASON
            r.at(due_ms, T_DUE, call)
        else:
            line.push(call)
            touched[name] = line
        if options is not None or line.expires:
            timers.arm_expiry(r, call)
        if r.listening:
            r.tell(out, call, "received", "", now_ms)
    for line in touched.values():
        r.offer(line)
    ack = r.acks.get((client, event.sequence))
    if ack is not None:  # It is acknowledged when its calls have their copies.
        if safe[0] < ack[1]:
            ack[1:] = safe
    else:
        count, of = safe if safe[0] <= limits.VOTERS else (1, 1)
        level = acks.level_of(count, of)
        out.accepted.append((client, event.sequence, level, count, of))


def await_kept(r: Router, id: bytes, client: int, frame: int, out: Effects) -> bool:
    """A call that another node owns and this one keeps: whoever asks is told when it ends.

    It is acknowledged when a majority has it, for all this node can learn: when it is taken over
    here, or ends.
    """
    inst = r.replica.by_id.get(id)
    if inst is None:
        return False
    if inst.role == ENDED:
        if inst.value is not None and inst.value.outcome:
            out.outcomes.append((client, inst.value.outcome))
        return True
    clients = r.watchers.setdefault(id, [])
    if client not in clients:
        clients.append(client)
    acks.await_copies(r, inst, client, frame, None)
    return True


def check(
    r: Router,
    line: Line | None,
    name: str,
    id: bytes,
    argc: int,
    options: dict[str, Any] | None,
    size: int,
) -> errors.CallerError | None:
    """Why a call cannot be accepted, or None."""
    if line is None or line.removed:
        return unknown_socket(r, name)
    if r.draining or r.disk_level:
        return busy(r)
    if int.from_bytes(id[:6], "big") < r.horizon_ms:
        return errors.ResultExpired(
            f"the id was made at {int.from_bytes(id[:6], 'big')} ms, outcomes made before "
            f"{r.horizon_ms} ms are forgotten, so it cannot be told from a call that ran; "
            "submit it with a new id",
        )
    if options is not None:
        problem = option_problem(options)
        if problem is not None:
            return errors.BadRequest(f"socket {name}: {problem}")
    if line.signature is not None and argc != 255:
        keywords = options.get("kw", ()) if options else ()
        problem = line.signature.check(argc, keywords)
        if problem is not None:
            return errors.WrongArguments(
                f"{name}{line.signature.text} {problem}; the call was not accepted"
            )
    if not line.config.dead_letter_overflow:
        over = is_over(line, size)
        if over is not None:
            return errors.QueueFull(
                f"{over}; the call was not accepted; try again later", queue=line.config.queue
            )
    if len(r.calls) >= limits.OPEN_CALLS_MAX:
        return errors.Busy(
            f"this node has {len(r.calls)} open calls, the limit is {limits.OPEN_CALLS_MAX}"
        )
    return None


def busy(r: Router) -> errors.Busy | None:
    """Why this node takes no new calls at all, or None."""
    if r.draining:
        return errors.Busy("this node is draining and takes no new calls; try again or elsewhere")
    if r.disk_level:
        return errors.Busy(
            "this node takes no new calls because its disk or log is nearly full; what it accepted "
            "is safe; free some space or prune the history, then try again",
            level=r.disk_level,
        )
    return None


def unknown_socket(r: Router, name: str) -> errors.UnknownSocket:
    """The error for a name that is no socket's, with the nearest one."""
    known = [line.name for line in r.lines.values() if not line.removed]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`mesh ls sockets` shows what there is"
    return errors.UnknownSocket(f"there is no socket {name!r}; {hint}", name=name)


def is_over(line: Line, size: int) -> str | None:
    """Which limit of the queue one more call of `size` bytes would break, with both numbers."""
    config = line.config
    if config.max_length is not None and line.depth >= config.max_length:
        return (
            f"the line of socket {line.name} holds {line.depth} calls, its queue "
            f"{config.queue} allows {config.max_length}"
        )
    if config.max_length_bytes is not None and line.bytes + size > config.max_length_bytes:
        return (
            f"the line of socket {line.name} would hold {line.bytes + size} bytes, its queue "
            f"{config.queue} allows {config.max_length_bytes}"
        )
    return None


def option_problem(options: dict[str, Any]) -> str | None:
    """What is wrong with the options of a call, or None; unknown options are let through."""
    for name, value in options.items():
        bounds = _NUMBERS.get(name)
        if bounds is not None:
            if not isinstance(value, int) or isinstance(value, bool):
                return f"option {name} must be a whole number, it is {value!r}"
            if not bounds[0] <= value <= bounds[1]:
                return f"option {name} must be {bounds[0]} to {bounds[1]}, it is {value}"
        elif name in _TEXTS:
            if not isinstance(value, str) or len(value) > _TEXTS[name]:
                return f"option {name} must be text of at most {_TEXTS[name]} characters"
        elif name == "ack" and value not in _LEVELS:
            return f"option ack must be {', '.join(_LEVELS)}, it is {value!r}"
        elif name in ("kw", "died") and not (
            isinstance(value, list) and all(isinstance(word, str) for word in value)
        ):
            return f"option {name} must be a list of names"
    return None
