"""What one step of a core may do: rules that are seen in its effects, before anything is synced.

`before` looks at a node as an event reaches it; `after` judges what came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode import limits
from meshcode.replica import naming
from meshcode.replica.instance import ENDED, OWNING, PROPOSING, Instance, epoch_of
from meshcode.router import events
from meshcode.router.effects import Effects
from meshcode.router.records import split_open
from meshcode.router.states import State
from meshcode.sim.mesh import plugs
from meshcode.sim.violation import require
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.checks import MeshChecker
    from meshcode.sim.mesh.node import MeshNode

_ANSWERS = frozenset(
    int(kind)
    for kind in (
        Kind.PROMISE, Kind.AGREED, Kind.OVERTAKEN, Kind.STORED, Kind.GONE, Kind.PARENT_SAYS,
        Kind.CHILD_SAYS, Kind.TAKEN, Kind.GAVE_BACK, Kind.KEPT,
    )
)  # fmt: skip
_TELLING = (int(Kind.NOTE), int(Kind.STORE))  # What carries a note.
_AGREEMENT = range(int(Kind.STORE), int(Kind.PARENT_SAYS) + 1)
_RAN, _RUN, _NOTE = int(Kind.RAN), int(Kind.RUN), int(Kind.NOTE)
_PROMISE, _PROPOSE, _PREPARE = int(Kind.PROMISE), int(Kind.PROPOSE), int(Kind.PREPARE)


def majority_of(voters: Any) -> int:
    """How many decide: counted here, not asked of the code that is judged."""
    return len(voters) // 2 + 1


def before(node: MeshNode, event: Any) -> Any:
    """What `after` must know of the time before the step."""
    if isinstance(event, events.PeerSaid):
        replica = node.router.replica
        if event.node in replica.peers.evicted and event.kind in _AGREEMENT:
            return {key: _look_of(replica.by_key.get(key)) for key in _keys(event)}
        if event.kind == _RAN:
            return [entry[:2] for entry in event.entries if not _is_current(node, event, entry)]
    elif isinstance(event, events.Finished):
        worker = node.router.workers.get(event.worker)
        held = {} if worker is None else worker.held
        return [
            list(report[:2])
            for report in event.reports
            if worker is not None
            and (report[0] not in held or held[report[0]].attempt != report[1])
        ]
    return None


def _keys(event: events.PeerSaid) -> list[bytes]:
    return [entry[0] for entry in naming.each(event.entries)]


def _look_of(inst: Instance | None) -> Any:
    if inst is None:
        return None
    return (inst.record(), inst.role, len(inst.heard), inst.have)


def _is_current(node: MeshNode, event: events.PeerSaid, entry: list[Any]) -> bool:
    call = node.router.calls.get(entry[0])
    worker = None if call is None else call.worker
    return (
        call is not None and worker is not None and worker.node == event.node
        and call.attempt == entry[1]
    )  # fmt: skip


def after(c: MeshChecker, node: MeshNode, event: Any, effects: Effects, was: Any) -> None:
    """Judge one step."""
    if isinstance(event, events.PeerSaid):
        if event.node in node.router.replica.peers.evicted:
            _evicted_changed_nothing(node, event, effects, was)
        elif event.kind == _RAN:
            _stale_reports(node, effects, was)
        elif event.kind == _NOTE:
            _notes_are_kept(node, event, effects)
    elif isinstance(event, events.Finished) and was:
        _stale_reports(node, effects, was)
    elif isinstance(event, events.Submitted) and node.router.disk_level:
        _nothing_accepted(node, event, effects)
    for op in effects.records:
        if op[0] == "open" and op[2] is not None:
            _opened(c, node, op[1], op[2])
        elif op[0] == "state" and op[2] is not None:
            _voters_are_told(node, op[1], effects)
    starts = [(id, attempt) for _, batch in effects.starts for id, attempt, *_ in batch]
    for worker, batch in effects.starts:
        for _, _, _, submit in batch:
            c.casts.starts(node, worker, submit)
    for to, kind, entry in naming.singly([*effects.early, *effects.peer]):
        if kind == _RUN:
            starts.append((entry[1][16:32], entry[0]))
            c.casts.runs(to, entry[1])
            _within_credit(node, to)
        elif kind == _PROPOSE:
            _proposes(c, node, entry)
        elif kind == _PREPARE:
            c.counts["claims"] += 1
        elif kind == _PROMISE:
            _promises(c, node, entry)
    for id, _ in starts:
        c.dispatched[id] = c.dispatched.get(id, 0) + 1
        _may_start(c, node, id)


# Who is not obeyed, and what is not counted.


def _evicted_changed_nothing(
    node: MeshNode, event: events.PeerSaid, effects: Effects, was: Any
) -> None:
    for to, kind, _ in effects.peer:
        require(
            to != event.node or kind not in _ANSWERS, "I13 evicted", node, "answered", Kind(kind)
        )
    by_key = node.router.replica.by_key
    for key, look in was.items() if isinstance(was, dict) else ():
        now = _look_of(by_key.get(key))
        moved = look is not None and (now is None or now[1] != look[1] or now[0] != look[0])
        if not moved:
            require(now == look, "I13 evicted", node, "obeyed", Kind(event.kind), key.hex())


def _stale_reports(node: MeshNode, effects: Effects, was: Any) -> None:
    for id, attempt in was or ():
        told = [
            one for one in effects.events
            if one[0] == id and one[2] == "superseded" and one[3] == f"attempt {attempt}"
        ]  # fmt: skip
        require(len(told) >= 1, "I17 superseded", node, id.hex(), attempt, "was not told")


def _nothing_accepted(node: MeshNode, event: events.Submitted, effects: Effects) -> None:
    ids = {call[0] for call in event.calls}
    for table, _, value in effects.records:
        if table == "open" and value is not None:
            require(split_open(value)[1][16:32] not in ids, "I14 full", node, "accepted a call")


# What the voters know.


def _opened(c: MeshChecker, node: MeshNode, key: bytes, value: bytes) -> None:
    """Remember calls that began alone: they need not stop when others come to keep them."""
    custody, submit = split_open(value)
    at = (node.index, key)
    if len(custody["voters"]) == 1:
        c.narrow[at] = submit[16:32]
    elif c.narrow.pop(at, None) == submit[16:32]:
        c.widened.add((node.index, submit[16:32]))


def _owned(node: MeshNode, key: bytes) -> Instance | None:
    inst = node.router.replica.by_sequence.get(int.from_bytes(key, "big"))
    if inst is None or inst.role not in (OWNING, PROPOSING) or len(inst.voters) == 1:
        return None
    return inst


def _voters_are_told(node: MeshNode, key: bytes, effects: Effects) -> None:
    inst = _owned(node, key)
    if inst is None:
        return
    told = {to for to, kind, entry in effects.peer if kind in _TELLING and entry[0] == inst.key}
    missing = [voter[4] for voter in inst.voters if voter != node.id and voter not in told]
    require(not missing, "I12 attempts", node, "voters are not told of them:", missing)


def _notes_are_kept(node: MeshNode, event: events.PeerSaid, effects: Effects) -> None:
    for key, epoch, note in event.entries:
        inst = node.router.replica.by_key.get(key)
        if inst is None or inst.role == ENDED or inst.promise != epoch_of(epoch):
            continue
        if inst.promise[1] == event.node:
            number = inst.sequence.to_bytes(8, "big")
            kept = any(op[0] == "vote" and op[1] == number for op in effects.records)
            require(kept and inst.note == note, "I12 attempts", node, "does not keep the note")


def _promises(c: MeshChecker, node: MeshNode, entry: list[Any]) -> None:
    """A voter never lowers its promise, also not before it is on disk (I8)."""
    key, wanted = entry[0], epoch_of(entry[1])
    at = (node.index, node.life, key)
    highest = max(c.stepped_promise.get(at, wanted), c.promised.get((node.index, key), wanted))
    require(wanted >= highest, "I8 promise", node, "promised", wanted, "after", highest)
    c.stepped_promise[at] = wanted


def _proposes(c: MeshChecker, node: MeshNode, entry: list[Any]) -> None:
    key, _, _, _, under, data = entry
    epoch = epoch_of(under)
    value = (data[0], data[1], repr(data[2]))
    known = c.proposed.setdefault((key, epoch), value)
    require(known == value, "I10 one proposal an epoch", key.hex(), epoch)
    require(epoch[1] == node.id, "I10 one proposal an epoch", node, "under another's", epoch)
    plugs.proposes(c, node, key, data)
    c.casts.proposes(node, key, data)
    if data[0] == Outcome.MOVED:
        c.counts["moved"] += 1


# Who may run a call.


def _within_credit(node: MeshNode, to: bytes) -> None:
    """What is at a peer is bounded, whatever it granted (I15)."""
    for (whose, _), worker in node.router.peer_workers.items():
        if whose == to:
            limit = max(worker.slots, 1) * limits.CREDIT_CALLS_MAX
            require(len(worker.held) <= limit, "I15 credit", node, len(worker.held), limit)


def _may_start(c: MeshChecker, node: MeshNode, id: bytes) -> None:
    call = node.router.calls.get(id)
    require(node.kind != "witness", "witness", node, "runs a call", id.hex())
    guest = node.router.guests.get(id)
    twice = call is not None and guest is not None and guest.state is State.RUNNING
    require(not twice or c.is_twin(id), "begin", node, "runs it as a guest already", id.hex())
    if call is None or call.inst is None:
        return
    inst = call.inst
    require(inst.epoch is not None, "I3 dispatch", node, "owns nothing", id.hex())
    assert inst.epoch is not None
    counter, owner, boot = inst.epoch
    require((owner, boot) == (node.id, node.boot), "I3 dispatch", node, "under", inst.epoch)
    held = c.held_for_good.get(id)
    if held is not None and call.state is State.RUNNING and not c.is_twin(id):
        still = inst.key == held[0] and inst.epoch < held[1]  # An owner that was overtaken.
        require(still, "I12 HELD", node, "runs", id.hex(), inst.epoch, held[1])
    if counter == 0:
        if (node.index, id) not in c.widened:
            _has_copies(c, node, inst)
        return
    promises = sum(
        c.promised.get((voter[4], inst.key), (0, b"", 0)) >= inst.epoch for voter in inst.voters
    )
    require(promises >= majority_of(inst.voters), "I3 dispatch", node, promises, inst.epoch)


def _has_copies(c: MeshChecker, node: MeshNode, inst: Instance) -> None:
    """Before it runs for the first time a majority has the call, witnesses not counted (P2).

    Its own copy may be in a batch that is on its way to the disk: what begins leaves after it, and
    is looked at then (`MeshChecker.released`).
    """
    nodes = [c.world.nodes[voter[4]] for voter in inst.voters]
    keepers = [one.index for one in nodes if one.kind != "witness"]
    wanted = min(majority_of(inst.voters), sum(not c.world.nodes[n].lost for n in keepers))
    own = {node.index} if inst.payload else set()
    have = (c.had.get(inst.key, set()) | own) & set(keepers)
    require(len(have) >= wanted, "P2 runs with", len(have), "copies", node, inst.key.hex()[:40])


__all__ = ["before", "after", "majority_of"]
