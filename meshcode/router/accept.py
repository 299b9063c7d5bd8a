"""Accepting calls: check, refuse with both numbers, or append and acknowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from meshcode import errors, limits
from meshcode.ids import unix_ms_of, utc_of
from meshcode.nearest import nearest
from meshcode.replica.instance import ENDED
from meshcode.router import acks, ending, flows, plain, replicated, room, seats, timers
from meshcode.router.call import Call
from meshcode.router.effects import Effects
from meshcode.router.events import FIRST, Submitted
from meshcode.router.line import Line
from meshcode.router.plan import FLOW
from meshcode.router.records import custody_header

if TYPE_CHECKING:
    from meshcode.router.core import Router


# Options that a client may give, with the least and greatest value; all are whole numbers.
_NUMBERS: Final = {
    "priority": (0, limits.PRIORITY_MAX),
    "delay_ms": (0, 10 * 365 * 86_400_000),
    "eta_ms": (0, 1 << 53),
    "retries": (0, 1_000_000),
    "retry_delay_ms": (0, 30 * 86_400_000),
    "time_limit_ms": (1, 365 * 86_400_000),
    "expires_ms": (1, 10 * 365 * 86_400_000),
}
# Only nodes write these; see docs/wire.md.
NODES_OPTIONS: Final = (
    "feed", "plan", "named", "edge", "gate", "join", "at", "copy", "item", "seat", "seats",
)  # fmt: skip
_FLAGS: Final = ("stream", "broadcast")
_LEVELS: Final = ("local", "quorum", "all", "strict")
_WORDS: Final = ("kw", "died")  # Lists of names.
_TEXTS: Final = {"key": 200, "by": 200, "trace": 200, "topic": 255}
_CLIENTS_OPTIONS: Final = (*_NUMBERS, *_FLAGS, *_TEXTS, *_WORDS, "ack")


def on_submitted(r: Router, event: Submitted, now_ms: int, out: Effects) -> None:
    """Accept or refuse every call of a frame, then acknowledge the frame."""
    client, frame, part = event.client, event.sequence, event.part
    if part == FIRST:
        acks.begin_parts(r, client, frame)
    if plain.accept(r, event, now_ms, out):
        acks.acknowledge_plain(r, client, frame, part, out)
        return
    custody, alone = r.custody_at(now_ms), not r.replica.peers.by_node
    kept = r.replica.by_id
    # Copies and voters of the call that has the fewest.
    safe = event.elsewhere or (limits.VOTERS + 1, 1)
    touched: dict[str, Line] = {}
    over_ids: set[bytes] = set()  # Ended in this very step, so `ended` cannot know them.
    for new in event.calls:
        id, _flow, _parent, name, argc, options, envelope = new
        if id in r.calls or id in event.ended or id in over_ids or id in kept or id in r.copies:
            known = _known(r, event, id, options, out)
            safe = safe if known is None else min(safe, known)
            continue
        line = r.lines.get(name)
        refusal = check(r, line, name, id, argc, options, envelope, now_ms)
        voters = r.alone if alone else r.replica.peers.choose_voters(id)
        if refusal is None and (options is not None or not alone):
            refusal = replicated.refuse(options, voters, 0 if alone else len(envelope))
        if refusal is not None:
            out.refused.append((client, id, refusal.to_data()))
            r.plans.pop(id, None)
            continue
        assert line is not None
        over = is_over(line, len(envelope)) if line.config.dead_letter_overflow else None
        if options is not None or line.casts:
            line = seats.line_of(r, name, options)
        sequence = r.next_sequence
        r.next_sequence = sequence + 1
        call = Call(id, sequence, line, envelope, len(envelope), options, client, now_ms)
        call.needs = 0 if alone else None
        shared = len(voters) > 1
        head = custody_header(r.node, r.boot, voters, now_ms) if shared else custody
        out.records.append(("open", sequence.to_bytes(8, "big"), head + envelope))
        r.keep(call, whole=shared or over is not None)
        line.count_in(call)
        copied = (1, 1) if alone else replicated.spread(r, call, voters, frame, now_ms, out)
        safe = safe if copied is None else min(safe, copied)
        if over is not None:
            over_ids.add(id)
            ending.dead_letter(r, call, over, now_ms, out)
        elif shared:
            r.spill(call)
        elif copied is None and name == FLOW:
            flows.await_copy(call)
        else:
            _line_up(r, call, now_ms, touched, out)
            if line.builtin:
                over_ids.add(id)
        if r.listening:
            r.tell(out, call, "received", "", now_ms)
    for line in touched.values():
        r.offer(line)
    acks.acknowledge_frame(r, client, frame, part, safe, out)


def _line_up(
    r: Router, call: Call, now_ms: int, touched: dict[str, Line], out: Effects
) -> None:
    """Put a new call into its line, or let it wait for its time or for other calls."""
    line, options = call.line, call.options
    if options is not None or line.special:
        r.enter(call, now_ms, out)
        return
    line.push(call)
    touched[line.name] = line
    if line.expires:
        timers.arm_expiry(r, call)


def _known(
    r: Router, event: Submitted, id: bytes, options: dict[str, Any] | None, out: Effects
) -> tuple[int, int] | None:
    """A repeated submit: the same answer, and this client is told too.

    Returns copies and voters of the call; None when it has ended, or its copies are waited for.
    """
    client, frame = event.client, event.sequence
    wanted = None if options is None else options.get("ack")
    call = r.calls.get(id)
    if call is not None:
        r.watch(call, client)
        inst = call.inst
        if inst is not None and wanted != "local" and inst.have.bit_count() < inst.majority:
            acks.await_copies(r, inst, client, frame, wanted)
            return None
        return acks.copies_of(call)
    ended = event.ended.get(id)
    if ended is None and id in r.copies:  # The other of two nodes owns it.
        r.watchers.add(id, client)
        return (2, 2)
    inst = r.replica.by_id.get(id)
    if ended is None and inst is not None and inst.role == ENDED and inst.value is not None:
        ended = inst.value.outcome
    if ended:
        out.outcomes.append((client, ended))
        if wanted == "strict":  # It was never kept by one alone, and a majority chose its outcome.
            return (limits.VOTERS // 2 + 1, limits.VOTERS)
    elif inst is not None and inst.role != ENDED:
        # Another node owns it and this one keeps it too.  A majority has it, for all this node can
        # learn, when it is taken over here, or ends.
        r.watchers.add(id, client)
        acks.await_copies(r, inst, client, frame, None)
    return None


def check(
    r: Router,
    line: Line | None,
    name: str,
    id: bytes,
    argc: int,
    options: dict[str, Any] | None,
    envelope: bytes,
    now_ms: int,
) -> errors.CallerError | None:
    """Why a call cannot be accepted, or None."""
    if line is None or line.removed:
        return unknown_socket(r, name)
    if line.builtin:
        wrong: errors.CallerError | None = room.busy(r) or _too_old(r, id, now_ms)
        if wrong is None and options is not None:
            why = option_problem(options) or unknown_option(options)
            if why is None and options.get("broadcast"):
                why = "option broadcast is for a call of a task, or for a step of a flow"
            if why is not None:
                wrong = errors.BadRequest(f"socket {name}: {why}; nothing was accepted")
        return wrong or flows.problem(r, id, name, envelope)
    if (busy := room.busy(r)) is not None:
        return busy
    if r.horizon_ms and (old := _too_old(r, id, now_ms)) is not None:
        return old
    if options is not None:
        problem = option_problem(options) or unknown_option(options)
        if problem is None and line.casts and options.get("stream"):
            problem = (
                f"option stream does not go with its queue {line.config.queue}, which is a"
                " broadcast: a copy has one value"
            )
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
        over = is_over(line, len(envelope))
        if over is not None:
            return errors.QueueFull(
                f"{over}; the call was not accepted; try again later", queue=line.config.queue
            )
    return None


def _too_old(r: Router, id: bytes, now_ms: int) -> errors.ResultExpired | None:
    made_ms = unix_ms_of(id)
    if made_ms >= r.horizon_ms:
        return None
    return errors.ResultExpired(
        f"the id of this call was made at {utc_of(made_ms)} by the clock of its client, and the"
        f" clock of this node says {utc_of(now_ms)}: outcomes of calls made before"
        f" {utc_of(r.horizon_ms)} are forgotten, so it cannot be told from a call that ran; the"
        " call was not accepted; set the clock of the client if it is behind, and submit the call"
        " with a new id",
    )


def unknown_socket(r: Router, name: str) -> errors.UnknownSocket:
    """The error for a name that is no socket's, with the nearest one."""
    near = nearest(name, [line.name for line in r.lines.values() if not line.removed])
    hint = f"did you mean {near!r}?" if near else "`mesh ls sockets` shows what there is"
    return errors.UnknownSocket(f"there is no socket {name!r}; {hint}", name=name)


def is_over(line: Line, size: int, count: int = 1) -> str | None:
    """Which limit of the queue `count` more calls of `size` bytes would break; both numbers."""
    config = line.config
    if config.max_length is not None and line.depth + count > config.max_length:
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


def unknown_option(options: dict[str, Any]) -> str | None:
    """What a client wants that this version cannot do, or None: it would not be done, unnoticed.

    What another node has accepted is asked no more: it may be of a newer version.
    """
    for name in options:
        if name not in _CLIENTS_OPTIONS:
            near = nearest(name, _CLIENTS_OPTIONS)
            hint = f"; did you mean {near!r}?" if near else "; a newer one may, see docs/wire.md"
            return f"this version of meshcode knows no option {name!r:.60}{hint}"
    return None


def option_problem(options: dict[str, Any]) -> str | None:
    """What is wrong with the options of a call, or None; unknown ones are `unknown_option`'s."""
    for name, value in options.items():
        bounds = _NUMBERS.get(name)
        if bounds is not None:
            if not isinstance(value, int) or isinstance(value, bool):
                return f"option {name} must be a whole number, it is {value!r}"
            if not bounds[0] <= value <= bounds[1]:
                return f"option {name} must be {bounds[0]} to {bounds[1]}, it is {value}"
        elif name in NODES_OPTIONS:
            return f"option {name} is written by a node only"
        elif name in _TEXTS:
            if not isinstance(value, str) or len(value) > _TEXTS[name]:
                return f"option {name} must be text of at most {_TEXTS[name]} characters"
        elif name in _FLAGS and not isinstance(value, bool):
            return f"option {name} must be true or false, it is {value!r}"
        elif name == "ack" and value not in _LEVELS:
            return f"option ack must be {', '.join(_LEVELS)}, it is {value!r}"
        elif name in _WORDS and not (
            isinstance(value, list) and all(isinstance(word, str) for word in value)
        ):
            return f"option {name} must be a list of names"
    if options.get("broadcast") and options.get("stream"):
        return "options broadcast and stream do not go together: a copy has one value"
    return None
