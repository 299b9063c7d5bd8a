"""What a client may ASK of a node: one function per operation (docs/wire.md, "Operations")."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import meshcode
from meshcode.errors import BadRequest, Busy, UnknownCall, UnknownObject, WrongState
from meshcode.ids import parse_id, text_of
from meshcode.limits import DISK_STUCK
from meshcode.listing import LOST, where
from meshcode.nearest import nearest
from meshcode.node import (
    accounts,
    audit,
    callshere,
    flowops,
    meshcalls,
    meshflow,
    meshlist,
    meshops,
    meshworkers,
    streamops,
    waits,
)
from meshcode.node.codewarnings import warnings_of
from meshcode.node.fields import check, needed
from meshcode.node.knots import knot_of_pool
from meshcode.node.paging import whole
from meshcode.node.partly import Partly
from meshcode.node.sessions import Session
from meshcode.node.subjects import as_model, call_of, socket_of, wanted_of
from meshcode.router.accept import unknown_socket
from meshcode.router.effects import Effects
from meshcode.router.events import CancelAsked, RetryAsked
from meshcode.router.plan import FLOW, result_of
from meshcode.router.records import split_done
from meshcode.router.seats import figures, own_lines
from meshcode.router.signature import Signature
from meshcode.store.contract import DONE
from meshcode.wire.codec import unpack_map
from meshcode.wire.frame import Row, name_bytes
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

WHOLE_MODEL = ("snapshot", "apply", "declare")  # Asked of the model without naming an object.
PROC_ACTIONS = ("start", "stop", "restart", "pause", "resume", "remove")


def handle(loop: Loop, session: Session, row: Row, data: bytes) -> None:
    """Answer one ASK envelope: the answer joins the turn, so that it leaves when all that it may
    tell of is on disk.
    """
    name = data[row.name_at : row.meta_at].decode(errors="replace")
    request = loop.asks.open(row.id)
    fields: dict[str, Any] = {}
    loop.faults.asking = (session.id, request)
    try:
        fields.update(unpack_map(data[row.body_at : row.end]))
        told = _answer(loop, session, request, name, fields)
    except Exception as error:
        problem = loop.faults.of_request(name, error)
        loop.guard.forget(request)
        loop.audit.failed(session, name, request, fields, problem)
        told = (False, problem.to_data())
    loop.faults.asking = None
    if told is not None:
        waits = not loop.commits.full_ms or name in PATIENT
        loose = name in WITHOUT_LOG or not waits  # What is not was refused.
        loop.turns.add(Effects(answers=[(session.id, request, *told)]), loose=loose)


def _answer(
    loop: Loop, session: Session, request: bytes, name: str, fields: dict[str, Any]
) -> tuple[bool, Any] | None:
    """Do what is asked for; None where it is answered later.

    Raises:
        MeshError: it was refused.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        near = nearest(name, OPERATIONS)
        hint = f"; did you mean {near!r}?" if near else ""
        raise BadRequest(f"this node knows no operation {name!r}{hint}")
    check(name, fields)
    try:
        if session.who is not None:
            if loop.guard.fresh(session.who).user is not None:
                fields["by"] = session.who.user  # Whatever it says of itself.
            loop.guard.check(session.who, name, request, fields)
        if loop.commits.full_ms:
            _refuse_what_waits(loop, name, fields)
        loop.audit.done(session, name, request, fields)
        answer = operation(loop, session, request, fields)
    except UnknownCall as error:
        loop.faults.pass_on(error)
        own = error.answer if isinstance(error, Partly) else None
        if loop.mesh is None or not loop.mesh.up or name not in RELAYED:
            return own or (False, error.to_data())
        user = None if session.who is None else session.who.user
        if user is not None:  # It was refused here before it was written down.
            loop.audit.done(session, name, request, fields)
        loop.mesh.relay.ask(session.id, request, name, fields, user, own)  # A peer may know it.
        return None
    return None if answer is None else (True, answer)


def _refuse_what_waits(loop: Loop, name: str, fields: dict[str, Any]) -> None:
    """While the log waits for room, let by only what tells nothing that may not be on disk.

    Raises:
        Busy: its answer would have to wait for that.
    """
    if name in WITHOUT_LOG or name in PATIENT:
        return
    if name == "call.get" and _are_on_disk(loop, [loop.history.find(fields.get("id"))]):
        return
    raise Busy(
        f"the disk of this node is full, and {name!r} cannot be answered before there is room;"
        " nothing was done; `mesh status` is answered, and so are calls whose outcomes are on disk;"
        f" make room on the disk under {loop.home}, the node goes on by itself"
    )


def _are_on_disk(loop: Loop, ids: list[bytes]) -> bool:
    """Whether the outcomes of all these calls were synced."""
    if loop.turns.has_fresh(ids) or any(id in loop.router.calls for id in ids):
        return False
    return None not in loop.log.get_many(DONE, ids)


def _status(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    router = loop.router
    states: dict[str, int] = {}
    for line in own_lines(router):
        if line.depth:
            key = "parked" if waits.parked_reason(router, line) else "waiting"
            states[key] = states.get(key, 0) + line.depth
        if line.running:
            states["running"] = states.get("running", 0) + line.running
    held = len(router.calls) - sum(states.values())  # In no line and at no worker.
    if held:
        states["held"] = held
    usage = loop.log.usage()
    workers = []
    for worker in loop.crew.by_id.values():
        known = router.workers.get(worker.id)
        workers.append({
            "id": worker.id, "processor": worker.processor, "pid": worker.pid,
            "state": worker.state, "cpu": worker.cpu, "calls": worker.calls,
            "holds": len(known.held) if known else 0, "commit": worker.commit,
            "resident": worker.page.resident if worker.page else 0,
        })  # fmt: skip
    processors = []
    for processor in loop.processors.by_name.values():
        pool = router.pools.get(processor.name)
        processors.append({
            "name": processor.name, "workers": processor.count,
            "commit": loop.processors.commits.get(processor.name),
            "parked": (pool.parked_reason() or waits.silent(router, pool)) if pool else "",
            "building": processor.mounting is not None,
            "doing": processor.mounting.doing if processor.mounting else "",
            "knot": knot_of_pool(router, pool) if pool else "",
            "problem": processor.problem, "warnings": warnings_of(processor),
            "cure": waits.cure(processor),
            **loop.processors.progress(processor.name),
        })  # fmt: skip
    more = _lines(loop) if fields.get("lines") else {}
    return {
        "node": loop.node_id.hex(), "boot": loop.log.boot, "pid": os.getpid(),
        "version": meshcode.__version__, "home": str(loop.home),
        "uptime_ms": loop.clock.now_ms() - loop.clock.boot_ms,
        "state": "draining" if router.draining else "ready", "ending": loop.is_ending,
        "clients": len(loop.sessions.by_id), "calls": {"open": len(router.calls), **states},
        "done": loop.log.count(DONE), "history": loop.keeping.retention.facts(),
        "model": router.model_number, "model_problem": loop.model_problem.facts(),
        "declared": loop.processors.names_here,
        "name": loop.mesh.identity.name if loop.mesh else None,
        "peers": len(loop.mesh.roster.members) - 1 if loop.mesh else 0,
        "log": {
            "used": usage.map_used, "size": usage.map_size, "limit": usage.map_limit,
            "disk_free": usage.disk_free, "stuck": loop.commits.full_level == DISK_STUCK,
            "level": loop.commits.full_level or usage.level,
            "left": usage.for_calls.left, "needed": usage.for_calls.needed,
            "full_ms": loop.commits.full_ms,
            "damaged": [f"{table} {key.hex()}" for table, key in loop.log.damaged()],
        },
        "memory": loop.keeping.memory.facts(router.calls_max),
        "descriptors": loop.descriptors.facts(),
        "workers": workers, "processors": processors, **more,
    }  # fmt: skip


def _lines(loop: Loop) -> dict[str, Any]:
    """What waits at each socket, and the CPUs that workers are pinned to."""
    sockets = [
        {
            "name": line.name, "queue": line.config.queue, "processor": line.config.processor,
            "usual_us": line.run_us, **found._asdict(),
        }
        for line, found in figures(loop.router)
    ]  # fmt: skip
    return {"sockets": sorted(sockets, key=lambda row: row["name"]), "cpus": loop.processors.cpus}


def _worker_stop(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    id = needed(fields, "id", int)
    worker = loop.crew.by_id.get(id)
    if worker is None:
        known = ", ".join(map(str, sorted(loop.crew.by_id))) or "none"
        raise UnknownObject(f"this node has no worker {id}; it has: {known}")
    if fields.get("now"):
        loop.crew.kill(worker)  # What it ran goes back when its end is seen.
    else:
        loop.processors.leave(worker, "asked to leave", loop.clock.now_ms())
    return {"id": id, "processor": worker.processor, "pid": worker.pid}


def _call_list(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    return loop.history.page(fields)


def _call_get(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    which = call_of(fields)
    try:
        row = loop.history.get(
            which, result=bool(fields.get("result")), output=bool(fields.get("output"))
        )
    except UnknownCall:
        id = meshcalls.kept_id(loop, which)
        if session.id < 0 and meshcalls.has_owner(loop, id):
            raise  # It is asked itself.
        row = meshcalls.kept_row(loop, id)
        raise Partly(f"call {row['id']} is kept here", True, row) from None
    if row.get("bare"):
        raise Partly(f"of call {row['id']} only its outcome is here", True, row)
    return row if row["finished_ms"] else row | meshcalls.stuck_of(loop, parse_id(row["id"]))


def _find(loop: Loop, fields: dict[str, Any], what: str) -> bytes:
    """The call that a request wants to change; `what`: "cancelled".

    Raises:
        UnknownCall: it is not open here, nor in the history.
        WrongState: nothing can change it any more.
    """
    which = call_of(fields)
    try:
        id = loop.history.find(which)
    except UnknownCall:
        id = meshcalls.kept_id(loop, which)
        if meshcalls.has_owner(loop, id):
            raise
        error = meshcalls.why_not_now(loop, id, what)
        raise Partly(error.text, False, error.to_data()) from None
    if id in loop.router.calls and meshcalls.stuck_of(loop, id).get("state") in LOST:
        raise meshcalls.why_not_now(loop, id, what)
    return id


def _call_cancel(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    id = _find(loop, fields, "cancelled")
    if _is_flow(loop, id) or _has_copies(loop, id):
        return flowops.OPERATIONS["flow.cancel"](loop, session, request, {**fields, "id": id})
    value = None if id in loop.router.calls else loop.history.done_record(id)
    if value is not None:
        raise WrongState(
            f"call {text_of(id)} ended {Outcome(split_done(value)['code']).name} and keeps its"
            " outcome; nothing was changed"
        )
    by = str(fields.get("by") or "its submitter")[:200]
    loop.step(CancelAsked(session.id, request, id, by))
    return None


def _call_retry(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    id = _find(loop, fields, "tried again")
    if _is_flow(loop, id):
        return flowops.OPERATIONS["flow.retry"](loop, session, request, {**fields, "id": id})
    ended = None
    if id not in loop.router.calls:
        value = loop.history.done_record(id)
        if value is not None:
            done = split_done(value)
            if not done["submit"]:
                raise _no_arguments(id)
            ended = (done["submit"], done)
    loop.step(RetryAsked(session.id, request, id, str(fields.get("by") or "")[:200], ended))
    return None


def _no_arguments(id: bytes) -> Partly:
    error = WrongState(
        f"call {text_of(id)} cannot be tried again from here: this node was away when it ended and"
        " keeps only its outcome, and no peer that answered has its arguments; nothing was"
        " changed; ask again when the other nodes are there"
    )
    return Partly(error.text, False, error.to_data())


def _name_of(submit: bytes) -> str:
    return name_bytes(submit).decode(errors="replace") if submit else ""


def _is_flow(loop: Loop, id: bytes) -> bool:
    call = loop.router.calls.get(id)
    if call is not None:
        return call.line.name == FLOW
    value = loop.history.done_record(id)
    return value is not None and _name_of(split_done(value)["submit"]) == FLOW


def _has_copies(loop: Loop, id: bytes) -> bool:
    """Whether a call has ended by making copies of itself, for sockets or for workers."""
    value = None if id in loop.router.calls else loop.history.done_record(id)
    return value is not None and result_of(split_done(value)["outcome"]) is not None


def _call_watch(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    asked = [id for id in needed(fields, "ids", list) if isinstance(id, bytes)]
    closed = loop.guard.closed(session.who, asked)
    ids = [id for id in asked if id not in closed]
    missing = [id for id in ids if id not in loop.router.calls]
    ended = loop.ended(missing)
    callshere.watch(loop, session.id, ids)
    outcomes = [(session.id, envelope) for envelope in ended.values()]
    kept, copies = loop.router.replica.by_id, loop.router.copies
    unknown = [id for id in missing if id not in ended and id not in kept]
    loose = bool(loop.commits.full_ms) and _are_on_disk(loop, ids)

    def answer(unknown: list[bytes]) -> None:
        lost = [id for id in unknown if id not in copies]  # Their home, which is away, will tell.
        told = (session.id, request, True, {"unknown": [*lost, *closed]})
        loop.turns.add(Effects(answers=[told]), loose=loose)

    loop.turns.add(Effects(outcomes=outcomes), loose=loose)
    if unknown and loop.mesh is not None:
        user = None if session.who is None else session.who.user
        loop.mesh.relay.watch(session.id, unknown, answer, user)
    else:
        answer(unknown)


def _socket_describe(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    name = socket_of(fields)
    line = loop.router.lines.get(name)
    if line is None or line.removed:
        raise unknown_socket(loop.router, name)
    config = line.config
    processor = loop.processors.by_name.get(config.processor)
    mount = processor.mount if processor else None
    task = (mount or {}).get("tasks", {}).get(config.task, {})
    if not loop.guard.may(session.who, "VIEW_PROCESSOR_CODE", "socket", name):
        task = {**task, "source": None}
    signature = task.get("signature")
    return {
        "name": name, "task": config.task, "processor": config.processor, "queue": config.queue,
        "module": (mount or {}).get("module"),
        "commit": loop.processors.commits.get(config.processor),
        "signature": signature, "problem": _problem(signature, fields),
        "source": task.get("source"), "doc": task.get("doc"),
        "kind": task.get("kind"), "parked": waits.parked_reason(loop.router, line),
        "waiting": line.depth, "running": line.running,
        "limits": {
            "max_length": config.max_length, "max_length_bytes": config.max_length_bytes,
            "concurrency": config.concurrency, "key_concurrency": config.key_concurrency,
            "rate": list(config.rate) if config.rate else None, "retries": config.retries,
            "time_limit_ms": config.time_limit_ms,
        },
    }  # fmt: skip


def _problem(signature: dict[str, Any] | None, fields: dict[str, Any]) -> str | None:
    """Why a call with `argc` arguments and these `keywords` would be refused, when one is told."""
    argc = fields.get("argc")
    if argc is None or not signature:
        return None
    keywords = [str(name) for name in fields.get("keywords") or ()]
    return Signature(signature).problem(argc, keywords)


def _model(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    if needed(fields, "do", str) not in WHOLE_MODEL:
        needed(fields, "kind", str)
    if fields["do"] == "verify":
        raise BadRequest("passwords are looked at by `login` only")
    if loop.mesh is not None and loop.mesh.share.host:
        name_localhost(fields, loop.mesh.share.host)
    loop.ask_model(session.id, request, loop.guard.model_request(session.who, request, fields))


def name_localhost(fields: dict[str, Any], name: str) -> None:
    """Write a node's name for `localhost` in deployments, as the mesh does.

    Else what says the same again would differ from what is there.
    """
    given = fields.get("fields")
    given = given if isinstance(given, dict) else {}
    rows = [(fields.get("kind"), given)]
    if fields.get("do") == "declare" and isinstance(objects := given.get("objects"), list):
        rows = [(o.get("kind"), o.get("options")) for o in objects if isinstance(o, dict)]
    for kind, options in rows:
        there = options if kind == "deployment" and isinstance(options, dict) else {}
        if there.get("host") == "localhost":
            there["host"] = name


def _proc(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    action = needed(fields, "do", str)
    name = needed(fields, "name", str)
    if action not in PROC_ACTIONS:
        raise BadRequest(f"a processor can be told {', '.join(PROC_ACTIONS)}, not {action!r}")
    if name not in loop.processors.by_name and action != "remove":
        near = nearest(name, loop.processors.by_name)
        hint = f"; did you mean {near!r}?" if near else ""
        known = where("processors", len(loop.processors.by_name))
        raise UnknownObject(f"no processor is named {name!r}{hint}; {known}")
    model = loop.guard.model_request(session.who, request, as_model("proc", fields))
    loop.ask_model(session.id, request, model)


def _subscribe(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    wanted, tail, id = wanted_of(fields), whole(fields, "tail", 0), loop.asks.id_of(request)
    loop.listeners.add(session.id, id, wanted)
    loop.hear_calls()
    loop.news.begin(wanted.channel)
    if tail:
        loop.keeping.send_tail(session, id, wanted, min(tail, 1_000))
    return {"subscribed": text_of(id)}


def _unsubscribe(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    id = needed(fields, "id", bytes)
    loop.listeners.remove(session.id, id)
    loop.feed.remove(session.id, id)
    loop.hear_calls()
    return {}


def _listen(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    id = loop.asks.id_of(request)
    loop.feed.add(session.id, id, fields)

    def answer() -> None:  # When the peers know, too: what comes after it is heard.
        told = (session.id, request, True, {"listening": text_of(id)})
        loop.turns.add(Effects(answers=[told]))

    loop.feed.peers.say(answer)


def _drain(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    loop.drain("asked to drain")
    return {"pid": os.getpid(), "running": sum(len(w.held) for w in loop.router.workers.values())}


# Answered while the log waits for room: they tell what this process and its disk are like.
WITHOUT_LOG = frozenset({
    "status", "mesh.status", "nodes", "node.facts", "socket.describe", "task.show", "task.code",
    "unsubscribe", "drain", "node.down",
})  # fmt: skip
PATIENT = frozenset({"call.watch", "stream.read"})  # Asked by clients that wait for calls anyway.
# When the call is not known here.
RELAYED = (
    "call.get", "call.cancel", "call.retry", "stream.read", *meshcalls.RELAYED, *flowops.RELAYED,
)  # fmt: skip
# What a peer may ask for a client of its own.
FOR_PEERS = (
    *RELAYED, "call.list", "status", *meshops.FOR_PEERS, *meshcalls.FOR_PEERS, *meshlist.FOR_PEERS,
    *meshflow.FOR_PEERS, *flowops.FOR_PEERS,
)  # fmt: skip

OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "status": _status,
    "call.list": _call_list,
    "call.get": _call_get,
    "call.cancel": _call_cancel,
    "call.retry": _call_retry,
    "call.watch": _call_watch,
    "socket.describe": _socket_describe,
    "task.show": _socket_describe,
    "task.code": _socket_describe,
    "model": _model,
    "proc": _proc,
    "worker.stop": _worker_stop,
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "listen": _listen,
    "drain": _drain,
    **meshops.OPERATIONS,
    **meshcalls.OPERATIONS,
    **meshlist.OPERATIONS,
    **meshflow.OPERATIONS,
    **meshworkers.OPERATIONS,
    **flowops.OPERATIONS,
    **accounts.OPERATIONS,
    **audit.OPERATIONS,
    **streamops.OPERATIONS,
}
