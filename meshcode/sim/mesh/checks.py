"""What must be true in every mesh, checked at every step, sync and release (invariants I1 to I18).

The checker keeps its own books of what reached which disk, what was sent and what workers did.  A
value counts as chosen when a majority of the voters has it on disk under one epoch, whether or not
any node knows that yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

from meshcode.replica.instance import (
    ENDED,
    Epoch,
    Instance,
    Value,
    epoch_of,
    make_key,
    read_record,
)
from meshcode.router import events
from meshcode.router.effects import Effects, Op
from meshcode.router.records import outcome_of, split_open
from meshcode.router.states import State
from meshcode.sim.violation import require
from meshcode.wire.kinds import Kind, Outcome

if TYPE_CHECKING:
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

_PROMISES = (int(Kind.PROMISE), int(Kind.AGREED))
_DONE = int(Outcome.DONE)
Where = tuple[int, bytes]  # Node index, instance key.


class MeshChecker:
    """The judge of one world."""

    def __init__(self, world: MeshWorld) -> None:
        """Nothing happened yet."""
        self.world = world
        self.steps = 0
        self.digest = 0
        self.counts = {"executed": 0, "claims": 0, "moved": 0, "forgotten": 0, "taken_over": 0}
        self.homes: dict[bytes, set[int]] = {}  # Nodes that a call was submitted to.
        self.copies: dict[bytes, set[int]] = {}  # Disks that have, or had until lost, a call.
        self.open_at: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key -> call id.
        self.key_at: dict[tuple[int, bytes], bytes] = {}  # Node, sequence key -> instance key.
        self.voters: dict[bytes, tuple[bytes, ...]] = {}
        self.promised: dict[Where, Epoch] = {}  # Highest ever on that disk.
        self.sent: dict[Where, Epoch] = {}  # Highest that left the node.
        self.votes: dict[tuple[bytes, Epoch], set[int]] = {}
        self.chosen: dict[bytes, Value] = {}
        self.proposed: dict[tuple[bytes, Epoch], Value] = {}
        self.forgotten: set[Where] = set()
        self.recorded: dict[bytes, bytes] = {}  # Call id -> outcome, the first on any disk.
        self.acked: dict[bytes, tuple[int, int]] = {}  # Copies and voters that were told.
        self.told: dict[bytes, bytes] = {}
        self.reports: dict[bytes, set[bytes]] = {}
        self.bodies: dict[bytes, bytes] = {}

    # What happens.

    def submitted(self, id: bytes, node: MeshNode) -> None:
        """A client gives a call to a node."""
        self.homes.setdefault(id, set()).add(node.index)

    def is_twin(self, id: bytes) -> bool:
        """Whether the call was given to two nodes: then two instances may both end (P14)."""
        return len(self.homes.get(id, ())) > 1

    def executes(self, node: MeshNode, id: bytes, submit: bytes) -> None:
        """A worker begins."""
        self.counts["executed"] += 1
        require(submit[16:32] == id, "I6 content", "another call's body", id.hex())
        body = self.bodies.setdefault(id, submit)
        require(body == submit, "I6 content", "the body changed", id.hex())

    def reported(self, id: bytes, data: bytes) -> None:
        """A worker made an outcome."""
        self.reports.setdefault(id, set()).add(data)

    def booted(self, node: MeshNode) -> None:
        """A node read its log: its promises are at least what it ever sent (I8)."""
        for inst in node.router.replica.by_key.values():
            self._promise_holds(node, inst)

    def crashed(self, node: MeshNode) -> None:
        """Only what was synced is left."""

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

    def _open(self, node: MeshNode, key: bytes, value: bytes | None) -> None:
        where = (node.index, key)
        if value is None:
            id = self.open_at.pop(where, None)
            if id is not None:
                self.copies[id].discard(node.index)
            return
        custody, submit = split_open(value)
        id = submit[16:32]
        self.open_at[where] = id
        self.copies.setdefault(id, set()).add(node.index)
        if len(custody["voters"]) > 1:
            name = make_key(id, custody["home"], custody["generation"])
            self.voters.setdefault(name, tuple(custody["voters"]))
            require((node.index, name) not in self.forgotten, "I9 resurrection", node, name.hex())

    def _vote(self, node: MeshNode, key: bytes, value: bytes | None) -> None:
        where = (node.index, key)
        if value is None:
            name = self.key_at.pop(where, None)
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
        self.promised[at] = max(inst.promise, self.promised.get(at, inst.promise))
        if inst.accepted is not None:
            epoch, accepted = inst.accepted
            votes = self.votes.setdefault((name, epoch), set())
            votes.add(node.index)
            if len(votes) >= inst.majority and inst.role != ENDED:
                self._choose(name, accepted)
        if inst.role == ENDED and inst.value is not None:
            self._choose(name, inst.value)

    def _choose(self, name: bytes, value: Value) -> None:
        known = self.chosen.setdefault(name, value)
        require(
            (known.code, known.outcome) == (value.code, value.outcome),
            "I2 one outcome", name.hex(), known.code, value.code,
        )  # fmt: skip
        if value.children and not known.children:
            self.chosen[name] = value
        elif value.children:
            require(known.children == value.children, "I2 one outcome", "children", name.hex())
        if value.code == _DONE:
            id = name[:16]
            require(
                value.outcome in self.reports.get(id, ()), "I6 content", "nobody made it", id.hex()
            )

    def _done(self, node: MeshNode, id: bytes, value: bytes) -> None:
        outcome = outcome_of(value)
        known = self.recorded.setdefault(id, outcome)
        if known != outcome:
            require(self.is_twin(id), "I2 recorded twice", node, id.hex())
        if outcome[13] == _DONE:
            require(outcome in self.reports.get(id, ()), "I6 content", "nobody made it", id.hex())

    # The core.

    def stepped(self, node: MeshNode, event: Any, effects: Effects) -> None:
        """The core of a node took one event."""
        self.steps += 1
        self.digest = crc32(
            b"%d %d %d %d" % (node.index, len(effects.records), len(effects.peer), self.steps),
            self.digest,
        )
        if self.steps % 7 == 0:
            node.router.check()
        for id, _, name, _, _ in effects.events:
            if name == "taken over":
                self.counts["taken_over"] += 1
        starts = [id for _, batch in effects.starts for id, *_ in batch]
        for _, kind, entry in effects.peer:
            if kind == Kind.RUN:
                starts.append(entry[1][16:32])
            elif kind == Kind.PROPOSE:
                self._proposes(entry)
            elif kind == Kind.PREPARE:
                self.counts["claims"] += 1
        for id in starts:
            self._may_start(node, id)

    def _proposes(self, entry: list[Any]) -> None:
        key, _, _, _, under, data = entry
        epoch = epoch_of(under)
        value = Value(data[0], data[1])
        known = self.proposed.setdefault((key, epoch), value)
        require(known == value, "I10 one proposal an epoch", key.hex(), epoch)
        if value.code == Outcome.MOVED:
            self.counts["moved"] += 1

    def _may_start(self, node: MeshNode, id: bytes) -> None:
        call = node.router.calls.get(id)
        if call is None or call.inst is None:
            return
        inst = call.inst
        assert inst.epoch is not None, (str(node), id.hex())
        if inst.epoch[0] == 0:
            return
        promises = sum(
            self.promised.get((voter[4], inst.key), (0, b"", 0)) >= inst.epoch
            for voter in inst.voters
        )
        require(promises >= inst.majority, "I3 dispatch", node, promises, len(inst.voters))

    # What leaves.

    def released(self, node: MeshNode, effects: Effects) -> None:
        """A turn of a node is let out."""
        for _, kind, entry in effects.peer:
            if kind in _PROMISES:
                key = entry[0]
                at = (node.index, key)
                epoch = epoch_of(entry[1])
                self.sent[at] = max(epoch, self.sent.get(at, epoch))
                inst = node.router.replica.by_key.get(key)
                if inst is not None:
                    self._promise_holds(node, inst)
        refused = {id for _, id, _ in effects.refused}
        for client, _, level, copies, voters in effects.accepted:
            for id in self.world.frames.get(client, ()):
                if id not in refused and id not in self.world.client(client).refusals:
                    self._acked(node, id, level, copies, voters)
        for _, outcome in effects.outcomes:
            id = outcome[16:32]
            known = self.told.setdefault(id, outcome)
            require(known == outcome or self.is_twin(id), "I2 told two outcomes", id.hex())
            require(
                self.recorded.get(id) is not None or self._is_chosen(id, outcome),
                "I2 told what is not chosen", id.hex(),
            )  # fmt: skip

    def _is_chosen(self, id: bytes, outcome: bytes) -> bool:
        return any(
            value.outcome == outcome for key, value in self.chosen.items() if key[:16] == id
        )

    def _acked(self, node: MeshNode, id: bytes, level: int, copies: int, voters: int) -> None:
        if id in self.recorded or any(key[:16] == id for key in self.chosen):
            self.acked.setdefault(id, (copies, voters))
            return
        have = self.copies.get(id, set())
        require(len(have) >= copies, "I1 acknowledged", node, id.hex(), level, copies, have)
        self.acked[id] = max((copies, voters), self.acked.get(id, (0, 0)))

    # The end.

    def finish(self) -> None:
        """After the calm: all that was promised came about, and all is forgotten."""
        for id in self.acked:
            self._has_ended(id, "I4 liveness", "acknowledged")
        for key, value in self.chosen.items():
            if self._is_lost(key):
                continue
            for child in value.children:
                self._has_ended(child.id, "I5 child", "named by an outcome")
        for node in self.world.living():
            self._is_clean(node)

    def _is_lost(self, key: bytes) -> bool:
        voters = self.voters.get(key, ())
        lost = sum(self.world.nodes[voter[4]].lost for voter in voters)
        return lost > (len(voters) - 1) // 2

    def _has_ended(self, id: bytes, rule: str, what: str) -> None:
        world = self.world
        for node in world.living():
            if id in node.disk.tables["done"].values:
                return
            call = node.router.calls.get(id)
            if call is not None and call.state is State.HELD:
                return
        keys = [key for key in self.voters if key[:16] == id]
        if keys and all(self._is_lost(key) for key in keys):
            return
        holders = self.copies.get(id, set())
        if not keys and all(world.nodes[n].lost for n in holders | self.homes.get(id, set())):
            return  # Kept by one node, and that was told.
        if keys and not any(not world.nodes[n].lost for n in holders):
            require(
                self.acked.get(id, (0, 0))[0] <= 1, rule, what, "every copy is gone", id.hex()
            )
            return
        name = self._socket(id)
        if all(world.nodes[n].lost for n in world.options.hosts["p" + name[1:]]):
            return  # Nobody can run it: it is PARKED.
        where = [
            (str(node), inst.role, inst.promise, inst.payload)
            for node in world.living()
            for inst in node.router.replica.by_key.values()
            if inst.id == id
        ]
        require(False, rule, what, id.hex(), where, holders)

    def _socket(self, id: bytes) -> str:
        for node in self.world.nodes:
            for value in node.disk.tables["open"].values.values():
                submit = split_open(value)[1]
                if submit[16:32] == id:
                    return submit[80 : 80 + submit[15]].decode()
        return self.world.sockets.get(id, "s1")

    def _is_clean(self, node: MeshNode) -> None:
        for value in node.disk.tables["vote"].values.values():
            inst = read_record(0, value)
            if inst.role == ENDED:
                require(
                    self._is_lost(inst.key), "I7 forgotten", node, inst.key.hex()[:40], inst.seen,
                    inst.full, inst.handed, inst.filed,
                )  # fmt: skip


__all__ = ["MeshChecker", "events"]
