"""The events that listeners hear, made from what this node knows (docs/listening.md has fields)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.errors import LogDamaged, MeshError
from meshcode.hearing import heard_names
from meshcode.ids import text_of
from meshcode.model.delta import Key
from meshcode.model.kinds import HIDDEN, PLURALS
from meshcode.node.meshops import node_rows
from meshcode.node.news import differences
from meshcode.router.config import SocketConfig
from meshcode.router.effects import Effects
from meshcode.router.records import outcome_of
from meshcode.router.seats import figures, own_lines
from meshcode.store.contract import DONE
from meshcode.wire.codec import unpack
from meshcode.wire.frame import AT_ATTEMPT, AT_FLOW, check_envelope
from meshcode.wire.kinds import Outcome

if TYPE_CHECKING:
    from meshcode.node.loop import Loop

BETWEEN_MS = 50  # Two looks at processors, workers and nodes: a busy node has thousands of turns.
CHANNELS = ("task", "log", "state", "queue", "stats")
_STATES = {"prerun": "running"}  # As the original system has them; the others keep their names.
_TEXT_HEADS = {0xDA: 3, 0xDB: 5}  # Of msgpack's long texts: the first byte, and where it begins.
_KIND_OF = {plural: kind for kind, plural in PLURALS.items()}


# Names.


def names_of_socket(socket: str, config: SocketConfig | None) -> frozenset[str]:
    """The names under which a socket is heard: its own, its processor's, its queue's, both."""
    if config is None:
        return frozenset((socket,))
    return heard_names(socket, config.processor, config.queue)


def names_of(event: Mapping[str, Any]) -> frozenset[str]:
    """The names under which an event, or a row of one, is heard."""
    own = event.get("socket") or event.get("name")
    return heard_names(own, event.get("processor"), event.get("queue"))


# Calls.


def of_socket(loop: Loop, channel: str, call: bytes, socket: str) -> dict[str, Any]:
    """What every event of a call begins with."""
    line = loop.router.lines.get(socket) or loop.router.guest_lines.get(socket)
    processor = line.config.processor if line else ""
    queue = line.config.queue if line else ""
    known = loop.processors.by_name.get(processor)
    return {
        "channel": channel, "socket": socket, "queue": queue, "processor": processor,
        "room": f"{queue}.{processor}", "module": known.fields.get("module") if known else None,
        "task": line.config.task if line else None, "call": text_of(call),
    }  # fmt: skip


def is_of_peer(name: str, note: str) -> bool:
    """Whether a call only goes to a peer, which tells itself when its worker begins it."""
    return name == "prerun" and note.startswith("worker -")  # Ids of peers count down from 0.


def of_call(
    loop: Loop, call: bytes, socket: str, name: str, note: str, ms: int
) -> dict[str, Any]:
    """An event of a call, as the core tells it."""
    router = loop.router
    event = of_socket(loop, "task", call, socket)
    event |= {"state": _STATES.get(name, name), "note": note, "ms": ms}
    known = router.calls.get(call) or router.guests.get(call)
    if known is not None:
        event["attempt"] = known.attempt
        if known.envelope is not None:
            event["flow"] = text_of(known.envelope[AT_FLOW])
    elif ended := loop.ended([call]).get(call):  # Before this was on disk.
        event["attempt"] = int.from_bytes(ended[AT_ATTEMPT], "little")
        event["flow"] = text_of(ended[AT_FLOW])
    if name == "prerun":
        number = note.removeprefix("worker ")
        event["worker"] = int(number) if number.isdigit() else None
    return event


def done_records(effects: Effects) -> dict[bytes, bytes]:
    """The `done` records of one turn, by call."""
    return {
        key: value for table, key, value in effects.records if table == DONE and value is not None
    }


def outcome(loop: Loop, call: bytes, record: bytes | None) -> dict[str, Any]:
    """How a call ended.

    Args:
        record: its `done` record; None: it was written in an earlier turn, and is read.
    """
    try:
        value = record or loop.log.get(DONE, call)
        if value is None:
            return {}
        data = outcome_of(value)
        row = check_envelope(data)
        meta = unpack(data[row.meta_at : row.body_at]) if row.body_at > row.meta_at else {}
        found = {
            "outcome": Outcome(row.code).name, "error": row.code != Outcome.DONE,
            "duration": row.number / 1e6, "worker": meta.get("worker"),
            "commit": meta.get("commit"), "attempt": row.attempt, "resultkey": text_of(call),
            "flow": text_of(data[AT_FLOW]),
        }  # fmt: skip
        return found | _shown(data[row.body_at : row.end], is_good=row.code == Outcome.DONE)
    except (LogDamaged, MeshError, ValueError) as error:
        return {"note": f"its outcome cannot be read: {error}"}


def _shown(body: bytes, *, is_good: bool) -> dict[str, Any]:
    """A value or error that is not too large, as it is: who listens unpacks it, the node does not.

    Of a longer text the beginning is told, of anything else only how long it is.
    """
    most = limits.LISTEN_RESULT_BYTES_MAX if is_good else limits.LISTEN_PROBLEM_BYTES_MAX
    if len(body) <= most:
        return {"packed": body}
    found: dict[str, Any] = {"result_bytes": len(body)}
    head = _TEXT_HEADS.get(body[0])
    if head is not None:
        found["result_text"] = body[head : head + most].decode(errors="ignore")
    return found


# Output.


class Lines:
    """Cuts what calls print into lines."""

    def __init__(self) -> None:
        """Nothing was printed yet."""
        self._begun: dict[tuple[bytes, int, str], bytes] = {}

    def add(self, key: tuple[bytes, int, str], data: bytes) -> list[str]:
        """The lines that are whole now; a very long one is given in pieces."""
        *whole, rest = (self._begun.pop(key, b"") + data).split(b"\n")
        if len(rest) > limits.LISTEN_RESULT_BYTES_MAX:
            whole.append(rest)
            rest = b""
        if rest:
            self._begun[key] = rest
        return [line.decode(errors="replace") for line in whole]

    def end(self, key: tuple[bytes, int, str]) -> str:
        """What is left of the last line."""
        return self._begun.pop(key, b"").decode(errors="replace")


# Objects.


def model_events(
    before: Mapping[str, Any], after: Mapping[str, Any], keys: Iterable[Key] | None = None
) -> list[dict[str, Any]]:
    """What is different in another snapshot, among these kinds and names; None: among all."""
    plurals = {kind: plural for plural, kind in _KIND_OF.items()}
    events = []
    for kind, name, change in differences(before, after, keys):
        plural = plurals.get(kind, kind + "s")
        row = (after.get(plural) or {}).get(name) or (before.get(plural) or {}).get(name) or {}
        shown = {k: v for k, v in row.items() if k not in HIDDEN.get(kind, ())}
        within = {k: shown[k] for k in ("processor", "queue") if isinstance(shown.get(k), str)}
        events.append({
            "channel": "state", "kind": kind, "name": name, "change": change, **within,
            "object": shown, "local": True,
        })  # fmt: skip
    return events


class Looks:
    """Compares processors, workers and nodes with what they were; only while somebody listens."""

    def __init__(self, loop: Loop) -> None:
        """Of one node."""
        self._loop = loop
        self._told: dict[tuple[str, str], dict[str, Any]] | None = None  # None: nobody listens.
        self._next_ms = 0
        self._is_due = False

    def begin(self) -> None:
        """Somebody listens from now on."""
        if self._told is None:
            self._told = self._now()

    def end(self) -> None:
        """Nobody does any more."""
        self._told = None
        self._is_due = False

    def next_due_ms(self) -> int | None:
        """When to look again because a look was put off."""
        return self._next_ms if self._is_due else None

    def look(self, now_ms: int) -> list[dict[str, Any]]:
        """What is another since the last look; looks are BETWEEN_MS apart."""
        told = self._told
        if told is None:
            return []
        self._is_due = now_ms < self._next_ms
        if self._is_due:
            return []
        self._next_ms = now_ms + BETWEEN_MS
        now = self._told = self._now()
        events = [
            _state_event(key, "changed" if key in told else "added", row, now_ms)
            for key, row in now.items()
            if told.get(key) != row
        ]
        gone = [key for key in told if key not in now]
        return events + [_state_event(key, "deleted", told[key], now_ms) for key in gone]

    def _now(self) -> dict[tuple[str, str], dict[str, Any]]:
        loop = self._loop
        found = {
            ("processor", name): loop.processors.progress(name) for name in loop.processors.by_name
        }
        for worker in loop.crew.by_id.values():
            found["worker", str(worker.id)] = {
                "status": worker.state, "processor": worker.processor, "cpu": worker.cpu,
                "pid": worker.pid,
            }  # fmt: skip
        if loop.mesh is not None:
            for row in node_rows(loop.mesh):
                told = {name: row.get(name) for name in ("boot", "version", "link", "reason")}
                found["node", row["name"]] = {"status": row["state"], "local": True, **told}
        return found


def _state_event(
    key: tuple[str, str], change: str, row: Mapping[str, Any], ms: int
) -> dict[str, Any]:
    kind, name = key
    gone = {"status": "gone"} if change == "deleted" else {}
    return {"channel": "state", "kind": kind, "name": name, "change": change, **row, **gone,
            "ms": ms}  # fmt: skip


# Figures.


def queue_figures(loop: Loop) -> dict[str, Any]:
    """What waits and runs at each socket of this node; those with most waiting go first."""
    rows = [
        {
            "socket": line.name, "queue": line.config.queue, "processor": line.config.processor,
            **found._asdict(), "parked": found.parked if found.waiting else "",
        }
        for line, found in figures(loop.router)
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row["waiting"], -row["running"], row["socket"]))
    left_out = len(rows) - limits.LISTEN_ROWS_MAX
    more = {"left_out": left_out} if left_out > 0 else {}
    return {"ms": loop.clock.now_ms(), **by_queue(rows[: limits.LISTEN_ROWS_MAX]), **more}


def by_queue(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of sockets, and their sums by queue."""
    queues: dict[str, dict[str, Any]] = {}
    for row in rows:
        found = queues.setdefault(
            row["queue"], {"queue": row["queue"], "waiting": 0, "running": 0, "bytes": 0}
        )
        for name in ("waiting", "running", "bytes"):
            found[name] += row[name]
    return {"queues": list(queues.values()), "sockets": rows}


_GROUP = {
    "building": "starting", "starting": "starting", "stopped": "stopped", "paused": "stopped",
    "failed": "errored",
}  # fmt: skip


def stats(loop: Loop) -> dict[str, Any]:
    """The figures of this node; declared objects are counted for the whole mesh."""
    router, snapshot, mesh = loop.router, loop.snapshot, loop.mesh
    groups = dict.fromkeys(("starting", "running", "stopped", "ready", "errored", "elsewhere"), 0)
    busy = {w.id: w for w in loop.crew.by_id.values() if w.id in router.workers
            and router.workers[w.id].held}  # fmt: skip
    running = {worker.processor for worker in busy.values()}
    for name in snapshot.get("processors") or ():
        status = loop.processors.status_of(name)
        group = _GROUP.get(status, "elsewhere")
        if status == "running":
            group = "running" if name in running else "ready"
        groups[group] += 1
    sockets = (snapshot.get("sockets") or {}).values()
    lines = own_lines(router)
    good, bad = loop.keeping.ran
    return {
        "nodes": 1 if mesh is None else len(mesh.roster.members),
        "agents": 1 if mesh is None else 1 + len(mesh.here()),
        "queues": len(snapshot.get("queues") or ()),
        "processors": len(snapshot.get("processors") or ()),
        **{f"processors_{group}": count for group, count in groups.items()},
        "deployments": len(snapshot.get("deployments") or ()),
        "sockets": len(sockets),
        "tasks": len({(fields["processor"], fields["task"]) for fields in sockets}),
        "tasks_success": good, "tasks_failure": bad,
        "calls_waiting": sum(line.depth for line in lines),
        "calls_running": sum(line.running for line in lines),
        "cpus_total": len(loop.processors.cpus),
        "cpus_running": len({worker.cpu for worker in busy.values()}),
        "workers": len(loop.crew.by_id),
    }  # fmt: skip
