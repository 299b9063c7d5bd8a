"""What must be true in every mesh, checked at every step, sync and release (invariants I1 to I18).

The checker keeps its own books of what reached which disk, what was sent and what workers did.  A
value counts as chosen when a majority of the voters has it on disk under one epoch, whether or not
any node knows that yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from meshcode import limits
from meshcode.ids import child_id
from meshcode.replica import naming
from meshcode.replica.instance import (
    ENDED,
    Epoch,
    Instance,
    Value,
    epoch_of,
    make_key,
    moved_key,
    read_record,
    reissued_key,
)
from meshcode.router import events
from meshcode.router.effects import Effects, Op
from meshcode.router.records import outcome_of, split_open, split_state
from meshcode.router.states import State
from meshcode.sim.flowbook import FlowBook, body_of
from meshcode.sim.mesh import judgement, keepers, plugs, steps
from meshcode.sim.mesh.casts import CastBook
from meshcode.sim.mesh.steps import majority_of
from meshcode.sim.mesh.streams import StreamBook
from meshcode.sim.plugbook import PlugBook
from meshcode.sim.violation import require
from meshcode.wire.codec import unpack
from meshcode.wire.kinds import Kind, Level, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

_PROMISES = (int(Kind.PROMISE), int(Kind.AGREED))
_DONE, _FAILED = int(Outcome.DONE), int(Outcome.FAILED)
Where = tuple[int, bytes]  # Node index, instance key.


class MeshChecker:
    """The judge of one world."""

    def __init__(self, world: MeshWorld) -> None:
        """Nothing happened yet."""
        self.world = world
        self.steps = 0
        self.deep_every = 7  # Steps between two slow checks.
        self.digest = 0
        self.counts = {"executed": 0, "claims": 0, "moved": 0, "forgotten": 0, "taken_over": 0}
        self.homes: dict[bytes, set[int]] = {}  # Nodes that a call was submitted to.
        self.roots: dict[bytes, set[bytes]] = {}  # Homes of instances: children of twins are twins.
        self.copies: dict[bytes, set[int]] = {}  # Disks that have, or had until lost, a call.
        self.records: dict[tuple[int, bytes], int] = {}  # Node, call: its open records.
        self.open_at: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key -> call id.
        self.key_at: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key -> instance key.
        self.voters: dict[bytes, tuple[bytes, ...]] = {}
        self.promised: dict[Where, Epoch] = {}  # Highest ever on that disk.
        self.sent: dict[Where, Epoch] = {}  # Highest that left the node.
        self.votes: dict[tuple[bytes, Epoch], set[int]] = {}
        self.chosen: dict[bytes, Value] = {}
        self.whole: set[bytes] = set()  # Chosen by votes that name the children.
        self.done_at: dict[tuple[int, bytes], bytes] = {}  # Node, call: its outcome on that disk.
        self.proposed: dict[tuple[bytes, Epoch], tuple[int, bytes, str]] = {}
        self.stepped_promise: dict[tuple[int, int, bytes], Epoch] = {}  # Node, life, instance.
        self.accepted_at: dict[Where, Epoch] = {}  # The epoch of the last acceptance on that disk.
        self.narrow: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key: kept alone.
        self.widened: set[tuple[int, bytes]] = set()  # Node, call: others keep it by now.
        self.had: dict[bytes, set[int]] = {}  # Disks that ever had an instance's call.
        self.held_at: set[tuple[int, bytes]] = set()  # Node, call: as its owner wrote.
        self.held: dict[tuple[bytes, Epoch], set[int]] = {}  # Disks that know it is HELD.
        self.held_for_good: dict[bytes, tuple[bytes, Epoch]] = {}  # Call: instance, epoch.
        self.handed: set[Where] = set()
        self.recovered: dict[bytes, int] = {}  # Call -> the node that a person had issue it again.
        self.dispatched: dict[bytes, int] = {}  # How often a call was handed to anybody.
        self.runs: dict[bytes, int] = {}  # Executions of each call.
        self.take_overs: dict[bytes, int] = {}  # And losses of executors: attempts not counted.
        self.ran_at: dict[int, set[bytes]] = {}  # Calls that a node ran in this life of it.
        self.forgotten: set[Where] = set()
        self.recorded: dict[bytes, bytes] = {}  # Call id -> outcome, the first on any disk.
        self.acked: dict[bytes, tuple[int, int]] = {}  # Copies and voters that were told.
        self.acked_by: dict[bytes, set[int]] = {}  # The nodes that told so.
        self.told: dict[bytes, bytes] = {}
        self.reports: dict[bytes, set[bytes]] = {}
        self.bodies: dict[bytes, bytes] = {}
        self.flows = FlowBook()
        self.casts = CastBook(self)
        self.streams = StreamBook(self, world.options)
        routers = world.options.routers
        self.plugs = None if routers is None else PlugBook(routers)
        if self.plugs is not None:
            self.plugs.scheduled(world.options.snapshot.get("schedules", {}))
        self.closing: dict[int, dict[bytes, Any]] = {}  # By node: what its history is asked for.
        self.alone: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key: kept by it alone.
        self.caused: dict[tuple[bytes, bytes], list[list[bytes]]] = {}  # By outcome proposed.
        self.allowed: dict[bytes, set[bytes]] = {}  # Calls that a call may cause along plugs.
        self.seen: dict[bytes, list[bytes]] = {}  # Outcomes of a call that were ever chosen.

    # What happens.

    def submitted(self, id: bytes, node: MeshNode) -> None:
        """A client gives a call to a node."""
        self.homes.setdefault(id, set()).add(node.index)

    def is_twin(self, id: bytes) -> bool:
        """Whether the call was given to two nodes: then two instances may both end (P14)."""
        homes = max(len(self.homes.get(id, ())), len(self.roots.get(id, ())))
        return homes > 1 or id in self.recovered

    def executes(self, node: MeshNode, id: bytes, submit: bytes) -> None:
        """A worker begins."""
        self.counts["executed"] += 1
        self.ran_at.setdefault(node.index, set()).add(id)
        self._attempts(id)
        require(submit[16:32] == id, "I6 content", "another call's body", id.hex())
        body = self.bodies.setdefault(id, submit)
        # Two nodes that accepted a root cause calls of one id that need not be alike (P14).
        twin = self.plugs is not None and id not in self.homes and plugs.is_twin(self, id)
        require(body == submit or twin, "I6 content", "the body changed", id.hex())
        if id in self.flows:
            self.flows.begins(id, submit, self.seen_of)
        if self.plugs is not None:
            self.plugs.begins(id, submit, twin=twin)

    def _attempts(self, id: bytes) -> None:
        """Each take-over may forget one attempt, the one under way; never all of them (I12)."""
        runs = self.runs[id] = self.runs.get(id, 0) + 1
        if self.world.options.counted:
            owners = self.take_overs.get(id, 0)
            require(runs <= 3 + owners, "I12 attempts", id.hex(), "ran", runs, "owners", owners)

    def reported(self, id: bytes, data: bytes) -> None:
        """A worker made an outcome."""
        self.reports.setdefault(id, set()).add(data)

    def booted(self, node: MeshNode, effects: list[Effects]) -> None:
        """A node read its log, with these effects: its promises are at least what it sent (I8)."""
        for inst in node.router.replica.by_key.values():
            self._promise_holds(node, inst)
        plugs.booted(self, node)
        for one in effects:
            plugs.stepped(self, node, one)

    def crashed(self, node: MeshNode) -> None:
        """Only what was synced is left (I12): what it ran for others may be run again, and what
        others ran of a call that it kept alone, which nobody takes over but itself.
        """
        here = set(self.ran_at.pop(node.index, ()))
        alone = {
            call.id
            for call in node.router.calls.values()
            if call.inst is None and call.owner is None and call.state is State.RUNNING
        }
        for id in here | alone:
            if id not in self.recorded:
                self.take_overs[id] = self.take_overs.get(id, 0) + 1

    def lost(self, node: MeshNode) -> None:
        """A disk is gone for ever; what was on it counts as having been there."""

    def _promise_holds(self, node: MeshNode, inst: Instance) -> None:
        sent = self.sent.get((node.index, inst.key))
        if sent is not None and inst.role != ENDED:
            require(inst.promise >= sent, "I8 promise", node, inst.promise, sent)

    # The disk.

    def synced(self, node: MeshNode, ops: list[Op]) -> None:
        """A batch of one node is on its disk."""
        for table, key, value in ops:
            if table == "open":
                self._open(node, key, value)
            elif table == "vote":
                self._vote(node, key, value)
            elif table == "done" and value is not None:
                self._done(node, key, value)
            elif table == "meta" and self.plugs is not None:
                self.plugs.saved(key, value)
            elif table == "state" and (id := self.open_at.get((node.index, key))) is not None:
                held = value is not None and split_state(value)["state"] == State.HELD
                (self.held_at.add if held else self.held_at.discard)((node.index, id))
        for table, key, value in ops:
            if table == "done" and value is not None and key in self.flows.plans:
                self._flow_is_there(node, key, outcome_of(value))

    def seen_of(self, id: bytes) -> list[bytes]:
        """The outcomes of a call that were chosen or recorded so far; twins may have two."""
        return self.seen.get(id, [])

    def _flow_is_there(self, node: MeshNode, root: bytes, outcome: bytes) -> None:
        """Where one node alone kept it, its steps are in the batch of its outcome, or before."""
        shared = any(key[:16] == root for key in self.voters)
        if outcome[13] == _DONE and not shared:
            missing = [id for id in self.flows.members(root) if id not in self.roots]
            require(not missing, "flow", node, root.hex(), "without steps", len(missing))

    def _open(self, node: MeshNode, key: bytes, value: bytes | None) -> None:
        where = (node.index, key)
        if value is None:
            gone = self.open_at.pop(where, None)
            if gone is not None and self._count(node, gone, -1) == 0:
                self.copies[gone].discard(node.index)
            return
        custody, submit = split_open(value)
        id = submit[16:32]
        if self.open_at.get(where) != id:
            self._count(node, id, 1)
        self.open_at[where] = id
        self.copies.setdefault(id, set()).add(node.index)
        name = make_key(id, custody["home"], custody["generation"])
        self.had.setdefault(name, set()).add(node.index)
        self.roots.setdefault(id, set()).add(custody["home"])
        self._known_to_flows(id, submit)
        self.streams.opened(submit)
        plugs.opened(self, submit)
        if len(custody["voters"]) > 1:
            self.voters.setdefault(name, tuple(custody["voters"]))
            require((node.index, name) not in self.forgotten, "I9 resurrection", node, name.hex())

    def _known_to_flows(self, id: bytes, submit: bytes) -> None:
        parent = submit[48:64]
        dead = parent in self.flows.steps and id == child_id(parent, b"dead-letter")
        if dead and id not in self.flows:
            self.flows.copy(id, parent, submit[80 : 80 + submit[15]].decode())
        if id in self.flows.steps:
            self.flows.opened(id, submit)

    def _count(self, node: MeshNode, id: bytes, more: int) -> int:
        """How many records of a call a disk has: one that moved may have two for a moment."""
        count = self.records[(node.index, id)] = self.records.get((node.index, id), 0) + more
        return count

    def _vote(self, node: MeshNode, key: bytes, value: bytes | None) -> None:
        where = (node.index, key)
        if value is None:
            name = self.key_at.pop(where, None)
            if name is None and self.recovered:
                return  # An orphan that was recovered: it may never have had one.
            require(name is not None, "log", "a vote record that was not there", key.hex())
            assert name is not None
            self.forgotten.add((node.index, name))
            self.counts["forgotten"] += 1
            return
        inst = read_record(0, value)
        name = inst.key
        require((node.index, name) not in self.forgotten, "I9 resurrection", node, name.hex())
        self.key_at[where] = name
        self.voters.setdefault(name, inst.voters)
        at = (node.index, name)
        before = self.promised.get(at, inst.promise)
        if inst.role != ENDED:
            require(inst.promise >= before, "I8 promise", node, "lowered", before, inst.promise)
        self.promised[at] = max(inst.promise, before)
        if inst.accepted is not None:
            self._accepted(node, inst, before)
        if inst.role == ENDED and inst.value is not None:
            self._choose(name, inst.value)
        if inst.role != ENDED and inst.note is not None and inst.note["state"] == State.HELD:
            self._known_held(node, inst)
        if inst.handed and at not in self.handed:
            self.handed.add(at)
            self._custody_done(node, name)

    def _accepted(self, node: MeshNode, inst: Instance, promised: Epoch) -> None:
        assert inst.accepted is not None
        epoch, value = inst.accepted
        at = (node.index, inst.key)
        if self.accepted_at.get(at) != epoch and inst.role != ENDED:
            require(epoch >= promised, "P7 accepted", node, epoch, "after it promised", promised)
        self.accepted_at[at] = epoch
        votes = self.votes.setdefault((inst.key, epoch), set())
        votes.add(node.index)
        if len(votes) >= majority_of(inst.voters) and inst.role != ENDED:
            known = self.chosen.get(inst.key)
            require(
                known is None or known.children == value.children or inst.key not in self.whole
                or self.streams.is_again(inst.id),
                "I2 one outcome", "other children", inst.key.hex(),
            )  # fmt: skip
            self.whole.add(inst.key)
            self._choose(inst.key, value)

    def _known_held(self, node: MeshNode, inst: Instance) -> None:
        """A majority knows that it is HELD: from here on only a person lets it go (I12)."""
        if (inst.promise[1][4], inst.id) not in self.held_at:
            return  # Heard of an owner that is overtaken: whoever owns it now may go on.
        disks = self.held.setdefault((inst.key, inst.promise), set())
        disks.add(node.index)
        owner = inst.promise[1][4]
        if len(disks | {owner}) >= majority_of(inst.voters):
            self.held_for_good.setdefault(inst.id, (inst.key, inst.promise))

    def _custody_done(self, node: MeshNode, name: bytes) -> None:
        """A node says that the children are safe: a majority of their voters has them (P8)."""
        value = self.chosen.get(name)
        for child in () if value is None else value.children:
            assert value is not None
            moved = value.code == Outcome.MOVED
            key = moved_key(name) if moved else make_key(child.id, name[16:32])
            assert key is not None
            again = reissued_key(key) or key
            over = key in self.chosen or again in self.chosen
            safe = over or self._is_safe(key, child.voters)
            safe = safe or self._is_safe(again, self.voters.get(name, ()))
            require(safe, "I5 custody", node, "of", child.id.hex(), self.had.get(key))

    def _is_safe(self, key: bytes, voters: tuple[bytes, ...]) -> bool:
        nodes = [self.world.nodes[one[4]] for one in voters]
        keepers = {one.index for one in nodes if one.kind != "witness"}
        wanted = min(majority_of(voters), sum(not self.world.nodes[n].lost for n in keepers))
        return len(self.had.get(key, set()) & keepers) >= wanted

    def _choose(self, name: bytes, value: Value) -> None:
        fresh = name not in self.chosen
        known = self.chosen.setdefault(name, value)
        if fresh and value.children and value.code != Outcome.MOVED:
            self.world.child_named(name, value.children[0].voters)
        if fresh and value.code == Outcome.MOVED:
            keepers.has_moved(self.world, name, value)
        require(
            (known.code, known.outcome) == (value.code, value.outcome),
            "I2 one outcome", name.hex(), known.code, value.code,
        )  # fmt: skip
        if value.children and not known.children:
            self.chosen[name] = value
        elif value.children and not self.streams.is_again(name[:16]):
            require(known.children == value.children, "I2 one outcome", "children", name.hex())
        id = name[:16]
        due = {id} if value.code == Outcome.MOVED else {child_id(id, b"dead-letter")}
        if id in self.flows.plans and value.code == _DONE:
            due = set(self.flows.members(id))
        due |= self.allowed.get(id, set())
        for child in value.children:
            require(child.id in due, "I5 child", "its id is not its parent's to give", name.hex())
        if value.code != Outcome.MOVED:
            self._is_true(id, value.outcome)

    def _is_true(self, id: bytes, outcome: bytes) -> None:
        """An outcome has a cause: a worker made it, or the flow that it belongs to."""
        known = self.seen.setdefault(id, [])
        if outcome in known:
            return
        made = outcome in self.reports.get(id, ())
        if self._is_explained(id, outcome, made=made):
            pass
        elif outcome[13] == _DONE:
            require(made, "I6 content", "nobody made it", id.hex())
        elif outcome[13] == _FAILED and not made:
            error = unpack(body_of(outcome))
            require(error["code"] == "time_limit", "I6 content", "failed by itself", error)
        known.append(outcome)

    def _is_explained(self, id: bytes, outcome: bytes, *, made: bool) -> bool:
        """Whether a flow, plugs or a broadcast say why a call ended so."""
        if self.casts.ended(id, outcome, made=made):
            return True
        if self.streams.ended(id, outcome, made=made):
            return True
        if id in self.flows and self.flows.ended(id, outcome, made, self.seen_of):
            return True
        book = self.plugs
        return (
            book is not None
            and id in book
            and book.ended(id, outcome, self.seen_of, executed=made)
        )

    def _done(self, node: MeshNode, id: bytes, value: bytes) -> None:
        outcome = outcome_of(value)
        here = self.done_at.setdefault((node.index, id), outcome)
        require(here == outcome, "I2 recorded twice", node, id.hex(), "on one disk")
        known = self.recorded.setdefault(id, outcome)
        if known != outcome:
            require(self.is_twin(id), "I2 recorded twice", node, id.hex())
        self._is_true(id, outcome)

    # The core.

    def stepped(self, node: MeshNode, event: Any, effects: Effects, was: Any) -> None:
        """The core of a node took one event; `was` is what `steps.before` saw."""
        self.steps += 1
        self.digest = crc32(
            b"%d %d %d %d" % (node.index, len(effects.records), len(effects.peer), self.steps),
            self.digest,
        )
        if self.steps % self.deep_every == 0:
            node.router.check()
        for id, _, name, _, _ in effects.events:
            if name == "taken over":
                self.counts["taken_over"] += 1
                self.take_overs[id] = self.take_overs.get(id, 0) + 1
        plugs.stepped(self, node, effects)
        self.casts.stepped(node, effects)
        steps.after(self, node, event, effects, was)

    # What leaves.

    def begun(self, node: MeshNode, ids: list[bytes]) -> None:
        """Calls begin, after the sync of the turn that let them or beside it."""
        for id in ids:
            call = node.router.calls.get(id)
            if call is not None and call.inst is not None and call.inst.payload:
                has = node.index in self.had.get(call.inst.key, ())
                require(has, "law", node, "begins what is not on its disk", id.hex())

    def released(self, node: MeshNode, effects: Effects) -> None:
        """A turn of a node is let out."""
        begun = [start[0] for _, batch in effects.starts for start in batch]
        begun += [entry[1][16:32] for _, kind, entry in effects.peer if kind == Kind.RUN]
        self.begun(node, begun)
        for _, kind, entry in naming.singly(effects.peer):
            if kind in _PROMISES:
                self._vote_leaves(node, kind, entry)
            elif kind == Kind.STORED and node.kind != "witness":
                has = node.index in self.had.get(entry[0], ()) or entry[0] in self.chosen
                require(has, "law", node, "has no copy of", entry[0].hex())
        refused = {id for _, id, _ in effects.refused}
        for client, _, level, copies, voters in effects.accepted:
            for id in self.world.frames.get(client, ()):
                if id not in refused and id not in self.world.client(client).refusals:
                    self._acked(node, id, level, copies, voters)
        for _, outcome in effects.outcomes:
            id = outcome[16:32]
            self.told_from_history(id, outcome)
            require(
                self.recorded.get(id) is not None or self._is_chosen(id, outcome),
                "I2 told what is not chosen", id.hex(),
            )  # fmt: skip

    def told_from_history(self, id: bytes, outcome: bytes) -> None:
        """Somebody is told how a call ended: everybody is told the same (I18)."""
        known = self.told.setdefault(id, outcome)
        require(known == outcome or self.is_twin(id), "I2 told two outcomes", id.hex())

    def _vote_leaves(self, node: MeshNode, kind: int, entry: list[Any]) -> None:
        """A promise or an acceptance leaves the node: it is on its disk."""
        key = entry[0]
        at = (node.index, key)
        epoch = epoch_of(entry[1])
        self.sent[at] = max(epoch, self.sent.get(at, epoch))
        stored = self.promised.get(at)
        require(stored is not None and stored >= epoch, "I8 promise", node, "is not on disk", epoch)
        if kind == Kind.AGREED:
            require(
                node.index in self.votes.get((key, epoch), ()), "law", node, "did not accept", epoch
            )
        inst = node.router.replica.by_key.get(key)
        if inst is not None:
            self._promise_holds(node, inst)

    def _is_chosen(self, id: bytes, outcome: bytes) -> bool:
        return any(value.outcome == outcome for key, value in self.chosen.items() if key[:16] == id)

    def _acked(self, node: MeshNode, id: bytes, level: int, copies: int, voters: int) -> None:
        self.acked_by.setdefault(id, set()).add(node.index)
        if id in self.recorded or any(key[:16] == id for key in self.chosen):
            self.acked.setdefault(id, (copies, voters))
            return
        have = self.copies.get(id, set())
        require(len(have) >= copies, "I1 acknowledged", node, id.hex(), level, copies, have)
        self._level_is_true(node, id, level, copies, voters)
        self.acked[id] = max((copies, voters), self.acked.get(id, (0, 0)))

    def _level_is_true(
        self, node: MeshNode, id: bytes, level: int, copies: int, voters: int
    ) -> None:
        """The level that is named was reached, and what was asked for too (I11)."""
        named = {Level.LOCAL: 1, Level.QUORUM: 2, Level.ALL: 3}[Level(level)]
        good = copies >= named and (level == Level.LOCAL or voters == limits.VOTERS)
        require(good, "I11 level", node, Level(level).name, "with", copies, "of", voters)
        asked, tries = self.world.asked(id)
        if tries > 1 or asked == "local":
            return  # Whoever asks again is told what there is now.
        shared = self.voters.get(make_key(id, node.id)) is not None
        wanted = {"all": limits.VOTERS}.get(asked or "", 2) if shared else 1
        have = self.copies.get(id, set())
        require(len(have) >= wanted, "I11 level", node, asked, "but copies", len(have))
        alone = not shared and len(self.world.nodes) > 1
        require(not alone or asked != "strict", "I11 level", node, "strict but one voter")

    def alive(self) -> None:
        """With one node away: what was promised came about all the same."""
        judgement.alive(self)

    def finish(self) -> None:
        """After the calm: all that was promised came about, and all is forgotten."""
        judgement.finish(self)


__all__ = ["MeshChecker", "events"]
