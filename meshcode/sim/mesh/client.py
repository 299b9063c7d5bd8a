"""A simulated client: submits frames, tries again, and goes to another node if its own is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshcode.router import events, plan
from meshcode.sim.mesh import flows
from meshcode.wire.codec import pack
from meshcode.wire.frame import envelope
from meshcode.wire.kinds import Kind

if TYPE_CHECKING:
    from meshcode.sim.mesh.node import MeshNode
    from meshcode.sim.mesh.world import MeshWorld

RETRY_MS = (2_000, 8_000)


class MeshClient:
    """One frame of calls, until each is acknowledged or refused and its outcome is known."""

    def __init__(self, world: MeshWorld, calls: list[events.NewCall]) -> None:
        """Nothing is sent yet."""
        self.world = world
        self.calls = {call[0]: call for call in calls}
        self.unacked = dict(self.calls)
        self.waiting = set(self.calls)
        self.refusals: set[bytes] = set()
        self.got: set[bytes] = set()
        self.node: MeshNode | None = None
        self.session = 0
        self.first = True
        self.tries = 0

    def submit(self) -> None:
        """Send what is not acknowledged, watch what is, to this node or another."""
        world = self.world
        if not self.unacked and not self.waiting:
            return
        node = self._choose()
        if node is not None:
            self.node = node
            self.session = world.open_session(self)
            self.first = False
            self.tries += 1
            for id in self.unacked:
                world.checker.submitted(id, node)
            calls = list(self.unacked.values())
            world.frames[self.session] = [call[0] for call in calls]
            life = node.life
            world.after(world.rng.randint(0, 3), self._arrive, node, life, self.session, calls)
        world.after(world.rng.randint(*RETRY_MS), self.submit)

    def _choose(self) -> MeshNode | None:
        world = self.world
        up = [node for node in world.nodes if node.up and node.kind != "witness"]
        if self.node is not None and self.node.up and world.rng.random() < 0.9:
            return self.node
        if self.first:
            return world.rng.choice(up) if up else None
        if self.node is not None and not self.node.lost and world.rng.random() < 0.7:
            return None  # It will be back.
        if world.rng.random() < world.options.again and not world.calm:
            return world.rng.choice(up) if up else None
        mine = {*self.calls, *self.waiting}
        knows = [node for node in up if any(self._is_known(node, id) for id in mine)]
        if knows:
            return world.rng.choice(knows)
        all_here = all(node.up for node in world.nodes if not node.lost) and not world.network.cut
        return world.rng.choice(up) if up and all_here else None

    @staticmethod
    def _is_known(node: MeshNode, id: bytes) -> bool:
        return (
            id in node.router.calls
            or id in node.router.replica.by_id
            or (id in node.disk.tables["done"].values)
        )

    def _arrive(self, node: MeshNode, life: int, session: int, calls: list[events.NewCall]) -> None:
        if not node.up or node.life != life:
            return
        if self.tries > 1:
            calls = self._not_elsewhere(node, calls, session)
        if calls:
            node.post(events.Submitted(session, 1, calls))
        acked = [id for id in self.waiting if id not in self.unacked]
        ended = node.history(acked)
        for id, outcome in ended.items():
            self.world.checker.told_from_history(id, outcome)
            self.ended(session, outcome)
        acked = [id for id in acked if id not in ended]
        if acked:
            node.post(events.Watched(session, acked))

    def _not_elsewhere(
        self, node: MeshNode, calls: list[events.NewCall], session: int
    ) -> list[events.NewCall]:
        """A node asks its peers for what it does not know: what one has is watched, not made."""
        new = []
        cut = self.world.network.cut
        there = [o for o in self.world.nodes if o.up and (node.index, o.index) not in cut]
        for call in calls:
            id = call[0]
            known = [other for other in there if self._is_known(other, id)]
            if not known or node in known:
                new.append(call)
                continue
            self.unacked.pop(id, None)
            for other in known:
                ended = other.history([id])
                if ended:
                    self.world.checker.told_from_history(id, ended[id])
                    self.ended(session, ended[id])
                else:
                    other.post(events.Watched(session, [id]))
        self.world.frames[session] = [call[0] for call in new]
        return new

    def accepted(self, session: int, sequence: int) -> None:
        """The frame is acknowledged."""
        for id in self.world.frames.get(session, ()):
            self.unacked.pop(id, None)

    def refused(self, session: int, id: bytes, data: dict[str, Any]) -> None:
        """One call was refused: for good, for this client."""
        flows.refused(self.world.checker, id, data)
        self.refusals.add(id)
        self.unacked.pop(id, None)
        self.waiting.discard(id)

    def ended(self, session: int, outcome: bytes) -> None:
        """An outcome; that of a flow is the outcome of its result."""
        self.unacked.pop(outcome[16:32], None)
        self.waiting.discard(outcome[16:32])
        self.got.add(outcome[16:32])
        result = plan.result_of(outcome)
        if result is not None and result not in self.got:
            self.waiting.add(result)
            if self.node is not None and self.node.up and session == self.session:
                self.node.post(events.Watched(session, [result]))


def make_call(world: MeshWorld, number: int) -> events.NewCall:
    """A call with options of its own."""
    rng = world.rng
    id = (1_600_000_000_000 + world.now).to_bytes(6, "big") + b"\x70" + number.to_bytes(9, "big")
    name = rng.choice(("s0", "s1"))
    options: dict[str, Any] = {}
    level = rng.choice(world.options.levels)
    if level is not None:
        options["ack"] = level
    if rng.random() < 0.1:
        options["delay_ms"] = rng.choice((1, 500, 3_000))
    if rng.random() < 0.05:
        options["expires_ms"] = rng.choice((1, 500, 5_000))
    body = pack([number])
    data = envelope(
        Kind.SUBMIT, id=id, flow=id, name=name.encode(), meta=pack(options) if options else b"",
        body=body, argc=1,
    )  # fmt: skip
    return (id, id, bytes(16), name, 1, options or None, data)
