"""What a client may ask of a node about its mesh, and of itself as a member of one.

    nodes             every member as this node sees it; with `ask` each tells its own facts too
    node.facts        this node's facts, for a peer that asks
    mesh.status       links, refusals, clocks, rosters and models, compared over all that answer
    node.drain        take no new calls, begin none; stay
    node.leave        the same, announced to the others; asked again with `finish` it says good-bye
    mesh.roster       the roster as this node knows it; the file may lack what came last
    node.countersign  let a node that admits sign the new keys of a member

Operations are called by `requests.handle` on the node's one thread: they return their answer, or
None and answer later through the turn.  The calls of a mesh are in `meshcalls.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import meshcode
from meshcode.errors import BadRequest, MeshError, NotAllowed, UnknownCall, WrongState
from meshcode.ids import unix_ms
from meshcode.limits import PEER_SKEW_MS, SWIM_LEAVING_MS_MAX
from meshcode.node.absences import AWAY
from meshcode.node.goodbyes import SAID
from meshcode.node.sessions import Session
from meshcode.router.effects import Effects
from meshcode.router.events import Drained

if TYPE_CHECKING:
    from meshcode.membership.member import Row
    from meshcode.node.loop import Loop
    from meshcode.node.mesh import Mesh
    from meshcode.replica.instance import Instance

DRAINING, EVICTED = "draining", "evicted"
NEWS_SHOWN = 20
# What a node tells of itself.
FACTS = frozenset({
    "state", "unix_ms", "open", "running", "guests", "workers", "cpus", "pid", "version",
    "uptime_ms", "disk_level", "roster", "model", "up", "alone", "host",
})  # fmt: skip
_SHOWN_FACTS = (
    "open", "running", "guests", "workers", "cpus", "pid", "uptime_ms", "version", "host",
)
_REFUSALS = ("refused:", "skew:", "zap dead:", "join link: refused", "the roster of")

Answers = list[tuple[bytes, dict[str, Any]]]


# What the operations share.


def answer(loop: Loop, session: Session, request: bytes, data: Any) -> None:
    """Answer a request later than at once."""
    loop.turns.add(Effects(answers=[(session.id, request, True, data)]))


def refuse(loop: Loop, session: Session, request: bytes, error: MeshError) -> None:
    """Answer a request with an error, later than at once."""
    loop.turns.add(Effects(answers=[(session.id, request, False, error.to_data())]))


def ask_peers(
    mesh: Mesh, name: str, fields: dict[str, Any], done: Callable[[Answers], None]
) -> None:
    """Ask all peers that are here for an operation; `done` gets (node, answer) as they came.

    An answer is {"good", "data", "at_unix_ms"}: the last is when it was here, by our clock.
    """
    times: dict[int, int] = {}

    def note_time(data: dict[str, Any]) -> bool:
        times[id(data)] = unix_ms()
        return False

    def timed(answers: Answers) -> None:
        now = unix_ms()  # Of the last one, after which nobody asks whether it is enough.
        done([(node, {**data, "at_unix_ms": times.get(id(data), now)}) for node, data in answers])

    mesh.relay.gather({"op": "ask", "name": name, "fields": fields}, timed, enough=note_time)


def good_data(answers: Answers) -> dict[bytes, dict[str, Any]]:
    """The maps that peers answered, by node; errors and other shapes are left out."""
    return {
        node: found["data"]
        for node, found in answers
        if found.get("good") is True and isinstance(found.get("data"), dict)
    }


def told_facts(answers: Answers) -> dict[bytes, dict[str, Any]]:
    """What peers answered to `node.facts`, by node: known names with plain values only."""
    return {
        node: {
            name: value
            for name, value in data.items()
            if name in FACTS and (value is None or type(value) in (int, str))
        }
        for node, data in good_data(answers).items()
    }


def silent_peers(mesh: Mesh, asked: set[bytes], answered: set[bytes]) -> list[dict[str, Any]]:
    """Members that did not answer: those without a link, and those that were asked in vain.

    Args:
        asked: peers that had a link when the question left.
        answered: peers whose answer is of use.
    """
    found = []
    for node in sorted(mesh.roster.members, key=mesh.name_of):
        if node == mesh.node or node in answered:
            continue
        why = "it was asked and did not answer in time" if node in asked else "no link to it is up"
        found.append({"name": mesh.name_of(node), "node": node.hex(), "asked": node in asked,
                      "state": state_of(mesh, node), "why": why})  # fmt: skip
    return found


def state_of(mesh: Mesh, node: bytes) -> str:
    """The state of a member in the words of a listing."""
    if node in mesh.roster.evicted:
        return EVICTED
    state = mesh.swim.state_of(node) or "dead"
    return AWAY if state == "dead" else state


# Nodes.


def nodes(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Every member, this node first; with `ask`, after each had RELAY_PATIENCE_MS to tell more."""
    mesh = loop.mesh
    if mesh is None:
        return {"nodes": [_single(loop)], "mesh": None, "silent": []}
    rows = node_rows(mesh)
    if not fields.get("ask"):
        return {"nodes": rows, "mesh": mesh.identity.mesh.hex(), "silent": []}
    asked = set(mesh.here())

    def answered(answers: Answers) -> None:
        told = told_facts(answers)
        rows = node_rows(mesh)
        for row in rows:
            add_facts(row, told.get(bytes.fromhex(row["node"])))
        silent = silent_peers(mesh, asked, set(told))
        data = {"nodes": rows, "mesh": mesh.identity.mesh.hex(), "silent": silent}
        answer(loop, session, request, data)

    ask_peers(mesh, "node.facts", {}, answered)
    return None


def _single(loop: Loop) -> dict[str, Any]:
    """The row of a node without a mesh."""
    facts = facts_of(loop)
    return {
        "name": loop.node_id.hex(), "node": loop.node_id.hex(), "this": True, "class": "core",
        "rtt_ms": None, "boot": loop.log.boot, "link": True, "address": "", "domain": "",
        "for_ms": facts["uptime_ms"], "reason": "", "home": str(loop.home), **facts,
    }  # fmt: skip


# Counters of a link that a listing shows; in its session with that peer.
TRAFFIC = ("envelopes_out", "frames_out", "bytes_out", "envelopes_in", "frames_in", "bytes_in")


def node_rows(mesh: Mesh) -> list[dict[str, Any]]:
    """All members and evicted nodes as this node sees them; this node first, then by name."""
    now_ms = mesh.loop.clock.now_ms()
    stats = {} if mesh.links is None else mesh.links.stats()
    by_node = {row.node: row for row in mesh.swim.table()}
    rows = []
    for node in {*mesh.roster.members, *mesh.roster.evicted, mesh.node}:
        row = _row(mesh, node, by_node.get(node), now_ms)
        linked = stats.get(node, {})
        dialed = linked.get("address") if linked.get("up") else ""  # Else it is one being tried.
        address = dialed or next(iter(row["addresses"]), "")
        row["address"] = address.removeprefix("tcp://")
        row["reason"] = linked.get("refused") or row["reason"]
        row["traffic"] = {name: linked.get(name, 0) for name in TRAFFIC}
        rows.append(row)
    add_facts(next(row for row in rows if row["this"]), facts_of(mesh.loop))
    rows.sort(key=lambda row: (not row["this"], row["state"] == EVICTED, row["name"], row["node"]))
    return rows


def _row(mesh: Mesh, node: bytes, seen: Row | None, now_ms: int) -> dict[str, Any]:
    """One member: what the roster says of it, and membership (`seen`)."""
    member, gone = mesh.roster.members.get(node), mesh.roster.evicted.get(node)
    meta = {} if seen is None else seen.meta
    addresses = mesh.where.known(node) or meta.get("addresses") or []
    state = state_of(mesh, node)
    heard = node == mesh.node or (seen is not None and seen.boot > 0)
    if state == "alive" and meta.get("draining"):
        state = DRAINING
    reason = ""
    if gone is not None:
        reason = gone.reason or "evicted without a reason given"
    elif not heard:
        reason = "never heard of since this node started"
    elif node != mesh.node and node not in mesh.up and state not in ("left", "leaving"):
        reason = "no link to it is up"
    since_ms = (0 if seen is None else seen.since_ms) or mesh.loop.clock.boot_ms
    return {
        "name": mesh.name_of(node), "node": node.hex(), "this": node == mesh.node,
        "class": seen.kind if seen else member.kind if member else "",
        "domain": member.domain if member else "", "state": state,
        "link": node == mesh.node or node in mesh.up,
        "rtt_ms": round(seen.rtt_ms, 2) if seen and seen.rtt_ms and gone is None else None,
        "boot": (seen.boot if seen else 0) or None,
        "version": meta.get("version"),
        "open": meta.get("open") if heard and gone is None else None,
        "addresses": [text for text in addresses if isinstance(text, str)],
        "for_ms": max(0, now_ms - since_ms) if heard or gone is not None else None,
        "reason": reason,
    }  # fmt: skip


def facts_of(loop: Loop) -> dict[str, Any]:
    """What this node knows of itself better than anyone; small, for peers may ask often."""
    mesh, router = loop.mesh, loop.router
    return {
        "state": DRAINING if router.draining else "alive", "unix_ms": unix_ms(),
        "open": len(router.calls),
        "running": sum(len(worker.held) for worker in router.workers.values()),
        "guests": len(router.guests), "workers": len(loop.crew.by_id), "cpus": os.cpu_count() or 1,
        "pid": os.getpid(), "version": meshcode.__version__, "host": loop.processors.host,
        "uptime_ms": loop.clock.now_ms() - loop.clock.boot_ms,
        "disk_level": router.disk_level,
        "roster": "" if mesh is None else mesh.roster.digest.hex(),
        "model": "" if mesh is None else mesh.share.digest.hex(),
        "up": 0 if mesh is None else len(mesh.up),
    }  # fmt: skip


def add_facts(row: dict[str, Any], facts: dict[str, Any] | None) -> None:
    """Put what a node said of itself into its row; it knows its load, not how others see it."""
    if facts is None:
        return
    for name in _SHOWN_FACTS:
        if name in facts:
            row[name] = facts[name]
    if facts.get("state") == DRAINING and row["state"] == "alive":
        row["state"] = DRAINING


def node_facts(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """This node's facts."""
    return facts_of(loop)


# How the mesh is.


def mesh_status(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """What is well and what is not between the nodes; with `ask`, the peers are asked too."""
    mesh = loop.mesh
    if mesh is None:
        return {"mesh": None}
    if not fields.get("ask"):
        return _status_of(mesh, set(), [], 0)
    asked, begun = set(mesh.here()), unix_ms()

    def answered(answers: Answers) -> None:
        answer(loop, session, request, _status_of(mesh, asked, answers, begun))

    ask_peers(mesh, "node.facts", {}, answered)
    return None


def _status_of(mesh: Mesh, asked: set[bytes], answers: Answers, begun: int) -> dict[str, Any]:
    loop, now_ms = mesh.loop, mesh.loop.clock.now_ms()
    told = told_facts(answers)
    came = {node: int(found["at_unix_ms"]) for node, found in answers}
    mine = facts_of(loop)
    states: dict[str, int] = {}
    for node in mesh.roster.members:
        if node != mesh.node:
            state = state_of(mesh, node)
            states[state] = states.get(state, 0) + 1
    return {
        "mesh": mesh.identity.mesh.hex(), "name": mesh.identity.name, "node": mesh.node.hex(),
        "class": mesh.identity.kind, "bind": list(mesh.identity.bind),
        "advertise": list(mesh.identity.advertise),
        "known": len(mesh.roster.members) - 1, "up": len(mesh.up), "states": states,
        "evicted": len(mesh.roster.evicted),
        "unlinked": _unlinked(mesh, left=False), "left": _unlinked(mesh, left=True),
        "cut_off": sorted(
            mesh.name_of(node) for node in mesh.roster.members.keys() - mesh.up.keys() - {mesh.node}
            if state_of(mesh, node) == "alive"
        ),
        "worked_out": mesh.identity.worked_out,
        "this_evicted": mesh.node in mesh.roster.evicted,
        "refused": [text for text in mesh.news if _is_refusal(text)][-NEWS_SHOWN:],
        "news": list(mesh.news)[-NEWS_SHOWN:],
        "discovery": mesh.discovery.status() if mesh.discovery else "off: MESH_MDNS is 0",
        "problems": mesh.share.problems(), "not_used": dict(mesh.not_taken.counts),
        "keeper_alive": mesh.links is not None and not _zap_is_dead(mesh),
        "orphans": len(mesh.loop.router.replica.orphans()),
        "asked": sorted(map(mesh.name_of, asked)),
        "silent": silent_peers(mesh, asked, set(told)) if asked else [],
        "roster": mine["roster"], "model": mine["model"],
        "others": [
            _compared(mesh, node, facts, mine, (begun + came[node]) // 2)
            for node, facts in sorted(told.items())
        ],
        "now_ms": now_ms,
    }  # fmt: skip


def _unlinked(mesh: Mesh, *, left: bool) -> list[str]:
    """Names of the members without a link: those that said good-bye, or those that did not."""
    return sorted(
        mesh.name_of(node)
        for node in mesh.roster.members
        if node != mesh.node
        and node not in mesh.up
        and (state_of(mesh, node) in SAID) is left
    )


def _is_refusal(text: str) -> bool:
    """Whether a line of the news (a time of 19 characters before it) tells of a refusal."""
    return text[20:].startswith(_REFUSALS)


def _zap_is_dead(mesh: Mesh) -> bool:
    """Whether the last word on the handler that admits peers is that it died."""
    return any(text[20:].startswith("zap dead:") for text in mesh.news)


def _compared(
    mesh: Mesh, node: bytes, facts: dict[str, Any], mine: dict[str, Any], asked_unix_ms: int
) -> dict[str, Any]:
    """How a peer differs: its clock (ms ahead of ours), its roster and its model."""
    clock = facts.get("unix_ms")
    skew_ms = clock - asked_unix_ms if isinstance(clock, int) else None
    return {
        "name": mesh.name_of(node), "node": node.hex(), "skew_ms": skew_ms,
        "skewed": skew_ms is not None and abs(skew_ms) > PEER_SKEW_MS,
        "same_roster": facts.get("roster") == mine["roster"],
        "same_model": facts.get("model") == mine["model"],
        "version": facts.get("version"), "up": facts.get("up"), "state": facts.get("state"),
        "disk_level": facts.get("disk_level"),
    }  # fmt: skip


# Going.


def drain(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Take no new calls and begin none; the node stays, and what runs finishes."""
    if not loop.router.draining:
        loop.step(Drained())
        if loop.mesh is not None:
            loop.mesh.say("this node drains: asked to")
    return _going(loop, state=DRAINING)


def leave(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Go, for `for_ms` or (0) for long: first drained; with `finish` good-bye is said, and it ends.

    While it drains the others are told LEAVING, so that nobody accuses it.
    """
    for_ms = fields.get("for_ms") or 0
    if not isinstance(for_ms, int) or isinstance(for_ms, bool) or for_ms < 0:
        raise BadRequest(f"field 'for_ms' must be a whole number from 0, it is {for_ms!r}")
    if for_ms > SWIM_LEAVING_MS_MAX:
        raise BadRequest(
            f"a restart is announced for at most {SWIM_LEAVING_MS_MAX} ms, this is {for_ms} ms;"
            " nothing was changed; for a longer absence leave without a time"
        )
    mesh, now_ms = loop.mesh, loop.clock.now_ms()
    if mesh is None:
        raise WrongState("this node belongs to no mesh, so there is nothing to leave: `mesh down`")
    if not fields.get("finish"):
        if not loop.router.draining:
            loop.step(Drained())
        if not mesh.said_goodbye:  # Once: whoever waits asks again and again.
            mesh.leave(now_ms, for_ms or SWIM_LEAVING_MS_MAX)
        return _going(loop, state="leaving")
    mesh.leave(now_ms, for_ms)
    found = _going(loop, state="leaving" if for_ms else "left")
    loop.drain("asked to leave for a moment" if for_ms else "asked to leave its mesh")
    return found


def _going(loop: Loop, *, state: str) -> dict[str, Any]:
    return {
        "node": loop.node_id.hex(), "pid": os.getpid(), "boot": loop.log.boot, "state": state,
        "running": sum(len(worker.held) for worker in loop.router.workers.values()),
        "open": len(loop.router.calls), "alone": kept_alone(loop),
        "peers": 0 if loop.mesh is None else len(loop.mesh.up),
    }  # fmt: skip


def kept_alone(loop: Loop) -> int:
    """How many open calls no other node keeps, as far as this one can tell."""
    router = loop.router
    if router.replica.peers.here():
        return sum(1 for id in router.narrow if id in router.calls)
    return sum(1 for call in router.calls.values() if call.inst is None)


def weigh(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """What would become of calls without the node `node`: counted here, and there if it answers."""
    mesh = loop.mesh
    if mesh is None:
        raise WrongState("this node belongs to no mesh")
    target = fields.get("node")
    if not isinstance(target, bytes) or len(target) != len(mesh.node):
        raise BadRequest("field 'node' must be the 16 bytes of a node's id")
    shared = [inst for inst in loop.router.replica.by_key.values()
              if target in inst.voters and not inst.ended]  # fmt: skip
    out = {*mesh.roster.evicted, target}
    away = {node for node in mesh.roster.members if node != mesh.node and node not in mesh.up}

    def lost(inst: Instance, gone: set[bytes]) -> bool:
        return sum(node in gone for node in inst.voters) >= inst.majority

    found = {
        "shared": len(shared),
        "orphaned": sum(lost(inst, out) for inst in shared),
        "waiting": sum(lost(inst, out | away) and not lost(inst, out) for inst in shared),
        "copies": sum(1 for copy in loop.router.copies.values() if copy.home == target),
        "alone": None, "open": None, "said_goodbye": mesh.goodbyes.said(mesh.swim, target),
    }  # fmt: skip
    if target == mesh.node:
        return found | alone(loop, session, request, fields)
    if target not in mesh.up:
        return found

    def answered(answers: Answers) -> None:
        told = told_facts(answers).get(target, {})
        found.update(alone=told.get("alone"), open=told.get("open"))
        answer(loop, session, request, found)

    ask_peers(mesh, "node.alone", {}, answered)
    return None


def alone(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """How many open calls this node has, and how many of them no other node keeps."""
    return {"open": len(loop.router.calls), "alone": kept_alone(loop)}


# Keys.


def roster(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """The statements that this node knows, packed; no secret is in them."""
    if loop.mesh is None:
        raise WrongState("this node belongs to no mesh, so it has no roster")
    return {"roster": loop.mesh.roster.pack()}


def countersign(loop: Loop, session: Session, request: bytes, fields: dict[str, Any]) -> Any:
    """Admit the new keys of a member: here if this node may, else at a peer that may.

    The draft is signed by the member's old key, so whoever carries it can change nothing.
    """
    from meshcode.trust import admitting, identity

    mesh = loop.mesh
    if mesh is None:
        raise WrongState("this node belongs to no mesh, so there are no keys to change")
    draft = fields.get("draft")
    if not isinstance(draft, bytes):
        raise BadRequest("field 'draft' must be the bytes of a draft")
    key = identity.load_admit_key(str(loop.home))
    if key is not None and mesh.roster.may_admit(key.public):
        packed = admitting.countersign(mesh.roster, draft, key, now_unix_ms=unix_ms())
        mesh.roster_changed(mesh.roster.merge(packed), loop.clock.now_ms())
        return {"statement": packed, "by": mesh.identity.name}
    if session.id < 0:
        raise UnknownCall(f"{mesh.identity.name} does not admit")  # Others are asked as well.

    def answered(answers: Answers) -> None:
        told = good_data(answers)
        for node, data in told.items():
            if isinstance(data.get("statement"), bytes):
                _take_statement(loop, session, request, data, mesh.name_of(node))
                return
        refuse(loop, session, request, _nobody_signed(mesh, answers))

    ask_peers(mesh, "node.countersign", {"draft": draft}, answered)
    return None


def _take_statement(
    loop: Loop, session: Session, request: bytes, data: dict[str, Any], by: str
) -> None:
    mesh = loop.mesh
    assert mesh is not None
    try:
        changes = mesh.roster.merge(data["statement"])
    except MeshError as error:
        refuse(loop, session, request, error)
        return
    mesh.roster_changed(changes, loop.clock.now_ms())
    answer(loop, session, request, {"statement": data["statement"], "by": by})


def _nobody_signed(mesh: Mesh, answers: Answers) -> MeshError:
    odd = [
        str(found["data"].get("text"))
        for _, found in answers
        if isinstance(found.get("data"), dict) and found["data"].get("code") != UnknownCall.code
    ]
    if odd:
        return NotAllowed(f"the new keys were not admitted: {odd[0]}")
    return NotAllowed(
        f"none of the {len(answers)} peers that answered has an admitting key, of"
        f" {len(mesh.roster.members) - 1} known; the keys are unchanged; bring the draft to a node"
        " that admits: `mesh node rotate-key --draft FILE`"
    )


OPERATIONS: dict[str, Callable[[Any, Session, bytes, dict[str, Any]], Any]] = {
    "nodes": nodes,
    "node.facts": node_facts,
    "mesh.status": mesh_status,
    "node.drain": drain,
    "node.leave": leave,
    "node.weigh": weigh,
    "node.alone": alone,
    "mesh.roster": roster,
    "node.countersign": countersign,
}
FOR_PEERS = ("node.facts", "node.alone", "node.countersign")
